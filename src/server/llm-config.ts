/** Letta's shapes of what is known about a model. Most of their fields are deprecated, and all of them are still required. */
import type { EmbeddingModelInfo } from "../models/embedding-model.ts";
import type { ModelInfo } from "../models/model.ts";

export interface ModelOptions {
  readonly temperature?: number | undefined;
  readonly maxTokens?: number | undefined;
  readonly contextWindow?: number | undefined;
  readonly parallelToolCalls?: boolean | undefined;
  readonly reasoningEffort?: string | undefined;
  readonly reasoningTokens?: number | undefined;
}

/** Letta's LLMConfig. */
export function llmConfig(info: ModelInfo, options: ModelOptions = {}): Record<string, unknown> {
  return {
    handle: info.handle,
    model: info.name,
    display_name: info.displayName,
    model_endpoint_type: info.endpointType,
    model_endpoint: info.endpoint ?? null,
    provider_name: info.providerName,
    provider_category: "base",
    model_wrapper: null,
    context_window: options.contextWindow ?? info.contextWindow,
    put_inner_thoughts_in_kwargs: false,
    temperature: options.temperature ?? 1,
    max_tokens: options.maxTokens ?? info.maxOutputTokens ?? null,
    enable_reasoner: true,
    reasoning_effort: options.reasoningEffort ?? null,
    max_reasoning_tokens: options.reasoningTokens ?? 0,
    effort: null,
    frequency_penalty: null,
    compatibility_type: null,
    verbosity: null,
    tier: null,
    parallel_tool_calls: options.parallelToolCalls ?? false,
    response_format: null,
    strict: false,
    return_logprobs: false,
    top_logprobs: null,
    return_token_ids: false,
    tool_call_parser: null,
  };
}

/** Letta's Model, an entry of the list of models. */
export function modelEntry(info: ModelInfo, category: "base" | "byok"): Record<string, unknown> {
  return {
    ...llmConfig(info),
    provider_category: category,
    name: info.name,
    provider_type: info.providerType,
    model_type: "llm",
    max_context_window: info.contextWindow,
  };
}

/** Letta's EmbeddingConfig. */
export function embeddingConfig(info: EmbeddingModelInfo): Record<string, unknown> {
  return {
    handle: info.handle,
    embedding_model: info.name,
    embedding_endpoint_type: info.endpointType,
    embedding_endpoint: info.endpoint,
    embedding_dim: info.dimensions,
    embedding_chunk_size: 300,
    batch_size: 32,
    azure_endpoint: null,
    azure_version: null,
    azure_deployment: null,
  };
}

/** Letta's EmbeddingModel, an entry of the list of embedding models. */
export function embeddingModelEntry(info: EmbeddingModelInfo): Record<string, unknown> {
  return {
    ...embeddingConfig(info),
    name: info.name,
    display_name: info.displayName,
    provider_type: info.providerType,
    provider_name: info.providerName,
    model_type: "embedding",
  };
}
