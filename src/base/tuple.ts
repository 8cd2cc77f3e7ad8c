/**
 * Tuples as keys: the encoding keeps the order of the tuples, element by element.
 *
 * T1. `compareBytes(encode(a), encode(b))` has the sign of comparing `a` and `b` element by element.
 * T2. `tupleRange(t)` holds the encodings of all longer tuples that begin with `t`, and no others.
 *
 * The format is that of FoundationDB's tuple layer for the types used here:
 * https://github.com/apple/foundationdb/blob/main/design/tuple.md
 */
import { concatBytes } from "./bytes.ts";

/** Between types the order is: null, bytes, text (by UTF-8 bytes), integers, false, true. */
export type TupleElement = null | Uint8Array | string | number | boolean;
export type Tuple = readonly TupleElement[];

const nullCode = 0x00;
const bytesCode = 0x01;
const textCode = 0x02;
const zeroCode = 0x14;
const falseCode = 0x26;
const trueCode = 0x27;
const lowest = Uint8Array.of(0x00);
const highest = Uint8Array.of(0xff);

/**
 * @throws {TypeError} A number is not a safe integer, or a text has a lone surrogate (two such texts
 * would share one UTF-8 form).
 */
export function encodeTuple(tuple: Tuple): Uint8Array {
  let size = 0;
  for (const element of tuple) size += typeof element === "string" ? element.length * 6 + 2 : element instanceof Uint8Array ? element.length * 2 + 2 : 10;
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const element of tuple) {
    if (typeof element === "string") at = writeText(out, at, element);
    else if (typeof element === "number") at = writeInteger(out, at, element);
    else if (element === null) out[at++] = nullCode;
    else if (typeof element === "boolean") out[at++] = element ? trueCode : falseCode;
    else {
      out[at++] = bytesCode;
      at = writeEscaped(out, at, element);
    }
  }
  // A copy of the right length, so that a key does not keep a larger buffer alive.
  return Uint8Array.prototype.slice.call(out, 0, at);
}

export function decodeTuple(bytes: Uint8Array): TupleElement[] {
  const tuple: TupleElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    const code = bytes[at++]!;
    if (code === nullCode) tuple.push(null);
    else if (code === falseCode) tuple.push(false);
    else if (code === trueCode) tuple.push(true);
    else if (code === bytesCode || code === textCode) {
      const { value, next } = readEscaped(bytes, at);
      tuple.push(code === textCode ? Buffer.from(value).toString("utf8") : value);
      at = next;
    } else if (code >= zeroCode - 8 && code <= zeroCode + 8) {
      const length = Math.abs(code - zeroCode);
      if (at + length > bytes.length) throw new TypeError("The tuple ends inside an integer");
      let value = 0;
      const flip = code < zeroCode ? 0xff : 0x00;
      for (let index = 0; index < length; index++) value = value * 256 + (bytes[at + index]! ^ flip);
      tuple.push(code < zeroCode ? -value : value);
      at += length;
    } else throw new TypeError(`Unknown type code ${code} in a tuple`);
  }
  return tuple;
}

/** The keys of every tuple that begins with `tuple` and is longer: `[begin, end)`. */
export function tupleRange(tuple: Tuple): { readonly begin: Uint8Array; readonly end: Uint8Array } {
  const prefix = encodeTuple(tuple);
  return { begin: concatBytes(prefix, lowest), end: concatBytes(prefix, highest) };
}

function writeText(out: Buffer, at: number, text: string): number {
  if (!text.isWellFormed()) throw new TypeError(`A key cannot hold a lone surrogate: ${JSON.stringify(text.slice(0, 40))}`);
  out[at++] = textCode;
  if (text.includes("\0")) return writeEscaped(out, at, Buffer.from(text, "utf8"));
  at += out.write(text, at, "utf8");
  out[at++] = 0x00;
  return at;
}

function writeEscaped(out: Buffer, at: number, bytes: Uint8Array): number {
  for (const byte of bytes) {
    out[at++] = byte;
    if (byte === 0x00) out[at++] = 0xff;
  }
  out[at++] = 0x00;
  return at;
}

function readEscaped(bytes: Uint8Array, start: number): { value: Uint8Array; next: number } {
  const value: number[] = [];
  let at = start;
  for (;;) {
    if (at >= bytes.length) throw new TypeError("The tuple ends inside a text or byte string");
    const byte = bytes[at++]!;
    if (byte === 0x00) {
      if (bytes[at] !== 0xff) return { value: Uint8Array.from(value), next: at };
      at++;
    }
    value.push(byte);
  }
}

function writeInteger(out: Buffer, at: number, value: number): number {
  if (!Number.isSafeInteger(value)) throw new TypeError(`A key cannot hold the number ${value}: only safe integers`);
  const magnitude = Math.abs(value);
  let length = 0;
  for (let rest = magnitude; rest > 0; rest = Math.floor(rest / 256)) length++;
  out[at++] = value < 0 ? zeroCode - length : zeroCode + length;
  // A negative integer is stored with its bits flipped, so that the larger magnitude sorts first.
  const flip = value < 0 ? 0xff : 0x00;
  let rest = magnitude;
  for (let index = length - 1; index >= 0; index--) {
    out[at + index] = (rest % 256) ^ flip;
    rest = Math.floor(rest / 256);
  }
  return at + length;
}
