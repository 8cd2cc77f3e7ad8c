/** What a step needs before the model is asked: the agent as it is now, its tools, its model, and the request. */
import type { Activation, Turn } from "../actors/actor.ts";
import { archiveTags, countPassages } from "../memory/archive.ts";
import { readBlocks } from "../memory/block.ts";
import { type MemoryView, memoryVariant, renderSystemPrompt } from "../memory/render-memory.ts";
import type { Model, ModelInfo, ModelRequest, ModelSettings } from "../models/model.ts";
import { allowedTools, allowsParallelCalls, type PastCall, renderToolRules, type ToolRule, uncalledRequired } from "../tools/tool-rules.ts";
import type { SkillHead } from "../tools/skills/skill-file.ts";
import { readSkills } from "../tools/skills/skills.ts";
import { skillsFolder } from "../tools/workspace/workspace.ts";
import { agents, type AgentRecord, AgentNotFoundError } from "./agent.ts";
import { type AgentTools, readAgentTools, withClientTools } from "./agent-tools.ts";
import type { ChatMessage } from "./chat-message.ts";
import { contextWindow, estimateTokens } from "./context-window.ts";
import {
  type ActiveRun,
  type CompiledMetadata,
  type ContextState,
  conversationKey,
  type ConversationRecord,
  conversations,
} from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import { messageWrites, nextMessageTime, readMessages } from "./message-log.ts";
import { modelSettings } from "./model-settings.ts";
import type { JournalState } from "./run-journal.ts";
import { shownTools } from "./shown-tools.ts";

/** The agent of a run as it is now; read anew for each step, so a change counts from the next step on. */
export interface RunSetting {
  readonly agent: AgentRecord;
  readonly tools: AgentTools;
  readonly model: Model;
  readonly info: ModelInfo;
  /** In tokens. */
  readonly contextWindow: number;
  readonly settings: ModelSettings;
  readonly rules: readonly ToolRule[];
  /** Those that the agent has of its own. */
  readonly skills: readonly SkillHead[];
}

/** @throws {AgentNotFoundError} @throws {ModelNotFoundError} */
export async function readSetting(
  conversation: ConversationEnvironment,
  run: Pick<ActiveRun, "overrideModel" | "clientTools">,
): Promise<RunSetting> {
  const { store, models, address } = conversation;
  const [agent] = await agents.read(store, address.project, [address.agentId]);
  if (agent === undefined) throw new AgentNotFoundError(`Agent not found: ${address.agentId}`);
  const record = await readConversation(conversation);
  const handle = run.overrideModel ?? record?.model ?? agent.model;
  const [info, model, own, skills] = await Promise.all([
    models.describe(handle),
    models.open(handle),
    readAgentTools(conversation, agent),
    readSkills(store, address),
  ]);
  const tools = withClientTools(own, run.clientTools);
  return {
    agent,
    tools,
    model,
    info,
    contextWindow: record?.context_window_limit ?? agent.context_window_limit ?? info.contextWindow,
    settings: modelSettings(agent, record?.model_settings ?? null),
    rules: agent.tool_rules,
    skills,
  };
}

async function readConversation({ store, address }: ConversationEnvironment): Promise<ConversationRecord | undefined> {
  if (address.conversationId === "default") return undefined;
  const [record] = await conversations.read(store, address.project, [address.conversationId]);
  return record;
}

/** The request of the next step, and about how many tokens it has. */
export async function prepareRequest(
  conversation: ConversationEnvironment,
  activation: Activation,
  state: JournalState,
  setting: RunSetting,
): Promise<{ readonly request: ModelRequest; readonly tokens: number }> {
  const { context, run, progress } = state;
  const { system, messages } = await readContextMessages(conversation, context);
  const { rules, tools, settings } = setting;
  const names = [...tools.keys()];
  const allowed = allowedTools(rules, names, progress.history);
  const hasSpoken = messages.at(-1)?.body.role === "assistant";
  const toolChoice = requiredChoice(rules, names, allowed, progress.history, hasSpoken);
  const text = (run.overrideSystem ?? system) + skillsText(run, setting.skills);
  const request = contextWindow({
    system: text,
    messages,
    tools: shownTools(tools, allowed, rules, messages, progress.history).map((name) => tools.get(name)!.definition),
    settings: allowsParallelCalls(rules) ? settings : { ...settings, parallelToolCalls: false },
    cacheKey: activation.id.key,
    ...(toolChoice === undefined ? {} : { toolChoice }),
  });
  return { request, tokens: estimateTokens(request) };
}

/** What the model must call because a rule says so. */
function requiredChoice(
  rules: readonly ToolRule[],
  names: readonly string[],
  allowed: readonly string[],
  past: readonly PastCall[],
  hasSpoken: boolean,
): ModelRequest["toolChoice"] {
  const [missing] = uncalledRequired(rules, names, past);
  const last = past.at(-1)?.name;
  const isFirst = past.length === 0 && rules.some((rule) => rule.type === "run_first" && names.includes(rule.tool_name));
  const isChild = rules.some((rule) => rule.tool_name === last && (rule.type === "constrain_child_tools" || rule.type === "conditional"));
  if ((isFirst || isChild) && allowed.length > 0) return allowed.length === 1 ? { name: allowed[0]! } : "required";
  // A required tool is insisted on once the model has said that it is done.
  return missing !== undefined && hasSpoken && allowed.includes(missing) ? { name: missing } : undefined;
}

/** The system text, then the summary and the messages of the context, from the store. */
export async function readContextMessages(
  conversation: ConversationEnvironment,
  context: ContextState,
): Promise<{ readonly system: string; readonly messages: readonly ChatMessage[] }> {
  const { store, address } = conversation;
  const key = conversationKey(address);
  const one = async (n: number | null): Promise<readonly ChatMessage[]> =>
    n === null ? [] : await readMessages(store, address.project, key, { from: n, to: n + 1 });
  const [system, summary, tail] = await Promise.all([
    one(context.system),
    one(context.summary),
    readMessages(store, address.project, key, { from: context.tailFrom, to: context.next }),
  ]);
  const body = system[0]?.body;
  // Where a compaction kept messages from before an earlier summary, that one is in the tail, and part of the new one.
  const isPast = (message: ChatMessage): boolean => context.summary !== null && message.body.role === "summary";
  const messages = tail.filter((message) => message.n !== context.system && !isPast(message));
  return { system: body?.role === "system" ? body.text : "", messages: [...summary, ...messages] };
}

/** The system message as it would be now. */
export async function renderSystem(
  conversation: ConversationEnvironment,
  agent: AgentRecord,
  context: ContextState,
  at: CompiledMetadata,
): Promise<string> {
  const { store, models, address } = conversation;
  const [blocks, info] = await Promise.all([
    readBlocks(store, address.project, agent.block_ids),
    models.describe(agent.model).catch(() => undefined),
  ]);
  const view: MemoryView = {
    blocks,
    variant: memoryVariant(agent.agent_type, info?.providerType ?? ""),
    toolRules: renderToolRules(agent.tool_rules),
    agentId: agent.id,
    conversationId: context.conversationId,
    timezone: agent.timezone,
    ...at,
  };
  return renderSystemPrompt(agent.system, view);
}

export async function compiledMetadata(
  { store, environment, address }: ConversationEnvironment,
  agent: AgentRecord,
  context: ContextState,
): Promise<CompiledMetadata> {
  const archiveId = agent.archive_ids[0];
  const [archivalPassages, archivalTags] =
    archiveId === undefined
      ? [0, []]
      : await Promise.all([countPassages(store, address.project, archiveId), archiveTags(store, address.project, archiveId)]);
  return { compiledAt: environment.clock.now(), previousMessages: Math.max(0, context.next - 1), archivalPassages, archivalTags };
}

/**
 * The context with a system message that shows the agent and its memory as they are now. It is written again only if
 * the prompt, the blocks or the rules have changed since it was compiled: providers cache what stays the same, so an
 * edit of a block costs one cache miss at the next run and none within a run. With `metadata` it is written in any case.
 */
export async function compileSystem(
  conversation: ConversationEnvironment,
  turn: Turn,
  agent: AgentRecord,
  context: ContextState,
  options: { readonly metadata?: CompiledMetadata } = {},
): Promise<ContextState> {
  const { store, environment, address } = conversation;
  const key = conversationKey(address);
  const [before] =
    context.system === null ? [] : await readMessages(store, address.project, key, { from: context.system, to: context.system + 1 });
  if (before?.body.role === "system" && context.compiled !== null && options.metadata === undefined) {
    if (before.body.text === (await renderSystem(conversation, agent, context, context.compiled))) return context;
    environment.probe("agents.system.recompiled");
  }
  const compiled = options.metadata ?? (await compiledMetadata(conversation, agent, context));
  const text = await renderSystem(conversation, agent, context, compiled);
  const n = before?.n ?? context.next;
  const created_at = before?.created_at ?? nextMessageTime(context.newestAt, environment);
  const message: ChatMessage = {
    id: before?.id ?? `message-${environment.random.uuid()}`,
    n,
    agent_id: agent.id,
    conversation_id: context.conversationId,
    created_at,
    body: { role: "system", text },
  };
  turn.write(...(await messageWrites(store, environment, address.project, key, [message])));
  const added = before === undefined ? { next: n + 1, newestAt: created_at } : {};
  return { ...context, ...added, system: n, compiled };
}

/** The agent's skills and those that the client offers in this run, as Letta lists them. */
function skillsText({ clientSkills }: ActiveRun, own: readonly SkillHead[]): string {
  const all = [
    ...own.map(({ name, description }) => ({ name, description: escapeMarkup(description), location: `${skillsFolder}/${name}/SKILL.md` })),
    ...clientSkills,
  ];
  if (all.length === 0) return "";
  const skills = all.map(
    (skill) => `<skill name=${JSON.stringify(skill.name)} location=${JSON.stringify(skill.location)}>\n${skill.description}\n</skill>`,
  );
  return `\n\n<available_skills>\n${skills.join("\n")}\n</available_skills>`;
}

/** A description cannot end the list that it is in. */
function escapeMarkup(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
