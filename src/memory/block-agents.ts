/**
 * Which agents a block is connected to. The order of an agent's blocks is in the agent's record (`block_ids`); these
 * rows are the way back, and change in the same batch.
 *
 * Rows: `(project, "block.agent", blockId, agent.created_at, agentId)`.
 */
import { keyAfter } from "../base/bytes.ts";
import { decodeTuple, encodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import type { Page } from "../storage/collection.ts";
import type { Store } from "../storage/store.ts";
import { type AgentLink, readAgentLink } from "./agent-link.ts";
import { UnknownCursorError } from "./memory.ts";
import type { RowWriter } from "./row-writer.ts";
import { checkPage } from "./scan.ts";

type AgentPosition = Pick<AgentLink, "id" | "created_at">;

/** Idempotent. The caller puts the block's id into the agent's `block_ids` in the same batch. */
export function attachBlock(writer: RowWriter, project: string, blockId: string, agent: AgentPosition): void {
  writer.set(linkKey(project, blockId, agent), agent.id);
}

/** Idempotent. The caller takes the block's id out of the agent's `block_ids` in the same batch. */
export function detachBlock(writer: RowWriter, project: string, blockId: string, agent: AgentPosition): void {
  writer.delete(linkKey(project, blockId, agent));
}

export function detachBlockFromAll(writer: RowWriter, project: string, blockId: string): void {
  writer.deleteAll([project, "block.agent", blockId]);
}

/** Ids of the agents that have this block, by the agents' time of creation. @throws {UnknownCursorError} */
export async function agentsOfBlock(store: Store, project: string, blockId: string, page: Page): Promise<string[]> {
  return await linkedAgents(store, project, [project, "block.agent", blockId], page);
}

/** Counted up to `most`. */
export async function countAgentsOfBlock(store: Store, project: string, blockId: string, most: number): Promise<number> {
  const [answer] = await store.read([
    { ...tupleRange([project, "block.agent", blockId]), limit: Math.min(most, store.limits.rangeEntries) },
  ]);
  return answer!.length;
}

/** A page of the rows `(...prefix, agent.created_at, agentId)`. @throws {UnknownCursorError} */
export async function linkedAgents(store: Store, project: string, prefix: Tuple, page: Page): Promise<string[]> {
  checkPage(page);
  const reverse = page.reverse ?? false;
  let { begin, end } = tupleRange(prefix);
  for (const [id, isAfter] of [
    [page.after, true],
    [page.before, false],
  ] as const) {
    if (id === undefined) continue;
    const agent = await readAgentLink(store, project, id);
    if (agent === undefined) throw new UnknownCursorError();
    const key = encodeTuple([...prefix, agent.created_at, agent.id]);
    if (isAfter !== reverse) begin = keyAfter(key);
    else end = key;
  }
  const [answer] = await store.read([{ begin, end, limit: page.limit, reverse }]);
  return answer!.map((entry) => String(decodeTuple(entry.key).at(-1)));
}

function linkKey(project: string, blockId: string, agent: AgentPosition): Tuple {
  return [project, "block.agent", blockId, agent.created_at, agent.id];
}
