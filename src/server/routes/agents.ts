import { z } from "@hono/zod-openapi";
import { type AgentRecord, agents as agentRows } from "../../agents/agent.ts";
import { readBlocks } from "../../memory/block.ts";
import { agentsOfBlock } from "../../memory/block-agents.ts";
import { scan } from "../../memory/scan.ts";
import { agentViewOf, agentViews, allRelationships, type Relationship, relationships, relationshipsFor } from "../agent-view.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound } from "../http-error.ts";
import { PageMemory } from "../page-memory.ts";
import { pageOf } from "../paging.ts";
import { agentSchema } from "../schemas/agent.ts";
import { createAgentSchema, updateAgentSchema } from "../schemas/agent-input.ts";
import { idOf, pageQuery } from "../schemas/common.ts";
import { stopReasons } from "../schemas/message.ts";
import type { Services } from "../services.ts";

const params = z.object({ agent_id: idOf("agent") });
const countMost = 10_000_000;

const includeQuery = {
  include: z.array(z.enum(relationships)).optional(),
  include_relationships: z.array(z.string()).optional().openapi({ deprecated: true }),
};

const listQuery = pageQuery("agent", { limit: 50, order: "desc" }).extend({
  ...includeQuery,
  name: z.string().optional(),
  tags: z.array(z.string()).optional(),
  match_all_tags: z.boolean().default(false),
  query_text: z.string().optional(),
  project_id: z.string().optional(),
  template_id: z.string().optional(),
  base_template_id: z.string().optional(),
  identity_id: z.string().optional(),
  identifier_keys: z.array(z.string()).optional(),
  last_stop_reason: z.enum(stopReasons).optional(),
  created_by_id: z.string().optional(),
  ascending: z.boolean().optional().openapi({ deprecated: true }),
  sort_by: z.string().optional().openapi({ deprecated: true }),
});

export function agentRoutes(services: Services): Endpoint[] {
  const { agents } = services;
  const tag = "agents";
  const memory = new PageMemory();

  async function view(project: string, agent: AgentRecord, include: ReadonlySet<Relationship>): Promise<Record<string, unknown>> {
    return await agentViewOf(services, agent, { project, include, withMessageIds: true });
  }

  return [
    endpoint(
      { method: "get", path: "/v1/agents", summary: "Lists agents", tag, query: listQuery, response: z.array(agentSchema) },
      async ({ query, project, isLegacyClient }) => {
        const { last_stop_reason: stopReason } = query;
        const found = await listAgents(services, memory, project, query);
        const views = await agentViews(services, found, {
          project,
          include: relationshipsFor(query, isLegacyClient),
          withMessageIds: false,
        });
        return stopReason === undefined ? views : views.filter((agent) => agent["last_stop_reason"] === stopReason);
      },
    ),
    endpoint(
      { method: "post", path: "/v1/agents", summary: "Creates an agent", tag, body: createAgentSchema, response: agentSchema },
      async ({ body, project }) => {
        const agent = await agents.create(project, body.create);
        const address = { project, agentId: agent.id, conversationId: "default" };
        if (body.initialMessages.length > 0) await services.conversations.append(address, body.initialMessages);
        return await view(project, agent, new Set(allRelationships));
      },
    ),
    endpoint({ method: "get", path: "/v1/agents/count", summary: "Counts agents", tag, response: z.int() }, async ({ project }) =>
      agents.count(project, countMost),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}",
        summary: "Reads an agent",
        tag,
        params,
        query: z.object(includeQuery),
        response: agentSchema,
      },
      async ({ params: { agent_id }, query, project, isLegacyClient }) =>
        view(project, await agents.get(project, agent_id), relationshipsFor(query, isLegacyClient)),
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}",
        summary: "Changes an agent",
        tag,
        params,
        body: updateAgentSchema,
        response: agentSchema,
      },
      async ({ params: { agent_id }, body, project }) =>
        view(project, await agents.update(project, agent_id, body), new Set(allRelationships)),
    ),
    endpoint(
      { method: "delete", path: "/v1/agents/{agent_id}", summary: "Deletes an agent with its conversations", tag, params },
      async ({ params: { agent_id }, project }) => {
        await agents.delete(project, agent_id);
        await services.mcp.forgetAgent(project, agent_id);
        return null;
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/secrets",
        summary: "Lists the secrets of an agent",
        tag,
        params,
        response: z.array(z.object({ key: z.string(), value: z.string() })),
      },
      async ({ params: { agent_id }, project }) => {
        const secrets = agents.secrets(project, await agents.get(project, agent_id));
        return Object.entries(secrets).map(([key, value]) => ({ key, value }));
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/blocks/{block_id}/agents",
        summary: "Lists the agents that have a block",
        tag: "blocks",
        params: z.object({ block_id: idOf("block") }),
        query: pageQuery("agent", { limit: 50, order: "desc" }).extend(includeQuery),
        response: z.array(agentSchema),
      },
      async ({ params: { block_id }, query, project, isLegacyClient }) => {
        const [block] = await readBlocks(services.store, project, [block_id]);
        if (block === undefined) throw notFound("block", block_id);
        const ids = await agentsOfBlock(services.store, project, block_id, pageOf(query));
        const found = await agentRows.read(services.store, project, ids);
        return await agentViews(
          services,
          found.filter((agent) => agent !== undefined),
          { project, include: relationshipsFor(query, isLegacyClient), withMessageIds: false },
        );
      },
    ),
  ];
}

async function listAgents(
  { agents }: Services,
  memory: PageMemory,
  project: string,
  query: z.output<typeof listQuery>,
): Promise<AgentRecord[]> {
  const page = { ...pageOf(query, memory), ...(query.ascending === undefined ? {} : { reverse: !query.ascending }) };
  const [tag] = query.tags ?? [];
  const isOneTag = tag !== undefined && (query.tags!.length === 1 || query.match_all_tags);
  const order = query.order_by ?? query.sort_by;
  const by =
    query.name !== undefined
      ? { name: query.name }
      : isOneTag
        ? { tag }
        : { index: order === "updated_at" ? ("updated" as const) : ("created" as const) };
  const found = await scan(
    page,
    (each) => agents.page(project, by, each),
    (candidates) => candidates.filter((agent) => matches(agent, query)),
  );
  return memory.remember(found);
}

function matches(agent: AgentRecord, query: z.output<typeof listQuery>): boolean {
  const tags = query.tags ?? [];
  const text = query.query_text?.toLowerCase();
  return (
    (tags.length === 0 ||
      (query.match_all_tags ? tags.every((tag) => agent.tags.includes(tag)) : tags.some((tag) => agent.tags.includes(tag)))) &&
    (text === undefined || agent.name.toLowerCase().includes(text) || (agent.description ?? "").toLowerCase().includes(text)) &&
    (query.project_id === undefined || agent.project_id === query.project_id) &&
    (query.template_id === undefined || agent.template_id === query.template_id) &&
    (query.base_template_id === undefined || agent.base_template_id === query.base_template_id) &&
    (query.identity_id === undefined || agent.identity_ids.includes(query.identity_id)) &&
    // There are no identities, so no agent has one with such a key.
    query.identifier_keys === undefined &&
    (query.created_by_id === undefined || agent.created_by_id === query.created_by_id)
  );
}
