import type { CallContext, CallHandler, CallOptions, NodeAddress, Transport, Wire } from "../../src/cluster/transport.ts";
import { NodeUnreachableError, RemoteError, ReplyLostError } from "../../src/cluster/transport.ts";
import type { Clock } from "../../src/environment/environment.ts";

interface Station {
  readonly name: string;
  readonly handler: CallHandler;
  readonly pause: Pause;
}

export interface Pause {
  readonly isPaused: boolean;
  /** Resolves when it is over. */
  readonly gate: Promise<void>;
}

/** A peer that is silent for so long is taken to be gone, as by the pings of the real transport. */
const silenceMilliseconds = 3_000;

/** A network in memory that a test cuts, and whose replies it loses. */
export class TestNetwork {
  readonly stations: Map<NodeAddress, Station> = new Map();
  /** Pairs of stations, `a b`, that cannot reach each other. */
  readonly cuts: Set<string> = new Set();
  /** Whether the reply to a call gets lost after it was handled. */
  losesReply: (method: string, from: string, to: string) => boolean = () => false;
  readonly calls: { readonly from: string; readonly to: string; readonly method: string }[] = [];
  #ports = 9_000;

  transport(name: string, options: { readonly clock: Clock; readonly pause: Pause }): Transport {
    return new TestTransport(this, name, options);
  }

  nextAddress(): NodeAddress {
    return `test:${this.#ports++}`;
  }

  cut(left: string, right: string): void {
    this.cuts.add(`${left} ${right}`).add(`${right} ${left}`);
  }

  heal(): void {
    this.cuts.clear();
  }

  count(method: string): number {
    return this.calls.filter((call) => call.method === method).length;
  }
}

class TestTransport implements Transport {
  readonly #network: TestNetwork;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #pause: Pause;
  #address: NodeAddress | undefined;

  constructor(network: TestNetwork, name: string, options: { readonly clock: Clock; readonly pause: Pause }) {
    this.#network = network;
    this.#name = name;
    this.#clock = options.clock;
    this.#pause = options.pause;
  }

  async listen(handler: CallHandler): Promise<NodeAddress> {
    this.#address = this.#network.nextAddress();
    this.#network.stations.set(this.#address, { name: this.#name, handler, pause: this.#pause });
    return this.#address;
  }

  async request(address: NodeAddress, method: string, body: Wire, options: CallOptions): Promise<Wire> {
    const { station, context, lost, finish } = this.#call(address, method, options);
    const handled = (async () => {
      await station.pause.gate;
      return await station.handler.request(method, structuredClone(body), context);
    })().catch((error: unknown) => {
      throw remote(error);
    });
    handled.catch(() => {});
    try {
      let outcome: Wire;
      let failure: Error | undefined;
      try {
        outcome = await Promise.race([handled, lost]);
      } catch (error) {
        failure = error as Error;
      }
      await this.#pause.gate;
      if (this.#isCut(station) || this.#network.losesReply(method, this.#name, station.name))
        throw new ReplyLostError(`The test network lost the reply to ${method}`);
      if (failure !== undefined) throw failure;
      return structuredClone(outcome);
    } finally {
      finish();
    }
  }

  async *stream(address: NodeAddress, method: string, body: Wire, options: CallOptions): AsyncGenerator<Wire> {
    const { station, context, finish } = this.#call(address, method, options);
    try {
      for await (const item of station.handler.stream(method, structuredClone(body), context)) {
        if (this.#isCut(station)) throw new ReplyLostError(`The test network broke the stream ${method}`);
        yield structuredClone(item);
      }
    } catch (error) {
      throw error instanceof ReplyLostError ? error : remote(error);
    } finally {
      finish();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#address !== undefined) this.#network.stations.delete(this.#address);
  }

  #call(
    address: NodeAddress,
    method: string,
    options: CallOptions,
  ): { readonly station: Station; readonly context: CallContext; readonly lost: Promise<never>; readonly finish: () => void } {
    const station = this.#network.stations.get(address);
    if (station === undefined || this.#isCut(station)) throw new NodeUnreachableError(`Nobody answers at ${address}`);
    this.#network.calls.push({ from: this.#name, to: station.name, method });
    const controller = new AbortController();
    let lose = (_error: Error): void => {};
    const lost = new Promise<never>((_, reject) => (lose = reject));
    lost.catch(() => {});
    const end = (error: Error): void => {
      controller.abort(error);
      lose(error);
    };
    const cancel = this.#clock.schedule(options.timeoutMilliseconds, () => end(new ReplyLostError(`${method} took too long`)));
    const ping = (silent: number): (() => void) =>
      this.#clock.schedule(1_000, () => {
        const silentNow = station.pause.isPaused ? silent + 1_000 : 0;
        if (silentNow < silenceMilliseconds) cancelPing = ping(silentNow);
        else end(new ReplyLostError(`${station.name} is silent`));
      });
    let cancelPing = ping(0);
    const onAbort = (): void => end(new ReplyLostError(`${method} was cancelled`));
    options.signal?.addEventListener("abort", onAbort);
    return {
      station,
      context: {
        peer: this.#name,
        hops: (options.hops ?? 0) + 1,
        remainingMilliseconds: options.timeoutMilliseconds,
        signal: controller.signal,
      },
      lost,
      finish: () => {
        cancel();
        cancelPing();
        options.signal?.removeEventListener("abort", onAbort);
        controller.abort(new Error("The call is over"));
      },
    };
  }

  /** Gone, or on the other side of a cut. */
  #isCut(station: Station): boolean {
    return this.#network.cuts.has(`${this.#name} ${station.name}`) || ![...this.#network.stations.values()].includes(station);
  }
}

function remote(error: unknown): RemoteError | ReplyLostError {
  if (error instanceof ReplyLostError || error instanceof RemoteError) return error;
  const { name, message } = error as Error;
  const { name: _, ...fields } = error as Error & { readonly [field: string]: unknown };
  return new RemoteError(name, message, structuredClone(JSON.parse(JSON.stringify(fields)) as { readonly [field: string]: unknown }));
}
