import assert from "node:assert/strict";
import { test } from "node:test";
import { idPattern } from "../base/ids.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { MemoryError } from "../memory/memory.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { Transaction, transact } from "../storage/transaction.ts";
import { baseToolNames, baseTools } from "./base-tools.ts";
import { baseToolId } from "./tool-id.ts";
import {
  countTools,
  createTool,
  deleteTool,
  findToolByName,
  getTool,
  inProcess,
  InvalidToolError,
  listTools,
  readTools,
  searchTools,
  type ToolCreate,
  type ToolFilter,
  ToolNameTakenError,
  ToolNotFoundError,
  type ToolRecord,
  updateTool,
  upsertTool,
} from "./tool-record.ts";
import { ToolRegistry } from "./tool-registry.ts";
import type { OutsideTool, OutsideToolContext } from "./tool.ts";

const environment = new RealEnvironment();
const project = "p";
const source = 'def add(a: int, b: int = 2):\n    """Adds numbers."""\n    return a + b\n';
const own: OutsideTool = {
  name: "clock",
  description: "Tells the time.",
  parameters: { type: "object", properties: {} },
  effect: "readOnly",
  execute: async () => ({ status: "success", text: "noon" }),
};
const outside: OutsideToolContext = {
  effectId: "e",
  signal: new AbortController().signal,
  project,
  agentId: "agent-1",
  conversationId: "default",
};

async function create(store: MemoryStore, tool: ToolCreate): Promise<ToolRecord> {
  return await transact(store, environment, (transaction) => createTool(transaction, environment, project, tool));
}

function schema(name: string): ToolCreate {
  return {
    source_code: "x",
    source_type: "typescript",
    json_schema: { name, description: `The ${name} tool`, parameters: { type: "object", properties: {} } },
  };
}

test("Seeding gives every project the base tools once, with stable ids of the right shape", async () => {
  const store = new MemoryStore();
  const registry = new ToolRegistry();
  const [first] = await Promise.all([registry.seed(store, environment, project), registry.seed(store, environment, project)]);
  const again = await registry.seed(store, environment, project);
  assert.deepEqual(again, first);
  assert.equal(await countTools(store, project, 100), baseTools.length);
  for (const record of first) assert.match(record.id, idPattern("tool"));
  assert.equal(new Set(first.map(({ id }) => id)).size, baseTools.length);
  assert.notEqual(registry.idOf("other", "memory_insert"), registry.idOf(project, "memory_insert"));
  assert.equal(first.find(({ name }) => name === "memory_insert")!.id, baseToolId(project, "memory_insert"));
});

test("The base tools have Letta's types, and every agent type's tools are among them", () => {
  const types = Object.fromEntries(baseTools.map(({ tool, type }) => [tool.name, type]));
  assert.deepEqual(
    [types["send_message"], types["core_memory_append"], types["memory_insert"], types["run_code"]],
    ["letta_core", "letta_memory_core", "letta_sleeptime_core", "letta_builtin"],
  );
  for (const type of [
    "letta_v1_agent",
    "memgpt_v2_agent",
    "memgpt_agent",
    "sleeptime_agent",
    "react_agent",
    "voice_convo_agent",
    "voice_sleeptime_agent",
    "split_thread_agent",
  ])
    for (const name of baseToolNames(type)) assert.ok(name in types, `${type} has ${name}`);
});

test("A seeded tool that is out of date is brought up to date, and what its owner chose stays", async () => {
  const store = new MemoryStore();
  const old = new ToolRegistry();
  old.register(own);
  await old.seed(store, environment, project);
  const id = old.idOf(project, "clock");
  await transact(store, environment, (transaction) =>
    updateTool(transaction, environment, project, id, { default_requires_approval: true, tags: ["mine"] }),
  );
  const next = new ToolRegistry();
  next.register({ ...own, description: "Tells the time exactly." });
  await next.seed(store, environment, project);
  const [record] = await readTools(store, project, [id]);
  assert.deepEqual(
    [record!.description, record!.json_schema["description"], record!.default_requires_approval, record!.tags],
    ["Tells the time exactly.", "Tells the time exactly.", true, ["mine"]],
  );
  assert.equal((await searchTools(store, project, { query: "tells time exactly", limit: 1 }))[0]!.tool.id, id);
  assert.equal((await searchTools(store, project, { query: "tells", limit: 5 })).length, 1);
});

test("Records resolve to the code behind them, and those without say why they cannot run", async () => {
  const store = new MemoryStore();
  const registry = new ToolRegistry();
  registry.register(own);
  const records = await registry.seed(store, environment, project);
  const named = (name: string): ToolRecord => records.find((record) => record.name === name)!;
  assert.equal(registry.resolve(named("clock")), own);
  assert.equal(registry.resolve(named("memory_insert")).effect, "state");
  assert.deepEqual(
    ["clock", "memory_insert", "run_code", "web_search"].map((name) => registry.isAvailable(named(name))),
    [true, true, false, false],
  );
  const custom = await create(store, { source_code: source });
  for (const [record, expected] of [
    [custom, /no source code in Python or TypeScript that could run in a sandbox/],
    [named("run_code"), /runs in a sandbox, and this process has none/],
    [named("web_search"), /needs a search provider/],
  ] as const) {
    const tool = registry.resolve(record);
    assert.ok(tool.effect !== "state");
    const result = await tool.execute({}, outside);
    assert.equal(result.status, "error");
    assert.match(result.text, expected);
  }
  assert.equal(new ToolRegistry().isAvailable(named("clock")), false, "another process without this tool");
});

test("A custom tool with the name of a built-in one in another project does not become it", async () => {
  const store = new MemoryStore();
  const custom = await create(store, schema("memory_insert"));
  const registry = new ToolRegistry();
  assert.equal(registry.isAvailable(custom), false);
  await assert.rejects(
    registry.seed(store, environment, project),
    (error) => error instanceof ToolNameTakenError && error.message.includes(custom.id),
  );
});

test("A process cannot register two tools with one name, or a name that models refuse", () => {
  const registry = new ToolRegistry();
  registry.register(own);
  assert.throws(() => registry.register(own), ToolNameTakenError);
  assert.throws(() => registry.register({ ...own, name: "memory" }), ToolNameTakenError);
  for (const name of ["", "a b", "x".repeat(65), "é"]) assert.throws(() => registry.register({ ...own, name }), InvalidToolError);
});

test("A Python tool has its name, description and schema from its source", async () => {
  const tool = await create(new MemoryStore(), { source_code: source });
  assert.deepEqual(
    [tool.name, tool.description, tool.tool_type, tool.source_type, tool.return_char_limit],
    ["add", "Adds numbers.", "custom", "python", 50_000],
  );
  assert.deepEqual(tool.json_schema["parameters"], {
    type: "object",
    properties: { a: { type: "integer" }, b: { type: "integer" } },
    required: ["a"],
  });
});

for (const [what, tool, expected] of [
  ["no source", {}, /no function at its top level/],
  ["TypeScript without a schema", { source_code: "x", source_type: "typescript" }, /needs a json_schema/],
  ["a source type that is none", { ...schema("a"), source_type: "kelpie" }, /source_type is one of python, typescript, json, not "kelpie"/],
  ["a schema without a name", { source_code: "x", json_schema: {} }, /json_schema.name is missing/],
  ["a name with a space", { source_code: "x", json_schema: { name: "a b" } }, /1 to 64 characters/],
  [
    "parameters that are no object schema",
    { source_code: "x", json_schema: { name: "a", parameters: { type: "string" } } },
    /"type": "object"/,
  ],
  ["a limit of 0", { ...schema("a"), return_char_limit: 0 }, /return_char_limit/],
  ["a source that fits no row", { ...schema("a"), source_code: "x".repeat(96_000) }, /too large/],
] as const)
  test(`A tool with ${what} is refused`, async () => {
    const store = new MemoryStore();
    await assert.rejects(create(store, tool), (error) => error instanceof InvalidToolError && expected.test(error.message));
    assert.equal(await countTools(store, project, 5), 0);
  });

test("Names are taken once, also by two at a time, and free again after a delete or a rename", async () => {
  const store = new MemoryStore();
  const outcomes = await Promise.allSettled([create(store, schema("a")), create(store, schema("a"))]);
  assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
  const taken = outcomes.find((outcome) => outcome.status === "rejected")!.reason as unknown;
  assert.ok(taken instanceof ToolNameTakenError);
  const a = (await findToolByName(new Transaction(store), project, "a"))!;
  const renamed = await transact(store, environment, (transaction) =>
    updateTool(transaction, environment, project, a.id, { json_schema: schema("b").json_schema }),
  );
  assert.deepEqual([renamed.id, renamed.name], [a.id, "b"]);
  await create(store, schema("a"));
  await assert.rejects(
    transact(store, environment, (transaction) =>
      updateTool(transaction, environment, project, a.id, { json_schema: schema("a").json_schema }),
    ),
    ToolNameTakenError,
  );
  await transact(store, environment, (transaction) => deleteTool(transaction, project, a.id));
  assert.equal(await findToolByName(new Transaction(store), project, "b"), undefined);
  await assert.rejects(
    transact(store, environment, (transaction) => deleteTool(transaction, project, a.id)),
    ToolNotFoundError,
  );
  await assert.rejects(getTool(new Transaction(store), project, "tool-x"), ToolNotFoundError);
});

test("An upsert creates, then updates under the same id", async () => {
  const store = new MemoryStore();
  const upsert = (tool: ToolCreate): Promise<ToolRecord> =>
    transact(store, environment, (transaction) => upsertTool(transaction, environment, project, tool));
  const first = await upsert({ source_code: source, tags: ["x"] });
  const second = await upsert({ source_code: source.replace("b: int = 2", "c: str"), description: "New." });
  assert.equal(second.id, first.id);
  assert.deepEqual(
    [second.description, second.tags, (second.json_schema["parameters"] as { required: string[] }).required],
    ["New.", ["x"], ["a", "c"]],
  );
});

test("A change of the source changes the schema with it", async () => {
  const store = new MemoryStore();
  const tool = await create(store, { source_code: source });
  const updated = await transact(store, environment, (transaction) =>
    updateTool(transaction, environment, project, tool.id, { source_code: 'def sub(a: float):\n    """Subtracts."""\n' }),
  );
  assert.deepEqual([updated.name, updated.description], ["sub", "Subtracts."]);
});

test("What a built-in tool is cannot be changed, what its owner decides can", async () => {
  const store = new MemoryStore();
  const registry = new ToolRegistry();
  await registry.seed(store, environment, project);
  const id = registry.idOf(project, "memory_insert");
  const change = (update: Parameters<typeof updateTool>[4]): Promise<ToolRecord> =>
    transact(store, environment, (transaction) => updateTool(transaction, environment, project, id, update));
  await assert.rejects(change({ source_code: "def x(): pass" }), InvalidToolError);
  await assert.rejects(change({ description: "other" }), InvalidToolError);
  await assert.rejects(
    transact(store, environment, (transaction) => upsertTool(transaction, environment, project, schema("memory_insert"))),
    InvalidToolError,
  );
  assert.equal((await change({ return_char_limit: 100, default_requires_approval: true })).return_char_limit, 100);
});

const filters: readonly (readonly [ToolFilter, readonly string[]])[] = [
  [{ name: "alpha" }, ["alpha"]],
  [{ names: ["alpha", "beta", "none"] }, ["alpha", "beta"]],
  [{ tool_ids: [baseToolId(project, "memory")] }, ["memory"]],
  [{ search: "ALPH" }, ["alpha"]],
  [{ tool_types: ["custom"] }, ["alpha", "beta"]],
  [
    { tool_types: ["custom", "letta_builtin"] },
    [
      "alpha",
      "beta",
      ...baseTools
        .filter(({ type }) => type === "letta_builtin")
        .map(({ tool }) => tool.name)
        .toSorted(),
    ],
  ],
  [
    { exclude_tool_types: ["letta_core", "letta_memory_core", "letta_sleeptime_core", "letta_builtin", "letta_multi_agent_core"] },
    ["alpha", "beta"],
  ],
  [
    { return_only_letta_tools: true, search: "a" },
    baseTools
      .map(({ tool }) => tool.name)
      .filter((name) => name.includes("a"))
      .toSorted(),
  ],
  [{ tool_types: ["external_mcp"] }, []],
];
for (const [filter, names] of filters)
  test(`The tools filtered by ${JSON.stringify(filter).slice(0, 80)} are found`, async () => {
    const store = new MemoryStore();
    await new ToolRegistry().seed(store, environment, project);
    await create(store, schema("alpha"));
    await create(store, schema("beta"));
    const found = await listTools(store, project, filter, { limit: 50 });
    assert.deepEqual(found.map(({ name }) => name).toSorted(), names);
  });

test("Tools page by cursor, newest first", async () => {
  const store = new MemoryStore();
  await new ToolRegistry().seed(store, environment, project);
  const whole = await listTools(store, project, {}, { limit: 50, reverse: true });
  const paged: ToolRecord[] = [];
  for (;;) {
    const last = paged.at(-1);
    const page = await listTools(store, project, {}, { limit: 3, reverse: true, ...(last === undefined ? {} : { after: last.id }) });
    if (page.length === 0) break;
    paged.push(...page);
  }
  assert.deepEqual(paged, whole);
});

test("A search finds tools by the words of name, description and tags", async () => {
  const store = new MemoryStore();
  await new ToolRegistry().seed(store, environment, project);
  const tool = await create(store, { ...schema("weather_report"), tags: ["forecast"] });
  for (const query of ["weather", "forecast", "WEATHER_REPORT"])
    assert.equal((await searchTools(store, project, { query, limit: 3 }))[0]!.tool.id, tool.id);
  assert.deepEqual(await searchTools(store, project, { query: "memory", tool_types: ["custom"], limit: 3 }), []);
  assert.deepEqual(
    (await searchTools(store, project, { query: null, tags: ["forecast"], limit: 3 })).map((found) => found.tool.id),
    [tool.id],
  );
});

test("Refused tags of a tool are an error by name", async () => {
  await assert.rejects(create(new MemoryStore(), { ...schema("a"), tags: [""] }), MemoryError);
});

test("A source makes the tools behind the records of its type, and of no other", async () => {
  const store = new MemoryStore();
  const registry = new ToolRegistry();
  registry.addSource("custom", (record) => (record.name === "known" ? { ...own, name: record.name } : undefined));
  const [known, unknown] = [await create(store, schema("known")), await create(store, schema("unknown"))];
  assert.deepEqual(await registry.resolve(known).execute({}, outside as never), { status: "success", text: "noon" });
  assert.equal(registry.isAvailable(known), true);
  assert.equal(registry.isAvailable(unknown), false);
  assert.equal(registry.isAvailable({ ...known, tool_type: "external_mcp" }), false);
  assert.equal(registry.isAvailable({ ...known, source_type: inProcess }), false, "another process's tool is not sandboxed code");
});
