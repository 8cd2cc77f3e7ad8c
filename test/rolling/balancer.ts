/**
 * A load balancer as people run one before several nodes: it looks at `/v1/ready`, shares requests out in turn over
 * connections that it keeps, and sends a request to the next node only if it certainly reached none: when the
 * connection was refused. What fails otherwise, the client sees, and is counted.
 */
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

interface Target {
  readonly url: URL;
  readonly agent: Agent;
  isReady: boolean;
}

export class Balancer implements AsyncDisposable {
  /** Requests, those of them that were answered by another node than the first that was tried, and what failed. */
  requests = 0;
  triedAgain = 0;
  readonly failures: string[] = [];
  /** Runs whose stream was asked for again. */
  readonly resumed: Set<string> = new Set();
  readonly #targets: readonly Target[];
  readonly #server: Server;
  readonly #stop = new AbortController();
  readonly #checking: Promise<unknown>;
  #next = 0;

  private constructor(targets: readonly Target[], server: Server, checkMilliseconds: number) {
    this.#targets = targets;
    this.#server = server;
    this.#checking = Promise.all(targets.map((target) => this.#check(target, checkMilliseconds)));
  }

  static async start(urls: readonly string[], checkMilliseconds: number): Promise<Balancer> {
    const targets = urls.map((url): Target => ({ url: new URL(url), agent: new Agent({ keepAlive: true }), isReady: true }));
    const server = createServer((incoming, outgoing) => balancer.#forward(incoming, outgoing));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const balancer = new Balancer(targets, server, checkMilliseconds);
    return balancer;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves when the node is in rotation, or out of it. */
  async until(url: string, isReady: boolean): Promise<void> {
    const target = this.#targets.find((each) => each.url.origin === new URL(url).origin)!;
    while (target.isReady !== isReady) await sleep(10);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#checking;
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    for (const { agent } of this.#targets) agent.destroy();
  }

  async #check(target: Target, milliseconds: number): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        target.isReady = (await fetch(new URL("/v1/ready", target.url), { signal: AbortSignal.timeout(5_000) })).ok;
      } catch {
        // Not there.
        target.isReady = false;
      }
      await sleep(milliseconds, undefined, { signal: this.#stop.signal }).catch(() => {});
    }
  }

  #forward(incoming: IncomingMessage, outgoing: ServerResponse): void {
    this.requests++;
    const resumed = /^\/v1\/runs\/([^/]+)\/stream$/.exec(incoming.url!)?.[1];
    if (resumed !== undefined) this.resumed.add(resumed);
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      const from = this.#next++;
      const inTurn = this.#targets.map((_, index) => this.#targets[(from + index) % this.#targets.length]!);
      this.#send(incoming, Buffer.concat(chunks), outgoing, [
        ...inTurn.filter(({ isReady }) => isReady),
        ...inTurn.filter(({ isReady }) => !isReady),
      ]);
    });
  }

  #send(incoming: IncomingMessage, body: Buffer, outgoing: ServerResponse, [target, ...others]: readonly Target[]): void {
    const { method, url, headers } = incoming;
    const what = `${method} ${url} at ${target!.url.port}`;
    const { connection: _, "transfer-encoding": __, ...passed } = headers;
    const sent = request(new URL(url!, target!.url), {
      method: method!,
      agent: target!.agent,
      headers: { ...passed, "content-length": body.length },
    });
    sent.on("response", (response) => {
      if (response.statusCode! >= 500) this.failures.push(`${what} was answered with ${response.statusCode}`);
      const { connection: ___, "keep-alive": ____, ...shown } = response.headers;
      outgoing.writeHead(response.statusCode!, shown);
      response.pipe(outgoing);
      response.on("error", (error) => {
        this.failures.push(`${what}: the answer broke off: ${error.message}`);
        outgoing.destroy();
      });
    });
    sent.on("error", (error: NodeJS.ErrnoException) => {
      if (outgoing.headersSent) return;
      if (error.code === "ECONNREFUSED" && others.length > 0) {
        this.triedAgain++;
        this.#send(incoming, body, outgoing, others);
        return;
      }
      this.failures.push(`${what}: ${error.code ?? error.message}`);
      outgoing.writeHead(502).end();
    });
    sent.end(body);
  }
}
