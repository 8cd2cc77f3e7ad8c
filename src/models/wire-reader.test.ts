import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AnthropicDecoder } from "./anthropic-decoder.ts";
import { ModelError, type ModelEvent } from "./model.ts";
import { OpenAIChatDecoder } from "./openai-chat-decoder.ts";
import { summarize } from "./testing/collect.ts";
import { anthropicSteps, openAISteps, type ScriptedAnswer } from "./testing/scripted-provider.ts";
import { type WireDecoder, WireReader } from "./wire-reader.ts";

const limits = { responseBytesMax: 1_000_000, eventCharactersMax: 100_000 };
const makers: { readonly [protocol: string]: () => WireDecoder } = {
  openai: () => new OpenAIChatDecoder({ makeCallId: () => "made", requestId: undefined }),
  anthropic: () => new AnthropicDecoder({ makeCallId: () => "made", requestId: undefined }),
};

/** The events of bytes in pieces that end at `cuts`, and what went wrong. */
function read(
  decoder: WireDecoder,
  bytes: Uint8Array,
  cuts: readonly number[],
): { readonly events: readonly ModelEvent[]; readonly failure: string | undefined } {
  const reader = new WireReader(decoder, limits);
  const events: ModelEvent[] = [];
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    events.push(...reader.read(bytes.subarray(from, to)));
    from = to;
  }
  if (!reader.isDone || reader.failure === undefined) events.push(...reader.end());
  return { events, failure: reader.failure?.message };
}

const text = fc.string({
  unit: fc.oneof(fc.constantFrom("é", "漢", "🐴", "\n", "\r", '"', "\\", "\u2028", "data:", ":"), fc.string({ maxLength: 4 })),
  maxLength: 12,
});
const answer: fc.Arbitrary<ScriptedAnswer> = fc
  .record({
    text: fc.option(
      text.filter((value) => value !== ""),
      { nil: undefined },
    ),
    reasoning: fc.option(
      text.filter((value) => value !== ""),
      { nil: undefined },
    ),
    toolCalls: fc.array(
      fc.record({
        name: fc.constantFrom("roll", "look"),
        arguments: fc.dictionary(fc.constantFrom("a", "b"), text, { noNullPrototype: true }),
      }),
      { maxLength: 3 },
    ),
    charactersPerEvent: fc.integer({ min: 1, max: 9 }),
  })
  .map(({ text: said, reasoning, ...rest }) => ({
    ...rest,
    ...(said === undefined ? {} : { text: said }),
    ...(reasoning === undefined ? {} : { reasoning }),
  }));

const lineEnds: readonly ((stream: string) => string)[] = [
  (stream) => stream,
  (stream) => stream.replaceAll("\n", "\r\n"),
  (stream) => stream.replaceAll("\n\n", "\n\n: keep-alive\n\n"),
  (stream) => `\uFEFF${stream}`,
  (stream) => stream.trimEnd(),
];

for (const [protocol, steps] of [
  ["openai", openAISteps],
  ["anthropic", anthropicSteps],
] as const) {
  test(`W1: however the bytes of an ${protocol} answer are split, the events are the same, and say what was sent`, () => {
    fc.assert(
      fc.property(answer, fc.constantFrom(...lineEnds), fc.array(fc.nat(3_000), { maxLength: 40 }), (said, lineEnd, points) => {
        const bytes = Buffer.from(lineEnd(steps(said).join("")));
        const cuts = points.map((point) => point % (bytes.length + 1)).sort((left, right) => left - right);
        const whole = read(makers[protocol]!(), bytes, []);
        assert.deepEqual(read(makers[protocol]!(), bytes, cuts), whole);
        assert.deepEqual(
          read(
            makers[protocol]!(),
            bytes,
            Array.from({ length: bytes.length }, (_, index) => index),
          ),
          whole,
        );
        assert.equal(whole.failure, undefined);
        const summary = summarize(whole.events);
        assert.equal(summary.text, said.text ?? "");
        assert.equal(summary.reasoning, said.reasoning ?? "");
        assert.deepEqual(
          summary.calls.map((call) => [call.name, JSON.parse(call.argumentsText) as unknown]),
          (said.toolCalls ?? []).map((call) => [call.name, call.arguments]),
        );
        assert.equal(whole.events.filter((event) => event.type === "end").length, 1);
        assert.equal(whole.events.at(-1)?.type, "end");
        assert.equal(summary.end?.reason, summary.calls.length > 0 ? "toolCalls" : "stop");
      }),
      { numRuns: 100 },
    );
  });

  test(`W2: an ${protocol} answer that is cut anywhere before its finish is an error, and its events are a beginning of the whole`, () => {
    fc.assert(
      fc.property(answer, fc.nat(10_000), (said, point) => {
        const all = steps(said);
        const finishAt = Buffer.byteLength(all.slice(0, protocol === "openai" ? -3 : -2).join(""));
        const bytes = Buffer.from(all.join("")).subarray(0, point % (finishAt + 1));
        const { events, failure } = read(makers[protocol]!(), bytes, []);
        assert.notEqual(failure, undefined);
        assert.ok(events.every((event) => event.type !== "end"));
        const whole = read(makers[protocol]!(), Buffer.from(all.join("")), []).events;
        assert.deepEqual(events, whole.slice(0, events.length));
      }),
      { numRuns: 200 },
    );
  });

  test(`Whatever bytes an ${protocol} decoder gets, it ends with one end or with a ModelError`, () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc
        .constantFrom(
          ...steps({ text: "Hi", toolCalls: [{ name: "roll", arguments: {} }] }),
          "data: {}\n\n",
          'data: {"choices":[{}]}\n\n',
          "data: [1]\n\n",
          'data: {"type":"content_block_delta","index":7}\n\n',
          "{",
          "<html>",
        )
        .map((step) => Buffer.from(step)),
      fc.json({ maxDepth: 3 }).map((json) => Buffer.from(`data: ${json}\n\n`)),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (parts) => {
        const reader = new WireReader(makers[protocol]!(), limits);
        const events = [...parts.flatMap((part) => reader.read(part)), ...reader.end()];
        const ends = events.filter((event) => event.type === "end").length;
        if (reader.failure === undefined) assert.equal(ends, 1);
        else assert.ok(reader.failure instanceof ModelError, reader.failure.message);
      }),
      { numRuns: 500 },
    );
  });
}

const failures: readonly (readonly [name: string, body: string, message: RegExp])[] = [
  ["nothing", "", /without a finish reason/],
  ["only white space", " \n\n ", /without a finish reason/],
  ["a web page", "<!doctype html><p>nginx", /a web page/],
  ["JSON that is cut off", '{"choices": [', /broken or cut off/],
  ["an event that is not JSON", "data: hello\n\n", /not JSON: hello/],
  ["an endless line", `data: ${"x".repeat(200_000)}`, /longer than 100000 characters/],
  ["more bytes than the limit", `: ${"x".repeat(50_000)}\n`.repeat(30), /within 1000000 bytes/],
];
for (const [name, body, message] of failures) {
  test(`An answer of ${name} is an invalid response`, () => {
    const { failure, events } = read(makers["openai"]!(), Buffer.from(body), [body.length >> 1]);
    assert.match(failure ?? "", message);
    assert.deepEqual(events, []);
  });
}

test("What comes before an error is not lost, in one piece or in two", () => {
  const good = 'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n';
  const bad = 'data: {"error":{"message":"The engine died","code":500}}\n\n';
  for (const cuts of [[], [good.length]]) {
    const { events, failure } = read(makers["openai"]!(), Buffer.from(good + bad), cuts);
    assert.deepEqual(events, [{ type: "text", delta: "Hello" }]);
    assert.match(failure ?? "", /The engine died/);
  }
});
