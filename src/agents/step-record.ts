import type { Answer } from "./answer.ts";
import type { ActiveRun, StepIds } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import type { StepRecord, TokenCounts } from "./run.ts";
import type { RunSetting } from "./step-plan.ts";

/** What is known of a step when its answer has come. */
export interface StepFacts {
  readonly ids: StepIds;
  readonly setting: RunSetting;
  /** Unix milliseconds. */
  readonly startedAt: number;
  readonly startedElapsed: number;
  readonly modelMilliseconds: number;
  readonly firstTokenMilliseconds: number | null;
}

export function answerTokens(answer: Answer): TokenCounts {
  const { usage } = answer;
  return {
    prompt_tokens: usage.inputTokens,
    completion_tokens: usage.outputTokens,
    cached_input_tokens: usage.cacheReadTokens,
    cache_write_tokens: usage.cacheWriteTokens,
    reasoning_tokens: usage.reasoningTokens,
  };
}

/** The record of a step whose answer is complete. */
export function stepRecord(
  journal: Pick<ConversationEnvironment, "environment" | "address">,
  facts: StepFacts,
  run: ActiveRun,
  answer: Answer,
  usage: TokenCounts,
  firstMessage: number,
  endMessage: number,
): StepRecord {
  return {
    id: facts.ids.id,
    run_id: run.id,
    agent_id: journal.address.agentId,
    created_at: new Date(facts.startedAt).toISOString(),
    model: facts.setting.info.name,
    model_handle: facts.setting.info.handle,
    provider_name: facts.setting.info.providerName,
    model_endpoint: facts.setting.info.endpoint ?? null,
    context_window_limit: facts.setting.contextWindow,
    usage,
    stop_reason: answer.calls.length > 0 ? null : answer.reason === "length" ? "max_tokens_exceeded" : "end_turn",
    status: "success",
    error: null,
    request_id: answer.requestId,
    feedback: null,
    tags: [],
    timing: {
      startedAt: facts.startedAt,
      modelMilliseconds: facts.modelMilliseconds,
      firstTokenMilliseconds: facts.firstTokenMilliseconds,
      milliseconds: journal.environment.clock.elapsed() - facts.startedElapsed,
    },
    firstMessage,
    endMessage,
  };
}
