/** One tool call: what kind it is, and how it is made. */
import type { Turn } from "../actors/actor.ts";
import type { Json } from "../base/json.ts";
import { suggestion } from "../base/nearest.ts";
import { SealError } from "../storage/sealing-key.ts";
import { maskOf, maskResult } from "../tools/mask-secrets.ts";
import type { Admission } from "../tools/call-limiter.ts";
import type { CallLimit } from "../tools/tool-policy.ts";
import { allowedTools, type PastCall, presetArguments } from "../tools/tool-rules.ts";
import { validateArguments } from "../tools/validate-arguments.ts";
import {
  OutcomeUnknownError,
  type OutsideTool,
  type OutsideToolContext,
  type Reconciled,
  type StateTool,
  type StateToolContext,
  type ToolInput,
  type ToolResult,
} from "../tools/tool.ts";
import { sendToAgent } from "./agent-message.ts";
import type { Secrets } from "./agent-secrets.ts";
import { type AgentTool, toolsShownMax } from "./agent-tools.ts";
import { type Approval, approvalHash } from "./approval.ts";
import type { ToolCall, ToolReturn } from "./chat-message.ts";
import type { CallState } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import type { CallPlan } from "./run-journal.ts";
import type { RunSetting } from "./step-plan.ts";

const timeoutMillisecondsDefault = 180_000;
const reconcileMilliseconds = 30_000;

/** What to do with a call: wait for somebody, make it outside, or make its result inside the turn that commits it. */
export function planCall(conversation: ConversationEnvironment, setting: RunSetting, past: readonly PastCall[], call: ToolCall): CallPlan {
  const found = setting.tools.get(call.name);
  if (found === undefined) return refused(call, `There is no tool called ${call.name}. ${othersThan(call.name, setting)}`);
  const allowed = allowedTools(setting.rules, [...setting.tools.keys()], past);
  if (!allowed.includes(call.name))
    return refused(call, `${call.name} cannot be called now, because of the tool rules. ${listed(allowed)}`);
  const ready = { ...call, arguments: withPreset(call, presetArguments(setting.rules, call.name, past)) };
  // A client looks at the arguments of its own tools itself.
  if (found.tool === undefined) return { call: ready, gated: true, client: true, effect: "once" };
  const { plan, asks } = planMadeCall(conversation, setting, ready);
  if (!asks) return plan;
  const approvable = { hash: approvalHash(found.identity(), ready), milliseconds: found.approvalMilliseconds };
  return { call: ready, gated: true, client: false, effect: plan.effect, approvable };
}

/** The same for a call that was planned before, just before it leaves: all may have changed meanwhile. */
export function planApprovedCall(
  conversation: ConversationEnvironment,
  setting: RunSetting,
  call: ToolCall,
  approval: Approval | undefined,
): CallPlan {
  const { plan, found, asks } = planMadeCall(conversation, setting, call);
  if (found === undefined) return plan;
  if (approval === undefined && asks)
    return refused(call, `${call.name} was not called: by now its owner wants a person to be asked for it. Call it again`);
  if (approval !== undefined && approval.hash !== approvalHash(found.identity(), call))
    return refused(call, `${call.name} was not called: it is another tool than the one that the call was approved for. Call it again`);
  return plan;
}

interface MadePlan {
  /** For a call that nobody has to be asked for, or that was approved. */
  readonly plan: CallPlan;
  /** Absent where the call is refused. */
  readonly found?: AgentTool;
  /** Whether a person has to be asked first. */
  readonly asks: boolean;
}

function planMadeCall(conversation: ConversationEnvironment, setting: RunSetting, call: ToolCall): MadePlan {
  const refuse = (text: string): MadePlan => ({ plan: refused(call, text), asks: false });
  const found = setting.tools.get(call.name);
  if (found === undefined) return refuse(`There is no tool called ${call.name} any more. ${othersThan(call.name, setting)}`);
  const { tool } = found;
  if (tool === undefined) return refuse(`${call.name} was not called: the client has it, and has sent no result`);
  const parsed = validateArguments(call.arguments, found.definition.parameters);
  if (!parsed.ok) return refuse(parsed.error);
  const action = found.action(parsed.input);
  if (action === "deny") {
    conversation.environment.probe("agents.call.denied");
    return refuse(
      `${call.name} may not be called with these arguments: the rules of the owner deny it. Do it in another way, or say that you cannot`,
    );
  }
  const made = { call, gated: false, client: false, effect: tool.effect };
  const plan: CallPlan =
    tool.effect === "state"
      ? { ...made, resultInTurn: (turn) => callStateTool(conversation, turn, tool, found, call, parsed.input) }
      : made;
  return { plan, found, asks: action === "ask" };
}

async function callStateTool(
  conversation: ConversationEnvironment,
  turn: Turn,
  tool: StateTool,
  found: AgentTool,
  call: ToolCall,
  input: ToolInput,
): Promise<ToolReturn> {
  const { store, environment, address } = conversation;
  const context: StateToolContext = {
    transaction: turn.shared,
    store,
    environment,
    project: address.project,
    agentId: address.agentId,
    conversationId: address.conversationId,
    sendToAgent: async (agentId, message) => await sendToAgent(conversation, turn, agentId, message),
  };
  return toReturn(call, await tool.execute(input, context), found.returnCharactersMax);
}

/** `isUnknown`: no answer was seen, so the call may or may not have taken effect. */
export interface MadeCall {
  readonly result: ToolReturn;
  readonly isUnknown: boolean;
  /** What code wrote beside its result. */
  readonly written?: Pick<ToolResult, "stdout" | "stderr">;
}

type CallEnvironment = Pick<ConversationEnvironment, "environment" | "address"> & Pick<OutsideToolContext, "callTool">;
type CallLimits = Pick<AgentTool, "returnCharactersMax" | "secrets">;

/** Makes a call that leaves Kelpie. Never throws: what goes wrong is a result that the model sees. */
export async function callTool(
  { environment, address, callTool: inner }: CallEnvironment,
  tool: OutsideTool,
  limits: CallLimits,
  { call, effectId }: Pick<CallState, "call" | "effectId">,
  signal: AbortSignal,
): Promise<MadeCall> {
  const known = (result: ToolReturn): MadeCall => ({ result, isUnknown: false });
  const parsed = validateArguments(call.arguments, tool.parameters);
  if (!parsed.ok) return known(failed(call, parsed.error));
  let secrets: Secrets;
  try {
    secrets = limits.secrets();
  } catch (error) {
    if (!(error instanceof SealError)) throw error;
    return known(failed(call, `${call.name} was not called, as the secrets of the agent cannot be opened: ${error.message}`));
  }
  const masked = (text: string): string => maskOf(secrets).apply(text);
  const timeout = tool.timeoutMilliseconds ?? timeoutMillisecondsDefault;
  const late = new AbortController();
  const cancel = environment.clock.schedule(timeout, () => late.abort());
  const both = AbortSignal.any([signal, late.signal]);
  const stopped = new Promise<MadeCall>((resolve) => {
    const text = `${call.name} gave no answer within ${timeout / 1_000} s and was stopped: it may or may not have taken effect`;
    both.addEventListener("abort", () => resolve({ result: failed(call, text), isUnknown: true }), { once: true });
  });
  try {
    const work = tool.execute(parsed.input, { effectId, secrets, signal: both, ...address, ...(inner && { callTool: inner }) });
    return await Promise.race([
      work.then((raw) => {
        const result = maskResult(secrets, raw);
        return { ...known(toReturn(call, result, limits.returnCharactersMax)), written: result };
      }),
      stopped,
    ]);
  } catch (error) {
    if (error instanceof OutcomeUnknownError)
      return { result: failed(call, masked(`${error.message}: it may or may not have taken effect`)), isUnknown: true };
    return known(failed(call, masked(`${call.name} failed: ${error instanceof Error ? error.message : String(error)}`)));
  } finally {
    cancel();
  }
}

/** The same for a run's call, which waits until the limits of its tool have a place for it. Rejects with the signal's reason. */
export async function callWithinLimit(
  conversation: ConversationEnvironment & CallEnvironment,
  found: AgentTool,
  state: Pick<CallState, "call" | "effectId">,
  signal: AbortSignal,
): Promise<MadeCall> {
  const { limiter, address, environment } = conversation;
  const { limit } = found;
  // Another driver may have found out meanwhile that the call did not happen, and make it.
  signal.throwIfAborted();
  const admission = await limiter.enter({ ...address, tool: state.call.name }, limit, signal);
  if (!admission.ok) {
    environment.probe("agents.call.limited");
    return { result: failed(state.call, limitText(state.call.name, limit!, admission)), isUnknown: false };
  }
  try {
    return await callTool(conversation, found.tool as OutsideTool, found, state, signal);
  } finally {
    admission.leave();
  }
}

function limitText(name: string, { calls, seconds }: CallLimit, refusal: Extract<Admission, { ok: false }>): string {
  if (refusal.reason === "full") return `${name} was not called: too many calls of it wait already. Try again later`;
  const after = Math.ceil(refusal.afterMilliseconds / 1_000);
  return `${name} was not called: all agents together may call it ${calls} times in ${seconds} s. Try again in ${after} s`;
}

/** Asks a tool what became of a call that a crash has interrupted. Never throws. `didNotHappen`: it can be made. */
export async function reconcileCall(
  { environment, address }: CallEnvironment,
  found: AgentTool | undefined,
  { call, effectId }: Pick<CallState, "call" | "effectId">,
  signal: AbortSignal,
): Promise<ToolReturn | "didNotHappen" | "unknown"> {
  const tool = found?.tool;
  if (found === undefined || tool === undefined || tool.effect === "state" || tool.reconcile === undefined) return "unknown";
  const parsed = validateArguments(call.arguments, tool.parameters);
  if (!parsed.ok) return "unknown";
  const late = new AbortController();
  const cancel = environment.clock.schedule(reconcileMilliseconds, () => late.abort());
  const both = AbortSignal.any([signal, late.signal]);
  const stopped = new Promise<Reconciled>((resolve) =>
    both.addEventListener("abort", () => resolve({ outcome: "unknown" }), { once: true }),
  );
  try {
    const secrets = found.secrets();
    const seen = await Promise.race([tool.reconcile(parsed.input, { effectId, secrets, signal: both, ...address }), stopped]);
    if (seen.outcome !== "succeeded") return seen.outcome;
    return toReturn(call, maskResult(secrets, seen.result), found.returnCharactersMax);
  } catch (error) {
    // Whatever it was, nothing is known of the call.
    environment.log.write("warn", "What became of an interrupted call could not be found out", {
      tool: call.name,
      effect: effectId,
      error,
    });
    return "unknown";
  } finally {
    cancel();
  }
}

function toReturn(call: ToolCall, result: ToolResult, charactersMax: number): ToolReturn {
  if (result.text.length > charactersMax)
    return failed(
      call,
      `The result of ${call.name} has ${result.text.length} characters, and at most ${charactersMax} are allowed: ask for less at a time`,
    );
  const images = result.images === undefined ? {} : { images: result.images };
  return { tool_call_id: call.tool_call_id, status: result.status, tool_return: result.text.toWellFormed(), ...images };
}

function refused(call: ToolCall, text: string): CallPlan {
  const resultInTurn = (): Promise<ToolReturn> => Promise.resolve(failed(call, text));
  return { call, gated: false, client: false, effect: "state", resultInTurn };
}

function othersThan(name: string, { tools }: RunSetting): string {
  const names = [...tools.keys()];
  return names.length <= toolsShownMax ? listed(names) : `There are ${names.length} others.${suggestion(name, names)}`;
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "No tool can be called.";
  const more = names.length <= toolsShownMax ? "" : ` and ${names.length - toolsShownMax} others`;
  return `The tools are: ${names.slice(0, toolsShownMax).join(", ")}${more}.`;
}

/** Arguments that a rule sets take the place of the model's. What is no JSON object is left for the validation to refuse. */
function withPreset(call: ToolCall, preset: { readonly [name: string]: Json } | undefined): string {
  if (preset === undefined) return call.arguments;
  try {
    return JSON.stringify({ ...(JSON.parse(call.arguments) as object), ...preset });
  } catch {
    return call.arguments;
  }
}

function failed(call: ToolCall, text: string): ToolReturn {
  return { tool_call_id: call.tool_call_id, status: "error", tool_return: text };
}
