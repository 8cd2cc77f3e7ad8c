import { nextMacrotask } from "./microtasks.ts";
import type { KeptParts } from "./parts.ts";
import type { CrashPlan } from "./process.ts";
import { KeyedRandom } from "./random.ts";
import { drawSwarm, type SwarmOptions } from "./swarm.ts";
import { Trace } from "./trace.ts";
import { type Mutant, World } from "./world.ts";

/** Something that clients do to processes, and the promises that have to hold meanwhile and afterwards. */
export interface Workload {
  readonly name: string;
  /** One line for `--help`. */
  readonly checks: string;
  /** Adapts what the seed drew, where this workload needs a corner. */
  options?(options: SwarmOptions): SwarmOptions;
  /**
   * Adds processes, lets clients work, waits for them and checks. Runs outside all processes. What is wrong goes to
   * `world.violation`; a rejection is a violation too.
   */
  run(world: World): Promise<void>;
}

export interface RunOptions {
  readonly workload: Workload;
  readonly seed: number;
  readonly crashPlan?: CrashPlan;
  readonly mutant?: Mutant;
  /** The faults and operations to keep; all by default. */
  readonly kept?: KeptParts;
  /** Lines of the trace to keep for reading. 0 by default. */
  readonly linesMax?: number;
  /** Changes what the seed drew, for sweeps and tests. */
  readonly options?: (options: SwarmOptions) => SwarmOptions;
}

export interface RunReport {
  readonly workload: string;
  readonly seed: number;
  readonly hash: string;
  readonly violations: readonly string[];
  readonly operations: number;
  readonly crashes: number;
  readonly faults: { readonly [kind: string]: number };
  readonly probes: { readonly [name: string]: number };
  /** "fault × probe": the code came to the probe within 2 virtual seconds after the fault. */
  readonly pairs: readonly string[];
  readonly options: SwarmOptions;
  readonly parts: { readonly faults: readonly string[]; readonly operations: readonly string[] };
  readonly events: number;
  readonly virtualMilliseconds: number;
  /** Crossings of ports by each process: where a sweep can crash it. */
  readonly crossings: { readonly [process: string]: number };
  /** The same of all processes, by kind. */
  readonly crossingKinds: { readonly [kind: string]: number };
  readonly lines: readonly string[];
}

/** Runs one workload under one seed. Two runs with the same options give the same report. */
export async function simulate(options: RunOptions): Promise<RunReport> {
  const { workload, seed, mutant } = options;
  let swarm = drawSwarm(new KeyedRandom(seed));
  for (const adapt of [workload.options, mutant?.options, options.options]) swarm = adapt?.(swarm) ?? swarm;
  const trace = new Trace({ linesMax: options.linesMax ?? 0 });
  const world = new World({ seed, swarm, trace, crashPlan: options.crashPlan, mutant, kept: options.kept });

  const onRejection = (reason: unknown): void => world.violation(`A rejected promise was left unhandled: ${describe(reason)}`);
  // For as long as the run lasts, a rejection that nobody handles is a finding and not the end of this process.
  const others = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", onRejection);
  try {
    let isDone = false;
    world.kernel.schedule(0, { kind: "begin", details: workload.name }, () => {
      workload
        .run(world)
        .catch((error: unknown) => world.violation(`The workload failed: ${describe(error)}`))
        .finally(() => {
          isDone = true;
          world.kernel.stop();
        });
    });
    const end = await world.kernel.run();
    if (!isDone)
      world.violation(`The run did not come to its end: ${end} after ${world.kernel.events} events, ${world.kernel.now} virtual ms`);
    // Rejections are reported only after the macrotask in which they happened.
    await nextMacrotask();
    await nextMacrotask();
  } catch (error) {
    world.violation(`An event threw: ${describe(error)}`);
  } finally {
    process.off("unhandledRejection", onRejection);
    for (const other of others) process.on("unhandledRejection", other);
  }
  const crossingKinds = {};
  for (const each of world.processes) addCounts(crossingKinds, Object.fromEntries(each.crossingKinds));
  return {
    workload: workload.name,
    seed,
    hash: trace.hash,
    violations: world.violations,
    operations: world.operations,
    crashes: world.crashes,
    faults: Object.fromEntries(world.faults),
    probes: Object.fromEntries(world.probes),
    pairs: [...world.pairs],
    options: swarm,
    parts: { faults: world.parts.faults, operations: world.parts.operations },
    events: world.kernel.events,
    virtualMilliseconds: world.kernel.now,
    crossings: Object.fromEntries(world.processes.map((each) => [each.name, each.crossings])),
    crossingKinds,
    lines: trace.lines,
  };
}

export interface Sweep {
  /** Crash points that were tried. */
  readonly points: number;
  /** All crossings that there are, by kind; `points` is their sum when the sweep came to its end. */
  readonly kinds: { readonly [kind: string]: number };
  /** The first run with a violation: the sweep stopped there. */
  readonly failed: (RunReport & { readonly crashPlan?: CrashPlan }) | undefined;
}

/**
 * Runs a workload once undisturbed, then once for every crossing of every process with a crash exactly there:
 * no point of a run is left at which a crash was not tried. Stops at the first violation. `onRun` is told of each run.
 * Of a process with more crossings than `pointsMax`, about so many are tried, evenly spread.
 */
export async function sweepCrashes(
  options: Omit<RunOptions, "crashPlan"> & { readonly pointsMax?: number },
  onRun: (report: RunReport) => void = () => {},
): Promise<Sweep> {
  const undisturbed = await simulate(options);
  onRun(undisturbed);
  const kinds = undisturbed.crossingKinds;
  if (undisturbed.violations.length > 0) return { points: 0, kinds, failed: undisturbed };
  let points = 0;
  for (const [name, crossings] of Object.entries(undisturbed.crossings)) {
    const step = Math.max(1, Math.ceil(crossings / (options.pointsMax ?? Infinity)));
    for (let crossing = 1; crossing <= crossings; crossing += step) {
      const crashPlan = { process: name, crossing };
      const report = await simulate({ ...options, crashPlan });
      onRun(report);
      points++;
      if (report.violations.length > 0) return { points, kinds, failed: { ...report, crashPlan } };
    }
  }
  return { points, kinds, failed: undefined };
}

/** Adds the counts of `more` to `sum`. */
export function addCounts(sum: { [name: string]: number }, more: { readonly [name: string]: number }): void {
  for (const [name, count] of Object.entries(more)) sum[name] = (sum[name] ?? 0) + count;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
