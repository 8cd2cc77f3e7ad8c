/** `npm run simulate`: runs workloads under many seeds and says what was found. */
import { availableParallelism } from "node:os";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { coverageOf } from "./branches.ts";
import { mutantNamed, mutants, workloadNamed, workloads } from "./catalogue.ts";
import { coverageReport, coverageText } from "./coverage.ts";
import { corpusFiles, type Fixture, fixtureFile, fixtureName, fixtureOf, readFixture, runFixture, writeFixture } from "./fixture.ts";
import { type Job, type JobResult, smallRun } from "./jobs.ts";
import { runJobs } from "./pool.ts";
import { Progress, table } from "./report.ts";
import { type RunOptions, type RunReport, simulate } from "./run.ts";
import { shrink } from "./shrink.ts";
import type { Mutant } from "./world.ts";
import { Tally, type Totals } from "./tally.ts";

const help = `Runs Kelpie's own code under simulated time, crashes and faults, and checks its promises.

Usage: npm run simulate -- [options]

Many runs:
  --seeds N          seeds in all, as many for each workload (default 2000)
  --start N          the first seed (default 1)
  --workload NAME    only this workload; may be given several times
  --sweeps N         small runs repeated with a crash at each crossing of a port, for each workload (default 1)
  --mutants          plant each known bug instead, and count the seeds until it is found
  --mutant NAME      plant only this bug
  --coverage         do both, and say how much was covered, by six measures
  --workers N        threads (default: one for each core, at most 8)

One run:
  --replay SEED      run one seed and print its trace (with one --workload or a --mutant)
  --replay FILE      run a fixture of simulation/corpus/ and print its trace
  --crash P:N        with --replay SEED: crash process P at its crossing N
  --small            with --replay SEED: the small run that sweeps use
  --mutant NAME      with --replay SEED: plant this bug
  --shrink           make a failing run small and write it to simulation/corpus/: give a --workload and --seed, or a
                     --mutant (without --seed, the first seed that finds it); --crash and --small as above;
                     with --mutants, each planted bug that its fixture does not find any more
  --seed N           with --shrink: the seed

  --json             print one JSON object instead of tables
  --help             print this

Many runs also run the fixtures of simulation/corpus/ of their workloads.
The exit code is 0 when all promises held and each planted bug was found, 1 when not, 2 for options that make no sense.
--coverage also prints which of its targets are not reached; they do not change the exit code.

Workloads:
${workloads.map((workload) => `  ${workload.name.padEnd(14)} ${workload.checks}`).join("\n")}

Mutants:
${mutants.map((mutant) => `  ${mutant.name.padEnd(28)} ${mutant.breaks}`).join("\n")}
`;

const options = {
  seeds: { type: "string", default: "2000" },
  start: { type: "string", default: "1" },
  workload: { type: "string", multiple: true },
  sweeps: { type: "string", default: "1" },
  mutants: { type: "boolean", default: false },
  mutant: { type: "string" },
  coverage: { type: "boolean", default: false },
  replay: { type: "string" },
  crash: { type: "string" },
  small: { type: "boolean", default: false },
  shrink: { type: "boolean", default: false },
  seed: { type: "string" },
  workers: { type: "string" },
  json: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;
const seedsPerJob = 20;
const command = "npm run simulate --";

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>["values"];
let values: Values;

try {
  ({ values } = parseArgs({ options }));
  if (values.help) process.stdout.write(help);
  else if (values.replay !== undefined) await replay(values.replay);
  else if (values.shrink) await (values.mutants ? shrinkMutants() : shrinkRun());
  else if (values.coverage) await cover();
  else if (values.mutants || values.mutant !== undefined) reportMutants(await findMutants());
  else reportRuns(await findViolations(false));
} catch (error) {
  // What a person mistyped; anything else is a bug of the simulation and keeps its stack.
  if (!(error instanceof RangeError) && !(error instanceof TypeError && "code" in error)) throw error;
  process.stderr.write(`${error.message}\nTry ${command} --help\n`);
  process.exitCode = 2;
}

interface RunsFound {
  readonly rows: readonly (Totals & { readonly workload: string })[];
  readonly total: Totals;
  readonly seconds: number;
  readonly branches: Awaited<ReturnType<typeof runJobs>>;
}

async function findViolations(withBranches: boolean): Promise<RunsFound> {
  const chosen = values.workload === undefined ? workloads : values.workload.map(workloadNamed);
  const names = [...new Set(chosen.map((workload) => workload.name))];
  const [first, seeds, sweeps] = [
    wholeNumber("--start", values.start),
    wholeNumber("--seeds", values.seeds),
    wholeNumber("--sweeps", values.sweeps),
  ];
  const count = Math.ceil(seeds / names.length);
  const fixtures = corpusFiles().map((file): Job => ({ kind: "fixture", workload: readFixture(file).workload, file: file.href }));
  const jobs: Job[] = fixtures.filter((job) => names.includes(job.workload));
  for (const workload of names) {
    for (let seed = first; seed < first + sweeps; seed++) jobs.push({ kind: "sweep", workload, seed });
    for (let at = 0; at < count; at += seedsPerJob)
      jobs.push({ kind: "seeds", workload, first: first + at, count: Math.min(seedsPerJob, count - at) });
  }
  const total = new Tally();
  const tallies = new Map(names.map((name) => [name, new Tally()]));
  const startedAt = performance.now();
  const branches = await runAll(jobs, withBranches, (result) => {
    total.merge(result);
    tallies.get(result.job.workload)?.merge(result);
  });
  const rows = [...tallies].map(([workload, tally]) => ({ workload, ...tally.totals() }));
  return { rows, total: total.totals(), seconds: (performance.now() - startedAt) / 1_000, branches };
}

function reportRuns({ rows, total, seconds }: RunsFound): void {
  if (total.failures.length > 0) process.exitCode = 1;
  if (values.json) return printJson({ rows: rows.map(withoutPairs), total: withoutPairs(total), seconds });
  const columns = ["workload", "runs", "operations", "crashes", "faults", "events", "crash points", "run twice", "violations"];
  const cells = [...rows, { workload: "all", ...total }].map((row) => [
    row.workload,
    row.runs,
    row.operations,
    row.crashes,
    Object.values(row.faults).reduce((sum, times) => sum + times, 0),
    row.events,
    row.points,
    row.compared,
    row.violations,
  ]);
  print(table(columns, cells));
  const faults = Object.entries(total.faults).map(([kind, times]) => `${kind} ${times}`);
  print(`Faults: ${faults.join(", ")}`);
  print(
    `${total.runs} runs, ${total.points} crash points and ${total.fixtures} fixtures in ${seconds.toFixed(1)} s: ${(total.runs / seconds).toFixed(0)} seeds/s, ${(total.events / seconds).toFixed(0)} events/s`,
  );
  if (total.stale.length > 0)
    print(`No longer find their planted bugs: ${total.stale.join(", ")}. Renew them: ${command} --shrink --mutants`);
  for (const failure of total.failures)
    print(`\nVIOLATION in ${failure.workload}, seed ${failure.seed}: ${failure.violation}\n  Replay: ${command} ${failure.replay}`);
  if (total.violations > total.failures.length) print(`\n... and ${total.violations - total.failures.length} more`);
}

function withoutPairs<T extends Totals>({ pairs: _, ...totals }: T): Omit<T, "pairs"> {
  return totals;
}

interface MutantRow {
  readonly mutant: string;
  readonly breaks: string;
  readonly workload: string;
  readonly isFound: boolean;
  readonly seeds: number;
  readonly seedsMax: number;
  readonly violation: string | undefined;
}

async function findMutants(): Promise<readonly MutantRow[]> {
  const chosen = values.mutant === undefined ? mutants : [mutantNamed(values.mutant)];
  const first = wholeNumber("--start", values.start);
  const jobs = chosen.map(({ name, workload }): Job => ({ kind: "mutant", mutant: name, workload, first }));
  const results = new Map<string, JobResult>();
  await runAll(jobs, false, (result) => {
    if (result.job.kind === "mutant") results.set(result.job.mutant, result);
  });
  return chosen.map(({ name, breaks, workload, seedsMax }) => {
    const { failures, runs } = results.get(name)!;
    return {
      mutant: name,
      breaks,
      workload,
      isFound: failures.length > 0,
      seeds: runs,
      seedsMax,
      violation: failures[0]?.violation,
    };
  });
}

function reportMutants(rows: readonly MutantRow[]): void {
  const found = rows.filter((row) => row.isFound).length;
  if (found < rows.length) process.exitCode = 1;
  if (values.json) return printJson({ rows, found, missed: rows.length - found });
  const cells = rows.map((row) => [
    row.mutant,
    row.workload,
    row.isFound ? row.seeds : "NOT FOUND",
    row.seedsMax,
    (row.violation ?? "").split("\n")[0]!.slice(0, 90),
  ]);
  print(table(["planted bug", "workload", "seeds needed", "budget", "found as"], cells));
  print(`${found} of ${rows.length} planted bugs were found`);
}

async function cover(): Promise<void> {
  const runs = await findViolations(true);
  const rows = await findMutants();
  const report = coverageReport({ ...runs, workloads: runs.rows, branches: coverageOf(runs.branches), mutants: rows });
  if (values.json) {
    printJson({ ...report, runs: runs.total.runs, violations: runs.total.violations, seconds: runs.seconds });
    if (runs.total.violations > 0 || report.mutants.missed.length > 0) process.exitCode = 1;
    return;
  }
  reportRuns(runs);
  print("");
  reportMutants(rows);
  print(`\n${coverageText(report)}`);
}

async function replay(what: string): Promise<void> {
  const linesMax = 1_000_000;
  const report = /^\d+$/u.test(what)
    ? await simulate({ ...chosenRun(wholeNumber("--replay", what)), linesMax })
    : await runFixture(readFixture(what), linesMax);
  if (report.violations.length > 0) process.exitCode = 1;
  if (values.json) return printJson(report);
  for (const line of report.lines) print(line);
  print(
    `\nTrace ${report.hash}: ${report.events} events, ${report.operations} operations, ${report.crashes} crashes, ${report.violations.length} violations`,
  );
  for (const violation of report.violations) print(`VIOLATION: ${violation}`);
}

/** With --mutants, each planted bug that its fixture does not find: it has none, or the steps of the code have changed. */
async function shrinkMutants(): Promise<void> {
  const files = new Map(corpusFiles().map((file) => [fixtureName(file), file]));
  for (const mutant of mutants) {
    const file = files.get(`${mutant.name}.json`);
    if (file !== undefined && (await runFixture(readFixture(file))).violations.length > 0) continue;
    print(`${mutant.name}:`);
    await shrinkRun(mutant);
  }
}

async function shrinkRun(mutant = values.mutant === undefined ? undefined : mutantNamed(values.mutant)): Promise<void> {
  const [run, report] = await failingRun(mutant);
  const before = fixtureOf(run, report);
  const { fixture, runs } = await shrink(before, (smaller, tried) => {
    if (process.stderr.isTTY) process.stderr.write(`\r${sizes(smaller)} after ${tried} runs\u001b[K`);
  });
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  const file = fixtureFile(fixture);
  writeFixture(file, fixture);
  const path = relative(process.cwd(), fileURLToPath(file));
  if (values.json) return printJson({ file: path, runs, before: countsOf(before), after: countsOf(fixture), violation: fixture.violation });
  print(`Before: ${sizes(before)}\nAfter:  ${sizes(fixture)}, in ${runs} runs`);
  print(`It still says: ${fixture.violation.split("\n")[0]}\nWritten to ${path}. Its trace: ${command} --replay ${path}`);
}

/** The run to shrink. Without a seed, the first that finds the planted bug. */
async function failingRun(mutant: Mutant | undefined): Promise<readonly [RunOptions, RunReport]> {
  const first = wholeNumber("--seed", values.seed ?? values.start);
  if (values.seed === undefined && mutant === undefined) throw new RangeError("--shrink needs a --seed, or a --mutant to look for");
  const seedsMax = values.seed === undefined ? mutant!.seedsMax : 1;
  for (let seed = first; seed < first + seedsMax; seed++) {
    const run = chosenRun(seed, mutant);
    const report = await simulate(run);
    if (report.violations.length > 0) return [run, report];
  }
  const seeds = seedsMax === 1 ? `Seed ${first} has` : `Seeds ${first} to ${first + seedsMax - 1} have`;
  throw new RangeError(`${seeds} no violation: there is nothing to shrink`);
}

/** The one run that the options name. */
function chosenRun(seed: number, mutant = values.mutant === undefined ? undefined : mutantNamed(values.mutant)): RunOptions {
  const [name, ...others] = values.workload ?? (mutant === undefined ? [] : [mutant.workload]);
  if (name === undefined || others.length > 0) throw new RangeError("A seed needs exactly one --workload, or a --mutant");
  const crash = values.crash?.match(/^(.+):(\d+)$/u);
  if (values.crash !== undefined && !crash) throw new RangeError(`--crash is PROCESS:CROSSING, not ${JSON.stringify(values.crash)}`);
  return {
    workload: workloadNamed(name),
    seed,
    ...(mutant === undefined ? {} : { mutant }),
    ...(values.small ? { options: smallRun } : {}),
    ...(crash ? { crashPlan: { process: crash[1]!, crossing: Number(crash[2]) } } : {}),
  };
}

function countsOf({ operations, faults, options: { processes = 1, clients = 1 } }: Fixture): { readonly [part: string]: number } {
  return { operations: operations.length, faults: faults.length, processes, clients };
}

function sizes(fixture: Fixture): string {
  return Object.entries(countsOf(fixture))
    .map(([part, count]) => `${count} ${part}`)
    .join(", ");
}

async function runAll(jobs: readonly Job[], withBranches: boolean, onResult: (result: JobResult) => void): ReturnType<typeof runJobs> {
  const threads = values.workers === undefined ? Math.min(8, availableParallelism()) : wholeNumber("--workers", values.workers);
  if (threads === 0) throw new RangeError("--workers is 1 or more");
  const progress = new Progress(jobs.length);
  const startedAt = performance.now();
  return await runJobs(jobs, {
    threads,
    withBranches,
    onResult: (result) => {
      onResult(result);
      const line = progress.line(result, (performance.now() - startedAt) / 1_000);
      if (process.stderr.isTTY) process.stderr.write(`\r${line}\u001b[K`);
    },
  });
}

function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,15}$/u.test(text)) throw new RangeError(`${option} is a whole number, not ${JSON.stringify(text)}`);
  return Number(text);
}

function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}

function print(line: string): void {
  process.stdout.write(line + "\n");
}
