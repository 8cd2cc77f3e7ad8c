import { z } from "@hono/zod-openapi";
import { requestHash } from "../../agents/approval.ts";
import { NotFoundError } from "../../agents/conversation-service.ts";
import { type ApprovalRequest, findApproval, pageApprovals } from "../../agents/waiting-approval.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { conflict, notFound, unprocessable } from "../http-error.ts";
import { PageMemory } from "../page-memory.ts";
import { pageOf } from "../paging.ts";
import { runView } from "../run-view.ts";
import { approvalSchema, decisionBody } from "../schemas/approval.ts";
import { idOf, pageQuery } from "../schemas/common.ts";
import { sendSchema } from "../schemas/message-input.ts";
import { runSchema } from "../schemas/run.ts";
import { startRun } from "../send.ts";
import type { Services } from "../services.ts";

const params = z.object({ approval_id: idOf("message") });
const listQuery = pageQuery("message", { limit: 20, order: "asc" }).extend({ agent_id: idOf("agent").optional() });

/** Each is read with its calls, which may be large. */
const pageApprovalsMax = 50;
const listedArgumentsCharactersMax = 2_000;

/** What the message API makes of an answer. */
const asyncSend = sendSchema("ApprovalSend", "never");

export function approvalRoutes(services: Services): Endpoint[] {
  const { store, conversations } = services;
  const tag = "approvals";
  const memory = new PageMemory();

  /** @throws {HttpError} 404, 409 */
  async function waiting(project: string, id: string): Promise<ApprovalRequest> {
    const request = await findApproval(store, project, id);
    if (request !== undefined) return request;
    const asked = await conversations.message(project, id).catch((error: unknown) => {
      if (error instanceof NotFoundError) return undefined;
      throw error;
    });
    if (asked?.body.role !== "approval") throw notFound("approval", id);
    throw conflict(`${id} does not wait for an approval any more: it was approved, denied or cancelled`);
  }

  return [
    endpoint(
      {
        method: "get",
        path: "/v1/approvals",
        summary: `Lists what waits for a person's approval, at most ${pageApprovalsMax} at a time`,
        tag,
        query: listQuery,
        response: z.array(approvalSchema),
      },
      async ({ query, project }) => {
        const page = { ...pageOf(query, memory), limit: Math.min(query.limit, pageApprovalsMax) };
        const found = await pageApprovals(store, project, query.agent_id, page);
        if (found === undefined)
          throw unprocessable("query: the cursor (after or before) names nothing in this list: use an id from an earlier page");
        memory.remember(found.map(({ pending: _, ...row }) => row));
        return found.map((request) => approvalView(request, listedArgumentsCharactersMax));
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/approvals/{approval_id}",
        summary: "Reads what waits for a person's approval",
        tag,
        params,
        response: approvalSchema,
      },
      async ({ params: { approval_id }, project }) => approvalView(await waiting(project, approval_id), Infinity),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/approvals/{approval_id}",
        summary: "Approves or denies calls, and answers with the run that goes on",
        tag,
        params,
        body: decisionBody,
        response: runSchema,
        audit: "approval.decide",
      },
      async ({ params: { approval_id }, body, project }) => {
        const { pending, agent_id: agentId, conversation_id: conversationId } = await waiting(project, approval_id);
        const gated = pending.calls.filter((call) => call.gated);
        if (body.hash != null && body.hash !== requestHash(pending.calls))
          throw conflict(
            `The hash is not the one of ${approval_id}: it is for another request, or for other arguments. Read the approval again`,
          );
        if (gated.some(({ client }) => client))
          throw conflict(
            `${approval_id} also waits for results of tools that the client has (${gated.flatMap(({ client, call }) => (client ? [call.name] : [])).join(", ")}): answer it with a message to the conversation`,
          );
        const approvals =
          body.decisions ??
          gated.map(({ call }) => ({ tool_call_id: call.tool_call_id, approve: body.approve === true, reason: body.reason }));
        const send = asyncSend.parse({
          messages: [
            { type: "approval", approval_request_id: approval_id, approvals: approvals.map((each) => ({ type: "approval", ...each })) },
          ],
          background: true,
        });
        const runId = await startRun(services, { project, agentId, conversationId }, send);
        return runView(await conversations.run(project, runId));
      },
    ),
  ];
}

function approvalView({ pending, ...request }: ApprovalRequest, argumentsCharactersMax: number): Record<string, unknown> {
  return {
    ...request,
    conversation_id: request.conversation_id === "default" ? null : request.conversation_id,
    run_id: pending.runId,
    step_id: pending.stepId,
    expires_at: pending.expiresAt === undefined ? null : new Date(pending.expiresAt).toISOString(),
    hash: requestHash(pending.calls),
    calls: pending.calls.map(({ call, gated, client }) => ({
      tool_call_id: call.tool_call_id,
      name: call.name,
      arguments: call.arguments.slice(0, argumentsCharactersMax).toWellFormed(),
      arguments_cut: call.arguments.length > argumentsCharactersMax,
      waits_for: client ? "client" : gated ? "approval" : null,
    })),
  };
}
