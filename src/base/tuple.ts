/**
 * Tuples as keys: the encoding keeps the order of the tuples, element by element.
 *
 * T1. `compareBytes(encode(a), encode(b))` has the sign of comparing `a` and `b` element by element.
 * T2. `tupleRange(t)` holds the encodings of all longer tuples that begin with `t`, and no others.
 *
 * The format is that of FoundationDB's tuple layer for the types used here:
 * https://github.com/apple/foundationdb/blob/main/design/tuple.md
 */

/** Between types the order is: null, bytes, text (by UTF-8 bytes), integers, false, true. */
export type TupleElement = null | Uint8Array | string | number | boolean;
export type Tuple = readonly TupleElement[];

const nullCode = 0x00;
const bytesCode = 0x01;
const textCode = 0x02;
const zeroCode = 0x14;
const falseCode = 0x26;
const trueCode = 0x27;

/** Stands for a byte 0x00 inside a text or byte string, so that a bare 0x00 ends it. */
const escapeCode = 0xff;

/** Where a tuple is put together before its bytes are copied: encoding is on the path of every read and write. */
let scratch: Buffer = Buffer.alloc(4_096);

/**
 * Keys share arrays of 1 KB. One of its own costs 0.7 µs for each key over 64 bytes, as it is not on the engine's
 * heap; a share of Node's pool would let one key that is kept hold 8 KB.
 */
const slabBytes = 1_024;
let slab: ArrayBuffer = new ArrayBuffer(slabBytes);
let slabUsed = 0;

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * @throws {TypeError} A number is not a safe integer, or a text has a lone surrogate (two such texts
 * would share one UTF-8 form).
 */
export function encodeTuple(tuple: Tuple): Uint8Array {
  const length = writeTuple(tuple);
  return keyOf(length, length);
}

/** @throws {TypeError} The bytes are not those of a tuple. */
export function decodeTuple(bytes: Uint8Array): TupleElement[] {
  const tuple: TupleElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    const code = bytes[at++]!;
    if (code === textCode || code === bytesCode) {
      const end = endOfString(bytes, at);
      tuple.push(code === textCode ? readText(bytes, at, end) : unescape(bytes, at, end));
      at = end + 1;
    } else if (code === nullCode) tuple.push(null);
    else if (code === falseCode) tuple.push(false);
    else if (code === trueCode) tuple.push(true);
    else if (code >= zeroCode - 8 && code <= zeroCode + 8) {
      tuple.push(readInteger(bytes, at, code - zeroCode));
      at += Math.abs(code - zeroCode);
    } else throw new TypeError(`Unknown type code ${code} in a tuple`);
  }
  return tuple;
}

/** The keys of every tuple that begins with `tuple` and is longer: `[begin, end)`. */
export function tupleRange(tuple: Tuple): { readonly begin: Uint8Array; readonly end: Uint8Array } {
  const length = writeTuple(tuple);
  const begin = keyOf(length, length + 1);
  const end = keyOf(length, length + 1);
  begin[length] = 0x00;
  end[length] = 0xff;
  return { begin, end };
}

/** Writes the encoding at the start of `scratch` and returns its length. */
function writeTuple(tuple: Tuple): number {
  let size = 0;
  // A UTF-16 unit has up to three bytes in UTF-8, and a byte up to two when it is escaped.
  for (const element of tuple)
    size += typeof element === "string" ? element.length * 3 + 2 : element instanceof Uint8Array ? element.length * 2 + 2 : 9;
  if (scratch.length < size) scratch = Buffer.alloc(size * 2);
  let at = 0;
  for (const element of tuple) {
    if (typeof element === "string") at = writeText(at, element);
    else if (typeof element === "number") at = writeInteger(at, element);
    else if (element === null) scratch[at++] = nullCode;
    else if (typeof element === "boolean") scratch[at++] = element ? trueCode : falseCode;
    else {
      scratch[at++] = bytesCode;
      at = writeEscaped(at, element);
    }
  }
  return at;
}

/** A key of `size` bytes that begins with the first `length` of `scratch`. */
function keyOf(length: number, size: number): Uint8Array {
  let key: Uint8Array;
  if (size > slabBytes / 4) key = new Uint8Array(size);
  else {
    if (slabUsed + size > slabBytes) {
      slab = new ArrayBuffer(slabBytes);
      slabUsed = 0;
    }
    key = new Uint8Array(slab, slabUsed, size);
    slabUsed += size;
  }
  scratch.copy(key, 0, 0, length);
  return key;
}

function writeText(start: number, text: string): number {
  let at = start;
  scratch[at++] = textCode;
  // Nearly every text in a key is short ASCII, which a loop writes faster than a call into the engine.
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit === 0 || unit > 0x7f) return writeAnyText(start + 1, text);
    scratch[at++] = unit;
  }
  scratch[at++] = 0x00;
  return at;
}

function writeAnyText(at: number, text: string): number {
  if (!text.isWellFormed()) throw new TypeError(`A key cannot hold a lone surrogate: ${JSON.stringify(text.slice(0, 40))}`);
  if (text.includes("\0")) return writeEscaped(at, Buffer.from(text, "utf8"));
  const end = at + scratch.write(text, at, "utf8");
  scratch[end] = 0x00;
  return end + 1;
}

function writeEscaped(start: number, bytes: Uint8Array): number {
  let at = start;
  for (const byte of bytes) {
    scratch[at++] = byte;
    if (byte === 0x00) scratch[at++] = escapeCode;
  }
  scratch[at++] = 0x00;
  return at;
}

/** Where the 0x00 is that ends the text or byte string. */
function endOfString(bytes: Uint8Array, start: number): number {
  for (let at = start; at < bytes.length; at++) {
    if (bytes[at] !== 0x00) continue;
    if (bytes[at + 1] !== escapeCode) return at;
    at++;
  }
  throw new TypeError("The tuple ends inside a text or byte string");
}

function readText(bytes: Uint8Array, start: number, end: number): string {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === 0 || byte > 0x7f) return strictUtf8.decode(unescape(bytes, start, end));
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
}

function unescape(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const value = new Uint8Array(end - start);
  let length = 0;
  for (let at = start; at < end; at++) {
    value[length++] = bytes[at]!;
    if (bytes[at] === 0x00) at++;
  }
  return length === value.length ? value : value.slice(0, length);
}

function writeInteger(start: number, value: number): number {
  if (!Number.isSafeInteger(value)) throw new TypeError(`A key cannot hold the number ${value}: only safe integers`);
  const magnitude = Math.abs(value);
  let length = 0;
  for (let rest = magnitude; rest > 0; rest = Math.floor(rest / 256)) length++;
  scratch[start] = value < 0 ? zeroCode - length : zeroCode + length;
  // A negative integer is stored with its bits flipped, so that the larger magnitude sorts first.
  const flip = value < 0 ? 0xff : 0x00;
  let rest = magnitude;
  for (let at = start + length; at > start; at--) {
    scratch[at] = (rest % 256) ^ flip;
    rest = Math.floor(rest / 256);
  }
  return start + 1 + length;
}

/** `size`: the number of bytes, negative for a negative integer. */
function readInteger(bytes: Uint8Array, start: number, size: number): number {
  const end = start + Math.abs(size);
  if (end > bytes.length) throw new TypeError("The tuple ends inside an integer");
  const flip = size < 0 ? 0xff : 0x00;
  let magnitude = 0;
  for (let at = start; at < end; at++) magnitude = magnitude * 256 + (bytes[at]! ^ flip);
  if (!Number.isSafeInteger(magnitude)) throw new TypeError("An integer of the tuple is over 53 bits");
  return size < 0 ? -magnitude : magnitude;
}
