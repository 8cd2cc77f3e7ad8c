/**
 * What a million agents cost: on disk, in memory, when one of them is called, and when the server starts.
 *
 *     npm run bench:agents [-- --json] [-- --agents 1000000 --activations 100000]
 */
import { join } from "node:path";
import type { ActivateOptions, ActivateResult, Memory } from "./lib/agents/activate.ts";
import type { CreateOptions, CreateResult } from "./lib/agents/create.ts";
import { progress, readArguments } from "./lib/arguments.ts";
import { printReport } from "./lib/report.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import { startServer } from "./lib/serve.ts";
import { median, seededRandom } from "./lib/statistics.ts";
import { Worker } from "./lib/worker.ts";

const { json, numbers } = readArguments("Usage: npm run bench:agents -- [--json] [--agents N] [--activations N] [--minutes N]", {
  agents: 1_000_000,
  activations: 100_000,
  /** For making the agents: what is not made by then is not made. */
  minutes: 7,
});

const fewAgents = 1_000;
const callers = 16;
const starts = 3;

interface Start {
  /** From the start of the process until it says that it is ready, and until it has answered about an agent. */
  readonly ready: number;
  readonly answered: number;
}

const begin = performance.now();
using scratch = scratchDirectory();
const notes: string[] = [];

progress(`Making ${numbers.agents} agents`);
const many = await create("many", numbers.agents);
if (many.agents < numbers.agents) notes.push(`The time was over after ${many.agents} of ${numbers.agents} agents`);
const few = await create("few", fewAgents);
progress("Starting servers");
const startMany = await measureStarts("many", many.sample[0]!);
const startFew = await measureStarts("few", few.sample[0]!);
const chosen = choose(many.sample, numbers.activations);
if (chosen.length < numbers.activations) notes.push(`There were only ${chosen.length} agents to activate`);
progress(`Activating ${chosen.length} agents`);
const activated = await activate("many", chosen);

printReport(
  {
    bench: `Agents: ${many.agents.toLocaleString("en-US")} of them`,
    method: [
      "One SQLite file on this machine's disk. The first agent is made through the HTTP API; the others have the same fields and",
      `the same ${many.rowsPerAgent} rows (agent, two blocks, indexes, links), written by the same functions, 1,000 agents in a batch.`,
      `Activations: in a fresh process, ${chosen.length.toLocaleString("en-US")} different agents at random, ${callers} callers; each takes the agent over from no`,
      "one, reads it and its blocks, renders its system prompt, and commits its claim to the actor (one batch on disk).",
      "Memory is measured after a garbage collection; 0 live is Kelpie with the store open.",
      `Ready: a new \`kelpie serve\` process on the file, until it says so; answered: until GET /v1/agents/{id} is answered. The median of ${starts}.`,
      "The file may be in the system's page cache.",
    ],
    versions: {},
    tables: [
      {
        title: "Making and keeping",
        columns: ["", `${many.agents.toLocaleString("en-US")} agents`],
        rows: [
          ["agents/s", many.agents / many.seconds],
          ["rows per agent", many.rowsPerAgent],
          ["bytes on disk per agent", many.bytesOnDisk / many.agents],
          ["store file, MB", megabytes(many.bytesOnDisk)],
        ],
      },
      {
        title: "Memory",
        columns: ["", "0 live", `${activated.live.toLocaleString("en-US")} live`, "bytes per live agent"],
        rows: [memoryRow("resident set, MB", "resident"), memoryRow("JavaScript heap, MB", "heap")],
      },
      {
        title: "Activation",
        columns: ["", "per second", "p50 ms", "p99 ms", "max ms"],
        rows: [[`${callers} callers`, activated.perSecond, activated.p50, activated.p99, activated.max]],
      },
      {
        title: "Start of a server",
        columns: ["", "ready ms", "answered ms"],
        rows: [
          [`${few.agents.toLocaleString("en-US")} agents`, startFew.ready, startFew.answered],
          [`${many.agents.toLocaleString("en-US")} agents`, startMany.ready, startMany.answered],
        ],
      },
    ],
    targets: [
      { what: "Ready with all agents", measured: startMany.ready, unit: "ms", atMost: 2_000 },
      { what: "Ready with all agents to ready with few", measured: startMany.ready / startFew.ready, unit: "×", atMost: 1.5 },
      { what: "Activation, p99", measured: activated.p99, unit: "ms", atMost: 200 },
    ],
    notes,
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

function megabytes(bytes: number): number {
  return bytes / 1e6;
}

function memoryRow(title: string, field: keyof Memory): (string | number)[] {
  const [before, after] = [activated.before[field], activated.after[field]];
  return [title, megabytes(before), megabytes(after), (after - before) / activated.live];
}

function directory(name: string): string {
  return join(scratch.path, name);
}

async function create(name: string, agents: number): Promise<CreateResult> {
  await using worker = new Worker(join(import.meta.dirname, "lib", "agents", "create.ts"));
  const options: CreateOptions = { directory: directory(name), agents, secondsMax: numbers.minutes * 60 };
  return await worker.ask<CreateResult>("create", options);
}

async function activate(name: string, agents: readonly string[]): Promise<ActivateResult> {
  await using worker = new Worker(join(import.meta.dirname, "lib", "agents", "activate.ts"), ["--expose-gc"]);
  const options: ActivateOptions = { directory: directory(name), agents, callers };
  return await worker.ask<ActivateResult>("activate", options);
}

async function measureStarts(name: string, agentId: string): Promise<Start> {
  const all: Start[] = [];
  for (let index = 0; index < starts; index++) {
    const before = performance.now();
    await using server = await startServer(directory(name));
    const response = await fetch(`${server.url}/v1/agents/${agentId}`);
    if (response.status !== 200) throw new Error(`The agent ${agentId} was not found after a restart: ${await response.text()}`);
    all.push({ ready: server.readyMilliseconds, answered: performance.now() - before });
  }
  return { ready: median(all.map((each) => each.ready)), answered: median(all.map((each) => each.answered)) };
}

/** `count` different ones, in an order of chance that is the same in every run. */
function choose(ids: readonly string[], count: number): string[] {
  const random = seededRandom(7);
  const left = [...ids];
  for (let index = left.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1));
    [left[index], left[other]] = [left[other]!, left[index]!];
  }
  return left.slice(0, count);
}
