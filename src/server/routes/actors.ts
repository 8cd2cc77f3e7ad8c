import { z } from "@hono/zod-openapi";
import type { RequestHead } from "../authentication.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound, show, unprocessable } from "../http-error.ts";
import { jsonValue } from "../schemas/common.ts";
import type { Services } from "../services.ts";
import { validate } from "../validation.ts";

const keyLengthMax = 500;

/** The type and the key of an actor, in a path. */
export const actorShape: { readonly type: z.ZodString; readonly key: z.ZodString } = {
  type: z.string().regex(/^[a-zA-Z0-9._-]{1,100}$/, "expected 1 to 100 letters, digits, dots, lines or underscores"),
  key: z
    .string()
    .min(1)
    .max(keyLengthMax)
    .refine((key) => key.isWellFormed(), "expected well-formed text"),
};
const params = z.object({ ...actorShape, method: z.string().min(1).max(100) });

export const invocationMillisecondsDefault = 60_000;
export const invocationMillisecondsMax = 3_600_000;

/** A call to an actor, as a request names it. */
export interface ActorCall {
  readonly project: string;
  readonly type: string;
  readonly key: string;
  readonly method: string;
  readonly body: unknown;
  readonly headers: RequestHead["headers"];
}

/** Calls to actors that users of Kelpie define. This path carries the most requests, so it does nothing that it need not. */
export function actorRoutes(services: Services): Endpoint[] {
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
      ({ params: { type, key, method }, body, headers, project }) => invokeActor(services, { project, type, key, method, body, headers }),
    ),
  ];
}

/** @throws {HttpError} and what the actor's turn throws. */
export async function invokeActor({ actors, actorTypes }: Pick<Services, "actors" | "actorTypes">, call: ActorCall): Promise<unknown> {
  const actorType = actorTypes.get(call.type);
  // What no actor could be called is told by the schema; asking it first would cost more than the rest of the way.
  if (
    actorType?.parse === undefined ||
    call.key === "" ||
    call.key.length > keyLengthMax ||
    !call.key.isWellFormed() ||
    call.method === ""
  ) {
    validate(params, { type: call.type, key: call.key, method: call.method }, "path");
    throw notFound("actor type", call.type);
  }
  const message = actorType.parse(call.method, call.body);
  const invocationId = invocationIdOf(call.headers);
  return await actors.invoke({ project: call.project, type: call.type, key: call.key }, message, {
    timeoutMilliseconds: timeoutOf(call.headers),
    ...(invocationId === undefined ? {} : { invocationId }),
  });
}

function invocationIdOf(headers: RequestHead["headers"]): string | undefined {
  const id = headers.get("idempotency-key");
  if (id === null) return undefined;
  if (id.length < 1 || id.length > 200) throw unprocessable(`headers.Idempotency-Key: expected 1 to 200 characters, received ${id.length}`);
  return id;
}

function timeoutOf(headers: RequestHead["headers"]): number {
  const text = headers.get("kelpie-timeout-milliseconds");
  if (text === null) return invocationMillisecondsDefault;
  const milliseconds = Number(text);
  if (!Number.isInteger(milliseconds) || milliseconds < 1 || milliseconds > invocationMillisecondsMax)
    throw unprocessable(`headers.Kelpie-Timeout-Milliseconds: expected 1 to ${invocationMillisecondsMax}, received ${show(text)}`);
  return milliseconds;
}
