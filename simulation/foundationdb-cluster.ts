/**
 * FoundationDB as its documentation describes it, without its machines: what the cluster does with what arrives, and
 * what can go wrong. `foundationdb-model.ts` is the client's side.
 *
 * D1. A transaction reads at one version, which holds every commit acknowledged before it was asked for.
 * D2. A commit fails with `not_committed` if anything in its read conflict ranges was written at a version above the
 *     one it read. Commits that arrive together get one version and an order in it, and conflict in that order.
 * D3. Nothing is read or committed (if it has read) more than five seconds of versions after its read version.
 * D4. A key has at most 10,000 bytes, a value 100,000, a transaction 10,000,000 with its conflict ranges.
 * D5. An unknown result means nothing: the transaction was committed, or was not, or will be later (then D2 and D3
 *     decide). A client that does not hear of its transaction is told `transaction_timed_out` in the end.
 * D6. Whatever can be tried again fails now and then, as the seed says. Watches come late, for nothing, or never.
 *
 * The cluster lives by one clock and each client by its own, so a client that crashes is not answered, and what it
 * had sent still arrives. Sources: https://apple.github.io/foundationdb/developer-guide.html, known-limitations.html,
 * api-error-codes.html, and fdbclient/NativeAPI.actor.cpp for what the size of a transaction is.
 */
import { compareBytes, equalBytes, keyAfter } from "../src/base/bytes.ts";
import type { Clock } from "../src/environment/environment.ts";
import { errorCodes, type FoundationDbEntry, FoundationDbError } from "../src/storage/foundationdb-client.ts";
import { type AppliedTransaction, type Mutation, mutate, overlap, type Range, type Stamp } from "./foundationdb-mutations.ts";
import type { Kernel } from "./kernel.ts";
import type { RandomStream } from "./random.ts";

/** Chances, each from 0 to 1, of what can happen to one call. */
export interface FoundationDbFaults {
  /** A read or a read version fails with an error worth another try. */
  readonly readFails: number;
  /** A commit is refused, though nothing conflicts, for a reason worth another try. */
  readonly commitRefused: number;
  readonly unknownApplied: number;
  readonly unknownLost: number;
  /** Arrives after the client was told that the result is unknown, up to eight seconds later. */
  readonly unknownLate: number;
  /** The client hears nothing of its commit, which is applied, lost or late. */
  readonly silent: number;
  /** A hundred times the usual latency. */
  readonly slow: number;
  readonly watchLost: number;
  /** A watch fires though nothing has changed. */
  readonly watchSpurious: number;
  readonly watchLate: number;
}

export const noFoundationDbFaults: FoundationDbFaults = {
  readFails: 0,
  commitRefused: 0,
  unknownApplied: 0,
  unknownLost: 0,
  unknownLate: 0,
  silent: 0,
  slow: 0,
  watchLost: 0,
  watchSpurious: 0,
  watchLate: 0,
};

export interface FoundationDbClusterOptions {
  /** The cluster's. */
  readonly clock: Clock;
  readonly random: RandomStream;
  readonly latencyMilliseconds: { readonly lowest: number; readonly highest: number };
  readonly faults?: FoundationDbFaults;
  /** Faults stop at this time of the cluster's clock. */
  readonly faultsUntil?: number;
  /** Commits that arrive within this time of the first get one version. 0 by default. */
  readonly commitBatchMilliseconds?: number;
  /** A million in FoundationDB, as by default. With few, versions follow each other without gaps. */
  readonly versionsPerSecond?: number;
  readonly firstVersion?: number;
  readonly watchesMax?: number;
  /** Asked about each fault that was drawn: whether it happens. By default all do. */
  readonly happens?: (kind: string) => boolean;
  /** Told of every transaction at the moment that it is applied. */
  readonly onApplied?: (applied: AppliedTransaction) => void;
}

export interface CommitRequest {
  /** `undefined`: the transaction has read nothing. */
  readonly readVersion: number | undefined;
  readonly reads: readonly Range[];
  readonly mutations: readonly Mutation[];
}

/** A key's values, the oldest first; `undefined`: cleared. */
interface Row {
  readonly key: Uint8Array;
  readonly history: { readonly version: number; readonly value: Uint8Array | undefined }[];
  readonly watchers: Set<() => void>;
}

interface WaitingCommit {
  readonly request: CommitRequest;
  readonly answer: (result: Stamp | FoundationDbError) => void;
}

/** How long FoundationDB keeps old versions (MAX_READ_TRANSACTION_LIFE_VERSIONS, MAX_WRITE_TRANSACTION_LIFE_VERSIONS). */
const lifeSeconds = 5;
/** How far versions jump when the transaction system starts anew (MAX_VERSIONS_IN_FLIGHT), in seconds of versions. */
const recoverySeconds = 100;

export class FoundationDbCluster {
  readonly options: FoundationDbClusterOptions;
  readonly faults: FoundationDbFaults;
  readonly #rows: Row[] = [];
  /** Of the last five seconds: what was written at which version, for conflicts and for forgetting. */
  readonly #recent: { readonly version: number; readonly written: readonly Range[]; readonly rows: readonly Row[] }[] = [];
  readonly #versionsPerSecond: number;
  /** The version that time counts from. */
  #base: number;
  #version: number;
  #waiting: WaitingCommit[] = [];

  constructor(options: FoundationDbClusterOptions) {
    this.options = options;
    this.faults = options.faults ?? noFoundationDbFaults;
    this.#versionsPerSecond = options.versionsPerSecond ?? 1_000_000;
    this.#base = options.firstVersion ?? 1;
    this.#version = this.#base;
  }

  // What arrives at the cluster. All of it happens at once, in the event in which it arrives.

  readVersion(): number {
    this.#version = this.#now();
    return this.#version;
  }

  /** @throws {FoundationDbError} */
  get(key: Uint8Array, version: number): Uint8Array | undefined {
    this.#refuseIfOld(version);
    const row = this.#rows[this.#position(key)];
    return row !== undefined && equalBytes(row.key, key) ? valueAt(row, version) : undefined;
  }

  /** At most `limit` entries of `[begin, end)`, and about as many bytes as one answer of FoundationDB holds. */
  getRange(begin: Uint8Array, end: Uint8Array, options: { version: number; limit: number; reverse: boolean }): FoundationDbEntry[] {
    this.#refuseIfOld(options.version);
    const [from, to] = [this.#position(begin), this.#position(end)];
    const entries: FoundationDbEntry[] = [];
    let bytes = 0;
    for (let step = 0; step < to - from && entries.length < options.limit && bytes < answerBytesMax; step++) {
      const row = this.#rows[options.reverse ? to - 1 - step : from + step]!;
      const value = valueAt(row, options.version);
      if (value === undefined) continue;
      entries.push([row.key, value]);
      bytes += row.key.length + value.length;
    }
    return entries;
  }

  commit(request: CommitRequest, answer: WaitingCommit["answer"]): void {
    this.#waiting.push({ request, answer });
    if (this.#waiting.length > 1) return;
    const wait = this.options.commitBatchMilliseconds ?? 0;
    if (wait === 0) this.#commitWaiting();
    else this.options.clock.schedule(wait, () => this.#commitWaiting());
  }

  /** Calls `fire` when the value of `key` is, or becomes, another than `seen`. Gives a function that forgets it. */
  watch(key: Uint8Array, seen: Uint8Array | undefined, fire: () => void): () => void {
    const row = this.#rowOf(key);
    const look = (): void => {
      const now = row.history.at(-1)?.value;
      if (now === undefined ? seen === undefined : seen !== undefined && equalBytes(now, seen)) return;
      row.watchers.delete(look);
      fire();
    };
    row.watchers.add(look);
    look();
    return () => void row.watchers.delete(look);
  }

  /** The transaction system fails and starts anew: commits on their way are lost, and versions jump. */
  recover(): void {
    const lost = this.#waiting;
    this.#waiting = [];
    this.#base += recoverySeconds * this.#versionsPerSecond;
    for (const { answer } of lost) answer(new FoundationDbError(errorCodes.commitUnknownResult));
  }

  // Faults and latency, drawn by the clients.

  latency(): number {
    const { random, latencyMilliseconds } = this.options;
    const { lowest, highest } = latencyMilliseconds;
    const milliseconds = lowest + random.fraction() * (highest - lowest);
    return this.happens("slow") ? milliseconds * 100 : milliseconds;
  }

  happens(kind: keyof FoundationDbFaults): boolean {
    if (!this.options.random.chance(this.faults[kind])) return false;
    if (this.options.clock.elapsed() >= (this.options.faultsUntil ?? Infinity)) return false;
    return this.options.happens?.(kind) ?? true;
  }

  /** The version that time has come to; never one that was given before. */
  #now(): number {
    return Math.max(this.#version, this.#base + Math.floor((this.options.clock.elapsed() / 1_000) * this.#versionsPerSecond));
  }

  #refuseIfOld(version: number): void {
    if (version < this.#now() - lifeSeconds * this.#versionsPerSecond) throw new FoundationDbError(errorCodes.transactionTooOld);
  }

  #commitWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    if (waiting.length === 0) return;
    this.#version = Math.max(this.#version + 1, this.#now());
    this.#forgetOld();
    for (const [order, { request, answer }] of waiting.entries()) {
      try {
        this.#refuseIfConflicting(request);
        this.#apply({ version: this.#version, order, mutations: request.mutations });
        answer({ version: this.#version, order });
      } catch (error) {
        answer(error as FoundationDbError);
      }
    }
  }

  #refuseIfConflicting({ readVersion, reads }: CommitRequest): void {
    if (readVersion === undefined || reads.length === 0) return;
    this.#refuseIfOld(readVersion);
    for (let at = this.#recent.length - 1; at >= 0 && this.#recent[at]!.version > readVersion; at--) {
      for (const written of this.#recent[at]!.written)
        if (reads.some((read) => overlap(read, written))) throw new FoundationDbError(errorCodes.notCommitted);
    }
  }

  #apply(applied: AppliedTransaction): void {
    const touched = new Set<Row>();
    const written: Range[] = [];
    for (const mutation of applied.mutations) {
      if (mutation.kind === "clearRange") {
        const [from, to] = [this.#position(mutation.begin), this.#position(mutation.end)];
        for (const row of this.#rows.slice(from, Math.max(from, to))) this.#put(row, applied.version, undefined, touched);
        written.push([mutation.begin, mutation.end]);
        continue;
      }
      const row = this.#rowOf(mutation.key);
      this.#put(row, applied.version, mutate(row.history.at(-1)?.value, mutation, applied), touched);
      written.push([mutation.key, keyAfter(mutation.key)]);
    }
    this.#recent.push({ version: applied.version, written, rows: [...touched] });
    this.options.onApplied?.(applied);
    for (const row of touched) for (const watcher of row.watchers) watcher();
  }

  #put(row: Row, version: number, value: Uint8Array | undefined, touched: Set<Row>): void {
    if (row.history.at(-1)?.version === version) row.history.pop();
    row.history.push({ version, value });
    touched.add(row);
  }

  /** Drops versions that nobody may read any more, and rows that are gone. */
  #forgetOld(): void {
    const oldest = this.#version - lifeSeconds * this.#versionsPerSecond;
    let forgotten = 0;
    while (forgotten < this.#recent.length && this.#recent[forgotten]!.version < oldest) {
      for (const row of this.#recent[forgotten]!.rows) {
        while (row.history.length > 1 && row.history[1]!.version <= oldest) row.history.shift();
        const only = row.history.length === 1 ? row.history[0]! : undefined;
        if (only === undefined || only.value !== undefined || only.version > oldest || row.watchers.size > 0) continue;
        const position = this.#position(row.key);
        if (this.#rows[position] === row) this.#rows.splice(position, 1);
      }
      forgotten++;
    }
    this.#recent.splice(0, forgotten);
  }

  #rowOf(key: Uint8Array): Row {
    const position = this.#position(key);
    const found = this.#rows[position];
    if (found !== undefined && equalBytes(found.key, key)) return found;
    const row: Row = { key, history: [], watchers: new Set() };
    this.#rows.splice(position, 0, row);
    return row;
  }

  /** The index of the first row whose key is not below `key`. */
  #position(key: Uint8Array): number {
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBytes(this.#rows[middle]!.key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Bytes after which one answer to a range read ends. */
const answerBytesMax = 80_000;

/** The cluster's clock in a simulation: events of nobody's. */
export function clusterClock(kernel: Kernel): Clock {
  const schedule: Clock["schedule"] = (milliseconds, callback) => kernel.schedule(milliseconds, { kind: "foundationdb" }, callback);
  return {
    now: () => kernel.now,
    elapsed: () => kernel.now,
    schedule,
    sleep: (milliseconds) => new Promise((resolve) => void schedule(milliseconds, resolve)),
  };
}

function valueAt(row: Row, version: number): Uint8Array | undefined {
  for (let at = row.history.length - 1; at >= 0; at--) if (row.history[at]!.version <= version) return row.history[at]!.value;
  return undefined;
}
