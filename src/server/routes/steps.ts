import { z } from "@hono/zod-openapi";
import { type StepRecord, steps } from "../../agents/run.ts";
import { scan } from "../../memory/scan.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { pageOfMessages } from "../message-list.ts";
import { pageOf } from "../paging.ts";
import { stepMetricsView, stepView } from "../run-view.ts";
import { idOf, millisecondsOf, optional, pageQuery, time } from "../schemas/common.ts";
import { messageListSchema } from "../schemas/message.ts";
import { stepMetricsSchema, stepSchema } from "../schemas/run.ts";
import type { Services } from "../services.ts";

const params = z.object({ step_id: idOf("step") });

const listQuery = pageQuery("step", { limit: 50, order: "desc" }).extend({
  start_date: time.optional(),
  end_date: time.optional(),
  model: z.string().optional(),
  agent_id: idOf("agent").optional(),
  trace_ids: z.array(z.string()).optional(),
  feedback: z.enum(["positive", "negative"]).optional(),
  has_feedback: z.boolean().optional(),
  tags: z.array(z.string()).optional(),
  project_id: z.string().optional(),
});

const feedbackBody = z
  .object({ feedback: optional(z.enum(["positive", "negative"])), tags: optional(z.array(z.string())) })
  .openapi("ModifyFeedbackRequest");

export function stepRoutes({ store, conversations }: Services): Endpoint[] {
  const tag = "steps";

  return [
    endpoint(
      { method: "get", path: "/v1/steps", summary: "Lists steps", tag, query: listQuery, response: z.array(stepSchema) },
      async ({ query, project }) => {
        // Steps carry no trace and no project of Letta's, so such a filter matches nothing.
        if (query.trace_ids !== undefined || query.project_id !== undefined) return [];
        const [index, prefix] = query.agent_id === undefined ? ["created", []] : ["agent", [query.agent_id]];
        const found = await scan(
          pageOf(query),
          (page) => steps.page(store, project, index, prefix, page),
          (candidates) => candidates.filter((step) => matches(step, query)),
        );
        return found.map(stepView);
      },
    ),
    endpoint(
      { method: "get", path: "/v1/steps/{step_id}", summary: "Reads a step", tag, params, response: stepSchema },
      async ({ params: { step_id }, project }) => stepView(await conversations.step(project, step_id)),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/steps/{step_id}/metrics",
        summary: "Reads how long a step took",
        tag,
        params,
        response: stepMetricsSchema,
      },
      async ({ params: { step_id }, project }) => stepMetricsView(await conversations.step(project, step_id)),
    ),
    // What went to the provider and came back is not kept.
    endpoint(
      {
        method: "get",
        path: "/v1/steps/{step_id}/trace",
        summary: "Reads the provider's trace of a step: none is kept",
        tag,
        params,
        response: z.null(),
      },
      async ({ params: { step_id }, project }) => {
        await conversations.step(project, step_id);
        return null;
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/steps/{step_id}/messages",
        summary: "Lists the messages of a step",
        tag,
        params,
        query: pageQuery("message", { limit: 100, order: "asc" }),
        response: messageListSchema,
      },
      async ({ params: { step_id }, query, project }) => {
        const step = await conversations.step(project, step_id);
        return pageOfMessages(await conversations.stepMessages(project, step), { ...pageOf(query), reverse: query.order === "desc" });
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/steps/{step_id}/feedback",
        summary: "Says whether a step was good",
        tag,
        params,
        body: feedbackBody,
        response: stepSchema,
      },
      async ({ params: { step_id }, body, project }) => {
        const step = await conversations.step(project, step_id);
        return stepView(await conversations.rateStep(project, step_id, body.feedback ?? null, body.tags ?? step.tags));
      },
    ),
  ];
}

function matches(step: StepRecord, query: z.output<typeof listQuery>): boolean {
  const createdAt = Date.parse(step.created_at);
  return (
    (query.start_date === undefined || createdAt >= millisecondsOf(query.start_date)) &&
    (query.end_date === undefined || createdAt <= millisecondsOf(query.end_date)) &&
    (query.model === undefined || step.model === query.model) &&
    (query.feedback === undefined || step.feedback === query.feedback) &&
    (query.has_feedback === undefined || (step.feedback !== null) === query.has_feedback) &&
    (query.tags === undefined || query.tags.some((tag) => step.tags.includes(tag)))
  );
}
