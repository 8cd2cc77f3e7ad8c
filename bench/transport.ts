/**
 * What it costs to forward a call to another node: Kelpie's frames beside `node:http2`.
 *
 *     npm run bench:transport [-- --json] [-- --seconds 2 --rounds 5 --inFlight 64]
 */
import { join } from "node:path";
import { encodeWire } from "../src/cluster/wire.ts";
import { progress, readArguments } from "./lib/arguments.ts";
import { printReport, type Table } from "./lib/report.ts";
import { median } from "./lib/statistics.ts";
import type { ForwardLoad, ForwardResult } from "./lib/transport/client-process.ts";
import { message, type Way } from "./lib/transport/forward.ts";
import { Worker } from "./lib/worker.ts";

const { json, numbers } = readArguments("Usage: npm run bench:transport -- [--json] [--seconds N] [--rounds N] [--inFlight N]", {
  seconds: 2,
  rounds: 5,
  inFlight: 64,
});

interface Measurement extends ForwardResult {
  /** Microseconds per call, of both processes. */
  readonly cpu: number;
}

const ways: readonly Way[] = ["frames", "http2"];
const begin = performance.now();
await using server = worker("server-process");
await using client = worker("client-process");
await client.ask("connect", { frames: await server.ask("frames"), http2: await server.ask("http2") });

const alone = await measure(1);
const together = await measure(numbers.inFlight);
const cheaper = (measurements: Map<Way, Measurement[]>): number =>
  medianOf(measurements, "http2", "cpu") / medianOf(measurements, "frames", "cpu");

printReport(
  {
    bench: "Transport: a call forwarded from node to node",
    method: [
      `Two processes over loopback, one connection; a message of ${encodeWire(message, 1e6).length} bytes, echoed. ${numbers.rounds} rounds of ${numbers.seconds} s,`,
      "frames and HTTP/2 in turn within each round; the median of the rounds.",
      "frames: TcpTransport with a secret, as in a cluster: deadlines, limits, pings. http2: bare node:http2, a stream a call.",
      "Both write and read the same MessagePack. CPU is that of both processes together.",
    ],
    versions: {},
    tables: [table(`${numbers.inFlight} calls in flight`, together), table("1 call at a time", alone)],
    targets: [
      { what: `CPU of http2 / CPU of frames, ${numbers.inFlight} in flight`, measured: cheaper(together), unit: "times", atLeast: 3 },
    ],
    notes: [],
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

async function measure(inFlight: number): Promise<Map<Way, Measurement[]>> {
  const measurements = new Map<Way, Measurement[]>(ways.map((way) => [way, []]));
  for (const way of ways) await client.ask("load", { way, seconds: 1, inFlight } satisfies ForwardLoad);
  for (let round = 1; round <= numbers.rounds; round++) {
    progress(`${inFlight} in flight, round ${round} of ${numbers.rounds}`);
    for (const way of ways) {
      const before = await cpu();
      const result = await client.ask<ForwardResult>("load", { way, seconds: numbers.seconds, inFlight } satisfies ForwardLoad);
      measurements.get(way)!.push({ ...result, cpu: ((await cpu()) - before) / result.calls });
    }
  }
  return measurements;
}

async function cpu(): Promise<number> {
  return (await server.ask<number>("cpu")) + (await client.ask<number>("cpu"));
}

function table(title: string, measurements: Map<Way, Measurement[]>): Table {
  return {
    title,
    columns: ["", "calls/s", "p50 ms", "p99 ms", "CPU µs per call"],
    rows: ways.map((way) => [
      way,
      median(measurements.get(way)!.map(({ calls, seconds }) => calls / seconds)),
      medianOf(measurements, way, "p50"),
      medianOf(measurements, way, "p99"),
      medianOf(measurements, way, "cpu"),
    ]),
  };
}

function medianOf(measurements: Map<Way, Measurement[]>, way: Way, figure: "p50" | "p99" | "cpu"): number {
  return median(measurements.get(way)!.map((measurement) => measurement[figure]));
}

function worker(name: string): Worker {
  return new Worker(join(import.meta.dirname, "lib", "transport", `${name}.ts`));
}
