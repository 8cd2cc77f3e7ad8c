/**
 * What agents may call: rules that allow a call, ask a person for it, or deny it, by the tool's name and its arguments.
 *
 * A project has rules, and an agent may have its own. Of each list the first rule that fits a call counts, and of the
 * lists the strictest: a project's `deny` is not undone by an agent's `allow`. Where no rule fits, a call is allowed.
 */
import type { Json } from "../base/json.ts";
import type { ToolInput } from "./tool.ts";

export type PolicyAction = "allow" | "ask" | "deny";

export interface PolicyRule {
  /** The name of a tool; `*` in it stands for any characters. */
  readonly tool: string;
  /**
   * Patterns by JSON pointer, such as `{"/path": "/srv/files/*"}`: all of them must fit. An argument that is no text is
   * compared as its JSON; one that is not there fits no pattern.
   */
  readonly arguments?: { readonly [pointer: string]: string } | undefined;
  readonly action: PolicyAction;
}

/** How often a tool may be called by all agents of a project, and how many calls may be under way, at each node. */
export interface CallLimit {
  /** The name of a tool, or a pattern: each tool that fits is counted alone. */
  readonly tool: string;
  /** Calls in `seconds`: neither is without the other. */
  readonly calls?: number | undefined;
  readonly seconds?: number | undefined;
  readonly concurrency?: number | undefined;
}

/** The names of a project's policy are those of the API. */
export interface ToolPolicy {
  /** Grows by one with each change; 0: nobody has made one. */
  readonly version: number;
  readonly rules: readonly PolicyRule[];
  /** The first that fits a tool counts. Of a project only. */
  readonly limits: readonly CallLimit[];
  /** How long an approval may be given after it was asked for. Of a project only. */
  readonly approval_seconds: number;
}

export const approvalSecondsDefault = 86_400;

type PolicyLimit = "rules" | "argumentsPerRule" | "patternCharacters" | "limits" | "calls" | "seconds" | "concurrency" | "approvalSeconds";

export const policyLimits: { readonly [limit in PolicyLimit]: number } = {
  rules: 200,
  argumentsPerRule: 16,
  patternCharacters: 1_000,
  limits: 100,
  calls: 1_000_000,
  /** In which calls are counted. */
  seconds: 86_400,
  concurrency: 1_000,
  approvalSeconds: 30 * 86_400,
};

export const noPolicy: ToolPolicy = { version: 0, rules: [], limits: [], approval_seconds: approvalSecondsDefault };

const strictness: readonly PolicyAction[] = ["allow", "ask", "deny"];

/** What the lists of rules say of a call. */
export function actionFor(lists: readonly (readonly PolicyRule[])[], tool: string, input: ToolInput): PolicyAction {
  return strictest(lists.map((rules) => rules.find((rule) => fits(rule, tool, input))?.action ?? "allow"));
}

/** Whether a call of the tool may have to be asked for, whatever its arguments are. */
export function mayAsk(lists: readonly (readonly PolicyRule[])[], tool: string): boolean {
  return lists.some((rules) => rules.some((rule) => rule.action === "ask" && matches(rule.tool, tool)));
}

export function strictest(actions: readonly PolicyAction[]): PolicyAction {
  return strictness[Math.max(0, ...actions.map((action) => strictness.indexOf(action)))]!;
}

export function limitFor(limits: readonly CallLimit[], tool: string): CallLimit | undefined {
  return limits.find((limit) => matches(limit.tool, tool));
}

/** Whether `text` is `pattern`, in which `*` stands for any characters. Takes about as long as the text is. */
export function matches(pattern: string, text: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  if (rest.length === 0) return text === pattern;
  const last = rest.pop()!;
  if (!text.startsWith(first)) return false;
  let from = first.length;
  for (const part of rest) {
    const at = text.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return text.length - last.length >= from && text.endsWith(last);
}

function fits(rule: PolicyRule, tool: string, input: ToolInput): boolean {
  if (!matches(rule.tool, tool)) return false;
  return Object.entries(rule.arguments ?? {}).every(([pointer, pattern]) => {
    const value = valueAt(input, pointer);
    return value !== undefined && matches(pattern, typeof value === "string" ? value : JSON.stringify(value));
  });
}

/** RFC 6901. Undefined: there is nothing there. */
function valueAt(input: ToolInput, pointer: string): Json | undefined {
  let value: Json | undefined = input as Json;
  for (const part of pointer.split("/").slice(1)) {
    if (typeof value !== "object" || value === null) return undefined;
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    value = Object.hasOwn(value, name) ? (value as { readonly [name: string]: Json | undefined })[name] : undefined;
  }
  return value;
}
