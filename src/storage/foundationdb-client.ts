/**
 * The slice of FoundationDB's client API that its store uses, as the C library and all its bindings have it
 * (https://apple.github.io/foundationdb/api-c.html): `foundationdb-native.ts` adapts the npm package to it, and the
 * simulation's model implements it.
 */

export interface FoundationDbClient {
  /** A transaction that fails with `transaction_timed_out`, all its retries included, after that time. */
  begin(options: { readonly timeoutMilliseconds: number }): FoundationDbTransaction;
  close(): void;
}

/**
 * Reads see the database at one version, with the transaction's own writes; each read key or range is a read conflict
 * range, and each write a write conflict range. `commit` fails with `not_committed` if anything in a read conflict
 * range was written after the version that was read.
 *
 * Every promise rejects with a `FoundationDbError`.
 */
export interface FoundationDbTransaction {
  /** The version that is read. It is at least that of every commit acknowledged before this was asked, a safe integer. */
  readVersion(): Promise<number>;
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** The entries of `[begin, end)`, at most `limit`, in pages as large as the database finds right. */
  getRange(
    begin: Uint8Array,
    end: Uint8Array,
    options: { readonly limit: number; readonly reverse: boolean },
  ): AsyncIterable<readonly FoundationDbEntry[]>;
  set(key: Uint8Array, value: Uint8Array): void;
  clear(key: Uint8Array): void;
  clearRange(begin: Uint8Array, end: Uint8Array): void;
  /** As if `key` had been read. */
  addReadConflictKey(key: Uint8Array): void;
  /** Resolves when it is committed, at a version above the one that was read. */
  commit(): Promise<void>;
  /** After an error worth another try: waits as long as is right and makes the transaction empty. Otherwise rejects with that error. */
  onError(error: FoundationDbError): Promise<void>;
  /** From the commit of this transaction on: `changed` resolves when the value may be another than the one it saw. */
  watch(key: Uint8Array): FoundationDbWatch;
}

export type FoundationDbEntry = readonly [key: Uint8Array, value: Uint8Array];

export interface FoundationDbWatch {
  /** Rejects when the watch cannot be kept: too many of them, or a transaction that did not commit. */
  readonly changed: Promise<void>;
  cancel(): void;
}

/** An error of the client library or the cluster. */
export class FoundationDbError extends Error {
  override readonly name = "FoundationDbError";
  readonly code: number;

  constructor(code: number, description?: string, options?: ErrorOptions) {
    super(`${description ?? descriptions[code] ?? "an unknown error"} (FoundationDB's error ${code})`, options);
    this.code = code;
  }
}

/** https://apple.github.io/foundationdb/api-error-codes.html, those that this code or its model knows. */
export const errorCodes = {
  transactionTooOld: 1007,
  futureVersion: 1009,
  notCommitted: 1020,
  commitUnknownResult: 1021,
  transactionCancelled: 1025,
  transactionTimedOut: 1031,
  tooManyWatches: 1032,
  processBehind: 1037,
  databaseLocked: 1038,
  clusterVersionChanged: 1039,
  commitProxyMemoryLimitExceeded: 1042,
  batchTransactionThrottled: 1051,
  grvProxyMemoryLimitExceeded: 1078,
  tagThrottled: 1213,
  proxyTagThrottled: 1223,
  transactionThrottledHotShard: 1235,
  clientInvalidOperation: 2000,
  keyOutsideLegalRange: 2004,
  invertedRange: 2005,
  usedDuringCommit: 2017,
  transactionTooLarge: 2101,
  keyTooLarge: 2102,
  valueTooLarge: 2103,
} as const;

const descriptions: { readonly [code: number]: string } = {
  1007: "the transaction is older than 5 seconds",
  1009: "a storage server has not reached the version yet",
  1020: "the transaction conflicts with another",
  1021: "the transaction may or may not have committed",
  1025: "the transaction was cancelled",
  1031: "the transaction timed out",
  1032: "this client has too many watches",
  1037: "a storage server is behind",
  1038: "the database is locked",
  1039: "the cluster's version has changed",
  1042: "a commit proxy is out of memory",
  1051: "the cluster is throttling transactions",
  1078: "a proxy for read versions is out of memory",
  1213: "the cluster is throttling transactions of this tag",
  2101: "the transaction is over 10 MB",
  2102: "a key is over 10 kB",
  2103: "a value is over 100 kB",
};

/** The three predicates of `fdb_error_predicate` (bindings/c/fdb_c.cpp). */

/** The transaction may have committed, and another try makes sense. */
export function isMaybeCommitted(code: number): boolean {
  return code === errorCodes.commitUnknownResult || code === errorCodes.clusterVersionChanged;
}

/** The transaction has not committed and will not, and another try makes sense. */
export function isRetryableNotCommitted(code: number): boolean {
  return retryableNotCommitted.has(code);
}

export function isRetryable(code: number): boolean {
  return isMaybeCommitted(code) || isRetryableNotCommitted(code);
}

const retryableNotCommitted: ReadonlySet<number> = new Set<number>([
  errorCodes.notCommitted,
  errorCodes.transactionTooOld,
  errorCodes.futureVersion,
  errorCodes.databaseLocked,
  errorCodes.grvProxyMemoryLimitExceeded,
  errorCodes.commitProxyMemoryLimitExceeded,
  errorCodes.transactionThrottledHotShard,
  errorCodes.batchTransactionThrottled,
  errorCodes.processBehind,
  errorCodes.tagThrottled,
  errorCodes.proxyTagThrottled,
]);

/**
 * Whether a `commit` that failed so did certainly not commit and will not. False for everything that may come after
 * the transaction was sent: unknown results, timeouts, cancellations, lost connections, and codes that nobody knows.
 */
export function isCertainlyNotCommitted(code: number): boolean {
  // 2xxx: the client library refuses what it was asked, before anything is sent.
  return isRetryableNotCommitted(code) || (code >= 2000 && code < 3000);
}
