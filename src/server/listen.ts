/** Adapter: serves the app on a TCP port with Node's HTTP server. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import type { Environment } from "../environment/environment.ts";
import type { App } from "./app.ts";
import { isLoopbackName } from "./authentication.ts";
import { jsonResponse } from "./error-answer.ts";
import { bodyBytesMax, bodyTooLarge } from "./json-body.ts";
import { socketSink } from "./socket-sink.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Whether the app asks for a key; without one it is reachable from this machine only. */
  readonly hasKey: boolean;
  readonly environment: Environment;
  /** Aborts the app's `closing` signal. */
  readonly close: () => void;
}

export interface Listening {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** From now on a connection ends with its answer, so that its client comes over another one, and elsewhere, next time. */
  retire(): void;
  /**
   * Takes no more connections, ends event streams so that clients can resume them, and waits for the answers under
   * way: at most `graceMilliseconds`, then it closes what is left. `finishMilliseconds`: before that, how long streams
   * and answers may come to their end by themselves.
   */
  close(graceMilliseconds: number, finishMilliseconds?: number): Promise<void>;
}

/** A key is missing, or the address cannot be had. The message says what to do. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

const headersMillisecondsMax = 20_000;
/** For a whole request with its body. */
const requestMillisecondsMax = 300_000;
/** Longer than the idle time of common load balancers, so that they close first and no request is lost between. */
const keepAliveMilliseconds = 75_000;
const headerBytesMax = 64 * 1024;
const connectionsMax = 20_000;
const drainPauseMilliseconds = 20;

/** @throws {ListenError} */
export async function listen(app: App, options: ListenOptions): Promise<Listening> {
  const { host, port } = options;
  if (!options.hasKey && !isLoopbackName(host.includes(":") ? `[${host}]` : host))
    throw new ListenError(
      `Refusing to listen on ${host} without a key: everybody who can reach this machine could use it. Set KELPIE_API_KEY, or listen on 127.0.0.1`,
    );
  const answer = listenerOf(app);
  let isRetired = false;
  /** Connections on which nothing was asked yet, such as browsers open ahead. Node does not count them as idle. */
  const unused = new Set<Socket>();
  const server = createServer(
    {
      headersTimeout: headersMillisecondsMax,
      requestTimeout: requestMillisecondsMax,
      keepAliveTimeout: keepAliveMilliseconds,
      maxHeaderSize: headerBytesMax,
    },
    (incoming, outgoing) => {
      unused.delete(incoming.socket);
      if (isRetired) outgoing.setHeader("connection", "close");
      answer(incoming, outgoing);
    },
  );
  server.maxConnections = connectionsMax;
  server.on("connection", (socket) => {
    unused.add(socket);
    socket.once("close", () => unused.delete(socket));
  });
  server.on("clientError", answerUnreadable);
  await bind(server, host, port);
  const address = server.address() as AddressInfo;
  const shownHost = address.address.includes(":") ? `[${address.address}]` : address.address;
  return {
    host: address.address,
    port: address.port,
    url: `http://${shownHost === "127.0.0.1" || shownHost === "[::1]" ? "localhost" : shownHost}:${address.port}`,
    retire: () => {
      isRetired = true;
    },
    close: async (graceMilliseconds, finishMilliseconds = 0) => {
      isRetired = true;
      const finished = new AbortController();
      const closed = new Promise<void>((resolve) => server.close(() => resolve())).then(() => finished.abort());
      for (const socket of unused) socket.destroy();
      if (finishMilliseconds > 0) await untilFinished(server, options.environment, finishMilliseconds, finished.signal);
      options.close();
      await untilFinished(server, options.environment, graceMilliseconds, finished.signal);
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Resolves when `signal` aborts, or when the time is over. */
async function untilFinished(server: Server, { clock }: Environment, milliseconds: number, signal: AbortSignal): Promise<void> {
  const end = clock.elapsed() + milliseconds;
  // A kept-alive connection that becomes idle while the server closes is not closed by Node itself.
  while (!signal.aborted && clock.elapsed() < end) {
    server.closeIdleConnections();
    await clock.sleep(drainPauseMilliseconds, signal);
  }
}

function listenerOf(app: App): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const listener = getRequestListener(
    (request, env) =>
      app.fetch(request, {
        openSink: () => socketSink((env as { outgoing: ServerResponse }).outgoing),
        alreadySent: RESPONSE_ALREADY_SENT,
        from: (env as { incoming: IncomingMessage }).incoming.socket.remoteAddress,
      }),
    {
      hostname: "localhost",
      // Of `fetch` no error comes: the host or the address of the request is malformed.
      errorHandler: (error) => jsonResponse(400, { detail: unreadable(error) }),
    },
  );
  return (incoming, outgoing) => {
    if (!answerActorCall(app, incoming, outgoing)) void listener(incoming, outgoing);
  };
}

/** Answers what Node's parser refused before it was a request. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Duplex): void {
  // Where something was written already, an answer may be under way that this would break into.
  if (!socket.writable || (socket as Socket).bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const [status, detail] = parserErrors[error.code ?? ""] ?? ["400 Bad Request", unreadable(error)];
  const body = JSON.stringify({ detail });
  socket.end(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

const parserErrors: Readonly<Record<string, readonly [status: string, detail: string]>> = {
  HPE_HEADER_OVERFLOW: [
    "431 Request Header Fields Too Large",
    `The address and the headers of a request have at most ${headerBytesMax} bytes. Send long values in the body`,
  ],
  ERR_HTTP_REQUEST_TIMEOUT: [
    "408 Request Timeout",
    `The headers of a request arrive within ${headersMillisecondsMax / 1_000} seconds, and the whole within ${requestMillisecondsMax / 1_000}`,
  ],
};

function unreadable(error: unknown): string {
  return `The request is not HTTP as RFC 9112 has it: ${error instanceof Error ? error.message : String(error)}`;
}

/** Calls to actors go past the router, straight from Node's request to its response. False: this is another request. */
function answerActorCall(app: App, incoming: IncomingMessage, outgoing: ServerResponse): boolean {
  const { method, url = "", headers } = incoming;
  if (method !== "POST" || !url.startsWith("/v1/actors/")) return false;
  const head = { url: `http://${headers.host ?? "localhost"}${url}`, headers: { get: (name: string) => singleHeader(headers[name]) } };
  const answer = app.callActor(head, () => readIncoming(incoming));
  if (answer === undefined) return false;
  void answer.then(({ status, headers: answered, body }) => {
    // The rest of a body that was refused is not read: the connection cannot carry another request.
    const rest = incoming.complete ? {} : { connection: "close" };
    outgoing.writeHead(status, { ...answered, ...rest, "content-length": Buffer.byteLength(body) });
    outgoing.end(body);
  });
  return true;
}

function singleHeader(value: string | readonly string[] | undefined): string | null {
  return typeof value === "string" ? value : (value?.join(", ") ?? null);
}

/** @throws {HttpError} 413 over the limit. Never settles for a client that leaves: nobody is there to answer. */
function readIncoming(incoming: IncomingMessage): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let total = 0;
    incoming.on("data", (chunk: Buffer) => {
      total += chunk.length;
      if (total <= bodyBytesMax) {
        chunks.push(chunk);
        return;
      }
      // Many clients read no answer before they have sent everything: the rest is let through, within reason.
      chunks = [];
      if (total <= 2 * bodyBytesMax) return;
      incoming.pause();
      reject(bodyTooLarge(bodyBytesMax));
    });
    incoming.on("end", () => {
      if (total > bodyBytesMax) reject(bodyTooLarge(bodyBytesMax));
      else resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    });
    incoming.on("error", () => {});
  });
}

async function bind(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(new ListenError(explain(error, host, port), { cause: error })));
    server.listen(port, host, resolve);
  });
}

function explain(error: NodeJS.ErrnoException, host: string, port: number): string {
  const place = `${host}:${port}`;
  switch (error.code) {
    case "EADDRINUSE":
      return `Cannot listen on ${place}: the port is in use. Stop the other program, or choose another port with --port or PORT`;
    case "EACCES":
      return `Cannot listen on ${place}: this needs more rights. Choose a port above 1023`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return `Cannot listen on ${place}: this machine has no address ${host}`;
    default:
      return `Cannot listen on ${place}: ${error.message}`;
  }
}
