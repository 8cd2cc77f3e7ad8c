import assert from "node:assert/strict";
import { test } from "node:test";
import type { ModelMessage, ModelRequest, ModelSettings } from "./model.ts";
import { openAIChatBody } from "./openai-chat.ts";
import type { Provider } from "./provider.ts";
import { providerFromInput } from "./providers.ts";
import { userRequest } from "./testing/collect.ts";
import type { WireObject } from "./wire-json.ts";

function provider(type: string): Provider {
  return providerFromInput({ name: type, provider_type: type, api_key: "key", base_url: "http://127.0.0.1:1" });
}

function body(request: ModelRequest, type = "openai", name = "gpt-4o"): WireObject {
  return openAIChatBody(request, name, provider(type));
}

function fieldsFor(settings: ModelSettings, type: string, name: string): WireObject {
  const {
    model: _model,
    messages: _messages,
    stream: _stream,
    stream_options: _options,
    tools: _tools,
    ...fields
  } = body({ ...userRequest("Hi"), tools: [roll], settings }, type, name);
  return fields;
}

const roll = { name: "roll", description: "Rolls a die", parameters: { type: "object", properties: {} }, strict: true };

test("A conversation in OpenAI's words", () => {
  const messages: readonly ModelMessage[] = [
    { role: "system", content: "Be kind" },
    { role: "user", name: "ada", content: [{ type: "text", text: "Hi" }] },
    {
      role: "assistant",
      content: [
        { type: "reasoning", text: "Hm", signature: "s" },
        { type: "redactedReasoning", data: "r" },
        { type: "text", text: "I roll" },
        { type: "toolCall", id: "a", name: "roll", argumentsText: '{"n":1}' },
      ],
    },
    { role: "tool", toolCallId: "a", content: "6", isError: false },
    {
      role: "user",
      content: [
        { type: "text", text: "See" },
        { type: "image", source: { url: "https://example.com/a.png" } },
        { type: "image", source: { mediaType: "image/png", base64: "AAAA" } },
      ],
    },
  ];
  assert.deepEqual(body({ messages, tools: [], settings: {} })["messages"], [
    { role: "system", content: "Be kind" },
    { role: "user", content: "Hi", name: "ada" },
    { role: "assistant", content: "I roll", tool_calls: [{ id: "a", type: "function", function: { name: "roll", arguments: '{"n":1}' } }] },
    { role: "tool", tool_call_id: "a", content: "6" },
    {
      role: "user",
      content: [
        { type: "text", text: "See" },
        { type: "image_url", image_url: { url: "https://example.com/a.png" } },
        { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } },
      ],
    },
  ]);
});

test("Images of results are shown by the user after the last result, to a model that looks at them", () => {
  const images = [{ mediaType: "image/png", base64: "iVBO" }];
  const result = (toolCallId: string): ModelMessage => ({ role: "tool", toolCallId, content: "A picture", isError: false, images });
  const request = { ...userRequest("Look"), messages: [result("a"), result("b"), { role: "system" as const, content: "Go on" }] };
  const roles = (name: string): unknown => (body(request, "openai", name)["messages"] as WireObject[]).map(({ role }) => role);
  assert.deepEqual(roles("gpt-4o"), ["tool", "tool", "user", "system"]);
  assert.deepEqual(roles("gpt-3.5-turbo"), ["tool", "tool", "system"]);
  const image = { type: "image_url", image_url: { url: "data:image/png;base64,iVBO" } };
  const [, , shown] = body(request)["messages"] as WireObject[];
  assert.deepEqual(shown!["content"], [{ type: "text", text: "Images of the results above:" }, image, image]);
});

test("A message of only reasoning is left out, a name that is no name too, and broken arguments become JSON", () => {
  const messages: readonly ModelMessage[] = [
    { role: "user", name: "Ada Lovelace", content: [{ type: "text", text: "Hi" }] },
    { role: "assistant", content: [{ type: "reasoning", text: "Hm" }] },
    {
      role: "assistant",
      content: [
        { type: "toolCall", id: "a", name: "roll", argumentsText: '{"n": ' },
        { type: "toolCall", id: "b", name: "roll", argumentsText: "" },
      ],
    },
  ];
  assert.deepEqual(body({ messages, tools: [], settings: {} })["messages"], [
    { role: "user", content: "Hi" },
    {
      role: "assistant",
      content: null,
      tool_calls: [
        { id: "a", type: "function", function: { name: "roll", arguments: '{"invalid_json":"{\\"n\\": "}' } },
        { id: "b", type: "function", function: { name: "roll", arguments: "{}" } },
      ],
    },
  ]);
});

const settingTables: readonly (readonly [settings: ModelSettings, type: string, name: string, fields: WireObject])[] = [
  [
    { maxOutputTokens: 9, temperature: 0.5, parallelToolCalls: false },
    "openai",
    "gpt-4o",
    { max_completion_tokens: 9, temperature: 0.5, parallel_tool_calls: false },
  ],
  [
    { maxOutputTokens: 9, temperature: 0.5, reasoningEffort: "low" },
    "openai",
    "gpt-5-mini",
    { max_completion_tokens: 9, reasoning_effort: "low" },
  ],
  [{ temperature: 0.5, reasoningEffort: "low" }, "openai", "gpt-4o", { temperature: 0.5 }],
  [{ temperature: 0.5, parallelToolCalls: true, reasoningEffort: "high" }, "openai", "o4-mini", { reasoning_effort: "high" }],
  [
    { maxOutputTokens: 9, temperature: 0.5, reasoningEffort: "low" },
    "ollama",
    "gpt-oss",
    { max_tokens: 9, temperature: 0.5, reasoning_effort: "low" },
  ],
  [{ reasoningEffort: "low" }, "openrouter", "openai/gpt-5", { reasoning: { effort: "low" } }],
  [{ maxOutputTokens: 9, reasoningEffort: "low" }, "mistral", "mistral-large", { max_tokens: 9 }],
  [{ responseFormat: { type: "json_object" } }, "openai", "gpt-4o", { response_format: { type: "json_object" } }],
  [
    { responseFormat: { type: "json_schema", schema: { type: "object" } } },
    "openai",
    "gpt-4o",
    { response_format: { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" }, strict: true } } },
  ],
];
for (const [settings, type, name, fields] of settingTables) {
  test(`${JSON.stringify(settings)} for ${type}'s ${name}`, () => assert.deepEqual(fieldsFor(settings, type, name), fields));
}

test("Tools, the choice of one, and the cache key", () => {
  const request: ModelRequest = { ...userRequest("Hi"), tools: [roll], toolChoice: { name: "roll" }, cacheKey: "conv-1" };
  const openai = body(request);
  assert.deepEqual(openai["tools"], [
    { type: "function", function: { name: "roll", description: "Rolls a die", parameters: roll.parameters, strict: true } },
  ]);
  assert.deepEqual(openai["tool_choice"], { type: "function", function: { name: "roll" } });
  assert.equal(openai["prompt_cache_key"], "conv-1");
  const vllm = body({ ...request, toolChoice: "required" }, "vllm");
  assert.equal(vllm["tool_choice"], "required");
  assert.equal(vllm["prompt_cache_key"], undefined);
  assert.equal("strict" in (vllm["tools"] as readonly [{ function: object }])[0].function, false);
  assert.equal(body({ ...request, toolChoice: "required" }, "mistral")["tool_choice"], "any");
  assert.equal(body({ ...request, tools: [] })["tool_choice"], undefined, "A choice without tools is rejected by servers");
});

test("Usage is asked for where a server takes the question", () => {
  assert.deepEqual(body(userRequest("Hi"))["stream_options"], { include_usage: true });
  assert.equal(body(userRequest("Hi"), "mistral")["stream_options"], undefined);
});

test("A server that loses streamed tool calls is not asked to stream them", () => {
  const vllm = provider("vllm");
  const lossy = { ...vllm, quirks: { ...vllm.quirks, streamsTools: false } };
  assert.equal(openAIChatBody({ ...userRequest("Hi"), tools: [roll] }, "m", lossy)["stream"], false);
  assert.equal(openAIChatBody({ ...userRequest("Hi"), tools: [roll] }, "m", lossy)["stream_options"], undefined);
  assert.equal(openAIChatBody(userRequest("Hi"), "m", lossy)["stream"], true);
});

test("Mistral gets ids of nine characters, the same for a call and its result", () => {
  const messages: readonly ModelMessage[] = [
    {
      role: "assistant",
      content: [
        { type: "toolCall", id: "call_0123456789", name: "roll", argumentsText: "{}" },
        { type: "toolCall", id: "abcdefghi", name: "roll", argumentsText: "{}" },
      ],
    },
    { role: "tool", toolCallId: "call_0123456789", content: "6", isError: false },
  ];
  const [assistant, result] = body({ messages, tools: [], settings: {} }, "mistral")["messages"] as readonly [
    { tool_calls: readonly { id: string }[] },
    { tool_call_id: string },
  ];
  assert.match(assistant.tool_calls[0]!.id, /^[a-z0-9]{9}$/);
  assert.equal(result.tool_call_id, assistant.tool_calls[0]!.id);
  assert.equal(assistant.tool_calls[1]!.id, "abcdefghi");
});

test("DeepSeek gets its reasoning back beside the tool calls, others do not", () => {
  const messages: readonly ModelMessage[] = [
    {
      role: "assistant",
      content: [
        { type: "reasoning", text: "Hm" },
        { type: "toolCall", id: "a", name: "roll", argumentsText: "{}" },
      ],
    },
  ];
  const reasoningFor = (type: string): unknown =>
    (body({ messages, tools: [], settings: {} }, type)["messages"] as readonly WireObject[])[0]!["reasoning_content"];
  assert.equal(reasoningFor("deepseek"), "Hm");
  assert.equal(reasoningFor("openai"), undefined);
});
