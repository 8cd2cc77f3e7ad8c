/** `npm run simulate`: runs workloads under many seeds and says what was found. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { mutantNamed, mutants, workloadNamed, workloads } from "./catalogue.ts";
import { addCounts, type Job, type JobResult, smallRun } from "./jobs.ts";
import { runJobs } from "./pool.ts";
import { simulate } from "./run.ts";

const help = `Runs Kelpie's own code under simulated time, crashes and faults, and checks its promises.

Usage: npm run simulate -- [options]

  --seeds N          seeds of each workload (default 200)
  --start N          the first seed (default 1)
  --workload NAME    only this workload; may be given several times
  --sweeps N         small runs repeated with a crash at each crossing of a port, for each workload (default 5)
  --mutants          plant each known bug instead, and count the seeds until it is found
  --mutant NAME      plant only this bug; with --replay, plant it in that run
  --replay SEED      run one seed and print its trace (needs one --workload)
  --crash P:N        with --replay: crash process P at its crossing N
  --small            with --replay: the small run that sweeps use
  --workers N        threads (default: one for each core, at most 8)
  --json             print one JSON object instead of tables
  --help             print this

The exit code is 0 when all promises held (with --mutants: when each bug was found), else 1.

Workloads:
${workloads.map((workload) => `  ${workload.name.padEnd(14)} ${workload.checks}`).join("\n")}

Mutants:
${mutants.map((mutant) => `  ${mutant.name.padEnd(28)} ${mutant.breaks}`).join("\n")}
`;

const options = {
  seeds: { type: "string", default: "200" },
  start: { type: "string", default: "1" },
  workload: { type: "string", multiple: true },
  sweeps: { type: "string", default: "5" },
  mutants: { type: "boolean", default: false },
  mutant: { type: "string" },
  replay: { type: "string" },
  crash: { type: "string" },
  small: { type: "boolean", default: false },
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
  else if (values.replay !== undefined) await replay(wholeNumber("--replay", values.replay));
  else if (values.mutants || values.mutant !== undefined) await findMutants();
  else await findViolations();
} catch (error) {
  // What a person mistyped; anything else is a bug of the simulation and keeps its stack.
  if (!(error instanceof RangeError) && !(error instanceof TypeError && "code" in error)) throw error;
  process.stderr.write(`${error.message}\nTry ${command} --help\n`);
  process.exitCode = 2;
}

async function findViolations(): Promise<void> {
  const names = (values.workload ?? workloads.map((workload) => workload.name)).map((name) => workloadNamed(name).name);
  const [first, count, sweeps] = [
    wholeNumber("--start", values.start),
    wholeNumber("--seeds", values.seeds),
    wholeNumber("--sweeps", values.sweeps),
  ];
  const jobs: Job[] = [];
  for (const workload of names) {
    for (let seed = first; seed < first + sweeps; seed++) jobs.push({ kind: "sweep", workload, seed });
    for (let at = 0; at < count; at += seedsPerJob)
      jobs.push({ kind: "seeds", workload, first: first + at, count: Math.min(seedsPerJob, count - at) });
  }
  const startedAt = performance.now();
  const results = await runAll(jobs);
  const seconds = (performance.now() - startedAt) / 1_000;
  const rows = names.map((name) => ({
    workload: name,
    ...sumOf(results.filter((result) => result.job.kind !== "mutant" && result.job.workload === name)),
  }));
  const failures = results.flatMap((result) => result.failures);
  const total = sumOf(results);
  if (values.json) printJson({ rows, total, failures, seconds });
  else {
    const columns = ["workload", "runs", "operations", "crashes", "faults", "events", "crash points", "run twice", "violations"];
    const cells = [...rows, { workload: "all", ...total }].map((row) => [
      row.workload,
      row.runs,
      row.operations,
      row.crashes,
      row.faultCount,
      row.events,
      row.points,
      row.compared,
      row.failures,
    ]);
    printTable(columns, cells);
    print(
      `Faults: ${Object.entries(total.faults)
        .map(([kind, times]) => `${kind} ${times}`)
        .join(", ")}`,
    );
    const slow = total.runs / seconds;
    print(
      `${total.runs} runs and ${total.points} crash points in ${seconds.toFixed(1)} s: ${slow.toFixed(0)} seeds/s, ${(total.events / seconds).toFixed(0)} events/s`,
    );
    for (const failure of failures)
      print(`\nVIOLATION in ${failure.workload}, seed ${failure.seed}: ${failure.violation}\n  Replay: ${command} ${failure.replay}`);
  }
  if (failures.length > 0) process.exitCode = 1;
}

async function findMutants(): Promise<void> {
  const chosen = values.mutant === undefined ? mutants : [mutantNamed(values.mutant)];
  const first = wholeNumber("--start", values.start);
  const results = await runAll(chosen.map((mutant) => ({ kind: "mutant", mutant: mutant.name, first })));
  const rows = chosen.map((mutant) => {
    const result = results.find((each) => each.job.kind === "mutant" && each.job.mutant === mutant.name)!;
    return {
      mutant: mutant.name,
      breaks: mutant.breaks,
      workload: mutant.workload,
      isFound: result.failures.length > 0,
      seeds: result.runs,
      seedsMax: mutant.seedsMax,
      violation: result.failures[0]?.violation,
    };
  });
  const missed = rows.filter((row) => !row.isFound);
  if (values.json) printJson({ rows, found: rows.length - missed.length, missed: missed.length });
  else {
    printTable(
      ["planted bug", "workload", "seeds needed", "budget", "found as"],
      rows.map((row) => [
        row.mutant,
        row.workload,
        row.isFound ? row.seeds : "NOT FOUND",
        row.seedsMax,
        (row.violation ?? "").split("\n")[0]!.slice(0, 90),
      ]),
    );
    print(`${rows.length - missed.length} of ${rows.length} planted bugs were found`);
  }
  if (missed.length > 0) process.exitCode = 1;
}

async function replay(seed: number): Promise<void> {
  const [name, ...others] = values.workload ?? [];
  if (name === undefined || others.length > 0) throw new RangeError("--replay needs exactly one --workload");
  const crash = values.crash?.match(/^(.+):(\d+)$/u);
  if (values.crash !== undefined && !crash) throw new RangeError(`--crash is PROCESS:CROSSING, not ${JSON.stringify(values.crash)}`);
  const report = await simulate({
    workload: workloadNamed(name),
    seed,
    linesMax: 1_000_000,
    ...(values.mutant === undefined ? {} : { mutant: mutantNamed(values.mutant) }),
    ...(values.small ? { options: smallRun } : {}),
    ...(crash ? { crashPlan: { process: crash[1]!, crossing: Number(crash[2]) } } : {}),
  });
  if (values.json) printJson(report);
  else {
    for (const line of report.lines) print(line);
    print(
      `\nTrace ${report.hash}: ${report.events} events, ${report.operations} operations, ${report.crashes} crashes, ${report.violations.length} violations`,
    );
    for (const violation of report.violations) print(`VIOLATION: ${violation}`);
  }
  if (report.violations.length > 0) process.exitCode = 1;
}

async function runAll(jobs: readonly Job[]): Promise<JobResult[]> {
  const results: JobResult[] = [];
  const threads = values.workers === undefined ? Math.min(8, availableParallelism()) : wholeNumber("--workers", values.workers);
  await runJobs(jobs, threads, (result) => {
    results.push(result);
    if (!process.stderr.isTTY) return;
    const failures = results.reduce((sum, each) => sum + each.failures.length, 0);
    process.stderr.write(
      `\r${results.length} of ${jobs.length} jobs, ${values.mutants ? `${failures} bugs found` : `${failures} violations`} `,
    );
    if (results.length === jobs.length) process.stderr.write("\r\u001b[K");
  });
  return results;
}

interface Sum {
  readonly runs: number;
  readonly operations: number;
  readonly crashes: number;
  readonly events: number;
  readonly points: number;
  readonly compared: number;
  readonly failures: number;
  readonly faultCount: number;
  readonly faults: { readonly [kind: string]: number };
  readonly probes: { readonly [name: string]: number };
}

function sumOf(results: readonly JobResult[]): Sum {
  const sum = { runs: 0, operations: 0, crashes: 0, events: 0, points: 0, compared: 0, failures: 0, faultCount: 0, faults: {}, probes: {} };
  for (const result of results) {
    for (const name of ["runs", "operations", "crashes", "events", "points", "compared"] as const) sum[name] += result[name];
    sum.failures += result.failures.length;
    sum.faultCount += Object.values(result.faults).reduce((total, times) => total + times, 0);
    addCounts(sum.faults, result.faults);
    addCounts(sum.probes, result.probes);
  }
  return sum;
}

function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,15}$/u.test(text)) throw new RangeError(`${option} is a whole number, not ${JSON.stringify(text)}`);
  return Number(text);
}

function printTable(columns: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const cells = [columns, ...rows].map((row) => row.map((cell) => (typeof cell === "number" ? cell.toLocaleString("en-US") : cell)));
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => row[at]!.length)));
  for (const row of cells)
    print(
      row
        .map((cell, at) => (typeof rows[0]?.[at] === "number" ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!)))
        .join("  ")
        .trimEnd(),
    );
}

function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}

function print(line: string): void {
  process.stdout.write(line + "\n");
}
