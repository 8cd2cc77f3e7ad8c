/**
 * What a durable call to an actor costs: over HTTP beside a floor without actors, Redis and PostgreSQL, and in process.
 *
 *     npm run bench:invocations [-- --json] [-- --seconds 3 --rounds 3]
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { progress, readArguments } from "./lib/arguments.ts";
import type { FloorOptions } from "./lib/counters/floor.ts";
import type { InProcessResult } from "./lib/counters/in-process.ts";
import type { RowSize } from "./lib/counters/kelpie.ts";
import type { CounterLoad, CounterLoadResult } from "./lib/counters/load-process.ts";
import { type Engine, startPostgres, startRedis } from "./lib/engines.ts";
import { printReport, type Table, type Target } from "./lib/report.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import { median } from "./lib/statistics.ts";
import { Worker } from "./lib/worker.ts";

const { json, numbers } = readArguments("Usage: npm run bench:invocations -- [--json] [--seconds N] [--rounds N] [--keys N]", {
  seconds: 1,
  rounds: 7,
  keys: 10_000,
});

/** A server of counters: its front, and the engine behind it if that is a process of its own. */
interface Candidate {
  readonly name: string;
  readonly front: Worker;
  readonly port: number;
  readonly engine?: Engine;
}

const scenarios = [
  { name: "1 caller", callers: 1, keys: numbers.keys },
  { name: "16 callers", callers: 16, keys: numbers.keys },
  { name: "256 callers", callers: 256, keys: numbers.keys },
  { name: "16 callers, one key", callers: 16, keys: 1 },
] as const;
type Scenario = (typeof scenarios)[number];

interface Measurement {
  readonly callsPerSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly cpuPerCall: number;
}

const begin = performance.now();
using scratch = scratchDirectory();
await using open = new AsyncDisposableStack();
const notes: string[] = [];
const load = open.use(worker("load-process"));
const versions: { [name: string]: string } = {};
const kelpie = await startKelpie();
const rows = await warmUp(kelpie);
const candidates: readonly Candidate[] = [kelpie, await startFloor(true), await startFloor(false), ...(await startEngines())];
const measurements = await measureAll();
const verified = await verifyAll();
progress("in process");
const inProcess = await measureInProcess();

printReport(
  {
    bench: "Invocations: a durable counter",
    method: [
      `Callers in a process of their own, over kept-alive HTTP connections, each waiting for its reply: ${numbers.rounds} rounds of ${numbers.seconds} s,`,
      `the servers in turn within each round; the median of the rounds. Calls go to ${numbers.keys.toLocaleString("en-US")} keys, or to one.`,
      "Every server answers after the call is on disk, and every server commits together what waits together.",
      `floor: bare node:http over bare node:sqlite, no actors, writes the same rows as Kelpie (${rows.map(({ key, value }) => `${key} + ${value} bytes`).join(", ")}).`,
      "  A call to a key begins when the one before it, of the same key, is durable: what keeps turns in order without pipelining.",
      "floor without turns: the same, but calls to one key do not wait for each other; its counter is a variable.",
      "Redis: INCRBY in a Lua script, appendfsync always. PostgreSQL: one prepared upsert, 32 connections, default settings. Both by Unix",
      "  socket behind the same bare node:http as the floor.",
      "CPU is that of the server: Kelpie's or the floor's process; front and engine of the other two. Callers are not counted.",
      `Afterwards ${verified} counters were asked, and held what was acknowledged.`,
      "In process: one call after the other. Cold: the first call to an actor whose last process is gone.",
    ],
    versions,
    tables: [...scenarios.map(scenarioTable), inProcessTable(inProcess)],
    targets: targets(),
    notes,
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

function worker(name: string): Worker {
  return new Worker(join(import.meta.dirname, "lib", "counters", `${name}.ts`));
}

function directory(name: string): string {
  const path = join(scratch.path, name);
  mkdirSync(path);
  return path;
}

async function startKelpie(): Promise<Candidate> {
  const front = open.use(worker("kelpie"));
  return { name: "Kelpie", front, port: await front.ask<number>("start", { directory: directory("kelpie") }) };
}

async function startFloor(turns: boolean): Promise<Candidate> {
  const front = open.use(worker("floor"));
  const options: FloorOptions = { directory: directory(turns ? "floor" : "floor-without-turns"), rows, turns };
  return { name: turns ? "floor" : "floor without turns", front, port: await front.ask<number>("start", options) };
}

async function startEngines(): Promise<Candidate[]> {
  const found: Candidate[] = [];
  const redis = await startRedis(join(scratch.path, "redis"));
  if (redis === undefined) notes.push("Redis is not installed (apt-get install redis-server), so it was not measured");
  else {
    open.use(redis);
    versions["redis"] = redis.version;
    const front = open.use(worker("redis"));
    found.push({ name: "Redis", front, engine: redis, port: await front.ask<number>("start", { socketPath: redis.socketPath }) });
  }
  const postgres = await startPostgres(join(scratch.path, "postgres"));
  if (postgres === undefined) notes.push("PostgreSQL is not installed (apt-get install postgresql), so it was not measured");
  else {
    open.use(postgres);
    versions["postgresql"] = postgres.version;
    const front = open.use(worker("postgres"));
    const { socketDirectory, user } = postgres;
    found.push({ name: "PostgreSQL", front, engine: postgres, port: await front.ask<number>("start", { socketDirectory, user }) });
  }
  return found;
}

/** Lets the engine compile, and tells how large the rows of a call are. */
async function warmUp(candidate: Candidate): Promise<RowSize[]> {
  await call(candidate, { callers: 64, keys: numbers.keys }, 1);
  await call(candidate, { callers: 1, keys: 1 }, 1);
  return await candidate.front.ask<RowSize[]>("rows", "hot");
}

async function call(candidate: Candidate, { callers, keys }: { callers: number; keys: number }, seed: number): Promise<CounterLoadResult> {
  const asked: CounterLoad = {
    server: candidate.name,
    ports: [candidate.port],
    callers,
    keys,
    seed,
    milliseconds: numbers.seconds * 1_000,
  };
  return await load.ask<CounterLoadResult>("load", asked);
}

async function cpuOf({ front, engine }: Candidate): Promise<number> {
  return (await front.ask<number>("cpu")) + (engine?.cpu() ?? 0);
}

async function measureAll(): Promise<ReadonlyMap<Scenario, ReadonlyMap<Candidate, Measurement>>> {
  for (const candidate of candidates.slice(1)) await warmUpOther(candidate);
  const all = new Map<Scenario, ReadonlyMap<Candidate, Measurement>>();
  for (const scenario of scenarios) {
    const rounds = new Map<Candidate, Measurement[]>(candidates.map((candidate) => [candidate, []]));
    for (let round = 0; round < numbers.rounds; round++) {
      progress(`${scenario.name}, round ${round + 1} of ${numbers.rounds}`);
      for (const candidate of candidates) {
        const before = await cpuOf(candidate);
        const { callsPerSecond, calls, p50, p99 } = await call(candidate, scenario, round);
        const cpuPerCall = ((await cpuOf(candidate)) - before) / calls;
        rounds.get(candidate)!.push({ callsPerSecond, p50, p99, cpuPerCall });
      }
    }
    all.set(scenario, new Map([...rounds].map(([candidate, measured]) => [candidate, middle(measured)])));
  }
  return all;
}

async function warmUpOther(candidate: Candidate): Promise<void> {
  await call(candidate, { callers: 64, keys: numbers.keys }, 1);
}

function middle(measured: readonly Measurement[]): Measurement {
  const of = (field: keyof Measurement): number => median(measured.map((each) => each[field]));
  return { callsPerSecond: of("callsPerSecond"), p50: of("p50"), p99: of("p99"), cpuPerCall: of("cpuPerCall") };
}

async function verifyAll(): Promise<number> {
  let count = 0;
  for (const { name, port } of candidates) count += await load.ask<number>("verify", { server: name, port, sample: 200 });
  return count;
}

async function measureInProcess(): Promise<InProcessResult> {
  await using measuring = worker("in-process");
  return await measuring.ask<InProcessResult>("measure", { directory: directory("in-process") });
}

function scenarioTable(scenario: Scenario): Table {
  const measured = measurements.get(scenario)!;
  const ofKelpie = measured.get(kelpie)!.callsPerSecond;
  return {
    title: scenario.name,
    columns: ["", "calls/s", "p50 ms", "p99 ms", "CPU µs/call", "Kelpie is"],
    rows: [...measured].map(([candidate, { callsPerSecond, p50, p99, cpuPerCall }]) => [
      candidate.name,
      callsPerSecond,
      p50,
      p99,
      cpuPerCall,
      candidate === kelpie ? "" : `${(ofKelpie / callsPerSecond).toFixed(2)} ×`,
    ]),
  };
}

function inProcessTable(result: InProcessResult): Table {
  const row = (name: string, { p50, p99, max }: { p50: number; p99: number; max: number }): (string | number)[] => [name, p50, p99, max];
  return {
    title: "In process, milliseconds",
    columns: ["", "p50", "p99", "max"],
    rows: [
      row("hot call, from memory", result.hotRead),
      row("hot call, durable", result.hotDurable),
      row("  one fdatasync of 4 KB", result.sync),
      row("  one bare SQLite commit of two rows", result.commit),
      row("cold activation", result.cold),
    ],
  };
}

function targets(): Target[] {
  const ratio = (scenario: Scenario, name: string): number | undefined => {
    const measured = measurements.get(scenario)!;
    const other = [...measured].find(([candidate]) => candidate.name === name)?.[1];
    return other && measured.get(kelpie)!.callsPerSecond / other.callsPerSecond;
  };
  const [, , many, hot] = scenarios;
  const ratios = [
    { what: `${many.name}: Kelpie to the floor`, measured: ratio(many, "floor"), atLeast: 0.5 },
    { what: `${many.name}: Kelpie to Redis`, measured: ratio(many, "Redis"), atLeast: 1 },
    { what: `${many.name}: Kelpie to PostgreSQL`, measured: ratio(many, "PostgreSQL"), atLeast: 1 },
    { what: `${hot.name}: Kelpie to the floor`, measured: ratio(hot, "floor"), atLeast: 3 },
  ];
  return [
    ...ratios.flatMap(({ what, measured, atLeast }) => (measured === undefined ? [] : [{ what, measured, unit: "×", atLeast }])),
    { what: "Hot call from memory, p99", measured: inProcess.hotRead.p99, unit: "ms", atMost: 1 },
    { what: "Cold activation, p99", measured: inProcess.cold.p99, unit: "ms", atMost: 200 },
  ];
}
