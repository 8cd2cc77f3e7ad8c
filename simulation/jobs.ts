/** What a worker is told to do and what it answers: plain data, so that it crosses threads. */
import { mutantNamed, workloadNamed } from "./catalogue.ts";
import { type RunReport, simulate, sweepCrashes } from "./run.ts";
import { type SwarmOptions, withoutFaults } from "./swarm.ts";

export type Job =
  | { readonly kind: "seeds"; readonly workload: string; readonly first: number; readonly count: number }
  /** A crash at every crossing of one small run. */
  | { readonly kind: "sweep"; readonly workload: string; readonly seed: number }
  | { readonly kind: "mutant"; readonly mutant: string; readonly first: number };

export interface Failure {
  readonly workload: string;
  readonly seed: number;
  readonly violation: string;
  /** What to add to the command to see it again. */
  readonly replay: string;
}

export interface JobResult {
  readonly job: Job;
  readonly runs: number;
  readonly operations: number;
  readonly crashes: number;
  readonly events: number;
  readonly faults: { readonly [kind: string]: number };
  readonly probes: { readonly [name: string]: number };
  readonly failures: readonly Failure[];
  /** Runs that were done twice to compare their traces. */
  readonly compared: number;
  /** Crash points of a sweep. */
  readonly points: number;
  readonly milliseconds: number;
}

/** One seed in ten is run twice: the traces must be equal. */
const comparedEvery = 10;
const failuresMax = 20;

export async function runJob(job: Job, elapsed: () => number): Promise<JobResult> {
  const startedAt = elapsed();
  const tally = new Tally();
  if (job.kind === "seeds") await runSeeds(job.workload, job.first, job.count, tally);
  else if (job.kind === "sweep") await runSweep(job.workload, job.seed, tally);
  else await runMutant(job.mutant, job.first, tally);
  return { job, ...tally.totals(), milliseconds: elapsed() - startedAt };
}

/** A run small enough to be repeated for each of its crossings: a crash is its only fault. */
export function smallRun(options: SwarmOptions): SwarmOptions {
  return {
    ...withoutFaults(options),
    processes: Math.min(options.processes, 2),
    clients: 2,
    keys: Math.min(options.keys, 2),
    operationsPerClient: 3,
    // Little waiting, so that most crossings are of work and not of timers.
    thinkMilliseconds: Math.min(options.thinkMilliseconds, 50),
    idleMilliseconds: Math.max(options.idleMilliseconds, 1_000),
    faultsUntil: 0,
    // A crash is on its way.
    isCalm: false,
  };
}

async function runSeeds(name: string, first: number, count: number, tally: Tally): Promise<void> {
  const workload = workloadNamed(name);
  for (let seed = first; seed < first + count; seed++) {
    const report = await simulate({ workload, seed });
    tally.add(report, `--workload ${name} --replay ${seed}`);
    if (seed % comparedEvery !== 0) continue;
    const again = await simulate({ workload, seed });
    tally.compared++;
    if (again.hash !== report.hash)
      tally.fail(report, `Two runs of one seed have the traces ${report.hash} and ${again.hash}`, `--workload ${name} --replay ${seed}`);
  }
}

async function runSweep(name: string, seed: number, tally: Tally): Promise<void> {
  const { points, failed } = await sweepCrashes({ workload: workloadNamed(name), seed, options: smallRun });
  tally.points += points;
  if (failed === undefined) return;
  const at = failed.crashPlan === undefined ? "" : ` --crash ${failed.crashPlan.process}:${failed.crashPlan.crossing}`;
  tally.add(failed, `--workload ${name} --small --replay ${seed}${at}`);
}

async function runMutant(name: string, first: number, tally: Tally): Promise<void> {
  const mutant = mutantNamed(name);
  const workload = workloadNamed(mutant.workload);
  for (let seed = first; seed < first + mutant.seedsMax; seed++) {
    const report = await simulate({ workload, seed, mutant });
    tally.add(report, `--workload ${workload.name} --mutant ${name} --replay ${seed}`);
    if (report.violations.length > 0) return;
  }
}

class Tally {
  compared = 0;
  points = 0;
  #runs = 0;
  #operations = 0;
  #crashes = 0;
  #events = 0;
  readonly #faults: { [kind: string]: number } = {};
  readonly #probes: { [name: string]: number } = {};
  readonly #failures: Failure[] = [];

  add(report: RunReport, replay: string): void {
    this.#runs++;
    this.#operations += report.operations;
    this.#crashes += report.crashes;
    this.#events += report.events;
    addCounts(this.#faults, report.faults);
    addCounts(this.#probes, report.probes);
    if (report.violations[0] !== undefined) this.fail(report, report.violations[0], replay);
  }

  fail(report: RunReport, violation: string, replay: string): void {
    if (this.#failures.length < failuresMax) this.#failures.push({ workload: report.workload, seed: report.seed, violation, replay });
  }

  totals(): Omit<JobResult, "job" | "milliseconds"> {
    return {
      runs: this.#runs,
      operations: this.#operations,
      crashes: this.#crashes,
      events: this.#events,
      faults: this.#faults,
      probes: this.#probes,
      failures: this.#failures,
      compared: this.compared,
      points: this.points,
    };
  }
}

/** Adds the counts of `more` to `sum`. */
export function addCounts(sum: { [name: string]: number }, more: { readonly [name: string]: number }): void {
  for (const [name, count] of Object.entries(more)) sum[name] = (sum[name] ?? 0) + count;
}
