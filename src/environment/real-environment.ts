import { randomFillSync, randomUUID } from "node:crypto";
import { SecretMask } from "../base/secret-mask.ts";
import type { Cancel, Clock, Environment, Log, LogFields, LogLevel, Random } from "./environment.ts";

/** Of those that a log hides it forgets the ones that were longest not named again. */
const hiddenMax = 1_000;

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export class RealEnvironment implements Environment {
  readonly clock: Clock = new RealClock();
  readonly random: Random = new RealRandom();
  readonly log: Log;

  /** `write` receives one line per entry, without its line break; standard error by default. */
  constructor(options: { readonly level?: LogLevel; readonly json?: boolean; readonly write?: (line: string) => void } = {}) {
    const write = options.write ?? ((line: string) => void process.stderr.write(line + "\n"));
    this.log = new LineLog(this.clock, options.level ?? "info", options.json ?? false, write);
  }

  probe(): void {}
}

class RealClock implements Clock {
  now(): number {
    return Date.now();
  }

  elapsed(): number {
    return performance.now();
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = (): void => {
        cancel();
        signal?.removeEventListener("abort", finish);
        resolve();
      };
      const cancel = this.schedule(milliseconds, finish);
      signal?.addEventListener("abort", finish);
    });
  }

  schedule(milliseconds: number, callback: () => void): Cancel {
    // setTimeout fires at once when the delay is over 2^31 - 1, so a long wait is made of shorter ones.
    const longest = 2 ** 31 - 1;
    if (milliseconds <= longest) {
      const timer = setTimeout(callback, milliseconds);
      timer.unref();
      return () => clearTimeout(timer);
    }
    let cancel: Cancel = this.schedule(longest, () => {
      cancel = this.schedule(milliseconds - longest, callback);
    });
    return () => cancel();
  }
}

/** Draws from a pool, because one call of `crypto` costs as much for 16 bytes as for 4,096. */
class RealRandom implements Random {
  readonly #pool = Buffer.allocUnsafeSlow(4096);
  #used = 4096;
  #idTime = 0;
  #idCount = 0;

  bytes(count: number): Uint8Array {
    if (count > this.#pool.length) return randomFillSync(new Uint8Array(count));
    if (this.#used + count > this.#pool.length) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const bytes = new Uint8Array(this.#pool.subarray(this.#used, this.#used + count));
    this.#used += count;
    return bytes;
  }

  fraction(): number {
    return Buffer.from(this.bytes(6)).readUIntBE(0, 6) / 2 ** 48;
  }

  /**
   * Time before chance, as in version 7, in the shape of version 4 that Letta's ids have: 48 bits of time, 12 that count
   * within a millisecond, 62 of chance. The ids of a process grow, so rows made one after the other lie beside each other.
   */
  uuid(): string {
    const now = Date.now();
    if (now > this.#idTime) {
      this.#idTime = now;
      this.#idCount = 0;
    } else if (++this.#idCount === 4096) {
      this.#idTime++;
      this.#idCount = 0;
    }
    const time = this.#idTime.toString(16).padStart(12, "0");
    return `${time.slice(0, 8)}-${time.slice(8)}-4${this.#idCount.toString(16).padStart(3, "0")}${randomUUID().slice(18)}`;
  }
}

class LineLog implements Log {
  readonly #clock: Clock;
  readonly #lowest: number;
  readonly #json: boolean;
  readonly #write: (line: string) => void;
  readonly #hidden = new Set<string>();
  #mask: SecretMask | undefined = new SecretMask([]);

  constructor(clock: Clock, level: LogLevel, json: boolean, write: (line: string) => void) {
    this.#clock = clock;
    this.#lowest = levels.indexOf(level);
    this.#json = json;
    this.#write = write;
  }

  hide(secrets: Iterable<string>): void {
    for (const secret of secrets) {
      if (!this.#hidden.delete(secret)) this.#mask = undefined;
      this.#hidden.add(secret);
    }
    for (const secret of this.#hidden) {
      if (this.#hidden.size <= hiddenMax) break;
      this.#hidden.delete(secret);
    }
  }

  write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (levels.indexOf(level) < this.#lowest) return;
    const time = new Date(this.#clock.now()).toISOString();
    const mask = (this.#mask ??= new SecretMask(this.#hidden));
    const shown = (_name: string, value: unknown): unknown => {
      const plain = value instanceof Error ? (value.stack ?? value.message) : value;
      return typeof plain === "string" ? mask.apply(plain) : plain;
    };
    if (this.#json) {
      this.#write(JSON.stringify({ time, level, message, ...fields }, shown));
      return;
    }
    const details = Object.entries(fields).map(([name, value]) => ` ${name}=${textOf(shown(name, value), shown)}`);
    this.#write(`${time} ${level.padEnd(5)} ${message}${details.join("")}`);
  }
}

/** A text stands as it is only where it is one word: one with a line break could pass for an entry of its own. */
function textOf(value: unknown, shown: (name: string, value: unknown) => unknown): string {
  return typeof value === "string" && /^[^\s\p{Cc}"]+$/u.test(value) ? value : JSON.stringify(value, shown);
}
