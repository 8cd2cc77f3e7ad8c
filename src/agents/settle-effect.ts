/**
 * What a person says of a call whose outcome is unknown: kept in the ledger, and told to the agent, in one commit.
 *
 * The agent is told at once where its conversation rests, and otherwise with the next message that it gets: between a call
 * and its result there is no place for anything else.
 */
import type { Turn } from "../actors/actor.ts";
import type { ContextState } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import { type EffectRecord, effectWrites, readEffect, type Settlement } from "./effect-ledger.ts";
import { append, type NewMessage } from "./run-journal.ts";
import { writeContext } from "./waiting-approval.ts";

export interface EffectAddress {
  readonly runId: string;
  readonly effectId: string;
}

export type SettleOutcome =
  | { readonly ok: true; readonly effect: EffectRecord }
  | { readonly ok: false; readonly reason: "notFound" }
  /** It is no call whose outcome is unknown, or somebody has said something else of it. */
  | { readonly ok: false; readonly reason: "notUnknown"; readonly effect: EffectRecord };

/** Saying the same again changes nothing. */
export async function settleEffect(
  conversation: ConversationEnvironment,
  turn: Turn,
  context: ContextState | undefined,
  { runId, effectId }: EffectAddress,
  said: Omit<Settlement, "at">,
): Promise<SettleOutcome> {
  const { store, address, environment } = conversation;
  // What turns before this one have written of it is in the store then.
  await turn.durable();
  const before = await readEffect(store, address.project, runId, effectId);
  if (before === undefined) return { ok: false, reason: "notFound" };
  const { settled } = before;
  if (settled !== undefined && settled.outcome === said.outcome && settled.note === said.note) return { ok: true, effect: before };
  if (before.state !== "unknown") return { ok: false, reason: "notUnknown", effect: before };
  const at = new Date(environment.clock.now()).toISOString();
  const effect: EffectRecord = { ...before, state: said.outcome, settled: { ...said, at }, updated_at: at };
  turn.write(...effectWrites(address.project, effect));
  environment.probe("agents.effect.settled");
  if (context === undefined) return { ok: true, effect };
  const text = settlementText(effect, said);
  const isAtRest = context.runId === null && context.pending === null;
  const after = isAtRest
    ? (await append(conversation, turn, context, [settlementMessage(text)])).context
    : { ...context, settlements: [...(context.settlements ?? []), text] };
  await writeContext(conversation, turn, after);
  return { ok: true, effect };
}

/** What the agent is told with its next message. */
export function settlementMessages({ settlements = [] }: ContextState): NewMessage[] {
  return settlements.map(settlementMessage);
}

function settlementMessage(text: string): NewMessage {
  return { body: { role: "system", text } };
}

const words = { succeeded: "it took effect", failed: "it failed, and had no effect", did_not_happen: "it never happened" } as const;

function settlementText({ tool_name: tool, tool_call_id: id }: EffectRecord, { outcome, note }: Omit<Settlement, "at">): string {
  return `What became of the call ${id} of ${tool}, whose outcome was unknown, is known now: ${words[outcome]}.${note === null ? "" : ` ${note}`}`;
}
