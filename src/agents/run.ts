/** Runs and steps as rows: one request worked to its end; one model call with its tools. */
import { Collection } from "../storage/collection.ts";

export type RunStatus = "created" | "running" | "completed" | "failed" | "cancelled";

export type StopReason =
  | "end_turn"
  | "error"
  | "llm_api_error"
  | "invalid_llm_response"
  | "invalid_tool_call"
  | "max_steps"
  | "max_tokens_exceeded"
  | "no_tool_call"
  | "tool_rule"
  | "cancelled"
  | "insufficient_credits"
  | "requires_approval"
  | "context_window_overflow_in_system_prompt";

/** Letta's token counts of a run or a step. */
export interface TokenCounts {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly cached_input_tokens: number;
  readonly cache_write_tokens: number;
  readonly reasoning_tokens: number;
}

export const noTokens: TokenCounts = {
  prompt_tokens: 0,
  completion_tokens: 0,
  cached_input_tokens: 0,
  cache_write_tokens: 0,
  reasoning_tokens: 0,
};

/** A run, in Letta's fields and a few of Kelpie's below `kelpie`. */
export interface RunRecord {
  readonly id: string;
  readonly status: RunStatus;
  readonly created_at: string;
  readonly completed_at: string | null;
  readonly agent_id: string;
  /** `null` for the agent's default conversation. */
  readonly conversation_id: string | null;
  readonly background: boolean;
  readonly metadata: { readonly error?: RunError; readonly [field: string]: unknown } | null;
  readonly request_config: RequestConfig;
  readonly stop_reason: StopReason | null;
  readonly callback_url: string | null;
  readonly callback_sent_at: string | null;
  readonly callback_status_code: number | null;
  readonly callback_error: string | null;
  readonly ttft_ns: number | null;
  readonly total_duration_ns: number | null;
  readonly kelpie: {
    /** The messages of this run are those of its conversation from here… */
    readonly firstMessage: number;
    /** …to here, not included. Undefined while it runs. */
    readonly endMessage?: number;
    readonly steps: number;
    readonly usage: TokenCounts;
    /** What the last step's context window held. */
    readonly contextTokens: number;
    readonly toolsUsed: readonly string[];
  };
}

export interface RequestConfig {
  readonly use_assistant_message: boolean;
  readonly assistant_message_tool_name: string;
  readonly assistant_message_tool_kwarg: string;
  readonly include_return_message_types: readonly string[] | null;
}

export interface RunError {
  /** As in Letta's error bodies: `llm_error`, `llm_rate_limit`, `llm_authentication`, … or `internal_error`. */
  readonly error_type: string;
  readonly message: string;
  readonly detail: string | null;
}

export interface StepRecord {
  readonly id: string;
  readonly run_id: string;
  readonly agent_id: string;
  readonly created_at: string;
  readonly model: string;
  readonly model_handle: string;
  readonly provider_name: string;
  readonly model_endpoint: string | null;
  readonly context_window_limit: number;
  readonly usage: TokenCounts;
  readonly stop_reason: StopReason | null;
  readonly status: "pending" | "success" | "failed" | "cancelled";
  readonly error: RunError | null;
  readonly request_id: string | null;
  readonly feedback: "positive" | "negative" | null;
  readonly tags: readonly string[];
  readonly timing: {
    readonly startedAt: number;
    readonly modelMilliseconds: number;
    readonly firstTokenMilliseconds: number | null;
    readonly milliseconds: number;
  };
  readonly firstMessage: number;
  readonly endMessage: number;
}

export const runs: Collection<RunRecord> = new Collection<RunRecord>("run", {
  created: (run) => [[run.created_at]],
  agent: (run) => [[run.agent_id, run.created_at]],
  conversation: (run) => [[run.agent_id, run.conversation_id ?? "default", run.created_at]],
  active: (run) => (isActive(run) ? [[run.created_at]] : []),
});

export const steps: Collection<StepRecord> = new Collection<StepRecord>("step", {
  created: (step) => [[step.created_at]],
  agent: (step) => [[step.agent_id, step.created_at]],
  run: (step) => [[step.run_id, step.created_at]],
});

export function isActive(run: RunRecord): boolean {
  return run.status === "created" || run.status === "running";
}

export function addTokens(left: TokenCounts, right: TokenCounts): TokenCounts {
  return {
    prompt_tokens: left.prompt_tokens + right.prompt_tokens,
    completion_tokens: left.completion_tokens + right.completion_tokens,
    cached_input_tokens: left.cached_input_tokens + right.cached_input_tokens,
    cache_write_tokens: left.cache_write_tokens + right.cache_write_tokens,
    reasoning_tokens: left.reasoning_tokens + right.reasoning_tokens,
  };
}
