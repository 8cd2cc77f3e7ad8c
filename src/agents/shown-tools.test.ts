import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { ModelRequest } from "../models/model.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { transact, type Transaction } from "../storage/transaction.ts";
import { optional, stateTool } from "../tools/state-tool.ts";
import type { Tool } from "../tools/tool.ts";
import { createTool, type ToolCreate, type ToolRecord, updateTool } from "../tools/tool-record.ts";
import { toolsShownMax } from "./agent-tools.ts";
import type { ConversationAddress } from "./conversation.ts";
import { foundToolsMax } from "./shown-tools.ts";
import { calls, lastResults, lastUserText, openTestAgents, outline, project, type TestAgents, text } from "./testing.ts";

const toolsMade = 600;
const tools: readonly Tool[] = Array.from({ length: toolsMade }, (_, at) =>
  stateTool(
    {
      name: `${at < 300 ? "alpha" : "beta"}__tool_${at}`,
      description: at === 412 ? "Measures how deep the lake is" : `Does the work of number ${at}`,
      parameters: { value: optional({ type: "string" }) },
    },
    async (input) => `${at}:${String(input["value"] ?? "")}`,
  ),
);

/** A model that does what the last message says: `{"call": …, "with": …}`, or a list of those, one a step; then it is done. */
function obey(request: ModelRequest): ReturnType<typeof text> {
  const wanted = JSON.parse(/\{.*\}|\[.*\]/s.exec(lastUserText(request))![0]) as
    | { call: string; with: object }
    | { call: string; with: object }[];
  const next = [wanted].flat()[lastResults(request).length];
  // Ids that are used once, as those of models are.
  return next === undefined
    ? text("done")
    : calls({ name: next.call, arguments: next.with, id: `${next.call}-${request.messages.length}` });
}

async function open(t: TestContext, store = new MemoryStore(), count = 100): Promise<TestAgents> {
  const opened = await openTestAgents(obey, { store, tools: tools.slice(0, count) });
  t.after(() => opened[Symbol.asyncDispose]());
  return opened;
}

function agentWith({ create }: TestAgents, count: number, fields: Parameters<TestAgents["create"]>[0] = {}): Promise<ConversationAddress> {
  return create({ tools: tools.slice(0, count).map(({ name }) => name), include_base_tools: false, ...fields });
}

const does = (call: string, input: object = {}): { call: string; with: object } => ({ call, with: input });
const say = (...wanted: readonly object[]): string => JSON.stringify(wanted);
const shown = (request: ModelRequest): string[] => request.tools.map(({ name }) => name);

test("An agent with 600 tools is shown a search, finds a tool, calls it, and still has it after a restart", async (t) => {
  const store = new MemoryStore();
  const first = await open(t, store, toolsMade);
  const address = await agentWith(first, toolsMade, { include_base_tools: true });
  const events = await first.run(
    address,
    say(does("search_tools", { query: "deep lake", limit: 1 }), does("beta__tool_412", { value: "x" })),
  );
  assert.deepEqual(outline(events), [
    "call search_tools",
    "return success",
    "call beta__tool_412",
    "return success",
    "assistant done",
    "stop end_turn",
    "usage_statistics",
  ]);
  const before = ["conversation_search", "memory_insert", "memory_replace", "search_tools"];
  assert.deepEqual(shown(first.requests[0]!).toSorted(), before.toSorted());
  assert.match(
    first.requests[0]!.tools.find(({ name }) => name === "search_tools")!.description,
    /600 more tools .* alpha \(300\), beta \(300\)/,
  );
  const after = [...shown(first.requests[0]!), "beta__tool_412"];
  assert.deepEqual(shown(first.requests[1]!), after, "what was found is added at the end");
  assert.match(lastResults(first.requests[2]!)[1]!, /412:x/);
  assert.deepEqual(first.requests[1]!.tools.at(-1)!.parameters, tools[412]!.parameters, "with its schema");
  await first[Symbol.asyncDispose]();

  const second = await open(t, store, toolsMade);
  await second.run(address, say(does("beta__tool_412", { value: "y" })));
  assert.deepEqual(shown(second.requests[0]!), after);
  assert.match(lastResults(second.requests[1]!)[0]!, /412:y/);
});

test(`With ${toolsShownMax} tools nothing changes`, async (t) => {
  const opened = await open(t);
  await opened.run(await agentWith(opened, toolsShownMax), say());
  assert.deepEqual(
    shown(opened.requests[0]!),
    tools.slice(0, toolsShownMax).map(({ name }) => name),
  );
  await opened.run(await agentWith(opened, toolsShownMax + 1), say());
  assert.deepEqual(shown(opened.requests[1]!), ["search_tools"]);
});

test("A tool that was not found is called all the same, its arguments are looked at, and it is shown from then on", async (t) => {
  const opened = await open(t);
  const address = await agentWith(opened, 100);
  await opened.run(address, say(does("alpha__tool_7", { value: "v" }), does("alpha__tool_8", { value: 8 })));
  assert.match(lastResults(opened.requests.at(-1)!)[0]!, /7:v/);
  assert.match(lastResults(opened.requests.at(-1)!)[1]!, /value/);
  assert.deepEqual(shown(opened.requests[1]!), ["search_tools", "alpha__tool_7"]);
});

test("A name that is nearly a tool's gets that one named, not a list of hundreds", async (t) => {
  const opened = await open(t);
  await opened.run(await agentWith(opened, 100), say(does("alpha_tool_17")));
  const [result] = lastResults(opened.requests.at(-1)!);
  assert.match(result!, /There is no tool called alpha_tool_17. There are 101 others. Did you mean alpha__tool_17\?/);
  assert.ok(result!.length < 300);
});

test("Tools that rules tell of are always shown, and one that a rule forces is the only one", async (t) => {
  const opened = await open(t);
  const address = await agentWith(opened, 100, {
    tool_rules: [
      { type: "run_first", tool_name: "alpha__tool_50" },
      { type: "constrain_child_tools", tool_name: "alpha__tool_50", children: ["alpha__tool_60", "alpha__tool_61"] },
      { type: "required_before_exit", tool_name: "alpha__tool_70" },
      { type: "requires_approval", tool_name: "alpha__tool_80" },
    ],
  });
  await opened.run(address, say(does("alpha__tool_50"), does("alpha__tool_60"), does("alpha__tool_70")));
  const [first, second, third] = opened.requests;
  assert.deepEqual([shown(first!), first!.toolChoice], [["alpha__tool_50"], { name: "alpha__tool_50" }]);
  assert.deepEqual([shown(second!), second!.toolChoice], [["alpha__tool_60", "alpha__tool_61"], "required"]);
  assert.deepEqual(shown(third!), ["alpha__tool_50", "alpha__tool_60", "alpha__tool_61", "alpha__tool_70", "search_tools"]);
});

test("A client's own tools are always shown", async (t) => {
  const opened = await open(t);
  const definition = { name: "open_window", description: "Opens a window", parameters: { type: "object", properties: {} } };
  await opened.run(await agentWith(opened, 100), say(), { clientTools: [definition] });
  assert.deepEqual(shown(opened.requests[0]!), ["search_tools", "open_window"]);
});

test(`Of more than ${foundToolsMax} tools that were found the last ones stay, in the order in which they were found`, async (t) => {
  const opened = await open(t);
  const address = await agentWith(opened, 100);
  const number = (at: number): string => `alpha__tool_${at}`;
  const search = (from: number, to: number): object =>
    does("search_tools", { query: Array.from({ length: to - from }, (_, at) => number(from + at)).join(" "), limit: 20 });
  await opened.run(address, say(search(0, 20), does(number(0)), search(20, 40), does(number(25))));
  assert.deepEqual(shown(opened.requests[1]!), ["search_tools", ...Array.from({ length: 20 }, (_, at) => number(at))]);
  assert.deepEqual(shown(opened.requests[2]!), shown(opened.requests[1]!), "a call of one of them changes nothing");
  const kept = [0, ...Array.from({ length: 29 }, (_, at) => 11 + at)].map(number);
  assert.deepEqual(shown(opened.requests[3]!), ["search_tools", ...kept]);
  assert.deepEqual(shown(opened.requests[4]!), shown(opened.requests[3]!));
});

test("What a search has found is forgotten with its messages", async (t) => {
  const opened = await open(t);
  const address = await agentWith(opened, 100);
  await opened.run(address, say(does("search_tools", { query: "alpha__tool_3", limit: 1 })));
  assert.deepEqual(shown(opened.requests[1]!), ["search_tools", "alpha__tool_3"]);
  await opened.agents.conversations.reset(address);
  await opened.run(address, say());
  assert.deepEqual(shown(opened.requests.at(-1)!), ["search_tools"]);
});

test("An agent with a tool of its own that is called search_tools is shown all that it has", async (t) => {
  const own = stateTool({ name: "search_tools", description: "Looks into the tool box", parameters: {} }, async () => "a hammer");
  const opened = await openTestAgents(obey, { tools: [own, ...tools.slice(0, 60)] });
  t.after(() => opened[Symbol.asyncDispose]());
  const address = await opened.create({ tools: [own.name, ...tools.slice(0, 60).map(({ name }) => name)], include_base_tools: false });
  await opened.run(address, say(does("search_tools")));
  assert.equal(opened.requests[0]!.tools.length, 61);
  assert.match(lastResults(opened.requests[1]!)[0]!, /a hammer/);
});

test("A tool that its owner changes is found by its new words", async (t) => {
  const { agents, environment, store, run, create, requests } = await open(t);
  const change = <T>(work: (transaction: Transaction) => Promise<T>): Promise<T> => transact(store, environment, work);
  const schema = (name: string, description: string): ToolCreate => ({ source_type: "json", json_schema: { name, description } });
  const records: ToolRecord[] = [];
  for (let at = 0; at < 60; at++)
    records.push(await change((transaction) => createTool(transaction, environment, project, schema(`own_${at}`, "Does something"))));
  const address = await create({ tool_ids: records.map(({ id }) => id), include_base_tools: false });
  const search = say(does("search_tools", { query: "zebra" }));
  await run(address, search);
  assert.match(lastResults(requests[1]!)[0]!, /No tool has one of these words/);
  const description = "Counts zebras";
  await change((transaction) =>
    updateTool(transaction, environment, project, records[31]!.id, { ...schema("own_31", description), description }),
  );
  await agents.conversations.reset(address);
  await run(address, search);
  assert.deepEqual(shown(requests.at(-1)!), ["search_tools", "own_31"]);
});
