/**
 * A model provider for tests: a real HTTP server, on the loopback address by default, that speaks OpenAI's Chat Completions and
 * Anthropic's Messages, and answers as a function of the request.
 *
 *     await using provider = await ScriptedProvider.start((request) =>
 *       request.lastMessage.role === "tool" ? { text: "Done" } : { toolCalls: [{ name: "roll", arguments: { sides: 6 } }] });
 *     // OPENAI_API_BASE=provider.url + "/v1", or ANTHROPIC_API_BASE=provider.url
 *
 * What comes back is one of
 * - a `ScriptedAnswer`: text, reasoning, tool calls; written in the protocol of the path that was asked, streamed if
 *   the request asked for it, with `delayMilliseconds` between events and `splitBytes` for the size of the writes;
 * - a `RawAnswer`: a status, headers and steps, for faults. `openAISteps(answer)` and `anthropicSteps(answer)` make
 *   the steps of a good answer, one text per event, to cut, to reorder, to break.
 *
 * A script that looks only at `request.body` gives the same answer when a crashed caller asks again; ids of tool
 * calls that it leaves out are made from the request, so they are the same too. `count` counts every request to a
 * model; `requests` keeps the latest `requestsKeptMax` of them.
 */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { shortHash } from "../short-hash.ts";
import { asArray, asObject, asText, parseJson, type WireObject } from "../wire-json.ts";

export type Script = (request: ScriptedRequest) => ScriptedAnswer | RawAnswer | Promise<ScriptedAnswer | RawAnswer>;

export interface ScriptedRequest {
  /** Counts from 1, over all requests of this server. */
  readonly number: number;
  /** By the path: `/chat/completions`, `/messages`, or neither (`GET /v1/models` and the like). */
  readonly api: "openai" | "anthropic" | "other";
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The JSON of the body, an empty object without one. */
  readonly body: WireObject;
  /** The last of the body's messages, in the words of either protocol. */
  readonly lastMessage: { readonly role: "system" | "user" | "assistant" | "tool" | ""; readonly text: string };
  /** Names of the tools that the model may call. */
  readonly toolNames: readonly string[];
}

export interface ScriptedAnswer {
  readonly text?: string;
  readonly reasoning?: string;
  /** Of the reasoning; Anthropic only. */
  readonly signature?: string;
  /** Without an id: one made from the request. `arguments` as text is sent as it is, valid or not. */
  readonly toolCalls?: readonly { readonly id?: string; readonly name: string; readonly arguments: WireObject | string }[];
  /** The protocol's own word; by default what is right for the contents. */
  readonly stopReason?: string;
  readonly usage?: { readonly inputTokens: number; readonly outputTokens: number };
  /** Of text in one event; 8 by default. */
  readonly charactersPerEvent?: number;
  /** Before each event. */
  readonly delayMilliseconds?: number;
  /** Writes pieces of this many bytes, wherever they fall; by default an event is a write. */
  readonly splitBytes?: number;
}

export interface RawAnswer {
  readonly status?: number;
  readonly headers?: { readonly [name: string]: string };
  /** Each is asked for when the one before it is written. */
  readonly steps: Iterable<Step>;
}

/** What to write; or how many milliseconds to wait; or what to write for ever, as fast as it is read; or `cut`, or `silence`. */
export type Step = string | Uint8Array | { readonly wait: number } | { readonly repeat: string } | typeof cut | typeof silence;

/** Breaks the connection. */
export const cut = { end: "cut" } as const;
/** Sends nothing more, and stays open until the caller leaves. */
export const silence = { end: "silence" } as const;

const requestsKeptMax = 10_000;
const requestBytesMax = 64 * 1024 * 1024;
const eventStreamHeaders = { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" };

export class ScriptedProvider implements AsyncDisposable {
  readonly requests: ScriptedRequest[] = [];
  readonly #script: Script;
  readonly #models: readonly string[];
  readonly #host: string;
  readonly #server: Server;
  #count = 0;
  #requestNumber = 0;
  #openCount = 0;
  #connectionCount = 0;

  /** `models` are the names that `GET …/models` lists, in both protocols; `port` is one that is free by default, and `host` the loopback address. */
  static async start(
    script: Script,
    options: { readonly models?: readonly string[]; readonly port?: number; readonly host?: string } = {},
  ): Promise<ScriptedProvider> {
    const provider = new ScriptedProvider(script, options.models ?? ["scripted"], options.host ?? "127.0.0.1");
    await new Promise<void>((resolve, reject) => {
      provider.#server.once("error", reject);
      provider.#server.listen(options.port ?? 0, provider.#host, resolve);
    });
    return provider;
  }

  private constructor(script: Script, models: readonly string[], host: string) {
    this.#host = host;
    this.#script = script;
    this.#models = models;
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => {
        if (response.headersSent) response.destroy();
        else response.writeHead(500, { "content-type": "text/plain" }).end(`The script failed: ${String(error)}`);
      });
    });
    this.#server.on("connection", () => this.#connectionCount++);
  }

  /** Without a version: `http://127.0.0.1:41234`. */
  get url(): string {
    return `http://${this.#host}:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Requests to a model so far, answered or not. */
  get count(): number {
    return this.#count;
  }

  /** Answers that are being written now. */
  get openCount(): number {
    return this.#openCount;
  }

  /** TCP connections so far. */
  get connectionCount(): number {
    return this.#connectionCount;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = await readRequest(incoming, ++this.#requestNumber);
    if (request.method === "GET" && request.path.endsWith("/models") && request.api === "other") {
      const data = this.#models.map((id) => ({ id, object: "model", type: "model", display_name: id }));
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ object: "list", data }));
      return;
    }
    if (request.api !== "other") {
      this.#count++;
      this.requests.push(request);
      if (this.requests.length > requestsKeptMax) this.requests.shift();
    }
    this.#openCount++;
    try {
      const answer = await this.#script(request);
      const raw = "steps" in answer ? answer : rawAnswer(request, answer);
      await writeSteps(response, raw);
    } finally {
      this.#openCount--;
    }
  }
}

async function readRequest(incoming: IncomingMessage, number: number): Promise<ScriptedRequest> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of incoming as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    if (size > requestBytesMax) throw new RangeError(`The request is larger than ${requestBytesMax} bytes`);
  }
  const body = asObject(parseJson(Buffer.concat(parts).toString("utf8"))) ?? {};
  const path = (incoming.url ?? "/").split("?")[0] ?? "/";
  return {
    number,
    api: path.endsWith("/chat/completions") ? "openai" : path.endsWith("/messages") ? "anthropic" : "other",
    method: incoming.method ?? "GET",
    path,
    headers: incoming.headers,
    body,
    lastMessage: readMessage(asObject(asArray(body["messages"]).at(-1))),
    toolNames: asArray(body["tools"]).map((tool) => asText((asObject(asObject(tool)?.["function"]) ?? asObject(tool))?.["name"]) ?? ""),
  };
}

function readMessage(message: WireObject | undefined): ScriptedRequest["lastMessage"] {
  const content = message?.["content"];
  const blocks = asArray(content).map((block) => asObject(block) ?? {});
  const text =
    typeof content === "string" ? content : blocks.map((block) => asText(block["text"]) ?? asText(block["content"]) ?? "").join("");
  const isToolResult = blocks.some((block) => block["type"] === "tool_result");
  return { role: isToolResult ? "tool" : ((asText(message?.["role"]) ?? "") as ScriptedRequest["lastMessage"]["role"]), text };
}

function rawAnswer(request: ScriptedRequest, answer: ScriptedAnswer): RawAnswer {
  // Made from the conversation, so that the same request has the same ids and the next step has others.
  const seed = shortHash(JSON.stringify(request.body["messages"] ?? null));
  const withIds: ScriptedAnswer = {
    ...answer,
    toolCalls: (answer.toolCalls ?? []).map((call, index) => ({ id: `call_${seed}_${index}`, ...call })),
  };
  if (request.body["stream"] !== true) {
    const body = request.api === "anthropic" ? anthropicWhole(withIds) : openAIWhole(withIds);
    return { headers: { "content-type": "application/json" }, steps: [JSON.stringify(body)] };
  }
  const texts = request.api === "anthropic" ? anthropicSteps(withIds) : openAISteps(withIds);
  const pieces = answer.splitBytes === undefined ? texts : splitBytes(Buffer.from(texts.join("")), answer.splitBytes);
  const delay = answer.delayMilliseconds ?? 0;
  return { steps: delay === 0 ? pieces : pieces.flatMap((piece) => [{ wait: delay }, piece]) };
}

/** The events of a good streamed answer of OpenAI's protocol. */
export function openAISteps(answer: ScriptedAnswer): string[] {
  const chunk = (fields: WireObject): string =>
    `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 0, model: "scripted", ...fields })}\n\n`;
  const delta = (fields: WireObject, finish: string | null = null): string =>
    chunk({ choices: [{ index: 0, delta: fields, finish_reason: finish }] });
  const size = answer.charactersPerEvent ?? 8;
  const calls = answer.toolCalls ?? [];
  return [
    delta({ role: "assistant", content: "" }),
    ...pieces(answer.reasoning, size).map((piece) => delta({ reasoning_content: piece })),
    ...pieces(answer.text, size).map((piece) => delta({ content: piece })),
    ...calls.flatMap((call, index) => [
      delta({ tool_calls: [{ index, id: call.id ?? `call_${index}`, type: "function", function: { name: call.name, arguments: "" } }] }),
      ...pieces(argumentsText(call.arguments), size).map((piece) => delta({ tool_calls: [{ index, function: { arguments: piece } }] })),
    ]),
    delta({}, answer.stopReason ?? (calls.length > 0 ? "tool_calls" : "stop")),
    chunk({ choices: [], usage: openAIUsage(answer) }),
    "data: [DONE]\n\n",
  ];
}

function openAIWhole(answer: ScriptedAnswer): WireObject {
  const calls = (answer.toolCalls ?? []).map((call, index) => ({
    id: call.id ?? `call_${index}`,
    type: "function",
    function: { name: call.name, arguments: argumentsText(call.arguments) },
  }));
  const message = {
    role: "assistant",
    content: answer.text ?? null,
    ...(answer.reasoning === undefined ? {} : { reasoning_content: answer.reasoning }),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
  const choice = { index: 0, message, finish_reason: answer.stopReason ?? (calls.length > 0 ? "tool_calls" : "stop") };
  return { id: "chatcmpl-1", object: "chat.completion", created: 0, model: "scripted", choices: [choice], usage: openAIUsage(answer) };
}

function openAIUsage(answer: ScriptedAnswer): WireObject {
  const { inputTokens, outputTokens } = answer.usage ?? { inputTokens: 10, outputTokens: 5 };
  return { prompt_tokens: inputTokens, completion_tokens: outputTokens, total_tokens: inputTokens + outputTokens };
}

/** The events of a good streamed answer of Anthropic's protocol. */
export function anthropicSteps(answer: ScriptedAnswer): string[] {
  const event = (type: string, fields: WireObject): string => `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
  const size = answer.charactersPerEvent ?? 8;
  const calls = answer.toolCalls ?? [];
  const { inputTokens, outputTokens } = answer.usage ?? { inputTokens: 10, outputTokens: 5 };
  const message = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "scripted",
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { input_tokens: inputTokens, output_tokens: 1 },
  };
  let next = 0;
  const block = (content: WireObject, deltas: readonly WireObject[]): string[] => {
    const index = next++;
    return [
      event("content_block_start", { index, content_block: content }),
      ...deltas.map((delta) => event("content_block_delta", { index, delta })),
      event("content_block_stop", { index }),
    ];
  };
  const signature = answer.signature === undefined ? [] : [{ type: "signature_delta", signature: answer.signature }];
  return [
    event("message_start", { message }),
    event("ping", {}),
    ...(answer.reasoning === undefined
      ? []
      : block({ type: "thinking", thinking: "", signature: "" }, [
          ...pieces(answer.reasoning, size).map((thinking) => ({ type: "thinking_delta", thinking })),
          ...signature,
        ])),
    ...(answer.text === undefined
      ? []
      : block(
          { type: "text", text: "" },
          pieces(answer.text, size).map((text) => ({ type: "text_delta", text })),
        )),
    ...calls.flatMap((call, index) =>
      block(
        { type: "tool_use", id: call.id ?? `toolu_${index}`, name: call.name, input: {} },
        pieces(argumentsText(call.arguments), size).map((json) => ({ type: "input_json_delta", partial_json: json })),
      ),
    ),
    event("message_delta", {
      delta: { stop_reason: answer.stopReason ?? (calls.length > 0 ? "tool_use" : "end_turn"), stop_sequence: null },
      usage: { output_tokens: outputTokens },
    }),
    event("message_stop", {}),
  ];
}

function anthropicWhole(answer: ScriptedAnswer): WireObject {
  const { inputTokens, outputTokens } = answer.usage ?? { inputTokens: 10, outputTokens: 5 };
  const calls = answer.toolCalls ?? [];
  const content = [
    ...(answer.reasoning === undefined ? [] : [{ type: "thinking", thinking: answer.reasoning, signature: answer.signature ?? "" }]),
    ...(answer.text === undefined ? [] : [{ type: "text", text: answer.text }]),
    ...calls.map((call, index) => ({
      type: "tool_use",
      id: call.id ?? `toolu_${index}`,
      name: call.name,
      input: typeof call.arguments === "string" ? parseJson(call.arguments) : call.arguments,
    })),
  ];
  return {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "scripted",
    content,
    stop_reason: answer.stopReason ?? (calls.length > 0 ? "tool_use" : "end_turn"),
    usage: { input_tokens: inputTokens, output_tokens: outputTokens },
  };
}

function argumentsText(value: WireObject | string): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function pieces(text: string | undefined, size: number): string[] {
  const found: string[] = [];
  // By code points: a JSON text cannot carry half of one.
  const points = Array.from(text ?? "");
  for (let at = 0; at < points.length; at += size) found.push(points.slice(at, at + size).join(""));
  return found;
}

function splitBytes(bytes: Uint8Array, size: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) found.push(bytes.subarray(at, at + size));
  return found;
}

async function writeSteps(response: ServerResponse, answer: RawAnswer): Promise<void> {
  const closed = new AbortController();
  response.on("close", () => closed.abort());
  response.socket?.setNoDelay(true);
  response.writeHead(answer.status ?? 200, answer.headers ?? eventStreamHeaders);
  response.flushHeaders();
  for (const step of answer.steps) {
    if (closed.signal.aborted) return;
    if (step === cut) return void response.destroy();
    if (step === silence) return whenClosed(closed.signal);
    if (typeof step === "string" || step instanceof Uint8Array) await write(response, step, closed.signal);
    else if ("wait" in step) await sleep(step.wait, undefined, { signal: closed.signal }).catch(() => undefined);
    else if ("repeat" in step) while (!closed.signal.aborted) await write(response, step.repeat, closed.signal);
  }
  response.end();
}

async function write(response: ServerResponse, piece: string | Uint8Array, closed: AbortSignal): Promise<void> {
  if (response.write(piece)) return;
  await new Promise<void>((resolve) => {
    const finish = (): void => {
      response.off("drain", finish);
      closed.removeEventListener("abort", finish);
      resolve();
    };
    response.on("drain", finish);
    closed.addEventListener("abort", finish);
    if (closed.aborted) finish();
  });
}

function whenClosed(closed: AbortSignal): Promise<void> {
  if (closed.aborted) return Promise.resolve();
  return new Promise((resolve) => closed.addEventListener("abort", () => resolve(), { once: true }));
}
