/** The OpenAPI 3.1 document, made from the endpoints that the server mounts. */
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Endpoint, EndpointDefinition } from "./endpoint.ts";

/** The version of Letta V1 whose API this is. */
export const lettaVersion = "0.16.8";

const errorSchema = z
  .object({ detail: z.string(), trace_id: z.string().optional(), examples: z.array(z.string()).optional() })
  .openapi("Error");
const anyJson = z.unknown();

/** Makes the document on the first call: it takes tens of milliseconds that a start need not wait for. */
export function openApiDocument(endpoints: readonly Endpoint[]): () => object {
  let document: object | undefined;
  return () => (document ??= generate(endpoints));
}

function generate(endpoints: readonly Endpoint[]): object {
  const registry = new OpenAPIHono();
  registry.openAPIRegistry.registerComponent("securitySchemes", "bearer", { type: "http", scheme: "bearer" });
  for (const { definition } of endpoints) registry.openAPIRegistry.registerPath(pathOf(definition));
  return registry.getOpenAPI31Document({
    openapi: "3.1.0",
    info: { title: "Kelpie", version: lettaVersion, description: "The Letta V1 API as Kelpie serves it, with Kelpie's additions." },
    servers: [{ url: "http://localhost:8283" }],
    security: [{ bearer: [] }, {}],
  });
}

type PathConfig = Parameters<OpenAPIHono["openAPIRegistry"]["registerPath"]>[0];

function pathOf(definition: EndpointDefinition<z.ZodType, z.ZodType, z.ZodType>): PathConfig {
  const status = definition.status ?? 200;
  const content = {
    "application/json": { schema: definition.response ?? anyJson },
    ...(definition.streams === true ? { "text/event-stream": { schema: { type: "string" as const } } } : {}),
  };
  const request: PathConfig["request"] = {};
  if (definition.params !== undefined) request.params = definition.params as z.ZodObject;
  if (definition.query !== undefined) request.query = definition.query as z.ZodObject;
  if (definition.body !== undefined)
    request.body = { required: definition.bodyOptional !== true, content: { "application/json": { schema: definition.body } } };
  return {
    method: definition.method,
    path: definition.path.replaceAll("*}", "}"),
    summary: definition.summary,
    operationId: operationId(definition),
    tags: [definition.tag],
    request,
    responses: {
      [status]: status === 204 ? { description: "Done" } : { description: "Success", content },
      ...(definition.body !== undefined || definition.params !== undefined || definition.query !== undefined
        ? {
            422: {
              description: "A part of the request is not what it should be",
              content: { "application/json": { schema: errorSchema } },
            },
          }
        : {}),
      ...(definition.params === undefined
        ? {}
        : { 404: { description: "Not found", content: { "application/json": { schema: errorSchema } } } }),
    },
  };
}

/** Unique and stable: the method and the path, as one name. */
function operationId({ method, path }: EndpointDefinition<z.ZodType, z.ZodType, z.ZodType>): string {
  const words = path
    .replace(/^\/v1\//, "")
    .split(/[/_-]/)
    .map((word) => word.replace(/[{}*]/g, ""));
  return method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}
