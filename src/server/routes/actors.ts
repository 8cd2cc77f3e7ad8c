import { z } from "@hono/zod-openapi";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound, show, unprocessable } from "../http-error.ts";
import { jsonValue } from "../schemas/common.ts";
import type { Services } from "../services.ts";

const params = z.object({
  type: z.string().regex(/^[a-zA-Z0-9._-]{1,100}$/, "expected 1 to 100 letters, digits, dots, lines or underscores"),
  key: z
    .string()
    .min(1)
    .max(500)
    .refine((key) => key.isWellFormed(), "expected well-formed text"),
  method: z.string().min(1).max(100),
});

export const invocationMillisecondsDefault = 60_000;
export const invocationMillisecondsMax = 3_600_000;

/** Calls to actors that users of Kelpie define. This path carries the most requests, so it does nothing that it need not. */
export function actorRoutes({ actors, actorTypes }: Services): Endpoint[] {
  return [
    endpoint(
      {
        method: "post",
        path: "/v1/actors/{type}/{key}/{method}",
        summary: "Calls an actor",
        tag: "actors",
        params,
        body: jsonValue,
        bodyOptional: true,
      },
      async ({ params: { type, key, method }, body, headers, project }) => {
        const actorType = actorTypes.get(type);
        if (actorType?.parse === undefined) throw notFound("actor type", type);
        const message = actorType.parse(method, body);
        const invocationId = invocationIdOf(headers);
        return await actors.invoke({ project, type, key }, message, {
          timeoutMilliseconds: timeoutOf(headers),
          ...(invocationId === undefined ? {} : { invocationId }),
        });
      },
    ),
  ];
}

function invocationIdOf(headers: Headers): string | undefined {
  const id = headers.get("idempotency-key");
  if (id === null) return undefined;
  if (id.length < 1 || id.length > 200) throw unprocessable(`headers.Idempotency-Key: expected 1 to 200 characters, received ${id.length}`);
  return id;
}

function timeoutOf(headers: Headers): number {
  const text = headers.get("kelpie-timeout-milliseconds");
  if (text === null) return invocationMillisecondsDefault;
  const milliseconds = Number(text);
  if (!Number.isInteger(milliseconds) || milliseconds < 1 || milliseconds > invocationMillisecondsMax)
    throw unprocessable(`headers.Kelpie-Timeout-Milliseconds: expected 1 to ${invocationMillisecondsMax}, received ${show(text)}`);
  return milliseconds;
}
