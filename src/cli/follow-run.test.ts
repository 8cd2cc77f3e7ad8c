import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { ApiClient, ApiError, type ApiMessage, ServerUnreachableError } from "./api-client.ts";
import { followRun, type FollowOptions } from "./follow-run.ts";

type Answer = (request: { readonly path: string; readonly body: Record<string, unknown> }, response: ServerResponse) => void;

/** A server that answers its requests in order, one function each, and remembers them. */
class ScriptedServer implements AsyncDisposable {
  readonly requests: { readonly path: string; readonly body: Record<string, unknown> }[] = [];
  readonly #answers: Answer[];
  readonly #server: Server;

  constructor(answers: readonly Answer[]) {
    this.#answers = [...answers];
    this.#server = createServer((incoming, response) => void this.#handle(incoming, response));
  }

  async listen(port = 0): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const chunk of incoming) text += String(chunk);
    const request = { path: incoming.url ?? "", body: JSON.parse(text) as Record<string, unknown> };
    this.requests.push(request);
    this.#answers.shift()!(request, response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const event = (seq: number): string =>
  `data: ${JSON.stringify({ message_type: "assistant_message", run_id: "run-1", seq_id: seq, content: String(seq) })}\n\n`;
const hello = `data: ${JSON.stringify({ message_type: "ping", run_id: "run-1", seq_id: 1 })}\n\n`;
const done = "data: [DONE]\n\n";
const sends =
  (...parts: readonly string[]): Answer =>
  (_request, response) =>
    response.writeHead(200, { "content-type": "text/event-stream" }).end(parts.join(""));
const cutsAfter =
  (...parts: readonly string[]): Answer =>
  (_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(parts.join(""), () => response.destroy());
  };
const refuses =
  (status: number): Answer =>
  (_request, response) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ detail: "not now" }));

async function follow(url: string, options: Partial<FollowOptions> = {}): Promise<{ readonly seqs: number[]; readonly states: string[] }> {
  const seqs: number[] = [];
  const states: string[] = [];
  const messages: AsyncIterable<ApiMessage> = followRun(new ApiClient(url, undefined), {
    start: { path: "/send", body: { messages: [{ otid: "o-1" }] } },
    onConnection: (state) => states.push(state),
    signal: new AbortController().signal,
    ...options,
  });
  for await (const message of messages) seqs.push(message.seq_id ?? 0);
  return { seqs, states };
}

test("A run that is not disturbed is one stream", async () => {
  await using server = new ScriptedServer([sends(hello, event(2), event(3), done)]);
  assert.deepEqual(await follow(await server.listen()), { seqs: [2, 3], states: [] });
});

test("After a cut the run goes on behind the last event seen, through its own stream", async () => {
  await using server = new ScriptedServer([cutsAfter(hello, event(2)), sends(event(3), done)]);
  assert.deepEqual(await follow(await server.listen()), { seqs: [2, 3], states: ["lost", "back"] });
  assert.equal(server.requests[1]!.path, "/v1/runs/run-1/stream");
  assert.equal(server.requests[1]!.body.starting_after, 2);
});

test("A stream that ends without [DONE], as at a stop of the server, goes on too", async () => {
  await using server = new ScriptedServer([sends(hello, event(2)), sends(event(3), done)]);
  assert.deepEqual((await follow(await server.listen())).seqs, [2, 3]);
});

test("Events that come again are shown once", async () => {
  await using server = new ScriptedServer([cutsAfter(hello, event(2), event(3)), sends(event(2), event(3), event(4), done)]);
  assert.deepEqual((await follow(await server.listen())).seqs, [2, 3, 4]);
});

test("A cut before the run is known sends the same messages again, which start it once", async () => {
  await using server = new ScriptedServer([cutsAfter(""), sends(hello, event(2), done)]);
  assert.deepEqual((await follow(await server.listen())).seqs, [2]);
  assert.deepEqual(server.requests[0], server.requests[1]);
});

test("A server that is starting (503) is waited for", async () => {
  await using server = new ScriptedServer([cutsAfter(hello, event(2)), refuses(503), sends(event(3), done)]);
  assert.deepEqual(await follow(await server.listen()), { seqs: [2, 3], states: ["lost", "back"] });
});

test("A refusal ends it", async () => {
  await using server = new ScriptedServer([refuses(409)]);
  const url = await server.listen();
  await assert.rejects(follow(url), (error) => error instanceof ApiError && error.status === 409 && error.message === "not now");
});

test("Nobody at the address is said at once", async () => {
  const server = new ScriptedServer([]);
  const url = await server.listen();
  await server[Symbol.asyncDispose]();
  await assert.rejects(follow(url), ServerUnreachableError);
});

test("A server that does not come back is given up after the patience is over", async () => {
  await using server = new ScriptedServer([cutsAfter(hello, event(2)), refuses(503), refuses(503), refuses(503), refuses(503)]);
  const url = await server.listen();
  await assert.rejects(follow(url, { patienceMilliseconds: 100 }), (error) => error instanceof ApiError && error.status === 503);
});

test("Stopping ends the wait for a server that is away", async () => {
  await using server = new ScriptedServer([cutsAfter(hello, event(2)), refuses(503), refuses(503)]);
  const url = await server.listen();
  const stop = new AbortController();
  await assert.rejects(follow(url, { signal: stop.signal, onConnection: () => stop.abort() }), { name: "AbortError" });
});
