/** The official client's own machinery against this server: iterators over every list, error classes, retries. */
import assert from "node:assert/strict";
import { test } from "node:test";
import Letta from "@letta-ai/letta-client";
import { openTestServer } from "./testing.ts";

interface PageOptions {
  readonly limit?: number;
  readonly order: "asc" | "desc";
}

/** A list as the client walks it, page by page, until a page is empty. */
type List = (options: PageOptions) => AsyncIterable<{ readonly id?: string | null }>;

/** More than any list here has: one that goes round in circles ends the test, not the machine. */
const itemsMax = 500;

async function idsOf(list: List, options: PageOptions): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of list(options)) {
    // The variants of one message share its id, and keep their own order in any list.
    if (id != null && id !== ids.at(-1)) ids.push(id);
    assert.ok(ids.length < itemsMax, `The list does not end: ${ids.slice(-4).join()}`);
  }
  return ids;
}

test("Every list of the official client gives everything once, in both orders, in pages of any size", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const shared = await letta.blocks.create({ label: "shared", value: "x" });
  const labels = ["a", "b", "c", "d"];
  for (let index = 0; index < 4; index++)
    await letta.agents.create({ name: `n${index}`, block_ids: [shared.id], include_base_tools: false });
  const agent = await letta.agents.create({
    memory_blocks: labels.map((label) => ({ label, value: "x" })),
    block_ids: [shared.id],
    tools: ["archival_memory_insert", "archival_memory_search"],
  });
  for (const name of labels) await letta.archives.create({ name });
  const conversation = await letta.conversations.create({ agent_id: agent.id });
  for (const input of ["Remember that I like tea", "one", "two"]) {
    await letta.agents.messages.create(agent.id, { input });
    for await (const _ of await letta.conversations.messages.create(conversation.id, { input }));
  }
  const runs = (await letta.runs.list({ agent_id: agent.id, order: "asc" })).items;
  const run = runs[0]!.id;
  const [step] = (await letta.runs.steps.list(run, { order: "asc" })).items;

  const lists: Readonly<Record<string, readonly [count: number, list: List]>> = {
    "agents.list": [5, (options) => letta.agents.list(options)],
    "agents.list with a name": [1, (options) => letta.agents.list({ ...options, name: "n2" })],
    "agents.blocks.list": [5, (options) => letta.agents.blocks.list(agent.id, options)],
    "agents.tools.list": [5, (options) => letta.agents.tools.list(agent.id, options)],
    "agents.folders.list": [0, (options) => letta.agents.folders.list(agent.id, options)],
    "agents.files.list": [0, (options) => letta.agents.files.list(agent.id, options) as never],
    "blocks.list": [5, (options) => letta.blocks.list(options)],
    "blocks.agents.list": [5, (options) => letta.blocks.agents.list(shared.id, options)],
    "tools.list": [(await letta.tools.list({ limit: 1_000 })).items.length, (options) => letta.tools.list(options)],
    "archives.list": [4, (options) => letta.archives.list(options)],
    "folders.list": [0, (options) => letta.folders.list(options)],
    "runs.list": [6, (options) => letta.runs.list({ ...options, agent_id: agent.id })],
    "runs.messages.list": [4, (options) => letta.runs.messages.list(run, options)],
    "runs.steps.list": [2, (options) => letta.runs.steps.list(run, options)],
    "steps.list": [7, (options) => letta.steps.list({ ...options, agent_id: agent.id })],
    "steps.messages.list": [2, (options) => letta.steps.messages.list(step!.id, options)],
    "conversations.messages.list": [7, (options) => letta.conversations.messages.list(conversation.id, options)],
  };
  for (const [name, [count, list]] of Object.entries(lists)) {
    const whole = await idsOf(list, { order: "asc", limit: 100 });
    assert.equal(new Set(whole).size, count, `${name}: ${whole.join()}`);
    assert.equal(whole.length, count, `${name} gives nothing twice`);
    for (const limit of [1, 2, 3]) {
      assert.deepEqual(await idsOf(list, { order: "asc", limit }), whole, `${name}, oldest first, pages of ${limit}`);
      assert.deepEqual(await idsOf(list, { order: "desc", limit }), whole.toReversed(), `${name}, newest first, pages of ${limit}`);
    }
  }
});

test("An agent's messages are walked from the oldest on; newest first is one page, and older ones come with before=", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({});
  for (const input of ["one", "two", "three"]) await letta.agents.messages.create(agent.id, { input });
  const list: List = (options) => letta.agents.messages.list(agent.id, options);
  const whole = await idsOf(list, { order: "asc", limit: 100 });
  assert.equal(whole.length, 7);
  assert.deepEqual(await idsOf(list, { order: "asc", limit: 2 }), whole);
  // As in V1: the rows of a page are always oldest first, so `after` its last one is the end.
  assert.deepEqual(await idsOf(list, { order: "desc", limit: 2 }), whole.slice(-2));
  const backwards: string[] = [];
  for (let before: string | undefined; ; before = backwards[0]!) {
    const page = await letta.agents.messages.list(agent.id, { limit: 2, ...(before === undefined ? {} : { before }) });
    if (page.items.length === 0) break;
    backwards.unshift(...page.items.map(({ id }) => id));
  }
  assert.deepEqual(backwards, whole);
});

test("Refusals are the official client's own error classes, and none of them is sent twice", async () => {
  await using server = await openTestServer();
  let sent = 0;
  const letta = new Letta({
    baseURL: "http://localhost",
    apiKey: "none",
    fetch: async (input, init) => {
      sent++;
      return await server.app.fetch(new Request(input, init));
    },
  });
  const agent = await letta.agents.create({ tools: ["conversation_search"] });
  const client_tools = [{ name: "look", description: "Looks", parameters: { type: "object", properties: {} } }];
  await letta.agents.messages.create(agent.id, { input: "call look {}", client_tools });
  const absent = "00000000-0000-4000-8000-000000000000";
  const cases: readonly (readonly [name: string, error: new (...args: never[]) => Error, RegExp, () => PromiseLike<unknown>])[] = [
    ["an agent that is not there", Letta.NotFoundError, /Agent not found/, () => letta.agents.retrieve(`agent-${absent}`)],
    ["a run that is not there", Letta.NotFoundError, /NOT_FOUND/, () => letta.runs.retrieve(`run-${absent}`)],
    ["an id of no kind", Letta.UnprocessableEntityError, /agent/, () => letta.agents.retrieve("nonsense")],
    ["a value over its limit", Letta.UnprocessableEntityError, /limit/, () => letta.blocks.create({ label: "a", value: "xx", limit: 1 })],
    [
      "a name that is taken",
      Letta.ConflictError,
      /human/,
      () => letta.agents.create({ memory_blocks: [1, 2].map(() => ({ label: "human", value: "" })) }),
    ],
    [
      "a message while an approval waits",
      Letta.ConflictError,
      /waiting for approval/,
      () => letta.agents.messages.create(agent.id, { input: "x" }),
    ],
    [
      "a cancel with nothing to cancel",
      Letta.ConflictError,
      /no active run/,
      async () => {
        const other = await letta.agents.create({});
        sent = 0;
        await letta.agents.messages.cancel(other.id);
      },
    ],
    [
      "an answer to calls that nobody made",
      Letta.BadRequestError,
      /Invalid tool call IDs/,
      () =>
        letta.agents.messages.create(agent.id, {
          messages: [{ type: "approval", approvals: [{ type: "tool", tool_call_id: "x", tool_return: "", status: "success" }] }],
        }),
    ],
  ];
  for (const [name, expected, message, act] of cases) {
    sent = 0;
    await assert.rejects(
      async () => await act(),
      (error: unknown) => {
        assert.ok(error instanceof expected, `${name}: ${String(error)}`);
        assert.match(error.message, message, name);
        return true;
      },
    );
    assert.equal(sent, 1, `${name} is sent once`);
  }
  await using locked = await openTestServer({ key: "a-long-enough-key" });
  const stranger = new Letta({
    baseURL: "http://localhost",
    apiKey: "another-key",
    fetch: async (input, init) => await locked.app.fetch(new Request(input, init)),
  });
  await assert.rejects(async () => await stranger.agents.list(), Letta.AuthenticationError);
});
