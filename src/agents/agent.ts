/** The agent: a definition of a model, a system prompt, blocks, tools and rules. What it did is in its conversations. */
import type { Json } from "../base/json.ts";
import { Collection } from "../storage/collection.ts";
import type { StoredSecret } from "../storage/stored-secret.ts";
import type { Transaction } from "../storage/transaction.ts";
import type { ToolRule } from "../tools/tool-rules.ts";

export type AgentType =
  | "memgpt_agent"
  | "memgpt_v2_agent"
  | "letta_v1_agent"
  | "react_agent"
  | "workflow_agent"
  | "split_thread_agent"
  | "sleeptime_agent"
  | "voice_convo_agent"
  | "voice_sleeptime_agent";

/** An agent, in Letta's fields. Blocks and tools are rows of their own, named here in the order of their attachment. */
export interface AgentRecord {
  readonly id: string;
  readonly name: string;
  readonly agent_type: AgentType;
  /** The system prompt, with or without `{CORE_MEMORY}`. */
  readonly system: string;
  readonly description: string | null;
  readonly metadata: { readonly [name: string]: Json | undefined } | null;
  readonly tags: readonly string[];
  /** The model's handle. */
  readonly model: string;
  /** Letta's `model_settings`, as given. */
  readonly model_settings: { readonly [name: string]: Json | undefined } | null;
  readonly context_window_limit: number | null;
  readonly compaction_settings: CompactionSettings | null;
  readonly response_format: Json;
  readonly embedding: string | null;
  readonly block_ids: readonly string[];
  readonly tool_ids: readonly string[];
  readonly tool_rules: readonly ToolRule[];
  /** By the names of the variables that tools have them in (agent-secrets.ts). */
  readonly secrets: { readonly [name: string]: StoredSecret };
  readonly archive_ids: readonly string[];
  readonly identity_ids: readonly string[];
  readonly source_ids: readonly string[];
  readonly message_buffer_autoclear: boolean;
  readonly enable_sleeptime: boolean | null;
  readonly timezone: string;
  readonly max_files_open: number | null;
  readonly per_file_view_window_char_limit: number | null;
  readonly hidden: boolean | null;
  readonly project_id: string | null;
  readonly template_id: string | null;
  readonly base_template_id: string | null;
  readonly deployment_id: string | null;
  readonly entity_id: string | null;
  /** Bytes that all blocks together may have; `null` under Letta's API, which limits each block alone. */
  readonly core_bytes_max: number | null;
  readonly created_at: string;
  readonly updated_at: string;
  readonly created_by_id: string | null;
  readonly last_updated_by_id: string | null;
}

export interface CompactionSettings {
  readonly model?: string | null;
  readonly model_settings?: Json;
  readonly prompt?: string | null;
  readonly prompt_acknowledgement?: boolean;
  readonly clip_chars?: number | null;
  readonly mode?: "all" | "sliding_window" | "self_compact_all" | "self_compact_sliding_window";
  /** The part of the context window that the summary replaces: above 0, at most 1. */
  readonly sliding_window_percentage?: number;
}

/** What happened last, written by whichever conversation finished a run last. */
export interface AgentActivity {
  readonly last_run_completion: string;
  readonly last_run_duration_ms: number;
  readonly last_stop_reason: string;
}

/** Indexes: by creation, by name, and by tag. */
export const agents: Collection<AgentRecord> = new Collection<AgentRecord>("agent", {
  created: (agent) => [[agent.created_at]],
  updated: (agent) => [[agent.updated_at]],
  name: (agent) => [[agent.name, agent.created_at]],
  tag: (agent) => agent.tags.map((tag) => [tag, agent.created_at]),
});

export function activityKey(project: string, agentId: string): [string, string, string] {
  return [project, "agent.activity", agentId];
}

/** There is no such agent. */
export class AgentNotFoundError extends Error {
  override readonly name = "AgentNotFoundError";
}

/** @throws {AgentNotFoundError} */
export async function agentOf(transaction: Transaction, project: string, id: string): Promise<AgentRecord> {
  const agent = await agents.get(transaction, project, id);
  if (agent === undefined) throw new AgentNotFoundError(`Agent not found: ${id}`);
  return agent;
}
