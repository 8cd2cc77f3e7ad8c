import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelError, type ModelEvent } from "./model.ts";
import { OpenAIChatDecoder } from "./openai-chat-decoder.ts";
import type { WireObject } from "./wire-json.ts";

function decoder(): OpenAIChatDecoder {
  let made = 0;
  return new OpenAIChatDecoder({ makeCallId: () => `made_${++made}`, requestId: undefined });
}

/** Chunks, written without the wrapping that all have: a delta, and a finish reason. */
function decode(...chunks: readonly WireObject[]): readonly ModelEvent[] {
  const reader = decoder();
  const events = chunks.flatMap((chunk) => reader.read({ data: JSON.stringify(chunk) }));
  return [...events, ...reader.finish()];
}

function delta(fields: WireObject, finish: string | null = null): WireObject {
  return { choices: [{ index: 0, delta: fields, finish_reason: finish }] };
}

function call(fields: WireObject, name?: string, text?: string): WireObject {
  return delta({
    tool_calls: [{ ...fields, function: { ...(name === undefined ? {} : { name }), ...(text === undefined ? {} : { arguments: text }) } }],
  });
}

const stop = delta({}, "stop");

/** What the tool calls of chunks come to: id, name, arguments. */
const callTables: readonly (readonly [
  name: string,
  chunks: readonly WireObject[],
  calls: readonly (readonly [string, string, string])[],
])[] = [
  [
    "as OpenAI sends them",
    [call({ index: 0, id: "a" }, "roll", ""), call({ index: 0 }, undefined, '{"n"'), call({ index: 0 }, undefined, ":1}")],
    [["a", "roll", '{"n":1}']],
  ],
  [
    "parallel and interleaved",
    [
      call({ index: 0, id: "a" }, "roll", ""),
      call({ index: 1, id: "b" }, "look", ""),
      call({ index: 1 }, undefined, '{"x":2}'),
      call({ index: 0 }, undefined, '{"n":1}'),
    ],
    [
      ["a", "roll", '{"n":1}'],
      ["b", "look", '{"x":2}'],
    ],
  ],
  [
    "with index 0 repeated for different ids",
    [call({ index: 0, id: "a" }, "roll", '{"n":1}'), call({ index: 0, id: "b" }, "roll", '{"n":2}')],
    [
      ["a", "roll", '{"n":1}'],
      ["b", "roll", '{"n":2}'],
    ],
  ],
  [
    "with index 0 repeated, without ids, the same tool twice",
    [call({ index: 0 }, "roll", '{"n":1}'), call({ index: 0 }, "roll", '{"n":2}')],
    [
      ["made_1", "roll", '{"n":1}'],
      ["made_2", "roll", '{"n":2}'],
    ],
  ],
  [
    "without index and ids, whole",
    [delta({ tool_calls: [{ function: { name: "roll", arguments: "{}" } }, { function: { name: "look", arguments: "{}" } }] })],
    [
      ["made_1", "roll", "{}"],
      ["made_2", "look", "{}"],
    ],
  ],
  ["without index, continued by id", [call({ id: "a" }, "roll", '{"n'), call({ id: "a" }, undefined, '":1}')], [["a", "roll", '{"n":1}']]],
  ["without index, continued by nothing", [call({ id: "a" }, "roll", '{"n'), call({}, undefined, '":1}')], [["a", "roll", '{"n":1}']]],
  [
    "with the name and id repeated in each piece",
    [call({ index: 0, id: "a" }, "roll", '{"n"'), call({ index: 0, id: "a" }, "roll", ":1}")],
    [["a", "roll", '{"n":1}']],
  ],
  [
    "with the name repeated in each piece",
    [call({ index: 0 }, "roll", '{"n"'), call({ index: 0 }, "roll", ":1}")],
    [["made_1", "roll", '{"n":1}']],
  ],
  [
    "with a fresh id in each piece",
    [call({ index: 0, id: "a" }, "roll", '{"n"'), call({ index: 0, id: "b" }, undefined, ":1}")],
    [["a", "roll", '{"n":1}']],
  ],
  [
    "with indexes that do not begin at 0",
    [call({ index: 1, id: "a" }, "roll", "{}"), call({ index: 5, id: "b" }, "look", "{}")],
    [
      ["a", "roll", "{}"],
      ["b", "look", "{}"],
    ],
  ],
  [
    "with arguments before the name",
    [call({ index: 0, id: "a" }, undefined, '{"n"'), call({ index: 0 }, "roll", ":1}")],
    [["a", "roll", '{"n":1}']],
  ],
  [
    "with arguments as an object",
    [delta({ tool_calls: [{ index: 0, id: "a", function: { name: "roll", arguments: { n: 1 } } }] })],
    [["a", "roll", '{"n":1}']],
  ],
  ["without arguments", [call({ index: 0, id: "a" }, "roll")], [["a", "roll", "{}"]]],
  [
    "with null everywhere else",
    [
      delta({
        content: null,
        refusal: null,
        reasoning: null,
        role: "assistant",
        tool_calls: [{ index: 0, id: "a", type: null, function: { name: "roll", arguments: null } }],
      }),
    ],
    [["a", "roll", "{}"]],
  ],
  ["with broken arguments, which stay as they are", [call({ index: 0, id: "a" }, "roll", '{"n": ')], [["a", "roll", '{"n": ']]],
];
for (const [name, chunks, calls] of callTables) {
  test(`Tool calls ${name}`, () => {
    const events = decode(...chunks, stop);
    const ended = events.flatMap((event) => (event.type === "toolCallEnd" ? [[event.id, event.name, event.argumentsText]] : []));
    assert.deepEqual(ended, calls);
    const end = events.at(-1);
    assert.equal(end?.type === "end" && end.reason, "toolCalls", "The calls decide, not the finish reason");
    // What streams is what ends.
    for (const [index, [id, toolName, argumentsText]] of calls.entries()) {
      assert.deepEqual(
        events.filter((event) => event.type === "toolCallStart" && event.index === index),
        [{ type: "toolCallStart", index, id, name: toolName }],
      );
      const streamed = events.map((event) => (event.type === "toolCallDelta" && event.index === index ? event.delta : "")).join("");
      assert.equal(streamed === "" ? "{}" : streamed, argumentsText);
    }
  });
}

const reasonTables = [
  ["stop", "stop"],
  ["length", "length"],
  ["max_tokens", "length"],
  ["model_length", "length"],
  ["content_filter", "contentFilter"],
  ["sensitive", "contentFilter"],
  ["tool_calls", "stop"], // without any call
  ["eos", "stop"],
  ["something new", "stop"],
] as const;
for (const [finish, reason] of reasonTables) {
  test(`The finish reason ${finish} without tool calls is ${reason}`, () => {
    const end = decode(delta({ content: "Hi" }, finish)).at(-1);
    assert.equal(end?.type === "end" && end.reason, reason);
  });
}

for (const finish of ["error", "insufficient_system_resource", "network_error", "abort"]) {
  test(`The finish reason ${finish} is a failure of the provider`, () => {
    assert.throws(
      () => decode(delta({ content: "Hi" }, finish)),
      (error) => error instanceof ModelError && error.kind === "providerDown",
    );
  });
}

test("A length that cut off tool calls stays a length", () => {
  const end = decode(call({ index: 0, id: "a" }, "roll", '{"n'), delta({}, "length")).at(-1);
  assert.equal(end?.type === "end" && end.reason, "length");
});

test("A refusal is text, and the reason", () => {
  assert.deepEqual(
    decode(delta({ refusal: "I will not" }), stop).map((event) => ("delta" in event ? event.delta : event.type === "end" && event.reason)),
    ["I will not", "refusal"],
  );
});

for (const [name, fields] of [
  ["reasoning", { reasoning: "Hm" }],
  ["reasoning_content", { reasoning_content: "Hm" }],
  ["both, with the same text", { reasoning: "Hm", reasoning_content: "Hm" }],
  ["a part, as Mistral does", { content: [{ type: "thinking", thinking: [{ type: "text", text: "Hm" }] }] }],
] as const) {
  test(`Reasoning in ${name} ends where the text begins`, () => {
    assert.deepEqual(decode(delta(fields), delta({ content: "Yes" }), stop).slice(0, 3), [
      { type: "reasoning", delta: "Hm" },
      { type: "reasoningEnd" },
      { type: "text", delta: "Yes" },
    ]);
  });
}

test("Text in parts is text", () => {
  assert.deepEqual(decode(delta({ content: [{ type: "text", text: "Yes" }] }), stop)[0], { type: "text", delta: "Yes" });
});

const usageTables: readonly (readonly [name: string, usage: WireObject, expected: readonly [number, number, number, number, number]])[] = [
  [
    "OpenAI",
    {
      prompt_tokens: 100,
      completion_tokens: 20,
      prompt_tokens_details: { cached_tokens: 64 },
      completion_tokens_details: { reasoning_tokens: 8 },
    },
    [100, 20, 64, 0, 8],
  ],
  [
    "OpenRouter",
    { prompt_tokens: 100, completion_tokens: 20, prompt_tokens_details: { cached_tokens: 1, cache_write_tokens: 2 } },
    [100, 20, 1, 2, 0],
  ],
  ["DeepSeek", { prompt_tokens: 100, completion_tokens: 20, prompt_cache_hit_tokens: 50 }, [100, 20, 50, 0, 0]],
  [
    "xAI, which counts reasoning apart",
    { prompt_tokens: 100, completion_tokens: 20, completion_tokens_details: { reasoning_tokens: 300 } },
    [100, 320, 0, 0, 300],
  ],
  ["nonsense", { prompt_tokens: -1, completion_tokens: "many", prompt_tokens_details: null }, [0, 0, 0, 0, 0]],
];
for (const [name, usage, [inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens, reasoningTokens]] of usageTables) {
  test(`Usage as ${name} sends it, in a chunk without choices after the finish`, () => {
    const end = decode(delta({ content: "Hi" }), stop, { choices: [], usage }).at(-1);
    assert.deepEqual(end?.type === "end" && end.usage, { inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens, reasoningTokens });
  });
}

test("Usage of Groq is found, a null usage is not one, and the last counts", () => {
  const end = decode(
    { ...delta({ content: "Hi" }), usage: null },
    { ...stop, x_groq: { usage: { prompt_tokens: 1, completion_tokens: 2 } } },
    { choices: [], usage: { prompt_tokens: 3, completion_tokens: 4 } },
  ).at(-1);
  assert.deepEqual(end?.type === "end" && [end.usage.inputTokens, end.usage.outputTokens], [3, 4]);
});

test("Only the first choice is the answer", () => {
  const events = decode({
    choices: [
      { index: 1, delta: { content: "other" } },
      { index: 0, delta: { content: "this" }, finish_reason: "stop" },
    ],
  });
  assert.deepEqual(events[0], { type: "text", delta: "this" });
});

const errorTables = [
  [{ error: { message: "Overloaded", type: "server_error" } }, "providerDown"],
  [{ error: { message: "Rate limit reached", code: 429 } }, "rateLimit"],
  [{ error: { message: "This model's maximum context length is 4096 tokens", type: "invalid_request_error" } }, "contextOverflow"],
  [{ error: "out of memory" }, "providerDown"],
  [{ choices: [{ index: 0, delta: {}, error: { code: 502, message: "Upstream failed" } }] }, "providerDown"],
] as const;
for (const [chunk, kind] of errorTables) {
  test(`The chunk ${JSON.stringify(chunk)} is the error ${kind}`, () => {
    assert.throws(
      () => decode(chunk),
      (error) => error instanceof ModelError && error.kind === kind && /reported an error in its answer/.test(error.message),
    );
  });
}

test("An event named error is one whatever is in it", () => {
  assert.throws(() => decoder().read({ event: "error", data: '{"message":"gone"}' }), ModelError);
});

test("[DONE] without a finish reason is not a finish", () => {
  const reader = decoder();
  reader.read({ data: JSON.stringify(delta({ content: "Hi" })) });
  reader.read({ data: "[DONE]" });
  assert.ok(reader.isDone);
  assert.throws(() => reader.finish(), /without a finish reason/);
});

test("A tool call that never gets a name is an invalid response", () => {
  assert.throws(() => decode(call({ index: 0, id: "a" }, undefined, "{}"), stop), /without a name/);
});

test("A whole answer instead of a stream has the same events", () => {
  const message = {
    role: "assistant",
    content: "Hi",
    reasoning_content: "Hm",
    tool_calls: [{ id: "a", type: "function", function: { name: "roll", arguments: "{}" } }],
  };
  const events = decoder().readWhole({
    id: "chatcmpl-9",
    choices: [{ index: 0, message, finish_reason: "tool_calls" }],
    usage: { prompt_tokens: 3, completion_tokens: 4 },
  });
  assert.deepEqual(
    events.map(({ type }) => type),
    ["reasoning", "reasoningEnd", "text", "toolCallStart", "toolCallDelta", "toolCallEnd", "end"],
  );
  const end = events.at(-1);
  assert.deepEqual(end?.type === "end" && [end.reason, end.usage.inputTokens, end.requestId], ["toolCalls", 3, "chatcmpl-9"]);
});
