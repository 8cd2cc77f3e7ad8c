import type { Cancel, Clock, Environment, Log, Random } from "../../src/environment/environment.ts";
import { type ManualClock, ManualEnvironment } from "./manual-environment.ts";

/** The clock of one of several nodes that share the time of a test: it can be paused, suspended, and run fast or slow. */
export class NodeClock implements Clock {
  readonly #time: ManualClock;
  /** Own milliseconds per millisecond of the test. */
  rate = 1;
  #offset = 0;
  #wallOffset = 0;
  #suspended = 0;
  #pausedAt: number | undefined;
  #held: (() => void)[] = [];
  #opened: (() => void) | undefined;
  #gate: Promise<void> = Promise.resolve();

  constructor(time: ManualClock) {
    this.#time = time;
  }

  now(): number {
    return this.#time.now() + this.#wallOffset;
  }

  elapsed(): number {
    return this.#time.elapsed() * this.rate + this.#offset - this.#suspended;
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.schedule(milliseconds, resolve);
      signal?.addEventListener("abort", () => {
        cancel();
        resolve();
      });
    });
  }

  schedule(milliseconds: number, callback: () => void): Cancel {
    let isCancelled = false;
    const run = (): void => {
      if (!isCancelled) callback();
    };
    const cancel = this.#time.schedule(milliseconds / this.rate, () => {
      if (this.#pausedAt === undefined) run();
      else this.#held.push(run);
    });
    return () => {
      isCancelled = true;
      cancel();
    };
  }

  /** The wall clock jumps. */
  jump(milliseconds: number): void {
    this.#wallOffset += milliseconds;
  }

  /** As `SIGSTOP` does: nothing happens, and time goes on. */
  pause(): void {
    this.#pausedAt = this.#time.elapsed();
    this.#gate = new Promise((resolve) => (this.#opened = resolve));
  }

  /** `suspended`: the monotonic clock stood still meanwhile, as when a machine sleeps. */
  resume(options: { readonly suspended?: boolean } = {}): void {
    if (options.suspended === true) this.#suspended += this.#time.elapsed() - this.#pausedAt!;
    this.#pausedAt = undefined;
    this.#opened?.();
    for (const callback of this.#held.splice(0)) callback();
  }

  get isPaused(): boolean {
    return this.#pausedAt !== undefined;
  }

  get gate(): Promise<void> {
    return this.#gate;
  }
}

export class NodeEnvironment implements Environment {
  readonly clock: NodeClock;
  readonly random: Random;
  readonly log: Log;
  readonly #inner: ManualEnvironment;

  constructor(time: ManualClock, seed: number) {
    this.#inner = new ManualEnvironment(seed);
    this.clock = new NodeClock(time);
    this.random = this.#inner.random;
    this.log = this.#inner.log;
  }

  probe(name: string): void {
    this.#inner.probe(name);
  }

  count(probe: string): number {
    return this.#inner.count(probe);
  }

  get logs(): ManualEnvironment["logs"] {
    return this.#inner.logs;
  }
}
