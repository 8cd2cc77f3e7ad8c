/**
 * A proxy between a client and a server that writes down what is asked and answered.
 *
 * It waits for a server that is being started again, as a load balancer does, so that what a client does after a crash
 * does not depend on how fast this machine starts a process.
 */
import { createServer, type IncomingMessage, request as startRequest, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface LoggedRequest {
  readonly method: string;
  /** As it was sent, with its query. */
  readonly path: string;
  readonly body: string;
  /** Undefined before the answer begins, and where there is none. */
  status: number | undefined;
  /** Of the answer's body so far. */
  answer: string;
  /** The connection to the server broke in the middle of the answer. */
  isCut: boolean;
}

const serverMillisecondsMax = 30_000;
const pollMilliseconds = 20;

export class RequestLog implements AsyncDisposable {
  readonly #target: URL;
  readonly #server: Server;
  requests: LoggedRequest[] = [];

  static async start(target: string): Promise<RequestLog> {
    const log = new RequestLog(target);
    await new Promise<void>((resolve) => log.#server.listen(0, "127.0.0.1", resolve));
    return log;
  }

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((incoming, response) => void this.#pass(incoming, response));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves with the first request, from now on, of which `isMeant` is true; looks at its answer as it grows. */
  async waitFor(isMeant: (request: LoggedRequest) => boolean): Promise<LoggedRequest> {
    for (;;) {
      const found = this.requests.find(isMeant);
      if (found !== undefined) return found;
      await sleep(pollMilliseconds);
    }
  }

  /** `200 POST /v1/conversations/{conv}/messages`, one a request, in their order. */
  get lines(): string[] {
    return this.requests.map(({ method, path, status, isCut }) => `${isCut ? "cut" : (status ?? "none")} ${method} ${shapeOf(path)}`);
  }

  async #pass(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part);
    const body = Buffer.concat(parts);
    const { method = "GET", url: path = "/" } = incoming;
    const logged: LoggedRequest = { method, path, body: body.toString(), status: undefined, answer: "", isCut: false };
    this.requests.push(logged);
    const deadline = performance.now() + serverMillisecondsMax;
    while (!(await this.#send(incoming, body, response, logged)) && performance.now() < deadline && !response.destroyed)
      await sleep(pollMilliseconds);
    if (!response.headersSent) response.destroy();
  }

  /** Whether there was a server. */
  async #send(incoming: IncomingMessage, body: Buffer, response: ServerResponse, logged: LoggedRequest): Promise<boolean> {
    return await new Promise((resolve) => {
      const { method, url: path, headers } = incoming;
      // Without an agent: no connection is kept, so none that the server has just closed is used again.
      const outgoing = startRequest(new URL(path ?? "/", this.#target), { method, headers, agent: false }, (answer) => {
        resolve(true);
        logged.status = answer.statusCode;
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.on("data", (chunk: Buffer) => {
          logged.answer += chunk.toString();
          response.write(chunk);
        });
        answer.on("end", () => response.end());
        answer.on("error", () => {
          logged.isCut = !response.destroyed;
          response.destroy();
        });
      });
      const abandon = (): void => void outgoing.destroy();
      response.once("close", abandon);
      outgoing.once("close", () => response.off("close", abandon));
      outgoing.on("error", (error: NodeJS.ErrnoException) => {
        // A request that may have been worked on is not sent again: that is for the client to decide.
        if (error.code !== "ECONNREFUSED") response.destroy();
        resolve(error.code !== "ECONNREFUSED");
      });
      outgoing.end(body);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** Ids become the names of their kinds, and the long lists of message types one word. */
function shapeOf(path: string): string {
  return path
    .replaceAll(/\b(agent|conv|message|run)-[0-9a-f-]{36}/g, "{$1}")
    .replace(/(&include_return_message_types=\w+)+/, "&include_return_message_types=…");
}
