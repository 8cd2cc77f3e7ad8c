/**
 * Everything that cannot be repeated and is not storage, network or a model: time, chance, logs.
 *
 * The code above this folder asks an `Environment` and nothing else, so the same code runs on the real one in
 * production and on the simulated one under a seed.
 */
export interface Environment {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /**
   * Marks that a critical path was reached: simulation has to come to it often. `sometimes`: a rare one, which it has to
   * come to at all. Production ignores these. The name is a literal: simulation reads from the text which ones there are.
   */
  probe(name: string, how?: "sometimes"): void;
}

export interface Clock {
  /** Unix milliseconds, for timestamps that people read. May jump. */
  now(): number;
  /** Milliseconds since some fixed moment, never going back. For durations and deadlines. */
  elapsed(): number;
  /**
   * Resolves after `milliseconds`, or earlier when `signal` aborts (it does not throw then: the caller looks at
   * its signal). Keeps the process alive no longer than anything else does.
   */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
  /** Calls `callback` once after `milliseconds` unless cancelled first. */
  schedule(milliseconds: number, callback: () => void): Cancel;
}

export type Cancel = () => void;

export interface Random {
  bytes(count: number): Uint8Array;
  /** At least 0, less than 1. */
  fraction(): number;
  /**
   * A UUID of version 4's shape: different from every other, and no secret. One made later sorts later where clocks
   * allow it, so that rows made at one time lie together: a store of a million agents takes new ones several times as
   * fast as under ids of chance alone.
   */
  uuid(): string;
}

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = { readonly [field: string]: unknown };

export interface Log {
  /** `message` is a fixed text; what varies goes into `fields`. Secrets and contents of messages never do. */
  write(level: LogLevel, message: string, fields?: LogFields): void;
  /** Should one come into a field all the same, as in an error of somebody else's code, it is masked from now on. */
  hide(secrets: Iterable<string>): void;
}
