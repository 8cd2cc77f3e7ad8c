/** Agents in Letta's fields. What is in other rows is read for a whole list at once, and only where it is asked for. */
import { activityKey, type AgentActivity, type AgentRecord } from "../agents/agent.ts";
import type { Secrets } from "../agents/agent-secrets.ts";
import { toLettaMessages } from "../agents/chat-message.ts";
import { type ContextState, conversationKey, readContext } from "../agents/conversation.ts";
import { findMessage, readMessages } from "../agents/message-log.ts";
import { decodeJson } from "../base/json.ts";
import { encodeTuple } from "../base/tuple.ts";
import { type BlockRecord, readBlocks } from "../memory/block.ts";
import type { ModelInfo } from "../models/model.ts";
import { ModelNotFoundError } from "../models/model.ts";
import { readTools, type ToolRecord } from "../tools/tool-record.ts";
import { llmConfig } from "./llm-config.ts";
import type { Services } from "./services.ts";

export const relationships = [
  "agent.blocks",
  "agent.identities",
  "agent.managed_group",
  "agent.pending_approval",
  "agent.secrets",
  "agent.sources",
  "agent.tags",
  "agent.tools",
] as const;

export type Relationship = (typeof relationships)[number];

/** What a client gets that asks for nothing: everything before SDK 1.0, nothing since. */
export function relationshipsFor(
  query: { readonly include?: readonly Relationship[] | undefined; readonly include_relationships?: readonly string[] | undefined },
  isLegacyClient: boolean,
): ReadonlySet<Relationship> {
  if (query.include !== undefined) return new Set(query.include);
  if (query.include_relationships !== undefined)
    return new Set(relationships.filter((name) => query.include_relationships!.some((given) => matchesOldName(name, given))));
  return new Set(isLegacyClient ? allRelationships : []);
}

/** The deprecated names: those of the fields, without `agent.`, and `memory` for the blocks. */
function matchesOldName(name: Relationship, given: string): boolean {
  return (
    name === `agent.${given}` ||
    (name === "agent.blocks" && given === "memory") ||
    (name === "agent.secrets" && given === "tool_exec_environment_variables")
  );
}

export const allRelationships: readonly Relationship[] = relationships.filter((name) => name !== "agent.pending_approval");

export interface ViewOptions {
  readonly project: string;
  readonly include: ReadonlySet<Relationship>;
  /** Whether to tell which messages are in the context of the default conversation. */
  readonly withMessageIds: boolean;
}

type ViewServices = Pick<Services, "store" | "models" | "agents">;

export async function agentViews(
  services: ViewServices,
  agents: readonly AgentRecord[],
  options: ViewOptions,
): Promise<Record<string, unknown>[]> {
  const { project, include } = options;
  const [blocks, tools, activities, infos] = await Promise.all([
    include.has("agent.blocks")
      ? byId(
          agents.flatMap((agent) => agent.block_ids),
          (ids) => readBlocks(services.store, project, ids),
        )
      : new Map<string, BlockRecord>(),
    include.has("agent.tools")
      ? byId(
          agents.flatMap((agent) => agent.tool_ids),
          (ids) => readTools(services.store, project, ids),
        )
      : new Map<string, ToolRecord>(),
    readActivities(services, project, agents),
    describeModels(services, agents),
  ]);
  return await Promise.all(
    agents.map(async (agent, at) => {
      const related = {
        blocks: agent.block_ids.flatMap((id) => blocks.get(id) ?? []),
        tools: agent.tool_ids.flatMap((id) => tools.get(id) ?? []),
        activity: activities[at],
        info: infos.get(agent.model)!,
        secrets: include.has("agent.secrets") ? services.agents.secrets(project, agent) : {},
      };
      return agentView(agent, related, options, await contextParts(services, agent, options));
    }),
  );
}

export async function agentViewOf(services: ViewServices, agent: AgentRecord, options: ViewOptions): Promise<Record<string, unknown>> {
  return (await agentViews(services, [agent], options))[0]!;
}

interface Related {
  readonly blocks: readonly BlockRecord[];
  readonly tools: readonly ToolRecord[];
  readonly activity: AgentActivity | undefined;
  readonly info: ModelInfo;
  readonly secrets: Secrets;
}

interface ContextParts {
  readonly messageIds: readonly string[] | null;
  readonly pendingApproval: unknown;
}

function agentView(agent: AgentRecord, related: Related, { include }: ViewOptions, context: ContextParts): Record<string, unknown> {
  const {
    block_ids: _blocks,
    tool_ids: _tools,
    archive_ids: _archives,
    source_ids: _sources,
    core_bytes_max: _core,
    secrets: _secrets,
    tags,
    ...fields
  } = agent;
  const secretList = Object.entries(related.secrets).map(([key, value]) => secretView(agent, key, value));
  return {
    ...fields,
    tags: include.has("agent.tags") ? tags : [],
    llm_config: agentLlmConfig(agent, related.info),
    embedding_config: null,
    message_ids: context.messageIds,
    memory: {
      agent_type: agent.agent_type,
      git_enabled: tags.includes("git-memory-enabled"),
      blocks: related.blocks,
      file_blocks: [],
      prompt_template: "",
    },
    blocks: related.blocks,
    tools: related.tools,
    sources: [],
    secrets: secretList,
    tool_exec_environment_variables: secretList,
    identities: [],
    pending_approval: context.pendingApproval,
    managed_group: null,
    multi_agent_group: null,
    last_run_completion: related.activity?.last_run_completion ?? null,
    last_run_duration_ms: related.activity?.last_run_duration_ms ?? null,
    last_stop_reason: related.activity?.last_stop_reason ?? null,
  };
}

function agentLlmConfig(agent: AgentRecord, info: ModelInfo): Record<string, unknown> {
  const settings = agent.model_settings ?? {};
  const number = (name: string): number | undefined => (typeof settings[name] === "number" ? settings[name] : undefined);
  return llmConfig(info, {
    temperature: number("temperature"),
    maxTokens: number("max_output_tokens"),
    contextWindow: agent.context_window_limit ?? undefined,
    parallelToolCalls: typeof settings["parallel_tool_calls"] === "boolean" ? settings["parallel_tool_calls"] : undefined,
    reasoningEffort: typeof settings["reasoning_effort"] === "string" ? settings["reasoning_effort"] : undefined,
  });
}

function secretView(agent: AgentRecord, key: string, value: string): Record<string, unknown> {
  return {
    agent_id: agent.id,
    key,
    value,
    description: null,
    value_enc: null,
    created_at: agent.created_at,
    updated_at: agent.updated_at,
    created_by_id: null,
    last_updated_by_id: null,
  };
}

async function contextParts(
  { store }: ViewServices,
  agent: AgentRecord,
  { project, include, withMessageIds }: ViewOptions,
): Promise<ContextParts> {
  const wantsApproval = include.has("agent.pending_approval");
  if (!withMessageIds && !wantsApproval) return { messageIds: null, pendingApproval: null };
  const address = { project, agentId: agent.id, conversationId: "default" };
  const context = await readContext(store, address);
  const [messageIds, pendingApproval] = await Promise.all([
    withMessageIds ? inContextMessageIds(store, project, conversationKey(address), context) : null,
    wantsApproval && context?.pending != null ? pendingApprovalOf(store, project, context.pending.messageId) : null,
  ]);
  return { messageIds, pendingApproval };
}

/** The ids of the messages that the model would see now: the system message, the summary, and the tail. */
export async function inContextMessageIds(
  store: Services["store"],
  project: string,
  conversation: string,
  context: ContextState | undefined,
): Promise<string[]> {
  if (context === undefined) return [];
  const singles = [context.system, context.summary].filter((n) => n !== null && n < context.tailFrom);
  const parts = await Promise.all([
    ...singles.map((n) => readMessages(store, project, conversation, { from: n!, to: n! + 1 })),
    context.tailFrom < context.next ? readMessages(store, project, conversation, { from: context.tailFrom, to: context.next }) : [],
  ]);
  return parts.flat().map((message) => message.id);
}

async function pendingApprovalOf(store: Services["store"], project: string, messageId: string): Promise<unknown> {
  const found = await findMessage(store, project, messageId);
  return found === undefined
    ? null
    : (toLettaMessages(found.message).find((variant) => variant.message_type === "approval_request_message") ?? null);
}

async function readActivities(
  { store }: ViewServices,
  project: string,
  agents: readonly AgentRecord[],
): Promise<(AgentActivity | undefined)[]> {
  if (agents.length === 0) return [];
  const answers = await store.read(agents.map((agent) => ({ key: encodeTuple(activityKey(project, agent.id)) })));
  return answers.map((answer) => (answer[0] === undefined ? undefined : decodeJson<AgentActivity>(answer[0].value)));
}

/** A model that is not configured any more is described by what its handle says, so that its agents can still be listed and changed. */
async function describeModels({ models }: ViewServices, agents: readonly AgentRecord[]): Promise<Map<string, ModelInfo>> {
  const handles = [...new Set(agents.map((agent) => agent.model))];
  const infos = await Promise.all(
    handles.map(async (handle) => {
      try {
        return await models.describe(handle);
      } catch (error) {
        if (error instanceof ModelNotFoundError) return unknownModel(handle);
        throw error;
      }
    }),
  );
  return new Map(handles.map((handle, at) => [handle, infos[at]!]));
}

const contextWindowDefault = 128_000;

function unknownModel(handle: string): ModelInfo {
  const slash = handle.indexOf("/");
  const [provider, name] = slash < 0 ? ["openai", handle] : [handle.slice(0, slash), handle.slice(slash + 1)];
  return {
    handle,
    name,
    displayName: name,
    providerType: provider,
    providerName: provider,
    endpointType: provider,
    endpoint: undefined,
    contextWindow: contextWindowDefault,
    maxOutputTokens: undefined,
  };
}

async function byId<T extends { readonly id: string }>(
  ids: readonly string[],
  read: (ids: readonly string[]) => Promise<T[]>,
): Promise<Map<string, T>> {
  const found = await read([...new Set(ids)]);
  return new Map(found.map((each) => [each.id, each]));
}
