import { z } from "@hono/zod-openapi";
import type { ConversationAddress } from "../../agents/conversation.ts";
import { isActive } from "../../agents/run.ts";
import { agentViewOf, allRelationships } from "../agent-view.ts";
import { contextOverview } from "../context-overview.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { generateText } from "../generate.ts";
import { conflict, unprocessable } from "../http-error.ts";
import { listMessages } from "../message-list.ts";
import { runView } from "../run-view.ts";
import { agentSchema, contextOverviewSchema } from "../schemas/agent.ts";
import { compactionSettingsSchema } from "../schemas/agent-input.ts";
import { idOf, optional, pageQuery } from "../schemas/common.ts";
import { compactionSchema, lettaResponseSchema, messageListSchema, messageTypes, usageSchema } from "../schemas/message.ts";
import { sendSchema } from "../schemas/message-input.ts";
import { runSchema } from "../schemas/run.ts";
import { sendAndAnswer, startRun } from "../send.ts";
import type { Services } from "../services.ts";

const params = z.object({ agent_id: idOf("agent") });

const listQuery = pageQuery("message", { limit: 100, order: "desc" }).extend({
  group_id: z.string().optional(),
  conversation_id: z.union([idOf("conv"), z.literal("default")]).optional(),
  include_err: z.boolean().optional(),
  include_return_message_types: z.array(z.enum(messageTypes)).optional(),
  use_assistant_message: z.boolean().optional().openapi({ deprecated: true }),
  assistant_message_tool_name: z.string().optional().openapi({ deprecated: true }),
  assistant_message_tool_kwarg: z.string().optional().openapi({ deprecated: true }),
});

const cancelBody = z.object({ run_ids: optional(z.array(idOf("run"))) }).openapi("CancelAgentRunRequest");
const resetBody = z.object({ add_default_initial_messages: optional(z.boolean()) }).openapi("ResetMessagesRequest");
const compactBody = z.object({ compaction_settings: optional(compactionSettingsSchema) }).openapi("CompactionRequest");
const recompileQuery = z.object({ update_timestamp: z.boolean().default(false), dry_run: z.boolean().default(false) });
const generateBody = z
  .object({ prompt: z.string(), system_prompt: optional(z.string()), override_model: optional(z.string()) })
  .openapi("GenerateRequest");
const generateSchema = z.object({ content: z.string(), model: z.string(), usage: usageSchema }).openapi("GenerateResponse");

/** What goes to an agent's default conversation. */
export function agentMessageRoutes(services: Services): Endpoint[] {
  const { store, agents, conversations } = services;
  const tag = "agents";

  const defaultOf = (project: string, agentId: string): Promise<ConversationAddress> => conversations.address(project, "default", agentId);

  async function recompile(project: string, agentId: string, dryRun: boolean): Promise<string> {
    return await conversations.recompile(await defaultOf(project, agentId), dryRun);
  }

  /** The runs asked for, or every active one of the agent, in whatever conversation. */
  async function cancel(project: string, agentId: string, runIds: readonly string[] | undefined): Promise<Record<string, string>> {
    await agents.get(project, agentId);
    const active =
      runIds === undefined ? await activeRuns(project, agentId) : await Promise.all(runIds.map((id) => conversations.run(project, id)));
    const mine = active.filter((run) => run.agent_id === agentId);
    const outcomes = await Promise.all(
      mine.map(
        async (run) =>
          [run.id, await conversations.cancel({ project, agentId, conversationId: run.conversation_id ?? "default" }, [run.id])] as const,
      ),
    );
    const cancelled = outcomes.filter(([, outcome]) => outcome.ok).map(([id]) => [id, "cancelled"] as const);
    // A default conversation that only waits for an approval has no active run, and can be cancelled too.
    if (cancelled.length === 0 && runIds === undefined) {
      const outcome = await conversations.cancel(await defaultOf(project, agentId), null);
      if (outcome.ok) return { [outcome.runId]: "cancelled" };
    }
    if (cancelled.length === 0) throw conflict("Cannot cancel: there is no active run");
    return Object.fromEntries(cancelled);
  }

  async function activeRuns(project: string, agentId: string): Promise<Awaited<ReturnType<typeof conversations.run>>[]> {
    const newest = await conversations.runPage(project, { agentId }, { limit: newestRunsLookedAt, reverse: true });
    return (newest ?? []).filter(isActive);
  }

  return [
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/messages",
        summary: "Sends messages to an agent",
        tag,
        params,
        body: sendSchema("LettaStreamingRequest", false),
        response: lettaResponseSchema,
        streams: true,
      },
      async ({ params: { agent_id }, body, project, signal, isLegacyClient }) => {
        if (body.streaming && isLegacyClient)
          throw unprocessable("body.streaming: expected false, as this client is older than SDK 1.0: use the path /messages/stream");
        return await sendAndAnswer(services, await defaultOf(project, agent_id), body, signal);
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/messages/stream",
        summary: "Sends messages to an agent and streams its answer",
        tag,
        params,
        body: sendSchema("LettaStreamRequest", "always"),
        streams: true,
      },
      async ({ params: { agent_id }, body, project, signal }) => sendAndAnswer(services, await defaultOf(project, agent_id), body, signal),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/messages/async",
        summary: "Sends messages to an agent and answers at once with the run",
        tag,
        params,
        body: sendSchema("LettaAsyncRequest", "never"),
        response: runSchema,
      },
      async ({ params: { agent_id }, body, project }) => {
        const runId = await startRun(services, await defaultOf(project, agent_id), { ...body, background: true });
        return runView(await conversations.run(project, runId));
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/messages/cancel",
        summary: "Cancels runs of an agent",
        tag,
        params,
        body: cancelBody,
        bodyOptional: true,
      },
      async ({ params: { agent_id }, body, project }) => cancel(project, agent_id, body?.run_ids ?? undefined),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/messages",
        summary: "Lists messages of an agent, the oldest of the page first",
        tag,
        params,
        query: listQuery,
        response: messageListSchema,
      },
      async ({ params: { agent_id }, query, project }) => {
        await agents.get(project, agent_id);
        const conversationId = query.conversation_id;
        const scope =
          conversationId === undefined ? { agentId: agent_id } : { conversation: conversationId === "default" ? agent_id : conversationId };
        // V1: cursors are chronological whatever the order, which only says from which end the page is taken.
        const newestFirst = query.order === "desc";
        const [after, before] = newestFirst ? [query.before, query.after] : [query.after, query.before];
        const page = {
          limit: query.limit,
          reverse: newestFirst,
          ...(after === undefined ? {} : { after }),
          ...(before === undefined ? {} : { before }),
        };
        const messages = await listMessages(store, project, scope, page, query.include_return_message_types);
        return (newestFirst ? messages.toReversed() : messages).flat();
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/reset-messages",
        summary: "Deletes the messages of an agent's default conversation",
        tag,
        params,
        body: resetBody,
        bodyOptional: true,
        response: z.union([agentSchema, z.null()]),
      },
      async ({ params: { agent_id }, project, isLegacyClient }) => {
        await conversations.reset(await defaultOf(project, agent_id));
        if (!isLegacyClient) return null;
        return await agentViewOf(services, await agents.get(project, agent_id), {
          project,
          include: new Set(allRelationships),
          withMessageIds: true,
        });
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/summarize",
        summary: "Puts a summary in the place of an agent's old messages",
        tag,
        params,
        body: compactBody,
        bodyOptional: true,
        response: compactionSchema,
      },
      async ({ params: { agent_id }, body, project, signal }) => {
        const outcome = await conversations.compact(await defaultOf(project, agent_id), body?.compaction_settings ?? null, signal);
        return { summary: outcome.summary, num_messages_before: outcome.messagesBefore, num_messages_after: outcome.messagesAfter };
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/recompile",
        summary: "Renders the system message anew",
        tag,
        params,
        query: recompileQuery,
        response: z.string(),
      },
      async ({ params: { agent_id }, query, project }) => recompile(project, agent_id, query.dry_run),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/system-prompt/recompile",
        summary: "Renders the system message anew",
        tag,
        params,
        query: recompileQuery,
        response: z.string(),
      },
      async ({ params: { agent_id }, query, project }) => recompile(project, agent_id, query.dry_run),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/context",
        summary: "Says what fills an agent's context window",
        tag,
        params,
        query: z.object({ conversation_id: idOf("conv").optional() }),
        response: contextOverviewSchema,
      },
      async ({ params: { agent_id }, query, project }) =>
        contextOverview(services, await conversations.address(project, query.conversation_id ?? "default", agent_id)),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/generate",
        summary: "Asks an agent's model, without the agent",
        tag,
        params,
        body: generateBody,
        response: generateSchema,
      },
      async ({ params: { agent_id }, body, project, signal }) => {
        const agent = await agents.get(project, agent_id);
        return await generateText(
          services,
          { handle: body.override_model ?? agent.model, system: body.system_prompt ?? undefined, prompt: body.prompt },
          signal,
        );
      },
    ),
  ];
}

/** More conversations of one agent are hardly at work at once. */
const newestRunsLookedAt = 1_000;
