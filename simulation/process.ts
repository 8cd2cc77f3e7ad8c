/**
 * A simulated process: what `kill -9` would end.
 *
 * P1. A crash ends the incarnation at once. None of its events run afterwards and none of its calls is ever
 *     answered, so its continuations never run: no `finally`, no last write, no reply.
 * P2. What is outside survives: the store, the outside world, messages that had already left.
 * P3. Every crossing of a port is a numbered crash point: a run can be told to crash a process at crossing N.
 */
import type { Cancel, Clock, Environment, Log, LogFields, LogLevel } from "../src/environment/environment.ts";
import type { Kernel, KernelEvent, Owner } from "./kernel.ts";
import type { KeyedRandom, RandomStream } from "./random.ts";

/** The Unix time at which every simulated run begins: 2026-01-01. */
const wallEpoch = 1_767_225_600_000;
/** A timer is not late by less than what rounding makes of its time. */
const timerMillisecondsMin = 0.01;

/** The clocks of a machine: its processes share them, and they outlive each of these. */
export class HostClock {
  /** How fast the time of this machine runs. */
  readonly rate: number;
  /** How far the wall clock is off. */
  offsetMilliseconds: number;
  #suspended = 0;
  #suspendedSince: number | undefined;

  constructor(options: { readonly rate?: number; readonly offsetMilliseconds?: number } = {}) {
    this.rate = options.rate ?? 1;
    this.offsetMilliseconds = options.offsetMilliseconds ?? 0;
  }

  wall(now: number): number {
    return wallEpoch + Math.floor(now * this.rate) + this.offsetMilliseconds;
  }

  /** Stands still while the machine sleeps. */
  monotonic(now: number): number {
    return ((this.#suspendedSince ?? now) - this.#suspended) * this.rate;
  }

  suspend(now: number): void {
    this.#suspendedSince ??= now;
  }

  wake(now: number): void {
    this.#suspended += now - (this.#suspendedSince ?? now);
    this.#suspendedSince = undefined;
  }
}

/** Crash `process` at its crossing number `crossing`, counted from 1 over all its incarnations. */
export interface CrashPlan {
  readonly process: string;
  readonly crossing: number;
}

export interface ProcessOptions {
  readonly name: string;
  readonly random: KeyedRandom;
  /** Makes the object graph of an incarnation: called at each start. */
  readonly boot: (incarnation: Incarnation) => void;
  /** One that is right by default. */
  readonly clock?: HostClock;
  readonly crashPlan?: CrashPlan | undefined;
  /** Told after each crash: whoever wants the process back calls `start`. */
  readonly onCrash?: (process: SimulatedProcess) => void;
  readonly onProbe?: (name: string) => void;
}

export class SimulatedProcess {
  readonly name: string;
  readonly kernel: Kernel;
  readonly clock: HostClock;
  readonly #options: ProcessOptions;
  #incarnation: Incarnation | undefined;
  #starts = 0;
  readonly #crossingKinds = new Map<string, number>();
  #crossings = 0;
  #crashes = 0;

  constructor(kernel: Kernel, options: ProcessOptions) {
    this.kernel = kernel;
    this.name = options.name;
    this.clock = options.clock ?? new HostClock();
    this.#options = options;
  }

  /** The incarnation that runs now. */
  get incarnation(): Incarnation | undefined {
    return this.#incarnation;
  }

  get crossings(): number {
    return this.#crossings;
  }

  /** How many crossings there were of each kind. */
  get crossingKinds(): ReadonlyMap<string, number> {
    return this.#crossingKinds;
  }

  get crashes(): number {
    return this.#crashes;
  }

  /** Starts a new incarnation over what survived. Does nothing while one runs. */
  start(): void {
    if (this.#incarnation !== undefined) return;
    this.#starts++;
    const incarnation = new Incarnation(this, this.#starts, this.#options);
    this.#incarnation = incarnation;
    this.kernel.schedule(0, { kind: "start", owner: incarnation }, () => this.#options.boot(incarnation));
  }

  /** Ends the running incarnation as `kill -9` does. */
  crash(why: string): void {
    const incarnation = this.#incarnation;
    if (incarnation === undefined) return;
    this.kernel.note("crash", incarnation.label, why);
    this.#incarnation = undefined;
    this.#crashes++;
    this.clock.wake(this.kernel.now);
    incarnation.end();
    this.#options.onCrash?.(this);
  }

  /**
   * Stops the process in its tracks, as `SIGSTOP` does, while the clock runs on. `suspended`: its machine sleeps, and
   * only the wall clock runs on.
   */
  pause(milliseconds: number, options: { readonly suspended?: boolean } = {}): void {
    const incarnation = this.#incarnation;
    if (incarnation === undefined || incarnation.paused) return;
    this.kernel.note(options.suspended === true ? "suspend" : "pause", incarnation.label, `${milliseconds}`);
    incarnation.paused = true;
    if (options.suspended === true) this.clock.suspend(this.kernel.now);
    this.kernel.schedule(milliseconds, { kind: "resume", details: incarnation.label }, () => {
      if (!incarnation.alive) return;
      this.clock.wake(this.kernel.now);
      incarnation.resume();
    });
  }

  /** Counts a crossing; false when it was the planned crash. */
  cross(kind: string): boolean {
    this.#crossings++;
    this.#crossingKinds.set(kind, (this.#crossingKinds.get(kind) ?? 0) + 1);
    const plan = this.#options.crashPlan;
    if (plan === undefined || plan.process !== this.name || plan.crossing !== this.#crossings) return true;
    this.crash(`planned at crossing ${this.#crossings}, ${kind}`);
    return false;
  }
}

/** One life of a process. */
export class Incarnation implements Owner {
  readonly label: string;
  readonly process: SimulatedProcess;
  readonly environment: Environment;
  paused = false;
  readonly #held: KernelEvent[] = [];
  readonly #onEnd = new Set<() => void>();
  #alive = true;

  constructor(process: SimulatedProcess, number: number, options: ProcessOptions) {
    this.process = process;
    this.label = `${process.name}#${number}`;
    const { kernel } = process;
    this.environment = {
      clock: new SimulatedClock(this),
      random: options.random.stream(`process/${this.label}`),
      log: new TraceLog(this),
      probe: (name) => {
        kernel.note("probe", this.label, name);
        options.onProbe?.(name);
      },
    };
  }

  get alive(): boolean {
    return this.#alive;
  }

  get kernel(): Kernel {
    return this.process.kernel;
  }

  /** The stream of the process's own draws. */
  get random(): RandomStream {
    return this.environment.random as RandomStream;
  }

  /**
   * Passes a border between the process and the outside. False: this incarnation has ended, perhaps just now, so
   * nothing may leave it and nothing may be answered to it.
   */
  cross(kind: string): boolean {
    return this.#alive && this.process.cross(kind);
  }

  /** Calls `listener` when the incarnation crashes: for what is outside and notices, such as a peer's socket. */
  onEnd(listener: () => void): Cancel {
    this.#onEnd.add(listener);
    return () => void this.#onEnd.delete(listener);
  }

  end(): void {
    this.#alive = false;
    this.#held.length = 0;
    for (const listener of this.#onEnd) listener();
    this.#onEnd.clear();
  }

  hold(event: KernelEvent): void {
    this.#held.push(event);
  }

  resume(): void {
    this.paused = false;
    for (const event of this.#held.splice(0)) this.kernel.reschedule(event);
  }
}

/** What a call of a dead process gets: no answer, ever. */
export function never<T>(): Promise<T> {
  return new Promise(() => {});
}

class SimulatedClock implements Clock {
  readonly #incarnation: Incarnation;
  readonly #host: HostClock;
  readonly #startedAt: number;

  constructor(incarnation: Incarnation) {
    this.#incarnation = incarnation;
    this.#host = incarnation.process.clock;
    this.#startedAt = this.#host.monotonic(incarnation.kernel.now);
  }

  now(): number {
    return this.#host.wall(this.#incarnation.kernel.now);
  }

  elapsed(): number {
    return this.#host.monotonic(this.#incarnation.kernel.now) - this.#startedAt;
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    if (!this.#incarnation.alive) return never();
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = (): void => {
        cancel();
        signal?.removeEventListener("abort", finish);
        resolve();
      };
      const cancel = this.#schedule("sleep", milliseconds, finish);
      signal?.addEventListener("abort", finish);
    });
  }

  schedule(milliseconds: number, callback: () => void): Cancel {
    return this.#schedule("timer", milliseconds, callback);
  }

  #schedule(kind: string, milliseconds: number, callback: () => void): Cancel {
    const incarnation = this.#incarnation;
    if (!incarnation.alive) return () => {};
    const due = this.elapsed() + milliseconds;
    let cancel: Cancel;
    const wait = (left: number): void => {
      // Never too early, or what waits for the rest of its time waits for nothing again and again.
      const delay = Math.ceil((Math.max(0, left) / this.#host.rate) * 1_000) / 1_000;
      cancel = incarnation.kernel.schedule(delay, { kind, owner: incarnation }, () => {
        // While the machine slept its timers did too.
        const late = due - this.elapsed();
        if (late > timerMillisecondsMin) wait(late);
        else if (incarnation.cross(kind)) callback();
      });
    };
    wait(milliseconds);
    return () => cancel();
  }
}

/** Log lines go into the trace, so that a difference in what the code saw shows as early as possible. */
class TraceLog implements Log {
  readonly #incarnation: Incarnation;

  constructor(incarnation: Incarnation) {
    this.#incarnation = incarnation;
  }

  write(level: LogLevel, message: string, fields: LogFields = {}): void {
    const details = JSON.stringify(fields, (_name, value: unknown) => (value instanceof Error ? `${value.name}: ${value.message}` : value));
    this.#incarnation.kernel.note(level, this.#incarnation.label, `${message} ${details}`);
  }

  hide(): void {}
}
