/**
 * What a tool call through Kelpie costs beside the SDK's own client, a thousand agents at one server, and the search for tools.
 *
 *     npm run bench:tools [-- --json] [-- --rounds 10 --calls 50 --agents 1000 --seconds 5]
 *     npm run bench:tools -- --rounds 2 --calls 10 --agents 50 --seconds 1 --tools 1000   # to see that it works
 */
import { EventEmitter } from "node:events";
import { join } from "node:path";
import { MemoryStore } from "../src/storage/memory-store.ts";
import { SqliteStore } from "../src/storage/sqlite-store.ts";
import { ToolIndex } from "../src/tools/tool-index.ts";
import { progress, readArguments } from "./lib/arguments.ts";
import { printReport, type Table } from "./lib/report.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import { Samples, type Spread, spread } from "./lib/statistics.ts";
import { makeCatalogue } from "./lib/tools/catalogue.ts";
import { callBare, type KelpieCalls, openKelpie, startEcho, type TransportKind } from "./lib/tools/echo.ts";

const { json, numbers } = readArguments(
  "Usage: npm run bench:tools -- [--json] [--rounds N] [--calls N] [--agents N] [--seconds N] [--tools N]",
  { rounds: 10, calls: 50, agents: 1_000, seconds: 5, tools: 10_000 },
);
/** So that what a run's earlier calls add to each step stays small. */
const callsPerRun = 10;
const manyTools = 1_000;
const searchPasses = 3;

// The SDK's stdio transport listens once for each write that waits, and Node would warn of a thousand.
EventEmitter.defaultMaxListeners = 0;

const begin = performance.now();
using scratch = scratchDirectory();
const oneAtATime = [await measureCalls("stdio"), await measureCalls("http")];
const shared = await measureSharing();
const search = measureSearch();

printReport(
  {
    bench: "Tools: calls of MCP servers, and the search for tools",
    method: [
      `An MCP server of the SDK's own parts gives back a text. ${numbers.rounds} rounds of ${numbers.calls} calls, all ways in turn within each, one call at a time.`,
      "SDK client: callTool of @modelcontextprotocol/client, as it is. Kelpie: the same call without an agent, looked up and pinned; nothing is kept.",
      `In a run: from the call that an agent's (scripted) model made to its next request, in runs of ${callsPerRun} calls: its intent, its start and its`,
      "result are committed in two batches, and the next request is made from the store. In memory: the same without a file and fsync.",
      `Sharing: ${numbers.agents} agents call one server as fast as they can for ${numbers.seconds} s.`,
      `Search: made-up tools, of 20 to 80 words and 5 parameters each; queries of 2 to 9 words, every tenth the name of a tool.`,
      `Each is asked ${searchPasses} times, a while apart: what all take shows what else the machine does, the fastest what the search does.`,
    ],
    versions: {},
    tables: [
      ...oneAtATime.map(({ table }) => table),
      {
        title: `${numbers.agents} agents share one stdio server`,
        columns: ["", "calls/s", "p50 ms", "p99 ms", "fewest calls of one", "most", "processes"],
        rows: shared.map(({ name, each, samples, seconds, processes }) => {
          const { p50, p99 } = spread(samples.values);
          return [name, samples.values.length / seconds, p50, p99, Math.min(...each), Math.max(...each), processes];
        }),
      },
      {
        title: `Search in ${numbers.tools.toLocaleString("en-US")} tools`,
        columns: ["", "p50 ms", "p99 ms", "max ms"],
        rows: [
          ["all queries", search.all.p50, search.all.p99, search.all.max],
          [`each query at its fastest of ${searchPasses}`, search.fastest.p50, search.fastest.p99, search.fastest.max],
          ["making the index, once", search.buildMilliseconds, search.buildMilliseconds, search.buildMilliseconds],
        ],
      },
    ],
    targets: [
      { what: `Query in ${numbers.tools} tools at its fastest, p99`, measured: search.fastest.p99, unit: "ms", atMost: 5 },
      ...shared
        .slice(1)
        .map(({ name, processes }) => ({ what: `Processes of the server: ${name}`, measured: processes, unit: "", atMost: 1 })),
      ...shared.slice(1).map(({ name, each }) => ({
        what: `Fewest calls of an agent / most: ${name}`,
        measured: Math.min(...each) / Math.max(...each),
        unit: "",
        atLeast: 0.5,
      })),
    ],
    notes: [],
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

async function measureCalls(kind: TransportKind): Promise<{ readonly table: Table }> {
  await using server = await startEcho(kind);
  await using open = new AsyncDisposableStack();
  const client = await server.connect();
  const file = open.use(await openKelpie(server, open.use(await SqliteStore.open(join(scratch.path, `${kind}.db`)))));
  const memory = open.use(await openKelpie(server, new MemoryStore()));
  const more = await file.makeTools(manyTools - 1);
  const inRuns =
    (kelpie: KelpieCalls, called: "echo" | "inProcess", moreTools: readonly string[] = []) =>
    async (samples: Samples): Promise<void> => {
      for (let left = numbers.calls; left > 0; left -= callsPerRun)
        await (
          await kelpie.makeAgent(called, moreTools)
        )(samples, (made) => made < Math.min(left, callsPerRun));
    };
  const ways: readonly { readonly name: string; measure(samples: Samples): Promise<void> }[] = [
    { name: "SDK client", measure: (samples) => oneByOne(samples, () => callBare(client)) },
    { name: "Kelpie, without the ledger", measure: (samples) => oneByOne(samples, () => file.call("agent")) },
    { name: "in a run, in memory", measure: inRuns(memory, "echo") },
    { name: "in a run, with the ledger on disk", measure: inRuns(file, "echo") },
    { name: "in a run, a tool that does nothing", measure: inRuns(file, "inProcess") },
    { name: `the same of an agent with ${manyTools} tools`, measure: inRuns(file, "inProcess", more) },
  ];
  const taken = new Map(ways.map(({ name }) => [name, new Samples()]));
  progress(`${kind}: warming up`);
  for (const { measure } of ways) await measure(new Samples());
  for (let round = 1; round <= numbers.rounds; round++) {
    progress(`${kind}: round ${round} of ${numbers.rounds}`);
    for (const { name, measure } of ways) await measure(taken.get(name)!);
  }
  const bare = spread(taken.get(ways[0]!.name)!.values);
  return {
    table: {
      title: `One call at a time over ${kind}`,
      columns: ["", "p50 µs", "p99 µs", "added p50", "added p99"],
      rows: [...taken].map(([name, { values }]) => {
        const { p50, p99 } = spread(values);
        return [name, p50 * 1e3, p99 * 1e3, (p50 - bare.p50) * 1e3, (p99 - bare.p99) * 1e3];
      }),
    },
  };
}

async function oneByOne(samples: Samples, call: () => Promise<unknown>): Promise<void> {
  for (let made = 0; made < numbers.calls; made++) {
    const before = performance.now();
    await call();
    samples.add(performance.now() - before);
  }
}

interface Shared {
  readonly name: string;
  /** Calls of each agent. */
  readonly each: readonly number[];
  readonly samples: Samples;
  readonly seconds: number;
  readonly processes: number;
}

async function measureSharing(): Promise<readonly Shared[]> {
  await using server = await startEcho("stdio");
  await using open = new AsyncDisposableStack();
  const client = await server.connect();
  const kelpie = open.use(await openKelpie(server, open.use(await SqliteStore.open(join(scratch.path, "shared.db")))));
  progress(`Making ${numbers.agents} agents`);
  const names = Array.from({ length: numbers.agents }, (_, at) => `agent-${at}`);
  const agents = [];
  for (const _ of names) agents.push(await kelpie.makeAgent("echo"));
  return [
    await together("SDK client", names, () => callBare(client)),
    await together("Kelpie, without the ledger", names, (name) => kelpie.call(name)),
    await inRunsTogether("in runs, with the ledger on disk", agents),
  ];
}

async function together(name: string, agents: readonly string[], call: (agent: string) => Promise<number>): Promise<Shared> {
  progress(`${agents.length} agents: ${name}`);
  await call(agents[0]!);
  const samples = new Samples();
  const processes = new Set<number>();
  const before = performance.now();
  const end = before + numbers.seconds * 1_000;
  const each = await Promise.all(
    agents.map(async (agent) => {
      let made = 0;
      for (let at = performance.now(); at < end; made++) {
        processes.add(await call(agent));
        const after = performance.now();
        samples.add(after - at);
        at = after;
      }
      return made;
    }),
  );
  return { name, each, samples, seconds: (performance.now() - before) / 1_000, processes: processes.size };
}

async function inRunsTogether(name: string, agents: readonly Awaited<ReturnType<KelpieCalls["makeAgent"]>>[]): Promise<Shared> {
  progress(`${agents.length} agents: ${name}`);
  const samples = new Samples();
  const each = agents.map(() => 0);
  const before = performance.now();
  const end = before + numbers.seconds * 1_000;
  const answered = await Promise.all(
    agents.map(async (run, at) => {
      return await run(samples, (made) => {
        each[at] = made;
        return performance.now() < end;
      });
    }),
  );
  const processes = new Set(answered.flatMap((pids) => [...pids]));
  return { name, each, samples, seconds: (performance.now() - before) / 1_000, processes: processes.size };
}

function measureSearch(): { readonly buildMilliseconds: number; readonly all: Spread; readonly fastest: Spread } {
  progress(`Searching in ${numbers.tools} tools`);
  const { tools, queries } = makeCatalogue(numbers.tools, 5_000);
  const before = performance.now();
  const index = new ToolIndex(tools);
  const buildMilliseconds = performance.now() - before;
  for (const query of queries.slice(0, 500)) index.search(query, 5);
  const samples = new Samples();
  const fastest = new Float64Array(queries.length).fill(Infinity);
  for (let pass = 0; pass < searchPasses; pass++)
    for (const [at, query] of queries.entries()) {
      const start = performance.now();
      index.search(query, 5);
      const milliseconds = performance.now() - start;
      samples.add(milliseconds);
      fastest[at] = Math.min(fastest[at]!, milliseconds);
    }
  return { buildMilliseconds, all: spread(samples.values), fastest: spread(fastest) };
}
