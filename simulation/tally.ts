/** What many runs came to, added up: in a worker over the runs of a job, in the command over the jobs. */
import { addCounts, type RunReport } from "./run.ts";

export interface Failure {
  readonly workload: string;
  readonly seed: number;
  readonly violation: string;
  /** What to add to the command to see it again. */
  readonly replay: string;
}

type Counts = { readonly [name: string]: number };

export interface Totals {
  readonly runs: number;
  readonly operations: number;
  readonly crashes: number;
  readonly events: number;
  /** Runs that were done twice to compare their traces. */
  readonly compared: number;
  readonly fixtures: number;
  /** Fixtures that no longer find their planted bugs. */
  readonly stale: readonly string[];
  readonly sweeps: number;
  /** Crash points that sweeps tried. */
  readonly points: number;
  /** The crossings of the runs that were swept, by kind: all points that there are. */
  readonly crossings: Counts;
  readonly faults: Counts;
  readonly probes: Counts;
  /** Runs with the pair: "fault × probe". */
  readonly pairs: Counts;
  readonly violations: number;
  /** The first of them. */
  readonly failures: readonly Failure[];
}

const sumNames = ["runs", "operations", "crashes", "events", "compared", "fixtures", "sweeps", "points", "violations"] as const;
const countNames = ["crossings", "faults", "probes", "pairs"] as const;

/** Violations to keep the text of; the others are like them. */
const failuresMax = 20;

export class Tally {
  readonly #sum = { runs: 0, operations: 0, crashes: 0, events: 0, compared: 0, fixtures: 0, sweeps: 0, points: 0, violations: 0 };
  readonly #counts = { crossings: {}, faults: {}, probes: {}, pairs: {} };
  readonly #failures: Failure[] = [];
  readonly #stale: string[] = [];

  /** A run, and its violation if it has one. */
  add(report: RunReport, replay: string): void {
    this.#sum.runs++;
    this.#sum.operations += report.operations;
    this.#sum.crashes += report.crashes;
    this.#sum.events += report.events;
    addCounts(this.#counts.faults, report.faults);
    this.addReached(report);
    if (report.violations[0] !== undefined) this.fail(report, report.violations[0], replay);
  }

  /** A run of a sweep: counts for where the code came, not as a run of its own. */
  addReached(report: RunReport): void {
    addCounts(this.#counts.probes, report.probes);
    for (const pair of report.pairs) addCounts(this.#counts.pairs, { [pair]: 1 });
  }

  addCompared(): void {
    this.#sum.compared++;
  }

  addFixture(): void {
    this.#sum.fixtures++;
  }

  addStale(fixture: string): void {
    this.#stale.push(fixture);
  }

  addSweep(points: number, crossings: Counts): void {
    this.#sum.sweeps++;
    this.#sum.points += points;
    addCounts(this.#counts.crossings, crossings);
  }

  fail(report: RunReport, violation: string, replay: string): void {
    this.#sum.violations++;
    this.#keep({ workload: report.workload, seed: report.seed, violation, replay });
  }

  /** What another tally came to. */
  merge(totals: Totals): void {
    for (const name of sumNames) this.#sum[name] += totals[name];
    for (const name of countNames) addCounts(this.#counts[name], totals[name]);
    for (const failure of totals.failures) this.#keep(failure);
    this.#stale.push(...totals.stale);
  }

  totals(): Totals {
    return { ...this.#sum, ...this.#counts, failures: this.#failures, stale: this.#stale };
  }

  #keep(failure: Failure): void {
    if (this.#failures.length < failuresMax) this.#failures.push(failure);
  }
}
