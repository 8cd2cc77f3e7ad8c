import assert from "node:assert/strict";
import { test } from "node:test";
import { readBlocks } from "../memory/block.ts";
import { ModelError } from "../models/model.ts";
import type { OutsideTool } from "../tools/tool.ts";
import { calls, collect, lastResults, lastUserText, openTestAgents, outline, project, sendRequest, text, userMessage } from "./testing.ts";

test("A run answers, and its messages and record are there afterwards", async () => {
  await using kelpie = await openTestAgents(() => text("Hello", " there"));
  const address = await kelpie.create();
  const events = await kelpie.run(address, "Hi");
  assert.deepEqual(outline(events), ["assistant Hello there", "stop end_turn", "usage_statistics"]);
  const messages = await kelpie.agents.conversations.messages(project, { conversation: address }, { limit: 10, reverse: false });
  assert.deepEqual(
    messages!.map((message) => message.body.role),
    ["system", "user", "assistant"],
  );
  const [run] = (await kelpie.agents.conversations.runPage(project, { agentId: address.agentId }, { limit: 10 }))!;
  assert.equal(run!.status, "completed");
  assert.equal(run!.stop_reason, "end_turn");
  assert.equal(run!.kelpie.usage.completion_tokens, 5);
});

test("Tokens are streamed with ids and otids that the list has too", async () => {
  await using kelpie = await openTestAgents(() => text("Hello", " there"));
  const address = await kelpie.create();
  for (const background of [false, true]) {
    const events = await kelpie.run(address, "Hi", { streamTokens: true, background });
    assert.deepEqual(outline(events).slice(0, 2), ["assistant Hello", "assistant  there"]);
    assert.equal(events[0]!.message["otid"], events[1]!.message["otid"]);
    const seqs = events.map((event) => event.seq);
    assert.deepEqual(
      seqs,
      [...seqs].toSorted((left, right) => left - right),
    );
    const [run] = (await kelpie.agents.conversations.runPage(project, { agentId: address.agentId }, { limit: 1, reverse: true }))!;
    const again = await collect(await kelpie.agents.conversations.follow(project, run!.id, 0, new AbortController().signal));
    assert.deepEqual(outline(again), background ? outline(events) : ["assistant Hello there", "stop end_turn", "usage_statistics"]);
  }
});

test("A memory tool changes its block in the batch of the step", async () => {
  await using kelpie = await openTestAgents((request) =>
    lastResults(request).length > 0
      ? text("I will remember that.")
      : calls({ name: "memory_replace", arguments: { label: "human", old_string: "Nothing is known yet.", new_string: "Name: Ada" } }),
  );
  const address = await kelpie.create();
  const events = await kelpie.run(address, "Remember that my name is Ada");
  assert.deepEqual(outline(events), [
    "call memory_replace",
    "return success",
    "assistant I will remember that.",
    "stop end_turn",
    "usage_statistics",
  ]);
  const agent = await kelpie.agents.directory.get(project, address.agentId);
  const [block] = await readBlocks(kelpie.store, project, agent.block_ids);
  assert.equal(block!.value, "Name: Ada");
  await kelpie.run(address, "And now?");
  const system = kelpie.requests.at(-1)!.messages[0]!;
  assert.match(JSON.stringify(system.content), /Name: Ada/, "the next run sees the memory as it is now");
});

test("An unknown tool and invalid arguments become results that the model sees", async () => {
  await using kelpie = await openTestAgents((request) =>
    lastResults(request).length > 0
      ? text("done")
      : calls({ name: "fly", arguments: {} }, { name: "memory_insert", arguments: "{not json" }),
  );
  const address = await kelpie.create();
  const events = await kelpie.run(address, "Go");
  assert.deepEqual(outline(events).slice(0, 2), ["call fly memory_insert", "return error error"]);
  assert.match(lastResults(kelpie.requests[1]!)[0]!, /There is no tool called fly/);
});

test("An outside tool is called once with a stable effect id, and its result reaches the model", async () => {
  const effects: string[] = [];
  const tool: OutsideTool = {
    name: "send_mail",
    description: "Sends a mail.",
    parameters: { type: "object", properties: { to: { type: "string" } }, required: ["to"] },
    effect: "once",
    async execute(input, context) {
      effects.push(context.effectId);
      return { status: "success", text: `sent to ${JSON.stringify(input["to"])}` };
    },
  };
  await using kelpie = await openTestAgents(
    (request) =>
      lastResults(request).length > 0
        ? text("ok")
        : calls({ name: "send_mail", arguments: { to: "a" }, id: "1" }, { name: "send_mail", arguments: { to: "b" }, id: "2" }),
    { tools: [tool] },
  );
  const address = await kelpie.create({ tools: ["send_mail"] });
  const events = await kelpie.run(address, "Go");
  assert.deepEqual(outline(events), [
    "call send_mail send_mail",
    "return success success",
    "assistant ok",
    "stop end_turn",
    "usage_statistics",
  ]);
  assert.equal(new Set(effects).size, 2);
});

test("A run that never ends its calls stops at its step limit", async () => {
  await using kelpie = await openTestAgents(() => calls({ name: "conversation_search", arguments: { query: "x" } }));
  const address = await kelpie.create();
  const events = await kelpie.run(address, "Go", { stepsMax: 3 });
  assert.equal(outline(events).at(-2), "stop max_steps");
  assert.equal(kelpie.requests.length, 3);
});

for (const [kind, stop, type] of [
  ["authentication", "llm_api_error", "llm_authentication"],
  ["rateLimit", "llm_api_error", "llm_rate_limit"],
  ["insufficientCredits", "insufficient_credits", "llm_insufficient_credits"],
  ["contextOverflow", "context_window_overflow_in_system_prompt", "llm_bad_request"],
] as const) {
  test(`A model error of kind ${kind} ends the run with ${stop}`, async () => {
    await using kelpie = await openTestAgents(() => [new ModelError(kind, "no")]);
    const address = await kelpie.create();
    const events = await kelpie.run(address, "Go");
    assert.deepEqual(outline(events), [`stop ${stop}`, "error_message"]);
    assert.equal(events.at(-1)!.message["error_type"], type);
  });
}

test("An answer that breaks off is asked for again and goes on where it was", async () => {
  let attempts = 0;
  await using kelpie = await openTestAgents(function* () {
    yield* text("One", " two");
    if (++attempts === 1) yield new ModelError("providerDown", "cut");
    yield* text(" three");
  });
  const address = await kelpie.create();
  const events = await kelpie.run(address, "Count", { streamTokens: true });
  assert.deepEqual(outline(events).slice(0, 3), ["assistant One", "assistant  two", "assistant  three"]);
  assert.equal(attempts, 2);
});

test("An answer that differs after it broke off is shown whole under a new id", async () => {
  let attempts = 0;
  await using kelpie = await openTestAgents(function* () {
    if (++attempts === 1) {
      yield* text("One");
      yield new ModelError("providerDown", "cut");
    }
    yield* text("Uno", " dos");
  });
  const address = await kelpie.create();
  const events = await kelpie.run(address, "Count", { streamTokens: true });
  assert.deepEqual(outline(events).slice(0, 3), ["assistant One", "assistant Uno", "assistant  dos"]);
  assert.notEqual(events[0]!.message["id"], events[1]!.message["id"]);
  const messages = await kelpie.agents.conversations.messages(project, { conversation: address }, { limit: 1, reverse: true });
  assert.equal(messages![0]!.id, events[1]!.message["id"]);
});

test("While a run is in progress a second request is refused with its id, and a repeat of the first is attached to it", async () => {
  const gate = Promise.withResolvers<void>();
  await using kelpie = await openTestAgents(async function* () {
    await gate.promise;
    yield* text("done");
  });
  const address = await kelpie.create();
  const first = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Hi", "otid-1")]));
  assert.ok(first.ok);
  const second = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Hi", "otid-2")]));
  assert.deepEqual(second, { ok: false, reason: "busy", runId: first.runId });
  const repeat = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Hi", "otid-1")]));
  assert.deepEqual(repeat, { ok: true, runId: first.runId, attached: true });
  gate.resolve();
  const events = await collect(await kelpie.agents.conversations.follow(project, first.runId, 0, new AbortController().signal));
  assert.equal(outline(events).at(-1), "usage_statistics");
});

test("A cancelled run ends with `cancelled`, and the conversation goes on", async () => {
  await using kelpie = await openTestAgents(async function* (request, signal) {
    if (lastUserText(request) === "Wait") await new Promise((resolve) => signal.addEventListener("abort", resolve));
    if (signal.aborted) throw signal.reason;
    yield* text("done");
  });
  const address = await kelpie.create();
  const sent = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Wait")]));
  assert.ok(sent.ok);
  assert.deepEqual(await kelpie.agents.conversations.cancel(address, null), { ok: true, runId: sent.runId });
  const events = await collect(await kelpie.agents.conversations.follow(project, sent.runId, 0, new AbortController().signal));
  assert.equal(outline(events)[0], "stop cancelled");
  assert.deepEqual(await kelpie.agents.conversations.cancel(address, null), { ok: false, reason: "noActiveRun" });
  assert.equal(outline(await kelpie.run(address, "Go on"))[0], "assistant done");
});

test("A client's tool pauses the run, and its result lets the next run go on", async () => {
  await using kelpie = await openTestAgents((request) =>
    lastResults(request).length > 0 ? text("It is 3C") : calls({ name: "weather", arguments: { city: "Oslo" }, id: "call-1" }),
  );
  const address = await kelpie.create();
  const clientTools = [{ name: "weather", description: "", parameters: { type: "object" } }];
  const events = await kelpie.run(address, "Weather?", { clientTools, streamTokens: true });
  assert.deepEqual(outline(events), ["request weather", "stop requires_approval", "usage_statistics"]);
  assert.deepEqual(await kelpie.agents.conversations.send(address, sendRequest([userMessage("?")])), {
    ok: false,
    reason: "pendingApproval",
  });
  const wrong = await kelpie.agents.conversations.send(
    address,
    sendRequest([{ type: "approval", decisions: [{ tool_call_id: "call-2", approve: true }] }]),
  );
  assert.deepEqual(wrong, { ok: false, reason: "invalidToolCallIds", expected: ["call-1"], given: ["call-2"] });
  const after = await kelpie.run(
    address,
    [{ type: "approval", decisions: [{ tool_call_id: "call-1", status: "success", tool_return: "3C" }] }],
    { clientTools },
  );
  assert.deepEqual(outline(after), ["return success", "assistant It is 3C", "stop end_turn", "usage_statistics"]);
});

test("A conversation over its context window is compacted and goes on", async () => {
  await using kelpie = await openTestAgents(
    (request) => (lastUserText(request) === "Now write the summary." ? text("SUMMARY") : text("y".repeat(4_000))),
    { contextWindow: 8_000 },
  );
  const address = await kelpie.create();
  for (let index = 0; index < 12; index++) await kelpie.run(address, "x".repeat(4_000));
  const { messages } = await kelpie.agents.conversations.contextMessages(address);
  assert.equal(messages[0]!.body.role, "summary");
  assert.ok(messages.length < 12, `${messages.length} messages are in the context`);
});

test("A run that is interrupted by the end of its node goes on at the next one", async () => {
  const gate = Promise.withResolvers<void>();
  let asked = 0;
  const script = async function* (): AsyncGenerator<{ type: "text"; delta: string }> {
    asked++;
    yield { type: "text", delta: "One" };
    if (asked === 1) await gate.promise;
    yield { type: "text", delta: " two" };
  };
  const first = await openTestAgents(script);
  const address = await first.create();
  const sent = await first.agents.conversations.send(
    address,
    sendRequest([userMessage("Count")], { background: true, streamTokens: true }),
  );
  assert.ok(sent.ok);
  const seen = [];
  for await (const events of await first.agents.conversations.follow(project, sent.runId, 0, new AbortController().signal)) {
    seen.push(...events);
    break;
  }
  assert.deepEqual(outline(seen), ["assistant One"]);
  await using second = await openTestAgents(script, { store: first.store });
  const rest = await collect(await second.agents.conversations.follow(project, sent.runId, seen.at(-1)!.seq, new AbortController().signal));
  assert.deepEqual(outline(rest), ["assistant  two", "stop end_turn", "usage_statistics"]);
  assert.equal(rest[0]!.message["id"], seen[0]!.message["id"]);
  assert.equal(asked, 2);
  gate.resolve();
});

test("A call whose outcome a crash made unknown is reported and not repeated, unless it may be", async () => {
  for (const [effect, timesCalled] of [
    ["once", 1],
    ["idempotent", 2],
  ] as const) {
    const started = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    let called = 0;
    const tool: OutsideTool = {
      name: "pay",
      description: "Pays.",
      parameters: { type: "object", properties: {} },
      effect,
      async execute() {
        if (++called === 1) {
          started.resolve();
          await gate.promise;
        }
        return { status: "success", text: "paid" };
      },
    };
    const script = (request: Parameters<Parameters<typeof openTestAgents>[0]>[0]) =>
      lastResults(request).length > 0 ? text("ok") : calls({ name: "pay", arguments: {} });
    const first = await openTestAgents(script, { tools: [tool] });
    const address = await first.create({ tools: ["pay"] });
    const sent = await first.agents.conversations.send(address, sendRequest([userMessage("Pay")]));
    assert.ok(sent.ok);
    await started.promise;
    await using second = await openTestAgents(script, { store: first.store, tools: [tool] });
    const events = await collect(await second.agents.conversations.follow(project, sent.runId, 0, new AbortController().signal));
    assert.deepEqual(outline(events).slice(0, 2), ["call pay", `return ${effect === "once" ? "error" : "success"}`]);
    assert.equal(called, timesCalled);
    if (effect === "once") assert.match(lastResults(second.requests[0]!)[0]!, /unknown/);
    gate.resolve();
  }
});

test("Deleting an agent leaves none of its rows", async () => {
  await using kelpie = await openTestAgents(() => text("Hello"));
  const count = async (): Promise<number> =>
    (await kelpie.store.read([{ begin: new Uint8Array(0), end: Uint8Array.of(0xff), limit: 10_000 }]))[0]!.length;
  const before = await count();
  const address = await kelpie.create({ memory_blocks: [] });
  await kelpie.run(address, "Hi");
  const conversation = await kelpie.agents.conversations.create(project, address.agentId);
  await kelpie.run({ ...address, conversationId: conversation.id }, [userMessage("Hi", "an-otid")]);
  await kelpie.agents.directory.delete(project, address.agentId);
  // The headers of the two actors stay: their epochs must never start again.
  assert.equal((await count()) - before, 2);
});

test("Messages are found by their words, also those of other conversations, until they are deleted", async () => {
  await using kelpie = await openTestAgents(() => text("The capital is Oslo"));
  const address = await kelpie.create();
  await kelpie.run(address, "Tell me about Norway");
  const conversation = await kelpie.agents.conversations.create(project, address.agentId);
  const other = { ...address, conversationId: conversation.id };
  await kelpie.run(other, "Tell me about fjords");
  const find = async (query: string): Promise<string[]> =>
    (await kelpie.agents.conversations.search(project, address.agentId, { query, limit: 10 })).map((found) => found.text);
  assert.deepEqual(await find("norway"), ["Tell me about Norway"]);
  assert.deepEqual(await find("fjords"), ["Tell me about fjords"]);
  await kelpie.agents.conversations.reset(other);
  assert.deepEqual(await find("fjords"), []);
  assert.deepEqual(await find("norway"), ["Tell me about Norway"]);
});

test("A stop lets the step in progress finish, and begins no other", async () => {
  const gate = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  await using kelpie = await openTestAgents(async function* () {
    asked.resolve();
    await gate.promise;
    yield* calls({ name: "conversation_search", arguments: { query: "x" } });
  });
  const address = await kelpie.create();
  const sent = await kelpie.agents.conversations.send(address, sendRequest([userMessage("Go")]));
  assert.ok(sent.ok);
  await asked.promise;
  const stopped = kelpie.agents.stop();
  gate.resolve();
  await stopped;
  const run = await kelpie.agents.conversations.run(project, sent.runId);
  assert.equal(run.status, "running");
  assert.equal(kelpie.requests.length, 1);
  const messages = await kelpie.agents.conversations.runMessages(project, run);
  assert.deepEqual(
    messages.map((message) => message.body.role),
    ["user", "assistant", "tool"],
  );
});

test("The server that a request names is told that its run is over", async () => {
  const told = Promise.withResolvers<unknown>();
  await using kelpie = await openTestAgents(() => text("Hello"), {
    callback: async (url, body) => (told.resolve({ url, status: (body as { status: string }).status }), 200),
  });
  const address = await kelpie.create();
  await kelpie.run(address, "Hi", { callbackUrl: "http://127.0.0.1:9/done" });
  assert.deepEqual(await told.promise, { url: "http://127.0.0.1:9/done", status: "completed" });
});

test("An agent that clears its buffer sees each request alone, and its messages stay in the list", async () => {
  await using kelpie = await openTestAgents(() => text("Hello"));
  const address = await kelpie.create({ message_buffer_autoclear: true });
  for (let index = 0; index < 2; index++) await kelpie.run(address, `Request ${index}`);
  assert.deepEqual(
    kelpie.requests[1]!.messages.map((message) => message.role),
    ["system", "user"],
  );
  const messages = await kelpie.agents.conversations.messages(project, { conversation: address }, { limit: 10, reverse: false });
  assert.equal(messages!.length, 5);
});

test("The blocks of an agent made by the library have 32 KB together, unless it names another limit", async () => {
  await using kelpie = await openTestAgents(() => text("Hello"));
  const create = async (core_bytes_max?: number | null): Promise<unknown> =>
    await kelpie.agents.directory.create(project, {
      memory_blocks: [
        { label: "one", value: "x".repeat(20_000) },
        { label: "two", value: "x".repeat(20_000) },
      ],
      ...(core_bytes_max === undefined ? {} : { core_bytes_max }),
    });
  await assert.rejects(create(), /holds 32768 bytes/);
  await create(50_000);
  await create(null);
});

test("Messages are in the order in which they were said, also when the wall clock jumps back between them", async () => {
  await using kelpie = await openTestAgents(() => text("Yes"));
  const { clock } = kelpie.environment;
  const start = clock.now();
  clock.now = () => start;
  const address = await kelpie.create();
  await kelpie.run(address, "one");
  clock.now = () => start - 3_600_000;
  await kelpie.run(address, "two");
  const { agentId } = address;
  const messages = await kelpie.agents.conversations.messages(project, { agentId }, { limit: 10, reverse: false });
  assert.deepEqual(
    messages!.map(({ body }) => (body.role === "user" ? body.content : body.role)),
    ["system", "one", "assistant", "two", "assistant"],
  );
});
