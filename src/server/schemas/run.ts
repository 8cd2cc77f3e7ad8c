import { z } from "@hono/zod-openapi";
import { anyObject, idOf, nullable } from "./common.ts";
import { messageSchema, stopReasons } from "./message.ts";

export const runStatuses = ["created", "running", "completed", "failed", "cancelled"] as const;

/** Letta's Run. */
export const runSchema: z.ZodType = z
  .object({
    id: idOf("run"),
    status: z.enum(runStatuses),
    created_at: z.string(),
    completed_at: nullable(z.string()),
    agent_id: idOf("agent"),
    conversation_id: nullable(z.string()),
    base_template_id: nullable(z.string()),
    background: nullable(z.boolean()),
    metadata: nullable(anyObject),
    request_config: nullable(
      z.object({
        use_assistant_message: z.boolean(),
        assistant_message_tool_name: z.string(),
        assistant_message_tool_kwarg: z.string(),
        include_return_message_types: nullable(z.array(z.string())),
      }),
    ),
    stop_reason: nullable(z.enum(stopReasons)),
    callback_url: nullable(z.string()),
    callback_sent_at: nullable(z.string()),
    callback_status_code: nullable(z.int()),
    callback_error: nullable(z.string()),
    ttft_ns: nullable(z.int()),
    total_duration_ns: nullable(z.int()),
  })
  .openapi("Run");

export const runMetricsSchema: z.ZodType = z
  .object({
    id: idOf("run"),
    agent_id: nullable(z.string()),
    project_id: nullable(z.string()),
    run_start_ns: nullable(z.number()),
    run_ns: nullable(z.int()),
    num_steps: nullable(z.int()),
    tools_used: nullable(z.array(z.string())),
    template_id: nullable(z.string()),
    base_template_id: nullable(z.string()),
  })
  .openapi("RunMetrics");

export const usageStatisticsSchema: z.ZodType = z
  .object({
    completion_tokens: z.int(),
    prompt_tokens: z.int(),
    total_tokens: z.int(),
    prompt_tokens_details: nullable(
      z.object({ cached_tokens: nullable(z.int()), cache_read_tokens: nullable(z.int()), cache_creation_tokens: nullable(z.int()) }),
    ),
    completion_tokens_details: nullable(z.object({ reasoning_tokens: nullable(z.int()) })),
  })
  .openapi("UsageStatistics");

/** Letta's Step. */
export const stepSchema: z.ZodType = z
  .object({
    id: idOf("step"),
    origin: nullable(z.string()),
    provider_id: nullable(z.string()),
    run_id: nullable(z.string()),
    agent_id: nullable(z.string()),
    provider_name: nullable(z.string()),
    provider_category: nullable(z.string()),
    model: nullable(z.string()),
    model_handle: nullable(z.string()),
    model_endpoint: nullable(z.string()),
    context_window_limit: nullable(z.int()),
    completion_tokens: nullable(z.int()),
    prompt_tokens: nullable(z.int()),
    total_tokens: nullable(z.int()),
    cached_input_tokens: nullable(z.int()),
    cache_write_tokens: nullable(z.int()),
    reasoning_tokens: nullable(z.int()),
    completion_tokens_details: nullable(anyObject),
    prompt_tokens_details: nullable(anyObject),
    stop_reason: nullable(z.enum(stopReasons)),
    tags: z.array(z.string()),
    tid: nullable(z.string()),
    trace_id: nullable(z.string()),
    request_id: nullable(z.string()),
    messages: z.array(messageSchema),
    feedback: nullable(z.enum(["positive", "negative"])),
    project_id: nullable(z.string()),
    error_type: nullable(z.string()),
    error_data: nullable(anyObject),
    status: z.enum(["pending", "success", "failed", "cancelled"]),
  })
  .openapi("Step");

export const stepMetricsSchema: z.ZodType = z
  .object({
    id: idOf("step"),
    provider_id: nullable(z.string()),
    run_id: nullable(z.string()),
    agent_id: nullable(z.string()),
    step_start_ns: nullable(z.number()),
    llm_request_start_ns: nullable(z.number()),
    llm_request_ns: nullable(z.int()),
    tool_execution_ns: nullable(z.int()),
    step_ns: nullable(z.int()),
    base_template_id: nullable(z.string()),
    template_id: nullable(z.string()),
    project_id: nullable(z.string()),
  })
  .openapi("StepMetrics");
