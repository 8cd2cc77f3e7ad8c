/**
 * An endpoint as a value: what it accepts, what it answers, and the function between.
 *
 * `app.ts` mounts a list of them, and the OpenAPI document is made from the same list, so what is documented is
 * what runs. A handler gets checked input and never sees a socket.
 */
import type { z } from "@hono/zod-openapi";

export interface EndpointDefinition<Params extends z.ZodType, Query extends z.ZodType, Body extends z.ZodType> {
  readonly method: "get" | "post" | "put" | "patch" | "delete";
  /** `/v1/agents/{agent_id}`. A last parameter written `{label*}` takes the rest of the path, slashes included. */
  readonly path: string;
  readonly summary: string;
  readonly tag: string;
  readonly params?: Params;
  readonly query?: Query;
  readonly body?: Body;
  /** The body may be left out; the handler gets `undefined` then. */
  readonly bodyOptional?: boolean;
  /** What the answer looks like. Absent: any JSON value. */
  readonly response?: z.ZodType;
  /** 200 by default; 204 has no body. */
  readonly status?: 200 | 201 | 204;
  /** Answers an event stream, always or when asked to. */
  readonly streams?: boolean;
  /** What the audit log calls it, such as `provider.update`: for what changes the server itself. Absent: not audited. */
  readonly audit?: string;
}

/** One request, checked. */
export interface Call<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  /** The tenant, from the credential. */
  readonly project: string;
  /** A client of before SDK 1.0, which expects relationships to be filled in. */
  readonly isLegacyClient: boolean;
  readonly headers: Headers;
  /** Aborts when the client goes away. Only for work that is of use to nobody else. */
  readonly signal: AbortSignal;
}

export interface Endpoint {
  readonly definition: EndpointDefinition<z.ZodType, z.ZodType, z.ZodType>;
  /** Gives a JSON value, or an `EventStream`. */
  readonly handle: (call: Call<never, never, never>) => Promise<unknown>;
}

/** Ties a definition to its handler, so that the handler's input has the types that the schemas give. */
export function endpoint<
  Params extends z.ZodType = z.ZodUndefined,
  Query extends z.ZodType = z.ZodUndefined,
  Body extends z.ZodType = z.ZodUndefined,
>(
  definition: EndpointDefinition<Params, Query, Body>,
  handle: (call: Call<z.output<Params>, z.output<Query>, z.output<Body>>) => Promise<unknown>,
): Endpoint {
  return { definition, handle: handle };
}
