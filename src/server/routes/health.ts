import { z } from "@hono/zod-openapi";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { HttpError, retryAfter } from "../http-error.ts";
import { lettaVersion } from "../openapi.ts";
import { Readiness } from "../readiness.ts";
import type { Services } from "../services.ts";

const healthSchema = z.object({ version: z.string(), status: z.literal("ok") }).openapi("Health");

export function healthRoutes({ cluster, store, environment }: Pick<Services, "cluster" | "store" | "environment">): Endpoint[] {
  const tag = "health";
  const readiness = new Readiness(store, environment, () => cluster?.isDraining === true);
  const answer = async (): Promise<unknown> => ({ version: lettaVersion, status: "ok" });
  return [
    endpoint({ method: "get", path: "/v1/health", summary: "Says that the server answers", tag, response: healthSchema }, answer),
    endpoint(
      { method: "get", path: "/v1/ready", summary: "Says that the server is ready for work", tag, response: healthSchema },
      async () => {
        const unready = await readiness.check();
        if (unready !== undefined) throw new HttpError(503, { ...unready }, retryAfter(1_000));
        return await answer();
      },
    ),
  ];
}
