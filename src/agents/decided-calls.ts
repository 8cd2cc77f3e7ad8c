/** Calls that waited for a person or a client, as the answer leaves them (A1 to A3 in approval.ts). */
import type { AgentTools } from "./agent-tools.ts";
import { approvalHash } from "./approval.ts";
import { planApprovedCall } from "./call-tool.ts";
import type { ApprovalDecision, ToolReturn } from "./chat-message.ts";
import type { ActiveRun, CallState, PendingApproval, PendingCall } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import type { ApprovalMessage } from "./conversations.ts";
import type { RunSetting } from "./step-plan.ts";

type Decision = ApprovalDecision | ToolReturn;
/** By the id of the call. */
export type Decisions = ReadonlyMap<string, Decision>;

export function decisionsOf(answers: readonly ApprovalMessage[]): Decisions {
  return new Map(answers.flatMap(({ decisions }) => decisions.map((each) => [each.tool_call_id, each] as const)));
}

export function isApproved(decision: Decision | undefined): boolean {
  return decision !== undefined && "approve" in decision && decision.approve;
}

export function isExpired({ expiresAt }: PendingApproval, now: number): boolean {
  return expiresAt !== undefined && now >= expiresAt;
}

/** The tools whose calls are approved, and which are others than when the approval was asked for (A1). */
export function outdatedTools(tools: AgentTools, { calls }: PendingApproval, decisions: Decisions): string[] {
  return calls.flatMap(({ call, hash }) => {
    const found = tools.get(call.name);
    if (hash === undefined || found === undefined || !isApproved(decisions.get(call.tool_call_id))) return [];
    return approvalHash(found.identity(), call) === hash ? [] : [call.name];
  });
}

interface Answered {
  readonly run: ActiveRun;
  readonly calls: readonly PendingCall[];
  readonly stepId: string;
  /** When the answer came, for which it was looked at whether it was in time (A3). */
  readonly now: number;
}

/** Denied, answered by the client, or free to be made. */
export function decidedCalls(
  conversation: ConversationEnvironment,
  setting: RunSetting,
  { run, calls, stepId, now }: Answered,
  decisions: Decisions,
): CallState[] {
  const approved_at = new Date(now).toISOString();
  return calls.map(({ call, gated, hash }): CallState => {
    const effectId = `${run.id}:${stepId}:${call.tool_call_id}`;
    const decision = gated ? decisions.get(call.tool_call_id) : undefined;
    if (decision !== undefined && "status" in decision) return { call, effect: "readOnly", effectId, state: "done", result: decision };
    if (decision !== undefined && !decision.approve)
      return { call, effect: "readOnly", effectId, state: "done", result: deniedResult(call.tool_call_id, decision.reason) };
    const approval = decision === undefined || hash === undefined ? undefined : { hash, approved_at };
    const { effect } = planApprovedCall(conversation, setting, call, approval);
    return { call, effect, effectId, state: "intended", ...(approval === undefined ? {} : { approval }) };
  });
}

export function deniedResult(toolCallId: string, reason: string | undefined): ToolReturn {
  return {
    tool_call_id: toolCallId,
    status: "error",
    tool_return: `Error: request to call tool denied. User reason: ${reason ?? "none given"}`,
  };
}
