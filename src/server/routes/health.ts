import { z } from "@hono/zod-openapi";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { lettaVersion } from "../openapi.ts";

const healthSchema = z.object({ version: z.string(), status: z.literal("ok") }).openapi("Health");

export function healthRoutes(): Endpoint[] {
  const tag = "health";
  const answer = async (): Promise<unknown> => ({ version: lettaVersion, status: "ok" });
  return [
    endpoint({ method: "get", path: "/v1/health", summary: "Says that the server answers", tag, response: healthSchema }, answer),
    endpoint({ method: "get", path: "/v1/ready", summary: "Says that the server is ready for work", tag, response: healthSchema }, answer),
  ];
}
