/**
 * How long an agent does not answer when its node dies, and how long until all actors of a dead node are usable again.
 *
 *     npm run bench:failover [-- --json] [-- --rounds 50 --actors 100000 --concurrency 256]
 */
import { join } from "node:path";
import { progress, readArguments } from "./lib/arguments.ts";
import type { CallAll, CallAllResult, NodeOptions } from "./lib/cluster/node.ts";
import { makeDatabase } from "./lib/databases.ts";
import { startPostgres } from "./lib/engines.ts";
import type { FloorLoad } from "./lib/failover/floor.ts";
import { namespacesMissing } from "./lib/failover/host.ts";
import { type Death, Failover, type FailoverResult } from "./lib/failover/rounds.ts";
import { printReport, type Table, type Target } from "./lib/report.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import { spread } from "./lib/statistics.ts";
import { Worker } from "./lib/worker.ts";

const { json, numbers } = readArguments("Usage: npm run bench:failover -- [--json] [--rounds N] [--actors N] [--concurrency N]", {
  rounds: 50,
  actors: 100_000,
  concurrency: 256,
});
/** As many as a node has. */
const connections = 16;

const begin = performance.now();
using scratch = scratchDirectory();
await using open = new AsyncDisposableStack();
const found = await startPostgres(join(scratch.path, "postgres"));
if (found === undefined) throw new Error("PostgreSQL is not installed (apt-get install postgresql): there is nothing to measure");
const postgres = open.use(found);
const notes: string[] = [];
const deaths = await measureDeaths();
const all = await measureAll();

printReport(
  {
    bench: "Failover",
    method: [
      "Three supervised `kelpie serve` over one PostgreSQL, each in a process namespace of its own: nobody sees the processes of another",
      `node end, as between hosts. ${numbers.rounds} times the server of an agent gets SIGKILL, and ${numbers.rounds} times its supervisor too; at once a message is sent to`,
      "the agent through another node. Measured is the time from the kill until the agent (demo model) has answered it.",
      `Many actors: a node with ${numbers.actors.toLocaleString("en-US")} counters gets SIGKILL, and each counter is called once, durably, within the node that is left,`,
      `${numbers.concurrency} calls at a time. The floor is PostgreSQL alone: the same two rows of each counter updated by one prepared statement, one commit`,
      `each, over ${connections} connections, without a read before it.`,
    ],
    versions: { postgresql: postgres.version },
    tables: [...(deaths === undefined ? [] : [deathsTable(deaths)]), allTable()],
    targets: targets(),
    notes,
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

async function measureDeaths(): Promise<ReadonlyMap<Death, FailoverResult> | undefined> {
  const missing = namespacesMissing();
  if (missing !== undefined) {
    notes.push(`The death of a node was not measured: ${missing}`);
    return undefined;
  }
  await using failover = await Failover.start(await makeDatabase(postgres, "deaths"), 3);
  const results = new Map<Death, FailoverResult>();
  for (const death of ["process", "host"] as const)
    results.set(
      death,
      await failover.measure(death, numbers.rounds, (round) => progress(`${death} killed, round ${round} of ${numbers.rounds}`)),
    );
  return results;
}

interface AllResult extends CallAllResult {
  /** From the kill until the last counter had answered. */
  readonly usableSeconds: number;
  readonly floorSeconds: number;
}

async function measureAll(): Promise<AllResult> {
  const storeAddress = await makeDatabase(postgres, "many");
  const keys = Array.from({ length: numbers.actors }, (_, index) => `key-${index}`);
  const calls: CallAll = { keys, concurrency: numbers.concurrency };
  const [first, second] = [open.use(worker("cluster/node")), open.use(worker("cluster/node"))];
  await first.ask<number>("start", { storeAddress, name: "node1" } satisfies NodeOptions);
  progress(`makes ${numbers.actors} actors`);
  await first.ask<CallAllResult>("callAll", calls);
  await second.ask<number>("start", { storeAddress, name: "node2" } satisfies NodeOptions);
  progress("kills their node");
  const killedAt = performance.now();
  first.kill();
  const result = await second.ask<CallAllResult>("callAll", calls);
  const usableSeconds = (performance.now() - killedAt) / 1_000;
  progress("PostgreSQL alone");
  const floor = open.use(worker("failover/floor"));
  const floorLoad: FloorLoad = { address: await makeDatabase(postgres, "floor"), actors: numbers.actors, connections };
  return { ...result, usableSeconds, floorSeconds: await floor.ask<number>("update", floorLoad) };
}

function worker(name: string): Worker {
  return new Worker(join(import.meta.dirname, "lib", `${name}.ts`));
}

function deathsTable(results: ReadonlyMap<Death, FailoverResult>): Table {
  const what = { process: "kill -9 of the server", host: "kill -9 of its supervisor too" };
  return {
    title: "Until an agent of a killed node has answered through another one, seconds",
    columns: ["", "p50", "p99", "max", "requests that failed before", "usual answer, p50"],
    rows: [...results].map(([death, { rounds, usual }]) => {
      const { p50, p99, max } = spread(Float64Array.from(rounds, ({ milliseconds }) => milliseconds / 1_000));
      const failures = rounds.reduce((sum, round) => sum + round.failures, 0);
      return [what[death], p50, p99, max, failures, spread(Float64Array.from(usual)).p50 / 1_000];
    }),
  };
}

function allTable(): Table {
  const { usableSeconds, floorSeconds, latencies } = all;
  const { p50, p99, max } = spread(latencies);
  return {
    title: `${numbers.actors.toLocaleString("en-US")} actors of a dead node, until each has answered again`,
    columns: ["", "seconds", "actors/s", "p50 ms", "p99 ms", "max ms", "of the floor"],
    rows: [
      ["PostgreSQL alone", floorSeconds, numbers.actors / floorSeconds, "", "", "", ""],
      ["Kelpie", usableSeconds, numbers.actors / usableSeconds, p50, p99, max, `${(floorSeconds / usableSeconds).toFixed(2)} ×`],
    ],
  };
}

function targets(): Target[] {
  if (deaths === undefined) return [];
  const maxOf = (death: Death): number => Math.max(...deaths.get(death)!.rounds.map(({ milliseconds }) => milliseconds)) / 1_000;
  return [
    { what: "kill -9 of the server: slowest answer", measured: maxOf("process"), unit: "s", atMost: 2 },
    { what: "kill -9 of the host: slowest answer", measured: maxOf("host"), unit: "s", atMost: 10 },
  ];
}
