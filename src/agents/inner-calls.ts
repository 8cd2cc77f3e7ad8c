/**
 * Calls of an agent's tools that code of one of its calls makes, within one step of the model.
 *
 * N1. Each is looked at as if the model had made it: rules, policies, limits, secrets. One that a person would be asked for,
 *     or that the client makes, is refused: code can ask nobody.
 * N2. It is durable as started before it leaves, under an effect id that follows from the outer call's and its number; a
 *     state tool's effect is one batch, as ever.
 * N3. The outer call is made once, so a crash ends the code and none of its calls is made again: those that had started are
 *     unknown then, each for itself.
 */
import type { Turn } from "../actors/actor.ts";
import { decodeJson } from "../base/json.ts";
import { encodeTuple } from "../base/tuple.ts";
import type { OutsideToolContext, ToolResult } from "../tools/tool.ts";
import type { PastCall } from "../tools/tool-rules.ts";
import { callWithinLimit, type MadeCall, planCall } from "./call-tool.ts";
import type { ToolReturn } from "./chat-message.ts";
import type { CallState } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import { type EffectRecord, effectRows, effectWrites, writeEffect } from "./effect-ledger.ts";
import { indexAgentMessages } from "./message-index.ts";
import { readJournal } from "./run-journal.ts";
import type { RunSetting } from "./step-plan.ts";

/** Of one outer call. */
export const innerCallsMax = 500;

export interface OuterCall {
  readonly conversation: ConversationEnvironment;
  readonly runId: string;
  /** As the step found them: a change counts from the next step on. */
  readonly setting: RunSetting;
  /** The calls of the run before its step, for the tool rules. */
  readonly past: readonly PastCall[];
  readonly call: CallState;
  turn<T>(work: (turn: Turn) => Promise<T>): Promise<T>;
}

/** What a tool of this call is given to call others by. Rejects when the run is over, or with the signal's reason. */
export function innerCalls({
  conversation,
  runId,
  setting,
  past,
  call: outer,
  turn,
}: OuterCall): NonNullable<OutsideToolContext["callTool"]> {
  let count = 0;
  const inRun = async <T>(work: (turn: Turn) => Promise<T>): Promise<T> =>
    await turn(async (inner) => {
      if ((await readJournal(inner))?.run.id !== runId) throw new Error("The run is over");
      return await work(inner);
    });
  return async (name, input, signal) => {
    signal.throwIfAborted();
    // N3: of one that is made again, its calls could not be told from those of before.
    if (outer.effect !== "once") return refused(`${name} was not called: only a tool that is declared as made once calls others`);
    if (count >= innerCallsMax) return refused(`${name} was not called: code may make ${innerCallsMax} calls`);
    const number = ++count;
    if (name === outer.call.name) return refused(`${name} was not called: code that it runs cannot call it again`);
    // What it shows to the user is the model's own call.
    if (name === "send_message") return refused(`${name} was not called: it speaks to the user, and code cannot. Call it outside of code`);
    const call = { tool_call_id: `${outer.call.tool_call_id}:${number}`, name, arguments: JSON.stringify(input) };
    const plan = planCall(conversation, setting, past, call);
    if (plan.gated) {
      return refused(`${name} was not called: it waits for a person or for the client, and code can ask nobody. Call it outside of code`);
    }
    if (plan.resultInTurn !== undefined) {
      const { project, agentId } = conversation.address;
      if (name === "conversation_search") await indexAgentMessages(conversation, project, agentId);
      return resultOf(await inRun(plan.resultInTurn));
    }
    const state: CallState = { call: plan.call, effect: plan.effect, effectId: `${outer.effectId}:${number}`, state: "started" };
    await inRun(async (inner) => writeEffect(conversation, inner, runId, state, "started"));
    let made: MadeCall;
    try {
      made = await callWithinLimit(conversation, setting.tools.get(name)!, state, signal);
    } catch (error) {
      // It was given up while it waited for its turn.
      await turn(async (inner) => writeEffect(conversation, inner, runId, state, "did_not_happen"));
      throw error;
    }
    const { result, isUnknown } = made;
    const end = isUnknown ? "unknown" : result.status === "success" ? "succeeded" : "failed";
    // Also when the run is over: what is known of the call is kept.
    await turn(async (inner) => writeEffect(conversation, inner, runId, state, end));
    return resultOf(result);
  };
}

/** The calls of an outer call's code that had started when it was interrupted. */
export async function startedInnerCalls(
  { store, address: { project } }: Pick<ConversationEnvironment, "store" | "address">,
  runId: string,
  { effectId }: Pick<CallState, "effectId">,
): Promise<readonly EffectRecord[]> {
  const rows = effectRows(project, runId);
  const begin = encodeTuple([...rows, `${effectId}:`]);
  // What follows the colon.
  const end = encodeTuple([...rows, `${effectId};`]);
  const [found = []] = await store.read([{ begin, end, limit: innerCallsMax }]);
  return found.map(({ value }) => decodeJson<EffectRecord>(value)).filter(({ state }) => state === "started");
}

/** Says of them that nobody knows what became of them (N3). */
export function writeUnknown({ environment, address }: ConversationEnvironment, turn: Turn, started: readonly EffectRecord[]): void {
  const updated_at = new Date(environment.clock.now()).toISOString();
  for (const record of started) turn.write(...effectWrites(address.project, { ...record, state: "unknown", updated_at }));
}

function resultOf({ status, tool_return }: ToolReturn): ToolResult {
  return { status, text: tool_return };
}

function refused(text: string): ToolResult {
  return { status: "error", text };
}
