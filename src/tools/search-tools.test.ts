import assert from "node:assert/strict";
import { test } from "node:test";
import type { Environment } from "../environment/environment.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { type AgentLink, agentKey, readAgentLink } from "../memory/agent-link.ts";
import { indexMessage } from "../memory/conversation-search.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { transact } from "../storage/transaction.ts";
import { archivalMemoryInsert, archivalMemorySearch, conversationSearch, sendMessage } from "./search-tools.ts";
import type { StateTool, ToolInput, ToolResult } from "./tool.ts";

const real = new RealEnvironment();
const now = Date.UTC(2026, 0, 10, 12);
const environment: Environment = {
  random: real.random,
  log: real.log,
  probe: () => {},
  clock: { now: () => now, elapsed: () => 0, sleep: async () => {}, schedule: () => () => {} },
};
const agent: AgentLink = {
  id: "agent-1",
  name: "Ada",
  created_at: "2026",
  block_ids: [],
  archive_ids: [],
  timezone: "Europe/Berlin",
  core_bytes_max: null,
};

async function storeWithAgent(): Promise<MemoryStore> {
  const store = new MemoryStore();
  await transact(store, environment, async (transaction) => transaction.set(agentKey("p", agent.id), agent));
  return store;
}

async function call(store: MemoryStore, tool: StateTool, input: ToolInput): Promise<ToolResult> {
  return await transact(store, environment, (transaction) =>
    tool.execute(input, {
      transaction,
      store,
      environment,
      project: "p",
      agentId: agent.id,
      conversationId: "default",
      sendToAgent: async () => ({}),
    }),
  );
}

async function said(store: MemoryStore): Promise<void> {
  await transact(store, environment, async (transaction) => {
    for (const [at, role, text] of [
      [1, "user", "I like tea"],
      [2, "assistant", "Tea is good"],
      [3, "tool", "tea: 42"],
    ] as const)
      indexMessage(transaction, "p", agent.id, {
        messageId: `message-${at}`,
        conversationId: "default",
        role,
        text,
        time: now - (4 - at) * 3_600_000,
      });
  });
}

test("send_message is acknowledged in Letta's words", async () => {
  assert.deepEqual(await call(await storeWithAgent(), sendMessage, { message: "hi" }), {
    status: "success",
    text: "Sent message successfully.",
  });
  assert.equal((await call(await storeWithAgent(), sendMessage, {})).status, "error");
});

test("conversation_search shows what was said, when, and by whom, in the agent's time zone", async () => {
  const store = await storeWithAgent();
  await said(store);
  const result = await call(store, conversationSearch, { query: "like" });
  assert.deepEqual(JSON.parse(result.text), {
    message: "Showing 1 results:",
    results: [{ timestamp: "2026-01-10T10:00:00.000+01:00", time_ago: "3h ago", role: "user", content: "I like tea" }],
  });
});

for (const [input, contents] of [
  [{ query: "tea" }, ["I like tea", "Tea is good"]],
  [{ query: "tea", roles: ["tool"] }, ["tea: 42"]],
  [{}, ["Tea is good", "I like tea"]],
  [{ limit: 1 }, ["Tea is good"]],
  [{ start_date: "2026-01-10T10:30" }, ["Tea is good"]],
  [{ end_date: "2026-01-10T10:30" }, ["I like tea"]],
  [{ start_date: "2026-01-10", end_date: "2026-01-10" }, ["Tea is good", "I like tea"]],
  [{ start_date: "2026-01-11" }, []],
  [{ query: "coffee" }, []],
] as const)
  test(`conversation_search of ${JSON.stringify(input)} finds ${JSON.stringify(contents)}`, async () => {
    const store = await storeWithAgent();
    await said(store);
    const { results } = JSON.parse((await call(store, conversationSearch, input)).text) as { results: { content: string }[] };
    assert.deepEqual(results.map(({ content }) => content).toSorted(), contents.toSorted());
  });

for (const [tool, input, expected] of [
  [conversationSearch, { start_date: "soon" }, /Invalid start_date format: "soon"/],
  [conversationSearch, { roles: ["god"] }, /Unknown role `god`: use assistant, user, tool/],
  [conversationSearch, { limit: 0 }, /`limit` must be a whole number from 1 to 100/],
  [conversationSearch, { query: 7 }, /`query` must be a string/],
  [archivalMemorySearch, {}, /`query` is required/],
  [archivalMemorySearch, { query: "x", top_k: 1e9 }, /`top_k` must be a whole number/],
  [archivalMemorySearch, { query: "x", tags: "x" }, /`tags` must be a list of strings/],
  [archivalMemoryInsert, { content: "" }, /text is empty/],
  [archivalMemoryInsert, { content: "x", tags: [""] }, /tags is empty/],
] as const)
  test(`${tool.name} of ${JSON.stringify(input)} is an error that the model can act on`, async () => {
    const result = await call(await storeWithAgent(), tool, input);
    assert.equal(result.status, "error");
    assert.match(result.text, expected);
  });

test("What was inserted into archival memory is found by its words and tags, and a refused insert makes no archive", async () => {
  const store = await storeWithAgent();
  assert.equal((await call(store, archivalMemorySearch, { query: "anything" })).text, '{"message":"No results found.","results":[]}');
  await call(store, archivalMemoryInsert, { content: " " });
  assert.deepEqual((await readAgentLink(store, "p", agent.id))!.archive_ids, []);
  const inserted = await call(store, archivalMemoryInsert, { content: "The key is under the mat", tags: ["home"] });
  const id = /\(ID: (passage-[0-9a-f-]+)\)$/.exec(inserted.text)![1];
  await call(store, archivalMemoryInsert, { content: "The mat is red", tags: ["colour"] });
  const found = JSON.parse((await call(store, archivalMemorySearch, { query: "mat", tags: ["home"] })).text) as unknown;
  assert.deepEqual(found, {
    message: "Showing 1 results:",
    results: [{ id, timestamp: "2026-01-10T13:00:00.000+01:00", content: "The key is under the mat", tags: ["home"] }],
  });
  const both = JSON.parse((await call(store, archivalMemorySearch, { query: "", tags: ["home", "colour"] })).text) as {
    results: unknown[];
  };
  assert.equal(both.results.length, 2);
});

test("A search that finds much shows what fits and says that there is more", async () => {
  const store = await storeWithAgent();
  for (let at = 0; at < 12; at++) await call(store, archivalMemoryInsert, { content: `word ${"\u0001".repeat(9_000)}` });
  const result = await call(store, archivalMemorySearch, { query: "word", top_k: 12 });
  assert.equal(result.status, "success");
  assert.ok(result.text.length < 50_000 + 1_000, `${result.text.length} characters`);
  assert.match(result.text, /Showing 1 of 12 results/);
  assert.match(result.text, /\[the text goes on: it has 9005 characters\]/);
});
