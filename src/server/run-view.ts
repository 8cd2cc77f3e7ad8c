/** Runs and steps in Letta's fields. */
import type { RunRecord, StepRecord, TokenCounts } from "../agents/run.ts";

const nanosecondsPerMillisecond = 1_000_000;

export function runView({ kelpie: _, ...run }: RunRecord): Record<string, unknown> {
  return { ...run, base_template_id: null, callback_sent_at: null, callback_status_code: null, callback_error: null };
}

export function usageView(usage: TokenCounts): Record<string, unknown> {
  return {
    prompt_tokens: usage.prompt_tokens,
    completion_tokens: usage.completion_tokens,
    total_tokens: usage.prompt_tokens + usage.completion_tokens,
    prompt_tokens_details: {
      cached_tokens: usage.cached_input_tokens,
      cache_read_tokens: usage.cached_input_tokens,
      cache_creation_tokens: usage.cache_write_tokens,
    },
    completion_tokens_details: { reasoning_tokens: usage.reasoning_tokens },
  };
}

export function runMetricsView(run: RunRecord): Record<string, unknown> {
  return {
    id: run.id,
    agent_id: run.agent_id,
    project_id: null,
    run_start_ns: Date.parse(run.created_at) * nanosecondsPerMillisecond,
    run_ns: run.total_duration_ns,
    num_steps: run.kelpie.steps,
    tools_used: run.kelpie.toolsUsed,
    template_id: null,
    base_template_id: null,
  };
}

export function stepView(step: StepRecord): Record<string, unknown> {
  const { usage } = step;
  return {
    id: step.id,
    origin: null,
    provider_id: null,
    run_id: step.run_id,
    agent_id: step.agent_id,
    provider_name: step.provider_name,
    provider_category: "base",
    model: step.model,
    model_handle: step.model_handle,
    model_endpoint: step.model_endpoint,
    context_window_limit: step.context_window_limit,
    ...usageView(usage),
    cached_input_tokens: usage.cached_input_tokens,
    cache_write_tokens: usage.cache_write_tokens,
    reasoning_tokens: usage.reasoning_tokens,
    stop_reason: step.stop_reason,
    tags: step.tags,
    tid: null,
    trace_id: null,
    request_id: step.request_id,
    messages: [],
    feedback: step.feedback,
    project_id: null,
    error_type: step.error?.error_type ?? null,
    error_data: step.error === null ? null : { message: step.error.message, detail: step.error.detail },
    status: step.status,
  };
}

export function stepMetricsView(step: StepRecord): Record<string, unknown> {
  const { timing } = step;
  const startedAt = timing.startedAt * nanosecondsPerMillisecond;
  return {
    id: step.id,
    provider_id: null,
    run_id: step.run_id,
    agent_id: step.agent_id,
    step_start_ns: startedAt,
    llm_request_start_ns: startedAt,
    llm_request_ns: nanoseconds(timing.modelMilliseconds),
    tool_execution_ns: nanoseconds(timing.milliseconds - timing.modelMilliseconds),
    step_ns: nanoseconds(timing.milliseconds),
    base_template_id: null,
    template_id: null,
    project_id: null,
  };
}

function nanoseconds(milliseconds: number): number {
  return Math.max(0, Math.round(milliseconds * nanosecondsPerMillisecond));
}
