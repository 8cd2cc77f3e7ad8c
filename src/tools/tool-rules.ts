/**
 * Letta's tool rules: which tools a model may call next, and whether the loop goes on after a call.
 *
 * Everything here is a function of the rules and of the calls so far in the run; nothing is remembered.
 */
import type { Json } from "../base/json.ts";

interface RuleBase {
  readonly tool_name: string;
  /** A text for the model in place of the usual one; `{{ tool_name }}` and the rule's other fields are filled in. */
  readonly prompt_template?: string | null;
}

export type ToolRule =
  | (RuleBase & { readonly type: "run_first"; readonly args?: { readonly [name: string]: Json } | null })
  | (RuleBase & { readonly type: "exit_loop" })
  | (RuleBase & { readonly type: "continue_loop" })
  | (RuleBase & {
      readonly type: "constrain_child_tools";
      readonly children: readonly string[];
      readonly child_arg_nodes?: readonly ToolCallNode[] | null;
    })
  | (RuleBase & { readonly type: "parent_last_tool"; readonly children: readonly string[] })
  | (RuleBase & {
      readonly type: "conditional";
      readonly default_child?: string | null;
      readonly child_output_mapping: { readonly [output: string]: string };
      readonly require_output_mapping?: boolean;
    })
  | (RuleBase & { readonly type: "required_before_exit" })
  | (RuleBase & { readonly type: "max_count_per_step"; readonly max_count_limit: number })
  | (RuleBase & { readonly type: "requires_approval" });

export interface ToolCallNode {
  readonly name: string;
  readonly args?: { readonly [name: string]: Json } | null;
}

/** A call that this run has finished, in the order of the run. */
export interface PastCall {
  readonly name: string;
  /** The text that the tool gave. */
  readonly output: string;
}

/** A rule that makes no sense. Says which, and what would be right. */
export class ToolRuleError extends Error {
  override readonly name = "ToolRuleError";
}

const ruleTypes = [
  "run_first",
  "exit_loop",
  "continue_loop",
  "constrain_child_tools",
  "parent_last_tool",
  "conditional",
  "required_before_exit",
  "max_count_per_step",
  "requires_approval",
] as const;

/** Rules as a client or a stored agent gives them. @throws {ToolRuleError} */
export function parseToolRules(rules: readonly object[]): ToolRule[] {
  return rules.map((given, at) => {
    const rule: { readonly [field: string]: unknown } = { ...given };
    const fail = (what: string): never => {
      throw new ToolRuleError(`tool_rules[${at}]: ${what}`);
    };
    const type =
      ruleTypes.find((each) => each === rule["type"]) ??
      fail(`type is one of ${ruleTypes.join(", ")}, not ${JSON.stringify(rule["type"])}`);
    if (typeof rule["tool_name"] !== "string" || rule["tool_name"] === "") fail("tool_name must be the name of a tool");
    if (type === "constrain_child_tools" || type === "parent_last_tool") {
      const { children } = rule;
      if (!Array.isArray(children) || !children.every((child) => typeof child === "string"))
        fail("children must be a list of names of tools");
    }
    if (type === "conditional") {
      const mapping = rule["child_output_mapping"];
      if (
        typeof mapping !== "object" ||
        mapping === null ||
        Object.keys(mapping).length === 0 ||
        !Object.values(mapping).every((child) => typeof child === "string")
      )
        fail("child_output_mapping must map at least one output to the name of a tool");
    }
    if (type === "max_count_per_step" && !(Number.isSafeInteger(rule["max_count_limit"]) && Number(rule["max_count_limit"]) >= 0))
      fail("max_count_limit must be a whole number of at least 0");
    // Every field that the type needs was checked above.
    return rule as unknown as ToolRule;
  });
}

/** Names of the tools that may be called next, in the order of `available`. */
export function allowedTools(rules: readonly ToolRule[], available: readonly string[], calls: readonly PastCall[]): string[] {
  const first = rules.filter((rule) => rule.type === "run_first");
  if (calls.length === 0 && first.length > 0) return available.filter((name) => first.some((rule) => rule.tool_name === name));
  return available.filter((name) => rules.every((rule) => permits(rule, name, calls)));
}

/**
 * What happens after a call: `end` (the run ends with `tool_rule`), `continue`, or `default` where no rule says.
 * A tool that must be called before the end keeps the loop going.
 */
export function afterCall(
  rules: readonly ToolRule[],
  available: readonly string[],
  calls: readonly PastCall[],
): "end" | "continue" | "default" {
  const last = calls.at(-1);
  if (last === undefined) return "default";
  const forLast = rules.filter((rule) => rule.tool_name === last.name);
  if (forLast.some((rule) => rule.type === "exit_loop")) return uncalledRequired(rules, available, calls).length === 0 ? "end" : "continue";
  if (forLast.some((rule) => rule.type === "continue_loop" || rule.type === "constrain_child_tools" || rule.type === "conditional"))
    return "continue";
  return "default";
}

/** Tools that must be called before the run may end, and were not. */
export function uncalledRequired(rules: readonly ToolRule[], available: readonly string[], calls: readonly PastCall[]): string[] {
  const names = rules.filter((rule) => rule.type === "required_before_exit").map((rule) => rule.tool_name);
  return [...new Set(names)].filter((name) => available.includes(name) && !calls.some((call) => call.name === name));
}

/** Arguments that a rule sets for the next call of a tool; they take the place of the model's. */
export function presetArguments(
  rules: readonly ToolRule[],
  name: string,
  calls: readonly PastCall[],
): { readonly [name: string]: Json } | undefined {
  const last = calls.at(-1)?.name;
  for (const rule of rules) {
    if (rule.type === "run_first" && calls.length === 0 && rule.tool_name === name && rule.args) return rule.args;
    if (rule.type !== "constrain_child_tools" || rule.tool_name !== last) continue;
    const node = rule.child_arg_nodes?.find((each) => each.name === name);
    if (node?.args) return node.args;
  }
  return undefined;
}

export function requiresApproval(rules: readonly ToolRule[], name: string): boolean {
  return rules.some((rule) => rule.type === "requires_approval" && rule.tool_name === name);
}

/** Whether the model may make several calls in one step: only where no rule depends on their order. */
export function allowsParallelCalls(rules: readonly ToolRule[]): boolean {
  return rules.every((rule) => rule.type === "requires_approval");
}

/** The text inside `<tool_usage_rules>`, or nothing where there is nothing to say. */
export function renderToolRules(rules: readonly ToolRule[]): string | undefined {
  const texts = renderOrder
    .flatMap((types) => rules.filter((rule) => types.includes(rule.type)).map(renderRule))
    .filter((text) => text !== undefined);
  return texts.length === 0 ? undefined : texts.join("\n");
}

/** What an agent gets with `include_base_tool_rules`; none for `letta_v1_agent`, which ends on plain text. */
export function defaultToolRules(agentType: string, toolNames: readonly string[]): ToolRule[] {
  if (agentType === "letta_v1_agent" || agentType === "react_agent" || agentType === "workflow_agent") return [];
  const rules: ToolRule[] = [];
  for (const tool_name of toolNames) {
    if (tool_name === "send_message" || tool_name === "memory_finish_edits" || tool_name === "send_message_to_agent_async")
      rules.push({ tool_name, type: "exit_loop" });
    else if (continuing.has(tool_name)) rules.push({ tool_name, type: "continue_loop" });
  }
  return rules;
}

const continuing: ReadonlySet<string> = new Set([
  "conversation_search",
  "archival_memory_insert",
  "archival_memory_search",
  "core_memory_append",
  "core_memory_replace",
  "memory",
  "memory_apply_patch",
  "memory_insert",
  "memory_replace",
  "memory_rethink",
  "rethink_memory",
]);

function permits(rule: ToolRule, name: string, calls: readonly PastCall[]): boolean {
  const last = calls.at(-1);
  switch (rule.type) {
    case "constrain_child_tools":
      return last?.name !== rule.tool_name || rule.children.includes(name);
    case "parent_last_tool":
      return last?.name === rule.tool_name ? rule.children.includes(name) : !rule.children.includes(name);
    case "conditional": {
      if (last?.name !== rule.tool_name) return true;
      const child = chosenChild(rule, last.output);
      return child === undefined ? rule.require_output_mapping !== true : child === name;
    }
    case "max_count_per_step":
      return name !== rule.tool_name || calls.filter((call) => call.name === name).length < rule.max_count_limit;
    default:
      return true;
  }
}

/** The tool that the output leads to. `undefined`: none does. Numbers and booleans match however they are written. */
function chosenChild(rule: Extract<ToolRule, { type: "conditional" }>, output: string): string | undefined {
  const text = output.trim();
  for (const [key, child] of Object.entries(rule.child_output_mapping)) {
    if (key === text) return child;
    if (/^(true|false)$/i.test(key) && key.toLowerCase() === text.toLowerCase()) return child;
    if (key.trim() !== "" && text !== "" && Number.isFinite(Number(key)) && Number(key) === Number(text)) return child;
  }
  return rule.require_output_mapping === true ? undefined : (rule.default_child ?? undefined);
}

/** Letta's order in the prompt. */
const renderOrder: readonly (readonly ToolRule["type"][])[] = [
  ["run_first"],
  ["continue_loop"],
  ["constrain_child_tools", "conditional", "max_count_per_step"],
  ["parent_last_tool"],
  ["exit_loop"],
  ["required_before_exit"],
];

function renderRule(rule: ToolRule): string | undefined {
  if (rule.prompt_template) return fillTemplate(rule.prompt_template, rule);
  switch (rule.type) {
    case "continue_loop":
      return `<tool_rule>\n${rule.tool_name} requires continuing your response when called\n</tool_rule>`;
    case "constrain_child_tools":
      return `<tool_rule>\nAfter using ${rule.tool_name}, you must use one of these tools: ${rule.children.join(", ")}\n</tool_rule>`;
    case "conditional":
      return `<tool_rule>\n${rule.tool_name} will determine which tool to use next based on its output\n</tool_rule>`;
    case "max_count_per_step":
      return `<tool_rule>\n${rule.tool_name}: max ${rule.max_count_limit} use(s) per response\n</tool_rule>`;
    case "parent_last_tool":
      return `<tool_rule>\n${rule.children.join(", ")} can only be used after ${rule.tool_name}\n</tool_rule>`;
    case "exit_loop":
      return `<tool_rule>\n${rule.tool_name} ends your response (yields control) when called\n</tool_rule>`;
    case "required_before_exit":
      return `<tool_rule>${rule.tool_name} must be called before ending the conversation</tool_rule>`;
    default:
      return undefined;
  }
}

/** The part of Letta's templates that is used: `{{ field }}` and `{{ field | join(', ') }}`. Anything else stays as it is. */
function fillTemplate(template: string, rule: ToolRule): string {
  const fields: { readonly [name: string]: unknown } = { ...rule };
  return template.replace(
    /\{\{\s*(\w+)\s*(?:\|\s*join\((['"])(.*?)\2\)\s*)?\}\}/g,
    (whole: string, name: string, _quote: string | undefined, separator: string | undefined) => {
      const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
      if (value === undefined) return whole;
      return Array.isArray(value) ? value.join(separator ?? ", ") : typeof value === "string" ? value : JSON.stringify(value);
    },
  );
}
