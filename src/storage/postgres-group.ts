/** Batches and queries as parameters of the functions in `postgres-functions.ts`, and their results back. */
import { bytesToMapKey, compareBytes } from "../base/bytes.ts";
import { decodeBigintArray, encodeBigintArray, encodeByteaArray } from "./postgres-arrays.ts";
import type { Answer, Batch, CommitOutcome, Entry, Key, Query } from "./store.ts";

/** An entry of an index of PostgreSQL holds 2,704 bytes, so what a longer key has beyond this stands in a column of its own. */
const headBytes = 2_000;

const opcodes = { set: 0, add: 1, delete: 2, deleteRange: 3 } as const;

/** What follows the lane and the number of the group in a call of `commit`. */
export type GroupParameters = readonly [
  deletesRanges: boolean,
  keys: Buffer,
  rests: Buffer,
  program: Buffer,
  values: Buffer,
  bounds: Buffer,
  boundRests: Buffer,
];

/**
 * The keys of the group in order, and a program that names them by their places from 1: for each batch the numbers
 * of its checks, writes and ranges; a place and a version (0: absent) for each check; for each write an opcode, a
 * place and an argument: the place of a value, an amount, or, for a range, the places that it spans.
 */
export function encodeGroup(batches: readonly Batch[]): GroupParameters {
  const keys = keysOf(batches);
  const places = new Map(keys.map((key, index) => [bytesToMapKey(key), index + 1]));
  const place = (key: Key): number => places.get(bytesToMapKey(key))!;
  const program: (number | bigint)[] = [];
  const values: Uint8Array[] = [];
  const bounds: Key[] = [];
  for (const { checks, writes } of batches) {
    program.push(checks.length, writes.length, 0);
    const rangesAt = program.length - 1;
    const boundsBefore = bounds.length;
    for (const { key, version } of checks) program.push(place(key), version === null ? 0 : version || -1);
    for (const write of writes) {
      if (write.kind === "set") program.push(opcodes.set, place(write.key), values.push(write.value));
      else if (write.kind === "add") program.push(opcodes.add, place(write.key), BigInt.asIntN(64, write.amount));
      else if (write.kind === "delete") program.push(opcodes.delete, place(write.key), 0);
      else {
        bounds.push(write.begin, write.end);
        program.push(opcodes.deleteRange, countBelow(keys, write.begin) + 1, countBelow(keys, write.end));
      }
    }
    program[rangesAt] = (bounds.length - boundsBefore) / 2;
  }
  return [bounds.length > 0, ...encodeKeys(keys), encodeBigintArray(program), encodeByteaArray(values), ...encodeKeys(bounds)];
}

/** The timeline that the group met, and the outcome of each batch; `undefined` if they were asked for and are not there. */
export function decodeOutcomes(text: string): { readonly timeline: number; readonly outcomes: readonly CommitOutcome[] | undefined } {
  const [timeline, ...numbers] = decodeBigintArray(text);
  const outcomes = numbers.map((number): CommitOutcome =>
    number < 0 ? { ok: false, failedCheck: -1 - number } : { ok: true, version: number },
  );
  return { timeline: timeline!, outcomes: outcomes.length === 0 ? undefined : outcomes };
}

/** A row of `read`, as the driver gives it without parsing: texts, or null. */
export type ReadRow = readonly [query: string, key: string | null, rest: string | null, value: string | null, version: string];

export function encodeQueries(queries: readonly Query[]): readonly Buffer[] {
  const keys: Key[] = [];
  const bounds: Key[] = [];
  const limits: number[] = [];
  for (const query of queries) {
    if ("key" in query) keys.push(query.key);
    else {
      bounds.push(query.begin, query.end);
      limits.push(query.reverse === true ? -query.limit : query.limit);
    }
  }
  return [...encodeKeys(keys), ...encodeKeys(bounds), encodeBigintArray(limits)];
}

export function decodeAnswers(
  queries: readonly Query[],
  rows: readonly ReadRow[],
): { readonly timeline: number; readonly answers: readonly Answer[] } {
  // The server counts the keys first, then the ranges.
  const isKey = queries.map((query) => "key" in query);
  const keyCount = isKey.filter(Boolean).length;
  let [keys, ranges] = [0, 0];
  const indexes = [-1];
  for (let index = 0; index < queries.length; index++) indexes[isKey[index] === true ? ++keys : keyCount + ++ranges] = index;
  const answers: Entry[][] = queries.map(() => []);
  for (const [query, key, rest, value, version] of rows.slice(1)) {
    const index = indexes[Number(query)]!;
    const asked = queries[index]!;
    answers[index]!.push({
      key: "key" in asked ? asked.key : Buffer.concat([decodeBytea(key!), decodeBytea(rest!)]),
      value: decodeBytea(value!),
      version: Number(version),
    });
  }
  return { timeline: Number(rows[0]![4]), answers };
}

function keysOf(batches: readonly Batch[]): readonly Key[] {
  const keys = new Map<string, Key>();
  for (const { checks, writes } of batches) {
    for (const { key } of checks) keys.set(bytesToMapKey(key), key);
    for (const write of writes) if (write.kind !== "deleteRange") keys.set(bytesToMapKey(write.key), write.key);
  }
  return [...keys.values()].sort(compareBytes);
}

/** How many of the sorted `keys` are below `key`. */
function countBelow(keys: readonly Key[], key: Key): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBytes(keys[middle]!, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The heads, and the rests: none at all if none is longer than its head, as is usual. */
function encodeKeys(keys: readonly Key[]): [heads: Buffer, rests: Buffer] {
  const areShort = keys.every((key) => key.length <= headBytes);
  return [
    encodeByteaArray(areShort ? keys : keys.map((key) => key.subarray(0, headBytes))),
    encodeByteaArray(areShort ? [] : keys.map((key) => key.subarray(headBytes))),
  ];
}

/** `\x` and hexadecimal digits. */
function decodeBytea(text: string): Buffer {
  return Buffer.from(text.slice(2), "hex");
}
