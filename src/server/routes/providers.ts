import { z } from "@hono/zod-openapi";
import { providerFromInput } from "../../models/providers.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound, unprocessable } from "../http-error.ts";
import { pageOf } from "../paging.ts";
import { type ProviderFields, type ProviderRecord, providers } from "../providers.ts";
import { idOf, nullable, optional, pageQuery } from "../schemas/common.ts";
import type { Services } from "../services.ts";

const params = z.object({ provider_id: idOf("provider") });

const fields = {
  api_key: optional(z.string()),
  access_key: optional(z.string()),
  base_url: optional(z.string()),
  region: optional(z.string()),
  api_version: optional(z.string()),
};
const createBody = z.object({ ...fields, name: z.string(), provider_type: z.string() }).openapi("ProviderCreate");
const updateBody = z.object(fields).openapi("ProviderUpdate");
const checkBody = z.object({ ...fields, provider_type: z.string() }).openapi("ProviderCheck");

const providerSchema = z
  .object({
    id: idOf("provider"),
    name: z.string(),
    provider_type: z.string(),
    provider_category: z.enum(["base", "byok"]),
    api_key: z.null(),
    access_key: z.null(),
    api_key_enc: z.null(),
    access_key_enc: z.null(),
    base_url: nullable(z.string()),
    region: nullable(z.string()),
    api_version: nullable(z.string()),
    updated_at: nullable(z.string()),
    last_synced: nullable(z.string()),
  })
  .openapi("Provider");

export function providerRoutes({ store, models, providers: stored }: Services): Endpoint[] {
  const tag = "providers";

  async function recordOf(project: string, id: string): Promise<ProviderRecord> {
    const [record] = await providers.read(store, project, [id]);
    if (record === undefined) throw notFound("provider", id);
    return record;
  }

  return [
    endpoint(
      {
        method: "get",
        path: "/v1/providers",
        summary: "Lists the providers that were added",
        tag,
        query: pageQuery("provider", { limit: 50, order: "desc" }).extend({
          name: z.string().optional(),
          provider_type: z.string().optional(),
        }),
        response: z.array(providerSchema),
      },
      async ({ query, project }) => {
        const found = await providers.page(store, project, "created", [], pageOf(query));
        if (found === undefined) throw unprocessable("query: the cursor (after or before) names no provider");
        return found
          .filter(
            (record) =>
              (query.name === undefined || record.name === query.name) &&
              (query.provider_type === undefined || record.provider_type === query.provider_type),
          )
          .map(providerView);
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/providers",
        summary: "Adds a provider of models",
        tag,
        body: createBody,
        response: providerSchema,
        audit: "provider.create",
      },
      async ({ body }) => providerView(await stored.create({ ...given(body), name: body.name, provider_type: body.provider_type })),
    ),
    endpoint({ method: "post", path: "/v1/providers/check", summary: "Tries a provider's key", tag, body: checkBody }, async ({ body }) => {
      await models.checkProvider(providerFromInput({ ...given(body), name: "check", provider_type: body.provider_type }));
      return { message: `Valid api key for provider_type=${body.provider_type}` };
    }),
    endpoint(
      { method: "get", path: "/v1/providers/{provider_id}", summary: "Reads a provider", tag, params, response: providerSchema },
      async ({ params: { provider_id }, project }) => providerView(await recordOf(project, provider_id)),
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/providers/{provider_id}",
        summary: "Changes a provider",
        tag,
        params,
        body: updateBody,
        response: providerSchema,
        audit: "provider.update",
      },
      async ({ params: { provider_id }, body }) => {
        const changes = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null && value !== undefined));
        const record = await stored.update(provider_id, changes);
        if (record === undefined) throw notFound("provider", provider_id);
        return providerView(record);
      },
    ),
    endpoint(
      { method: "post", path: "/v1/providers/{provider_id}/check", summary: "Tries a stored provider's key", tag, params },
      async ({ params: { provider_id }, project }) => {
        const record = await recordOf(project, provider_id);
        await models.checkProvider(stored.provider(record));
        return { message: `Valid api key for provider_type=${record.provider_type}` };
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/providers/{provider_id}/refresh",
        summary: "Asks a provider for its models anew",
        tag,
        params,
        response: providerSchema,
      },
      async ({ params: { provider_id }, project }) => providerView(await stored.refresh(await recordOf(project, provider_id))),
    ),
    endpoint(
      { method: "delete", path: "/v1/providers/{provider_id}", summary: "Removes a provider", tag, params, audit: "provider.delete" },
      async ({ params: { provider_id } }) => {
        if (!(await stored.delete(provider_id))) throw notFound("provider", provider_id);
        return { message: `Provider id='${provider_id}' successfully deleted` };
      },
    ),
  ];
}

function given(body: { readonly [field in keyof typeof fields]?: string | null | undefined }): Omit<
  ProviderFields,
  "name" | "provider_type"
> {
  return {
    api_key: body.api_key ?? null,
    access_key: body.access_key ?? null,
    base_url: body.base_url ?? null,
    region: body.region ?? null,
    api_version: body.api_version ?? null,
  };
}

/** Without its secrets. */
function providerView({ created_at: _, ...record }: ProviderRecord): Record<string, unknown> {
  return { ...record, provider_category: "byok", api_key: null, access_key: null, api_key_enc: null, access_key_enc: null };
}
