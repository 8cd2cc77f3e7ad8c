/**
 * The conversations of agents, as the server sees them: what it may ask, and what comes back.
 *
 * Outcomes that a client can cause are values (`ok: false`); the texts of the API are the server's.
 */
import type { ContentPart, ToolDefinition } from "../models/model.ts";
import type { ApprovalDecision, ToolReturn } from "./chat-message.ts";
import type { RequestConfig } from "./run.ts";

export type InputMessage =
  | {
      readonly type: "message";
      readonly role: "user" | "system" | "assistant";
      readonly content: string | readonly ContentPart[];
      readonly otid?: string;
      readonly name?: string;
      readonly sender_id?: string;
    }
  | ApprovalMessage;

/** The answer to a pending approval: decisions, results of client tools, or both. */
export interface ApprovalMessage {
  readonly type: "approval";
  readonly decisions: readonly (ApprovalDecision | ToolReturn)[];
  /** The id of the message that asks. Without it the answer is for whatever waits. */
  readonly requestId?: string;
  readonly otid?: string;
}

export interface SendRequest {
  readonly messages: readonly InputMessage[];
  readonly stepsMax: number;
  readonly background: boolean;
  readonly streamTokens: boolean;
  readonly clientTools: readonly ToolDefinition[];
  readonly clientSkills: readonly { readonly name: string; readonly description: string; readonly location: string }[];
  readonly overrideModel: string | null;
  readonly overrideSystem: string | null;
  readonly includeCompactionMessages: boolean;
  readonly requestConfig: RequestConfig;
  readonly callbackUrl: string | null;
}

export type SendOutcome =
  /** `attached`: the same messages (by otid) were sent before, and this is their run. */
  | { readonly ok: true; readonly runId: string; readonly attached: boolean }
  /** Another run of this conversation is in progress. */
  | { readonly ok: false; readonly reason: "busy"; readonly runId: string }
  /** The conversation waits for an approval and got something else. */
  | { readonly ok: false; readonly reason: "pendingApproval" }
  /** An approval came, and nothing waits for one. */
  | { readonly ok: false; readonly reason: "noPendingApproval" }
  /** The approval is for another request than the one that waits. */
  | { readonly ok: false; readonly reason: "otherApproval"; readonly expected: string; readonly given: string }
  | { readonly ok: false; readonly reason: "invalidToolCallIds"; readonly expected: readonly string[]; readonly given: readonly string[] }
  /** An approval came after its time (an ISO text), when only denials are taken; a new message takes its calls for denied. */
  | { readonly ok: false; readonly reason: "approvalExpired"; readonly expiredAt: string }
  /** Since they were asked for, these tools have changed: calls of them can only be denied. */
  | { readonly ok: false; readonly reason: "approvalOutdated"; readonly tools: readonly string[] };

export type CancelOutcome = { readonly ok: true; readonly runId: string } | { readonly ok: false; readonly reason: "noActiveRun" };

export interface CompactOutcome {
  readonly summary: string;
  readonly messagesBefore: number;
  readonly messagesAfter: number;
}
