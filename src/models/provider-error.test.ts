import assert from "node:assert/strict";
import { test } from "node:test";
import type { ModelErrorKind } from "./model.ts";
import { readProviderError } from "./provider-error.ts";

/** Texts as the providers write them. */
const errors: readonly (readonly [provider: string, status: number | undefined, body: unknown, kind: ModelErrorKind])[] = [
  [
    "OpenAI",
    400,
    {
      error: {
        message: "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
        type: "invalid_request_error",
        code: "context_length_exceeded",
      },
    },
    "contextOverflow",
  ],
  [
    "OpenAI",
    400,
    { error: { message: "Your input exceeds the context window of this model. Please adjust your input and try again." } },
    "contextOverflow",
  ],
  [
    "OpenAI",
    400,
    { error: { message: "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens." } },
    "contextOverflow",
  ],
  [
    "OpenAI",
    429,
    {
      error: {
        message: "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000.",
        code: "rate_limit_exceeded",
      },
    },
    "contextOverflow",
  ],
  [
    "OpenAI",
    429,
    {
      error: {
        message: "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000. Please try again in 2s.",
        code: "rate_limit_exceeded",
      },
    },
    "rateLimit",
  ],
  [
    "OpenAI",
    429,
    { error: { message: "You exceeded your current quota, please check your plan and billing details.", code: "insufficient_quota" } },
    "insufficientCredits",
  ],
  ["OpenAI", 401, { error: { message: "Incorrect API key provided: sk-***", code: "invalid_api_key" } }, "authentication"],
  [
    "OpenAI",
    400,
    {
      error: {
        message: "Unsupported value: 'temperature' does not support 0.7 with this model.",
        type: "invalid_request_error",
        code: "unsupported_value",
      },
    },
    "invalidRequest",
  ],
  [
    "OpenAI",
    400,
    { error: { message: "Invalid 'max_tokens': integer below minimum value.", type: "invalid_request_error" } },
    "invalidRequest",
  ],
  [
    "OpenAI",
    400,
    { error: { message: "Your request was rejected as a result of our safety system.", code: "content_policy_violation" } },
    "contentFilter",
  ],
  ["OpenAI", 500, { error: { message: "The server had an error while processing your request", type: "server_error" } }, "providerDown"],
  [
    "Azure",
    400,
    {
      error: {
        message: "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        code: "content_filter",
      },
    },
    "contentFilter",
  ],
  [
    "Anthropic",
    400,
    { type: "error", error: { type: "invalid_request_error", message: "prompt is too long: 210000 tokens > 200000 maximum" } },
    "contextOverflow",
  ],
  [
    "Anthropic",
    400,
    {
      type: "error",
      error: { type: "invalid_request_error", message: "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000" },
    },
    "contextOverflow",
  ],
  [
    "Anthropic",
    400,
    { type: "error", error: { type: "invalid_request_error", message: "Your credit balance is too low to access the Anthropic API." } },
    "insufficientCredits",
  ],
  [
    "Anthropic",
    400,
    { type: "error", error: { type: "invalid_request_error", message: "Output blocked by content filtering policy" } },
    "contentFilter",
  ],
  ["Anthropic", 401, { type: "error", error: { type: "authentication_error", message: "invalid x-api-key" } }, "authentication"],
  [
    "Anthropic",
    413,
    { type: "error", error: { type: "request_too_large", message: "Request exceeds the maximum size" } },
    "contextOverflow",
  ],
  ["Anthropic", 529, { type: "error", error: { type: "overloaded_error", message: "Overloaded" } }, "providerDown"],
  [
    "Anthropic",
    429,
    {
      type: "error",
      error: { type: "rate_limit_error", message: "This request would exceed your organization's rate limit of 50 requests per minute" },
    },
    "rateLimit",
  ],
  [
    "Google",
    400,
    [{ error: { code: 400, message: "API key not valid. Please pass a valid API key.", status: "INVALID_ARGUMENT" } }],
    "authentication",
  ],
  [
    "Google",
    400,
    {
      error: {
        code: 400,
        message: "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        status: "INVALID_ARGUMENT",
      },
    },
    "contextOverflow",
  ],
  [
    "Mistral",
    400,
    {
      object: "error",
      message: "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
      type: "invalid_request_prompt",
      code: "3051",
    },
    "contextOverflow",
  ],
  ["Mistral", 401, { detail: "Unauthorized" }, "authentication"],
  ["Mistral", 422, { detail: [{ type: "extra_forbidden", msg: "Extra inputs are not permitted" }] }, "invalidRequest"],
  [
    "xAI",
    400,
    {
      code: "Client specified an invalid argument",
      error: "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
    },
    "contextOverflow",
  ],
  [
    "xAI",
    400,
    {
      code: "Client specified an invalid argument",
      error: "Incorrect API key provided: xa***. You can obtain an API key from the console.",
    },
    "authentication",
  ],
  [
    "DeepSeek",
    402,
    { error: { message: "Insufficient Balance", type: "unknown_error", code: "invalid_request_error" } },
    "insufficientCredits",
  ],
  [
    "Groq",
    413,
    {
      error: {
        message: "Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 9000",
        type: "tokens",
        code: "rate_limit_exceeded",
      },
    },
    "contextOverflow",
  ],
  [
    "Groq",
    400,
    { error: { message: "Please reduce the length of the messages or completion.", code: "context_length_exceeded" } },
    "contextOverflow",
  ],
  [
    "Together",
    422,
    {
      error: {
        message: "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens",
        type: "invalid_request_error",
      },
    },
    "contextOverflow",
  ],
  ["OpenRouter", 400, { error: { message: "This endpoint's maximum context length is 8192 tokens.", code: 400 } }, "contextOverflow"],
  ["a provider that only says so by its status", 402, { error: { message: "Please pay" } }, "insufficientCredits"],
  ["OpenRouter", 402, { error: { message: "This request requires more credits, or fewer max_tokens.", code: 402 } }, "insufficientCredits"],
  ["OpenRouter", 502, { error: { message: "Provider returned error", code: 502, metadata: { raw: "upstream gone" } } }, "providerDown"],
  ["OpenRouter, in a stream", undefined, { error: { message: "Provider returned error", code: 429 } }, "rateLimit"],
  [
    "vLLM",
    400,
    {
      object: "error",
      message: "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
      type: "BadRequestError",
      code: 400,
    },
    "contextOverflow",
  ],
  [
    "vLLM",
    400,
    {
      object: "error",
      message: "The decoder prompt (length 9000) is longer than the maximum model length of 4096.",
      type: "BadRequestError",
    },
    "contextOverflow",
  ],
  [
    "SGLang",
    400,
    { object: "error", message: "The input (9000 tokens) is longer than the model's context length (4096 tokens)." },
    "contextOverflow",
  ],
  [
    "llama.cpp",
    400,
    {
      error: { code: 400, message: "the request exceeds the available context size, try increasing it", type: "exceed_context_size_error" },
    },
    "contextOverflow",
  ],
  [
    "llama.cpp, older",
    500,
    { error: { code: 500, message: "the request exceeds the available context size", type: "server_error" } },
    "contextOverflow",
  ],
  ["Ollama", 404, { error: { message: 'model "llama9" not found, try pulling it first', type: "api_error" } }, "invalidRequest"],
  ["Ollama", 400, { error: "input length exceeds maximum context length" }, "contextOverflow"],
  [
    "LM Studio",
    400,
    {
      error:
        "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
    },
    "contextOverflow",
  ],
  [
    "LM Studio",
    400,
    { error: "The number of tokens to keep from the initial prompt is greater than the context length." },
    "contextOverflow",
  ],
  ["a proxy", 504, "<html>Gateway time-out</html>", "timeout"],
  ["a proxy", 403, "Forbidden", "authentication"],
  ["a stream that says nothing", undefined, {}, "providerDown"],
];
for (const [provider, status, body, kind] of errors) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  test(`${provider}, ${status ?? "in its stream"}: ${text.slice(0, 100)} is ${kind}`, () =>
    assert.equal(readProviderError(status, text).kind, kind));
}

test("The text is the provider's own words on one line, shortened", () => {
  assert.equal(readProviderError(400, JSON.stringify({ error: { message: "No\n  good" } })).text, "No good");
  assert.equal(
    readProviderError(502, JSON.stringify({ error: { message: "Provider returned error", metadata: { raw: "upstream gone" } } })).text,
    "Provider returned error: upstream gone",
  );
  assert.equal(readProviderError(400, "x".repeat(10_000)).text.length, 500);
  assert.equal(readProviderError(502, "<html>bad</html>").text, "");
  assert.equal(readProviderError(500, "").text, "");
});
