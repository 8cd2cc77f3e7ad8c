/**
 * How a store lies in FoundationDB: below the prefix of the store's name, three kinds of rows.
 *
 *   prefix 0x00                      what this is: the number of its format
 *   prefix 0x01 bucket id            a batch that was applied: its version (bucket: 8 bytes; id: UTF-16)
 *   prefix 0x02 key                  an entry: its version (8 bytes) and its value
 */
import { bytesToMapKey } from "../base/bytes.ts";
import { encodeTuple } from "../base/tuple.ts";
import type { Batch, BatchId, Entry, Key, Version } from "./store.ts";

/** How a version of this code writes rows. One with a higher number is refused, never misread. */
export const format = 1;

/** What lies in the cluster under the store's name is not of this version of Kelpie. */
export class FoundationDbFormatError extends Error {
  override readonly name = "FoundationDbFormatError";
}

/** The most characters of a store's name: with it, FoundationDB's 10,000 bytes hold a row's key. */
export const nameCharactersMax = 64;

/** FoundationDB's versions in about 15 minutes: a million a second, and a jump of 100 million at a recovery. */
export const bucketVersions = 900_000_000;

const [formatTag, idTag, entryTag] = [0x00, 0x01, 0x02];
const versionBytes = 8;

export class FoundationDbRows {
  readonly #prefix: Uint8Array;
  readonly #entryKeyAt: number;

  constructor(name: string) {
    this.#prefix = encodeTuple([name]);
    this.#entryKeyAt = this.#prefix.length + 1;
  }

  formatKey(): Uint8Array {
    return this.#row(formatTag, 0);
  }

  entryKey(key: Key): Uint8Array {
    const row = this.#row(entryTag, key.length);
    row.set(key, this.#entryKeyAt);
    return row;
  }

  entry(row: Uint8Array, value: Uint8Array): Entry {
    return { key: row.subarray(this.#entryKeyAt), value: value.subarray(versionBytes), version: decodeVersion(value) };
  }

  idKey(bucket: number, id: BatchId): Uint8Array {
    const row = this.#idBucket(bucket, id.length * 2);
    // The one encoding that keeps any two texts apart, also those that are no Unicode.
    row.write(id, this.#entryKeyAt + versionBytes, "utf16le");
    return row;
  }

  /** Where the ids of all buckets begin, and where those of `bucket` do. */
  idsBefore(bucket: number): { readonly begin: Uint8Array; readonly end: Uint8Array } {
    return { begin: this.#row(idTag, 0), end: this.#idBucket(bucket, 0) };
  }

  #idBucket(bucket: number, more: number): Buffer {
    const row = this.#row(idTag, versionBytes + more);
    row.writeBigUInt64BE(BigInt(bucket), this.#entryKeyAt);
    return row;
  }

  #row(tag: number, more: number): Buffer {
    const row = Buffer.allocUnsafe(this.#entryKeyAt + more);
    row.set(this.#prefix);
    row[this.#prefix.length] = tag;
    return row;
  }
}

export function bucketOf(version: Version): number {
  return Math.floor(version / bucketVersions);
}

export function encodeEntryValue(version: Version, value: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(versionBytes + value.length);
  bytes.writeBigUInt64BE(BigInt(version));
  bytes.set(value, versionBytes);
  return bytes;
}

export function decodeVersion(value: Uint8Array): Version {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return view.getUint32(0) * 2 ** 32 + view.getUint32(4);
}

/** What two batches of one process share if one may be in the other's way: keys, and the id of a batch sent twice. */
export function namesOf(batch: Batch): ReadonlySet<string> {
  const names = new Set([`id ${batch.id}`]);
  for (const check of batch.checks) names.add(`key ${bytesToMapKey(check.key)}`);
  for (const write of batch.writes) if (write.kind !== "deleteRange") names.add(`key ${bytesToMapKey(write.key)}`);
  return names;
}
