import { z } from "@hono/zod-openapi";
import { conversationDefaults, type ConversationAddress, type ConversationRecord } from "../../agents/conversation.ts";
import { NotFoundError } from "../../agents/conversation-service.ts";
import { isActive, type RunRecord } from "../../agents/run.ts";
import { scan } from "../../memory/scan.ts";
import { pagesByTime } from "../client-version.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { generateText } from "../generate.ts";
import { conflict, HttpError, notFound, unprocessable } from "../http-error.ts";
import { listMessages } from "../message-list.ts";
import { PageMemory } from "../page-memory.ts";
import { pageOf, pageOfSorted } from "../paging.ts";
import { streamRun, hasEvents } from "../run-stream.ts";
import { compactionSettingsSchema } from "../schemas/agent-input.ts";
import { idOf, jsonObject, jsonValue, optional, pageQuery, time } from "../schemas/common.ts";
import { conversationSchema } from "../schemas/conversation.ts";
import { compactionSchema, lettaResponseSchema, messageListSchema, messageTypes } from "../schemas/message.ts";
import { sendSchema } from "../schemas/message-input.ts";
import { resumeSchema } from "../schemas/stream.ts";
import { sendAndAnswer } from "../send.ts";
import type { Services } from "../services.ts";

/** As V1, paths take an agent's id, or `default` with an `agent_id` beside it, for the agent's default conversation. */
const conversationId = z.union([idOf("conv"), idOf("agent"), z.literal("default")]);
const params = z.object({ conversation_id: conversationId });
const agentQuery = z.object({ agent_id: idOf("agent").optional() });

const changes = {
  summary: optional(z.string()),
  description: optional(z.string()),
  model: optional(z.string()),
  model_settings: optional(jsonObject),
  context_window_limit: optional(z.int()),
  hidden: optional(z.boolean()),
};
const createBody = z.object({ ...changes, isolated_block_labels: optional(z.array(z.string())) }).openapi("CreateConversation");
const updateBody = z.object({ ...changes, archived: optional(z.boolean()), last_message_at: optional(time) }).openapi("UpdateConversation");
const forkBody = z.object({ hidden: optional(z.boolean()), message_id: optional(idOf("message")), agent_id: optional(idOf("agent")) });
const forkQuery = z.object({ agent_id: idOf("agent").optional(), hidden: z.boolean().optional(), message_id: idOf("message").optional() });
const compactBody = z
  .object({ agent_id: optional(idOf("agent")), compaction_settings: optional(compactionSettingsSchema) })
  .openapi("ConversationCompactionRequest");
const titleBody = z.object({ prompt: z.string(), messages: optional(jsonValue), model: optional(z.string()) });
const searchBody = z.object({ query: optional(z.string()), agent_id: optional(idOf("agent")), limit: optional(z.int().min(1)) });

const listQuery = pageQuery("conv", { limit: 50, order: "desc" }).extend({
  agent_id: idOf("agent").optional(),
  summary_search: z.string().optional(),
  archive_status: z.enum(["unarchived", "archived", "all"]).default("unarchived"),
});

const messageQuery = pageQuery("message", { limit: 100, order: "desc" }).extend({
  agent_id: idOf("agent").optional(),
  group_id: z.string().optional(),
  include_err: z.boolean().optional(),
  include_return_message_types: z.array(z.enum(messageTypes)).optional(),
});

/** Conversations that a list in another order than that of their creation looks at. */
const conversationsSortedMax = 1_000;
const searchLimitDefault = 20;

export function conversationRoutes(services: Services): Endpoint[] {
  const { store, models, agents, conversations } = services;
  const tag = "conversations";
  const memory = new PageMemory();

  const addressOf = (project: string, id: string, agentId: string | null | undefined): Promise<ConversationAddress> =>
    conversations.address(project, id, agentId ?? undefined);

  async function view(project: string, conversation: ConversationRecord): Promise<Record<string, unknown>> {
    const address = { project, agentId: conversation.agent_id, conversationId: conversation.id };
    return { ...conversation, in_context_message_ids: await conversations.contextMessageIds(address) };
  }

  async function create(project: string, agentId: string, body: z.output<typeof createBody>): Promise<Record<string, unknown>> {
    if ((body.isolated_block_labels ?? []).length > 0)
      throw unprocessable("body.isolated_block_labels: expected an empty list: blocks are shared between an agent's conversations");
    const { isolated_block_labels: _, ...fields } = body;
    return await view(project, await conversations.create(project, agentId, await checked(fields)));
  }

  /** Without the fields that were left out, and with a model that there is. */
  async function checked<T extends { readonly model?: string | null | undefined }>(
    fields: T,
  ): Promise<{ [field in keyof T]?: Exclude<T[field], null | undefined> }> {
    const present = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
    if (typeof fields.model === "string") present["model"] = (await models.describe(fields.model)).handle;
    return present as { [field in keyof T]?: Exclude<T[field], null | undefined> };
  }

  async function list(project: string, query: z.output<typeof listQuery>): Promise<ConversationRecord[]> {
    const filter = (candidates: readonly ConversationRecord[]): ConversationRecord[] =>
      candidates.filter((conversation) => matches(conversation, query));
    const readPage = (page: ReturnType<typeof pageOf>): Promise<ConversationRecord[] | undefined> =>
      conversations.page(project, query.agent_id, page);
    if (query.order_by === undefined || query.order_by === "created_at")
      return memory.remember(await scan(pageOf(query, memory), readPage, filter));
    const all = filter((await readPage({ limit: conversationsSortedMax, reverse: true })) ?? []);
    const sorted = all.sort((left, right) =>
      (left.last_message_at ?? left.created_at) > (right.last_message_at ?? right.created_at) ? -1 : 1,
    );
    return pageOfSorted(sorted, query);
  }

  async function fork(
    project: string,
    address: ConversationAddress,
    options: { readonly hidden: boolean | undefined; readonly messageId: string | undefined },
  ): Promise<ConversationRecord> {
    const original = address.conversationId === "default" ? undefined : await conversations.get(project, address.conversationId);
    const fields = {
      ...(original === undefined
        ? {}
        : {
            summary: original.summary,
            description: original.description,
            model: original.model,
            model_settings: original.model_settings,
            context_window_limit: original.context_window_limit,
          }),
      ...(options.hidden === undefined ? {} : { hidden: options.hidden }),
    };
    if (options.messageId === undefined) return await conversations.fork(address, fields);
    const { messages } = await conversations.contextMessages(address);
    const last = messages.findLastIndex((message) => message.id === options.messageId);
    if (last < 0) throw notFound("message", options.messageId);
    const forked = await conversations.create(project, address.agentId, fields);
    const bodies = messages.slice(0, last + 1).map((message) => message.body);
    await conversations.append({ ...address, conversationId: forked.id }, bodies);
    return forked;
  }

  /** The run that a client lost: named by its id, by a message of it, or else the newest of the conversation. */
  async function runToResume(
    project: string,
    address: ConversationAddress,
    body: z.output<typeof resumeSchema> | undefined,
  ): Promise<RunRecord> {
    if (body?.run_id != null) return await conversations.run(project, body.run_id);
    if (body?.otid != null) {
      const run = await conversations.runOfOtid(address, body.otid);
      if (run === undefined) throw notFound("run with the otid", body.otid);
      return run;
    }
    const [newest] =
      (await conversations.runPage(
        project,
        { agentId: address.agentId, conversationId: address.conversationId },
        { limit: 1, reverse: true },
      )) ?? [];
    if (newest === undefined || !isActive(newest)) throw new NotFoundError("No active run found for this conversation");
    return newest;
  }

  return [
    endpoint(
      {
        method: "get",
        path: "/v1/conversations",
        summary: "Lists conversations",
        tag,
        query: listQuery,
        response: z.array(conversationSchema),
      },
      async ({ query, project }) => {
        const found = await list(project, query);
        return await Promise.all(found.map((conversation) => view(project, conversation)));
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations",
        summary: "Creates a conversation",
        tag,
        query: z.object({ agent_id: idOf("agent") }),
        body: createBody,
        bodyOptional: true,
        response: conversationSchema,
      },
      async ({ query, body, project }) => create(project, query.agent_id, body ?? {}),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/ephemeral",
        summary: "Creates a conversation that lists do not show",
        tag,
        query: agentQuery,
        body: createBody.extend({ agent_id: optional(idOf("agent")) }),
        bodyOptional: true,
        response: conversationSchema,
      },
      async ({ query, body, project }) => {
        const agentId = query.agent_id ?? body?.agent_id;
        if (agentId == null) throw unprocessable("query.agent_id: required, expected the agent of the conversation");
        const { agent_id: _, ...fields } = body ?? {};
        return await create(project, agentId, { ...fields, hidden: true });
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/search",
        summary: "Searches conversations by their summaries",
        tag,
        body: searchBody,
        response: z.array(conversationSchema),
      },
      async ({ body, project }) => {
        const query = listQuery.parse({
          limit: body.limit ?? searchLimitDefault,
          agent_id: body.agent_id ?? undefined,
          summary_search: body.query ?? undefined,
          archive_status: "all",
        });
        return await Promise.all((await list(project, query)).map((conversation) => view(project, conversation)));
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/conversations/{conversation_id}",
        summary: "Reads a conversation",
        tag,
        params,
        query: agentQuery,
        response: conversationSchema,
      },
      async ({ params: { conversation_id }, query, project }) => {
        const address = await addressOf(project, conversation_id, query.agent_id);
        if (address.conversationId !== "default") return await view(project, await conversations.get(project, address.conversationId));
        const agent = await agents.get(project, address.agentId);
        return { ...defaultConversation(agent), in_context_message_ids: await conversations.contextMessageIds(address) };
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/conversations/{conversation_id}",
        summary: "Changes a conversation",
        tag,
        params: z.object({ conversation_id: idOf("conv") }),
        body: updateBody,
        response: conversationSchema,
      },
      async ({ params: { conversation_id }, body, project }) => {
        const fields = await checked(body);
        const archived_at =
          fields.archived === undefined
            ? {}
            : { archived_at: fields.archived ? new Date(services.environment.clock.now()).toISOString() : null };
        return await view(project, await conversations.update(project, conversation_id, { ...fields, ...archived_at }));
      },
    ),
    endpoint(
      {
        method: "delete",
        path: "/v1/conversations/{conversation_id}",
        summary: "Deletes a conversation",
        tag,
        params: z.object({ conversation_id: idOf("conv") }),
      },
      async ({ params: { conversation_id }, project }) => {
        await conversations.delete(project, conversation_id);
        return null;
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/{conversation_id}/cancel",
        summary: "Cancels the run of a conversation",
        tag,
        params,
        query: agentQuery,
        body: agentQuery.extend({ run_ids: optional(z.array(idOf("run"))) }),
        bodyOptional: true,
      },
      async ({ params: { conversation_id }, query, body, project }) => {
        const outcome = await conversations.cancel(
          await addressOf(project, conversation_id, query.agent_id ?? body?.agent_id),
          body?.run_ids ?? null,
        );
        if (!outcome.ok) throw conflict("Cannot cancel: there is no active run");
        return { [outcome.runId]: "cancelled" };
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/{conversation_id}/fork",
        summary: "Copies what the model sees of a conversation into a new one",
        tag,
        params,
        query: forkQuery,
        body: forkBody,
        bodyOptional: true,
        response: conversationSchema,
      },
      async ({ params: { conversation_id }, query, body, project }) => {
        const address = await addressOf(project, conversation_id, query.agent_id ?? body?.agent_id);
        const options = { hidden: query.hidden ?? body?.hidden ?? undefined, messageId: query.message_id ?? body?.message_id ?? undefined };
        return await view(project, await fork(project, address, options));
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/{conversation_id}/recompile",
        summary: "Renders the system message anew",
        tag,
        params,
        query: agentQuery.extend({ dry_run: z.boolean().default(false) }),
        body: compactBody,
        bodyOptional: true,
        response: z.string(),
      },
      async ({ params: { conversation_id }, query, body, project }) =>
        conversations.recompile(await addressOf(project, conversation_id, query.agent_id ?? body?.agent_id), query.dry_run),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/{conversation_id}/compact",
        summary: "Puts a summary in the place of old messages",
        tag,
        params,
        body: compactBody,
        bodyOptional: true,
        response: compactionSchema,
      },
      async ({ params: { conversation_id }, body, project, signal }) => {
        const outcome = await conversations.compact(
          await addressOf(project, conversation_id, body?.agent_id),
          body?.compaction_settings ?? null,
          signal,
        );
        return { summary: outcome.summary, num_messages_before: outcome.messagesBefore, num_messages_after: outcome.messagesAfter };
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/{conversation_id}/messages",
        summary: "Sends messages to a conversation",
        tag,
        params,
        body: sendSchema("ConversationMessageRequest", true),
        response: lettaResponseSchema,
        streams: true,
      },
      async ({ params: { conversation_id }, body, project, signal }) =>
        sendAndAnswer(services, await addressOf(project, conversation_id, body.agentId), body, signal),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/conversations/{conversation_id}/messages",
        summary: "Lists the messages of a conversation",
        tag,
        params,
        query: messageQuery,
        response: messageListSchema,
      },
      async ({ params: { conversation_id }, query, project, headers }) => {
        const address = await addressOf(project, conversation_id, query.agent_id);
        const scope = { conversation: address.conversationId === "default" ? address.agentId : address.conversationId };
        const isSwapped = query.order === "desc" && pagesByTime(headers);
        return (
          await listMessages(
            store,
            project,
            scope,
            { ...pageOf(isSwapped ? { ...query, after: query.before, before: query.after } : query), reverse: query.order === "desc" },
            query.include_return_message_types,
          )
        ).flat();
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/{conversation_id}/stream",
        summary: "Follows a run of a conversation from any of its events on",
        tag,
        params,
        body: resumeSchema,
        bodyOptional: true,
        streams: true,
      },
      async ({ params: { conversation_id }, body, project }) => {
        const run = await runToResume(project, await addressOf(project, conversation_id, body?.agent_id), body);
        if (!isActive(run) && !(await hasEvents(services, project, run.id)))
          throw new HttpError(410, { detail: `The events of ${run.id} are no longer kept` });
        return streamRun(services, { project, runId: run.id, after: body?.starting_after ?? 0, includePings: body?.include_pings ?? true });
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/conversations/{conversation_id}/summarize",
        summary: "Has a model make a title of a conversation",
        tag,
        params,
        body: titleBody,
        response: z.object({ summary: z.string() }),
      },
      async ({ params: { conversation_id }, body, project, signal }) => {
        const address = await addressOf(project, conversation_id, undefined);
        const agent = await agents.get(project, address.agentId);
        const prompt = `${body.prompt}\n\n${JSON.stringify(body.messages ?? [])}`;
        const answer = await generateText(services, { handle: body.model ?? agent.model, system: undefined, prompt }, signal);
        return { summary: answer["content"] };
      },
    ),
  ];
}

function matches(conversation: ConversationRecord, query: z.output<typeof listQuery>): boolean {
  const text = query.summary_search?.toLowerCase();
  return (
    conversation.hidden !== true &&
    (query.archive_status === "all" || conversation.archived === (query.archive_status === "archived")) &&
    (text === undefined || (conversation.summary ?? "").toLowerCase().includes(text))
  );
}

function defaultConversation(agent: {
  readonly id: string;
  readonly created_at: string;
  readonly updated_at: string;
}): Record<string, unknown> {
  return {
    id: "default",
    agent_id: agent.id,
    created_at: agent.created_at,
    updated_at: agent.updated_at,
    ...conversationDefaults,
  };
}
