/**
 * What a sandboxed process costs: a cold and a warm start, a call of a tool in Python, and fifty at once, beside bare
 * bubblewrap and a bare spawn.
 *
 *     npm run bench:sandbox [-- --json] [-- --rounds 40 --atOnce 50]
 */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { RealEnvironment } from "../src/environment/real-environment.ts";
import { openSourceTools } from "../src/open-source-tools.ts";
import { BubblewrapBackend } from "../src/sandbox/bubblewrap-backend.ts";
import { runCommand } from "../src/sandbox/run-command.ts";
import type { Sandbox } from "../src/sandbox/sandbox.ts";
import { SandboxPool } from "../src/sandbox/sandbox-pool.ts";
import { MemoryStore } from "../src/storage/memory-store.ts";
import type { OutsideTool } from "../src/tools/tool.ts";
import { newTool } from "../src/tools/tool-record.ts";
import { progress, readArguments } from "./lib/arguments.ts";
import { printReport, type Table } from "./lib/report.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import { Samples, spread } from "./lib/statistics.ts";

const { json, numbers } = readArguments("Usage: npm run bench:sandbox -- [--json] [--rounds N] [--atOnce N]", { rounds: 40, atOnce: 50 });

/** Between two commands of one sandbox: an agent's model takes longer. In it the next one is prepared. */
const pauseMilliseconds = 60;
/** In which the pool of the tools fills again: it is asked for nothing else here. */
const poolMilliseconds = 250;

const begin = performance.now();
using scratch = scratchDirectory();
const environment = new RealEnvironment({ write: () => undefined });
const backend = await BubblewrapBackend.open({ environment });
const pool = new SandboxPool({ backend, spec: { isolation: "process" }, size: 2, log: environment.log });

const bareBubblewrap = [
  "bwrap",
  "--unshare-all",
  "--ro-bind",
  "/usr",
  "/usr",
  "--symlink",
  "usr/lib",
  "/lib",
  "--symlink",
  "usr/lib64",
  "/lib64",
];
const settled = await backend.create({ isolation: "process" });

const sourceTools = openSourceTools({ store: new MemoryStore(), environment, folder: scratch.path, unisolatedAllowed: false });
const twice = newTool(environment, {
  source_code: 'def twice(n: int):\n    """Doubles.\n\n    Args:\n        n (int): A number.\n    """\n    return n * 2\n',
});
const tool = sourceTools.source(twice) as OutsideTool;
const never = new AbortController().signal;

/** Each is one way to run `true`, or Python, with what is to be done before and after and does not count. */
const ways: readonly Way[] = [
  { name: "bare spawn", run: () => bare(["/bin/true"]) },
  { name: "bare bwrap", run: () => bare([...bareBubblewrap, "--proc", "/proc", "--dev", "/dev", "/usr/bin/true"]) },
  { name: "cold: a new sandbox, and true in it", run: cold },
  { name: "warm: from the pool, and true in it", run: fromPool, rest: () => pool.filled() },
  { name: "warm: true in a sandbox that is there", run: () => execute(settled), rest: () => sleep(pauseMilliseconds), isShared: true },
  { name: "one after the other in one sandbox", run: () => execute(settled), isShared: true },
  { name: "bare spawn of Python", run: () => bare(["/usr/bin/python3", "-c", "pass"]) },
  { name: "a tool in Python, in a sandbox that was warm", run: callTool, rest: () => sleep(poolMilliseconds) },
];

interface Way {
  readonly name: string;
  run(): Promise<Sandbox | void>;
  rest?(): Promise<unknown>;
  /** All use one sandbox, in which commands wait for each other. */
  readonly isShared?: true;
}

const alone = new Map(ways.map(({ name }) => [name, new Samples()]));
for (let round = 0; round < numbers.rounds; round++) {
  progress(`one at a time, round ${round + 1} of ${numbers.rounds}`);
  for (const { name, run, rest } of ways) {
    await rest?.();
    const made = await timed(alone.get(name)!, run);
    await made?.close();
  }
}

const together = new Map<string, Samples>();
const wholes = new Map<string, number>();
for (const { name, run } of ways.filter(({ isShared }) => isShared !== true)) {
  progress(`${numbers.atOnce} at once: ${name}`);
  const samples = new Samples();
  const before = performance.now();
  const made = await Promise.all(Array.from({ length: numbers.atOnce }, () => timed(samples, run)));
  wholes.set(name, performance.now() - before);
  together.set(name, samples);
  await Promise.all(made.map((sandbox) => sandbox?.close()));
}
await sourceTools[Symbol.asyncDispose]();
await pool.close();
await backend.close();

const p50 = (name: string): number => spread(alone.get(name)!.values).p50;
printReport(
  {
    bench: "Sandbox: a process behind bubblewrap",
    method: [
      `Each runs \`true\` to its end and reads its output. ${numbers.rounds} rounds, all ways in turn within each, one at a time; then ${numbers.atOnce} at once.`,
      "cold: folder, control groups, network, namespaces, filter, command. warm: the namespaces wait for the command.",
      `Where a sandbox is there already, ${pauseMilliseconds} ms pass between two commands; without a pause each waits for the next to be prepared.`,
      "a tool in Python: a sandbox, its source and arguments, Python, the function, its result; the sandbox is gone afterwards.",
      "bare bwrap: all namespaces, no filter, no control groups, no limits.",
    ],
    versions: { sandbox: backend.info.version },
    tables: [
      table("One at a time", alone),
      {
        title: `${numbers.atOnce} at once`,
        columns: ["", "p50 ms", "p99 ms", "all ms", "each ms"],
        rows: [...together].map(([name, samples]) => {
          const whole = wholes.get(name)!;
          return [name, spread(samples.values).p50, spread(samples.values).p99, whole, whole / numbers.atOnce];
        }),
      },
    ],
    targets: [
      { what: "cold, p50", measured: p50(ways[2]!.name), unit: "ms", atMost: 150 },
      { what: "warm from the pool, p50", measured: p50(ways[3]!.name), unit: "ms", atMost: 50 },
      { what: "warm in a sandbox, p50", measured: p50(ways[4]!.name), unit: "ms", atMost: 50 },
    ],
    notes: backend.info.weaknesses,
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

function table(title: string, samples: ReadonlyMap<string, Samples>): Table {
  return {
    title,
    columns: ["", "p50 ms", "p99 ms", "max ms"],
    rows: [...samples].map(([name, { values }]) => [name, spread(values).p50, spread(values).p99, spread(values).max]),
  };
}

async function timed<T>(samples: Samples, run: () => Promise<T>): Promise<T> {
  const before = performance.now();
  const result = await run();
  samples.add(performance.now() - before);
  return result;
}

function bare([program, ...words]: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, words, { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.resume();
    child.stderr.resume();
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`${program} ended with ${code}`))));
  });
}

async function callTool(): Promise<void> {
  const context = { effectId: "effect", signal: never, project: "default", agentId: "agent", conversationId: "default" };
  const { text } = await tool.execute({ n: 21 }, context);
  if (text !== "42") throw new Error(`The tool gave ${text}`);
}

async function cold(): Promise<Sandbox> {
  const sandbox = await backend.create({ isolation: "process" });
  await execute(sandbox);
  return sandbox;
}

async function fromPool(): Promise<Sandbox> {
  const sandbox = await pool.take();
  await execute(sandbox);
  return sandbox;
}

async function execute(sandbox: Sandbox): Promise<void> {
  const { exit } = await runCommand(sandbox, { program: "true" });
  if (exit.reason !== "exited" || exit.code !== 0) throw new Error(`true ended with ${JSON.stringify(exit)}`);
}
