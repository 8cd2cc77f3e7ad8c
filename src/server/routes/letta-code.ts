/** Small answers that letta-code asks for, newer than V1, so that it does not take their absence for a fault. */
import { z } from "@hono/zod-openapi";
import { agents } from "../../agents/agent.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound } from "../http-error.ts";
import { idOf } from "../schemas/common.ts";
import type { Services } from "../services.ts";

const params = z.object({ agent_id: idOf("agent") });

export function lettaCodeRoutes({ store }: Services): Endpoint[] {
  const tag = "letta-code";

  async function checkAgent(project: string, id: string): Promise<void> {
    const [agent] = await agents.read(store, project, [id]);
    if (agent === undefined) throw notFound("agent", id);
  }

  return [
    endpoint(
      { method: "get", path: "/v1/agents/{agent_id}/secrets", summary: "Lists the secrets of an agent", tag, params },
      async ({ params: { agent_id }, project }) => {
        const [agent] = await agents.read(store, project, [agent_id]);
        if (agent === undefined) throw notFound("agent", agent_id);
        return Object.entries(agent.secrets).map(([key, value]) => ({ key, value }));
      },
    ),
    endpoint(
      { method: "get", path: "/v1/agents/{agent_id}/mcp-servers", summary: "Lists the MCP servers of an agent: none", tag, params },
      async ({ params: { agent_id }, project }) => {
        await checkAgent(project, agent_id);
        return [];
      },
    ),
    endpoint(
      { method: "get", path: "/v1/agents/{agent_id}/repositories", summary: "Lists the repositories of an agent: none", tag, params },
      async ({ params: { agent_id }, project }) => {
        await checkAgent(project, agent_id);
        return { repositories: [] };
      },
    ),
    endpoint({ method: "get", path: "/v1/repositories", summary: "Lists repositories: none", tag }, async () => ({ repositories: [] })),
    endpoint({ method: "get", path: "/v1/mcp-servers", summary: "Lists MCP servers: none", tag }, async () => []),
  ];
}
