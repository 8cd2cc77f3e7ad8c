import { z } from "@hono/zod-openapi";
import { agentOf } from "../../agents/agent.ts";
import type { AgentRecord } from "../../agents/agent.ts";
import { defaultArchive, detachArchive } from "../../memory/archive.ts";
import { type BlockRecord, readBlocks, updateBlock } from "../../memory/block.ts";
import { deletePassage, insertPassages, listPassages, searchPassages } from "../../memory/passage.ts";
import { transact } from "../../storage/transaction.ts";
import { agentViewOf, allRelationships } from "../agent-view.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { HttpError, notFound, show } from "../http-error.ts";
import { PageMemory } from "../page-memory.ts";
import { pageOf, pageOfAttached } from "../paging.ts";
import { agentSchema } from "../schemas/agent.ts";
import { archivalSearchSchema, passageSchema } from "../schemas/archive.ts";
import { blockSchema, updateBlockSchema } from "../schemas/block.ts";
import { idOf, millisecondsOf, pageEntriesMax, pageLimit, pageQuery, time } from "../schemas/common.ts";
import { createPassageSchema } from "../schemas/passage.ts";
import type { Services } from "../services.ts";

const params = z.object({ agent_id: idOf("agent") });
const blockParams = z.object({ agent_id: idOf("agent"), block_id: idOf("block") });
const labelParams = z.object({ agent_id: idOf("agent"), block_label: z.string() });
const archiveParams = z.object({ agent_id: idOf("agent"), archive_id: idOf("archive") });
const memoryParams = z.object({ agent_id: idOf("agent"), memory_id: idOf("passage") });

const passageQuery = z.object({
  after: idOf("passage").optional(),
  before: idOf("passage").optional(),
  limit: pageLimit(100),
  search: z.string().optional(),
  ascending: z.boolean().default(true),
});

const searchQuery = z.object({
  query: z.string(),
  tags: z.array(z.string()).optional(),
  tag_match_mode: z.enum(["any", "all"]).default("any"),
  top_k: z.int().min(1).max(pageEntriesMax).optional(),
  start_datetime: time.optional(),
  end_datetime: time.optional(),
});
const searchResultsDefault = 10;

/** An agent's core memory and its archival memory. */
export function agentMemoryRoutes(services: Services): Endpoint[] {
  const { store, environment, agents } = services;
  const tag = "agents";
  const memory = new PageMemory();

  async function view(project: string, agent: AgentRecord): Promise<Record<string, unknown>> {
    return await agentViewOf(services, agent, { project, include: new Set(allRelationships), withMessageIds: true });
  }

  async function blockByLabel(project: string, agentId: string, label: string): Promise<BlockRecord> {
    const agent = await agents.get(project, agentId);
    const block = (await readBlocks(store, project, agent.block_ids)).find((each) => each.label === label);
    if (block === undefined)
      throw new HttpError(404, { detail: `NOT_FOUND: Block with label ${show(label)} not found for agent ${agentId}` });
    return block;
  }

  return [
    endpoint(
      { method: "get", path: "/v1/agents/{agent_id}/core-memory", summary: "Reads the core memory of an agent", tag, params },
      async ({ params: { agent_id }, project }) => {
        const agent = await view(project, await agents.get(project, agent_id));
        return agent["memory"];
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/core-memory/blocks",
        summary: "Lists the blocks of an agent",
        tag,
        params,
        query: pageQuery("block", { limit: 100, order: "desc" }),
        response: z.array(blockSchema),
      },
      async ({ params: { agent_id }, query, project }) => {
        const agent = await agents.get(project, agent_id);
        const blocks = await readBlocks(store, project, agent.block_ids);
        return await pageOfAttached(blocks, query, (ids) => readBlocks(store, project, ids));
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/core-memory/blocks/attach/{block_id}",
        summary: "Gives an agent a block",
        tag,
        params: blockParams,
        response: agentSchema,
      },
      async ({ params: { agent_id, block_id }, project }) => view(project, await agents.attachBlock(project, agent_id, block_id)),
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/core-memory/blocks/detach/{block_id}",
        summary: "Takes a block from an agent",
        tag,
        params: blockParams,
        response: agentSchema,
      },
      async ({ params: { agent_id, block_id }, project }) => view(project, await agents.detachBlock(project, agent_id, block_id)),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/core-memory/blocks/{block_label*}",
        summary: "Reads a block of an agent by its label",
        tag,
        params: labelParams,
        response: blockSchema,
      },
      async ({ params: { agent_id, block_label }, project }) => blockByLabel(project, agent_id, block_label),
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/core-memory/blocks/{block_label*}",
        summary: "Changes a block of an agent by its label",
        tag,
        params: labelParams,
        body: updateBlockSchema,
        response: blockSchema,
      },
      async ({ params: { agent_id, block_label }, body, project }) => {
        const { id } = await blockByLabel(project, agent_id, block_label);
        return await transact(store, environment, async (transaction) => updateBlock(transaction, environment, project, id, body));
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/archives/attach/{archive_id}",
        summary: "Gives an agent an archive",
        tag,
        params: archiveParams,
      },
      async ({ params: { agent_id, archive_id }, project }) => {
        await agents.attachArchive(project, agent_id, archive_id);
        return null;
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/agents/{agent_id}/archives/detach/{archive_id}",
        summary: "Takes an archive from an agent",
        tag,
        params: archiveParams,
      },
      async ({ params: { agent_id, archive_id }, project }) => {
        await transact(store, environment, async (transaction) =>
          detachArchive(transaction, project, archive_id, await agentOf(transaction, project, agent_id)),
        );
        return null;
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/archival-memory",
        summary: "Lists the passages of an agent",
        tag,
        params,
        query: passageQuery,
        response: z.array(passageSchema),
      },
      async ({ params: { agent_id }, query, project }) => {
        const [archiveId] = (await agents.get(project, agent_id)).archive_ids;
        if (archiveId === undefined) return [];
        return memory.remember(
          await listPassages(
            store,
            project,
            archiveId,
            { search: query.search },
            pageOf({ ...query, order: query.ascending ? "asc" : "desc" }, memory),
          ),
        );
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/agents/{agent_id}/archival-memory",
        summary: "Adds a passage to an agent's archive",
        tag,
        params,
        body: createPassageSchema,
        response: z.array(passageSchema),
      },
      async ({ params: { agent_id }, body, project }) =>
        transact(store, environment, async (transaction) => {
          const archive = await defaultArchive(transaction, environment, project, await agentOf(transaction, project, agent_id));
          return insertPassages(transaction, environment, project, archive.id, [body]);
        }),
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/archival-memory/search",
        summary: "Searches the passages of an agent",
        tag,
        params,
        query: searchQuery,
        response: archivalSearchSchema,
      },
      async ({ params: { agent_id }, query, project }) => {
        const [archiveId] = (await agents.get(project, agent_id)).archive_ids;
        if (archiveId === undefined) return { results: [], count: 0 };
        const found = await searchPassages(store, project, archiveId, {
          query: query.query,
          tags: query.tags,
          tag_match_mode: query.tag_match_mode,
          limit: query.top_k ?? searchResultsDefault,
          from: query.start_datetime === undefined ? undefined : millisecondsOf(query.start_datetime),
          to: query.end_datetime === undefined ? undefined : millisecondsOf(query.end_datetime),
        });
        const results = found.map(({ passage }) => ({
          id: passage.id,
          timestamp: passage.created_at,
          content: passage.text,
          tags: passage.tags,
        }));
        return { results, count: results.length };
      },
    ),
    endpoint(
      {
        method: "delete",
        path: "/v1/agents/{agent_id}/archival-memory/{memory_id}",
        summary: "Deletes a passage of an agent",
        tag,
        params: memoryParams,
      },
      async ({ params: { agent_id, memory_id }, project }) => {
        await transact(store, environment, async (transaction) => {
          const agent = await agentOf(transaction, project, agent_id);
          const passage = await deletePassage(transaction, project, memory_id);
          if (!agent.archive_ids.includes(passage.archive_id)) throw notFound("passage", memory_id);
        });
        return null;
      },
    ),
  ];
}
