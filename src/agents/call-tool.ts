/** One tool call: what kind it is, and how it is made. */
import type { Turn } from "../actors/actor.ts";
import type { Json } from "../base/json.ts";
import { maskSecrets } from "../tools/mask-secrets.ts";
import { allowedTools, type PastCall, presetArguments } from "../tools/tool-rules.ts";
import { validateArguments } from "../tools/validate-arguments.ts";
import {
  OutcomeUnknownError,
  type OutsideTool,
  type StateTool,
  type StateToolContext,
  type ToolInput,
  type ToolResult,
} from "../tools/tool.ts";
import { sendToAgent } from "./agent-message.ts";
import type { AgentTool } from "./agent-tools.ts";
import type { ToolCall, ToolReturn } from "./chat-message.ts";
import type { CallState } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import type { CallPlan } from "./run-journal.ts";
import type { RunSetting } from "./step-plan.ts";

const timeoutMillisecondsDefault = 180_000;

/** What to do with a call: wait for somebody, make it outside, or make its result inside the turn that commits it. */
export function planCall(conversation: ConversationEnvironment, setting: RunSetting, past: readonly PastCall[], call: ToolCall): CallPlan {
  const found = setting.tools.get(call.name);
  if (found === undefined) return refused(call, `There is no tool called ${call.name}. ${listed([...setting.tools.keys()])}`);
  const allowed = allowedTools(setting.rules, [...setting.tools.keys()], past);
  if (!allowed.includes(call.name))
    return refused(call, `${call.name} cannot be called now, because of the tool rules. ${listed(allowed)}`);
  const ready = { ...call, arguments: withPreset(call, presetArguments(setting.rules, call.name, past)) };
  if (found.needsApproval) return { gated: true, client: found.tool === undefined, effect: found.tool?.effect ?? "once" };
  return planApprovedCall(conversation, setting, ready);
}

/** The same for a call that needs no approval, or has it. */
export function planApprovedCall(conversation: ConversationEnvironment, setting: RunSetting, call: ToolCall): CallPlan {
  const found = setting.tools.get(call.name);
  if (found === undefined) return refused(call, `There is no tool called ${call.name} any more. ${listed([...setting.tools.keys()])}`);
  const parsed = validateArguments(call.arguments, found.definition.parameters);
  if (!parsed.ok) return refused(call, parsed.error);
  const { tool } = found;
  if (tool === undefined) return { gated: false, client: true, effect: "once" };
  if (tool.effect !== "state") return { gated: false, client: false, effect: tool.effect };
  return {
    gated: false,
    client: false,
    effect: "state",
    resultInTurn: (turn) => callStateTool(conversation, turn, tool, found, call, parsed.input),
  };
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
}

/** Makes a call that leaves Kelpie. Never throws: what goes wrong is a result that the model sees. */
export async function callTool(
  conversation: Pick<ConversationEnvironment, "environment" | "address">,
  tool: OutsideTool,
  { returnCharactersMax, secrets }: Pick<AgentTool, "returnCharactersMax" | "secrets">,
  state: CallState,
  signal: AbortSignal,
): Promise<MadeCall> {
  const { environment, address } = conversation;
  const { call } = state;
  const known = (result: ToolReturn): MadeCall => ({ result, isUnknown: false });
  const masked = (text: string): string => maskSecrets(text, secrets);
  const parsed = validateArguments(call.arguments, tool.parameters);
  if (!parsed.ok) return known(failed(call, parsed.error));
  const timeout = tool.timeoutMilliseconds ?? timeoutMillisecondsDefault;
  const late = new AbortController();
  const cancel = environment.clock.schedule(timeout, () => late.abort());
  const both = AbortSignal.any([signal, late.signal]);
  const stopped = new Promise<MadeCall>((resolve) => {
    const text = `${call.name} gave no answer within ${timeout / 1_000} s and was stopped: it may or may not have taken effect`;
    both.addEventListener("abort", () => resolve({ result: failed(call, text), isUnknown: true }), { once: true });
  });
  try {
    const work = tool.execute(parsed.input, {
      effectId: state.effectId,
      secrets,
      signal: both,
      project: address.project,
      agentId: address.agentId,
      conversationId: address.conversationId,
    });
    return await Promise.race([
      work.then((result) => known(toReturn(call, { ...result, text: masked(result.text) }, returnCharactersMax))),
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

function toReturn(call: ToolCall, result: ToolResult, charactersMax: number): ToolReturn {
  if (result.text.length > charactersMax)
    return failed(
      call,
      `The result of ${call.name} has ${result.text.length} characters, and at most ${charactersMax} are allowed: ask for less at a time`,
    );
  return { tool_call_id: call.tool_call_id, status: result.status, tool_return: result.text.toWellFormed() };
}

function refused(call: ToolCall, text: string): CallPlan {
  return { gated: false, client: false, effect: "state", resultInTurn: () => Promise.resolve(failed(call, text)) };
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "No tool can be called." : `The tools are: ${names.join(", ")}.`;
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
