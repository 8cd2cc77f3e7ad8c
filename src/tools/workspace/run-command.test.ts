import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeJson } from "../../base/json.ts";
import { encodeTuple } from "../../base/tuple.ts";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { BubblewrapBackend } from "../../sandbox/bubblewrap-backend.ts";
import { bubblewrapMissing } from "../../sandbox/testing.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { transact } from "../../storage/transaction.ts";
import { ToolSandboxes } from "../source/tool-sandboxes.ts";
import type { OutsideTool, OutsideToolContext, ToolResult } from "../tool.ts";
import { writeFile } from "./file-tools.ts";
import { runCommandTool } from "./run-command.ts";
import { deleteWorkspace, workspaceOf } from "./workspace.ts";

const skip = bubblewrapMissing ?? false;
const environment = new RealEnvironment();
const [project, agentId] = ["default", "agent-1"];
const agentRow = encodeTuple([project, "agent", agentId]);

class Shell implements AsyncDisposable {
  readonly store = new MemoryStore();
  readonly tool: OutsideTool;
  /** Done once a command has seen the workspace, before it runs. */
  meanwhile: () => Promise<unknown> = async () => undefined;
  readonly #sandboxes = new ToolSandboxes({ environment, openBackend: () => BubblewrapBackend.open({ environment }) });

  static async open(): Promise<Shell> {
    const shell = new Shell();
    const writes = [{ kind: "set", key: agentRow, value: encodeJson({ id: agentId }) }] as const;
    await shell.store.commit({ id: "agent", checks: [], writes });
    return shell;
  }

  private constructor() {
    this.tool = runCommandTool({
      store: this.store,
      environment,
      sandboxes: this.#sandboxes,
      skillFiles: async () => (await this.meanwhile(), new Map()),
    });
  }

  context(effectId: string = environment.random.uuid()): OutsideToolContext {
    return { effectId, signal: new AbortController().signal, project, agentId, conversationId: "default" };
  }

  async run(command: string, context: OutsideToolContext = this.context()): Promise<ToolResult> {
    return await this.tool.execute({ command }, context);
  }

  async write(path: string, content: string): Promise<void> {
    const context = { store: this.store, environment, project, agentId, conversationId: "default", sendToAgent: async () => ({}) };
    await transact(this.store, environment, (transaction) => writeFile.execute({ path, content }, { ...context, transaction }));
  }

  async files(): Promise<string> {
    const tree = workspaceOf(project, agentId);
    const parts: string[] = [];
    for (const [path, file] of await tree.read(this.store)) parts.push(`${path}=${(await tree.readContent(this.store, file)).toString()}`);
    return parts.join(" ");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sandboxes[Symbol.asyncDispose]();
  }
}

test("What another call changed meanwhile stays, and where a command changed the same file nothing of it is kept", { skip }, async () => {
  await using shell = await Shell.open();
  await shell.write("same", "0");
  shell.meanwhile = async () => await shell.write("two", "2");
  assert.equal((await shell.run("printf 1 > one")).status, "success");
  assert.equal(await shell.files(), "one=1 same=0 two=2");
  shell.meanwhile = async () => await shell.write("same", "b");
  const { status, text } = await shell.run("printf a > same; printf 3 > three");
  assert.equal(status, "error");
  assert.match(text, /another call changed same meanwhile/);
  assert.equal(await shell.files(), "one=1 same=b two=2");
});

test("A call that has ended is answered from its row, and one that is taken over cannot commit any more", { skip }, async () => {
  await using shell = await Shell.open();
  const ended = shell.context();
  const result = await shell.run("echo x >> log; echo done", ended);
  assert.deepEqual(await shell.tool.reconcile!({}, ended), { outcome: "succeeded", result });
  assert.deepEqual(await shell.tool.reconcile!({}, shell.context()), { outcome: "unknown" });

  // Another process reconciles while the command still runs: it is done when the command asks for its result's commit.
  const begun = shell.context();
  const commit = shell.store.commit.bind(shell.store);
  let taken: Promise<unknown> | undefined;
  shell.store.commit = async (batch) => {
    const outcome = await commit(batch);
    if (taken === undefined) await (taken = shell.tool.reconcile!({}, begun));
    return outcome;
  };
  await assert.rejects(shell.run("echo y >> log", begun), /taken over/);
  assert.deepEqual(await taken, { outcome: "didNotHappen" });
  assert.equal(await shell.files(), "log=x\n");
  assert.equal((await shell.run("echo y >> log", begun)).status, "success");
  assert.equal(await shell.files(), "log=x\ny\n");
});

test("A command of an agent that is deleted meanwhile brings nothing of it back", { skip }, async () => {
  await using shell = await Shell.open();
  await shell.store.commit({ id: "gone", checks: [], writes: [{ kind: "delete", key: agentRow }] });
  await transact(shell.store, environment, async (transaction) => deleteWorkspace(transaction, project, agentId));
  assert.match((await shell.run("echo x > f")).text, /the agent was deleted meanwhile/);
  assert.equal(await shell.files(), "");
});

for (const [what, command, says] of [
  ["a file that is too large", "head -c 9000000 /dev/zero > big", /big has 9000000 bytes/],
  ["too much in all", "for i in 1 2 3 4 5; do head -c 8000000 /dev/zero > f$i; done", /All files would have 40000001 bytes/],
  ["12,000 files in one folder", "seq 12000 | xargs touch", /as it was before the command/],
  ["a name with a line break", "printf x > \"$(printf 'a\\nb')\"", /characters that cannot be in a name/],
  ["a name that is too long", "d=$(printf 'a%.0s' $(seq 200)); mkdir -p $d/$d && touch $d/$d/c", /at most 256 may be/],
] as const)
  test(`A command that leaves ${what} changes nothing`, { skip }, async () => {
    await using shell = await Shell.open();
    await shell.write("kept", "1");
    const result = await shell.run(command);
    assert.equal(result.status, "error");
    assert.match(result.text, says);
    assert.equal(await shell.files(), "kept=1");
  });

test("Links, pipes, folders without a file and names that are no UTF-8 are not kept, and no link is followed out", { skip }, async () => {
  await using shell = await Shell.open();
  const { text } = await shell.run(
    "ln -s /etc out; ln -s / root; mkfifo pipe; mkdir empty; printf x > plain; printf x > \"$(printf 'a\\377')\"",
  );
  assert.match(text, /not kept, as they are no plain files: .*out.*|pipe/);
  assert.equal(await shell.files(), "plain=x");
});

test("A long output is shown by its begin and end, and a result with control characters fits its row", { skip }, async () => {
  await using shell = await Shell.open();
  const { status, text } = await shell.run("head -c 100000 /dev/zero | tr '\\0' '\\1'; echo end");
  assert.equal(status, "success");
  assert.match(text, /\[86003 characters are left out\]/);
  assert.match(text, /end$/);
});
