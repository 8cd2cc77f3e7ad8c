/** Runs whose store is slow or fails, whose models break off, and that are cancelled in the middle of a commit. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeJson } from "../base/json.ts";
import { tupleRange, decodeTuple } from "../base/tuple.ts";
import { readBlocks } from "../memory/block.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { type Batch, type Query, type Store, StoreUnavailableError } from "../storage/store.ts";
import type { OutsideTool } from "../tools/tool.ts";
import { ModelError, type ModelEvent } from "../models/model.ts";
import { effectRows, type EffectRecord } from "./effect-ledger.ts";
import { readEvents, seqAfterCrash } from "./run-events.ts";
import {
  calls,
  collect,
  lastResults,
  openTestAgents,
  outline,
  project,
  sendRequest,
  type TestAgents,
  text,
  userMessage,
} from "./testing.ts";

/** A store of which a test holds up calls, or lets them fail. */
interface TroubledStore extends Store {
  /** Called before each commit; what it gives is waited for. */
  beforeCommit: (batch: Batch) => Promise<void> | undefined;
  /** The same of each read; may throw. */
  beforeRead: (queries: readonly Query[]) => Promise<void> | undefined;
}

function troubledStore(): TroubledStore {
  const store = new MemoryStore();
  return {
    limits: store.limits,
    beforeCommit: () => undefined,
    beforeRead: () => undefined,
    async read(queries) {
      await this.beforeRead(queries);
      return await store.read(queries);
    },
    async commit(batch) {
      await this.beforeCommit(batch);
      return await store.commit(batch);
    },
    watch: (keys, signal) => store.watch(keys, signal),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

interface Held {
  readonly reached: Promise<void>;
  release(): void;
}

/** Holds up the first commit that writes a row of this kind. */
function holdCommit(store: TroubledStore, kind: string): Held {
  const hold = holdOnce();
  store.beforeCommit = (batch) => hold.at(batch.writes.some((write) => write.kind === "set" && kindOf(write.key) === kind));
  return hold;
}

/** Holds up the first read of a row of this kind. */
function holdRead(store: TroubledStore, kind: string): Held {
  const hold = holdOnce();
  store.beforeRead = (queries) => hold.at(reads(queries, kind));
  return hold;
}

function holdOnce(): Held & { at(isIt: boolean): Promise<void> | undefined } {
  const [reached, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isHeld = false;
  return {
    reached: reached.promise,
    release: () => gate.resolve(),
    at(isIt) {
      if (isHeld || !isIt) return undefined;
      isHeld = true;
      reached.resolve();
      return gate.promise;
    },
  };
}

function reads(queries: readonly Query[], kind: string): boolean {
  return queries.some((query) => "key" in query && kindOf(query.key) === kind);
}

function kindOf(key: Uint8Array): unknown {
  return decodeTuple(key)[1];
}

/** Turns run in microtasks: after those only what waits for a commit is left. */
async function turnsAreDone(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

function countingTool(fields: Partial<OutsideTool> = {}): OutsideTool & { called: number } {
  return {
    name: "pay",
    description: "Pays.",
    parameters: { type: "object", properties: {} },
    effect: "once",
    called: 0,
    async execute() {
      this.called++;
      return { status: "success", text: "paid" };
    },
    ...fields,
  };
}

async function follow(kelpie: TestAgents, runId: string, after = 0): Promise<ReturnType<typeof collect>> {
  return await collect(await kelpie.agents.conversations.follow(project, runId, after, new AbortController().signal));
}

async function ledgerOf(kelpie: TestAgents, runId: string): Promise<string[]> {
  const [answer] = await kelpie.store.read([{ ...tupleRange(effectRows(project, runId)), limit: 100 }]);
  return answer!.map((entry) => decodeJson<EffectRecord>(entry.value).state);
}

test("Each whole message in the log of a foreground run has the number of its last token, so that a reader loses none", async () => {
  await using kelpie = await openTestAgents(function* () {
    yield { type: "reasoning", delta: "Hm" };
    yield { type: "reasoningEnd" };
    yield* text("Hello", " there");
  });
  const address = await kelpie.create();
  const live = await kelpie.run(address, "Hi", { streamTokens: true });
  assert.deepEqual(
    live.map((event) => event.seq),
    [1, 2, 3, 4, 5],
  );
  const runId = String(live[0]!.message["run_id"]);
  const durable = await readEvents(kelpie.store, project, runId, 0);
  assert.deepEqual(
    durable.map((event) => event.seq),
    [1, 3, 4, 5],
  );
  assert.deepEqual(outline(await follow(kelpie, runId, 1)).slice(0, 1), ["assistant Hello there"]);
});

test("An answer that breaks off again and again is shown once", async () => {
  let attempts = 0;
  await using kelpie = await openTestAgents(function* () {
    attempts++;
    yield* text("One");
    if (attempts === 1) yield new ModelError("providerDown", "cut");
    yield* text(" two");
    if (attempts === 2) yield new ModelError("providerDown", "cut");
    yield* text(" three");
  });
  const events = await kelpie.run(await kelpie.create(), "Count", { streamTokens: true });
  assert.deepEqual(outline(events).slice(0, 4), ["assistant One", "assistant  two", "assistant  three", "stop end_turn"]);
});

test("An answer that is shorter than what broke off is shown whole under an id of its own", async () => {
  let attempts = 0;
  await using kelpie = await openTestAgents(function* () {
    if (++attempts > 1) yield* text("One");
    else {
      yield* text("One", " two");
      yield new ModelError("providerDown", "cut");
    }
  });
  const address = await kelpie.create();
  const events = await kelpie.run(address, "Count", { streamTokens: true });
  assert.deepEqual(outline(events).slice(0, 4), ["assistant One", "assistant  two", "assistant One", "stop end_turn"]);
  const [last] = (await kelpie.agents.conversations.messages(project, { conversation: address }, { limit: 1, reverse: true }))!;
  assert.notEqual(events[0]!.message["id"], last!.id);
  assert.equal(events[2]!.message["id"], last!.id);
});

test("An answer that breaks off between two calls goes on with the second one", async () => {
  let attempts = 0;
  const [first, second] = [
    { name: "pay", arguments: {}, id: "call-1" },
    { name: "pay", arguments: {}, id: "call-2" },
  ];
  await using kelpie = await openTestAgents(
    function* (request) {
      const isDone = lastResults(request).length > 0;
      if (isDone) yield* text("done");
      else if (++attempts > 1) yield* calls(first, second);
      else {
        yield* calls(first);
        yield new ModelError("providerDown", "cut");
      }
    },
    { tools: [countingTool()] },
  );
  const events = await kelpie.run(await kelpie.create({ tools: ["pay"] }), "Go", { streamTokens: true });
  const asked = events.filter(({ message }) => message.message_type === "tool_call_message");
  assert.equal(new Set(asked.map(({ message }) => message["id"])).size, 1, "the message goes on under its id");
  assert.deepEqual(outline(events).slice(-4), ["return success success", "assistant done", "stop end_turn", "usage_statistics"]);
});

test("A context that was compacted twice shows the last summary and no other", async () => {
  let summaries = 0;
  await using kelpie = await openTestAgents(
    (request) => (request.tools.length === 0 ? text(`SUMMARY ${++summaries}`) : text("y".repeat(4_000))),
    { contextWindow: 8_000 },
  );
  const address = await kelpie.create();
  while (summaries < 3) await kelpie.run(address, "x".repeat(4_000));
  const { messages } = await kelpie.agents.conversations.contextMessages(address);
  assert.deepEqual(
    messages.flatMap(({ body }) => (body.role === "summary" ? [body.text] : [])),
    ["SUMMARY 3"],
  );
});

test("A cancel that comes while a step is on its way to the store leaves the events of both", async () => {
  const store = troubledStore();
  await using kelpie = await openTestAgents(() => calls({ name: "fly", arguments: {} }), { store });
  const address = await kelpie.create();
  const held = holdCommit(store, "step");
  const sent = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Go")]));
  assert.ok(sent.ok);
  await held.reached;
  const cancelled = kelpie.agents.conversations.cancel(address, null);
  await turnsAreDone();
  held.release();
  assert.ok((await cancelled).ok);
  const events = await follow(kelpie, sent.runId);
  assert.deepEqual(outline(events), ["call fly", "return error", "stop cancelled", "usage_statistics"]);
  assert.deepEqual(
    events.map((event) => event.seq),
    [1, 2, 3, 4],
  );
});

test("A call that has not left when its run is cancelled never leaves", async () => {
  const store = troubledStore();
  const tool = countingTool();
  let held: Held | undefined;
  await using kelpie = await openTestAgents(
    function* () {
      yield* calls({ name: "pay", arguments: {} });
      // What a step reads before it makes the calls that are marked as started.
      held = holdRead(store, "tool.changes");
      asked.resolve();
    },
    { store, tools: [tool] },
  );
  const asked = Promise.withResolvers<void>();
  const address = await kelpie.create({ tools: ["pay"] });
  const sent = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Go")]));
  assert.ok(sent.ok);
  await asked.promise;
  await held!.reached;
  assert.ok((await kelpie.agents.conversations.cancel(address, null)).ok);
  held!.release();
  await kelpie.agents.stop();
  assert.equal(tool.called, 0);
});

test("A state tool whose run is cancelled before its turn is said not to have been called", async () => {
  const store = troubledStore();
  await using kelpie = await openTestAgents(
    () => calls({ name: "ask", arguments: {}, id: "call-1" }, { name: "memory_insert", arguments: { label: "human", new_string: "x" } }),
    { store },
  );
  const address = await kelpie.create();
  const clientTools = [{ name: "ask", description: "", parameters: { type: "object" } }];
  await kelpie.run(address, "Go", { clientTools });
  const held = holdCommit(store, "run");
  const answer = { type: "approval", decisions: [{ tool_call_id: "call-1", status: "success", tool_return: "yes" }] } as const;
  const sending = kelpie.agents.conversations.send(address, sendRequest([answer], { clientTools }));
  await held.reached;
  // The turn that marks the call as started is on its way when the cancel comes.
  held.release();
  const starting = holdCommit(store, "state");
  const sent = await sending;
  assert.ok(sent.ok);
  await starting.reached;
  const cancelled = kelpie.agents.conversations.cancel(address, null);
  await turnsAreDone();
  starting.release();
  await cancelled;
  const results = (await follow(kelpie, sent.runId)).find(({ message }) => message.message_type === "tool_return_message");
  const [, inserted] = results!.message["tool_returns"] as { readonly tool_return: string }[];
  assert.equal(inserted!.tool_return, "The run was ended before this call was made");
  assert.deepEqual(await ledgerOf(kelpie, sent.runId), []);
});

test("The ledger calls a call unknown that gave no answer in its time", async () => {
  const tool = countingTool({ timeoutMilliseconds: 5, execute: () => new Promise(() => {}) });
  await using kelpie = await openTestAgents(
    (request) => (lastResults(request).length > 0 ? text("ok") : calls({ name: "pay", arguments: {} })),
    { tools: [tool] },
  );
  const events = await kelpie.run(await kelpie.create({ tools: ["pay"] }), "Go");
  assert.deepEqual(outline(events).slice(0, 2), ["call pay", "return error"]);
  assert.deepEqual(await ledgerOf(kelpie, String(events[0]!.message["run_id"])), ["unknown"]);
});

for (const background of [true, false]) {
  test(`A ${background ? "background" : "foreground"} run that the store fails goes on and shows nothing twice`, async () => {
    const store = troubledStore();
    let fails = false;
    let asked = 0;
    // The turn that commits the answer reads the block that its tool changes.
    store.beforeRead = (queries) => {
      if (!fails || !reads(queries, "block")) return undefined;
      fails = false;
      throw new StoreUnavailableError("down");
    };
    await using kelpie = await openTestAgents(
      function* (request) {
        if (lastResults(request).length > 0) {
          yield* text("done");
          return;
        }
        fails = ++asked === 1;
        yield* text("One", " two");
        yield* calls({ name: "memory_insert", arguments: { label: "human", new_string: "x" } });
      },
      { store },
    );
    const address = await kelpie.create();
    const events = await kelpie.run(address, "Go", { streamTokens: true, background });
    assert.equal(asked, 2);
    assert.deepEqual(outline(events), [
      "assistant One",
      "assistant  two",
      "call memory_insert",
      "call memory_insert",
      "return success",
      "assistant done",
      "stop end_turn",
      "usage_statistics",
    ]);
    const agent = await kelpie.agents.directory.get(project, address.agentId);
    const [block] = await readBlocks(store, project, agent.block_ids);
    assert.equal(block!.value, "Nothing is known yet.\nx");
  });
}

test("A run whose conversation has no room for its turns waits until there is some", async () => {
  const tool = countingTool({ effect: "readOnly" });
  const made = Array.from({ length: 5 }, (_, at) => ({ name: "pay", arguments: {}, id: `call-${at}` }));
  await using kelpie = await openTestAgents((request) => (lastResults(request).length > 0 ? text("done") : calls(...made)), {
    tools: [tool],
    limits: { mailboxMessages: 1 },
  });
  const events = await kelpie.run(await kelpie.create({ tools: ["pay"] }), "Go");
  assert.deepEqual(outline(events).slice(1), [
    `return ${made.map(() => "success").join(" ")}`,
    "assistant done",
    "stop end_turn",
    "usage_statistics",
  ]);
});

test("A run whose driver failed is taken up again by the next request", async () => {
  const store = troubledStore();
  const failed = Promise.withResolvers<void>();
  let isDown = false;
  store.beforeRead = (queries) => {
    if (!isDown || !reads(queries, "state")) return undefined;
    failed.resolve();
    throw new StoreUnavailableError("down");
  };
  // With few rows in memory a turn has to read, so that the driver can neither go on nor end the run.
  await using kelpie = await openTestAgents(
    function* () {
      const isFirst = !isDown;
      isDown = true;
      if (isFirst) yield new TypeError("A bug of an adapter");
      yield* text("done");
    },
    { store, limits: { cachedRows: 1 } },
  );
  const address = await kelpie.create();
  const sent = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Go")]));
  assert.ok(sent.ok);
  await failed.promise;
  await turnsAreDone();
  store.beforeRead = () => undefined;
  const other = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Hello?")]));
  assert.deepEqual(other, { ok: false, reason: "busy", runId: sent.runId });
  assert.deepEqual(outline(await follow(kelpie, sent.runId)), ["assistant done", "stop end_turn", "usage_statistics"]);
});

test("A cancel of a background run that is just being taken up again comes after the tokens that are durable", async () => {
  const store = troubledStore();
  const script = async function* (): AsyncGenerator<ModelEvent> {
    yield* text("One", " two");
    await new Promise(() => {});
  };
  const first = await openTestAgents(script, { store });
  const address = await first.create();
  const request = sendRequest([userMessage("Go")], { background: true, streamTokens: true });
  const sent = await first.agents.conversations.send(address, request);
  assert.ok(sent.ok);
  const durable = async (): Promise<number[]> => (await readEvents(store, project, sent.runId, 0)).map((event) => event.seq);
  const shown = await first.agents.conversations.follow(project, sent.runId, 0, new AbortController().signal);
  for await (const events of shown) if (events.at(-1)!.seq === 2) break;
  // The driver of the second node looks for the last durable event, and the cancel does so too.
  await using second = await openTestAgents(script, { store });
  assert.ok((await second.agents.conversations.cancel(address, null)).ok);
  assert.deepEqual(await durable(), [1, 2, 3, 4]);
});

test("Each time that a foreground run is taken up again it goes on above all numbers that may have been shown", () => {
  const [foreground, background] = [{ background: false }, { background: true }];
  assert.ok(seqAfterCrash(foreground, 7, 2) > seqAfterCrash(foreground, 7, 1) + 100_000);
  assert.ok(seqAfterCrash(foreground, 7, 1) > 7 + 100_000);
  assert.equal(seqAfterCrash(background, 7, 3), 7);
});
