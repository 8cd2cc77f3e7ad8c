import assert from "node:assert/strict";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { type Model, ModelError, type ModelRequest, noUsage } from "../../models/model.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { SealingKey } from "../../storage/sealing-key.ts";
import { transact } from "../../storage/transaction.ts";
import type { ToolResult } from "../tool.ts";
import { InvalidMcpAnswerError, type McpGrants, mcpLimits, McpQuestionNotFoundError } from "./mcp.ts";
import { McpTools } from "./mcp-tools.ts";
import type { McpQuestion } from "./questions.ts";
import { createMcpServer, updateMcpServer } from "./server-record.ts";

const project = "p";
const program = join(import.meta.dirname, "mcp-server.child.ts");
const environment = new RealEnvironment({ level: "error", write: () => undefined });
const key = new SealingKey("the sealing key of these tests", environment.random);
const sealingKey = (): SealingKey => key;

interface Setup {
  readonly mcp: McpTools;
  readonly serverId: string;
  /** What the model was asked. */
  readonly asked: readonly ModelRequest[];
  call(signal?: AbortSignal): Promise<ToolResult>;
  grant(grants: McpGrants): Promise<void>;
  /** Resolves when a question waits. */
  question(): Promise<McpQuestion>;
}

/** A project with one server, which behaves as `manner` says and may ask what `grants` allow. */
async function setUp(t: TestContext, manner: string, grants: McpGrants, answer = async (): Promise<string> => "Because"): Promise<Setup> {
  const store = new MemoryStore();
  const asked: ModelRequest[] = [];
  const model: Model = {
    handle: "test/model",
    async *generate(request) {
      asked.push(request);
      yield { type: "text", delta: await answer() };
      yield { type: "end", reason: "stop", usage: noUsage };
    },
  };
  const mcp = new McpTools({ store, environment, sealingKey, models: { open: async () => model } });
  t.after(() => mcp[Symbol.asyncDispose]());
  const config = { mcp_server_type: "stdio" as const, command: process.execPath, args: [program, manner] };
  const { id } = await transact(store, environment, (transaction) =>
    createMcpServer(transaction, { environment, sealingKey }, project, { server_name: "child", config, grants }),
  );
  await mcp.refresh(project, id);
  const [echo] = await mcp.list(project, id);
  return {
    mcp,
    serverId: id,
    asked,
    async call(signal = new AbortController().signal) {
      return await mcp.tool(echo!)!.execute({}, { effectId: "e", signal, project, agentId: "agent-1", conversationId: "default" });
    },
    async grant(grants) {
      await transact(store, environment, (transaction) =>
        updateMcpServer(transaction, { environment, sealingKey }, project, id, { grants }),
      );
    },
    async question() {
      for (;;) {
        const [first] = await mcp.questions.list(project, id);
        if (first !== undefined) return first;
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
}

const withModel = { sampling_model: "test/model" };
const withPeople = { elicitation: true };

test("A server that may ask a model gets its answer, bounded, and without tools", async (t) => {
  const { asked, call } = await setUp(t, "asks a model", withModel);
  assert.deepEqual(JSON.parse((await call()).text), [
    { role: "assistant", content: { type: "text", text: "Because" }, model: "test/model", stopReason: "endTurn" },
  ]);
  assert.deepEqual(asked, [
    {
      messages: [
        { role: "system", content: "Be short" },
        { role: "user", content: [{ type: "text", text: "Why?" }] },
      ],
      tools: [],
      settings: { maxOutputTokens: mcpLimits.sampleTokens },
    },
  ]);
});

test("A server that asks a model in a loop is stopped", async (t) => {
  const { asked, call } = await setUp(t, "asks a model again and again", withModel);
  const answers = JSON.parse((await call()).text) as readonly unknown[];
  assert.equal(asked.length, mcpLimits.samplesPerCall);
  const refused = "A server gets at most 10 samples for a call";
  assert.deepEqual(answers.slice(mcpLimits.samplesPerCall), [refused, refused]);
});

test("In the newer protocol a server asks in its result, and in a loop is stopped too", async (t) => {
  const once = await setUp(t, "asks in the newer protocol alone", withModel);
  assert.match((await once.call()).text, /"why":.*"text":"Because"/);
  const loop = await setUp(t, "asks without end in the newer protocol alone", withModel);
  await assert.rejects(loop.call(), /rounds|samples for a call/);
  assert.ok(loop.asked.length <= mcpLimits.samplesPerCall, `${loop.asked.length} samples`);
});

test("A server that asks a model often at once is answered a few times", async (t) => {
  const { asked, call } = await setUp(t, "asks a model without end", withModel);
  const answers = JSON.parse((await call()).text) as readonly unknown[];
  const refused = answers.filter((answer) => /^A server gets at most \d+ samples (at once|for a call)$/.test(String(answer)));
  assert.equal(refused.length, 40 - asked.length);
  assert.ok(asked.length >= mcpLimits.samplesAtOnce && asked.length <= mcpLimits.samplesPerCall);
});

test("What a provider says in an error is not told to the server", async (t) => {
  const { call } = await setUp(t, "asks a model", withModel, async () => {
    throw new ModelError("authentication", "The key sk-123 is wrong");
  });
  assert.deepEqual(JSON.parse((await call()).text), ["The model test/model gave no answer (authentication)"]);
});

test("A server's question waits for a person, who is told which server asks and in which call", async (t) => {
  const { mcp, serverId, call, question } = await setUp(t, "asks a person", withPeople);
  const called = call();
  const asked = await question();
  assert.deepEqual(
    [asked.server_name, asked.message, asked.url, asked.calls],
    ["child", "How many?", null, [{ agent_id: "agent-1", tool: "echo" }]],
  );
  await assert.rejects(mcp.questions.answer(project, serverId, asked.id, { action: "accept", content: { count: 0 } }), (error: Error) => {
    assert.ok(error instanceof InvalidMcpAnswerError);
    assert.equal(error.message, 'The field "count" has to be a whole number of at least 1');
    return true;
  });
  await mcp.questions.answer(project, serverId, asked.id, { action: "accept", content: { count: 7 } });
  const twice = mcp.questions.answer(project, serverId, asked.id, { action: "decline" });
  await assert.rejects(twice, McpQuestionNotFoundError);
  assert.deepEqual(JSON.parse((await called).text), [{ action: "accept", content: { count: 7 } }]);
  assert.deepEqual(await mcp.questions.list(project, serverId), []);
});

test("A person who declines, and one who is sent to an address", async (t) => {
  for (const [manner, url] of [
    ["asks a person", null],
    ["sends a person elsewhere", "https://example.com/sign-in"],
  ] as const) {
    const { mcp, serverId, call, question } = await setUp(t, manner, withPeople);
    const called = call();
    const asked = await question();
    assert.equal(asked.url, url);
    await mcp.questions.answer(project, serverId, asked.id, { action: url === null ? "decline" : "accept" });
    assert.deepEqual(JSON.parse((await called).text), [{ action: url === null ? "decline" : "accept" }]);
  }
});

test("A question that nobody answers is over after ten minutes, in which the silence of its call is not counted", async (t) => {
  const { mcp, serverId, call, question } = await setUp(t, "asks a person", withPeople);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const called = call();
  await question();
  while ((await mcp.questions.list(project, serverId)).length > 0) {
    await new Promise((resolve) => setImmediate(resolve));
    t.mock.timers.tick(1_000);
  }
  assert.deepEqual(JSON.parse((await called).text), ["Nobody answered within 10 minutes"]);
});

test("A question ends with its server", async (t) => {
  const { mcp, serverId, call, question } = await setUp(t, "asks a person", withPeople);
  const called = assert.rejects(call());
  await question();
  await mcp.delete(project, serverId);
  await called;
  assert.deepEqual(await mcp.questions.list(project, serverId), []);
});

test("Roots are told when they are asked for, and the server hears when they are others", async (t) => {
  const { call, grant } = await setUp(t, "asks for roots", { roots: [{ uri: "file:///a", name: "A" }] });
  assert.deepEqual(JSON.parse((await call()).text), [{ roots: [{ uri: "file:///a", name: "A" }] }]);
  await grant({ roots: [{ uri: "file:///b" }] });
  // The call finds the new ones; the server had heard of them before, and asked.
  let told = "";
  while (!told.includes("file:///b")) told = (await call()).text;
  assert.deepEqual(JSON.parse(told), [{ roots: [{ uri: "file:///a", name: "A" }] }, { roots: [{ uri: "file:///b" }] }]);
});

test("A root is an address of files", async (t) => {
  const { grant } = await setUp(t, "good", {});
  await assert.rejects(grant({ roots: [{ uri: "/srv" }] }), /A root of child is an address that begins with file:\/\/, not "\/srv"/);
});
