/** What a provider's error means: from its status, code, type and text to a `ModelErrorKind`. */
import { ModelError, type ModelErrorKind } from "./model.ts";
import { asArray, asObject, asText, parseJson, shorten } from "./wire-json.ts";

export interface ProviderError {
  readonly kind: ModelErrorKind;
  /** The provider's own words, shortened. */
  readonly text: string;
}

const textCharactersMax = 500;

/**
 * The texts of OpenAI, Anthropic, Google, Mistral, xAI, DeepSeek, Groq, Together, OpenRouter, vLLM, SGLang, llama.cpp,
 * Ollama and LM Studio, in this order of precedence; many send them with a status or a code that says less.
 */
const kindsByText: readonly (readonly [ModelErrorKind, RegExp])[] = [
  [
    "insufficientCredits",
    /insufficient_quota|insufficient[ _](?:credit|balance|funds)|credit balance is too low|billing_(?:error|hard_limit_reached|not_active)|exceeded your current quota|(?:no|out of|requires more|more) credits|payment required/i,
  ],
  [
    "contextOverflow",
    /context_length_exceeded|exceed_context_size|request_too_large|string_above_max_length|maximum (?:context|prompt|model|input) length|(?:prompt|input|request|inputs?) (?:is|are|was) too (?:long|large)|request too large|exceeds? (?:the )?(?:model's |model’s |maximum |available |configured )*(?:context|input)|exceeds? the context|context (?:window|size|length|limit) (?:exceeded|overflow|of this model)|input tokens? exceed|exceeds? the (?:configured )?(?:limit|maximum number of tokens)|maximum number of tokens allowed|longer than the (?:maximum )?(?:model's )?context|longer than the maximum model length|tokens to keep from the initial prompt|context the overflows|context length of only|reduce the length of the (?:messages|input|prompt)|max_new_tokens` must be <=|too many (?:input |total )?tokens in/i,
  ],
  [
    "contentFilter",
    /content[_ ]filter|content_policy|content management policy|responsibleaipolicy|content filtering policy|flagged|moderation_blocked|data_inspection_failed|prohibited_content|safety (?:system|setting|policy)|violates? (?:our|the) usage polic/i,
  ],
  [
    "authentication",
    /invalid[_ ](?:api[_ ]key|x-api-key|authentication)|incorrect api key|api key not (?:valid|found)|authentication_error|permission_error|permission_denied|unauthori[sz]ed|no auth credentials/i,
  ],
];

/** For errors without a status. */
const kindsByCode: { readonly [code: string]: ModelErrorKind } = {
  rate_limit_error: "rateLimit",
  rate_limit_exceeded: "rateLimit",
  rate_limited: "rateLimit",
  too_many_requests: "rateLimit",
  overloaded_error: "providerDown",
  api_error: "providerDown",
  server_error: "providerDown",
  internal_error: "providerDown",
  internal_server_error: "providerDown",
  engine_overloaded_error: "providerDown",
  service_unavailable: "providerDown",
  timeout_error: "timeout",
  timeout: "timeout",
  invalid_request_error: "invalidRequest",
  not_found_error: "invalidRequest",
  model_not_found: "invalidRequest",
};

/** `status` is undefined for an error inside a stream. `body` is JSON, or any other text. */
export function readProviderError(status: number | undefined, body: string): ProviderError {
  const parts = errorParts(body);
  const text = shorten(parts.message.replaceAll(/\s+/g, " ").trim(), textCharactersMax);
  const everything = [parts.code, parts.type, parts.message].join(" ");
  return { kind: classify(status ?? statusInCode(parts.code), parts, everything), text };
}

/** An error that came inside a stream, after a good status. */
export function streamError(body: string): ModelError {
  const { kind, text } = readProviderError(undefined, body);
  return new ModelError(kind, `reported an error in its answer: ${text}`);
}

function classify(status: number | undefined, parts: ErrorParts, everything: string): ModelErrorKind {
  if (status === undefined || status < 500) {
    if (status === 401) return "authentication";
    if (status === 402) return "insufficientCredits";
    for (const [kind, pattern] of kindsByText) if (pattern.test(everything)) return kind;
    if (status === 403) return "authentication";
    if (status === 413) return "contextOverflow";
  } else if (kindsByText[1]![1].test(everything)) return "contextOverflow"; // llama.cpp and some proxies answer 500.
  if (status === 408 || status === 504) return "timeout";
  if (status === 429) return "rateLimit";
  // A conflict is a lock that another request holds for a moment; 425 asks to come again.
  if (status === 409 || status === 425 || (status !== undefined && status >= 500)) return "providerDown";
  if (status !== undefined) return "invalidRequest";
  // What breaks inside a stream without saying why is the provider's doing: the request was accepted.
  return kindsByCode[parts.code.toLowerCase()] ?? kindsByCode[parts.type.toLowerCase()] ?? "providerDown";
}

interface ErrorParts {
  readonly code: string;
  readonly type: string;
  readonly message: string;
}

/** The shapes: `{error: {message, type, code}}`, `{error: "…"}`, `{code, error: "…"}`, `{message}`, `{detail: "…" | [{msg}]}`, text. */
function errorParts(body: string): ErrorParts {
  const parsed = parseJson(body);
  const outer = asObject(parsed) ?? asObject(asArray(parsed)[0]);
  if (outer === undefined) return { code: "", type: "", message: body.trimStart().startsWith("<") ? "" : body };
  const inner = asObject(outer["error"]) ?? outer;
  const detail = asObject(asArray(outer["detail"])[0]);
  const raw = asObject(inner["metadata"])?.["raw"]; // OpenRouter's text says only "Provider returned error".
  const message =
    asText(inner["message"]) ??
    asText(outer["error"]) ??
    asText(outer["detail"]) ??
    asText(detail?.["msg"]) ??
    asText(outer["message"]) ??
    body;
  return {
    code: codeText(inner["code"] ?? inner["status"]),
    type: asText(inner["type"]) ?? "",
    message: typeof raw === "string" ? `${message}: ${raw}` : message,
  };
}

function codeText(code: unknown): string {
  return typeof code === "string" ? code : typeof code === "number" ? String(code) : "";
}

function statusInCode(code: string): number | undefined {
  return /^[45]\d\d$/.test(code) ? Number(code) : undefined;
}
