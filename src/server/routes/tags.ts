import { z } from "@hono/zod-openapi";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { pageLimit } from "../schemas/common.ts";
import type { Services } from "../services.ts";
import { listTags } from "../tag-list.ts";

const listQuery = z.object({
  before: z.string().optional(),
  after: z.string().optional(),
  limit: pageLimit(50),
  order: z.enum(["asc", "desc"]).default("asc"),
  order_by: z.literal("name").default("name"),
  name: z.string().optional(),
  query_text: z.string().optional().openapi({ deprecated: true }),
});

export function tagRoutes({ store }: Services): Endpoint[] {
  return [
    endpoint(
      {
        method: "get",
        path: "/v1/tags",
        summary: "Lists the tags of agents and blocks",
        tag: "tags",
        query: listQuery,
        response: z.array(z.string()),
      },
      async ({ query, project }) =>
        listTags(store, project, {
          limit: query.limit,
          reverse: query.order === "desc",
          after: query.after,
          before: query.before,
          search: query.name ?? query.query_text,
        }),
    ),
  ];
}
