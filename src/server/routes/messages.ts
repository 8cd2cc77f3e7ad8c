import { z } from "@hono/zod-openapi";
import { agents } from "../../agents/agent.ts";
import { type ChatMessage, toLettaMessages } from "../../agents/chat-message.ts";
import { conversations } from "../../agents/conversation.ts";
import { findMessage } from "../../agents/message-log.ts";
import type { FoundMessage } from "../../memory/conversation-search.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound, unprocessable } from "../http-error.ts";
import { listMessages } from "../message-list.ts";
import { pageOf } from "../paging.ts";
import { idOf, millisecondsOf, nullable, optional, pageEntriesMax, pageQuery, time } from "../schemas/common.ts";
import { messageListSchema, messageTypes } from "../schemas/message.ts";
import type { Services } from "../services.ts";

const listQuery = pageQuery("message", { limit: 100, order: "desc" }).extend({
  conversation_id: z.union([idOf("conv"), z.literal("default")]).optional(),
  include_return_message_types: z.array(z.enum(messageTypes)).optional(),
});

/** There is one search, by words: every mode means it. */
const searchBody = z
  .object({
    query: z.string(),
    search_mode: optional(z.enum(["vector", "fts", "hybrid"])),
    agent_id: optional(idOf("agent")),
    conversation_id: optional(z.union([idOf("conv"), z.literal("default")])),
    limit: optional(z.int().min(1).max(pageEntriesMax)),
    start_date: optional(time),
    end_date: optional(time),
  })
  .openapi("SearchAllMessagesRequest");

const searchResult = z.looseObject({
  message_type: z.enum(["system_message", "user_message", "reasoning_message", "assistant_message"]),
  message_id: idOf("message"),
  agent_id: nullable(z.string()),
  conversation_id: nullable(z.string()),
  created_at: z.string(),
});

const searchLimitDefault = 50;
/** A search without an agent looks into this many agents' messages. */
const agentsSearchedMax = 200;

export function messageRoutes({ store, conversations: service }: Services): Endpoint[] {
  const tag = "messages";

  async function agentIdsToSearch(project: string, agentId: string | undefined, conversationId: string | undefined): Promise<string[]> {
    if (agentId !== undefined) return [agentId];
    if (conversationId !== undefined && conversationId !== "default") {
      const [conversation] = await conversations.read(store, project, [conversationId]);
      if (conversation === undefined) throw notFound("conversation", conversationId);
      return [conversation.agent_id];
    }
    const all = (await agents.page(store, project, "created", [], { limit: agentsSearchedMax + 1, reverse: true })) ?? [];
    if (all.length > agentsSearchedMax) throw unprocessable(`body.agent_id: required, as there are more than ${agentsSearchedMax} agents`);
    return all.map((agent) => agent.id);
  }

  return [
    endpoint(
      { method: "get", path: "/v1/messages", summary: "Lists messages of all agents", tag, query: listQuery, response: messageListSchema },
      async ({ query, project }) => {
        const { conversation_id: conversationId } = query;
        if (conversationId === "default")
          throw unprocessable(
            "query.conversation_id: expected a conversation's id; for default conversations see GET /v1/agents/{agent_id}/messages",
          );
        const scope = conversationId === undefined ? { project: true as const } : { conversation: conversationId };
        return (
          await listMessages(
            store,
            project,
            scope,
            { ...pageOf(query), reverse: query.order === "desc" },
            query.include_return_message_types,
          )
        ).flat();
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/messages/search",
        summary: "Searches messages by their words",
        tag,
        body: searchBody,
        response: z.array(searchResult),
      },
      async ({ body, project }) => {
        const agentIds = await agentIdsToSearch(project, body.agent_id ?? undefined, body.conversation_id ?? undefined);
        const limit = body.limit ?? searchLimitDefault;
        const search = {
          query: body.query,
          roles: ["user", "assistant", "system"] as const,
          limit,
          from: body.start_date == null ? undefined : millisecondsOf(body.start_date),
          to: body.end_date == null ? undefined : millisecondsOf(body.end_date),
          conversationId: body.conversation_id ?? undefined,
        };
        const found = (await Promise.all(agentIds.map((agentId) => service.search(project, agentId, search)))).flat();
        const best = found.sort(byScoreThenTime).slice(0, limit);
        const messages = await Promise.all(best.map(({ messageId }) => findMessage(store, project, messageId)));
        return messages.flatMap((each) => (each === undefined ? [] : toSearchResults(each.message)));
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/messages/{message_id}",
        summary: "Reads a message: all its variants",
        tag,
        params: z.object({ message_id: idOf("message") }),
        response: messageListSchema,
      },
      async ({ params: { message_id }, project }) => {
        const found = await findMessage(store, project, message_id);
        if (found === undefined) throw notFound("message", message_id);
        return toLettaMessages(found.message);
      },
    ),
    // V1 warms a cache of its search service with this; here nothing needs warming.
    endpoint({ method: "post", path: "/v1/_internal_search/cache-warm", summary: "Does nothing", tag }, async () => ({
      collection: "messages",
      status: "ok",
      warmed: true,
    })),
  ];
}

function byScoreThenTime(left: FoundMessage, right: FoundMessage): number {
  return right.score - left.score || right.time - left.time;
}

const textFields: Readonly<Record<string, string>> = {
  system_message: "content",
  user_message: "content",
  assistant_message: "content",
  reasoning_message: "reasoning",
};

function toSearchResults(message: ChatMessage): Record<string, unknown>[] {
  return toLettaMessages(message).flatMap((variant) => {
    const field = textFields[variant.message_type];
    if (field === undefined) return [];
    return [
      {
        message_type: variant.message_type,
        [field]: variant[field],
        message_id: message.id,
        agent_id: message.agent_id,
        conversation_id: message.conversation_id === "default" ? null : message.conversation_id,
        created_at: message.created_at,
      },
    ];
  });
}
