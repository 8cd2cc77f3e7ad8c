/** Makes, changes and deletes agents. An agent, its blocks and its links change in one batch. */
import { attachArchive, getArchive, unlinkArchive } from "../memory/archive.ts";
import { type BlockCreate, type BlockRecord, checkCoreBytes, createBlock, getBlock, getBlocks } from "../memory/block.ts";
import { attachBlock, detachBlock } from "../memory/block-agents.ts";
import { checkTags, checkText, coreBytesDefault, DuplicateBlockLabelError } from "../memory/memory.ts";
import { entityBytesMax, fitsOneRow, type Page } from "../storage/collection.ts";
import { transact, type Transaction } from "../storage/transaction.ts";
import { baseToolNames, multiAgentToolNames } from "../tools/base-tools.ts";
import { deletePolicy } from "../tools/policy-record.ts";
import { deleteSkills } from "../tools/skills/skills.ts";
import { findToolByName, getTool, type ToolRecord } from "../tools/tool-record.ts";
import { defaultToolRules, parseToolRules, type ToolRule } from "../tools/tool-rules.ts";
import { deleteWorkspace } from "../tools/workspace/workspace.ts";
import { activityKey, agentOf, agents, AgentNotFoundError, type AgentRecord, type AgentType } from "./agent.ts";
import { openSecrets, sealSecrets, type Secrets } from "./agent-secrets.ts";
import { agentName, defaultSystemPrompt } from "./agent-defaults.ts";
import type { AgentEnvironment } from "./conversation-environment.ts";
import { unindexAgent } from "./message-index.ts";
import type { ConversationService } from "./conversation-service.ts";

/** Blocks and tools that one agent may have. */
export const agentBlocksMax = 1_000;
export const agentToolsMax = 1_000;

/** Something that a request names does not exist, or cannot be. The message says what, and what would be right. */
export class InvalidAgentError extends Error {
  override readonly name = "InvalidAgentError";
}

type Settable = Omit<
  AgentRecord,
  "id" | "created_at" | "updated_at" | "created_by_id" | "last_updated_by_id" | "archive_ids" | "tool_rules" | "secrets"
> & { readonly secrets: Secrets };

/**
 * Fields of a new agent; absent ones get Letta's defaults, and `core_bytes_max` Kelpie's: 32 KB for all blocks together.
 * Letta's API gives `null` for it, as there only each block has a limit.
 */
export type AgentCreate = { readonly [field in keyof Settable]?: Settable[field] | null | undefined } & {
  readonly memory_blocks?: readonly BlockCreate[] | undefined;
  /** Names of tools, beside `tool_ids`. */
  readonly tools?: readonly string[] | undefined;
  readonly tool_rules?: readonly ToolRuleInput[] | null | undefined;
  readonly include_base_tools?: boolean | undefined;
  /** The tools with which it sends messages to other agents; not by default. */
  readonly include_multi_agent_tools?: boolean | undefined;
  readonly include_base_tool_rules?: boolean | null | undefined;
};

/** Fields to change; `undefined` leaves a field as it is. Lists replace the old ones. */
export type AgentUpdate = { readonly [field in keyof Settable]?: Settable[field] | undefined } & {
  readonly tool_rules?: readonly ToolRuleInput[] | undefined;
};

/** A rule as a client gives it; checked before it is stored. */
type ToolRuleInput = { readonly [field: string]: unknown };

export class AgentDirectory {
  readonly #agents: AgentEnvironment;
  readonly #conversations: ConversationService;

  constructor(agentEnvironment: AgentEnvironment, conversations: ConversationService) {
    this.#agents = agentEnvironment;
    this.#conversations = conversations;
  }

  /** @throws {InvalidAgentError} @throws {ModelNotFoundError} and what blocks, tools and rules refuse. */
  async create(project: string, create: AgentCreate, userId: string | null = null): Promise<AgentRecord> {
    const { store, environment, models } = this.#agents;
    const type: AgentType = create.agent_type ?? "letta_v1_agent";
    const coreBytesMax = create.core_bytes_max === undefined ? coreBytesDefault : create.core_bytes_max;
    const model = (await models.describe(create.model ?? models.defaultHandle)).handle;
    return await transact(store, environment, async (transaction) => {
      const id = `agent-${environment.random.uuid()}`;
      const now = new Date(environment.clock.now()).toISOString();
      const blocks = [
        ...(create.memory_blocks ?? []).map((block) => createBlock(transaction, environment, project, block, userId)),
        ...(await this.#existingBlocks(transaction, project, create.block_ids ?? [])),
      ];
      checkBlocks(blocks, coreBytesMax);
      const tools = await this.#toolsOf(transaction, project, create, type);
      const names = tools.map((tool) => tool.name);
      const rules = [
        ...parseToolRules(create.tool_rules ?? []),
        ...(create.include_base_tool_rules === true ? defaultToolRules(type, names) : []),
      ];
      const agent: AgentRecord = checkAgent({
        id,
        name: create.name ?? agentName(environment.random),
        agent_type: type,
        system: create.system ?? defaultSystemPrompt(type),
        description: create.description ?? null,
        metadata: create.metadata ?? null,
        tags: create.tags ?? [],
        model,
        model_settings: create.model_settings ?? null,
        context_window_limit: create.context_window_limit ?? null,
        compaction_settings: create.compaction_settings ?? null,
        response_format: create.response_format ?? null,
        embedding: create.embedding ?? null,
        block_ids: blocks.map((block) => block.id),
        tool_ids: tools.map((tool) => tool.id),
        tool_rules: withApprovals(rules, tools),
        secrets: sealSecrets(this.#agents, project, id, create.secrets ?? {}),
        archive_ids: [],
        identity_ids: create.identity_ids ?? [],
        source_ids: create.source_ids ?? [],
        message_buffer_autoclear: create.message_buffer_autoclear ?? type === "workflow_agent",
        enable_sleeptime: create.enable_sleeptime ?? null,
        timezone: create.timezone ?? "UTC",
        max_files_open: create.max_files_open ?? null,
        per_file_view_window_char_limit: create.per_file_view_window_char_limit ?? null,
        hidden: create.hidden ?? null,
        project_id: create.project_id ?? null,
        template_id: create.template_id ?? null,
        base_template_id: create.base_template_id ?? null,
        deployment_id: create.deployment_id ?? null,
        entity_id: create.entity_id ?? null,
        core_bytes_max: coreBytesMax,
        created_at: now,
        updated_at: now,
        created_by_id: userId,
        last_updated_by_id: userId,
      });
      agents.insert(transaction, project, agent);
      for (const block of blocks) attachBlock(transaction, project, block.id, agent);
      return agent;
    });
  }

  /** @throws {AgentNotFoundError} */
  async get(project: string, id: string): Promise<AgentRecord> {
    const [agent] = await agents.read(this.#agents.store, project, [id]);
    if (agent === undefined) throw new AgentNotFoundError(`Agent not found: ${id}`);
    return agent;
  }

  /** @throws {AgentNotFoundError} @throws {InvalidAgentError} @throws {ModelNotFoundError} */
  async update(project: string, id: string, update: AgentUpdate, userId: string | null = null): Promise<AgentRecord> {
    const model = update.model == null ? undefined : (await this.#agents.models.describe(update.model)).handle;
    return await this.#change(project, id, userId, async (transaction, before) => {
      const blocks = update.block_ids === undefined ? undefined : await this.#existingBlocks(transaction, project, update.block_ids);
      const tools = update.tool_ids === undefined ? undefined : await existingTools(transaction, project, update.tool_ids);
      if (blocks !== undefined) checkBlocks(blocks, before.core_bytes_max);
      const { secrets, ...plain } = update;
      const fields = Object.fromEntries(Object.entries(plain).filter(([, value]) => value !== undefined));
      const rules = update.tool_rules === undefined ? before.tool_rules : parseToolRules(update.tool_rules);
      return {
        ...before,
        ...fields,
        ...(secrets === undefined ? {} : { secrets: sealSecrets(this.#agents, project, id, secrets) }),
        ...(model === undefined ? {} : { model }),
        ...(blocks === undefined ? {} : { block_ids: blocks.map((block) => block.id) }),
        ...(tools === undefined ? {} : { tool_ids: tools.map((tool) => tool.id) }),
        tool_rules: tools === undefined ? rules : withApprovals(rules, tools),
      };
    });
  }

  /** In clear. @throws {SealError} The key is another one than they were sealed with. */
  secrets(project: string, agent: AgentRecord): Secrets {
    return openSecrets(this.#agents, project, agent);
  }

  /** Gives an agent a block. Attaching the one it has changes nothing. @throws {DuplicateBlockLabelError} */
  async attachBlock(project: string, id: string, blockId: string): Promise<AgentRecord> {
    return await this.#change(project, id, null, async (transaction, before) => {
      const block = await getBlock(transaction, project, blockId);
      if (before.block_ids.includes(blockId)) return before;
      checkBlocks([...(await getBlocks(transaction, project, before.block_ids)), block], before.core_bytes_max);
      return { ...before, block_ids: [...before.block_ids, blockId] };
    });
  }

  /** Takes a block from an agent; the block stays. @throws {InvalidAgentError} The agent does not have it. */
  async detachBlock(project: string, id: string, blockId: string): Promise<AgentRecord> {
    return await this.#change(project, id, null, async (_transaction, before) => {
      await Promise.resolve();
      return { ...before, block_ids: before.block_ids.filter((each) => each !== blockId) };
    });
  }

  /** Gives an agent a tool. Attaching one it has changes nothing. */
  async attachTool(project: string, id: string, toolId: string): Promise<AgentRecord> {
    return await this.#change(project, id, null, async (transaction, before) => {
      const tool = await getTool(transaction, project, toolId);
      if (before.tool_ids.includes(toolId)) return before;
      return { ...before, tool_ids: [...before.tool_ids, toolId], tool_rules: withApprovals(before.tool_rules, [tool]) };
    });
  }

  /** Takes a tool from an agent; the tool stays. */
  async detachTool(project: string, id: string, toolId: string): Promise<AgentRecord> {
    return await this.#change(project, id, null, async (_transaction, before) => {
      await Promise.resolve();
      return { ...before, tool_ids: before.tool_ids.filter((each) => each !== toolId) };
    });
  }

  /** Whether each call of a tool waits for a person. @throws {InvalidAgentError} The agent has no such tool. */
  async setApproval(project: string, id: string, toolName: string, required: boolean): Promise<AgentRecord> {
    return await this.#change(project, id, null, async (transaction, before) => {
      const tools = await existingTools(transaction, project, before.tool_ids);
      if (!tools.some((tool) => tool.name === toolName))
        throw new InvalidAgentError(`The agent ${id} has no tool called ${toolName}: attach it first`);
      const others = before.tool_rules.filter((rule) => rule.type !== "requires_approval" || rule.tool_name !== toolName);
      return { ...before, tool_rules: required ? [...others, { type: "requires_approval", tool_name: toolName }] : others };
    });
  }

  async attachArchive(project: string, id: string, archiveId: string): Promise<void> {
    const { store, environment } = this.#agents;
    await transact(store, environment, async (transaction) => {
      const agent = await agentOf(transaction, project, id);
      await getArchive(transaction, project, archiveId);
      await attachArchive(transaction, project, archiveId, agent);
    });
  }

  /**
   * Deletes an agent with its conversations, messages, runs, files and skills. Its blocks, tools and archives stay: they may be shared.
   * May be called again after an interruption, and finishes then.
   */
  async delete(project: string, id: string): Promise<void> {
    const { store, environment } = this.#agents;
    const agent = await this.get(project, id);
    await this.#conversations.deleteAll(project, id);
    await transact(store, environment, async (transaction) => {
      const current = await agents.get(transaction, project, id);
      if (current === undefined) return;
      agents.delete(transaction, project, current);
      for (const blockId of current.block_ids) detachBlock(transaction, project, blockId, agent);
      for (const archiveId of current.archive_ids) unlinkArchive(transaction, project, archiveId, agent);
      unindexAgent(transaction, project, id);
      deletePolicy(transaction, project, id);
      deleteWorkspace(transaction, project, id);
      deleteSkills(transaction, project, id);
      transaction.delete(activityKey(project, id));
    });
  }

  /** Undefined: a cursor names no agent, or none under this index. */
  async page(
    project: string,
    by: { readonly index: "created" | "updated" } | { readonly name: string } | { readonly tag: string },
    page: Page,
  ): Promise<AgentRecord[] | undefined> {
    const { store } = this.#agents;
    if ("index" in by) return await agents.page(store, project, by.index, [], page);
    if ("name" in by) return await agents.page(store, project, "name", [by.name], page);
    return await agents.page(store, project, "tag", [by.tag], page);
  }

  async count(project: string, most: number): Promise<number> {
    return await agents.count(this.#agents.store, project, "created", [], most);
  }

  async #change(
    project: string,
    id: string,
    userId: string | null,
    change: (transaction: Transaction, before: AgentRecord) => Promise<AgentRecord>,
  ): Promise<AgentRecord> {
    const { store, environment } = this.#agents;
    return await transact(store, environment, async (transaction) => {
      const before = await agentOf(transaction, project, id);
      const changed = await change(transaction, before);
      if (changed === before) return before;
      const after = checkAgent({
        ...changed,
        updated_at: new Date(environment.clock.now()).toISOString(),
        last_updated_by_id: userId ?? before.last_updated_by_id,
      });
      agents.replace(transaction, project, before, after);
      for (const blockId of before.block_ids) if (!after.block_ids.includes(blockId)) detachBlock(transaction, project, blockId, after);
      for (const blockId of after.block_ids) if (!before.block_ids.includes(blockId)) attachBlock(transaction, project, blockId, after);
      return after;
    });
  }

  async #existingBlocks(transaction: Transaction, project: string, ids: readonly string[]): Promise<BlockRecord[]> {
    return await Promise.all([...new Set(ids)].map((id) => getBlock(transaction, project, id)));
  }

  async #toolsOf(transaction: Transaction, project: string, create: AgentCreate, type: AgentType): Promise<ToolRecord[]> {
    const base = create.include_base_tools === false ? [] : baseToolNames(type);
    const toAgents = create.include_multi_agent_tools === true ? multiAgentToolNames : [];
    const named = await Promise.all(
      [...new Set([...base, ...toAgents, ...(create.tools ?? [])])].map(async (name) => {
        const tool = await findToolByName(transaction, project, name);
        if (tool === undefined)
          throw new InvalidAgentError(
            `There is no tool called ${JSON.stringify(name.slice(0, 100))}: create it first, or leave it out of tools`,
          );
        return tool;
      }),
    );
    const byId = await existingTools(transaction, project, create.tool_ids ?? []);
    return [...new Map([...named, ...byId].map((tool) => [tool.id, tool])).values()];
  }
}

async function existingTools(transaction: Transaction, project: string, ids: readonly string[]): Promise<ToolRecord[]> {
  return await Promise.all([...new Set(ids)].map((id) => getTool(transaction, project, id)));
}

/** Tools that ask for approval by default get the rule that says so. */
function withApprovals(rules: readonly ToolRule[], tools: readonly ToolRecord[]): readonly ToolRule[] {
  const missing = tools.filter(
    (tool) =>
      tool.default_requires_approval === true && !rules.some((rule) => rule.type === "requires_approval" && rule.tool_name === tool.name),
  );
  return [...rules, ...missing.map((tool): ToolRule => ({ type: "requires_approval", tool_name: tool.name }))];
}

/** @throws {DuplicateBlockLabelError} @throws {CoreLimitError} */
function checkBlocks(blocks: readonly BlockRecord[], bytesMax: number | null): void {
  const labels = new Set<string>();
  for (const block of blocks) {
    if (labels.has(block.label)) throw new DuplicateBlockLabelError(block.label);
    labels.add(block.label);
  }
  if (bytesMax !== null) checkCoreBytes(blocks, bytesMax);
}

/** @throws {InvalidAgentError} @throws {InvalidMemoryError} */
function checkAgent(agent: AgentRecord): AgentRecord {
  for (const [field, text] of [
    ["name", agent.name],
    ["system", agent.system],
    ["description", agent.description ?? ""],
  ] as const)
    checkText(field, text);
  if (agent.name === "" || Buffer.byteLength(agent.name) > 2_000) throw new InvalidAgentError("name has 1 to 2,000 bytes");
  if (agent.block_ids.length > agentBlocksMax)
    throw new InvalidAgentError(`An agent has at most ${agentBlocksMax} blocks, not ${agent.block_ids.length}`);
  if (agent.tool_ids.length > agentToolsMax)
    throw new InvalidAgentError(`An agent has at most ${agentToolsMax} tools, not ${agent.tool_ids.length}`);
  if (agent.context_window_limit !== null && agent.context_window_limit < contextWindowMin)
    throw new InvalidAgentError(`context_window_limit is at least ${contextWindowMin}, not ${agent.context_window_limit}`);
  if (!fitsOneRow(agent))
    throw new InvalidAgentError(
      `An agent's definition has at most ${entityBytesMax} bytes of JSON, its system prompt included: move text to memory blocks`,
    );
  return { ...agent, tags: checkTags(agent.tags) };
}

/** Tokens; Letta's minimum. */
const contextWindowMin = 4_096;
