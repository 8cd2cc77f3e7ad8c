/**
 * One batch in one transaction of FoundationDB: what is read, what is decided, what is written.
 *
 * F1. The version of an entry is the version that the transaction which wrote it had read, and a transaction has a
 *     read conflict on every key that it sets. So a key is set by one transaction after the other: the later one
 *     reads at or above the commit of the earlier, which is above what the earlier had read. The version grows, also
 *     over deletes, of which nothing needs to be remembered.
 * F2. A batch that writes leaves a row with its id and version, in the bucket of the version that was read. Its
 *     transaction has read conflicts on the id in that bucket and in both beside it. FoundationDB commits nothing
 *     that has read more than five seconds before, far less than a bucket. So of all attempts at a batch, also of one
 *     that lands after its retry, at most one commits.
 * F3. A check that fails in a later attempt speaks for the earlier ones: their checks held, so the row has changed
 *     since, and they have a read conflict on it.
 *
 * docs/decisions/0008-versions-in-foundationdb.md has the reasons.
 */
import { bytesToMapKey, compareBytes } from "../base/bytes.ts";
import { addToCounter } from "./counter.ts";
import type { FoundationDbTransaction } from "./foundationdb-client.ts";
import { bucketOf, decodeVersion, encodeEntryValue, type FoundationDbRows } from "./foundationdb-rows.ts";
import type { Batch, Check, CommitOutcome, Version, Write } from "./store.ts";

const nothing = new Uint8Array(0);

/** `isDecided`: without a commit. Otherwise `outcome` is what it comes to if the transaction commits. */
export interface PreparedBatch {
  readonly outcome: CommitOutcome;
  readonly isDecided: boolean;
}

export async function prepareBatch(transaction: FoundationDbTransaction, rows: FoundationDbRows, batch: Batch): Promise<PreparedBatch> {
  const version = await transaction.readVersion();
  const bucket = bucketOf(version);
  // A batch without writes cannot be applied twice, so it leaves no row and needs no commit.
  const ids = batch.writes.length === 0 ? [] : [bucket, Math.max(bucket - 1, 0)].map((each) => rows.idKey(each, batch.id));
  const [known, failedCheck, counters] = await Promise.all([
    Promise.all(ids.map((id) => transaction.get(id))),
    findFailedCheck(transaction, rows, batch.checks),
    readCounters(transaction, rows, batch.writes),
  ]);
  const applied = known.find((row) => row !== undefined);
  if (applied !== undefined) return { outcome: { ok: true, version: decodeVersion(applied) }, isDecided: true };
  if (failedCheck >= 0) return { outcome: { ok: false, failedCheck }, isDecided: true };
  if (ids[0] === undefined) return { outcome: { ok: true, version }, isDecided: true };
  // Another attempt may read in the next bucket and be faster (F2). Where that bucket's first batch sweeps away the one
  // before this, the sweep conflicts too; a cluster's first bucket has none before it.
  transaction.addReadConflictKey(rows.idKey(bucket + 1, batch.id));
  transaction.set(ids[0], encodeEntryValue(version, nothing));
  for (const write of batch.writes) addWrite(transaction, rows, { write, version, counters });
  return { outcome: { ok: true, version }, isDecided: false };
}

/** Deletes the ids of batches in buckets that no batch looks at any more. */
export function sweepIds(transaction: FoundationDbTransaction, rows: FoundationDbRows, version: Version): void {
  const { begin, end } = rows.idsBefore(Math.max(bucketOf(version) - 1, 0));
  transaction.clearRange(begin, end);
}

async function findFailedCheck(transaction: FoundationDbTransaction, rows: FoundationDbRows, checks: readonly Check[]): Promise<number> {
  const values = await Promise.all(checks.map(({ key }) => transaction.get(rows.entryKey(key))));
  return checks.findIndex(({ version }, at) => {
    const value = values[at];
    return (value === undefined ? null : decodeVersion(value)) !== version;
  });
}

/** The values of the keys that a batch adds to, by key. */
type Counters = Map<string, Uint8Array | undefined>;

async function readCounters(transaction: FoundationDbTransaction, rows: FoundationDbRows, writes: readonly Write[]): Promise<Counters> {
  const counters: Counters = new Map();
  const read = async (write: Write): Promise<void> => {
    if (write.kind !== "add") return;
    const row = rows.entryKey(write.key);
    const value = await transaction.get(row);
    counters.set(bytesToMapKey(write.key), value === undefined ? undefined : rows.entry(row, value).value);
  };
  await Promise.all(writes.map(read));
  return counters;
}

function addWrite(
  transaction: FoundationDbTransaction,
  rows: FoundationDbRows,
  { write, version, counters }: { readonly write: Write; readonly version: Version; readonly counters: Counters },
): void {
  if (write.kind === "deleteRange") {
    if (compareBytes(write.begin, write.end) >= 0) return;
    transaction.clearRange(rows.entryKey(write.begin), rows.entryKey(write.end));
    for (const name of counters.keys()) {
      const key = Buffer.from(name, "latin1");
      if (compareBytes(key, write.begin) >= 0 && compareBytes(key, write.end) < 0) counters.set(name, undefined);
    }
    return;
  }
  const row = rows.entryKey(write.key);
  const name = bytesToMapKey(write.key);
  let value: Uint8Array | undefined;
  if (write.kind === "set") value = write.value;
  else if (write.kind === "add") value = addToCounter(counters.get(name), write.amount);
  if (counters.has(name)) counters.set(name, value);
  if (value === undefined) return transaction.clear(row);
  transaction.addReadConflictKey(row);
  transaction.set(row, encodeEntryValue(version, value));
}
