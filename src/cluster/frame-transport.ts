/** The transport, over any kind of pipe: a connection for each peer and traffic class, made when it is first needed. */
import { assert } from "../base/assert.ts";
import type { Environment } from "../environment/environment.ts";
import { Answerer } from "./answerer.ts";
import { Caller, type CallKind, type CallRequest } from "./caller.ts";
import { Connection } from "./connection.ts";
import { type Agreement, AnsweringHandshake, DiallingHandshake, type Handshake, type Identity, protocol, secretBytesMin } from "./hello.ts";
import { ItemQueue } from "./item-queue.ts";
import type { SendQueue } from "./send-queue.ts";
import type { Pipe, PipeEvents, Pipes } from "./pipe.ts";
import {
  type CallHandler,
  type CallOptions,
  HandshakeError,
  type NodeAddress,
  NodeUnreachableError,
  OverloadedError,
  type TrafficClass,
  type Transport,
  type Wire,
} from "./transport.ts";
import { defaultTransportLimits, defaultTransportTimings, type TransportLimits, type TransportTimings } from "./transport-limits.ts";
import { encodeWire } from "./wire.ts";

export interface FrameTransportOptions {
  readonly environment: Environment;
  /** This incarnation's name, which peers see. */
  readonly node: string;
  readonly cluster: string;
  /** Known to all nodes of the cluster and nobody else: at least 16 bytes. Not needed where certificates prove it all. */
  readonly secret?: Uint8Array;
  readonly limits?: Partial<TransportLimits>;
  readonly timings?: Partial<TransportTimings>;
}

/** An address and a class: what has one connection. */
interface Route {
  readonly address: NodeAddress;
  caller: Caller | undefined;
  dialling: Promise<Caller> | undefined;
  /** Calls that wait for it. */
  waiting: number;
  /** In a row. */
  failures: number;
  /** No sooner is it dialled again; until then calls fail as the last attempt did. */
  dialAgainAt: number;
  lastError: Error | undefined;
}

interface OpenConnection {
  readonly connection: Connection;
  readonly pipe: Pipe;
  /** Whether nothing is in progress on it and nothing waits to be sent. */
  isIdle(): boolean;
  answerer?: Answerer;
}

/** More routes than this are looked through for those that are of no use any more. */
const routesMax = 1_024;

export class FrameTransport implements Transport {
  readonly #environment: Environment;
  readonly #identity: Identity;
  readonly #pipes: Pipes;
  readonly #limits: TransportLimits;
  readonly #timings: TransportTimings;
  readonly #routes = new Map<string, Route>();
  readonly #open = new Set<OpenConnection>();
  /** Accepted pipes whose peers have not proved who they are, the oldest first. */
  readonly #unproven = new Set<Pipe>();
  /** Attempts to connect. */
  readonly #dials = new Set<AbortController>();
  #accepted = 0;
  #handler: CallHandler | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: FrameTransportOptions, pipes: Pipes) {
    const { environment, node, cluster, secret } = options;
    if (secret !== undefined && secret.length < secretBytesMin)
      throw new TypeError(`The cluster's secret has ${secret.length} bytes: it must have at least ${secretBytesMin}`);
    for (const [what, name] of Object.entries({ node, cluster }))
      if (!/^[\x20-\x7e]{1,200}$/.test(name))
        throw new TypeError(`The name of a ${what} has 1 to 200 printable ASCII characters, not ${JSON.stringify(name.slice(0, 40))}`);
    this.#environment = environment;
    this.#identity = { node, cluster, protocol, secret };
    this.#pipes = pipes;
    this.#limits = { ...defaultTransportLimits, ...options.limits };
    this.#timings = { ...defaultTransportTimings, ...options.timings };
  }

  async listen(handler: CallHandler): Promise<NodeAddress> {
    assert(this.#handler === undefined, "A transport listens once");
    this.#handler = handler;
    return await this.#pipes.listen((pipe) => this.#accept(pipe, handler));
  }

  async request(address: NodeAddress, method: string, body: Wire, options: CallOptions): Promise<Wire> {
    const deadline = this.#environment.clock.elapsed() + options.timeoutMilliseconds;
    const call = this.#prepare("request", { address, method, body, options });
    const caller = this.#connected(address, options) ?? (await this.#connect(address, call));
    return await new Promise<Wire>((resolve, reject) => {
      caller.open(call, this.#left(deadline), { value: resolve, end: () => {}, fail: reject });
    });
  }

  async *stream(address: NodeAddress, method: string, body: Wire, options: CallOptions): AsyncGenerator<Wire, void, undefined> {
    const deadline = this.#environment.clock.elapsed() + options.timeoutMilliseconds;
    const call = this.#prepare("stream", { address, method, body, options });
    const caller = this.#connected(address, options) ?? (await this.#connect(address, call));
    const items = new ItemQueue();
    const open = caller.open(call, this.#left(deadline), items);
    try {
      for (let item = await items.next(); item !== undefined; item = await items.next()) {
        open.take(item.bytes);
        yield item.value;
      }
    } finally {
      open.cancel();
    }
  }

  /** Takes nothing new, lets calls in progress finish for a while, and closes all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  #prepare(
    kind: CallKind,
    {
      address,
      method,
      body,
      options,
    }: { readonly address: NodeAddress; readonly method: string; readonly body: Wire; readonly options: CallOptions },
  ): CallRequest {
    const name = Buffer.from(method, "utf8");
    if (name.length === 0 || name.length > 255) throw new TypeError(`A method's name has 1 to 255 bytes, not ${name.length}`);
    const { timeoutMilliseconds, hops = 0, signal } = options;
    if (!(timeoutMilliseconds >= 1)) throw new TypeError(`A call has a timeout of 1 ms or more, not ${timeoutMilliseconds}`);
    if (!Number.isInteger(hops) || hops < 0 || hops > 254) throw new TypeError(`A call was forwarded 0 to 254 times, not ${hops}`);
    signal?.throwIfAborted();
    return { kind, method: name, body: encodeWire(body, this.#limits.bodyBytesMax), options, what: `The ${kind} ${method} to ${address}` };
  }

  #left(deadline: number): number {
    return Math.max(0, deadline - this.#environment.clock.elapsed());
  }

  /** The way that is there already: what nearly every call takes. */
  #connected(address: NodeAddress, options: CallOptions): Caller | undefined {
    if (this.#closing !== undefined) return undefined;
    const caller = this.#routes.get(routeKey(address, options.class))?.caller;
    return caller?.isRetiring === false ? caller : undefined;
  }

  /** Waits for the connection, no longer than the call may. */
  async #connect(address: NodeAddress, call: CallRequest): Promise<Caller> {
    const { what, options } = call;
    if (this.#closing !== undefined) throw new NodeUnreachableError(`${what} was not handled: this node is closing`);
    const route = this.#route(address, options.class ?? "data");
    if (route.waiting >= this.#limits.inFlightMax)
      throw new OverloadedError(`${what} was not sent: ${route.waiting} calls wait for the connection`, 100);
    if (route.dialling === undefined) {
      const wait = route.dialAgainAt - this.#environment.clock.elapsed();
      if (wait > 0) throw again(route.lastError!, wait);
      route.dialling = this.#dial(route, options.class ?? "data").finally(() => {
        route.dialling = undefined;
      });
    }
    route.waiting++;
    const done = new AbortController();
    try {
      const { dialling } = route;
      // Whoever waits hears how it ends; when all have given up, nobody has to.
      dialling.catch(() => {});
      return await Promise.race([dialling, this.#giveUp(call, done.signal)]);
    } finally {
      route.waiting--;
      done.abort();
    }
  }

  /** Rejects when the call's time is over, or it is cancelled. */
  #giveUp({ what, options }: CallRequest, done: AbortSignal): Promise<never> {
    return new Promise((_, reject) => {
      const { signal, timeoutMilliseconds } = options;
      const cancel = this.#environment.clock.schedule(timeoutMilliseconds, () =>
        reject(new NodeUnreachableError(`${what} was not handled: there was no connection within ${timeoutMilliseconds} ms`)),
      );
      const onAbort = (): void => reject(signal!.reason as Error);
      signal?.addEventListener("abort", onAbort);
      done.addEventListener("abort", () => {
        cancel();
        signal?.removeEventListener("abort", onAbort);
      });
    });
  }

  #route(address: NodeAddress, trafficClass: TrafficClass): Route {
    const key = routeKey(address, trafficClass);
    let route = this.#routes.get(key);
    if (route === undefined) {
      if (this.#routes.size >= routesMax) this.#forgetRoutes();
      route = { address, caller: undefined, dialling: undefined, waiting: 0, failures: 0, dialAgainAt: 0, lastError: undefined };
      this.#routes.set(key, route);
    }
    return route;
  }

  /** Drops what is known of addresses that nobody is connected to. */
  #forgetRoutes(): void {
    const now = this.#environment.clock.elapsed();
    for (const [key, route] of this.#routes)
      if (route.caller === undefined && route.dialling === undefined && route.dialAgainAt <= now) this.#routes.delete(key);
  }

  async #dial(route: Route, trafficClass: TrafficClass): Promise<Caller> {
    const { clock, random } = this.#environment;
    try {
      const caller = await this.#makeConnection(route, trafficClass);
      route.caller = caller;
      route.failures = 0;
      route.dialAgainAt = 0;
      return caller;
    } catch (error) {
      const { backoffMin, backoffMax } = this.#timings;
      // Between half and all of it, so that nodes that lost the same peer do not come back together.
      const backoff = Math.min(backoffMin * 2 ** route.failures, backoffMax) * (0.5 + random.fraction() / 2);
      route.failures++;
      route.dialAgainAt = clock.elapsed() + backoff;
      route.lastError = error as Error;
      throw error;
    }
  }

  #makeConnection(route: Route, trafficClass: TrafficClass): Promise<Caller> {
    const { address } = route;
    return new Promise((resolve, reject) => {
      const open = (pipe: Pipe): PipeEvents => {
        const handshake = new DiallingHandshake(this.#identity, {
          class: trafficClass,
          random: this.#environment.random,
          binding: pipe.binding,
        });
        const ready = (_: Agreement, sendQueue: SendQueue): Caller => {
          const caller = new Caller(sendQueue, this.#environment, this.#limits);
          caller.onIdle = () => {
            // Not from within its own frame, which may have more to say.
            if (caller.isRetiring) pipe.soon(() => opened.connection.end(undefined));
          };
          opened.isIdle = () => caller.inFlight === 0;
          resolve(caller);
          return caller;
        };
        const opened = this.#openConnection({ pipe, handshake, ready }, (error) => {
          reject(dialError(address, error));
          if (route.caller?.isRetiring === true) route.caller = undefined;
        });
        return opened.events;
      };
      const dial = new AbortController();
      this.#dials.add(dial);
      const { hello } = this.#timings;
      const cancel = this.#environment.clock.schedule(hello, () => dial.abort(new Error(`there was no connection within ${hello} ms`)));
      this.#pipes
        .dial(address, open, dial.signal)
        .catch(reject)
        .finally(() => {
          cancel();
          this.#dials.delete(dial);
        });
    });
  }

  #accept(pipe: Pipe, handler: CallHandler): PipeEvents {
    const { random, log } = this.#environment;
    if (this.#closing !== undefined || this.#accepted >= this.#limits.connectionsMax) {
      log.write("warn", "A connection of a node was refused: there are too many, or this node is closing", { from: pipe.remote });
      pipe.destroy();
      return { received: () => {}, drained: () => {}, closed: () => {} };
    }
    const [oldest] = this.#unproven;
    if (oldest !== undefined && this.#unproven.size >= this.#limits.unprovenMax) oldest.destroy();
    this.#accepted++;
    this.#unproven.add(pipe);
    const handshake: Handshake =
      pipe.certificateFault === undefined
        ? new AnsweringHandshake(this.#identity, { random, binding: pipe.binding })
        : refuseAll(
            `Node ${this.#identity.node} does not accept the certificate of the node that called it (${pipe.certificateFault}): give that node one that the cluster's authority has signed`,
          );
    const ready = (agreement: Agreement, sendQueue: SendQueue): Answerer => {
      this.#unproven.delete(pipe);
      const answerer = new Answerer(sendQueue, this.#environment, this.#limits, handler, agreement.peer);
      opened.answerer = answerer;
      opened.isIdle = () => answerer.inFlight === 0 && sendQueue.bytes === 0;
      return answerer;
    };
    const opened = this.#openConnection({ pipe, handshake, ready }, (error) => {
      this.#accepted--;
      this.#unproven.delete(pipe);
      if (error !== undefined)
        log.write(error instanceof HandshakeError ? "warn" : "info", "A connection of a node ended", {
          from: pipe.remote,
          why: error.message,
        });
    });
    return opened.events;
  }

  #openConnection(
    {
      pipe,
      handshake,
      ready,
    }: { readonly pipe: Pipe; readonly handshake: Handshake; ready(agreement: Agreement, sendQueue: SendQueue): Caller | Answerer },
    ended: (error: Error | undefined) => void,
  ): OpenConnection & { readonly events: PipeEvents } {
    const connection = new Connection({
      environment: this.#environment,
      timings: this.#timings,
      link: pipe,
      handshake,
      ready,
      ended: (error) => {
        this.#open.delete(opened);
        // A refusal has to arrive; other errors are nobody's to hear.
        if (error === undefined || error instanceof HandshakeError) pipe.end();
        else pipe.destroy();
        ended(error);
      },
    });
    const opened: OpenConnection & { readonly events: PipeEvents } = {
      connection,
      pipe,
      isIdle: () => true,
      events: {
        received: (bytes) => connection.receive(bytes),
        drained: () => connection.resume(),
        closed: (error) =>
          connection.end(
            error ??
              new Error(
                connection.isReady
                  ? "the peer has closed the connection"
                  : "it closed the connection during the hello: it is closing, has no room, or only one side has TLS",
              ),
          ),
      },
    };
    this.#open.add(opened);
    return opened;
  }

  async #close(): Promise<void> {
    const { clock } = this.#environment;
    this.#pipes.stopListening();
    for (const pipe of this.#unproven) pipe.destroy();
    for (const dial of this.#dials) dial.abort(new Error("this node is closing"));
    for (const { answerer } of this.#open) answerer?.sayGoodbye();
    const deadline = clock.elapsed() + this.#timings.close;
    const isBusy = (): boolean => [...this.#open].some((open) => !open.isIdle());
    while (isBusy() && clock.elapsed() < deadline) await clock.sleep(5);
    for (const { connection } of this.#open) connection.end(undefined);
    await this.#pipes[Symbol.asyncDispose]();
  }
}

function routeKey(address: NodeAddress, trafficClass: TrafficClass = "data"): string {
  return `${trafficClass} ${address}`;
}

function refuseAll(message: string): Handshake {
  return {
    receive: () => {
      throw new HandshakeError(message);
    },
  };
}

/** What a caller hears of a connection that never was ready. */
function dialError(address: NodeAddress, error: Error | undefined): Error {
  if (error instanceof HandshakeError) return new HandshakeError(`Cannot join ${address}: ${error.message}`, { cause: error });
  return new NodeUnreachableError(`Cannot reach ${address}: ${error?.message ?? "the connection was closed"}`, { cause: error });
}

/** An error of its own for each call, so that each has its own stack. */
function again(error: Error, wait: number): Error {
  const message = `${error.message} (tried a moment ago; the next attempt is in ${Math.ceil(wait)} ms)`;
  return error instanceof HandshakeError
    ? new HandshakeError(message, { cause: error })
    : new NodeUnreachableError(message, { cause: error });
}
