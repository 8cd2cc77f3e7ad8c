/** Letta's ContextWindowOverview: what fills an agent's context window, in tokens as they are estimated everywhere here. */
import { toLettaMessages } from "../agents/chat-message.ts";
import type { ConversationAddress } from "../agents/conversation.ts";
import { countPassages } from "../memory/archive.ts";
import { readBlocks } from "../memory/block.ts";
import { memoryVariant, renderBlocks } from "../memory/render-memory.ts";
import { readTools } from "../tools/tool-record.ts";
import { renderToolRules } from "../tools/tool-rules.ts";
import type { Services } from "./services.ts";

export async function contextOverview(services: Services, address: ConversationAddress): Promise<Record<string, unknown>> {
  const { store, models, agents, conversations } = services;
  const { project } = address;
  const agent = await agents.get(project, address.agentId);
  const [info, blocks, tools, context, { system, messages }, prompt] = await Promise.all([
    models.describe(agent.model),
    readBlocks(store, project, agent.block_ids),
    readTools(store, project, agent.tool_ids),
    conversations.context(address),
    conversations.contextMessages(address),
    conversations.recompile(address, true),
  ]);
  const passages = agent.archive_ids[0] === undefined ? 0 : await countPassages(store, project, agent.archive_ids[0]);
  const summary = messages.find((message) => message.body.role === "summary");
  const chat = messages.filter((message) => message !== summary);
  const texts = {
    system: agent.system,
    core_memory: renderBlocks(blocks, memoryVariant(agent.agent_type, info.providerType)),
    tool_usage_rules: renderToolRules(agent.tool_rules) ?? null,
    summary_memory: summary?.body.role === "summary" ? summary.body.text : null,
  };
  const functions = tools.map((tool) => ({ type: "function", function: tool.json_schema }));
  const shown = chat.flatMap(toLettaMessages);
  const promptTokens = estimateTextTokens(system?.body.role === "system" ? system.body.text : prompt);
  const tokens = {
    functions: estimateTextTokens(JSON.stringify(functions)),
    summary: estimateTextTokens(texts.summary_memory ?? ""),
    messages: estimateTextTokens(JSON.stringify(chat.map((message) => message.body))),
  };
  return {
    context_window_size_max: agent.context_window_limit ?? info.contextWindow,
    context_window_size_current: promptTokens + tokens.functions + tokens.summary + tokens.messages,
    num_messages: messages.length + (system === undefined ? 0 : 1),
    num_archival_memory: passages,
    num_recall_memory: Math.max(0, (context?.next ?? 0) - 1),
    num_tokens_external_memory_summary: 0,
    external_memory_summary: "",
    num_tokens_system: estimateTextTokens(texts.system),
    system_prompt: texts.system,
    num_tokens_core_memory: estimateTextTokens(texts.core_memory),
    core_memory: texts.core_memory,
    num_tokens_memory_filesystem: 0,
    memory_filesystem: null,
    num_tokens_tool_usage_rules: estimateTextTokens(texts.tool_usage_rules ?? ""),
    tool_usage_rules: texts.tool_usage_rules,
    num_tokens_directories: 0,
    directories: null,
    num_tokens_summary_memory: tokens.summary,
    summary_memory: texts.summary_memory,
    num_tokens_functions_definitions: tokens.functions,
    functions_definitions: functions,
    num_tokens_messages: tokens.messages,
    messages: shown,
  };
}

/** The same estimate as for a whole request: a token for every four characters. */
function estimateTextTokens(text: string): number {
  return Math.ceil(text.length / 4);
}
