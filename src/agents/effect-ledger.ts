/** The effect ledger: for each call that leaves Kelpie a row that says how far it has come. */
import type { Turn } from "../actors/actor.ts";
import { encodeJson } from "../base/json.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import type { Approval } from "./approval.ts";
import type { CallState } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";

/** `unknown`: the call may have left, and no answer was seen. */
export type EffectState = "intended" | "started" | "succeeded" | "failed" | "unknown";

/** One row of the effect ledger: `(project, "effect", run, effect id)`. */
export interface EffectRecord {
  readonly effect_id: string;
  readonly run_id: string;
  readonly agent_id: string;
  readonly conversation_id: string;
  readonly tool_name: string;
  readonly effect_class: CallState["effect"];
  readonly state: EffectState;
  readonly updated_at: string;
  /** Of a call that a person was asked for. */
  readonly approval?: Approval;
}

type Ledger = Pick<ConversationEnvironment, "environment" | "address">;

export function effectRows(project: string, runId: string): Tuple {
  return [project, "effect", runId];
}

export function writeEffect(journal: Ledger, turn: Turn, runId: string, call: CallState, state: EffectState): void {
  const { address, environment } = journal;
  const record: EffectRecord = {
    effect_id: call.effectId,
    run_id: runId,
    agent_id: address.agentId,
    conversation_id: address.conversationId,
    tool_name: call.call.name,
    effect_class: call.effect,
    state,
    updated_at: new Date(environment.clock.now()).toISOString(),
    ...(call.approval === undefined ? {} : { approval: call.approval }),
  };
  turn.write({ kind: "set", key: encodeTuple([...effectRows(address.project, runId), call.effectId]), value: encodeJson(record) });
}

/** Rows for calls that may leave later: they are durable before any of them does. */
export function writeIntents(journal: Ledger, turn: Turn, runId: string, calls: readonly CallState[]): void {
  for (const call of calls) if (call.state === "intended" && call.effect !== "state") writeEffect(journal, turn, runId, call, "intended");
}
