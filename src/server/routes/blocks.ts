import { z } from "@hono/zod-openapi";
import { countBlocks, createBlock, deleteBlock, listBlocks, readBlocks, updateBlock } from "../../memory/block.ts";
import { transact } from "../../storage/transaction.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound } from "../http-error.ts";
import { PageMemory } from "../page-memory.ts";
import { pageOf } from "../paging.ts";
import { blockSchema, createBlockSchema, updateBlockSchema } from "../schemas/block.ts";
import { idOf, pageQuery } from "../schemas/common.ts";
import type { Services } from "../services.ts";

const params = z.object({ block_id: idOf("block") });
const countMost = 1_000_000;

const listQuery = pageQuery("block", { limit: 50, order: "asc" }).extend({
  label: z.string().optional(),
  templates_only: z.boolean().default(false),
  name: z.string().optional(),
  identity_id: z.string().optional(),
  identifier_keys: z.array(z.string()).optional(),
  project_id: z.string().optional(),
  tags: z.array(z.string()).optional(),
  match_all_tags: z.boolean().default(false),
  label_search: z.string().optional(),
  description_search: z.string().optional(),
  value_search: z.string().optional(),
  connected_to_agents_count_gt: z.int().optional(),
  connected_to_agents_count_lt: z.int().optional(),
  connected_to_agents_count_eq: z.array(z.int()).optional(),
});

export function blockRoutes({ store, environment }: Services): Endpoint[] {
  const tag = "blocks";
  const memory = new PageMemory();
  return [
    endpoint(
      { method: "get", path: "/v1/blocks", summary: "Lists blocks", tag, query: listQuery, response: z.array(blockSchema) },
      async ({ query, project }) => {
        // Blocks are not connected to identities here, so such a filter matches nothing.
        if (query.identity_id !== undefined || query.identifier_keys !== undefined) return [];
        return memory.remember(await listBlocks(store, project, query, pageOf(query, memory)));
      },
    ),
    endpoint(
      { method: "post", path: "/v1/blocks", summary: "Creates a block", tag, body: createBlockSchema, response: blockSchema },
      async ({ body, project }) =>
        transact(store, environment, async (transaction) => createBlock(transaction, environment, project, body)),
    ),
    endpoint({ method: "get", path: "/v1/blocks/count", summary: "Counts blocks", tag, response: z.int() }, async ({ project }) =>
      countBlocks(store, project, countMost),
    ),
    endpoint(
      { method: "get", path: "/v1/blocks/{block_id}", summary: "Reads a block", tag, params, response: blockSchema },
      async ({ params: { block_id }, project }) => {
        const [block] = await readBlocks(store, project, [block_id]);
        if (block === undefined) throw notFound("block", block_id);
        return block;
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/blocks/{block_id}",
        summary: "Changes a block",
        tag,
        params,
        body: updateBlockSchema,
        response: blockSchema,
      },
      async ({ params: { block_id }, body, project }) =>
        transact(store, environment, async (transaction) => updateBlock(transaction, environment, project, block_id, body)),
    ),
    endpoint(
      { method: "delete", path: "/v1/blocks/{block_id}", summary: "Deletes a block", tag, params },
      async ({ params: { block_id }, project }) => {
        await transact(store, environment, async (transaction) => deleteBlock(transaction, project, block_id));
        return null;
      },
    ),
  ];
}
