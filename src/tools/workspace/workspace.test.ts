import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { transact } from "../../storage/transaction.ts";
import type { OutsideToolContext, StateTool, ToolInput, ToolResult } from "../tool.ts";
import { deleteFile, editFile, writeFile, writtenBytesMax } from "./file-tools.ts";
import { checkListing, checkPath, FileTree, FileTreeError } from "./file-tree.ts";
import { matchesGlob } from "./glob.ts";
import { readingTool } from "./reading-tools.ts";
import { deleteWorkspace, workspaceOf } from "./workspace.ts";

const environment = new RealEnvironment();
const [project, agentId] = ["default", "agent-1"];

class Agent {
  readonly store = new MemoryStore();

  async change(tool: StateTool, input: ToolInput): Promise<ToolResult> {
    const context = { store: this.store, environment, project, agentId, conversationId: "default", sendToAgent: async () => ({}) };
    return await transact(this.store, environment, (transaction) => tool.execute(input, { ...context, transaction }));
  }

  async read(name: string, input: ToolInput): Promise<ToolResult> {
    const context: OutsideToolContext = {
      effectId: "e",
      signal: new AbortController().signal,
      project,
      agentId,
      conversationId: "default",
    };
    return await readingTool(name, this.store, environment)!.execute(input, context);
  }

  /** How many rows the workspace has. */
  async rows(): Promise<number> {
    return (await transact(this.store, environment, (transaction) => transaction.list([project, "workspace", agentId], { limit: 1_000 })))
      .length;
  }
}

test("Files are written, read by lines, edited and deleted, and nothing of them is left", async () => {
  const agent = new Agent();
  await agent.change(writeFile, { path: "a/b.txt", content: "1\n2\n3\n4" });
  assert.equal(
    (await agent.read("read_file", { path: "./a//b.txt", start_line: 2, line_count: 2 })).text,
    "2\n3\n[lines 2 to 3 of 4 of a/b.txt; go on with start_line 4]",
  );
  await agent.change(editFile, { path: "a/b.txt", old_text: "2\n3", new_text: "$&" });
  assert.equal((await agent.read("read_file", { path: "a/b.txt" })).text, "1\n$&\n4");
  await agent.change(writeFile, { path: "a/c.txt", content: "é".repeat(100_000) });
  assert.equal((await agent.read("list_files", { pattern: "*.txt" })).text, "a/b.txt (6)\na/c.txt (200000)");
  assert.equal((await agent.change(deleteFile, { path: "a" })).text, "Deleted the folder a with 2 files");
  assert.equal(await agent.rows(), 0);
});

for (const [tool, input, says] of [
  [writeFile, { path: "../x", content: "" }, /leads out/],
  [writeFile, { path: "/etc/passwd", content: "" }, /without a slash/],
  [writeFile, { path: "a\0b", content: "" }, /characters that cannot be/],
  [writeFile, { path: "a\ud800", content: "" }, /characters that cannot be/],
  [writeFile, { path: ".", content: "" }, /names the root/],
  [writeFile, { path: "x".repeat(257), content: "" }, /257 bytes/],
  [writeFile, { path: ".skills/x/SKILL.md", content: "" }, /holds the skills/],
  [writeFile, { path: "here/x", content: "" }, /here is a file, no folder/],
  [writeFile, { path: "y", content: "x".repeat(writtenBytesMax + 1) }, /at most 1048576/],
  [editFile, { path: "here", old_text: "a", new_text: "b" }, /2 times/],
  [editFile, { path: "here", old_text: "c", new_text: "b" }, /is not in here/],
  [editFile, { path: "here", old_text: "", new_text: "b" }, /old_text is empty/],
  [editFile, { path: "none", old_text: "a", new_text: "b" }, /no file none/],
  [deleteFile, { path: "HERE" }, /no file or folder/],
] as const)
  test(`${tool.name} refuses ${JSON.stringify(input).slice(0, 60)} and writes nothing`, async () => {
    const agent = new Agent();
    await agent.change(writeFile, { path: "here", content: "a a" });
    const before = await agent.rows();
    const result = await agent.change(tool, input);
    assert.equal(result.status, "error");
    assert.match(result.text, says);
    assert.equal(await agent.rows(), before);
    assert.equal((await agent.read("read_file", { path: "here" })).text, "a a");
  });

test("Binary files are named as such, and a search passes them over", async () => {
  const agent = new Agent();
  await transact(agent.store, environment, async (transaction) => {
    const tree = workspaceOf(project, agentId);
    const file = tree.setContent(transaction, environment, Buffer.from([0xff, 0, 0x61]));
    tree.change(transaction, await tree.get(transaction), new Map([["bin", file]]));
  });
  assert.match((await agent.read("read_file", { path: "bin" })).text, /no text in UTF-8: it has 3 bytes/);
  assert.equal((await agent.read("search_files", { text: "a" })).text, "No line contains the text");
});

test("Of two conversations that write at once, both files are there", async () => {
  const agent = new Agent();
  await Promise.all(Array.from({ length: 8 }, (_, index) => agent.change(writeFile, { path: `f${index}`, content: String(index) })));
  assert.equal((await workspaceOf(project, agentId).read(agent.store)).size, 8);
});

test("2,000 files with long names fit, one more does not, and a deleted agent leaves no row", async () => {
  const agent = new Agent();
  const tree = workspaceOf(project, agentId);
  const content = { content: "none", bytes: 0 };
  const many = new Map(Array.from({ length: 2_000 }, (_, index) => [`${"é".repeat(120)}${index}`, content] as const));
  await transact(agent.store, environment, async (transaction) => tree.change(transaction, await tree.get(transaction), many));
  assert.equal((await tree.read(agent.store)).size, 2_000);
  assert.match((await agent.change(writeFile, { path: "more", content: "" })).text, /at most 2000 may be/);
  await transact(agent.store, environment, async (transaction) => deleteWorkspace(transaction, project, agentId));
  assert.equal(await agent.rows(), 0);
});

test("A listing refuses what is too large, alone or together", () => {
  const limits = { files: 3, fileBytes: 10, totalBytes: 15 };
  assert.throws(() => checkListing(new Map([["a", { bytes: 11 }]]), limits), /a has 11 bytes/);
  assert.throws(
    () =>
      checkListing(
        new Map([
          ["a", { bytes: 8 }],
          ["b", { bytes: 8 }],
        ]),
        limits,
      ),
    /16 bytes/,
  );
});

test("A path that is taken stays as it is, inside, and the same when it is checked again", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom("a", "/", ".", "..", "\0", "é", " ") }), (given) => {
      let path: string;
      try {
        path = checkPath(given);
      } catch (error) {
        return assert.ok(error instanceof FileTreeError);
      }
      assert.ok(!path.startsWith("/") && !path.split("/").some((part) => part === ".." || part === "." || part === ""));
      assert.equal(checkPath(path), path);
    }),
  );
});

test("Files of any sizes come back as they were, through a transaction and without", async () => {
  const store = new MemoryStore();
  const tree = new FileTree(["p", "t"], { files: 10, fileBytes: 1e7, totalBytes: 1e8 });
  const contents = new Map<string, Buffer>(
    [0, 1, 71_999, 72_000, 72_001, 4_000_000].map((bytes) => [`f${bytes}`, Buffer.alloc(bytes, 7)] as const),
  );
  const written = await tree.writeContents(store, environment, contents);
  await transact(store, environment, async (transaction) => tree.change(transaction, await tree.get(transaction), written));
  for (const [path, file] of await tree.read(store)) {
    assert.deepEqual(await tree.readContent(store, file), contents.get(path));
    assert.deepEqual(await transact(store, environment, (transaction) => tree.getContent(transaction, file)), contents.get(path));
  }
});

for (const [path, pattern, isMatch] of [
  ["a/b.ts", "**/*.ts", true],
  ["b.ts", "**/*.ts", true],
  ["a/b.ts", "*.ts", false],
  ["a/b/c", "a/**", true],
  ["a/b/c", "a/*", false],
  ["abc", "a?c", true],
  ["a*c", "a*c", true],
  ["a/b/c/d", "**/b/**/d", true],
  ["a".repeat(200), `${"*a".repeat(60)}*b`, false],
] as const)
  test(`${path.slice(0, 20)} ${isMatch ? "fits" : "does not fit"} ${pattern.slice(0, 20)}`, () =>
    assert.equal(matchesGlob(path, pattern), isMatch));
