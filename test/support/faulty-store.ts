import {
  type Answer,
  type Batch,
  type CommitOutcome,
  CommitUnknownError,
  type Key,
  type Query,
  type Store,
  type StoreLimits,
  StoreUnavailableError,
} from "../../src/storage/store.ts";

/** `unknownApplied` and `unknownLost` are the two things that may have happened when an answer is lost. */
export type CommitFault = "unavailable" | "unknownApplied" | "unknownLost";

/** A store that fails on command, counts what it is asked, and holds commits back. */
export class FaultyStore implements Store {
  /** A test may make them narrower. */
  limits: StoreLimits;
  readonly #store: Store;
  /** Decides what becomes of the next commit; `undefined` lets it through. */
  commitFault: (batch: Batch) => CommitFault | undefined = () => undefined;
  readFault: () => boolean = () => false;
  readonly batches: Batch[] = [];
  reads = 0;
  #gate: { readonly opened: Promise<void>; readonly open: () => void } | undefined;

  constructor(store: Store) {
    this.#store = store;
    this.limits = store.limits;
  }

  async read(queries: readonly Query[]): Promise<readonly Answer[]> {
    this.reads++;
    if (this.readFault()) throw new StoreUnavailableError("The test lets no read through");
    return await this.#store.read(queries);
  }

  async commit(batch: Batch): Promise<CommitOutcome> {
    this.batches.push(batch);
    await this.#gate?.opened;
    const fault = this.commitFault(batch);
    if (fault === "unavailable") throw new StoreUnavailableError("The test lets no commit through");
    if (fault === "unknownLost") throw new CommitUnknownError("The test lost the commit");
    const outcome = await this.#store.commit(batch);
    if (fault === "unknownApplied") throw new CommitUnknownError("The test lost the answer");
    return outcome;
  }

  watch(keys: readonly Key[], signal: AbortSignal): AsyncIterable<void> {
    return this.#store.watch(keys, signal);
  }

  /** Commits arrive, and wait until `release`. */
  hold(): void {
    let open = (): void => {};
    const opened = new Promise<void>((resolve) => (open = resolve));
    this.#gate = { opened, open };
  }

  release(): void {
    this.#gate?.open();
    this.#gate = undefined;
  }

  /** The next commits fare so, one after another. */
  failNext(...faults: readonly (CommitFault | undefined)[]): void {
    const queue = [...faults];
    this.commitFault = () => queue.shift();
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
