import { z } from "@hono/zod-openapi";
import { readTools } from "../../tools/tool-record.ts";
import { agentViewOf, allRelationships } from "../agent-view.ts";
import type { AgentRecord } from "../../agents/agent.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { HttpError, show, unprocessable } from "../http-error.ts";
import { pageOfAttached } from "../paging.ts";
import { runTool } from "../run-tool.ts";
import { agentSchema } from "../schemas/agent.ts";
import { idOf, optional, pageQuery } from "../schemas/common.ts";
import { toolResultSchema, toolRunBody, toolSchema } from "../schemas/tool.ts";
import type { Services } from "../services.ts";

const params = z.object({ agent_id: idOf("agent") });
const toolParams = z.object({ agent_id: idOf("agent"), tool_id: idOf("tool") });
const nameParams = z.object({ agent_id: idOf("agent"), tool_name: z.string() });

/** SDK 1.12.1 sends the field under the second name. */
const approvalBody = z
  .object({ requires_approval: optional(z.boolean()), body_requires_approval: optional(z.boolean()) })
  .openapi("ModifyApprovalRequest");
const approvalQuery = z.object({ requires_approval: z.boolean().optional().openapi({ deprecated: true }) });
const agentOrNull = z.union([agentSchema, z.null()]);

export function agentToolRoutes(services: Services): Endpoint[] {
  const { store, agents } = services;
  const tag = "agents";

  /** Clients since SDK 1.0 get `null` for a change of tools, those before it the whole agent. */
  async function answer(project: string, agent: AgentRecord, isLegacyClient: boolean): Promise<unknown> {
    return isLegacyClient
      ? await agentViewOf(services, agent, { project, include: new Set(allRelationships), withMessageIds: true })
      : null;
  }

  return [
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/tools",
        summary: "Lists the tools of an agent",
        tag,
        params,
        query: pageQuery("tool", { limit: 10, order: "desc" }),
        response: z.array(toolSchema),
      },
      async ({ params: { agent_id }, query, project }) =>
        pageOfAttached(await readTools(store, project, (await agents.get(project, agent_id)).tool_ids), query, (ids) =>
          readTools(store, project, ids),
        ),
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/tools/attach/{tool_id}",
        summary: "Gives an agent a tool",
        tag,
        params: toolParams,
        response: agentOrNull,
      },
      async ({ params: { agent_id, tool_id }, project, isLegacyClient }) =>
        answer(project, await agents.attachTool(project, agent_id, tool_id), isLegacyClient),
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/tools/detach/{tool_id}",
        summary: "Takes a tool from an agent",
        tag,
        params: toolParams,
        response: agentOrNull,
      },
      async ({ params: { agent_id, tool_id }, project, isLegacyClient }) =>
        answer(project, await agents.detachTool(project, agent_id, tool_id), isLegacyClient),
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/tools/approval/{tool_name}",
        summary: "Says whether calls of a tool wait for approval",
        tag,
        params: nameParams,
        query: approvalQuery,
        body: approvalBody,
        bodyOptional: true,
        response: agentOrNull,
      },
      async ({ params: { agent_id, tool_name }, query, body, project, isLegacyClient }) => {
        const required = body?.requires_approval ?? body?.body_requires_approval ?? query.requires_approval;
        if (required === undefined) throw unprocessable("body.requires_approval: required, expected boolean");
        return await answer(project, await agents.setApproval(project, agent_id, tool_name, required), isLegacyClient);
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/tools/{tool_name}/run",
        summary: "Runs a tool of an agent",
        tag,
        params: nameParams,
        body: toolRunBody,
        response: toolResultSchema,
      },
      async ({ params: { agent_id, tool_name }, body, project, signal }) => {
        const agent = await agents.get(project, agent_id);
        const record = (await readTools(store, project, agent.tool_ids)).find((tool) => tool.name === tool_name);
        if (record === undefined)
          throw new HttpError(404, { detail: `NOT_FOUND: Tool ${show(tool_name)} not found or not attached to agent ${agent_id}` });
        const secrets = agents.secrets(project, agent);
        return await runTool(services, { project, agentId: agent_id, record, args: body.args ?? {}, secrets }, signal);
      },
    ),
  ];
}
