/** What transactions of the model of FoundationDB are made of: ranges, and changes of values. */
import { compareBytes, equalBytes } from "../src/base/bytes.ts";

/** From `begin` to, but not, `end`. */
export type Range = readonly [begin: Uint8Array, end: Uint8Array];

/** `add` and `versionstamp` are FoundationDB's ADD and SET_VERSIONSTAMPED_VALUE, with the stamp in front. */
export type Mutation =
  | { readonly kind: "set"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "clearRange"; readonly begin: Uint8Array; readonly end: Uint8Array }
  | { readonly kind: "add"; readonly key: Uint8Array; readonly operand: Uint8Array }
  | { readonly kind: "versionstamp"; readonly key: Uint8Array; readonly rest: Uint8Array };

/** The version of a commit, and its place among the commits of that version. */
export interface Stamp {
  readonly version: number;
  readonly order: number;
}

export interface AppliedTransaction extends Stamp {
  readonly mutations: readonly Mutation[];
}

export function overlap(left: Range, right: Range): boolean {
  return compareBytes(left[0], right[1]) < 0 && compareBytes(right[0], left[1]) < 0;
}

export function touches(mutation: Mutation, key: Uint8Array): boolean {
  if (mutation.kind !== "clearRange") return equalBytes(mutation.key, key);
  return compareBytes(key, mutation.begin) >= 0 && compareBytes(key, mutation.end) < 0;
}

/** What the value of a key that it touches becomes. */
export function mutate(value: Uint8Array | undefined, mutation: Mutation, stamp: Stamp): Uint8Array | undefined {
  if (mutation.kind === "clearRange") return undefined;
  if (mutation.kind === "set") return mutation.value;
  if (mutation.kind === "versionstamp") return Buffer.concat([encodeStamp(stamp), mutation.rest]);
  return addLittleEndian(value, mutation.operand);
}

/** In 10 bytes, in the order of commits. */
export function encodeStamp({ version, order }: Stamp): Uint8Array {
  const bytes = Buffer.alloc(10);
  bytes.writeBigUInt64BE(BigInt(version));
  bytes.writeUInt16BE(order, 8);
  return bytes;
}

/** Bytes of the value that a mutation brings. */
export function operandBytes(mutation: Exclude<Mutation, { kind: "clearRange" }>): number {
  if (mutation.kind === "set") return mutation.value.length;
  return mutation.kind === "add" ? mutation.operand.length : mutation.rest.length + 10;
}

/** The sum in as many bytes as `operand` has: `value` is cut to them or filled up with zeros. */
function addLittleEndian(value: Uint8Array | undefined, operand: Uint8Array): Uint8Array {
  const sum = new Uint8Array(operand.length);
  let carry = 0;
  for (let at = 0; at < operand.length; at++) {
    carry += operand[at]! + (value?.[at] ?? 0);
    sum[at] = carry;
    carry >>>= 8;
  }
  return sum;
}
