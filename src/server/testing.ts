/** The API over a store in memory and the demo model, for the tests of this folder. */
import assert from "node:assert/strict";
import Letta from "@letta-ai/letta-client";
import type { ActorType } from "../actors/actor.ts";
import { ActorRuntime } from "../actors/actor-runtime.ts";
import type { ActorLimits } from "../actors/limits.ts";
import { SingleNodePlacement } from "../actors/single-node-placement.ts";
import { createAgents } from "../agents/agents.ts";
import { type LogFields, type LogLevel } from "../environment/environment.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { ModelCatalogue, type ModelCatalogueOptions } from "../models/model-catalogue.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { SealingKey } from "../storage/sealing-key.ts";
import { McpTools } from "../tools/mcp/mcp-tools.ts";
import { ToolRegistry } from "../tools/tool-registry.ts";
import type { Tool } from "../tools/tool.ts";
import { type App, type AppOptions, createApp } from "./app.ts";
import { defaultProject } from "./authentication.ts";
import { StoredProviders } from "./providers.ts";
import type { Services } from "./services.ts";

export interface TestServer extends AsyncDisposable {
  readonly app: App;
  readonly services: Services;
  /** The official client, over `app.fetch`. */
  readonly letta: Letta;
  /** What was logged as an error. */
  readonly errors: LogFields[];
  /** Method and path of each endpoint that answered with success. */
  readonly answered: Set<string>;
  /** The answer's status and JSON body; `undefined` without one. */
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
    // oxlint-disable-next-line typescript/no-explicit-any -- tests look into every kind of answer
  ): Promise<{ readonly status: number; readonly body: any; readonly headers: Headers }>;
}

export interface TestServerOptions extends AppOptions {
  readonly actors?: readonly ActorType[];
  readonly actorLimits?: Partial<ActorLimits>;
  readonly tools?: readonly Tool[];
  readonly models?: Partial<ModelCatalogueOptions>;
}

let processes = 0;

export async function openTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const errors: LogFields[] = [];
  const environment = new RealEnvironment();
  const write = (level: LogLevel, message: string, fields: LogFields = {}): void =>
    void (level === "error" && errors.push({ message, ...fields }));
  Object.defineProperty(environment, "log", { value: { write, hide: () => {} } });
  const store = new MemoryStore();
  const models = new ModelCatalogue({ environment, providers: [], demoTokenMilliseconds: 0, ...options.models });
  const tools = new ToolRegistry();
  for (const tool of options.tools ?? []) tools.register(tool);
  const identity = { host: "test", pid: ++processes, started: String(processes) };
  const placement = new SingleNodePlacement(store, environment, { self: identity, isRunning: (other) => other.pid === identity.pid });
  const actors = new ActorRuntime({ store, environment, placement, limits: options.actorLimits ?? {} });
  const actorTypes = new Map((options.actors ?? []).map((type) => [type.type, type]));
  for (const type of actorTypes.values()) actors.register(type);
  const key = new SealingKey("the sealing key of test servers", environment.random);
  const sealingKey = (): SealingKey => key;
  const mcp = new McpTools({ store, environment, sealingKey });
  tools.addSource("external_mcp", (record) => mcp.tool(record));
  const agents = createAgents({ store, environment, models, tools, actors, sealingKey, callback: async () => 200 });
  await tools.seed(store, environment, defaultProject);
  await actors.start();
  const services: Services = {
    environment,
    store,
    actors,
    actorTypes,
    models,
    sealingKey,
    providers: new StoredProviders({ store, environment, models, sealingKey }, defaultProject),
    tools,
    mcp,
    agents: agents.directory,
    conversations: agents.conversations,
    feeds: agents.feeds,
  };
  const answered = new Set<string>();
  const app = createApp(services, options);
  const fetchChecked = checkAnswers(app, answered);
  return {
    app,
    services,
    errors,
    answered,
    letta: new Letta({
      baseURL: "http://localhost",
      apiKey: options.key ?? "none",
      maxRetries: 0,
      fetch: async (input, init) => await fetchChecked(new Request(input, init)),
    }),
    async call(method, path, body, headers = {}) {
      const bytes = typeof body === "string" ? body : body instanceof Uint8Array ? Buffer.from(body) : JSON.stringify(body);
      const init: RequestInit = { method, headers, ...(body === undefined ? {} : { body: bytes }) };
      const response = await fetchChecked(new Request(new URL(path, "http://localhost"), init));
      const text = await response.text();
      const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
      return { status: response.status, body: isJson ? (JSON.parse(text) as unknown) : text, headers: response.headers };
    },
    async [Symbol.asyncDispose]() {
      await actors[Symbol.asyncDispose]();
      await mcp[Symbol.asyncDispose]();
    },
  };
}

/** Every successful JSON answer must be what its endpoint documents. */
function checkAnswers(app: App, answered: Set<string>): (request: Request) => Promise<Response> {
  const patterns = app.endpoints.map(({ definition }) => ({
    definition,
    pattern: new RegExp(`^${definition.path.replace(/\{\w+\*\}/g, ".+").replace(/\{\w+\}/g, "[^/]+")}/?$`),
  }));
  return async (request) => {
    const { pathname } = new URL(request.url);
    const found = patterns.find(({ definition, pattern }) => definition.method === request.method.toLowerCase() && pattern.test(pathname));
    const response = await app.fetch(request);
    if (found === undefined || response.status >= 300) return response;
    answered.add(`${request.method} ${found.definition.path}`);
    assert.equal(response.status, found.definition.status ?? 200);
    if (found.definition.response === undefined || response.headers.get("content-type") !== "application/json") return response;
    const body = (await response.clone().json()) as unknown;
    const result = found.definition.response.safeParse(body);
    assert.ok(
      result.success,
      `${request.method} ${pathname} does not answer what it documents: ${result.error?.message}\n${JSON.stringify(body).slice(0, 2_000)}`,
    );
    return response;
  };
}
