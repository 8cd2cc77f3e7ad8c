/** An environment whose time passes only when a test says so, and whose chance is a fixed sequence. */
import { formatUuid } from "../../base/ids.ts";
import type { Cancel, Clock, Environment, LogLevel } from "../../environment/environment.ts";

export interface LogEntry {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: object;
}

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

export class ManualEnvironment implements Environment {
  readonly #timers = new Set<Timer>();
  #elapsed = 0;
  #drawn = 0;
  /** Milliseconds of every sleep that was asked for. */
  readonly sleeps: number[] = [];
  readonly entries: LogEntry[] = [];
  readonly clock: Clock;
  readonly random: Environment["random"] = {
    bytes: (count) => Uint8Array.from({ length: count }, () => this.#drawn++ % 256),
    fraction: () => 0.5,
    uuid: () => formatUuid(this.random.bytes(16)),
  };
  readonly log: Environment["log"] = {
    write: (level, message, fields = {}) => void this.entries.push({ level, message, fields }),
    hide: () => {},
  };

  /** `startsAt`: Unix milliseconds of the beginning. Sleeps pass at once and move the time. */
  constructor(startsAt: number = Date.UTC(2026, 0, 1)) {
    this.clock = {
      now: () => startsAt + this.#elapsed,
      elapsed: () => this.#elapsed,
      sleep: async (milliseconds, signal) => {
        if (signal?.aborted) return;
        this.sleeps.push(milliseconds);
        this.advance(milliseconds);
      },
      schedule: (milliseconds, callback): Cancel => {
        const timer = { at: this.#elapsed + milliseconds, callback };
        this.#timers.add(timer);
        return () => void this.#timers.delete(timer);
      },
    };
  }

  /** Calls back what falls due on the way, in order. */
  advance(milliseconds: number): void {
    const end = this.#elapsed + milliseconds;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((left, right) => left.at - right.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#elapsed = Math.max(this.#elapsed, next.at);
      next.callback();
    }
    this.#elapsed = end;
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  probe(): void {}
}
