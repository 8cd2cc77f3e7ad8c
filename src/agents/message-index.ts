/**
 * Makes messages findable, when somebody searches: a message costs nothing in the index until then.
 *
 * `(project, "recall.next", conversation)` says up to which position a conversation is in the index. Whoever indexes or
 * deletes messages checks and writes that row, so no message is indexed twice or left behind.
 */
import type { Tuple } from "../base/tuple.ts";
import {
  forgetMessages,
  type FoundMessage,
  indexMessage,
  type MessageSearch,
  type SearchableMessage,
  searchMessages,
  unindexMessage,
} from "../memory/conversation-search.ts";
import { transact, type Transaction } from "../storage/transaction.ts";
import type { ChatMessage } from "./chat-message.ts";
import { type ConversationAddress, conversationKey, conversations, readContext } from "./conversation.ts";
import type { AgentEnvironment } from "./conversation-environment.ts";
import { readMessages } from "./message-log.ts";

const messagesPerBatch = 50;
/** Conversations of one agent that a search brings up to date, the newest first. */
const conversationsMax = 1_000;

export function indexedKey(project: string, conversation: string): Tuple {
  return [project, "recall.next", conversation];
}

/** Searches the messages of an agent, after bringing the index up to date. */
export async function searchAgentMessages(
  agentEnvironment: AgentEnvironment,
  project: string,
  agentId: string,
  search: MessageSearch,
): Promise<FoundMessage[]> {
  await indexAgentMessages(agentEnvironment, project, agentId);
  return await searchMessages(agentEnvironment.store, project, agentId, search);
}

/** Brings the index of an agent's messages up to date. May run at the same time on several nodes. */
export async function indexAgentMessages(agentEnvironment: AgentEnvironment, project: string, agentId: string): Promise<void> {
  const others =
    (await conversations.page(agentEnvironment.store, project, "agent", [agentId], { limit: conversationsMax, reverse: true })) ?? [];
  for (const conversationId of ["default", ...others.map((conversation) => conversation.id)])
    await indexConversation(agentEnvironment, { project, agentId, conversationId });
}

async function indexConversation({ store, environment }: AgentEnvironment, address: ConversationAddress): Promise<void> {
  const context = await readContext(store, address);
  if (context === undefined) return;
  const conversation = conversationKey(address);
  for (let isBehind = true; isBehind;) {
    isBehind = await transact(store, environment, async (transaction) => {
      const from = (await transaction.get<number>(indexedKey(address.project, conversation))) ?? 0;
      if (from >= context.next) return false;
      const messages = await readMessages(store, address.project, conversation, { from, to: context.next, limit: messagesPerBatch });
      for (const message of messages)
        for (const each of searchable(message)) indexMessage(transaction, address.project, address.agentId, each);
      const isLast = messages.length < messagesPerBatch;
      transaction.set(indexedKey(address.project, conversation), isLast ? context.next : messages.at(-1)!.n + 1);
      return !isLast;
    });
  }
}

/** Takes messages that are being deleted out of the index; `transaction` is that of the deletion. */
export async function unindexMessages(
  transaction: Transaction,
  address: ConversationAddress,
  messages: readonly ChatMessage[],
  options: { readonly isLast: boolean },
): Promise<void> {
  const key = indexedKey(address.project, conversationKey(address));
  const next = await transaction.get<number>(key);
  if (next === undefined) return;
  for (const message of messages)
    if (message.n < next) for (const each of searchable(message)) unindexMessage(transaction, address.project, address.agentId, each);
  if (options.isLast) transaction.delete(key);
  else transaction.set(key, next);
}

/** Takes all messages of an agent out of the index. */
export function unindexAgent(transaction: Transaction, project: string, agentId: string): void {
  forgetMessages(transaction, project, agentId);
}

/** What can be found of a message: what was said, and what tools answered. */
function searchable(message: ChatMessage): SearchableMessage[] {
  const head = { messageId: message.id, conversationId: message.conversation_id, time: Date.parse(message.created_at) };
  const { body } = message;
  const found = (role: SearchableMessage["role"], text: string): SearchableMessage[] =>
    text.trim() === "" ? [] : [{ ...head, role, text }];
  switch (body.role) {
    case "user":
      return found(
        "user",
        typeof body.content === "string"
          ? body.content
          : body.content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n"),
      );
    case "assistant":
    case "approval":
      return found("assistant", body.parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n"));
    case "tool":
      return found("tool", body.returns.map((result) => result.tool_return).join("\n"));
    case "system":
    case "summary":
    case "approvalResponse":
      return [];
  }
}
