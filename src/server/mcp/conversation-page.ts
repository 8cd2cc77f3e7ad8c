/** A page of an agent's conversation, short enough to be read by a model. */
import { type ChatMessage, toLettaMessages } from "../../agents/chat-message.ts";
import { pageMessages } from "../../agents/message-log.ts";
import type { Services } from "../services.ts";
import { cut } from "./agent-tool.ts";

const messageCharactersMax = 10_000;
const pageCharactersMax = 200_000;

export interface ConversationPage {
  /** The oldest first. */
  readonly messages: readonly ShownMessage[];
  /** The id of the oldest message here, if there are older ones: give it as `before`. */
  readonly older?: string;
}

interface ShownMessage {
  readonly id: string;
  readonly at: string;
  readonly kind: string;
  readonly text: string;
}

/** Undefined: `before` names no message of this agent's conversation. */
export async function conversationPage(
  { store }: Services,
  project: string,
  agentId: string,
  { before, limit }: { readonly before: string | undefined; readonly limit: number },
): Promise<ConversationPage | undefined> {
  const page = { limit: limit + 1, reverse: true, ...(before === undefined ? {} : { after: before }) };
  const newestFirst = await pageMessages(store, project, { conversation: agentId }, page);
  if (newestFirst === undefined) return undefined;
  const shown: ShownMessage[][] = [];
  let characters = 0;
  for (const message of newestFirst.slice(0, limit)) {
    const variants = showMessage(message);
    characters += variants.reduce((sum, { text }) => sum + text.length, 0);
    if (characters > pageCharactersMax && shown.length > 0) break;
    shown.push(variants);
  }
  const oldest = newestFirst[shown.length - 1];
  return {
    messages: shown.toReversed().flat(),
    ...(oldest !== undefined && newestFirst.length > shown.length ? { older: oldest.id } : {}),
  };
}

/** Reasoning is the model's own, and images are no text. */
function showMessage(message: ChatMessage): ShownMessage[] {
  return toLettaMessages(message).flatMap((variant) => {
    const text = textOf(variant);
    if (text === undefined) return [];
    const kind = variant.message_type.replace(/_message$/, "");
    return [{ id: message.id, at: message.created_at, kind, text: cut(text, messageCharactersMax, "it is too long to be shown here") }];
  });
}

function textOf(variant: { readonly message_type: string; readonly [field: string]: unknown }): string | undefined {
  switch (variant.message_type) {
    case "user_message":
    case "assistant_message":
      return contentText(variant["content"]);
    case "summary_message":
      return String(variant["summary"]);
    case "tool_call_message":
    case "approval_request_message":
      return JSON.stringify(variant["tool_calls"] ?? variant["tool_call"]);
    case "tool_return_message":
      return contentText(variant["tool_return"]);
    default:
      return undefined;
  }
}

function contentText(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return JSON.stringify(content);
  return (content as readonly { readonly type?: unknown; readonly text?: unknown }[])
    .map((part) => (typeof part.text === "string" ? part.text : `(${String(part.type)})`))
    .join("\n");
}
