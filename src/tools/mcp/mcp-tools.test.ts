import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { encodeTuple } from "../../base/tuple.ts";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { SealingKey } from "../../storage/sealing-key.ts";
import { transact } from "../../storage/transaction.ts";
import { OutcomeUnknownError, type ToolResult } from "../tool.ts";
import { McpConnectionError, mcpLimits, McpServerNotFoundError } from "./mcp.ts";
import { type Elicit, McpTools } from "./mcp-tools.ts";
import { credentialsKey } from "./oauth-provider.ts";
import { createMcpServer, updateMcpServer } from "./server-record.ts";

const project = "p";
const program = join(import.meta.dirname, "mcp-server.child.ts");
const environment = new RealEnvironment({ level: "error", write: () => undefined });
const key = new SealingKey("the sealing key of these tests", environment.random);
const sealingKey = (): SealingKey => key;

interface Setup {
  readonly store: MemoryStore;
  readonly mcp: McpTools;
  readonly serverId: string;
  call(tool: string, input: object, signal?: AbortSignal): Promise<ToolResult>;
}

/** A project with one server, which behaves as `manner` says. */
async function setUp(t: TestContext, manner: string, env: Readonly<Record<string, string>> = {}, elicit?: Elicit): Promise<Setup> {
  const store = new MemoryStore();
  const mcp = new McpTools({ store, environment, sealingKey, elicit });
  t.after(() => mcp[Symbol.asyncDispose]());
  const config = { mcp_server_type: "stdio" as const, command: process.execPath, args: [program, manner], env };
  const { id } = await transact(store, environment, (transaction) =>
    createMcpServer(transaction, { environment, sealingKey }, project, { server_name: "child", config }),
  );
  return {
    store,
    mcp,
    serverId: id,
    async call(tool, input, signal = new AbortController().signal) {
      const record = (await mcp.list(project, id)).find(({ name }) => name === `child__${tool}`)!;
      const context = { effectId: "effect-1", signal, project, agentId: "agent-1", conversationId: "default" };
      return await mcp.tool(record)!.execute({ ...input }, context);
    },
  };
}

test("A server's tools become the project's, and are called under its own names", async (t) => {
  const { mcp, serverId, call } = await setUp(t, "good");
  assert.deepEqual(await mcp.refresh(project, serverId), { added: ["child__echo", "child__meta"], updated: [], deleted: [] });
  assert.deepEqual(await mcp.refresh(project, serverId), { added: [], updated: [], deleted: [] });
  assert.deepEqual(await call("echo", { text: "hello" }), { status: "success", text: "hello" });
  const records = await mcp.list(project, serverId);
  assert.deepEqual(
    records.map((record) => [record.name, record.tool_type, record.tags, mcp.tool(record)!.effect]),
    [
      ["child__echo", "external_mcp", ["mcp:child"], "once"],
      ["child__meta", "external_mcp", ["mcp:child"], "readOnly"],
    ],
  );
});

test("A call carries the id of its effect", async (t) => {
  const { mcp, serverId, call } = await setUp(t, "good");
  await mcp.refresh(project, serverId);
  assert.match((await call("meta", {})).text, /"kelpie\/effect-id":"effect-1"/);
});

test("A tool that its server has changed is not called until its owner takes it again", async (t) => {
  const { mcp, serverId, call } = await setUp(t, "changes its tools");
  await mcp.refresh(project, serverId);
  assert.equal((await call("echo", { text: "a" })).text, "changed");
  const refused = await call("echo", { text: "b" });
  assert.equal(refused.status, "error");
  assert.match(refused.text, /child__echo is another tool than its owner took/);
  const [offer] = (await mcp.offered(project, serverId)).tools;
  assert.deepEqual([offer!.name, offer!.state], ["child__echo", "changed"]);
  assert.match((await call("echo", { text: "b" })).text, /is another tool/, "to look at it takes nothing");
  assert.deepEqual((await mcp.refresh(project, serverId)).updated, ["child__echo"]);
  assert.equal((await call("echo", { text: "c" })).status, "success");
});

test("Whoever asks what a server offers sees what is new, taken, changed and gone, and nothing is taken", async (t) => {
  const { store, mcp, serverId } = await setUp(t, "good");
  const states = async (): Promise<object> =>
    Object.fromEntries((await mcp.offered(project, serverId)).tools.map(({ name, state, effect }) => [name, `${state} ${effect}`]));
  assert.deepEqual(await states(), { child__echo: "new once", child__meta: "new readOnly" });
  assert.deepEqual(await mcp.list(project, serverId), []);
  await mcp.refresh(project, serverId);
  assert.deepEqual(await states(), { child__echo: "taken once", child__meta: "taken readOnly" });
  const config = { mcp_server_type: "stdio" as const, command: process.execPath, args: [program, "has bad tools"] };
  await transact(store, environment, (transaction) =>
    updateMcpServer(transaction, { environment, sealingKey }, project, serverId, { config }),
  );
  const after = Object.values(await states());
  assert.deepEqual([after.includes("new once"), after.at(-1)], [true, "gone readOnly"]);
  assert.equal((await mcp.list(project, serverId)).length, 2);
});

test("Tools that no agent can have are left out; the others are bounded and keep their names apart", async (t) => {
  const { mcp, serverId } = await setUp(t, "has bad tools");
  const { added } = await mcp.refresh(project, serverId);
  assert.equal(added.length, 4);
  assert.deepEqual(added.slice(0, 3), ["child__echo", "child__recursive", "child__talks"]);
  assert.match(added[3]!, /^child__W_rter_with_spaces_[0-9a-f]{8}$/);
  const talks = (await mcp.list(project, serverId)).find(({ name }) => name === "child__talks")!;
  assert.equal(talks.description!.length, mcpLimits.descriptionCharacters);
});

for (const [manner, text, status] of [
  ["writes garbage", /^hi$/, "success"],
  ["answers twice", /^first$/, "success"],
  ["answers with wrong ids", /^right$/, "success"],
  ["speaks the newer protocol alone", /^newer$/, "success"],
  ["has a pattern that takes for ever", /^ab$/, "success"],
  ["asks a person", /Method not found: .* unless its owner sets grants\.elicitation/, "success"],
  ["asks a model without end", /^\[("Method not found: [^"]*grants\.sampling_model[^"]*"[,\]]){40}$/, "success"],
  ["asks for roots", /Method not found/, "success"],
  ["answers with 1 MB", /^begin[\s\S]*of 1000008 characters the middle is left out[\s\S]*end$/, "success"],
] as const)
  test(`A server that ${manner} is used all the same`, async (t) => {
    const { mcp, serverId, call } = await setUp(t, manner);
    await mcp.refresh(project, serverId);
    const result = await call("echo", { text: "hi" });
    assert.equal(result.status, status);
    assert.match(result.text, text);
    assert.ok(result.text.length <= 50_000);
  });

for (const [manner, error] of [
  ["exits in mid-call", OutcomeUnknownError],
  ["answers with 100 MB", OutcomeUnknownError],
  ["answers with an error", /It broke/],
  ["answers with nonsense", /content/],
] as const)
  test(`A call of a server that ${manner} is an error, and is sent once`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-mcp-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const count = join(folder, "count");
    const { mcp, serverId, call } = await setUp(t, manner, { COUNT: count });
    await mcp.refresh(project, serverId);
    await assert.rejects(call("echo", { text: "hi" }), error);
    assert.equal(readFileSync(count, "utf8"), "x");
    await assert.rejects(call("echo", { text: "again" }), error, "the next call has a connection of its own");
  });

test("A server that exits at once is an error with what it wrote", async (t) => {
  const { mcp, serverId } = await setUp(t, "exits at once");
  await assert.rejects(mcp.refresh(project, serverId), (error: Error) => {
    assert.ok(error instanceof McpConnectionError);
    assert.match(error.message, /MCP server child cannot be reached \(the program .*It wrote: no configuration/);
    return true;
  });
});

test("A server that fails again and again is not started for every call, and its reason is kept", async (t) => {
  const { mcp, serverId } = await setUp(t, "exits at once");
  for (let at = 0; at < 4; at++) await assert.rejects(mcp.refresh(project, serverId), /cannot be reached/);
  await assert.rejects(mcp.refresh(project, serverId), /has failed 4 times and is tried again in \d+ s: .*no configuration/s);
});

test("What a server asks a person is answered by the program that runs Kelpie", async (t) => {
  const asked: string[] = [];
  const { mcp, serverId, call } = await setUp(t, "asks a person", {}, async (server, question) => {
    asked.push(`${server}: ${question.message}`);
    return { action: "accept", content: {} };
  });
  await mcp.refresh(project, serverId);
  assert.deepEqual(JSON.parse((await call("echo", {})).text), [{ action: "accept", content: { count: 3 } }]);
  assert.deepEqual(asked, ["child: How many?"]);
});

test("A program that is not there is an error that names it", async (t) => {
  const { mcp, serverId, store } = await setUp(t, "good");
  const config = { mcp_server_type: "stdio" as const, command: "/no/such/program", args: [] };
  await transact(store, environment, (transaction) =>
    updateMcpServer(transaction, { environment, sealingKey }, project, serverId, { config }),
  );
  await assert.rejects(mcp.refresh(project, serverId), /cannot be reached \(the program \/no\/such\/program\): .*ENOENT/);
});

test("A server with a tool that is none is an error that names it", async (t) => {
  const { mcp, serverId } = await setUp(t, "has a tool that is none");
  await assert.rejects(mcp.refresh(project, serverId), (error: Error) => {
    assert.ok(error instanceof McpConnectionError);
    assert.match(error.message, /The MCP server child did not list its tools: Invalid result for tools\/list.*inputSchema/s);
    return true;
  });
});

test("A server that never answers is an error when its time is over", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { mcp, serverId } = await setUp(t, "never answers");
  await pass(t, assert.rejects(mcp.refresh(project, serverId), /MCP server child cannot be reached .*: Request timed out/));
});

test("A call that a server leaves without a word is unknown when its time is over", async (t) => {
  const { mcp, serverId, call } = await setUp(t, "never answers calls");
  await mcp.refresh(project, serverId);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  await pass(
    t,
    assert.rejects(call("echo", { text: "hi" }), (error: Error) => {
      assert.ok(error instanceof OutcomeUnknownError);
      assert.match(error.message, /The MCP server child gave no answer to echo in 180 s/);
      return true;
    }),
  );
});

test("A call that is given up ends at once", async (t) => {
  const { mcp, serverId, call } = await setUp(t, "never answers calls");
  await mcp.refresh(project, serverId);
  const giveUp = new AbortController();
  const called = call("echo", { text: "hi" }, giveUp.signal);
  setImmediate(() => giveUp.abort(new Error("given up")));
  await assert.rejects(called, /given up/);
});

test("What a server started ends with it, also when it ignores signals", async (t) => {
  for (const manner of ["leaves a grandchild", "ignores signals"]) {
    const { mcp, serverId } = await setUp(t, manner);
    await mcp.refresh(project, serverId);
    const before = childrenWith(manner);
    assert.ok(before.length > 0, manner);
    await mcp[Symbol.asyncDispose]();
    assert.deepEqual(before.filter(isRunning), [], manner);
  }
});

test("Calls of many agents share one process", async (t) => {
  const { mcp, serverId, call } = await setUp(t, "good");
  await mcp.refresh(project, serverId);
  const before = childrenWith("good").length;
  const results = await Promise.all(Array.from({ length: 200 }, (_, at) => call("echo", { text: String(at) })));
  assert.deepEqual(
    results.map(({ text }) => text),
    Array.from({ length: 200 }, (_, at) => String(at)),
  );
  assert.equal(childrenWith("good").length, before);
});

test("Deleting a server deletes its tools, and ends its process", async (t) => {
  const { mcp, serverId, call } = await setUp(t, "good");
  await mcp.refresh(project, serverId);
  const [record] = await mcp.list(project, serverId);
  await call("echo", { text: "a" });
  await mcp.delete(project, serverId);
  assert.deepEqual(await mcp.list(project, serverId), []);
  const context = { effectId: "e", signal: new AbortController().signal, project, agentId: "a", conversationId: "default" };
  await assert.rejects(mcp.tool(record!)!.execute({}, context), McpServerNotFoundError);
});

test("What is kept of an agent's own authorization goes with the agent, and all of it with the server", async (t) => {
  const { mcp, store, serverId } = await setUp(t, "good");
  await transact(store, environment, (transaction) =>
    updateMcpServer(transaction, { environment, sealingKey }, project, serverId, { authorization: "agent" }),
  );
  const rows = [undefined, "agent-1", "agent-2"].map((agentId) => credentialsKey(project, serverId, agentId));
  await transact(store, environment, async (transaction) => rows.forEach((row) => transaction.set(row, "sealed")));
  const left = async (): Promise<readonly number[]> =>
    (await store.read(rows.map((row) => ({ key: encodeTuple(row) })))).map(({ length }) => length);
  await mcp.forgetAgent(project, "agent-1");
  assert.deepEqual(await left(), [1, 0, 1]);
  await mcp.delete(project, serverId);
  assert.deepEqual(await left(), [0, 0, 0]);
});

/** Lets time pass, and processes work, until `work` is done. */
async function pass(t: TestContext, work: Promise<unknown>): Promise<void> {
  let isDone = false;
  const done = work.finally(() => (isDone = true));
  while (!isDone) {
    await new Promise((resolve) => setImmediate(resolve));
    t.mock.timers.tick(1_000);
  }
  await done;
}

/** Processes of this machine that have `argument` on their command line after the program of these tests. */
function childrenWith(argument: string): readonly number[] {
  const own = `/proc/${process.pid}/task/${process.pid}/children`;
  const pids = existsSync(own) ? readFileSync(own, "utf8").trim().split(" ").filter(Boolean).map(Number) : [];
  return pids
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(argument))
    .flatMap((pid) => [pid, ...readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number)]);
}

/** A process that nobody has waited for yet is over too. */
function isRunning(pid: number): boolean {
  const path = `/proc/${pid}/status`;
  return existsSync(path) && !/^State:\s+[ZX]/m.test(readFileSync(path, "utf8"));
}
