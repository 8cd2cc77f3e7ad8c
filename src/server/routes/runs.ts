import { z } from "@hono/zod-openapi";
import type { Tuple } from "../../base/tuple.ts";
import { conversations } from "../../agents/conversation.ts";
import { isActive, type RunRecord, runs, steps } from "../../agents/run.ts";
import { scan } from "../../memory/scan.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { conflict, HttpError } from "../http-error.ts";
import { pageOfMessages } from "../message-list.ts";
import { pageOf } from "../paging.ts";
import { hasEvents, streamRun } from "../run-stream.ts";
import { runMetricsView, runView, stepView, usageView } from "../run-view.ts";
import { anyObject, idOf, pageQuery } from "../schemas/common.ts";
import { messageListSchema, stopReasons } from "../schemas/message.ts";
import { runMetricsSchema, runSchema, runStatuses, stepSchema, usageStatisticsSchema } from "../schemas/run.ts";
import { resumeSchema } from "../schemas/stream.ts";
import type { Services } from "../services.ts";

const params = z.object({ run_id: idOf("run") });

const listQuery = pageQuery("run", { limit: 100, order: "desc" }).extend({
  agent_id: idOf("agent").optional(),
  agent_ids: z.array(idOf("agent")).optional().openapi({ deprecated: true }),
  statuses: z.array(z.enum(runStatuses)).optional(),
  background: z.boolean().optional(),
  stop_reason: z.enum(stopReasons).optional(),
  conversation_id: z.union([idOf("conv"), z.literal("default")]).optional(),
  active: z.boolean().default(false),
  ascending: z.boolean().optional().openapi({ deprecated: true }),
});

export function runRoutes(services: Services): Endpoint[] {
  const { store, conversations: service } = services;
  const tag = "runs";

  async function list(project: string, query: z.output<typeof listQuery>): Promise<unknown[]> {
    const choice = await chooseIndex(project, query);
    if (choice === undefined) return [];
    const page = { ...pageOf(query), ...(query.ascending === undefined ? {} : { reverse: !query.ascending }) };
    const found = await scan(
      page,
      (each) => runs.page(store, project, choice.index, choice.prefix, each),
      (candidates) => candidates.filter((run) => matches(run, query)),
    );
    return found.map(runView);
  }

  async function chooseIndex(
    project: string,
    query: z.output<typeof listQuery>,
  ): Promise<{ readonly index: string; readonly prefix: Tuple } | undefined> {
    const { conversation_id: conversationId } = query;
    if (conversationId !== undefined && conversationId !== "default") {
      const [conversation] = await conversations.read(store, project, [conversationId]);
      return conversation && { index: "conversation", prefix: [conversation.agent_id, conversationId] };
    }
    if (conversationId !== undefined && query.agent_id !== undefined) return { index: "conversation", prefix: [query.agent_id, "default"] };
    // Few runs are active at a time, so this index is the shortest.
    if (query.active || query.statuses?.every((status) => status === "running" || status === "created") === true)
      return { index: "active", prefix: [] };
    return query.agent_id === undefined ? { index: "created", prefix: [] } : { index: "agent", prefix: [query.agent_id] };
  }

  return [
    endpoint(
      { method: "get", path: "/v1/runs", summary: "Lists runs", tag, query: listQuery, response: z.array(runSchema) },
      async ({ query, project }) => list(project, query),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/runs/active",
        summary: "Lists runs that are in progress",
        tag,
        query: listQuery,
        response: z.array(runSchema),
      },
      async ({ query, project }) => list(project, { ...query, active: true }),
    ),
    endpoint(
      { method: "get", path: "/v1/runs/{run_id}", summary: "Reads a run", tag, params, response: runSchema },
      async ({ params: { run_id }, project }) => runView(await service.run(project, run_id)),
    ),
    endpoint(
      {
        method: "delete",
        path: "/v1/runs/{run_id}",
        summary: "Forgets a run that has ended; its messages stay",
        tag,
        params,
        response: runSchema,
      },
      async ({ params: { run_id }, project }) => {
        const run = await service.run(project, run_id);
        if (isActive(run)) throw conflict(`Cannot delete ${run_id}: it is in progress. Cancel it first`, { run_id });
        await service.deleteRun(project, run_id);
        return runView(run);
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/runs/{run_id}/messages",
        summary: "Lists the messages of a run",
        tag,
        params,
        query: pageQuery("message", { limit: 100, order: "asc" }),
        response: messageListSchema,
      },
      async ({ params: { run_id }, query, project }) => {
        const run = await service.run(project, run_id);
        return pageOfMessages(await service.runMessages(project, run), { ...pageOf(query), reverse: query.order === "desc" });
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/runs/{run_id}/steps",
        summary: "Lists the steps of a run",
        tag,
        params,
        query: pageQuery("step", { limit: 100, order: "desc" }),
        response: z.array(stepSchema),
      },
      async ({ params: { run_id }, query, project }) => {
        await service.run(project, run_id);
        return (await scan(pageOf(query), (page) => steps.page(store, project, "run", [run_id], page))).map(stepView);
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/runs/{run_id}/usage",
        summary: "Counts the tokens of a run",
        tag,
        params,
        response: usageStatisticsSchema,
      },
      async ({ params: { run_id }, project }) => usageView((await service.run(project, run_id)).kelpie.usage),
    ),
    endpoint(
      { method: "get", path: "/v1/runs/{run_id}/metrics", summary: "Reads how long a run took", tag, params, response: runMetricsSchema },
      async ({ params: { run_id }, project }) => runMetricsView(await service.run(project, run_id)),
    ),
    // Spans go to OpenTelemetry where one is configured; none are kept here.
    endpoint(
      {
        method: "get",
        path: "/v1/runs/{run_id}/trace",
        summary: "Reads the spans of a run: none are kept",
        tag,
        params,
        query: z.object({ limit: z.int().min(1).optional() }),
        response: z.array(anyObject),
      },
      async ({ params: { run_id }, project }) => {
        await service.run(project, run_id);
        return [];
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/runs/{run_id}/stream",
        summary: "Follows a run from any of its events on",
        tag,
        params,
        body: resumeSchema,
        bodyOptional: true,
        streams: true,
      },
      async ({ params: { run_id }, body, project }) => {
        const run = await service.run(project, run_id);
        if (!isActive(run) && !(await hasEvents(services, project, run_id)))
          throw new HttpError(410, {
            detail: `The events of ${run_id} are no longer kept. Its messages are: GET /v1/runs/${run_id}/messages`,
          });
        return streamRun(services, { project, runId: run_id, after: body?.starting_after ?? 0, includePings: body?.include_pings ?? true });
      },
    ),
  ];
}

function matches(run: RunRecord, query: z.output<typeof listQuery>): boolean {
  return (
    (!query.active || isActive(run)) &&
    (query.agent_id === undefined || run.agent_id === query.agent_id) &&
    (query.agent_ids === undefined || query.agent_ids.includes(run.agent_id)) &&
    (query.conversation_id === undefined || (run.conversation_id ?? "default") === query.conversation_id) &&
    (query.statuses === undefined || query.statuses.includes(run.status)) &&
    (query.background === undefined || run.background === query.background) &&
    (query.stop_reason === undefined || run.stop_reason === query.stop_reason)
  );
}
