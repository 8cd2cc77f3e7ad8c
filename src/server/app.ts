/**
 * The HTTP API as a function from `Request` to `Response`: no socket, no process, no clock but the environment's.
 *
 * Every path answers with and without a slash at its end, and under `/latest` as under `/v1`.
 */
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { AuditLog, keyMark } from "./audit.ts";
import { type AccessOptions, accessCheck, defaultProject, presentedKey, type RequestHead } from "./authentication.ts";
import { eventStreamResponse } from "./body-sink.ts";
import { isLegacyClient } from "./client-version.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import { type Answer, errorAnswer, errorResponse, jsonAnswer, jsonResponse } from "./error-answer.ts";
import { EventStream, pump, type Sink } from "./event-stream.ts";
import { HttpError, noSuchPath, unprocessable } from "./http-error.ts";
import { parseJsonBody, readJsonBody } from "./json-body.ts";
import { openApiDocument } from "./openapi.ts";
import { queryReader } from "./query.ts";
import { invokeActor } from "./routes/actors.ts";
import { allEndpoints } from "./routes/all.ts";
import type { Services } from "./services.ts";
import { validate } from "./validation.ts";

export interface AppOptions extends AccessOptions {
  /** Aborts when the server shuts down: streams end then, resumable, and who waits for an answer gets its reason. */
  readonly closing?: AbortSignal;
}

/** The way to the client's connection, where there is one. */
export interface Connection {
  /** Sends the head of an event stream and gives the place to write it to. */
  openSink(): Sink;
  /** The response that tells the HTTP server that the answer is already on its way. */
  readonly alreadySent: Response;
  /** The address of the other end. */
  readonly from: string | undefined;
}

export interface App {
  /** Never throws. */
  fetch(request: Request, connection?: Connection): Response | Promise<Response>;
  /** `fetch` for tests and scripts: `app.request("/v1/agents", { method: "POST", body })`. */
  request(path: string, init?: RequestInit): Promise<Response>;
  /**
   * The answer to `POST /v1/actors/…`: the same as `fetch` gives, without the cost of a router, a `Request` and a
   * `Response`. Undefined for another path. Never throws.
   */
  callActor(request: RequestHead, body: () => Promise<Uint8Array>): Promise<Answer> | undefined;
  readonly endpoints: readonly Endpoint[];
}

/** Nginx's status for a client that left before its answer. */
const clientClosedRequest = 499;

export function createApp(services: Services, options: AppOptions = {}): App {
  const { environment } = services;
  const refuses = accessCheck(options);
  const audit = new AuditLog(services.store, environment, { node: services.cluster?.node ?? null });
  const closing = options.closing ?? new AbortController().signal;
  const endpoints = allEndpoints(services, audit);
  const router = new OpenAPIHono<{ Bindings: Partial<Connection> }>({ getPath: (request) => pathOf(request.url) });
  for (const endpoint of endpoints)
    router.on(endpoint.definition.method.toUpperCase(), routingPath(endpoint.definition.path), answerer(endpoint));
  const document = openApiDocument(endpoints);
  router.get("/openapi.json", () => jsonResponse(200, document()));
  router.get("/v1/openapi.json", () => jsonResponse(200, document()));
  let mcp: Promise<(request: Request) => Promise<Response>> | undefined;
  router.all("/mcp", async (context) => {
    // Loaded when it is asked for: it would make every start slower.
    mcp ??= import("./mcp/agent-server.ts").then(({ agentsEndpoint }) => agentsEndpoint(services, defaultProject, closing));
    const answer = await mcp;
    return await answer(context.req.raw);
  });
  router.notFound((context) => errorResponse(wrongMethod(context) ?? noSuchPath(), environment, context.req.raw));
  router.onError((error, context) => {
    const request = context.req.raw;
    // Nobody is there to read it, and leaving is no fault: it is not logged as one.
    if (request.signal.aborted) return new Response(null, { status: clientClosedRequest });
    return errorResponse(error, environment, request);
  });

  function answerer({ definition, handle }: Endpoint): (context: Context<{ Bindings: Partial<Connection> }>) => Promise<Response> {
    const readQuery = definition.query === undefined ? undefined : queryReader(definition.query);
    return async (context) => {
      const request = context.req.raw;
      const call: Call<unknown, unknown, unknown> = {
        params: definition.params === undefined ? undefined : validate(definition.params, context.req.param(), "path"),
        query: readQuery === undefined ? undefined : validate(definition.query!, readQuery(searchOf(request.url)), "query"),
        body: definition.body === undefined ? undefined : await readBody(definition, request),
        project: defaultProject,
        headers: request.headers,
        get isLegacyClient() {
          return isLegacyClient(request.headers);
        },
        get signal() {
          return AbortSignal.any([request.signal, closing]);
        },
      };
      const work = async (): Promise<unknown> => await handle(call as Call<never, never, never>);
      const answer =
        definition.audit === undefined ? await work() : await audited(definition.audit, call, { from: context.env?.from, work });
      if (answer instanceof EventStream) return stream(answer, context.env);
      if (definition.status === 204) return new Response(null, { status: 204 });
      return jsonResponse(definition.status ?? 200, answer ?? null);
    };
  }

  async function audited(
    action: string,
    { project, params, body, headers }: Call<unknown, unknown, unknown>,
    { from, work }: { readonly from: string | undefined; readonly work: () => Promise<unknown> },
  ): Promise<unknown> {
    const key = options.key === undefined ? undefined : presentedKey(headers);
    const target = firstText(Object.values(params ?? {})) ?? nameIn(body, "name") ?? null;
    const attempt = { action, target, key: key === undefined ? null : keyMark(key), address: from ?? null };
    return await audit.during(project, attempt, work, (answer) => (params === undefined ? nameIn(answer, "id") : undefined));
  }

  function stream(events: EventStream, connection: Partial<Connection> | undefined): Response {
    if (connection?.openSink === undefined) return eventStreamResponse(events, environment, closing);
    void pump(events, connection.openSink(), environment, closing);
    return connection.alreadySent!;
  }

  function wrongMethod(context: Context): HttpError | undefined {
    const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"].filter(
      (method) => router.router.match(method, context.req.path)[0].length > 0,
    );
    return methods.length === 0 ? undefined : new HttpError(405, { detail: "Method Not Allowed" }, { allow: methods.join(", ") });
  }

  const fetch: App["fetch"] = (request, connection) => {
    const refusal = refuses(request, pathOf(request.url));
    return refusal === undefined ? router.fetch(request, connection) : errorResponse(refusal, environment, request);
  };
  const callActor: App["callActor"] = (request, body) => {
    const path = pathOf(request.url);
    const [, type, key, method] = actorPath.exec(path) ?? [];
    if (type === undefined || key === undefined || method === undefined) return undefined;
    const work = async (): Promise<Answer> => {
      const refusal = refuses(request, path);
      if (refusal !== undefined) throw refusal;
      const bytes = await body();
      const call = {
        project: defaultProject,
        type: decodePath(type),
        key: decodePath(key),
        method: decodePath(method),
        headers: request.headers,
      };
      return jsonAnswer(
        200,
        (await invokeActor(services, { ...call, body: bytes.length === 0 ? undefined : (parseJsonBody(bytes) ?? undefined) })) ?? null,
      );
    };
    return work().catch((error: unknown) => errorAnswer(error, environment, { method: "POST", url: request.url }));
  };
  return { fetch, callActor, request: async (path, init) => await fetch(new Request(new URL(path, "http://localhost"), init)), endpoints };
}

const actorPath = /^\/v1\/actors\/([^/]+)\/([^/]+)\/([^/]+)$/;

/** As the router does: what is not valid percent-encoding stays as it is. */
function decodePath(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function firstText(values: readonly unknown[]): string | undefined {
  return values.find((value) => typeof value === "string");
}

function nameIn(value: unknown, field: "id" | "name"): string | undefined {
  const found = typeof value === "object" && value !== null ? (value as { readonly [field: string]: unknown })[field] : undefined;
  return typeof found === "string" ? found : undefined;
}

async function readBody(definition: Endpoint["definition"], request: Request): Promise<unknown> {
  const value = await readJsonBody(request);
  // `null` in place of an optional body is how V1's own clients leave it out.
  if (value === undefined || (value === null && definition.bodyOptional === true)) {
    if (definition.bodyOptional === true) return undefined;
    throw unprocessable("body: required, expected a JSON object");
  }
  return validate(definition.body!, value, "body");
}

/** The path for routing: still percent-encoded, so that a slash inside a parameter stays one. */
function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  if (start < 0) return "/";
  const query = url.indexOf("?", start);
  let end = query < 0 ? url.length : query;
  while (end > start + 1 && url[end - 1] === "/") end--;
  const path = url.slice(start, end);
  return path.startsWith("/latest/") ? `/v1/${path.slice("/latest/".length)}` : path;
}

function searchOf(url: string): URLSearchParams {
  const query = url.indexOf("?");
  return new URLSearchParams(query < 0 ? "" : url.slice(query + 1));
}

/** `{label*}` becomes Hono's `:label{.+}`, and `{id}` its `:id`. */
function routingPath(path: string): string {
  return path.replace(/\{(\w+)(\*?)\}/g, (_, name: string, rest: string) => `:${name}${rest === "" ? "" : "{.+}"}`);
}
