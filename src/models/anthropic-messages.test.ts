import assert from "node:assert/strict";
import { test } from "node:test";
import { anthropicBody, anthropicMessages, AnthropicModel } from "./anthropic-messages.ts";
import { defaultModelCallLimits, realFetch } from "./http-port.ts";
import { ModelError, type ModelMessage, type ModelRequest } from "./model.ts";
import { providerFromInput } from "./providers.ts";
import { userRequest } from "./testing/collect.ts";
import { ManualEnvironment } from "./testing/manual-environment.ts";
import type { WireObject } from "./wire-json.ts";

const roll = { name: "roll", description: "Rolls a die", parameters: { type: "object", properties: {} } };
const ephemeral = { cache_control: { type: "ephemeral" } };

function body(request: ModelRequest, name = "claude-sonnet-4-5"): WireObject {
  return anthropicBody(request, { name, maxOutputTokens: 8_192 });
}

const conversation: readonly ModelMessage[] = [
  { role: "system", content: "Be kind" },
  { role: "system", content: "Be brief" },
  { role: "user", content: [{ type: "text", text: "Roll twice" }] },
  {
    role: "user",
    content: [
      { type: "image", source: { mediaType: "image/png", base64: "AAAA" } },
      { type: "image", source: { url: "https://example.com/a.png" } },
    ],
  },
  {
    role: "assistant",
    content: [
      { type: "reasoning", text: "Hm", signature: "c2ln" },
      { type: "redactedReasoning", data: "ZGF0YQ" },
      { type: "text", text: "I roll" },
      { type: "toolCall", id: "call:1.a", name: "roll", argumentsText: '{"n":1}' },
      { type: "toolCall", id: "b", name: "roll", argumentsText: "oops" },
    ],
  },
  { role: "tool", toolCallId: "call:1.a", content: "6", isError: false },
  { role: "tool", toolCallId: "b", content: "Bad arguments", isError: true },
  { role: "user", content: [{ type: "text", text: "Thanks" }] },
];

test("A conversation in Anthropic's words: system apart, roles alternate, results with the user, signed thinking unchanged", () => {
  assert.deepEqual(anthropicMessages(conversation, false), {
    system: [
      { type: "text", text: "Be kind" },
      { type: "text", text: "Be brief" },
    ],
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "Roll twice" },
          { type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } },
          { type: "image", source: { type: "url", url: "https://example.com/a.png" } },
        ],
      },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "Hm", signature: "c2ln" },
          { type: "redacted_thinking", data: "ZGF0YQ" },
          { type: "text", text: "I roll" },
          { type: "tool_use", id: "call_1_a", name: "roll", input: { n: 1 } },
          { type: "tool_use", id: "b", name: "roll", input: { invalid_json: "oops" } },
        ],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "call_1_a", content: "6" },
          { type: "tool_result", tool_use_id: "b", content: "Bad arguments", is_error: true },
          { type: "text", text: "Thanks" },
        ],
      },
    ],
  });
});

test("Images of a result stand in the result, for a model that looks at them", () => {
  const images = [{ mediaType: "image/png", base64: "iVBO" }];
  const result: ModelMessage = { role: "tool", toolCallId: "b", content: "A picture", isError: false, images };
  const calling: ModelMessage = { role: "assistant", content: [{ type: "toolCall", id: "b", name: "look", argumentsText: "{}" }] };
  const [, , shown] = anthropicMessages([{ role: "user", content: [{ type: "text", text: "Look" }] }, calling, result], true).messages;
  assert.deepEqual(shown?.content, [
    {
      type: "tool_result",
      tool_use_id: "b",
      content: [
        { type: "text", text: "A picture" },
        { type: "image", source: { type: "base64", media_type: "image/png", data: "iVBO" } },
      ],
    },
  ]);
});

test("What the API rejects is left out: unsigned reasoning, empty texts, messages of nothing", () => {
  const messages: readonly ModelMessage[] = [
    { role: "system", content: " " },
    {
      role: "user",
      content: [
        { type: "text", text: "Hi" },
        { type: "text", text: "" },
      ],
    },
    {
      role: "assistant",
      content: [
        { type: "reasoning", text: "Hm" },
        { type: "text", text: " \n" },
      ],
    },
    { role: "user", content: [{ type: "text", text: "Hello?" }] },
  ];
  assert.deepEqual(anthropicMessages(messages, false), {
    system: [],
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "Hi" },
          { type: "text", text: "Hello?" },
        ],
      },
    ],
  });
});

test("A conversation that begins with the assistant gets a user before it, and a system message between others stays there", () => {
  const messages: readonly ModelMessage[] = [
    { role: "assistant", content: [{ type: "text", text: "Hello" }] },
    { role: "system", content: "A colleague writes: hi" },
  ];
  assert.deepEqual(anthropicMessages(messages, false).messages, [
    { role: "user", content: [{ type: "text", text: "(The conversation began earlier.)" }] },
    { role: "assistant", content: [{ type: "text", text: "Hello" }] },
    { role: "user", content: [{ type: "text", text: "<system>\nA colleague writes: hi\n</system>" }] },
  ]);
});

test("The cache marks stand on the last block of the system, the last tool and the last message", () => {
  const wire = body({ messages: conversation, tools: [roll, { ...roll, name: "look", strict: true }], settings: {} });
  assert.deepEqual(wire["system"], [
    { type: "text", text: "Be kind" },
    { type: "text", text: "Be brief", ...ephemeral },
  ]);
  assert.deepEqual(wire["tools"], [
    { name: "roll", description: "Rolls a die", input_schema: roll.parameters },
    { name: "look", description: "Rolls a die", input_schema: roll.parameters, strict: true, ...ephemeral },
  ]);
  const messages = wire["messages"] as readonly { content: readonly WireObject[] }[];
  assert.deepEqual(messages.at(-1)!.content.at(-1), { type: "text", text: "Thanks", ...ephemeral });
  assert.equal(JSON.stringify(wire).split("ephemeral").length - 1, 3);
});

test("The cache mark does not stand on thinking", () => {
  const messages: readonly ModelMessage[] = [
    { role: "user", content: [{ type: "text", text: "Hi" }] },
    {
      role: "assistant",
      content: [
        { type: "text", text: "Hello" },
        { type: "reasoning", text: "Hm", signature: "s" },
      ],
    },
  ];
  const wire = body({ messages, tools: [], settings: {} })["messages"] as readonly { content: readonly WireObject[] }[];
  assert.deepEqual(wire.at(-1)!.content, [
    { type: "text", text: "Hello", ...ephemeral },
    { type: "thinking", thinking: "Hm", signature: "s" },
  ]);
});

for (const [toolChoice, parallelToolCalls, expected] of [
  [undefined, undefined, { type: "auto" }],
  ["required", undefined, { type: "any" }],
  ["none", false, { type: "none" }],
  ["auto", false, { type: "auto", disable_parallel_tool_use: true }],
  [{ name: "roll" }, undefined, { type: "tool", name: "roll" }],
] as const) {
  test(`The tool choice ${JSON.stringify(toolChoice)} with parallel ${parallelToolCalls} is ${JSON.stringify(expected)}`, () => {
    const request = {
      ...userRequest("Hi"),
      tools: [roll],
      ...(toolChoice === undefined ? {} : { toolChoice }),
      settings: parallelToolCalls === undefined ? {} : { parallelToolCalls },
    };
    assert.deepEqual(body(request)["tool_choice"], expected);
  });
}

const thinkingTables: readonly (readonly [name: string, request: Partial<ModelRequest>, fields: WireObject])[] = [
  ["claude-sonnet-4-5", { settings: { temperature: 0.5 } }, { temperature: 0.5 }],
  ["claude-sonnet-4-5", { settings: { temperature: 1.8 } }, { temperature: 1 }],
  [
    "claude-sonnet-4-5-20250929",
    { settings: { reasoningBudgetTokens: 2_000, temperature: 0.5 } },
    { thinking: { type: "enabled", budget_tokens: 2_000 } },
  ],
  ["claude-sonnet-4-20250514", { settings: { reasoningEffort: "high" } }, { thinking: { type: "enabled", budget_tokens: 8_191 } }],
  ["claude-3-7-sonnet-20250219", { settings: { reasoningEffort: "low" } }, { thinking: { type: "enabled", budget_tokens: 1_024 } }],
  ["claude-3-5-haiku-latest", { settings: { reasoningEffort: "low" } }, {}],
  ["claude-sonnet-4-5", { settings: { reasoningBudgetTokens: 2_000, maxOutputTokens: 1_000 } }, {}],
  ["claude-sonnet-4-5", { settings: { reasoningEffort: "none", reasoningBudgetTokens: 2_000 } }, {}],
  ["claude-opus-4-6", { settings: { reasoningEffort: "xhigh" } }, { thinking: { type: "adaptive" }, output_config: { effort: "max" } }],
  [
    "claude-opus-4-7",
    { settings: { reasoningEffort: "minimal", temperature: 0.5 } },
    { thinking: { type: "adaptive", display: "summarized" }, output_config: { effort: "low" } },
  ],
  ["claude-opus-4-7", { settings: { temperature: 0.5 } }, {}],
  ["claude-sonnet-5", { settings: { reasoningBudgetTokens: 2_000 } }, { thinking: { type: "adaptive", display: "summarized" } }],
  ["claude-sonnet-4-5", { settings: { reasoningBudgetTokens: 2_000 }, tools: [roll], toolChoice: "required" }, {}],
  [
    "claude-sonnet-4-5",
    { settings: { responseFormat: { type: "json_schema", schema: { type: "object" } } } },
    { output_config: { format: { type: "json_schema", schema: { type: "object" } } } },
  ],
];
for (const [name, request, fields] of thinkingTables) {
  test(`${name} with ${JSON.stringify(request)} gets ${JSON.stringify(fields)}`, () => {
    const { thinking, output_config, temperature } = body({ ...userRequest("Hi"), ...request }, name);
    assert.deepEqual(JSON.parse(JSON.stringify({ thinking, output_config, temperature })), fields);
  });
}

test("Thinking stays off in the middle of tool calls that were made without it, and on where they were made with it", () => {
  const calling = (reasoning: readonly { type: "reasoning"; text: string; signature?: string }[]): ModelRequest => ({
    messages: [
      { role: "user", content: [{ type: "text", text: "Hi" }] },
      { role: "assistant", content: [...reasoning, { type: "toolCall", id: "a", name: "roll", argumentsText: "{}" }] },
      { role: "tool", toolCallId: "a", content: "6", isError: false },
    ],
    tools: [roll],
    settings: { reasoningBudgetTokens: 2_000 },
  });
  assert.equal(body(calling([]))["thinking"], undefined);
  assert.equal(body(calling([{ type: "reasoning", text: "Hm" }]))["thinking"], undefined);
  assert.deepEqual(body(calling([{ type: "reasoning", text: "Hm", signature: "s" }]))["thinking"], {
    type: "enabled",
    budget_tokens: 2_000,
  });
});

test("A limit of output is always sent", () => {
  assert.equal(body(userRequest("Hi"))["max_tokens"], 8_192);
  assert.equal(body(userRequest("Hi", { settings: { maxOutputTokens: 5 } }))["max_tokens"], 5);
});

test("A json_object is refused with what would be right", () => {
  const provider = providerFromInput({ name: "anthropic", provider_type: "anthropic", api_key: "key" });
  const model = new AnthropicModel({
    handle: "anthropic/claude",
    name: "claude",
    provider,
    maxOutputTokens: 10,
    port: { environment: new ManualEnvironment(), fetch: realFetch, limits: defaultModelCallLimits },
  });
  assert.throws(
    () => model.generate(userRequest("Hi", { settings: { responseFormat: { type: "json_object" } } }), new AbortController().signal),
    (error) => error instanceof ModelError && error.kind === "invalidRequest" && /json_schema/.test(error.message),
  );
});
