/** A place where models are served: its address, its key, its protocol and its deviations from it. */

export interface Provider {
  /** The first part of its models' handles. */
  readonly name: string;
  /** Letta's provider type. */
  readonly type: string;
  /** Letta's `model_endpoint_type`. */
  readonly endpointType: string;
  readonly protocol: "openaiChat" | "anthropicMessages";
  /** Up to and including the version, without a slash at the end: `https://api.openai.com/v1`. */
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  /** `base`: from this server's configuration; `byok`: made through the API; `local`: looked for on this machine. */
  readonly category: "base" | "byok" | "local";
  readonly discovery: "openai" | "anthropic" | "ollama" | "lmstudio";
  /** What a person sets to change the key or the address, for messages. */
  readonly keyVariable: string | undefined;
  readonly urlVariable: string | undefined;
  /** Names of models that are a sensible default, the best first; for a provider that is not asked yet. */
  readonly preferredModels: readonly string[];
  readonly quirks: OpenAIChatQuirks;
}

/** Where servers that speak OpenAI's Chat Completions differ in what they take. */
export interface OpenAIChatQuirks {
  readonly outputLimitField: "max_completion_tokens" | "max_tokens";
  /** Takes `stream_options.include_usage`; a server that rejects it sends its usage anyway, or never. */
  readonly takesStreamOptions: boolean;
  /** False where a streamed answer loses its tool calls: requests with tools are then not streamed. */
  readonly streamsTools: boolean;
  readonly reasoningField: "reasoning_effort" | "reasoning" | undefined;
  readonly takesPromptCacheKey: boolean;
  readonly takesParallelToolCalls: boolean;
  /** Takes `strict` in tools and in response schemas. */
  readonly takesStrict: boolean;
  readonly requiredToolChoice: "required" | "any";
  /** Wants ids of tool calls of exactly nine letters and digits. */
  readonly shortToolCallIds: boolean;
  /** Wants its own reasoning back beside the tool calls that followed it. */
  readonly returnsReasoning: boolean;
}

/** What nearly every compatible server takes. */
export const commonQuirks: OpenAIChatQuirks = {
  outputLimitField: "max_tokens",
  takesStreamOptions: true,
  streamsTools: true,
  reasoningField: "reasoning_effort",
  takesPromptCacheKey: false,
  takesParallelToolCalls: true,
  takesStrict: false,
  requiredToolChoice: "required",
  shortToolCallIds: false,
  returnsReasoning: false,
};
