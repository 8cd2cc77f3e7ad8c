/** What the store holds of agents, read from outside all processes. */
import type { ChatMessage } from "../../src/agents/chat-message.ts";
import type { ConversationAddress } from "../../src/agents/conversation.ts";
import type { EffectRecord } from "../../src/agents/effect-ledger.ts";
import type { RunEvent } from "../../src/agents/run-events.ts";
import { isActive, type RunRecord } from "../../src/agents/run.ts";
import { decodeJson } from "../../src/base/json.ts";
import { decodeTuple, type Tuple, tupleRange } from "../../src/base/tuple.ts";
import { project } from "../actor-cluster.ts";
import type { World } from "../world.ts";
import { type AgentCluster, keyOf } from "./agent-cluster.ts";

export interface FinalState {
  readonly messages: ReadonlyMap<ConversationAddress, readonly ChatMessage[]>;
  readonly runs: ReadonlyMap<string, RunRecord>;
  /** The durable events of each run, in order. */
  readonly events: ReadonlyMap<string, readonly RunEvent[]>;
  /** The ledger, by the id of the call. */
  readonly effects: ReadonlyMap<string, EffectRecord>;
  /** Lines of the blocks, and texts of passages: each fact with how often it is there. */
  readonly facts: ReadonlyMap<string, number>;
}

export async function readFinalState(cluster: AgentCluster): Promise<FinalState> {
  const { world } = cluster;
  const messages = new Map<ConversationAddress, readonly ChatMessage[]>();
  for (const address of cluster.conversations)
    messages.set(address, await valuesUnder<ChatMessage>(world, [project, "message", keyOf(address)]));
  const runs = await valuesUnder<RunRecord>(world, [project, "run"]);
  const events = new Map<string, readonly RunEvent[]>();
  for (const run of runs) events.set(run.id, (await valuesUnder<RunEvent[]>(world, [project, "event", run.id])).flat());
  const effects = await valuesUnder<EffectRecord>(world, [project, "effect"]);
  const blocks = await valuesUnder<{ value: string }>(world, [project, "block"]);
  const passages = await valuesUnder<{ text: string }>(world, [project, "passage"]);
  const facts = new Map<string, number>();
  for (const fact of [...blocks.flatMap((block) => block.value.split("\n")), ...passages.map((passage) => passage.text)])
    facts.set(fact, (facts.get(fact) ?? 0) + 1);
  return {
    messages,
    runs: new Map(runs.map((run) => [run.id, run])),
    events,
    effects: new Map(effects.map((effect) => [effect.effect_id.split(":").at(-1)!, effect])),
    facts,
  };
}

/** What still goes on: runs that are listed as active, that conversations name, or that have a reminder. */
export async function unfinished({ world }: AgentCluster): Promise<string[]> {
  const active = await valuesUnder<string>(world, [project, "run.active"]);
  const runs = await valuesUnder<RunRecord>(world, [project, "run"]);
  const contexts = await valuesUnder<{ runId?: string | null }>(world, [project, "state", "conversation"]);
  const reminders = await keysUnder(world, [project, "reminders"]);
  const dues = await keysUnder(world, ["", "reminder"]);
  return [
    ...active.map((id) => `${id} is listed as active`),
    ...runs.filter(isActive).map((run) => `${run.id} is ${run.status}`),
    ...contexts.flatMap(({ runId }) => (typeof runId === "string" ? [`${runId} is in progress for its conversation`] : [])),
    ...[...reminders, ...dues].map((key) => `the reminder ${JSON.stringify(key)} is left`),
  ];
}

async function valuesUnder<T>(world: World, prefix: Tuple): Promise<T[]> {
  const [answer] = await world.disk.read([{ ...tupleRange(prefix), limit: 10_000 }]);
  return answer!.map((entry) => decodeJson<T>(entry.value));
}

async function keysUnder(world: World, prefix: Tuple): Promise<Tuple[]> {
  const [answer] = await world.disk.read([{ ...tupleRange(prefix), limit: 10_000 }]);
  return answer!.map((entry) => decodeTuple(entry.key));
}
