import type { BatchId, CommitOutcome } from "./store.ts";

const generationMax = 16_384;
const generationMilliseconds = 600_000;

/**
 * The outcomes of the latest batches by id, for S4 in a store whose outcomes are never unknown while it works: that
 * a caller who commits the same batch twice gets one effect.
 *
 * Two generations, so that forgetting is dropping a map: the last 16,384 to 32,768 batches, of the last ten to twenty
 * minutes. A few megabytes at most.
 */
export class RecentOutcomes {
  readonly #elapsed: () => number;
  #newer = new Map<BatchId, CommitOutcome>();
  #older = new Map<BatchId, CommitOutcome>();
  #newerSince: number;

  /** `elapsed` gives milliseconds that never go back. */
  constructor(elapsed: () => number) {
    this.#elapsed = elapsed;
    this.#newerSince = elapsed();
  }

  get(id: BatchId): CommitOutcome | undefined {
    return this.#newer.get(id) ?? this.#older.get(id);
  }

  set(id: BatchId, outcome: CommitOutcome): void {
    if (this.#newer.size >= generationMax) this.#rotate();
    this.#newer.set(id, outcome);
  }

  delete(id: BatchId): void {
    this.#newer.delete(id);
    this.#older.delete(id);
  }

  /** Forgets by age. Cheap: to be called once for many `set`. */
  forgetOld(): void {
    if (this.#elapsed() - this.#newerSince >= generationMilliseconds) this.#rotate();
  }

  #rotate(): void {
    this.#older = this.#newer;
    this.#newer = new Map();
    this.#newerSince = this.#elapsed();
  }
}
