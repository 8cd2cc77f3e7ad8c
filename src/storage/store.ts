/**
 * One ordered, transactional map: the place of everything that must survive.
 *
 * S1. A batch takes effect whole or not at all.
 * S2. All answers of one `read` come from one snapshot that holds every batch acknowledged before the call.
 * S3. The version of a key grows with every write to it, also across a delete and a new set.
 * S4. A batch that was applied is applied once: committing it again, with the same id, answers as the first time.
 *     An adapter keeps this for at least ten minutes, or for as long as an outcome of its can be unknown.
 *
 * Byte arrays that a store was given or gave away are never changed by either side, so none is copied.
 *
 * There are no interactive transactions: one round trip, no lock held across user code, and no engine's isolation
 * level leaks out. Ranges are not checked: what needs protecting from phantoms checks a guard key. A batch writes
 * every key whose check carries an invariant, which is correct under snapshot isolation too.
 */
export type Key = Uint8Array;
export type Value = Uint8Array;

/** A safe integer that grows per key (S3). Says nothing about the order of writes to different keys. */
export type Version = number;

/** Chosen by the caller, unique among all batches of all nodes: 1 to 64 characters. */
export type BatchId = string;

export interface Entry {
  readonly key: Key;
  readonly value: Value;
  readonly version: Version;
}

/** One key, or the keys of `[begin, end)`: at most `limit` (1 to `limits.rangeEntries`), from the end if `reverse`. */
export type Query = { readonly key: Key } | { readonly begin: Key; readonly end: Key; readonly limit: number; readonly reverse?: boolean };

/** In the order of the keys, or from the last one if `reverse`. For one key: its entry, or nothing. */
export type Answer = readonly Entry[];

/** `version: null` states that the key is absent. */
export interface Check {
  readonly key: Key;
  readonly version: Version | null;
}

/**
 * `add` adds to a counter of 8 bytes (a signed little-endian integer, wrapping); an absent key counts as 0.
 * Adds from any number of batches commute. Writes apply in the order of the batch.
 */
export type Write =
  | { readonly kind: "set"; readonly key: Key; readonly value: Value }
  | { readonly kind: "delete"; readonly key: Key }
  | { readonly kind: "deleteRange"; readonly begin: Key; readonly end: Key }
  | { readonly kind: "add"; readonly key: Key; readonly amount: bigint };

export interface Batch {
  readonly id: BatchId;
  readonly checks: readonly Check[];
  readonly writes: readonly Write[];
}

/** `version` is that of every key the batch set; `failedCheck` is the index of the first check that did not hold. */
export type CommitOutcome = { readonly ok: true; readonly version: Version } | { readonly ok: false; readonly failedCheck: number };

export interface Store extends AsyncDisposable {
  /** @throws {StoreUnavailableError} @throws {LimitError} */
  read(queries: readonly Query[]): Promise<readonly Answer[]>;

  /**
   * @throws {StoreUnavailableError} The batch was not applied and will not be.
   * @throws {CommitUnknownError} It may or may not have been: commit the same batch again until it is known (S4).
   * @throws {LimitError} The batch is too large or malformed; nothing was written.
   */
  commit(batch: Batch): Promise<CommitOutcome>;

  /** Yields when one of `keys` may have changed: a hint that may come late, twice, for nothing, or never. */
  watch(keys: readonly Key[], signal: AbortSignal): AsyncIterable<void>;

  readonly limits: StoreLimits;
}

export interface StoreLimits {
  readonly keyBytes: number;
  readonly valueBytes: number;
  /** Keys and values of all writes and checks together. */
  readonly batchBytes: number;
  /** Entries that one range query may ask for. */
  readonly rangeEntries: number;
}

/**
 * What FoundationDB's 10 kB, 100 kB and 10 MB leave to a store that adds its name and a version to each row and checks
 * what it writes; on every engine, so that data can move between them.
 */
export const storeLimits: StoreLimits = { keyBytes: 9_800, valueBytes: 99_000, batchBytes: 9_000_000, rangeEntries: 10_000 };

/** The store could not be reached or refused. What was asked did not happen. */
export class StoreUnavailableError extends Error {
  override readonly name = "StoreUnavailableError";
}

/** The answer to a commit was lost. The batch may have been applied: commit the very same batch again. */
export class CommitUnknownError extends Error {
  override readonly name = "CommitUnknownError";
}

/** A key, value, batch or query is over the store's limits. Nothing was written. */
export class LimitError extends Error {
  override readonly name = "LimitError";
}

/**
 * Refuses what no store accepts, before it does anything. Returns the bytes that count for `limits.batchBytes`.
 *
 * @throws {LimitError}
 */
export function validateBatch(batch: Batch, limits: StoreLimits): number {
  if (batch.id.length < 1 || batch.id.length > 64) throw new LimitError(`A batch id has 1 to 64 characters, not ${batch.id.length}`);
  let bytes = 0;
  for (const check of batch.checks) bytes += keySize(check.key, limits);
  for (const write of batch.writes) bytes += writeSize(write, limits);
  if (bytes > limits.batchBytes) throw new LimitError(`A batch has at most ${limits.batchBytes} bytes, not ${bytes}`);
  return bytes;
}

/** What a write counts for `limits.batchBytes`. @throws {LimitError} */
export function writeSize(write: Write, limits: StoreLimits): number {
  if (write.kind === "deleteRange") return keySize(write.begin, limits) + keySize(write.end, limits);
  if (write.kind !== "set") return keySize(write.key, limits);
  if (write.value.length > limits.valueBytes)
    throw new LimitError(`A value has at most ${limits.valueBytes} bytes, not ${write.value.length}`);
  return keySize(write.key, limits) + write.value.length;
}

/** @throws {LimitError} */
export function validateQueries(queries: readonly Query[], limits: StoreLimits): void {
  for (const query of queries) {
    if ("key" in query) {
      keySize(query.key, limits);
      continue;
    }
    keySize(query.begin, limits);
    keySize(query.end, limits);
    if (!Number.isInteger(query.limit) || query.limit < 1 || query.limit > limits.rangeEntries)
      throw new LimitError(`A range query asks for 1 to ${limits.rangeEntries} entries, not ${query.limit}`);
  }
}

function keySize(key: Key, limits: StoreLimits): number {
  if (key.length > limits.keyBytes) throw new LimitError(`A key has at most ${limits.keyBytes} bytes, not ${key.length}`);
  return key.length;
}
