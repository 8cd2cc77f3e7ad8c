import { z } from "@hono/zod-openapi";
import { transact } from "../../storage/transaction.ts";
import { countTools, createTool, deleteTool, listTools, readTools, searchTools, updateTool, upsertTool } from "../../tools/tool-record.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound } from "../http-error.ts";
import { PageMemory } from "../page-memory.ts";
import { pageOf } from "../paging.ts";
import { idOf, jsonObject, jsonValue, nullable, optional, pageEntriesMax, pageQuery } from "../schemas/common.ts";
import { toolSchema, toolTypes } from "../schemas/tool.ts";
import type { Services } from "../services.ts";

const params = z.object({ tool_id: idOf("tool") });
const countMost = 1_000_000;
const searchLimitDefault = 50;

const fields = {
  description: optional(z.string()),
  tags: optional(z.array(z.string())),
  source_type: optional(z.string()),
  json_schema: optional(jsonObject),
  args_json_schema: optional(jsonObject),
  return_char_limit: optional(z.int()),
  pip_requirements: optional(z.array(jsonValue)),
  npm_requirements: optional(z.array(jsonValue)),
  default_requires_approval: optional(z.boolean()),
  enable_parallel_execution: optional(z.boolean()),
};
const createBody = z.object({ ...fields, source_code: z.string() }).openapi("ToolCreate");
const updateBody = z.object({ ...fields, source_code: optional(z.string()), metadata_: optional(jsonObject) }).openapi("ToolUpdate");

const listQuery = pageQuery("tool", { limit: 50, order: "desc" }).extend({
  name: z.string().optional(),
  names: z.array(z.string()).optional(),
  tool_ids: z.array(idOf("tool")).optional(),
  search: z.string().optional(),
  tool_types: z.array(z.enum(toolTypes)).optional(),
  exclude_tool_types: z.array(z.enum(toolTypes)).optional(),
  return_only_letta_tools: z.boolean().default(false),
});

/** There is one search, by words: every mode means it. */
const searchBody = z
  .object({
    query: optional(z.string()),
    search_mode: optional(z.enum(["vector", "fts", "hybrid"])),
    tool_types: optional(z.array(z.string())),
    tags: optional(z.array(z.string())),
    limit: optional(z.int().min(1).max(pageEntriesMax)),
  })
  .openapi("ToolSearchRequest");

const searchResult = z
  .object({
    tool: toolSchema,
    combined_score: z.number(),
    embedded_text: nullable(z.string()),
    fts_rank: nullable(z.int()),
    vector_rank: nullable(z.int()),
  })
  .openapi("ToolSearchResult");

export function toolRoutes({ store, environment, tools }: Services): Endpoint[] {
  const tag = "tools";
  const memory = new PageMemory();
  return [
    endpoint(
      { method: "get", path: "/v1/tools", summary: "Lists tools", tag, query: listQuery, response: z.array(toolSchema) },
      async ({ query, project }) => memory.remember(await listTools(store, project, query, pageOf(query, memory))),
    ),
    endpoint(
      { method: "post", path: "/v1/tools", summary: "Creates a tool", tag, body: createBody, response: toolSchema, audit: "tool.create" },
      async ({ body, project }) => transact(store, environment, async (transaction) => createTool(transaction, environment, project, body)),
    ),
    endpoint(
      {
        method: "put",
        path: "/v1/tools",
        summary: "Creates a tool, or changes the one of its name",
        tag,
        body: createBody,
        response: toolSchema,
        audit: "tool.upsert",
      },
      async ({ body, project }) => transact(store, environment, async (transaction) => upsertTool(transaction, environment, project, body)),
    ),
    endpoint({ method: "get", path: "/v1/tools/count", summary: "Counts tools", tag, response: z.int() }, async ({ project }) =>
      countTools(store, project, countMost),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/tools/add-base-tools",
        summary: "Puts Kelpie's own tools into the project",
        tag,
        response: z.array(toolSchema),
        audit: "tool.add-base-tools",
      },
      async ({ project }) => tools.seed(store, environment, project),
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/tools/search",
        summary: "Searches tools by their words",
        tag,
        body: searchBody,
        response: z.array(searchResult),
      },
      async ({ body, project }) => {
        const found = await searchTools(store, project, {
          query: body.query,
          tool_types: body.tool_types ?? undefined,
          tags: body.tags ?? undefined,
          limit: body.limit ?? searchLimitDefault,
        });
        return found.map(({ tool, score }, index) => ({
          tool,
          combined_score: score,
          embedded_text: null,
          fts_rank: index + 1,
          vector_rank: null,
        }));
      },
    ),
    endpoint(
      { method: "get", path: "/v1/tools/{tool_id}", summary: "Reads a tool", tag, params, response: toolSchema },
      async ({ params: { tool_id }, project }) => {
        const [tool] = await readTools(store, project, [tool_id]);
        if (tool === undefined) throw notFound("tool", tool_id);
        return tool;
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/tools/{tool_id}",
        summary: "Changes a tool",
        tag,
        params,
        body: updateBody,
        response: toolSchema,
        audit: "tool.update",
      },
      async ({ params: { tool_id }, body, project }) =>
        transact(store, environment, async (transaction) => updateTool(transaction, environment, project, tool_id, body)),
    ),
    endpoint(
      { method: "delete", path: "/v1/tools/{tool_id}", summary: "Deletes a tool", tag, params, audit: "tool.delete" },
      async ({ params: { tool_id }, project }) => {
        await transact(store, environment, async (transaction) => deleteTool(transaction, project, tool_id));
        return null;
      },
    ),
  ];
}
