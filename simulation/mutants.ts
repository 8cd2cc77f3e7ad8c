/**
 * Bugs to plant: a simulation is worth what it finds. Each is small, and each breaks a promise that a check watches.
 *
 * Most stand between the code and its store and need nothing from the code under test.
 */
import { type Batch, CommitUnknownError, type CommitOutcome, type Store } from "../src/storage/store.ts";
import type { Mutant } from "./world.ts";

export const mutants: readonly Mutant[] = [
  {
    name: "transaction-unchecked",
    breaks: "what a transaction read is not checked when it commits",
    workload: "transactions",
    seedsMax: 200,
    wrapStore: (store) => changingCommits(store, (batch, commit) => commit({ ...batch, checks: [] })),
  },
  {
    name: "unknown-is-done",
    breaks: "a lost answer to a commit is taken for a success",
    workload: "transactions",
    seedsMax: 200,
    wrapStore: (store) => changingCommits(store, unknownIsDone),
  },
];

type Commit = (batch: Batch) => Promise<CommitOutcome>;

/** A store whose commits go through `change`. */
function changingCommits(store: Store, change: (batch: Batch, commit: Commit) => Promise<CommitOutcome>): Store {
  return {
    limits: store.limits,
    read: (queries) => store.read(queries),
    commit: (batch) => change(batch, (changed) => store.commit(changed)),
    watch: (keys, signal) => store.watch(keys, signal),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

async function unknownIsDone(batch: Batch, commit: Commit): Promise<CommitOutcome> {
  try {
    return await commit(batch);
  } catch (error) {
    if (error instanceof CommitUnknownError) return { ok: true, version: Number.MAX_SAFE_INTEGER };
    throw error;
  }
}
