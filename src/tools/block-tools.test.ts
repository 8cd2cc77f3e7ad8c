import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RealEnvironment } from "../environment/real-environment.ts";
import { type AgentLink, agentKey, readAgentLink } from "../memory/agent-link.ts";
import { agentsOfBlock, attachBlock } from "../memory/block-agents.ts";
import { type BlockCreate, createBlock, deleteBlock, readBlocks } from "../memory/block.ts";
import { lineNumberWarning } from "../memory/render-memory.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { StoreUnavailableError } from "../storage/store.ts";
import { transact } from "../storage/transaction.ts";
import {
  coreMemoryAppend,
  coreMemoryReplace,
  memory,
  memoryApplyPatch,
  memoryFinishEdits,
  memoryInsert,
  memoryReplace,
  memoryRethink,
  rethinkMemory,
} from "./block-tools.ts";
import type { StateTool, ToolInput, ToolResult } from "./tool.ts";

const environment = new RealEnvironment();
const project = "p";
const agentId = "agent-1";

async function agentWith(store: MemoryStore, blocks: readonly BlockCreate[], more: Partial<AgentLink> = {}): Promise<string[]> {
  return await transact(store, environment, async (transaction) => {
    const ids = blocks.map((block) => createBlock(transaction, environment, project, block).id);
    const agent: AgentLink = {
      id: agentId,
      name: "Ada",
      created_at: "2026",
      block_ids: ids,
      archive_ids: [],
      timezone: "UTC",
      core_bytes_max: null,
      ...more,
    };
    transaction.set(agentKey(project, agent.id), agent);
    for (const id of agent.block_ids) attachBlock(transaction, project, id, agent);
    return ids;
  });
}

async function call(store: MemoryStore, tool: StateTool, input: ToolInput, id = agentId): Promise<ToolResult> {
  return await transact(store, environment, (transaction) =>
    tool.execute(input, {
      transaction,
      store,
      environment,
      project,
      agentId: id,
      conversationId: "default",
      sendToAgent: async () => ({}),
    }),
  );
}

async function values(store: MemoryStore): Promise<{ [label: string]: string }> {
  const agent = await readAgentLink(store, project, agentId);
  return Object.fromEntries((await readBlocks(store, project, agent!.block_ids)).map((block) => [block.label, block.value]));
}

/** The value of the block `b` before, the call, and its value after or what the error says. */
const edits: readonly (readonly [StateTool, string, ToolInput, string | RegExp])[] = [
  [memoryInsert, "a\nb", { label: "b", new_string: "x" }, "a\nb\nx"],
  [memoryInsert, "a\nb", { label: "b", new_string: "x", insert_line: 0 }, "x\na\nb"],
  [memoryInsert, "a\nb", { label: "b", new_string: "x\ny", insert_line: 1 }, "a\nx\ny\nb"],
  [memoryInsert, "a\nb", { label: "b", new_string: "x", insert_line: 2 }, "a\nb\nx"],
  [memoryInsert, "a\nb", { label: "b", new_string: "x", insert_line: null }, "a\nb\nx"],
  [memoryInsert, "", { label: "b", new_string: "x" }, "x"],
  [memoryInsert, "a\nb", { label: "b", new_string: "x", insert_line: 3 }, /Invalid `insert_line` parameter: 3.*\[0, 2\]/],
  [memoryInsert, "a\nb", { label: "b", new_string: "x", insert_line: -2 }, /insert_line.*whole number/],
  [memoryInsert, "a", { label: "b", new_string: "1→ x" }, /new_string contains a line number prefix/],
  [memoryInsert, "a", { label: "b", new_string: lineNumberWarning }, /new_string contains a line number warning/],
  [memoryInsert, "a", { label: "none", new_string: "x" }, /Block field none does not exist \(available sections = b, other\)/],
  [memoryInsert, "a", { label: "b" }, /`new_string` is required/],
  [memoryReplace, "one two", { label: "b", old_string: "two", new_string: "2" }, "one 2"],
  [memoryReplace, "one two", { label: "b", old_string: " two", new_string: "" }, "one"],
  [memoryReplace, "a", { label: "b", old_string: "a", new_string: "$& $1 $$" }, "$& $1 $$"],
  [memoryReplace, "a.c", { label: "b", old_string: "a.c", new_string: "x" }, "x"],
  [memoryReplace, "abc", { label: "b", old_string: "a.c", new_string: "x" }, /did not appear verbatim in memory block with label `b`/],
  [memoryReplace, "x\ty", { label: "b", old_string: "x\ty", new_string: "z" }, "z"],
  [memoryReplace, "x\ty", { label: "b", old_string: "x y", new_string: "z" }, /did not appear verbatim/],
  [
    memoryReplace,
    "a\nb a\na",
    { label: "b", old_string: "a", new_string: "z" },
    /Multiple occurrences of old_string `a` in lines \[1, 2, 3\]/,
  ],
  [memoryReplace, "x\ny\nx\ny", { label: "b", old_string: "x\ny", new_string: "z" }, /in lines \[1, 3\]/],
  [memoryReplace, "a", { label: "b", old_string: "", new_string: "z" }, /old_string is empty/],
  [memoryReplace, "a", { label: "b", old_string: "1→ a", new_string: "z" }, /old_string contains a line number prefix/],
  [memoryReplace, "a", { label: "b", old_string: "a", new_string: "y\n  12→ z" }, /new_string contains a line number prefix/],
  [memoryReplace, "😀", { label: "b", old_string: "\ude00", new_string: "" }, /value holds a lone surrogate/],
  [memoryReplace, "a", { label: "b", old_string: "a", new_string: "\0" }, /value holds a NUL/],
  [memoryRethink, "old", { label: "b", new_memory: "new" }, "new"],
  [memoryRethink, "old", { label: "b", new_memory: "" }, ""],
  [memoryRethink, "old", { label: "none", new_memory: "new" }, /Block field none does not exist/],
  [rethinkMemory, "old", { target_block_label: "b", new_memory: "new" }, "new"],
  [coreMemoryAppend, "a", { label: "b", content: "x" }, "a\nx"],
  [coreMemoryAppend, "", { label: "b", content: "x" }, "x"],
  [coreMemoryReplace, "a b a", { label: "b", old_content: "a", new_content: "$&" }, "$& b $&"],
  [coreMemoryReplace, "a", { label: "b", old_content: "z", new_content: "" }, /Old content 'z' not found in memory block 'b'/],
  [coreMemoryReplace, "a", { label: "b", old_content: "", new_content: "x" }, /old_content is empty/],
  [memory, "one two", { command: "str_replace", path: "/memories/b", old_string: "two", new_string: "2" }, "one 2"],
  [memory, "one two", { command: "str_replace", path: "b", old_string: " two" }, "one"],
  [memory, "a", { command: "insert", path: "/b", insert_text: "x", insert_line: 0 }, "x\na"],
  [memory, "a", { command: "insert", path: "/memories/", insert_text: "x" }, /`path` names no memory block/],
  [memory, "a", { command: "insert", insert_text: "x" }, /`path` is required for this command/],
  [memory, "a", { command: "explode", path: "b" }, /Unknown command `explode`: use create, str_replace/],
  [memory, "a", { command: "create", path: "/memories/b" }, /already has a memory block with the label "b"/],
  [memory, "a", { command: "rename", old_path: "b", new_path: "other" }, /already has a memory block with the label "other"/],
  [memoryApplyPatch, "a\nb\nc", { label: "b", patch: " a\n-b\n+B\n c" }, "a\nB\nc"],
  [memoryApplyPatch, "a\nb\nc\nd", { label: "b", patch: "--- x\n+++ y\n@@ -1 +1 @@\n-a\n+A\n@@\n-d\n+D\n+E\n" }, "A\nb\nc\nD\nE"],
  [memoryApplyPatch, "a\n\nc", { label: "b", patch: "@@\n a\n\n-c\n+C" }, "a\n\nC"],
  [memoryApplyPatch, "a", { label: "b", patch: "+x" }, "a\nx"],
  [memoryApplyPatch, "", { label: "b", patch: "+x\n+y" }, "x\ny"],
  [memoryApplyPatch, "-- a\nb", { label: "b", patch: "--- a\n b" }, "b"],
  [memoryApplyPatch, "a\na", { label: "b", patch: "-a\n+b" }, /matched multiple places/],
  [memoryApplyPatch, "a", { label: "b", patch: "-z\n+b" }, /expected hunk context not found.*Expected start:\nz/s],
  [memoryApplyPatch, "a", { label: "b", patch: "nonsense" }, /No applicable hunks/],
  [memoryApplyPatch, "a", { label: "b", patch: "*** Update Block: b\n-a\n+x\n" }, "x"],
  [memoryApplyPatch, "a", { label: "b", patch: "*** Update Block:\n-a" }, /must name a block/],
  [memoryApplyPatch, "a", { label: "b", patch: "*** Move to: c" }, /must come after/],
  [memoryApplyPatch, "a", { label: "b", patch: "1→ a" }, /patch contains a line number prefix/],
  [memoryApplyPatch, "a", { label: "b", patch: "-1→ a\n+b" }, /patch contains a line number prefix/],
];
for (const [tool, before, input, expected] of edits)
  test(`${tool.name} of ${JSON.stringify(input)} on ${JSON.stringify(before)} gives ${String(expected).slice(0, 60)}`, async () => {
    const store = new MemoryStore();
    await agentWith(store, [
      { label: "b", value: before },
      { label: "other", value: "untouched" },
    ]);
    const result = await call(store, tool, input);
    if (typeof expected === "string") {
      assert.deepEqual(result.status, "success", result.text);
      assert.deepEqual(await values(store), { b: expected, other: "untouched" });
      return;
    }
    assert.equal(result.status, "error");
    assert.match(result.text, expected);
    assert.match(result.text, new RegExp(`^Error executing function ${tool.name}: `));
    assert.deepEqual(await values(store), { b: before, other: "untouched" }, "an error leaves everything as it was");
  });

for (const [tool, input] of [
  [memoryInsert, { label: "b", new_string: "x" }],
  [memoryReplace, { label: "b", old_string: "old", new_string: "x" }],
  [memoryRethink, { label: "b", new_memory: "x" }],
  [rethinkMemory, { target_block_label: "b", new_memory: "x" }],
  [coreMemoryAppend, { label: "b", content: "x" }],
  [coreMemoryReplace, { label: "b", old_content: "old", new_content: "x" }],
  [memory, { command: "insert", path: "b", insert_text: "x" }],
  [memory, { command: "delete", path: "b" }],
  [memory, { command: "rename", old_path: "b", new_path: "c" }],
  [memory, { command: "rename", path: "b", description: "d" }],
  [memoryApplyPatch, { label: "b", patch: "-old\n+x" }],
  [memoryApplyPatch, { label: "b", patch: "*** Delete Block: b" }],
] as const)
  test(`${tool.name} of ${JSON.stringify(input)} cannot change a read-only block`, async () => {
    const store = new MemoryStore();
    await agentWith(store, [{ label: "b", value: "old", read_only: true }]);
    const result = await call(store, tool, input);
    assert.equal(result.status, "error");
    assert.match(result.text, /read-only and cannot be edited/);
    assert.deepEqual(await values(store), { b: "old" });
  });

test("An edit over the block's limit is an error with the numbers, and nothing is cut", async () => {
  const store = new MemoryStore();
  await agentWith(store, [{ label: "b", value: "12345", limit: 8 }]);
  const result = await call(store, memoryInsert, { label: "b", new_string: "678" });
  assert.equal(result.status, "error");
  assert.match(result.text, /Exceeds 8 character limit \(requested 9\)/);
  assert.deepEqual(await values(store), { b: "12345" });
  assert.equal((await call(store, memoryInsert, { label: "b", new_string: "67" })).status, "success");
});

test("An edit over the agent's core memory is an error; making memory smaller always works", async () => {
  const store = new MemoryStore();
  await agentWith(
    store,
    [
      { label: "b", value: "12345" },
      { label: "c", value: "67890" },
    ],
    { core_bytes_max: 12 },
  );
  const result = await call(store, coreMemoryAppend, { label: "b", content: "é" });
  assert.match(result.text, /holds 12 bytes, and its blocks would take 13/);
  assert.equal((await call(store, coreMemoryAppend, { label: "b", content: "e" })).status, "success");
  const over = new MemoryStore();
  await agentWith(over, [{ label: "b", value: "x".repeat(20) }], { core_bytes_max: 12 });
  assert.equal((await call(over, memoryRethink, { label: "b", new_memory: "y".repeat(15) })).status, "success");
  assert.equal((await call(over, memoryRethink, { label: "b", new_memory: "y".repeat(16) })).status, "error");
});

test("memory creates, describes, renames and deletes blocks, and the agents of a block follow", async () => {
  const store = new MemoryStore();
  await agentWith(store, []);
  assert.equal(
    (await call(store, memory, { command: "create", path: "/memories/system/notes", description: "d", file_text: "hi" })).text,
    "Successfully created memory block 'system/notes'.",
  );
  assert.deepEqual(await values(store), { "system/notes": "hi" });
  const [id] = (await readAgentLink(store, project, agentId))!.block_ids;
  assert.deepEqual(await agentsOfBlock(store, project, id!, { limit: 5 }), [agentId]);
  await call(store, memory, { command: "rename", path: "/memories/system/notes", description: "better" });
  await call(store, memory, { command: "rename", old_path: "/memories/system/notes", new_path: "/memories/log", description: "best" });
  const [block] = await readBlocks(store, project, [id!]);
  assert.deepEqual([block!.label, block!.description, block!.value], ["log", "best", "hi"]);
  assert.equal((await call(store, memory, { command: "delete", path: "/memories/log" })).status, "success");
  assert.deepEqual(await values(store), {});
  assert.deepEqual(await agentsOfBlock(store, project, id!, { limit: 5 }), []);
  assert.equal((await readBlocks(store, project, [id!])).length, 1, "the block itself stays");
});

test("One patch adds, updates, renames and deletes blocks, or does nothing at all", async () => {
  const store = new MemoryStore();
  await agentWith(store, [
    { label: "a", value: "1\n2" },
    { label: "gone", value: "" },
  ]);
  const patch = [
    "*** Begin Patch",
    "*** Add Block: new",
    "Description: What is new",
    "+x",
    "+",
    "+y",
    "",
    "*** Update Block: a",
    "*** Move to: b",
    "*** Update Block: b",
    " 1",
    "-2",
    "+3",
    "*** Delete Block: gone",
    "*** End Patch",
  ];
  const bad = await call(store, memoryApplyPatch, { label: "a", patch: [...patch, "*** Delete Block: never"].join("\n") });
  assert.equal(bad.status, "error");
  assert.deepEqual(await values(store), { a: "1\n2", gone: "" });
  const good = await call(store, memoryApplyPatch, { label: "a", patch: patch.join("\n") });
  assert.equal(good.status, "success", good.text);
  assert.match(
    good.text,
    /- Created memory block 'new'\n- Renamed memory block 'a' to 'b'\n- Updated memory block 'b'\n- Deleted memory block 'gone'$/,
  );
  assert.deepEqual(await values(store), { b: "1\n3", new: "x\n\ny" });
});

test("A block that was deleted under an agent is passed over", async () => {
  const store = new MemoryStore();
  const [gone] = await agentWith(store, [
    { label: "gone", value: "" },
    { label: "b", value: "" },
  ]);
  await transact(store, environment, (transaction) => deleteBlock(transaction, project, gone!));
  assert.match((await call(store, coreMemoryAppend, { label: "gone", content: "x" })).text, /available sections = b\)/);
  assert.equal((await call(store, coreMemoryAppend, { label: "b", content: "x" })).status, "success");
});

test("Agents that share a block lose no edit of each other", async () => {
  const store = new MemoryStore();
  const ids = await agentWith(store, [{ label: "b", value: "" }]);
  const agents = Array.from({ length: 6 }, (_, at) => `agent-${at + 1}`);
  await transact(store, environment, async (transaction) => {
    for (const id of agents.slice(1))
      transaction.set(agentKey(project, id), {
        id,
        name: id,
        created_at: "2026",
        block_ids: ids,
        archive_ids: [],
        timezone: "UTC",
        core_bytes_max: null,
      } satisfies AgentLink);
  });
  const results = await Promise.all(agents.map((id) => call(store, memoryInsert, { label: "b", new_string: `from ${id}` }, id)));
  assert.ok(results.every((result) => result.status === "success"));
  assert.deepEqual(
    (await values(store))["b"]!.split("\n").toSorted(),
    agents.map((id) => `from ${id}`),
  );
});

test("A store that is down is not shown to the model as a result", async () => {
  const store = new MemoryStore();
  await agentWith(store, [{ label: "b", value: "" }]);
  const broken = Object.create(store, { read: { value: () => Promise.reject(new StoreUnavailableError("down")) } }) as MemoryStore;
  await assert.rejects(call(broken, memoryInsert, { label: "b", new_string: "x" }), StoreUnavailableError);
});

test("memory_finish_edits says so", async () => {
  assert.equal((await call(new MemoryStore(), memoryFinishEdits, {})).status, "success");
});

test("A tool of an agent that is gone is an error", async () => {
  assert.match((await call(new MemoryStore(), memoryInsert, { label: "b", new_string: "x" })).text, /does not exist any more/);
});

test("memory_replace replaces exactly the one occurrence there is, and refuses any other number", async () => {
  const word = fc.stringMatching(/^[ab\n😀$]{1,4}$/u);
  await fc.assert(
    fc.asyncProperty(fc.stringMatching(/^[ab\n😀$]{0,8}$/u), word, fc.stringMatching(/^[xy$&\n]{0,3}$/), async (value, old, by) => {
      const store = new MemoryStore();
      await agentWith(store, [{ label: "b", value }]);
      const result = await call(store, memoryReplace, { label: "b", old_string: old, new_string: by });
      const at = value.indexOf(old);
      const isOnce = at !== -1 && !value.slice(at + old.length).includes(old);
      assert.equal(result.status, isOnce ? "success" : "error");
      assert.equal((await values(store))["b"], isOnce ? value.slice(0, at) + by + value.slice(at + old.length) : value);
    }),
    { numRuns: 200 },
  );
});
