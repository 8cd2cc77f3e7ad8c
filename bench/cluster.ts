/**
 * What several nodes cost: durable calls to one node and to three over one PostgreSQL, and what it takes to forward one.
 *
 *     npm run bench:cluster [-- --json] [-- --seconds 3 --rounds 5 --keys 10000]
 */
import { join } from "node:path";
import { progress, readArguments } from "./lib/arguments.ts";
import type { CallersLoad, CallersResult } from "./lib/cluster/callers.ts";
import type { NodeOptions } from "./lib/cluster/node.ts";
import { makeDatabase } from "./lib/databases.ts";
import { startPostgres } from "./lib/engines.ts";
import { printReport, type Table } from "./lib/report.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import { median } from "./lib/statistics.ts";
import { cheaper, comparisonTable, TransportComparison } from "./lib/transport/compare.ts";
import { Worker } from "./lib/worker.ts";

const { json, numbers } = readArguments("Usage: npm run bench:cluster -- [--json] [--seconds N] [--rounds N] [--keys N]", {
  seconds: 3,
  rounds: 5,
  keys: 10_000,
});
const callerCounts = [1, 16, 256] as const;
const forwardsInFlight = 64;

interface Cluster {
  readonly name: string;
  readonly nodes: readonly Worker[];
  readonly ports: readonly number[];
}

interface Measurement {
  readonly callsPerSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** Of all calls, those that a node sent on to another one. */
  readonly forwarded: number;
  /** Microseconds of all nodes, and of PostgreSQL, per call. */
  readonly nodeCpu: number;
  readonly postgresCpu: number;
}

const begin = performance.now();
using scratch = scratchDirectory();
await using open = new AsyncDisposableStack();
const found = await startPostgres(join(scratch.path, "postgres"));
if (found === undefined) throw new Error("PostgreSQL is not installed (apt-get install postgresql): there is nothing to measure");
const postgres = open.use(found);
const callers = open.use(worker("callers"));
const keys = Array.from({ length: numbers.keys }, (_, index) => `key-${index}`);
const [one, three] = [await startCluster("one", 1), await startCluster("three", 3)];
const clusters = [one, three];
await warmUp();
const measured = await measureAll();
const forwarding = await measureForwarding();
const verified = await verifyAll();
await using comparison = await TransportComparison.start();
const transports = await comparison.measure({ inFlight: forwardsInFlight, seconds: numbers.seconds, rounds: numbers.rounds });

printReport(
  {
    bench: "Cluster: durable calls over one and three nodes",
    method: [
      `Nodes and callers are processes of their own, on one machine with one PostgreSQL: ${numbers.rounds} rounds of ${numbers.seconds} s, the clusters in turn`,
      "within each round; the median of the rounds. The ratios count, on a machine that does nothing else; here three nodes and the database",
      "share the cores of one.",
      `Calls go over kept-alive HTTP connections, shared out over the nodes, to ${numbers.keys.toLocaleString("en-US")} counters; each is answered when it is on disk.`,
      "A forward: one caller reads counters from memory, at their node and through another one, in turn.",
      `Afterwards ${verified} counters were asked, and held what was acknowledged.`,
    ],
    versions: { postgresql: postgres.version },
    tables: [
      ...callerCounts.map(tableOf),
      forwardingTable(),
      comparisonTable(`A call of 1 KB forwarded, ${forwardsInFlight} in flight: frames beside node:http2`, transports),
    ],
    targets: [{ what: "CPU of a forward by http2 / by frames", measured: cheaper(transports), unit: "times", atLeast: 3 }],
    notes: [],
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

function worker(name: string): Worker {
  return new Worker(join(import.meta.dirname, "lib", "cluster", `${name}.ts`));
}

async function startCluster(name: string, count: number): Promise<Cluster> {
  const storeAddress = await makeDatabase(postgres, name);
  const nodes: Worker[] = [];
  const ports: number[] = [];
  for (let index = 1; index <= count; index++) {
    const node = open.use(worker("node"));
    ports.push(await node.ask<number>("start", { storeAddress, name: `node${index}` } satisfies NodeOptions));
    nodes.push(node);
  }
  for (const node of nodes) while ((await node.ask<number>("members")) < count);
  return { name, nodes, ports };
}

async function call(cluster: Cluster, load: Partial<CallersLoad> & Pick<CallersLoad, "callers" | "seed">): Promise<CallersResult> {
  const whole: CallersLoad = {
    cluster: cluster.name,
    ports: cluster.ports,
    keys,
    method: "add",
    milliseconds: numbers.seconds * 1_000,
    ...load,
  };
  return await callers.ask<CallersResult>("load", whole);
}

/** Every counter is at its node, and the engine has compiled. */
async function warmUp(): Promise<void> {
  for (const callers of callerCounts.toReversed()) for (const cluster of clusters) await call(cluster, { callers, seed: 0 });
}

async function measureAll(): Promise<ReadonlyMap<string, Measurement>> {
  const all = new Map<string, Measurement>();
  for (const count of callerCounts) {
    const rounds = new Map<Cluster, Measurement[]>(clusters.map((cluster) => [cluster, []]));
    for (let round = 1; round <= numbers.rounds; round++) {
      progress(`${count} callers, round ${round} of ${numbers.rounds}`);
      for (const cluster of clusters) rounds.get(cluster)!.push(await measure(cluster, count, round));
    }
    for (const [cluster, results] of rounds) all.set(`${cluster.name} ${count}`, middle(results));
  }
  return all;
}

async function measure(cluster: Cluster, count: number, round: number): Promise<Measurement> {
  const sum = async (what: "cpu" | "forwarded"): Promise<number> =>
    (await Promise.all(cluster.nodes.map((node) => node.ask<number>(what)))).reduce((total, each) => total + each, 0);
  const [nodeCpu, forwarded, postgresCpu] = [await sum("cpu"), await sum("forwarded"), postgres.cpu()];
  const { calls, callsPerSecond, p50, p99 } = await call(cluster, { callers: count, seed: round });
  return {
    callsPerSecond,
    p50,
    p99,
    postgresCpu: (postgres.cpu() - postgresCpu) / calls,
    nodeCpu: ((await sum("cpu")) - nodeCpu) / calls,
    forwarded: ((await sum("forwarded")) - forwarded) / calls,
  };
}

function middle(results: readonly Measurement[]): Measurement {
  const of = (field: keyof Measurement): number => median(results.map((each) => each[field]));
  return {
    callsPerSecond: of("callsPerSecond"),
    p50: of("p50"),
    p99: of("p99"),
    forwarded: of("forwarded"),
    nodeCpu: of("nodeCpu"),
    postgresCpu: of("postgresCpu"),
  };
}

/** One caller reads at the counters' node, and through another. */
async function measureForwarding(): Promise<{ readonly here: CallersResult; readonly through: CallersResult }> {
  const own = await three.nodes[0]!.ask<string[]>("ownKeys", keys);
  const rounds: { here: CallersResult[]; through: CallersResult[] } = { here: [], through: [] };
  for (let round = 0; round <= numbers.rounds; round++) {
    progress(`forwarding, round ${round} of ${numbers.rounds}`);
    for (const [index, way] of (["here", "through"] as const).entries()) {
      const result = await call(three, { callers: 1, seed: round, method: "read", keys: own, ports: [three.ports[index]!] });
      // The first one warms up.
      if (round > 0) rounds[way].push(result);
    }
  }
  const middleOf = (results: readonly CallersResult[]): CallersResult => {
    const of = (field: keyof CallersResult): number => median(results.map((each) => each[field]));
    return { calls: of("calls"), callsPerSecond: of("callsPerSecond"), p50: of("p50"), p99: of("p99"), max: of("max") };
  };
  return { here: middleOf(rounds.here), through: middleOf(rounds.through) };
}

async function verifyAll(): Promise<number> {
  let count = 0;
  for (const { name, ports } of clusters) count += await callers.ask<number>("verify", { cluster: name, ports, sample: 200 });
  return count;
}

function tableOf(count: number): Table {
  const [alone, together] = [measured.get(`one ${count}`)!, measured.get(`three ${count}`)!];
  const row = (name: string, each: Measurement, ratio: string): (string | number)[] => [
    name,
    each.callsPerSecond,
    each.p50,
    each.p99,
    `${(100 * each.forwarded).toFixed(0)} %`,
    each.nodeCpu,
    each.postgresCpu,
    ratio,
  ];
  return {
    title: count === 1 ? "1 caller" : `${count} callers`,
    columns: ["", "calls/s", "p50 ms", "p99 ms", "forwarded", "CPU µs/call, nodes", "PostgreSQL", "of 1 node"],
    rows: [row("1 node", alone, ""), row("3 nodes", together, `${(together.callsPerSecond / alone.callsPerSecond).toFixed(2)} ×`)],
  };
}

function forwardingTable(): Table {
  const { here, through } = forwarding;
  return {
    title: "A read from memory, 1 caller",
    columns: ["", "calls/s", "p50 ms", "p99 ms"],
    rows: [
      ["at its node", here.callsPerSecond, here.p50, here.p99],
      ["through another node", through.callsPerSecond, through.p50, through.p99],
      ["added by the forward", "", through.p50 - here.p50, through.p99 - here.p99],
    ],
  };
}
