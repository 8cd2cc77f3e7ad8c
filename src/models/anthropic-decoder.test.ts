import assert from "node:assert/strict";
import { test } from "node:test";
import { AnthropicDecoder } from "./anthropic-decoder.ts";
import { ModelError, type ModelEvent } from "./model.ts";
import type { WireObject } from "./wire-json.ts";

function decoder(): AnthropicDecoder {
  return new AnthropicDecoder({ makeCallId: () => "made", requestId: undefined });
}

function decode(...events: readonly WireObject[]): readonly ModelEvent[] {
  const reader = decoder();
  return [...events.flatMap((event) => reader.read({ event: String(event["type"]), data: JSON.stringify(event) })), ...reader.finish()];
}

function block(index: number, content: WireObject, ...deltas: readonly WireObject[]): readonly WireObject[] {
  return [
    { type: "content_block_start", index, content_block: content },
    ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
    { type: "content_block_stop", index },
  ];
}

const start = {
  type: "message_start",
  message: { id: "msg_9", usage: { input_tokens: 10, cache_read_input_tokens: 100, cache_creation_input_tokens: 20, output_tokens: 1 } },
};

function finish(reason: string): readonly WireObject[] {
  return [
    { type: "message_delta", delta: { stop_reason: reason, stop_sequence: null }, usage: { output_tokens: 42 } },
    { type: "message_stop" },
  ];
}

test("Thinking with its signature, text and a tool call", () => {
  const events = decode(
    start,
    { type: "ping" },
    ...block(
      0,
      { type: "thinking", thinking: "", signature: "" },
      { type: "thinking_delta", thinking: "Hm" },
      { type: "signature_delta", signature: "c2ln" },
    ),
    ...block(1, { type: "redacted_thinking", data: "c2VjcmV0" }),
    ...block(2, { type: "text", text: "" }, { type: "text_delta", text: "I roll" }),
    ...block(
      3,
      { type: "tool_use", id: "toolu_1", name: "roll", input: {} },
      { type: "input_json_delta", partial_json: "" },
      { type: "input_json_delta", partial_json: '{"n"' },
      { type: "input_json_delta", partial_json: ":1}" },
    ),
    ...finish("tool_use"),
  );
  assert.deepEqual(events, [
    { type: "reasoning", delta: "Hm" },
    { type: "reasoningEnd", signature: "c2ln" },
    { type: "redactedReasoning", data: "c2VjcmV0" },
    { type: "text", delta: "I roll" },
    { type: "toolCallStart", index: 0, id: "toolu_1", name: "roll" },
    { type: "toolCallDelta", index: 0, delta: '{"n"' },
    { type: "toolCallDelta", index: 0, delta: ":1}" },
    { type: "toolCallEnd", index: 0, id: "toolu_1", name: "roll", argumentsText: '{"n":1}' },
    {
      type: "end",
      reason: "toolCalls",
      usage: { inputTokens: 130, outputTokens: 42, cacheReadTokens: 100, cacheWriteTokens: 20, reasoningTokens: 0 },
      requestId: "msg_9",
    },
  ]);
});

test("A tool call without deltas has the input of its start", () => {
  for (const [input, text] of [
    [{}, "{}"],
    [{ n: 1 }, '{"n":1}'],
  ] as const) {
    const events = decode(start, ...block(0, { type: "tool_use", id: "a", name: "roll", input }), ...finish("tool_use"));
    assert.deepEqual(
      events.find((event) => event.type === "toolCallEnd"),
      { type: "toolCallEnd", index: 0, id: "a", name: "roll", argumentsText: text },
    );
  }
});

test("Parallel tool calls count from 0 whatever blocks stand between", () => {
  const events = decode(
    start,
    ...block(0, { type: "text", text: "Two" }),
    ...block(1, { type: "tool_use", id: "a", name: "roll", input: {} }),
    ...block(2, { type: "tool_use", id: "b", name: "look", input: {} }),
    ...finish("tool_use"),
  );
  assert.deepEqual(
    events.flatMap((event) => (event.type === "toolCallEnd" ? [[event.index, event.id]] : [])),
    [
      [0, "a"],
      [1, "b"],
    ],
  );
});

for (const [stopReason, reason] of [
  ["end_turn", "stop"],
  ["stop_sequence", "stop"],
  ["pause_turn", "stop"],
  ["max_tokens", "length"],
  ["model_context_window_exceeded", "length"],
  ["refusal", "refusal"],
  ["something new", "stop"],
] as const) {
  test(`The stop reason ${stopReason} is ${reason}`, () => {
    const end = decode(start, ...block(0, { type: "text", text: "Hi" }), ...finish(stopReason)).at(-1);
    assert.equal(end?.type === "end" && end.reason, reason);
  });
}

for (const [type, kind] of [
  ["overloaded_error", "providerDown"],
  ["api_error", "providerDown"],
  ["rate_limit_error", "rateLimit"],
  ["timeout_error", "timeout"],
  ["authentication_error", "authentication"],
  ["permission_error", "authentication"],
  ["billing_error", "insufficientCredits"],
  ["request_too_large", "contextOverflow"],
  ["invalid_request_error", "invalidRequest"],
  ["not_found_error", "invalidRequest"],
] as const) {
  test(`The error event ${type} is the error ${kind}`, () => {
    assert.throws(
      () => decode(start, { type: "error", error: { type, message: "Sorry" } }),
      (error) => error instanceof ModelError && error.kind === kind,
    );
  });
}

test("Blocks, deltas and events that are not known are ignored", () => {
  const events = decode(
    start,
    { type: "novelty" },
    ...block(0, { type: "server_tool_use", id: "s", name: "web_search" }, { type: "input_json_delta", partial_json: "{}" }),
    ...block(1, { type: "text", text: "" }, { type: "citations_delta", citation: {} }, { type: "text_delta", text: "Hi" }),
    ...finish("end_turn"),
  );
  assert.deepEqual(
    events.map(({ type }) => type),
    ["text", "end"],
  );
});

test("A stop reason is a finish also where message_stop is missing, and an open block is ended", () => {
  const events = decode(
    start,
    { type: "content_block_start", index: 0, content_block: { type: "tool_use", id: "a", name: "roll", input: {} } },
    finish("tool_use")[0]!,
  );
  assert.deepEqual(
    events.map(({ type }) => type),
    ["toolCallStart", "toolCallDelta", "toolCallEnd", "end"],
  );
});

test("message_stop without a stop reason is not a finish", () => {
  assert.throws(() => decode(start, { type: "message_stop" }), /without a stop reason/);
});

test("A tool call without a name is an invalid response", () => {
  assert.throws(() => decode(start, ...block(0, { type: "tool_use", id: "a" })), /without a name/);
});

test("A whole answer instead of a stream has the same events", () => {
  const events = decoder().readWhole({
    type: "message",
    id: "msg_1",
    content: [
      { type: "thinking", thinking: "Hm", signature: "s" },
      { type: "text", text: "Hi" },
      { type: "tool_use", id: "a", name: "roll", input: { n: 1 } },
    ],
    stop_reason: "tool_use",
    usage: { input_tokens: 1, output_tokens: 2 },
  });
  assert.deepEqual(
    events.map(({ type }) => type),
    ["reasoning", "reasoningEnd", "text", "toolCallStart", "toolCallDelta", "toolCallEnd", "end"],
  );
});
