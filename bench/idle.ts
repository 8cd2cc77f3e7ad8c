/**
 * What agents cost that nobody calls: a node that joins a cluster with a million of them, and idles, beside one with few.
 *
 *     npm run bench:idle [-- --json] [-- --agents 1000000 --few 1000 --seconds 30 --starts 5]
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { progress, readArguments } from "./lib/arguments.ts";
import { makeDatabase, postgresAddress, query } from "./lib/databases.ts";
import { cpuOf, startPostgres } from "./lib/engines.ts";
import { fill, type Filled } from "./lib/idle/fill.ts";
import { printReport, type Table } from "./lib/report.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import { type KelpieServer, startServer } from "./lib/serve.ts";
import { median } from "./lib/statistics.ts";

const { json, numbers } = readArguments("Usage: npm run bench:idle -- [--json] [--agents N] [--few N] [--seconds N] [--starts N]", {
  agents: 1_000_000,
  few: 1_000,
  seconds: 30,
  starts: 5,
});
/** After a start: what is done once has been done by then. */
const settleMilliseconds = 5_000;

interface Cost {
  readonly agents: number;
  readonly rows: number;
  /** Of the database on disk. */
  readonly megabytes: number;
  /** From the start of the process until it says that it is ready, and until an agent has answered through it. */
  readonly readyMilliseconds: number;
  readonly answeredMilliseconds: number;
  /** Of an idle node. */
  readonly residentMegabytes: number;
  readonly cpuShare: number;
  /** Of the database while two nodes idle, per second. */
  readonly transactions: number;
  readonly rowsRead: number;
  readonly rowsWritten: number;
}

const begin = performance.now();
using scratch = scratchDirectory();
await using open = new AsyncDisposableStack();
const found = await startPostgres(join(scratch.path, "postgres"));
if (found === undefined) throw new Error("PostgreSQL is not installed (apt-get install postgresql): there is nothing to measure");
const postgres = open.use(found);
const costs = [await measure("few", numbers.few), await measure("many", numbers.agents)] as const;
const [few, many] = costs;

printReport(
  {
    bench: "Idle agents",
    method: [
      "Two `kelpie serve` are one cluster over PostgreSQL, once with few agents and once with many. The agents are copies of one that Kelpie",
      "made and had in memory: the same rows with other ids, put in by SQL. Each has a block and a conversation that has begun.",
      `A join: the second node, ${numbers.starts} times, the median; then it is asked for an agent of which it knows nothing, which answers (demo model).`,
      `Idle: both nodes, ${settleMilliseconds / 1_000} s after the last start, for ${numbers.seconds} s; CPU and memory are those of the second, queries those of both.`,
    ],
    versions: { postgresql: postgres.version },
    tables: [table()],
    targets: [
      {
        what: `A node joins ${numbers.agents.toLocaleString("en-US")} agents and is ready`,
        measured: many.readyMilliseconds / 1_000,
        unit: "s",
        atMost: 2,
      },
      { what: "Transactions of idle nodes, many / few", measured: many.transactions / few.transactions, unit: "×", atMost: 1.1 },
      { what: "Memory of an idle node, many / few", measured: many.residentMegabytes / few.residentMegabytes, unit: "×", atMost: 1.1 },
    ],
    notes: [],
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

async function measure(name: string, agents: number): Promise<Cost> {
  const address = await makeDatabase(postgres, name);
  const filled = await fill(address, agents, (made) => progress(`${made} of ${agents} agents`));
  await using _first = await startNode(address, "node1");
  const ready: number[] = [];
  const answered: number[] = [];
  for (let start = 1; start < numbers.starts; start++) {
    progress(`${agents} agents, join ${start} of ${numbers.starts}`);
    await using joined = await joinCluster(address, filled, start);
    ready.push(joined.readyMilliseconds);
    answered.push(joined.answeredMilliseconds);
  }
  await using last = await joinCluster(address, filled, numbers.starts);
  ready.push(last.readyMilliseconds);
  answered.push(last.answeredMilliseconds);
  await sleep(settleMilliseconds);
  progress(`${agents} agents, idle for ${numbers.seconds} s`);
  const before = { cpu: cpuOf([last.pid]), ...(await counters(name)) };
  await sleep(numbers.seconds * 1_000);
  const after = { cpu: cpuOf([last.pid]), ...(await counters(name)) };
  const perSecond = (counter: "transactions" | "rowsRead" | "rowsWritten"): number => (after[counter] - before[counter]) / numbers.seconds;
  const [size] = await query<{ bytes: string }>(postgresAddress(postgres, "postgres"), `SELECT pg_database_size('${name}') AS bytes`);
  return {
    agents,
    rows: agents * filled.rowsPerAgent,
    megabytes: Number(size!.bytes) / 1e6,
    readyMilliseconds: median(ready),
    answeredMilliseconds: median(answered),
    residentMegabytes: residentMegabytes(last.pid),
    cpuShare: (after.cpu - before.cpu) / (numbers.seconds * 1e6),
    transactions: perSecond("transactions"),
    rowsRead: perSecond("rowsRead"),
    rowsWritten: perSecond("rowsWritten"),
  };
}

async function startNode(address: string, name: string): Promise<KelpieServer> {
  return await startServer(join(scratch.path, "unused"), {
    KELPIE_STORE: address,
    KELPIE_NODE: name,
    KELPIE_CLUSTER_SECRET: "only-for-this-bench",
    KELPIE_LEAVE_SECONDS: "0",
    KELPIE_DISCOVER_LOCAL: "no",
    KELPIE_DEMO_TOKEN_MILLISECONDS: "0",
  });
}

/** A node that joins, and then answers for an agent that nobody has in memory. */
async function joinCluster(
  address: string,
  { agentId }: Filled,
  start: number,
): Promise<KelpieServer & { readonly answeredMilliseconds: number }> {
  const before = performance.now();
  const server = await startNode(address, "node2");
  // Another one for each start.
  const id = agentId(Math.floor((numbers.few * start) / (numbers.starts + 1)));
  const response = await fetch(`${server.url}/v1/agents/${id}/messages`, {
    method: "POST",
    body: JSON.stringify({ messages: [{ role: "user", content: "Count to 3" }] }),
  });
  if (!response.ok) throw new Error(`Agent ${id} was answered for with ${response.status}: ${await response.text()}`);
  await response.text();
  return { ...server, answeredMilliseconds: performance.now() - before };
}

/** Asked from another database, so that the question is not counted. */
async function counters(database: string): Promise<{ transactions: number; rowsRead: number; rowsWritten: number }> {
  const [row] = await query<{ transactions: string; read: string; written: string }>(
    postgresAddress(postgres, "postgres"),
    `SELECT xact_commit AS transactions, tup_fetched AS read, tup_inserted + tup_updated + tup_deleted AS written
     FROM pg_stat_database WHERE datname = '${database}'`,
  );
  return { transactions: Number(row!.transactions), rowsRead: Number(row!.read), rowsWritten: Number(row!.written) };
}

function residentMegabytes(pid: number): number {
  const file = `/proc/${pid}/status`;
  if (!existsSync(file)) return Number.NaN;
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(file, "utf8"))![1]) / 1e3;
}

function table(): Table {
  const row = (name: string, of: (cost: Cost) => number): (string | number)[] => [
    name,
    of(few),
    of(many),
    `${(of(many) / of(few)).toFixed(2)} ×`,
  ];
  return {
    title: "A node of a cluster with few agents, and with many",
    columns: ["", `${few.agents.toLocaleString("en-US")} agents`, `${many.agents.toLocaleString("en-US")} agents`, "many / few"],
    rows: [
      row("rows", ({ rows }) => rows),
      row("database, MB", ({ megabytes }) => megabytes),
      row("joined and ready, ms", ({ readyMilliseconds }) => readyMilliseconds),
      row("an agent has answered, ms", ({ answeredMilliseconds }) => answeredMilliseconds),
      row("resident set, MB", ({ residentMegabytes: each }) => each),
      row("CPU while idle, %", ({ cpuShare }) => 100 * cpuShare),
      row("transactions/s, two nodes", ({ transactions }) => transactions),
      row("rows read/s", ({ rowsRead }) => rowsRead),
      row("rows written/s", ({ rowsWritten }) => rowsWritten),
    ],
  };
}
