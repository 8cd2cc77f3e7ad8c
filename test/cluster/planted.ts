/**
 * Bugs to plant: the test is worth what it finds. Each breaks one promise of the real composition.
 *
 * They are put on the classes themselves, in the process of a node under test, so that nothing of the product knows of
 * them and there is no seam for them in it.
 */
import { decodeTuple } from "../../src/base/tuple.ts";
import { MemberPlacement } from "../../src/cluster/cluster-placement.ts";
import { PostgresStore } from "../../src/storage/postgres-store.ts";
import type { Batch, Key, Write } from "../../src/storage/store.ts";

export interface Planted {
  readonly breaks: string;
  plant(): void;
}

export const planted: Readonly<Record<string, Planted>> = {
  "commit-not-fenced": {
    breaks: "batches do not check their actor's header, so a node that was taken to be dead still commits",
    plant: () => changeBatches((batch) => ({ ...batch, checks: batch.checks.filter(({ key }) => kindOf(key) !== "header") })),
  },
  "reads-without-lease": {
    breaks: "answers are given from memory whether or not the lease is valid",
    plant: () => void Object.defineProperty(MemberPlacement.prototype, "holdsLease", { get: () => true }),
  },
  "no-deduplication": {
    breaks: "invocations leave no record, so a repeat takes effect again",
    plant: () => changeBatches((batch) => ({ ...batch, writes: batch.writes.filter((write) => !sets(write, "dedup")) })),
  },
};

/** @throws {TypeError} There is no such bug. */
export function plant(name: string): void {
  const bug = Object.hasOwn(planted, name) ? planted[name] : undefined;
  if (bug === undefined) throw new TypeError(`There is no planted bug ${name}; there are ${Object.keys(planted).join(", ")}`);
  bug.plant();
}

function changeBatches(change: (batch: Batch) => Batch): void {
  const { commit } = PostgresStore.prototype;
  PostgresStore.prototype.commit = function (batch) {
    return commit.call(this, change(batch));
  };
}

/** Rows of actors are `(project, kind, …)`. */
function kindOf(key: Key): unknown {
  return decodeTuple(key)[1];
}

function sets(write: Write, kind: string): boolean {
  return write.kind === "set" && kindOf(write.key) === kind;
}
