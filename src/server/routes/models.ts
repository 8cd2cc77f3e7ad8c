import { z } from "@hono/zod-openapi";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { embeddingModelEntry, modelEntry } from "../llm-config.ts";
import { embeddingModelSchema, modelSchema } from "../schemas/model.ts";
import type { Services } from "../services.ts";

const listQuery = z.object({
  provider_category: z.array(z.enum(["base", "byok"])).optional(),
  provider_name: z.string().optional(),
  provider_type: z.string().optional(),
});

export function modelRoutes({ models }: Services): Endpoint[] {
  const tag = "models";
  return [
    endpoint(
      {
        method: "get",
        path: "/v1/models",
        summary: "Lists the language models that can be used now",
        tag,
        query: listQuery,
        response: z.array(modelSchema),
      },
      async ({ query }) => {
        const all = await models.list();
        const added = new Set(models.providers().flatMap(({ name, category }) => (category === "byok" ? [name] : [])));
        return all
          .filter(
            (info) =>
              (query.provider_name === undefined || info.providerName === query.provider_name) &&
              (query.provider_type === undefined || info.providerType === query.provider_type),
          )
          .map((info) => modelEntry(info, added.has(info.providerName) ? "byok" : "base"))
          .filter(
            (entry) =>
              query.provider_category === undefined || query.provider_category.some((category) => category === entry["provider_category"]),
          );
      },
    ),
    endpoint(
      { method: "get", path: "/v1/models/embedding", summary: "Lists embedding models", tag, response: z.array(embeddingModelSchema) },
      async () => (await models.embeddings()).map(embeddingModelEntry),
    ),
  ];
}
