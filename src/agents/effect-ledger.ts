/**
 * The effect ledger: for each call that leaves Kelpie a row that says how far it has come. Those whose outcome nobody knows
 * have a second row, so that lists find them until a person has settled them.
 */
import type { Turn } from "../actors/actor.ts";
import { decodeJson, encodeJson } from "../base/json.ts";
import { decodeTuple, encodeTuple, type Tuple, tupleRange } from "../base/tuple.ts";
import type { Store, Write } from "../storage/store.ts";
import type { Approval } from "./approval.ts";
import type { CallState } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";

/** What a person may say of a call whose outcome is unknown. */
export const settledOutcomes = ["succeeded", "failed", "did_not_happen"] as const;
export type SettledOutcome = (typeof settledOutcomes)[number];

/** `intended`: durable, has not left; `started`: may have left; `unknown`: may have left, and no answer was seen. */
export type EffectState = "intended" | "started" | "unknown" | SettledOutcome;

/** One row of the effect ledger: `(project, "effect", run, effect id)`. */
export interface EffectRecord {
  readonly effect_id: string;
  readonly run_id: string;
  readonly agent_id: string;
  readonly conversation_id: string;
  readonly tool_name: string;
  readonly tool_call_id: string;
  readonly effect_class: CallState["effect"];
  readonly state: EffectState;
  readonly updated_at: string;
  /** Of a call that a person was asked for. */
  readonly approval?: Approval;
  /** Of one that was unknown, once a person has said what became of it. */
  readonly settled?: Settlement;
}

export interface Settlement {
  readonly outcome: SettledOutcome;
  /** What the agent is told beside. */
  readonly note: string | null;
  readonly at: string;
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
    tool_call_id: call.call.tool_call_id,
    effect_class: call.effect,
    state,
    updated_at: new Date(environment.clock.now()).toISOString(),
    ...(call.approval === undefined ? {} : { approval: call.approval }),
  };
  turn.write(...effectWrites(address.project, record));
}

/** The row as it is then, and whether lists of unknown effects show it. */
export function effectWrites(project: string, record: EffectRecord): Write[] {
  const { run_id: runId, effect_id: effectId, state } = record;
  const writes: Write[] = [{ kind: "set", key: encodeTuple([...effectRows(project, runId), effectId]), value: encodeJson(record) }];
  const unknown = encodeTuple([...unknownRows(project), runId, effectId]);
  // A call that only reads has no effect, so nobody has to find out about it.
  if (state === "unknown" && record.effect_class !== "readOnly") writes.push({ kind: "set", key: unknown, value: encodeJson(null) });
  else if (record.settled !== undefined) writes.push({ kind: "delete", key: unknown });
  return writes;
}

/** The rows that lists of unknown effects find them by. */
export function unknownRows(project: string): Tuple {
  return [project, "effect.unknown"];
}

export async function readEffect(store: Store, project: string, runId: string, effectId: string): Promise<EffectRecord | undefined> {
  const [[row] = []] = await store.read([{ key: encodeTuple([...effectRows(project, runId), effectId]) }]);
  return row === undefined ? undefined : decodeJson<EffectRecord>(row.value);
}

/** Rows for calls that may leave later: they are durable before any of them does. */
export function writeIntents(journal: Ledger, turn: Turn, runId: string, calls: readonly CallState[]): void {
  for (const call of calls) if (call.state === "intended" && call.effect !== "state") writeEffect(journal, turn, runId, call, "intended");
}

export interface EffectPage {
  /** The id of the last effect of the page before. */
  readonly after?: string | undefined;
  readonly limit: number;
}

export interface RunEffectPage extends EffectPage {
  /** Only those. */
  readonly state?: EffectState | undefined;
}

const rowsPerFilteredRead = 1_000;

/** Those of a run, in the order of its steps. */
export async function pageEffects(
  store: Store,
  project: string,
  runId: string,
  { after, limit, state }: RunEffectPage,
): Promise<EffectRecord[]> {
  const { begin, end } = tupleRange(effectRows(project, runId));
  const rowsPerRead = state === undefined ? limit : rowsPerFilteredRead;
  const found: EffectRecord[] = [];
  for (let last = after; ;) {
    const from = last === undefined ? begin : tupleRange([...effectRows(project, runId), last]).end;
    const [rows = []] = await store.read([{ begin: from, end, limit: rowsPerRead }]);
    const effects = rows.map(({ value }) => decodeJson<EffectRecord>(value));
    found.push(...effects.filter((effect) => state === undefined || effect.state === state));
    // A page that lacks what is filtered out would look like the last one.
    if (effects.length < rowsPerRead || found.length >= limit) return found.slice(0, limit);
    last = effects.at(-1)!.effect_id;
  }
}

/** Those of a project whose outcome nobody knows, the oldest runs first. */
export async function pageUnknownEffects(store: Store, project: string, { after, limit }: EffectPage): Promise<EffectRecord[]> {
  const { begin, end } = tupleRange(unknownRows(project));
  // An effect's id begins with that of its run.
  const from = after === undefined ? begin : tupleRange([...unknownRows(project), after.slice(0, after.indexOf(":")), after]).end;
  const [rows = []] = await store.read([{ begin: from, end, limit }]);
  const ids = rows.map(({ key }) => decodeTuple(key).slice(-2) as [runId: string, effectId: string]);
  const found = await Promise.all(ids.map(([runId, effectId]) => readEffect(store, project, runId, effectId)));
  return found.filter((effect) => effect !== undefined);
}
