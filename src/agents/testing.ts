/** Agents over a store in memory and a model that a test scripts, for the tests of this folder. */
import { ActorRuntime } from "../actors/actor-runtime.ts";
import type { ActorLimits } from "../actors/limits.ts";
import { SingleNodePlacement } from "../actors/single-node-placement.ts";
import type { Cluster } from "../cluster/open-cluster.ts";
import type { Environment } from "../environment/environment.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import {
  type Model,
  type ModelEvent,
  type ModelInfo,
  ModelNotFoundError,
  type ModelRequest,
  type Models,
  noUsage,
} from "../models/model.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import type { Store } from "../storage/store.ts";
import { ToolRegistry } from "../tools/tool-registry.ts";
import type { Tool } from "../tools/tool.ts";
import type { AgentCreate } from "./agent-directory.ts";
import { type Agents, createAgents } from "./agents.ts";
import type { ConversationAddress } from "./conversation.ts";
import type { InputMessage, SendRequest } from "./conversations.ts";
import type { Callback } from "./run-callback.ts";
import { shareFeeds } from "./remote-feeds.ts";
import type { RunEvent } from "./run-events.ts";

export const project = "default";

/** What a test's model says to a request: events without the `end`, which follows by itself, or an error to throw. */
export type Script = (request: ModelRequest, signal: AbortSignal) => AsyncIterable<ModelEvent> | Iterable<ModelEvent | Error>;

export interface TestAgents extends AsyncDisposable {
  readonly agents: Agents;
  readonly store: Store;
  readonly environment: Environment;
  /** Requests that the model got. */
  readonly requests: ModelRequest[];
  create(fields?: AgentCreate): Promise<ConversationAddress>;
  /** Sends and follows until the end. */
  run(address: ConversationAddress, messages: readonly InputMessage[] | string, options?: Partial<SendRequest>): Promise<RunEvent[]>;
}

export async function openTestAgents(
  script: Script,
  options: {
    readonly store?: Store;
    readonly tools?: readonly Tool[];
    /** In place of an empty one. */
    readonly registry?: ToolRegistry;
    readonly contextWindow?: number;
    readonly callback?: Callback;
    readonly limits?: Partial<ActorLimits>;
    readonly environment?: Environment;
    /** A node that shares its actors with others, in place of one that is alone. */
    readonly cluster?: Cluster;
  } = {},
): Promise<TestAgents> {
  const store = options.store ?? new MemoryStore();
  const environment = options.environment ?? new RealEnvironment({ level: "error" });
  const requests: ModelRequest[] = [];
  const models = scriptedModels(script, requests, options.contextWindow ?? 100_000);
  const tools = options.registry ?? new ToolRegistry();
  for (const tool of options.tools ?? []) tools.register(tool);
  // Every test is a process of its own to the placement: one that was not stopped counts as dead.
  const identity = { host: "test", pid: ++processes, started: String(processes) };
  const placement = new SingleNodePlacement(store, environment, { self: identity, isRunning: (other) => other.pid === identity.pid });
  const alone = new ActorRuntime({ store, environment, placement, limits: options.limits ?? {} });
  const { cluster } = options;
  const actors = cluster?.actors ?? alone;
  const agents = createAgents({ store, environment, models, tools, actors, callback: options.callback ?? (async () => 200) });
  await tools.seed(store, environment, project);
  if (cluster !== undefined) shareFeeds(agents.feeds, { store, environment, cluster });
  await (cluster ?? alone).start();
  return {
    agents,
    store,
    environment,
    requests,
    async create(fields = {}) {
      const agent = await agents.directory.create(project, {
        model: "test/model",
        memory_blocks: [{ label: "human", value: "Nothing is known yet." }],
        ...fields,
      });
      return { project, agentId: agent.id, conversationId: "default" };
    },
    async run(address, messages, request = {}) {
      const input: readonly InputMessage[] = typeof messages === "string" ? [userMessage(messages)] : messages;
      const outcome = await agents.conversations.send(address, sendRequest(input, request));
      if (!outcome.ok) throw new Error(`The request was refused: ${outcome.reason}`);
      return await collect(await agents.conversations.follow(project, outcome.runId, 0, new AbortController().signal));
    },
    async [Symbol.asyncDispose]() {
      await (cluster ?? alone)[Symbol.asyncDispose]();
    },
  };
}

let processes = 0;

export function userMessage(content: string, otid?: string): InputMessage {
  return { type: "message", role: "user", content, ...(otid === undefined ? {} : { otid }) };
}

export function sendRequest(messages: readonly InputMessage[], request: Partial<SendRequest> = {}): SendRequest {
  return {
    messages,
    stepsMax: 50,
    background: false,
    streamTokens: false,
    clientTools: [],
    clientSkills: [],
    overrideModel: null,
    overrideSystem: null,
    includeCompactionMessages: false,
    requestConfig: {
      use_assistant_message: true,
      assistant_message_tool_name: "send_message",
      assistant_message_tool_kwarg: "message",
      include_return_message_types: null,
    },
    callbackUrl: null,
    ...request,
  };
}

export async function collect(source: AsyncIterable<readonly RunEvent[]>): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  for await (const batch of source) events.push(...batch);
  return events;
}

/** The types of events in their order, with the text or name that tells them apart. */
export function outline(events: readonly RunEvent[]): string[] {
  return events.map(({ message }) => {
    const type = message.message_type;
    if (type === "assistant_message") return `assistant ${String(message["content"])}`;
    if (type === "reasoning_message") return `reasoning ${String(message["reasoning"])}`;
    if (type === "tool_call_message" || type === "approval_request_message")
      return `${type === "tool_call_message" ? "call" : "request"} ${([message["tool_calls"]].flat() as { name: string }[]).map((call) => call.name).join(" ")}`;
    if (type === "tool_return_message")
      return `return ${(message["tool_returns"] as { status: string }[]).map((each) => each.status).join(" ")}`;
    if (type === "stop_reason") return `stop ${String(message["stop_reason"])}`;
    return type;
  });
}

export function* text(...deltas: readonly string[]): Iterable<ModelEvent> {
  for (const delta of deltas) yield { type: "text", delta };
}

export function* calls(
  ...made: readonly { readonly name: string; readonly arguments: unknown; readonly id?: string }[]
): Iterable<ModelEvent> {
  for (const [index, call] of made.entries()) {
    const id = call.id ?? `call-${index}-${call.name}`;
    const argumentsText = typeof call.arguments === "string" ? call.arguments : JSON.stringify(call.arguments);
    yield { type: "toolCallStart", index, id, name: call.name };
    yield { type: "toolCallDelta", index, delta: argumentsText };
    yield { type: "toolCallEnd", index, id, name: call.name, argumentsText };
  }
}

/** The text of the last message of a user in a request. */
export function lastUserText(request: ModelRequest): string {
  const message = request.messages.findLast((each) => each.role === "user");
  return message?.role === "user" ? message.content.map((part) => (part.type === "text" ? part.text : "")).join("") : "";
}

/** Results of tools since the last message of a user. */
export function lastResults(request: ModelRequest): string[] {
  const from = request.messages.findLastIndex((each) => each.role === "user");
  return request.messages.slice(from + 1).flatMap((each) => (each.role === "tool" ? [each.content] : []));
}

function scriptedModels(script: Script, requests: ModelRequest[], contextWindow: number): Models {
  const info: ModelInfo = {
    handle: "test/model",
    name: "model",
    displayName: "Test model",
    providerType: "openai",
    providerName: "test",
    endpointType: "openai",
    endpoint: undefined,
    contextWindow,
    maxOutputTokens: undefined,
  };
  const model: Model = {
    handle: info.handle,
    async *generate(request, signal) {
      requests.push(request);
      let isCall = false;
      for await (const event of script(request, signal)) {
        if (event instanceof Error) throw event;
        if (event.type === "toolCallStart") isCall = true;
        yield event;
        if (event.type === "end") return;
      }
      yield { type: "end", reason: isCall ? "toolCalls" : "stop", usage: { ...noUsage, inputTokens: 10, outputTokens: 5 } };
    },
  };
  const find = async (handle: string): Promise<void> => {
    if (handle !== info.handle) throw new ModelNotFoundError(`Handle ${handle} not found, must be one of ${info.handle}`);
  };
  return {
    defaultHandle: info.handle,
    list: async () => [info],
    describe: async (handle) => (await find(handle), info),
    open: async (handle) => (await find(handle), model),
  };
}
