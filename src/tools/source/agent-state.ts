/** What a tool sees of its agent that asks for `agent_state`: some of its fields, and its core memory, which it may edit. */
import type { Json } from "../../base/json.ts";
import type { Environment } from "../../environment/environment.ts";
import { getAgentLink } from "../../memory/agent-link.ts";
import { getBlocks } from "../../memory/block.ts";
import { MemoryError } from "../../memory/memory.ts";
import type { Store } from "../../storage/store.ts";
import { transact } from "../../storage/transaction.ts";
import { CoreMemory } from "../core-memory.ts";
import { ToolError } from "../state-tool.ts";
import type { OutsideToolContext, StateToolContext } from "../tool.ts";

export type AgentState = { readonly [field: string]: Json };

/** The text of each block, by its label. */
export type BlockValues = { readonly [label: string]: string };

/** Never the secrets: those are variables. */
const shownFields = ["id", "name", "description", "agent_type", "system", "tags", "model", "metadata", "timezone"] as const;

/** Undefined: there is no such agent, as for a call outside of one. */
export async function readAgentState(
  { store, environment }: { readonly store: Store; readonly environment: Environment },
  { project, agentId }: Pick<OutsideToolContext, "project" | "agentId">,
): Promise<AgentState | undefined> {
  return await transact(store, environment, async (transaction) => {
    const agent = await getAgentLink(transaction, project, agentId);
    if (agent === undefined) return undefined;
    const record = agent as unknown as { readonly [field: string]: Json | undefined };
    const blocks = (await getBlocks(transaction, project, agent.block_ids)).map(({ label, value, limit, description, read_only }) => ({
      label,
      value,
      limit,
      description,
      read_only,
    }));
    return { ...Object.fromEntries(shownFields.map((field) => [field, record[field] ?? null])), blocks };
  });
}

/**
 * Writes the blocks that the tool has changed, all or none. A block that somebody else changed meanwhile is refused.
 * Gives why nothing was written, if so.
 */
export async function writeBlocks(
  { store, environment }: { readonly store: Store; readonly environment: Environment },
  { project, agentId, conversationId }: Pick<OutsideToolContext, "project" | "agentId" | "conversationId">,
  { before, after }: { readonly before: BlockValues; readonly after: BlockValues },
): Promise<string | undefined> {
  const changed = Object.entries(after).filter(([label, value]) => before[label] !== value);
  if (changed.length === 0) return undefined;
  const sendToAgent: StateToolContext["sendToAgent"] = async () => ({ refused: "A tool's code sends no messages." });
  try {
    await transact(store, environment, async (transaction) => {
      const memory = await CoreMemory.load({ transaction, store, environment, project, agentId, conversationId, sendToAgent });
      for (const [label, value] of changed)
        memory.edit(label, (current) => {
          if (current !== before[label]) throw new ToolError(`the block ${label} was changed by somebody else meanwhile`);
          return value;
        });
      await memory.save();
    });
    return undefined;
  } catch (error) {
    if (error instanceof ToolError || error instanceof MemoryError) return error.message;
    throw error;
  }
}

export function valuesOf({ blocks }: AgentState): BlockValues {
  return Object.fromEntries(
    (blocks as readonly { readonly label: string; readonly value: string }[]).map(({ label, value }) => [label, value]),
  );
}
