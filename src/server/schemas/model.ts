import { z } from "@hono/zod-openapi";
import { anyObject, nullable } from "./common.ts";

const llmConfigFields = {
  handle: nullable(z.string()),
  model: z.string(),
  display_name: nullable(z.string()),
  model_endpoint_type: z.string(),
  model_endpoint: nullable(z.string()),
  provider_name: nullable(z.string()),
  provider_category: nullable(z.enum(["base", "byok"])),
  model_wrapper: nullable(z.string()),
  context_window: z.int(),
  put_inner_thoughts_in_kwargs: nullable(z.boolean()),
  temperature: z.number(),
  max_tokens: nullable(z.int()),
  enable_reasoner: z.boolean(),
  reasoning_effort: nullable(z.string()),
  max_reasoning_tokens: z.int(),
  effort: nullable(z.string()),
  frequency_penalty: nullable(z.number()),
  compatibility_type: nullable(z.string()),
  verbosity: nullable(z.string()),
  tier: nullable(z.string()),
  parallel_tool_calls: nullable(z.boolean()),
  response_format: nullable(anyObject),
  strict: z.boolean(),
  return_logprobs: z.boolean(),
  top_logprobs: nullable(z.int()),
  return_token_ids: z.boolean(),
  tool_call_parser: nullable(z.string()),
};

export const llmConfigSchema: z.ZodType = z.object(llmConfigFields).openapi("LLMConfig");

/** Letta's Model: an LLM configuration with what a list of models needs besides. */
export const modelSchema: z.ZodType = z
  .object({ ...llmConfigFields, name: z.string(), provider_type: z.string(), model_type: z.literal("llm"), max_context_window: z.int() })
  .openapi("Model");

const embeddingConfigFields = {
  handle: nullable(z.string()),
  embedding_model: z.string(),
  embedding_endpoint_type: z.string(),
  embedding_endpoint: nullable(z.string()),
  embedding_dim: z.int(),
  embedding_chunk_size: nullable(z.int()),
  batch_size: z.int(),
  azure_endpoint: nullable(z.string()),
  azure_version: nullable(z.string()),
  azure_deployment: nullable(z.string()),
};

export const embeddingConfigSchema: z.ZodType = z.object(embeddingConfigFields).openapi("EmbeddingConfig");

export const embeddingModelSchema: z.ZodType = z
  .object({
    ...embeddingConfigFields,
    name: z.string(),
    display_name: z.string(),
    provider_type: z.string(),
    provider_name: z.string(),
    model_type: z.literal("embedding"),
  })
  .openapi("EmbeddingModel");
