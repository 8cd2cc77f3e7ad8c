/** What is outside the server and outlives it: the model, and a server for tools that counts calls by their effect. */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type Script, ScriptedProvider, type ScriptedRequest } from "../../src/models/testing/scripted-provider.ts";
import { answerText, parseTask, stepsOf, type Task } from "./task.ts";

/** A place outside the server at which it can be killed. */
export type OutsideMoment = "model-request" | "model-stream" | "tool-arrived" | "tool-counted" | "tool-replied";

/** In the result of a call that was found to have been counted. */
export const wasCounted = "it is known to have been counted";
/** A call that has left a process which is gone by now arrives sooner. */
const arrivalMilliseconds = 500;

export interface Effect {
  /** `task/part`, as the model wrote it. */
  readonly task: string;
  readonly tool: string;
  calls: number;
  /** Whether an answer was sent at least once; it may have been lost on the way. */
  replied: boolean;
}

export interface WorldOptions {
  /** The pause of the model between two pieces of its answers. */
  readonly eventMilliseconds?: (task: Task) => number;
  /** Where the model and the tools listen. */
  readonly host?: string;
}

export class World implements AsyncDisposable {
  readonly effects: Map<string, Effect> = new Map();
  readonly #provider: ScriptedProvider;
  readonly #tools: Server;
  readonly #host: string;
  readonly #eventMilliseconds: (task: Task) => number;
  #at: (moment: OutsideMoment, tool?: string) => void = () => undefined;

  private constructor(provider: ScriptedProvider, tools: Server, options: Required<WorldOptions>) {
    this.#provider = provider;
    this.#tools = tools;
    this.#host = options.host;
    this.#eventMilliseconds = options.eventMilliseconds;
  }

  static async start({ eventMilliseconds = () => 1, host = "127.0.0.1" }: WorldOptions = {}): Promise<World> {
    const provider = await ScriptedProvider.start((request) => world.#answer(request), { host });
    const tools = createServer((request, response) => {
      if (request.method === "GET") return world.#say(new URL(request.url!, world.toolUrl).searchParams.get("effect")!, response);
      let body = "";
      request.setEncoding("utf8").on("data", (part: string) => (body += part));
      request.on("end", () => world.#call(String(request.headers["idempotency-key"]), body, response));
    });
    await new Promise<void>((resolve) => tools.listen(0, host, resolve));
    const world = new World(provider, tools, { eventMilliseconds, host });
    return world;
  }

  get modelUrl(): string {
    return `${this.#provider.url}/v1`;
  }

  get toolUrl(): string {
    return `http://${this.#host}:${(this.#tools.address() as AddressInfo).port}/`;
  }

  /** Calls `listener` at each of its moments, with the tool of those that are of one. */
  watch(listener: (moment: OutsideMoment, tool?: string) => void): void {
    this.#at = listener;
  }

  #answer(request: ScriptedRequest): ReturnType<Script> {
    if (request.api === "other")
      return {
        steps: [JSON.stringify({ object: "list", data: [{ id: "scripted", object: "model" }] })],
        headers: { "content-type": "application/json" },
      };
    this.#at("model-request");
    const messages = request.body["messages"] as readonly { readonly role: string; readonly content: unknown }[];
    const from = messages.findLastIndex((message) => message.role === "user");
    const task = parseTask(textOf(messages[from]?.content));
    if (task === undefined) return { text: "I only know tasks." };
    const step = messages.slice(from).filter((message) => message.role === "assistant").length;
    const calls = stepsOf(task)[step];
    setTimeout(() => this.#at("model-stream"), 15);
    if (calls === undefined) return { text: answerText(task), charactersPerEvent: 6, delayMilliseconds: this.#eventMilliseconds(task) };
    return {
      text: `Step ${step} of ${task.id}.`,
      toolCalls: calls.map((call) => ({ ...call })),
      charactersPerEvent: 6,
      delayMilliseconds: this.#eventMilliseconds(task),
    };
  }

  #call(effectId: string, body: string, response: ServerResponse): void {
    const { tool, task } = JSON.parse(body) as { tool: string; task: string };
    this.#at("tool-arrived", tool);
    const effect = this.#count(effectId, tool, task);
    this.#at("tool-counted", tool);
    // A moment in which the call is done and its answer is not there yet.
    setTimeout(() => {
      response.end(`counted ${task}`);
      effect.replied = true;
      this.#at("tool-replied", tool);
    }, 3);
  }

  /** Whether a call was counted: when one that was under way has arrived. */
  #say(effectId: string, response: ServerResponse): void {
    setTimeout(() => {
      const effect = this.effects.get(effectId);
      const outcome =
        effect === undefined ? { outcome: "did_not_happen" } : { outcome: "succeeded", result: `${wasCounted}: ${effect.task}` };
      response.end(JSON.stringify(outcome));
    }, arrivalMilliseconds);
  }

  #count(effectId: string, tool: string, task: string): Effect {
    const effect = this.effects.get(effectId) ?? { tool, task, calls: 0, replied: false };
    effect.calls++;
    this.effects.set(effectId, effect);
    return effect;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#tools.closeAllConnections();
    this.#tools.close();
    await this.#provider[Symbol.asyncDispose]();
  }
}

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part: { readonly text?: string }) => part.text ?? "").join("");
}
