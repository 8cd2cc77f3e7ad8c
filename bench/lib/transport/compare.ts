/** Frames beside `node:http2`, in turn within each round. */
import { join } from "node:path";
import { progress } from "../arguments.ts";
import type { Table } from "../report.ts";
import { median } from "../statistics.ts";
import { Worker } from "../worker.ts";
import type { ForwardLoad, ForwardResult } from "./client-process.ts";
import type { Way } from "./forward.ts";

interface Measurement extends ForwardResult {
  /** Microseconds per call, of both processes. */
  readonly cpu: number;
}

export type Comparison = ReadonlyMap<Way, readonly Measurement[]>;

const ways: readonly Way[] = ["frames", "http2"];

export class TransportComparison implements AsyncDisposable {
  readonly #server: Worker = worker("server-process");
  readonly #client: Worker = worker("client-process");

  static async start(): Promise<TransportComparison> {
    const comparison = new TransportComparison();
    const server = comparison.#server;
    await comparison.#client.ask("connect", { frames: await server.ask("frames"), http2: await server.ask("http2") });
    return comparison;
  }

  async measure(load: { readonly inFlight: number; readonly seconds: number; readonly rounds: number }): Promise<Comparison> {
    const { inFlight, seconds, rounds } = load;
    const measurements = new Map<Way, Measurement[]>(ways.map((way) => [way, []]));
    for (const way of ways) await this.#client.ask("load", { way, seconds: 1, inFlight } satisfies ForwardLoad);
    for (let round = 1; round <= rounds; round++) {
      progress(`${inFlight} forwards in flight, round ${round} of ${rounds}`);
      for (const way of ways) {
        const before = await this.#cpu();
        const result = await this.#client.ask<ForwardResult>("load", { way, seconds, inFlight } satisfies ForwardLoad);
        measurements.get(way)!.push({ ...result, cpu: ((await this.#cpu()) - before) / result.calls });
      }
    }
    return measurements;
  }

  async #cpu(): Promise<number> {
    return (await this.#server.ask<number>("cpu")) + (await this.#client.ask<number>("cpu"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
  }
}

/** How many times the CPU of a call by frames one by HTTP/2 takes. */
export function cheaper(comparison: Comparison): number {
  return medianOf(comparison, "http2", "cpu") / medianOf(comparison, "frames", "cpu");
}

export function comparisonTable(title: string, comparison: Comparison): Table {
  return {
    title,
    columns: ["", "calls/s", "p50 ms", "p99 ms", "CPU µs per call"],
    rows: ways.map((way) => [
      way,
      median(comparison.get(way)!.map(({ calls, seconds }) => calls / seconds)),
      medianOf(comparison, way, "p50"),
      medianOf(comparison, way, "p99"),
      medianOf(comparison, way, "cpu"),
    ]),
  };
}

function medianOf(comparison: Comparison, way: Way, figure: "p50" | "p99" | "cpu"): number {
  return median(comparison.get(way)!.map((measurement) => measurement[figure]));
}

function worker(name: string): Worker {
  return new Worker(join(import.meta.dirname, `${name}.ts`));
}
