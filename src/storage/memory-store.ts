import { compareBytes } from "../base/bytes.ts";
import { addToCounter } from "./counter.ts";
import {
  type Answer,
  type Batch,
  type CommitOutcome,
  type Entry,
  type Key,
  type Query,
  type Store,
  type StoreLimits,
  storeLimits,
  validateBatch,
  validateQueries,
} from "./store.ts";
import { RecentOutcomes } from "./recent-outcomes.ts";
import { Watchers } from "./watchers.ts";

/** A store in memory: gone with the process. For tests, examples and the simulation, which keeps it across crashes. */
export class MemoryStore implements Store {
  readonly limits: StoreLimits = storeLimits;
  readonly #entries: Entry[] = [];
  /** By number only: nothing here has a clock, and a process that ends forgets everything. */
  readonly #outcomes = new RecentOutcomes(() => 0);
  readonly #watchers = new Watchers();
  #version = 0;

  async read(queries: readonly Query[]): Promise<readonly Answer[]> {
    validateQueries(queries, this.limits);
    return queries.map((query) => {
      if ("key" in query) {
        const entry = this.#find(query.key);
        return entry === undefined ? [] : [entry];
      }
      const [from, to] = [this.#position(query.begin), this.#position(query.end)];
      if (query.reverse === true) return this.#entries.slice(Math.max(from, to - query.limit), Math.max(from, to)).toReversed();
      return this.#entries.slice(from, Math.min(to, from + query.limit));
    });
  }

  async commit(batch: Batch): Promise<CommitOutcome> {
    validateBatch(batch, this.limits);
    const known = this.#outcomes.get(batch.id);
    if (known !== undefined) return known;
    const failedCheck = batch.checks.findIndex((check) => (this.#find(check.key)?.version ?? null) !== check.version);
    if (failedCheck >= 0) return { ok: false, failedCheck };
    const version = ++this.#version;
    for (const write of batch.writes) {
      if (write.kind === "set") this.#set({ key: write.key, value: write.value, version });
      else if (write.kind === "add")
        this.#set({ key: write.key, value: addToCounter(this.#find(write.key)?.value, write.amount), version });
      else if (write.kind === "delete") this.#deleteRange(this.#position(write.key), this.#find(write.key) === undefined ? 0 : 1);
      else this.#deleteRange(this.#position(write.begin), this.#position(write.end) - this.#position(write.begin));
    }
    const outcome: CommitOutcome = { ok: true, version };
    this.#outcomes.set(batch.id, outcome);
    this.#watchers.notify(batch.writes);
    return outcome;
  }

  watch(keys: readonly Key[], signal: AbortSignal): AsyncIterable<void> {
    return this.#watchers.watch(keys, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #find(key: Key): Entry | undefined {
    const entry = this.#entries[this.#position(key)];
    return entry !== undefined && compareBytes(entry.key, key) === 0 ? entry : undefined;
  }

  #set(entry: Entry): void {
    const position = this.#position(entry.key);
    const existing = this.#entries[position];
    this.#entries.splice(position, existing !== undefined && compareBytes(existing.key, entry.key) === 0 ? 1 : 0, entry);
  }

  #deleteRange(position: number, count: number): void {
    if (count > 0) this.#entries.splice(position, count);
  }

  /** The index of the first entry whose key is not below `key`. */
  #position(key: Key): number {
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBytes(this.#entries[middle]!.key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
