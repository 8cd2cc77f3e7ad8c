/**
 * A stored entry of a conversation, and the API messages it fans out into.
 *
 * One model answer is one stored message; Letta shows it as several (reasoning, assistant, tool call) that share its
 * id and differ in `otid`. The otids are the same in a stream and in a list.
 */
import type { Json } from "../base/json.ts";
import type { ContentPart, ResultImage } from "../models/model.ts";

export type ChatRole = "system" | "user" | "assistant" | "tool" | "approval" | "summary";

export interface ToolCall {
  readonly tool_call_id: string;
  readonly name: string;
  /** The text as the model wrote it: JSON if the model kept to the schema. */
  readonly arguments: string;
}

export interface ToolReturn {
  readonly tool_call_id: string;
  readonly status: "success" | "error";
  readonly tool_return: string;
  /** For the model. The API has their kinds and sizes, which are in the text. */
  readonly images?: readonly ResultImage[];
  readonly stdout?: readonly string[];
  readonly stderr?: readonly string[];
}

export interface ApprovalDecision {
  readonly tool_call_id: string;
  readonly approve: boolean;
  readonly reason?: string;
}

export type AnswerPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "reasoning"; readonly reasoning: string; readonly signature?: string }
  | { readonly type: "redacted_reasoning"; readonly data: string };

export interface ChatMessage {
  readonly id: string;
  /** Position in its conversation; grows, with gaps. */
  readonly n: number;
  readonly agent_id: string;
  /** `default`, or the conversation's id. */
  readonly conversation_id: string;
  /** ISO 8601, UTC. */
  readonly created_at: string;
  readonly run_id?: string;
  readonly step_id?: string;
  readonly name?: string;
  readonly sender_id?: string;
  readonly otid?: string;
  readonly body: ChatBody;
}

export type ChatBody =
  | { readonly role: "system"; readonly text: string }
  | { readonly role: "user"; readonly content: string | readonly ContentPart[] }
  | { readonly role: "summary"; readonly text: string; readonly stats?: Json }
  | { readonly role: "assistant"; readonly parts: readonly AnswerPart[]; readonly calls: readonly ToolCall[]; readonly model?: string }
  /** Calls that wait for a person or for the client; `parts` only where no assistant message carries them. */
  | { readonly role: "approval"; readonly parts: readonly AnswerPart[]; readonly calls: readonly ToolCall[]; readonly model?: string }
  | { readonly role: "approvalResponse"; readonly decisions: readonly (ApprovalDecision | ToolReturn)[] }
  | { readonly role: "tool"; readonly returns: readonly ToolReturn[] };

/** An API message, in Letta's fields. */
export type LettaMessage = { readonly id: string; readonly message_type: string; readonly [field: string]: unknown };

/** The index that the tool calls of an answer have among its variants, whatever stands before them. */
const toolCallVariant = 100;

/** The id of one variant of a message: its UUID with the last 7 bits replaced by `variant` (0 to 127). */
export function variantOtid(messageId: string, variant: number): string {
  const uuid = messageId.slice(messageId.indexOf("-") + 1);
  const last = (Number.parseInt(uuid.slice(-2), 16) & 0x80) | (variant & 0x7f);
  return uuid.slice(0, -2) + last.toString(16).padStart(2, "0");
}

/** What every API message of `message` carries. */
export function envelope(message: Omit<ChatMessage, "body" | "n">, variant: number): Record<string, unknown> {
  return {
    id: message.id,
    date: lettaDate(message.created_at),
    name: message.name ?? null,
    otid: message.otid ?? variantOtid(message.id, variant),
    sender_id: message.sender_id ?? null,
    step_id: message.step_id ?? null,
    is_err: null,
    seq_id: null,
    run_id: message.run_id ?? null,
  };
}

/** Seconds precision with an offset, as Letta writes the `date` of a message. */
export function lettaDate(iso: string): string {
  return iso.slice(0, 19) + "+00:00";
}

/** The API messages of a stored one, in their order. */
export function toLettaMessages(message: ChatMessage): LettaMessage[] {
  const body = message.body;
  switch (body.role) {
    case "system":
      return [lettaMessage(message, 0, "system_message", { content: body.text })];
    case "user":
      return [
        lettaMessage(message, 0, "user_message", {
          content: typeof body.content === "string" ? body.content : body.content.map(lettaContentPart),
        }),
      ];
    case "summary":
      return [lettaMessage(message, 0, "summary_message", { summary: body.text, compaction_stats: body.stats ?? null })];
    case "assistant":
      return [
        ...answerParts(message, body.parts),
        ...(body.calls.length === 0 ? [] : [lettaMessage(message, toolCallVariant, "tool_call_message", callFields(body.calls))]),
      ];
    case "approval":
      return [
        ...answerParts(message, body.parts),
        lettaMessage(message, toolCallVariant, "approval_request_message", callFields(body.calls)),
      ];
    case "approvalResponse":
      return [lettaMessage(message, 0, "approval_response_message", approvalFields(body.decisions))];
    case "tool":
      return [lettaMessage(message, 0, "tool_return_message", returnFields(body.returns))];
  }
}

function answerParts(message: ChatMessage, parts: readonly AnswerPart[]): LettaMessage[] {
  return parts.map((part, variant) => {
    if (part.type === "text") return lettaMessage(message, variant, "assistant_message", { content: part.text });
    if (part.type === "redacted_reasoning")
      return lettaMessage(message, variant, "hidden_reasoning_message", { state: "redacted", hidden_reasoning: part.data });
    return lettaMessage(message, variant, "reasoning_message", {
      source: "reasoner_model",
      reasoning: part.reasoning,
      signature: part.signature ?? null,
    });
  });
}

function lettaMessage(message: ChatMessage, variant: number, messageType: string, fields: Record<string, unknown>): LettaMessage {
  return { ...envelope(message, variant), id: message.id, message_type: messageType, ...fields };
}

/** A piece of an answer. `position` is the index of its part. */
export type Delta =
  | { readonly kind: "text" | "reasoning"; readonly position: number; readonly text: string; readonly signature?: string }
  | { readonly kind: "toolCall"; readonly call: Partial<ToolCall> };

/** A piece of an answer, as a stream event. */
export function deltaMessage(message: Omit<ChatMessage, "body" | "n">, delta: Delta): LettaMessage {
  const head = { ...envelope(message, delta.kind === "toolCall" ? toolCallVariant : delta.position), id: message.id };
  if (delta.kind === "toolCall") return { ...head, message_type: "tool_call_message", tool_call: delta.call, tool_calls: delta.call };
  if (delta.kind === "text") return { ...head, message_type: "assistant_message", content: delta.text };
  return {
    ...head,
    message_type: "reasoning_message",
    source: "reasoner_model",
    reasoning: delta.text,
    signature: delta.signature ?? null,
  };
}

function lettaContentPart(part: ContentPart): Record<string, unknown> {
  if (part.type === "text") return { type: "text", text: part.text, signature: null };
  if ("url" in part.source) return { type: "image", source: { type: "url", url: part.source.url } };
  return { type: "image", source: { type: "base64", media_type: part.source.mediaType, data: part.source.base64, detail: null } };
}

export function callFields(calls: readonly ToolCall[]): Record<string, unknown> {
  return { tool_call: calls[0], tool_calls: calls };
}

function returnFields(returns: readonly ToolReturn[]): Record<string, unknown> {
  const all = returns.map(({ images: _, ...each }) => ({ type: "tool", stdout: null, stderr: null, ...each }));
  const first = all[0];
  return {
    tool_return: first?.tool_return,
    status: first?.status,
    tool_call_id: first?.tool_call_id,
    stdout: first?.stdout ?? null,
    stderr: first?.stderr ?? null,
    tool_returns: all,
  };
}

function approvalFields(decisions: readonly (ApprovalDecision | ToolReturn)[]): Record<string, unknown> {
  const approvals = decisions.map((decision) =>
    "approve" in decision
      ? { type: "approval", tool_call_id: decision.tool_call_id, approve: decision.approve, reason: decision.reason ?? null }
      : { type: "tool", stdout: null, stderr: null, ...decision },
  );
  const first = decisions[0];
  return {
    approvals,
    approve: first !== undefined && "approve" in first ? first.approve : null,
    approval_request_id: null,
    reason: first !== undefined && "approve" in first ? (first.reason ?? null) : null,
  };
}
