/**
 * What a batch costs in each store, beside its engine without Kelpie.
 *
 *     npm run bench:store [-- --json] [-- --seconds 2 --rounds 3 --connections 8]
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { progress, readArguments } from "./lib/arguments.ts";
import { startPostgres } from "./lib/engines.ts";
import { printReport, type Table, type Target } from "./lib/report.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import { median } from "./lib/statistics.ts";
import type { CandidateName, CandidateOptions, Load } from "./lib/stores/load.ts";
import { Worker } from "./lib/worker.ts";

const { json, numbers } = readArguments("Usage: npm run bench:store -- [--json] [--seconds N] [--rounds N] [--connections N]", {
  seconds: 2,
  rounds: 3,
  connections: 8,
});

/** Floor and store of each engine. At least this much of the floor, where clients share nothing, and a multiple where they can. */
const pairs: readonly {
  readonly floor: CandidateName;
  readonly store: CandidateName;
  readonly atLeast: readonly (number | undefined)[];
}[] = [
  { floor: "Map", store: "MemoryStore", atLeast: [undefined, undefined, undefined] },
  { floor: "node:sqlite", store: "SqliteStore", atLeast: [0.6, 0.6, 2] },
  { floor: "pg", store: "PostgresStore", atLeast: [0.6, 0.6, 2] },
];
const clientCounts = [1, 16, 256] as const;

interface Measurement {
  readonly batchesPerSecond: number;
  readonly cpuPerBatch: number;
}

const begin = performance.now();
using scratch = scratchDirectory();
await using open = new AsyncDisposableStack();
const notes: string[] = [];
const versions: { [name: string]: string } = {};
const postgres = await startPostgres(join(scratch.path, "postgres"));
if (postgres === undefined) notes.push("PostgreSQL is not installed (apt-get install postgresql), so it was not measured");
else {
  open.use(postgres);
  versions["postgresql"] = postgres.version;
}
const measured = await measureAll();

printReport(
  {
    bench: "Stores: one row in one batch",
    method: [
      `Clients in the process of the store, each waiting for its answer: ${numbers.rounds} rounds of ${numbers.seconds} s, floor and store in turn;`,
      "the median of the rounds. Each batch sets one of 10,000 rows to 200 bytes; on disk before the answer, but in memory.",
      "Floors: node:sqlite and pg run one prepared upsert a transaction, the latter over " +
        `${numbers.connections} connections, as many as the store has; by Unix socket, default settings.`,
      "CPU is that of the process with the clients and, for PostgreSQL, of the server.",
    ],
    versions,
    tables: clientCounts.map(tableOf),
    targets: targets(),
    notes,
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

async function measureAll(): Promise<ReadonlyMap<string, Measurement>> {
  const all = new Map<string, Measurement>();
  for (const { floor, store } of pairs) {
    if (floor === "pg" && postgres === undefined) continue;
    await using workers = new AsyncDisposableStack();
    const both: [CandidateName, Worker][] = [];
    for (const name of [floor, store]) {
      const worker = workers.use(new Worker(join(import.meta.dirname, "lib", "stores", "load.ts")));
      const directory = join(scratch.path, name.replace(":", "-"));
      mkdirSync(directory);
      const address =
        postgres === undefined ? "" : `postgres://${postgres.user}@localhost/postgres?host=${encodeURIComponent(postgres.socketDirectory)}`;
      await worker.ask("start", { name, directory, address, connections: numbers.connections } satisfies CandidateOptions);
      both.push([name, worker]);
    }
    for (const clients of clientCounts) {
      progress(`${floor} and ${store}, ${clients} clients`);
      const rounds = new Map<CandidateName, Measurement[]>(both.map(([name]) => [name, []]));
      for (let round = 0; round < numbers.rounds; round++)
        for (const [name, worker] of both) rounds.get(name)!.push(await measure(worker, clients, floor === "pg"));
      for (const [name, results] of rounds)
        all.set(keyOf(name, clients), {
          batchesPerSecond: median(results.map((result) => result.batchesPerSecond)),
          cpuPerBatch: median(results.map((result) => result.cpuPerBatch)),
        });
    }
  }
  return all;
}

async function measure(worker: Worker, clients: number, countsServer: boolean): Promise<Measurement> {
  const cpu = async (): Promise<number> => (await worker.ask<number>("cpu")) + (countsServer ? postgres!.cpu() : 0);
  const before = await cpu();
  const load: Load = { clients, milliseconds: numbers.seconds * 1_000 };
  const { writes, seconds } = await worker.ask<{ writes: number; seconds: number }>("load", load);
  return { batchesPerSecond: writes / seconds, cpuPerBatch: ((await cpu()) - before) / writes };
}

function keyOf(name: CandidateName, clients: number): string {
  return `${name} ${clients}`;
}

function ratio(floor: CandidateName, store: CandidateName, clients: number): number | undefined {
  const [below, above] = [measured.get(keyOf(floor, clients)), measured.get(keyOf(store, clients))];
  return below && above && above.batchesPerSecond / below.batchesPerSecond;
}

function tableOf(clients: number): Table {
  const row = (name: CandidateName, times: string): (string | number)[] => {
    const { batchesPerSecond, cpuPerBatch } = measured.get(keyOf(name, clients))!;
    return [name, batchesPerSecond, cpuPerBatch, times];
  };
  return {
    title: clients === 1 ? "1 client" : `${clients} clients`,
    columns: ["", "batches/s", "CPU µs/batch", "of the floor"],
    rows: pairs.flatMap(({ floor, store }) => {
      const times = ratio(floor, store, clients);
      return times === undefined ? [] : [row(floor, ""), row(store, `${times.toFixed(2)} ×`)];
    }),
  };
}

function targets(): Target[] {
  return pairs.flatMap(({ floor, store, atLeast }) =>
    clientCounts.flatMap((clients, index) => {
      const times = ratio(floor, store, clients);
      const least = atLeast[index];
      const what = `${store}, ${clients} ${clients === 1 ? "client" : "clients"}: to ${floor}`;
      return times === undefined || least === undefined ? [] : [{ what, measured: times, unit: "×", atLeast: least }];
    }),
  );
}
