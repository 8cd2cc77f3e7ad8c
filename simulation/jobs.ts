/** What a worker is told to do and what it answers: plain data, so that it crosses threads. */
import { defaultTimings } from "../src/cluster/cluster.ts";
import { mutantNamed, workloadNamed } from "./catalogue.ts";
import { fixtureName, isStale, readFixture, runFixture } from "./fixture.ts";
import { simulate, sweepCrashes } from "./run.ts";
import { type SwarmOptions, withoutFaults } from "./swarm.ts";
import { Tally, type Totals } from "./tally.ts";

export type Job =
  | { readonly kind: "seeds"; readonly workload: string; readonly first: number; readonly count: number }
  /** A crash at every crossing of one small run. */
  | { readonly kind: "sweep"; readonly workload: string; readonly seed: number }
  /** A run of the corpus, by its file's address. */
  | { readonly kind: "fixture"; readonly workload: string; readonly file: string }
  | { readonly kind: "mutant"; readonly workload: string; readonly mutant: string; readonly first: number };

export interface JobResult extends Totals {
  readonly job: Job;
}

/** One seed in ten is run twice: the traces must be equal. */
const comparedEvery = 10;

export async function runJob(job: Job): Promise<JobResult> {
  const tally = new Tally();
  if (job.kind === "seeds") await runSeeds(job.workload, job.first, job.count, tally);
  else if (job.kind === "sweep") await runSweep(job.workload, job.seed, tally);
  else if (job.kind === "fixture") await runCorpus(job.file, tally);
  else await runMutant(job.mutant, job.first, tally);
  return { job, ...tally.totals() };
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
    burstMilliseconds: 0,
    // Nor much of nodes that say to each other that they live, while reminders are waited for.
    cluster: { ...withoutFaults(options).cluster, timings: defaultTimings, pingMilliseconds: defaultTimings.lease },
    idleMilliseconds: Math.max(options.idleMilliseconds, 1_000),
    faultsUntil: 0,
    // A crash is on its way.
    isCalm: false,
  };
}

async function runSeeds(name: string, first: number, count: number, tally: Tally): Promise<void> {
  const workload = workloadNamed(name);
  for (let seed = first; seed < first + count; seed++) {
    const replay = `--workload ${name} --replay ${seed}`;
    const report = await simulate({ workload, seed });
    tally.add(report, replay);
    if (seed % comparedEvery !== 0) continue;
    const again = await simulate({ workload, seed });
    tally.addCompared();
    if (again.hash !== report.hash) tally.fail(report, `Two runs of one seed have the traces ${report.hash} and ${again.hash}`, replay);
  }
}

async function runSweep(name: string, seed: number, tally: Tally): Promise<void> {
  const { points, kinds, failed } = await sweepCrashes({ workload: workloadNamed(name), seed, options: smallRun }, (report) =>
    tally.addReached(report),
  );
  tally.addSweep(points, kinds);
  if (failed === undefined) return;
  const at = failed.crashPlan === undefined ? "" : ` --crash ${failed.crashPlan.process}:${failed.crashPlan.crossing}`;
  tally.add(failed, `--workload ${name} --small --replay ${seed}${at}`);
}

async function runCorpus(file: string, tally: Tally): Promise<void> {
  const fixture = readFixture(new URL(file));
  const report = await runFixture(fixture);
  tally.addFixture();
  const name = fixtureName(new URL(file));
  if (isStale(fixture, report)) tally.addStale(name);
  else if (fixture.mutant === undefined && report.violations[0] !== undefined)
    tally.fail(report, report.violations[0], `--replay simulation/corpus/${name}`);
}

async function runMutant(name: string, first: number, tally: Tally): Promise<void> {
  const mutant = mutantNamed(name);
  const workload = workloadNamed(mutant.workload);
  for (let seed = first; seed < first + mutant.seedsMax; seed++) {
    const report = await simulate({ workload, seed, mutant });
    tally.add(report, `--mutant ${name} --replay ${seed}`);
    if (report.violations.length > 0) return;
  }
}
