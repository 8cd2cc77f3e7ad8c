import { formatUuid } from "../../src/base/ids.ts";
import type { Cancel, Clock, Environment, Log, Random } from "../../src/environment/environment.ts";

/** An environment whose time moves only when a test says so, with chance from a seed, that remembers logs and probes. */
export class ManualEnvironment implements Environment {
  readonly clock: ManualClock = new ManualClock();
  readonly random: Random;
  readonly logs: { readonly level: string; readonly message: string; readonly fields: unknown }[] = [];
  readonly probes: Map<string, number> = new Map();
  readonly log: Log = { write: (level, message, fields) => void this.logs.push({ level, message, fields }), hide: () => {} };

  constructor(seed = 1) {
    this.random = new SeededRandom(seed);
  }

  probe(name: string): void {
    this.probes.set(name, (this.probes.get(name) ?? 0) + 1);
  }

  count(probe: string): number {
    return this.probes.get(probe) ?? 0;
  }
}

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

export class ManualClock implements Clock {
  #elapsed = 0;
  #wall = Date.UTC(2026, 0, 1);
  readonly #timers = new Set<Timer>();

  now(): number {
    return Math.floor(this.#wall);
  }

  elapsed(): number {
    return this.#elapsed;
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
    const timer = { at: this.#elapsed + Math.max(0, milliseconds), callback };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  get timers(): number {
    return this.#timers.size;
  }

  /** Lets everything happen that is due within `milliseconds`, in order, each with all that follows from it at once. */
  async advance(milliseconds: number): Promise<void> {
    const until = this.#elapsed + milliseconds;
    await settle();
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.#timers) if (timer.at <= until && (next === undefined || timer.at < next.at)) next = timer;
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#moveTo(next.at);
      next.callback();
      await settle();
    }
    this.#moveTo(until);
    await settle();
  }

  /** The wall clock jumps; no time passes. */
  jump(milliseconds: number): void {
    this.#wall += milliseconds;
  }

  #moveTo(elapsed: number): void {
    this.#wall += elapsed - this.#elapsed;
    this.#elapsed = elapsed;
  }
}

/** Resolves when every promise that needs no time has run its course. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** mulberry32: small, and good enough to vary things. */
class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => Math.floor(this.fraction() * 256));
  }

  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  uuid(): string {
    return formatUuid(this.bytes(16));
  }
}
