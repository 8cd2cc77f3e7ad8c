/** One of the clients: sends tasks, follows their answers over cuts and restarts, and notes what it was told. */
import { EventSourceParserStream } from "eventsource-parser/stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type Task, taskText } from "./task.ts";

/** What a client knows of a task. */
export interface Note {
  readonly task: Task;
  readonly agentId: string;
  readonly otid: string;
  readonly mode: "stream" | "json";
  runId: string | undefined;
  /** The server said that it took the task on. */
  accepted: boolean;
  /** The client saw its end. */
  finished: boolean;
  /** Numbers of the events seen, in order, and the text by message. */
  readonly seqs: number[];
  readonly texts: Map<string, string>;
  problem: string | undefined;
}

/** The way to the servers, which may change from one attempt to the next. */
export interface Route {
  url(): string;
  readonly apiKey: string;
  /** How long an answer may be silent before another attempt is made. */
  readonly silenceMillisecondsMax: number;
}

interface ApiEvent {
  readonly message_type: string;
  readonly id?: string;
  readonly run_id?: string | null;
  readonly seq_id?: number | null;
  readonly content?: unknown;
  readonly stop_reason?: string;
}

/** Does one task to its end. Tries for as long as it takes, unless the server says something that it must not. */
export async function doTask(server: string | Route, note: Note, signal: AbortSignal): Promise<void> {
  while (!note.finished && note.problem === undefined && !signal.aborted) {
    using attempt = new Attempt(server, signal);
    try {
      if (note.mode === "json") await askForJson(attempt, note);
      else if (note.runId === undefined) await askForStream(attempt, note);
      else await follow(attempt, note);
    } catch (error) {
      // The server is down, or went down under the request: everything is tried again.
      if (!(error instanceof TypeError || (error instanceof Error && /terminated|aborted|fetch/i.test(error.message)))) throw error;
    }
    if (!note.finished) await sleep(30 + Math.random() * 60);
  }
}

/** One request, which is given up after a silence that is too long. */
class Attempt implements Disposable {
  readonly #url: string;
  readonly #route: Route | undefined;
  readonly #signal: AbortSignal;
  readonly #silent = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(server: string | Route, signal: AbortSignal) {
    this.#route = typeof server === "string" ? undefined : server;
    this.#url = typeof server === "string" ? server : server.url();
    this.#signal = AbortSignal.any([signal, this.#silent.signal]);
    this.heard();
  }

  heard(): void {
    clearTimeout(this.#timer);
    if (this.#route !== undefined) this.#timer = setTimeout(() => this.#silent.abort(), this.#route.silenceMillisecondsMax);
  }

  async post(path: string, body: string): Promise<Response> {
    return await fetch(this.#url + path, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        // Makes this a client of Letta's current API.
        "x-stainless-package-version": "1.12.1",
        ...(this.#route === undefined ? {} : { authorization: `Bearer ${this.#route.apiKey}` }),
      },
      body,
      signal: this.#signal,
    });
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

function requestBody(note: Note, streaming: boolean): string {
  const messages = [{ role: "user", content: taskText(note.task), otid: note.otid }];
  return JSON.stringify(streaming ? { messages, streaming: true, stream_tokens: true, background: true } : { messages });
}

async function askForJson(attempt: Attempt, note: Note): Promise<void> {
  const response = await attempt.post(`/v1/agents/${note.agentId}/messages`, requestBody(note, false));
  const text = await response.text();
  if (response.ok) {
    note.accepted = true;
    note.finished = true;
    const { stop_reason, messages } = JSON.parse(text) as { stop_reason: { stop_reason: string }; messages: readonly ApiEvent[] };
    if (stop_reason.stop_reason !== "end_turn") note.problem = `the answer stopped with ${stop_reason.stop_reason}`;
    for (const message of messages) if (message.message_type === "assistant_message") note.texts.set(message.id!, String(message.content));
  } else await refused(response, text, note);
}

async function askForStream(attempt: Attempt, note: Note): Promise<void> {
  const response = await attempt.post(`/v1/agents/${note.agentId}/messages`, requestBody(note, true));
  if (!response.ok) return await refused(response, await response.text(), note);
  await read(response, attempt, note);
}

async function follow(attempt: Attempt, note: Note): Promise<void> {
  const after = note.seqs.at(-1) ?? 0;
  const response = await attempt.post(`/v1/runs/${note.runId}/stream`, JSON.stringify({ starting_after: after }));
  if (!response.ok) return await refused(response, await response.text(), note);
  await read(response, attempt, note);
}

/** Busy and unavailable are answers to live with; anything else is wrong. */
async function refused(response: Response, text: string, note: Note): Promise<void> {
  if (response.status === 409 && text.includes("is currently being processed")) await sleep(50);
  else if (response.status === 503 || response.status === 429) await sleep(50);
  else note.problem = `the server answered ${response.status}: ${text.slice(0, 300)}`;
}

async function read(response: Response, attempt: Attempt, note: Note): Promise<void> {
  const events = response
    .body!.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array<ArrayBuffer>>)
    .pipeThrough(new EventSourceParserStream());
  for await (const { data } of events) {
    attempt.heard();
    if (data === "[DONE]") return;
    const event = JSON.parse(data) as ApiEvent;
    if (event.run_id != null) {
      note.runId ??= event.run_id;
      note.accepted = true;
      if (note.runId !== event.run_id) note.problem = `events of two runs: ${note.runId} and ${event.run_id}`;
    }
    if (event.message_type === "ping") continue;
    if (event.seq_id != null) note.seqs.push(event.seq_id);
    if (event.message_type === "assistant_message") note.texts.set(event.id!, (note.texts.get(event.id!) ?? "") + String(event.content));
    if (event.message_type === "stop_reason" && event.stop_reason !== "end_turn")
      note.problem = `the run stopped with ${event.stop_reason}`;
    if (event.message_type === "usage_statistics") note.finished = true;
  }
}
