/**
 * The same transport through a network in memory, for the simulation and for tests of what stands on a transport.
 *
 * Everything but the sockets is the production code: hello, frames, pings, deadlines, credits. A `MemoryNetwork` is a set
 * of hosts and the pipes between them; a `Weather` decides what becomes of each thing that travels. As over TCP, the
 * bytes of a pipe come in order or not at all, so loss is a pipe that breaks or stalls, and nothing comes twice.
 *
 * How a simulation plugs in: one network per world, with a `Weather` whose `carry` schedules an event of the kernel,
 * owned by the receiving incarnation, after a latency from the seed, or never while a partition holds; one
 * `MemoryTransport` per incarnation, with that incarnation's environment; `network.crash(address)` when it dies.
 */
import { FrameTransport, type FrameTransportOptions } from "./frame-transport.ts";
import type { Pipe, PipeEvents, Pipes } from "./pipe.ts";
import { type NodeAddress, NodeUnreachableError } from "./transport.ts";

/** Something on its way: the opening or end of a pipe, or bytes. */
export interface Passage {
  readonly from: NodeAddress;
  readonly to: NodeAddress;
  readonly what: "open" | "bytes" | "close";
  readonly bytes: number;
}

/** What a network does with what travels. */
export interface Weather {
  /**
   * Calls `deliver` later, or never: then the pipe is stalled in this direction for good, as nothing overtakes. What of
   * one direction comes too early waits for what left before it.
   */
  carry(passage: Passage, deliver: () => void): void;
}

/** Everything arrives in the next microtask. */
export const fairWeather: Weather = { carry: (_, deliver) => queueMicrotask(deliver) };

interface Host {
  readonly accept: (pipe: Pipe) => PipeEvents;
}

export class MemoryNetwork {
  readonly #weather: Weather;
  readonly #hosts = new Map<NodeAddress, Host>();
  readonly #pipes = new Set<MemoryPipe>();
  #ports = 0;

  constructor(weather: Weather = fairWeather) {
    this.#weather = weather;
  }

  /** An address that nobody had before. */
  freeAddress(): NodeAddress {
    return `memory:${++this.#ports}`;
  }

  add(address: NodeAddress, accept: Host["accept"]): void {
    this.#hosts.set(address, { accept });
  }

  remove(address: NodeAddress): void {
    this.#hosts.delete(address);
  }

  /** The process at the address is gone: nobody listens, and the other ends of its pipes hear that they broke. */
  crash(address: NodeAddress): void {
    this.remove(address);
    this.break((from, to) => from === address || to === address);
  }

  /** Breaks pipes, as a reset of their connections does: both ends hear of it, as far as the weather lets them. */
  break(which: (from: NodeAddress, to: NodeAddress) => boolean): void {
    for (const pipe of this.#pipes) if (which(pipe.from, pipe.to)) pipe.breakOff();
  }

  dial(from: NodeAddress, to: NodeAddress, open: (pipe: Pipe) => PipeEvents, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => reject(new NodeUnreachableError(`Cannot reach ${to}: ${why}`));
      const refuse = (): void => fail("nobody listens there");
      if (signal.aborted) return fail((signal.reason as Error).message);
      signal.addEventListener("abort", () => fail((signal.reason as Error).message));
      this.#weather.carry({ from, to, what: "open", bytes: 0 }, () => {
        const host = this.#hosts.get(to);
        const answer = { from: to, to: from, what: "open", bytes: 0 } as const;
        if (host === undefined) return this.#weather.carry(answer, refuse);
        const far = new MemoryPipe(this.#weather, this.#pipes, { from: to, to: from });
        const near = new MemoryPipe(this.#weather, this.#pipes, { from, to });
        far.join(near);
        near.join(far);
        far.events = host.accept(far);
        this.#weather.carry(answer, () => {
          // Nobody is there to take it any more.
          if (signal.aborted) return near.end();
          near.events = open(near);
          resolve();
        });
      });
    });
  }
}

/** What a pipe takes before it wants its writer to wait. */
const pipeBytesMax = 262_144;

class MemoryPipe implements Pipe {
  readonly from: NodeAddress;
  readonly to: NodeAddress;
  readonly binding: Uint8Array = new Uint8Array();
  readonly certificateFault: string | undefined = undefined;
  readonly #weather: Weather;
  readonly #all: Set<MemoryPipe>;
  #far: MemoryPipe | undefined;
  #events: PipeEvents | undefined;
  #isClosed = false;
  #bytes = 0;
  #sent = 0;
  /** Of what came from the far end: the number that is next, and what waits for it. */
  #next = 0;
  readonly #early = new Map<number, () => void>();

  constructor(weather: Weather, all: Set<MemoryPipe>, ends: { readonly from: NodeAddress; readonly to: NodeAddress }) {
    this.#weather = weather;
    this.#all = all;
    this.from = ends.from;
    this.to = ends.to;
    all.add(this);
  }

  get remote(): string {
    return this.to;
  }

  join(far: MemoryPipe): void {
    this.#far = far;
  }

  set events(events: PipeEvents) {
    this.#events = events;
    this.#deliver();
  }

  write(bytes: Buffer): boolean {
    if (this.#isClosed) return true;
    this.#bytes += bytes.length;
    const far = this.#far!;
    this.#send("bytes", bytes.length, () => {
      this.#taken(bytes.length);
      far.#events?.received(bytes);
    });
    return this.#bytes < pipeBytesMax;
  }

  soon(callback: () => void): void {
    queueMicrotask(callback);
  }

  end(): void {
    if (this.#isClosed) return;
    const far = this.#far!;
    this.#send("close", 0, () => far.#close(undefined));
    this.#close(undefined);
  }

  destroy(): void {
    this.end();
  }

  breakOff(): void {
    if (this.#isClosed) return;
    const near = { from: this.to, to: this.from, what: "close", bytes: 0 } as const;
    this.#weather.carry(near, () => this.#close(new Error("the connection was reset")));
  }

  #send(what: Passage["what"], bytes: number, arrive: () => void): void {
    const number = this.#sent++;
    const far = this.#far!;
    this.#weather.carry({ from: this.from, to: this.to, what, bytes }, () => {
      if (far.#isClosed || number < far.#next) return;
      far.#early.set(number, arrive);
      far.#deliver();
    });
  }

  #deliver(): void {
    while (this.#events !== undefined && !this.#isClosed) {
      const arrive = this.#early.get(this.#next);
      if (arrive === undefined) return;
      this.#early.delete(this.#next++);
      arrive();
    }
  }

  #taken(bytes: number): void {
    const wasFull = this.#bytes >= pipeBytesMax;
    this.#bytes -= bytes;
    if (wasFull && this.#bytes < pipeBytesMax && !this.#isClosed) this.#events?.drained();
  }

  #close(error: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#early.clear();
    this.#all.delete(this);
    this.#events?.closed(error);
  }
}

class MemoryPipes implements Pipes {
  readonly #network: MemoryNetwork;
  readonly #address: NodeAddress;

  constructor(network: MemoryNetwork, address: NodeAddress) {
    this.#network = network;
    this.#address = address;
  }

  async dial(address: NodeAddress, open: (pipe: Pipe) => PipeEvents, signal: AbortSignal): Promise<void> {
    await this.#network.dial(this.#address, address, open, signal);
  }

  async listen(accept: (pipe: Pipe) => PipeEvents): Promise<NodeAddress> {
    this.#network.add(this.#address, accept);
    return this.#address;
  }

  stopListening(): void {
    this.#network.remove(this.#address);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopListening();
  }
}

export interface MemoryTransportOptions extends FrameTransportOptions {
  readonly network: MemoryNetwork;
  /** One that is free by default. */
  readonly address?: NodeAddress;
}

export class MemoryTransport extends FrameTransport {
  constructor(options: MemoryTransportOptions) {
    super(options, new MemoryPipes(options.network, options.address ?? options.network.freeAddress()));
  }
}
