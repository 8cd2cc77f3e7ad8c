/**
 * Which tools a request shows the model, of an agent with more of them than a model chooses well from.
 *
 * A function of the agent's tools and of the messages in the context: what a search has found is found after a restart too,
 * and is forgotten when its result leaves the context. Any other tool of the agent can be called all the same.
 */
import type { PastCall, ToolRule } from "../tools/tool-rules.ts";
import { namesFound, searchToolsName } from "../tools/tool-search.ts";
import type { AgentTools } from "./agent-tools.ts";
import type { ChatMessage } from "./chat-message.ts";

/** Found or called tools that stay shown: the ones mentioned last. */
export const foundToolsMax = 30;

/**
 * Of the tools that are `allowed` now: those that are always shown and those that a rule tells the model of, in their own
 * order; then those that were found or called, in the order in which they first were. New ones come at the end, so that
 * what providers have cached of the list before them stays good.
 */
export function shownTools(
  tools: AgentTools,
  allowed: readonly string[],
  rules: readonly ToolRule[],
  messages: readonly ChatMessage[],
  past: readonly PastCall[],
): readonly string[] {
  const told = namesInRules(rules);
  const isHidden = (name: string): boolean => tools.get(name)?.isFoundBySearch === true && !told.has(name);
  if (!allowed.some(isHidden)) return allowed;
  const may = new Set(allowed);
  const found = namesMentioned(messages, past, isHidden).filter((name) => may.has(name));
  return [...allowed.filter((name) => !isHidden(name)), ...found];
}

/** The names that the prompt has of rules; that a tool asks for approval is not in it. */
function namesInRules(rules: readonly ToolRule[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const rule of rules) {
    if (rule.type === "requires_approval") continue;
    names.add(rule.tool_name);
    if (rule.type === "constrain_child_tools" || rule.type === "parent_last_tool") for (const child of rule.children) names.add(child);
    if (rule.type !== "conditional") continue;
    for (const child of Object.values(rule.child_output_mapping)) names.add(child);
    if (rule.default_child) names.add(rule.default_child);
  }
  return names;
}

/** Of the names that a search found and of those that were called, the last ones, in the order of their first mention. */
function namesMentioned(
  messages: readonly ChatMessage[],
  past: readonly PastCall[],
  isHidden: (name: string) => boolean,
): readonly string[] {
  const lastMention = new Map<string, number>();
  let mentions = 0;
  const mention = (name: string): void => void (isHidden(name) && lastMention.set(name, mentions++));
  const searches = new Set<string>();
  for (const { body } of messages) {
    if (body.role === "assistant" || body.role === "approval")
      for (const call of body.calls) {
        if (call.name === searchToolsName) searches.add(call.tool_call_id);
        else mention(call.name);
      }
    if (body.role === "tool")
      for (const { tool_call_id, tool_return } of body.returns)
        if (searches.has(tool_call_id)) for (const name of namesFound(tool_return)) mention(name);
  }
  // After a compaction in the middle of a run, its messages no longer say what it has called.
  for (const { name } of past) mention(name);
  const names = [...lastMention.keys()];
  if (names.length <= foundToolsMax) return names;
  const oldestKept = [...lastMention.values()].sort((left, right) => right - left)[foundToolsMax - 1]!;
  return names.filter((name) => lastMention.get(name)! >= oldestKept);
}
