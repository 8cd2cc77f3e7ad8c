import { z } from "@hono/zod-openapi";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { HttpError } from "../http-error.ts";
import { lettaVersion } from "../openapi.ts";
import type { Services } from "../services.ts";

const healthSchema = z.object({ version: z.string(), status: z.literal("ok") }).openapi("Health");

export function healthRoutes({ cluster }: Pick<Services, "cluster">): Endpoint[] {
  const tag = "health";
  const answer = async (): Promise<unknown> => ({ version: lettaVersion, status: "ok" });
  return [
    endpoint({ method: "get", path: "/v1/health", summary: "Says that the server answers", tag, response: healthSchema }, answer),
    endpoint(
      { method: "get", path: "/v1/ready", summary: "Says that the server is ready for work", tag, response: healthSchema },
      async () => {
        if (cluster?.isDraining === true) throw new HttpError(503, { detail: "This node gives its agents to the others, and stops" });
        return await answer();
      },
    ),
  ];
}
