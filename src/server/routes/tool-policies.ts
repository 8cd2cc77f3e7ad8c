import { z } from "@hono/zod-openapi";
import { agents, AgentNotFoundError } from "../../agents/agent.ts";
import { transact } from "../../storage/transaction.ts";
import { type PolicyOwner, readPolicy, replacePolicy } from "../../tools/policy-record.ts";
import { noPolicy, type ToolPolicy } from "../../tools/tool-policy.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { idOf } from "../schemas/common.ts";
import { agentPolicyBody, agentPolicySchema, policyBody, type PolicyChange, policySchema } from "../schemas/policy.ts";
import type { Services } from "../services.ts";

const params = z.object({ agent_id: idOf("agent") });

export function toolPolicyRoutes(services: Services): Endpoint[] {
  const { store, environment } = services;
  const tag = "tools";

  async function replace(project: string, owner: PolicyOwner, { version, ...policy }: PolicyChange): Promise<ToolPolicy> {
    return await transact(store, environment, async (transaction) => {
      if (owner !== "project" && (await agents.get(transaction, project, owner.agentId)) === undefined)
        throw new AgentNotFoundError(`Agent not found: ${owner.agentId}`);
      return await replacePolicy(transaction, project, owner, { ...policy, version: version ?? undefined });
    });
  }

  return [
    endpoint(
      { method: "get", path: "/v1/tool-policy", summary: "Reads the policy for tools of the project", tag, response: policySchema },
      async ({ project }) => await readPolicy(store, project, "project"),
    ),
    endpoint(
      {
        method: "put",
        path: "/v1/tool-policy",
        summary: "Replaces the policy for tools of the project",
        tag,
        body: policyBody,
        response: policySchema,
        audit: "tool_policy.update",
      },
      async ({ body, project }) => await replace(project, "project", body),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/tool-policy",
        summary: "Reads the policy for tools of an agent",
        tag,
        params,
        response: agentPolicySchema,
      },
      async ({ params: { agent_id }, project }) => {
        await services.agents.get(project, agent_id);
        return ofAgent(await readPolicy(store, project, { agentId: agent_id }));
      },
    ),
    endpoint(
      {
        method: "put",
        path: "/v1/agents/{agent_id}/tool-policy",
        summary: "Replaces the policy for tools of an agent",
        tag,
        params,
        body: agentPolicyBody,
        response: agentPolicySchema,
        audit: "tool_policy.update",
      },
      async ({ params: { agent_id }, body, project }) => ofAgent(await replace(project, { agentId: agent_id }, { ...noPolicy, ...body })),
    ),
  ];
}

/** What else a policy has is of a project only. */
function ofAgent({ version, rules }: ToolPolicy): Pick<ToolPolicy, "version" | "rules"> {
  return { version, rules };
}
