/**
 * What survives all processes, and a failover that loses the end of its history.
 *
 * W1. After `rewind` the store is as it was after an earlier batch, and says so by another generation.
 * W2. As in PostgreSQL, the generation is the upper part of a version: no check that was made for a lost version can hold
 *     by chance afterwards.
 */
import { assert } from "../src/base/assert.ts";
import { MemoryStore } from "../src/storage/memory-store.ts";
import { timelineFactor } from "../src/storage/postgres-version.ts";
import type { Answer, Batch, BatchId, CommitOutcome, Entry, Key, Query, Store, StoreLimits, Version } from "../src/storage/store.ts";

export class RewindableStore implements Store {
  #store = new MemoryStore();
  #generation = 0;
  /** Batches that were applied, in order: the batch of version `n` in memory is number `n - 1`. */
  readonly #applied: Batch[] = [];
  readonly #versions: Version[] = [];

  get limits(): StoreLimits {
    return this.#store.limits;
  }

  get generation(): string {
    return `${this.#generation}`;
  }

  /** Batches in the history. */
  get length(): number {
    return this.#applied.length;
  }

  /** What they are called. */
  get ids(): readonly BatchId[] {
    return this.#applied.map(({ id }) => id);
  }

  /** Goes back to when `length` batches had been applied. */
  rewind(length: number): void {
    assert(length <= this.#applied.length, "W1: a history goes back only to where it was");
    this.#generation++;
    this.#applied.length = length;
    this.#versions.length = length;
    this.#store = new MemoryStore();
    // Checks hold or failed before this: what was applied is applied.
    for (const batch of this.#applied) void this.#store.commit({ ...batch, checks: [] });
  }

  async read(queries: readonly Query[]): Promise<readonly Answer[]> {
    return (await this.#store.read(queries)).map((answer) => answer.map((entry) => this.#shown(entry)));
  }

  async commit(batch: Batch): Promise<CommitOutcome> {
    const checks = batch.checks.map(({ key, version }) => ({ key, version: version && this.#inMemory(version) }));
    const outcome = await this.#store.commit({ ...batch, checks });
    if (!outcome.ok) return outcome;
    // One that was applied before is answered as the first time.
    if (outcome.version > this.#applied.length) {
      this.#applied.push(batch);
      this.#versions.push(this.#generation * timelineFactor + outcome.version);
    }
    return { ok: true, version: this.#versions[outcome.version - 1]! };
  }

  watch(keys: readonly Key[], signal: AbortSignal): AsyncIterable<void> {
    return this.#store.watch(keys, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #shown(entry: Entry): Entry {
    return { ...entry, version: this.#versions[entry.version - 1]! };
  }

  /** One that no entry has, where the version is of a history that is no more. */
  #inMemory(version: Version): Version {
    const inMemory = version % timelineFactor;
    return this.#versions[inMemory - 1] === version ? inMemory : -1;
  }
}
