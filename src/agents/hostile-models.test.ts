/** Whatever a model writes, its run ends with a stated reason, its events can be read again, and its conversation goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelError, type ModelEvent } from "../models/model.ts";
import type { OutsideTool } from "../tools/tool.ts";
import type { SendRequest } from "./conversations.ts";
import { calls, collect, lastResults, lastUserText, openTestAgents, outline, project, text } from "./testing.ts";

const look: OutsideTool = {
  name: "look",
  description: "Looks.",
  parameters: { type: "object", properties: {} },
  effect: "readOnly",
  execute: (input) => Promise.resolve({ status: "success", text: String(input["answer"] ?? "nothing") }),
};

interface Case {
  readonly name: string;
  readonly answer: () => Iterable<ModelEvent>;
  readonly stop: string;
  readonly request?: Partial<SendRequest>;
}

const many = (count: number, fill: number): Iterable<ModelEvent> =>
  calls(...Array.from({ length: count }, (_, index) => ({ name: "look", id: `c${index}`, arguments: { answer: "r".repeat(fill) } })));

const cases: readonly Case[] = [
  { name: "a text longer than a row", answer: () => text("a".repeat(150_000), "€".repeat(150_000)), stop: "end_turn" },
  { name: "a text of many short tokens", answer: () => text(...Array.from({ length: 5_000 }, () => '😀 "quoted" ')), stop: "end_turn" },
  { name: "a text over the limit", answer: () => text("a".repeat(1_000_001)), stop: "invalid_llm_response" },
  {
    name: "reasoning without end",
    answer: function* () {
      for (;;) yield { type: "reasoning", delta: "hmm ".repeat(1_000) };
    },
    stop: "invalid_llm_response",
  },
  {
    name: "arguments as long as a row",
    answer: () => calls({ name: "look", arguments: { answer: "a".repeat(90_000) } }),
    stop: "end_turn",
  },
  { name: "arguments of 900 kB", answer: () => calls({ name: "look", arguments: { answer: "é".repeat(450_000) } }), stop: "end_turn" },
  { name: "arguments that are deeply nested", answer: () => calls({ name: "look", arguments: "[".repeat(400_000) }), stop: "end_turn" },
  { name: "a hundred calls with long results", answer: () => many(100, 5_000), stop: "end_turn" },
  { name: "more calls than an answer may have", answer: () => many(129, 1), stop: "invalid_llm_response" },
  {
    name: "calls without end",
    answer: function* () {
      for (let index = 0; ; index++) yield { type: "toolCallStart", index, id: `c${index}`, name: "look" };
    },
    stop: "invalid_llm_response",
  },
  {
    name: "names that are none",
    answer: () => calls({ name: "__proto__", arguments: {} }, { name: "a\0\ud83d".repeat(5_000), arguments: {} }),
    stop: "end_turn",
  },
  {
    name: "ids that are none",
    answer: () => calls({ name: "look", id: "\0\ud83d\n", arguments: {} }, { name: "look", id: "i".repeat(20_000), arguments: {} }),
    stop: "end_turn",
  },
  { name: "half a character", answer: () => text("a\ud83d"), stop: "end_turn" },
  {
    name: "a long call of the client's",
    answer: () => calls({ name: "write", arguments: { text: "w".repeat(200_000) } }),
    stop: "requires_approval",
    request: { clientTools: [{ name: "write", description: "d".repeat(200_000), parameters: { type: "object" } }] },
  },
];

for (const { name, answer, stop, request } of cases)
  for (const mode of ["whole", "tokens", "background"] as const)
    test(`A model that answers with ${name} ends its run with ${stop} (${mode})`, async () => {
      await using kelpie = await openTestAgents(
        (asked) => (lastUserText(asked) === "Go" && lastResults(asked).length === 0 ? answer() : text("done")),
        { tools: [look], contextWindow: 1_000_000 },
      );
      const address = await kelpie.create({ tools: ["look"] });
      const options = { ...request, streamTokens: mode !== "whole", background: mode === "background" };
      const events = await kelpie.run(address, "Go", options);
      assert.ok(outline(events).includes(`stop ${stop}`), outline(events).slice(-3).join(", ").slice(0, 300));
      assert.equal(events.at(-1)!.last, true);
      assert.ok(JSON.stringify(events).isWellFormed() && !/\\ud[89a-f]/.test(JSON.stringify(events)), "Only whole characters are shown");

      const [run] = (await kelpie.agents.conversations.runPage(project, { agentId: address.agentId }, { limit: 1, reverse: true }))!;
      assert.equal(run!.stop_reason, stop);
      const follow = async (from: number): Promise<unknown[]> =>
        await collect(await kelpie.agents.conversations.follow(project, run!.id, from, new AbortController().signal));
      const again = (await follow(0)) as typeof events;
      if (mode !== "tokens") assert.deepEqual(again, events, "The log holds what was shown");
      const middle = again[Math.floor(again.length / 2)]!.seq;
      assert.deepEqual(
        await follow(middle),
        again.filter(({ seq }) => seq > middle),
        "A reader may begin anywhere",
      );

      if (stop === "requires_approval") {
        const pending = (await kelpie.agents.conversations.context(address))!.pending!;
        assert.equal(pending.calls[0]!.call.arguments.length, 200_011);
        assert.ok((await kelpie.agents.conversations.cancel(address, null)).ok);
      }
      const after = await kelpie.run(address, "And now?");
      assert.deepEqual(outline(after), ["assistant done", "stop end_turn", "usage_statistics"]);
    });

test("Calls with one id are kept apart: each gets its own result", async () => {
  const effects: string[] = [];
  const gate = Promise.withResolvers<void>();
  const tool: OutsideTool = {
    ...look,
    async execute(input, { effectId }) {
      effects.push(effectId);
      // The first waits for the second, so their results come in the other order.
      if (input["answer"] === "one") await gate.promise;
      else gate.resolve();
      return { status: "success", text: String(input["answer"]) };
    },
  };
  await using kelpie = await openTestAgents(
    (request) =>
      lastResults(request).length > 0
        ? text("done")
        : calls({ name: "look", id: "same", arguments: { answer: "one" } }, { name: "look", id: "same", arguments: { answer: "two" } }),
    { tools: [tool] },
  );
  const address = await kelpie.create({ tools: ["look"] });
  await kelpie.run(address, "Go");
  assert.equal(new Set(effects).size, 2);
  const results = kelpie.requests[1]!.messages.filter((message) => message.role === "tool");
  assert.deepEqual(
    results.map(({ toolCallId, content }) => [toolCallId, (JSON.parse(content) as { message: string }).message]),
    [
      ["same", "one"],
      ["same-1", "two"],
    ],
  );
});

test("A message that no model can read leaves the context when the next one comes", async () => {
  await using kelpie = await openTestAgents(
    (request) => {
      if (JSON.stringify(request.messages).length > 100_000) return [new ModelError("contextOverflow", "It is too long")];
      return text("ok");
    },
    { contextWindow: 10_000 },
  );
  const address = await kelpie.create();
  const refused = await kelpie.run(address, "x".repeat(1_000_000));
  assert.deepEqual(outline(refused), ["stop context_window_overflow_in_system_prompt", "error_message"]);
  assert.equal(kelpie.requests.length, 1);
  for (const question of ["Hello?", "And again?"]) assert.equal(outline(await kelpie.run(address, question))[0], "assistant ok");
});

for (const [kind, hasBegun, asked] of [
  ["providerDown", false, 1],
  ["timeout", false, 1],
  ["rateLimit", false, 1],
  ["invalidResponse", false, 3],
  ["providerDown", true, 3],
  ["timeout", true, 3],
  ["authentication", true, 1],
] as const)
  test(`A model that ends in ${kind} ${hasBegun ? "after its first word" : "at once"} is asked ${asked} times by the run`, async () => {
    await using kelpie = await openTestAgents(function* (): Iterable<ModelEvent | Error> {
      if (hasBegun) yield { type: "text", delta: "Well" };
      yield new ModelError(kind, "no");
    });
    await kelpie.run(await kelpie.create(), "Go");
    // The adapter tries a call that failed at once several times by itself: the two together would multiply.
    assert.equal(kelpie.requests.length, asked);
  });
