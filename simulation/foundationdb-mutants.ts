/**
 * Bugs to plant in the store in FoundationDB. Each stands between the store and its client, or between the store and
 * its caller, and leaves out one thing that the store's rules (F1 to F4) ask for.
 */
import {
  type FoundationDbClient,
  FoundationDbError,
  type FoundationDbTransaction,
  errorCodes,
} from "../src/storage/foundationdb-client.ts";
import { withCommit } from "./mutants.ts";
import { isEntryRow, isIdRow } from "./workloads/foundationdb.ts";
import type { Mutant } from "./world.ts";

const workload = "foundationdb";

export const foundationDbMutants: readonly Mutant[] = [
  {
    name: "foundationdb-checks-without-conflict",
    breaks: "what a check has read is no read conflict, so the row may change before the commit",
    workload,
    seedsMax: 200,
    wrapClient: (client) =>
      withTransactions(client, (transaction) => {
        // Reads, which need no conflict but one version, do not ask for it.
        let isCommit = false;
        return {
          readVersion: () => {
            isCommit = true;
            return transaction.readVersion();
          },
          get: (key) => readAside(client, transaction, key, () => isCommit && isEntryRow(key)),
        };
      }),
  },
  {
    name: "foundationdb-sets-without-conflict",
    breaks: "a set is no read conflict on its key, so two batches may give it one version",
    workload,
    seedsMax: 500,
    wrapClient: (client) =>
      withTransactions(client, (transaction) => ({
        addReadConflictKey: (key) => (isEntryRow(key) ? undefined : transaction.addReadConflictKey(key)),
      })),
  },
  {
    name: "foundationdb-no-id-row",
    breaks: "a batch leaves no row with its id, so it is applied again when its result was unknown",
    workload,
    seedsMax: 200,
    wrapClient: (client) =>
      withTransactions(client, (transaction) => ({ set: (key, value) => (isIdRow(key) ? undefined : transaction.set(key, value)) })),
  },
  {
    name: "foundationdb-id-without-conflict",
    breaks: "the id is looked up without a read conflict, so a late commit lands after its retry",
    workload,
    seedsMax: 500,
    wrapClient: (client) => withTransactions(client, (transaction) => ({ get: (key) => readAside(client, transaction, key, isIdRow) })),
  },
  {
    name: "foundationdb-next-bucket-without-conflict",
    breaks: "the id in the next bucket is no read conflict, so a late commit lands after a retry on the other side",
    workload,
    seedsMax: 3_000,
    // Many batches around the one moment at which a bucket begins: found by 1 seed in 300, otherwise by 1 in 1,000.
    options: (options) => ({
      ...options,
      isCalm: false,
      clients: 4,
      operationsPerClient: 10,
      thinkMilliseconds: 50,
      storeLatencyMilliseconds: { lowest: 1, highest: 30 },
      crashEveryMilliseconds: 0,
      pauseEveryMilliseconds: 0,
    }),
    wrapClient: (client) =>
      withTransactions(client, (transaction) => ({
        addReadConflictKey: (key) => (isIdRow(key) ? undefined : transaction.addReadConflictKey(key)),
      })),
  },
  {
    name: "foundationdb-ids-swept-early",
    breaks: "a process that starts deletes the ids of all batches, also of those that are still sent again",
    workload,
    seedsMax: 500,
    wrapClient: (client) =>
      withTransactions(client, (transaction) => ({
        clearRange: (begin, end) => transaction.clearRange(begin, isIdRow(begin) ? endOfKind(begin) : end),
      })),
  },
  {
    name: "foundationdb-coarse-version",
    breaks: "versions are rounded to a hundred milliseconds, so they do not grow with every write",
    workload,
    seedsMax: 200,
    wrapClient: (client) =>
      withTransactions(client, (transaction) => ({
        readVersion: async () => Math.floor((await transaction.readVersion()) / 100_000) * 100_000,
      })),
  },
  {
    name: "foundationdb-unknown-is-not-committed",
    breaks: "an unknown result is taken for a conflict, so a batch that was applied is said not to have been",
    workload,
    seedsMax: 500,
    wrapClient: (client) => withTransactions(client, (transaction) => ({ commit: () => commitOr(transaction, errorCodes.notCommitted) })),
  },
  {
    name: "foundationdb-unknown-is-committed",
    breaks: "an unknown result is taken for a commit",
    workload,
    seedsMax: 200,
    wrapClient: (client) => withTransactions(client, (transaction) => ({ commit: () => commitOr(transaction, undefined) })),
  },
  {
    name: "foundationdb-fresh-batch-after-unknown",
    breaks: "a batch that is sent again has a new id",
    workload,
    seedsMax: 200,
    wrapStore: (store) => {
      let attempts = 0;
      return withCommit(store, (batch, commit) => commit({ ...batch, id: `${batch.id}+${++attempts}` }));
    },
  },
  {
    name: "foundationdb-mixed-snapshots",
    breaks: "the answers of one read come from several versions",
    workload,
    seedsMax: 200,
    wrapClient: (client) =>
      withTransactions(client, (transaction) => ({
        get: async (key) => {
          transaction.addReadConflictKey(key);
          return await readAside(client, transaction, key, isEntryRow);
        },
      })),
  },
];

type Parts = { -readonly [name in keyof FoundationDbTransaction]?: FoundationDbTransaction[name] };

function withTransactions(client: FoundationDbClient, change: (transaction: FoundationDbTransaction) => Parts): FoundationDbClient {
  return {
    begin: (options) => {
      const transaction = client.begin(options);
      const all: FoundationDbTransaction = {
        readVersion: () => transaction.readVersion(),
        get: (key) => transaction.get(key),
        getRange: (begin, end, range) => transaction.getRange(begin, end, range),
        set: (key, value) => transaction.set(key, value),
        clear: (key) => transaction.clear(key),
        clearRange: (begin, end) => transaction.clearRange(begin, end),
        addReadConflictKey: (key) => transaction.addReadConflictKey(key),
        commit: () => transaction.commit(),
        onError: (error) => transaction.onError(error),
        watch: (key) => transaction.watch(key),
      };
      return { ...all, ...change(transaction) };
    },
    close: () => client.close(),
  };
}

/** Reads rows of a kind in a transaction of their own: as they are, and without a read conflict. */
async function readAside(
  client: FoundationDbClient,
  transaction: FoundationDbTransaction,
  key: Uint8Array,
  isOfKind: (key: Uint8Array) => boolean,
): Promise<Uint8Array | undefined> {
  return await (isOfKind(key) ? client.begin({ timeoutMilliseconds: 1_000 }) : transaction).get(key);
}

/** A commit whose unknown result is another error, or none. */
async function commitOr(transaction: FoundationDbTransaction, code: number | undefined): Promise<void> {
  try {
    await transaction.commit();
  } catch (error) {
    const isUnknown =
      error instanceof FoundationDbError && [errorCodes.commitUnknownResult, errorCodes.clusterVersionChanged].includes(error.code as 1021);
    if (!isUnknown) throw error;
    if (code !== undefined) throw new FoundationDbError(code);
  }
}

/** After all rows of the kind of `key`. */
function endOfKind(key: Uint8Array): Uint8Array {
  const end = Uint8Array.from(key.subarray(0, 9));
  end[8]!++;
  return end;
}
