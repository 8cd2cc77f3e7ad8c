/** The port to language models: one request gives one stream of events that ends with exactly one `end`. */
import type { Json } from "../base/json.ts";

/** A language model behind a handle such as `openai/gpt-5-mini`. */
export interface Model {
  /** `provider/model`, as in Letta. */
  readonly handle: string;
  /**
   * Streams the model's answer. The last event is `end`; an error is thrown as a `ModelError` and never silent:
   * a connection that closes without the provider's finish is an error. Retries happen inside, and only as long as
   * nothing was emitted. Aborting `signal` ends the stream by throwing its reason.
   */
  generate(request: ModelRequest, signal: AbortSignal): AsyncIterable<ModelEvent>;
}

export interface ModelRequest {
  readonly messages: readonly ModelMessage[];
  readonly tools: readonly ToolDefinition[];
  /** `auto` by default; `required`: some tool; or the name of the one tool to call. */
  readonly toolChoice?: "auto" | "none" | "required" | { readonly name: string };
  readonly settings: ModelSettings;
  /** Groups requests that share a prefix, for the provider's prompt cache: the conversation's id. */
  readonly cacheKey?: string;
}

export interface ModelSettings {
  readonly maxOutputTokens?: number;
  readonly temperature?: number;
  readonly parallelToolCalls?: boolean;
  readonly reasoningEffort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max";
  /** Tokens for thinking, where the provider counts them (Anthropic). */
  readonly reasoningBudgetTokens?: number;
  readonly responseFormat?: { readonly type: "text" | "json_object" } | { readonly type: "json_schema"; readonly schema: Json };
}

export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of an object. */
  readonly parameters: Json;
  readonly strict?: boolean;
}

export type ModelMessage =
  | { readonly role: "system"; readonly content: string }
  | { readonly role: "user"; readonly content: readonly ContentPart[]; readonly name?: string }
  | { readonly role: "assistant"; readonly content: readonly AssistantPart[] }
  | {
      readonly role: "tool";
      readonly toolCallId: string;
      readonly content: string;
      readonly isError: boolean;
      /** Left out for a model that is not known to look at images. */
      readonly images?: readonly ResultImage[];
    };

/** An image in a tool's result. */
export interface ResultImage {
  /** `image/png`, `image/jpeg`, `image/gif` or `image/webp`. */
  readonly mediaType: string;
  readonly base64: string;
}

export type ContentPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "image"; readonly source: { readonly url: string } | { readonly mediaType: string; readonly base64: string } };

export type AssistantPart =
  | { readonly type: "text"; readonly text: string }
  /** Goes back to the provider that signed it, unchanged; others drop it. */
  | { readonly type: "reasoning"; readonly text: string; readonly signature?: string }
  | { readonly type: "redactedReasoning"; readonly data: string }
  | { readonly type: "toolCall"; readonly id: string; readonly name: string; readonly argumentsText: string };

/**
 * `toolCall*` events of parallel calls may interleave; `index` tells them apart and counts from 0. A `toolCallEnd`
 * carries the whole text of the arguments, which need not be valid JSON: whoever runs the tool checks it.
 */
export type ModelEvent =
  | { readonly type: "text"; readonly delta: string }
  | { readonly type: "reasoning"; readonly delta: string }
  | { readonly type: "reasoningEnd"; readonly signature?: string }
  | { readonly type: "redactedReasoning"; readonly data: string }
  | { readonly type: "toolCallStart"; readonly index: number; readonly id: string; readonly name: string }
  | { readonly type: "toolCallDelta"; readonly index: number; readonly delta: string }
  | { readonly type: "toolCallEnd"; readonly index: number; readonly id: string; readonly name: string; readonly argumentsText: string }
  | { readonly type: "end"; readonly reason: EndReason; readonly usage: Usage; readonly requestId?: string };

/** `toolCalls` also where the provider says `stop` after tool calls. */
export type EndReason = "stop" | "toolCalls" | "length" | "refusal" | "contentFilter";

/** As the provider counted; all 0 where it does not tell. */
export interface Usage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Parts of `inputTokens`. */
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
  /** A part of `outputTokens`. */
  readonly reasoningTokens: number;
}

export const noUsage: Usage = { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };

export type ModelErrorKind =
  | "authentication"
  | "insufficientCredits"
  | "rateLimit"
  | "contextOverflow"
  | "invalidRequest"
  | "providerDown"
  | "timeout"
  | "contentFilter"
  /** The provider answered with something that is not its protocol, or ended without a finish. */
  | "invalidResponse";

/** A model could not answer. What it emitted before stands, but is not an answer. */
export class ModelError extends Error {
  override readonly name = "ModelError";
  readonly kind: ModelErrorKind;
  readonly retryAfterMilliseconds: number | undefined;

  constructor(kind: ModelErrorKind, message: string, options: { readonly cause?: unknown; readonly retryAfterMilliseconds?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retryAfterMilliseconds = options.retryAfterMilliseconds;
  }
}

/** What is known of a model before it is called. */
export interface ModelInfo {
  readonly handle: string;
  /** The provider's name for it: the handle after the first slash. */
  readonly name: string;
  readonly displayName: string;
  /** Letta's provider type, such as `openai`, `anthropic`, `ollama`, `lmstudio_openai`, `openrouter`; `kelpie` for the demo model. */
  readonly providerType: string;
  readonly providerName: string;
  /** Letta's `model_endpoint_type`. */
  readonly endpointType: string;
  readonly endpoint: string | undefined;
  readonly contextWindow: number;
  readonly maxOutputTokens: number | undefined;
}

/** The models that this Kelpie can use. */
export interface Models {
  /** Every model that is configured or discovered now. */
  list(): Promise<readonly ModelInfo[]>;
  /**
   * What is known of a handle; `letta/auto` and a bare alias resolve as Letta does.
   *
   * @throws {ModelNotFoundError} Says which handles there are, or which variable would configure the provider.
   */
  describe(handle: string): Promise<ModelInfo>;
  /** @throws {ModelNotFoundError} */
  open(handle: string): Promise<Model>;
  /** The handle for an agent that names none. */
  readonly defaultHandle: string;
}

/** No configured provider has this model. The message says what would be right. */
export class ModelNotFoundError extends Error {
  override readonly name = "ModelNotFoundError";
}
