import { decodeJson } from "../base/json.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import type { Store } from "../storage/store.ts";
import type { Transaction } from "../storage/transaction.ts";

/** What memory reads of an agent's record. The row has more fields and belongs to the layer of agents. */
export interface AgentLink {
  readonly id: string;
  readonly name: string;
  readonly created_at: string;
  readonly block_ids: readonly string[];
  /** At most one, as in Letta V1. */
  readonly archive_ids: readonly string[];
  /** An IANA name such as `Europe/Berlin`. */
  readonly timezone: string;
  /** The limit of all blocks together, in bytes; `null`: each block has its own limit only. */
  readonly core_bytes_max: number | null;
}

export function agentKey(project: string, agentId: string): Tuple {
  return [project, "agent", agentId];
}

/** The record as the transaction sees it, with the fields that memory does not know. */
export async function getAgentLink(transaction: Transaction, project: string, agentId: string): Promise<AgentLink | undefined> {
  return await transaction.get<AgentLink>(agentKey(project, agentId));
}

export async function readAgentLink(store: Store, project: string, agentId: string): Promise<AgentLink | undefined> {
  const [answer] = await store.read([{ key: encodeTuple(agentKey(project, agentId)) }]);
  return answer?.[0] === undefined ? undefined : decodeJson<AgentLink>(answer[0].value);
}

/** Changes which blocks or archives an agent has, and nothing else; no index of agents looks at these. */
export function setAgentLinks(
  transaction: Transaction,
  project: string,
  agent: AgentLink,
  links: Partial<Pick<AgentLink, "block_ids" | "archive_ids">>,
): void {
  transaction.set(agentKey(project, agent.id), { ...agent, ...links });
}
