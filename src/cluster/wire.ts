/**
 * The bytes of values between nodes: MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md), strictly.
 *
 * W1. What arrives is what was sent: null, undefined, booleans, numbers, bigints of 64 bits, texts, `Uint8Array`, arrays
 *     and plain objects. What would arrive as something else (a Map, a Date, a function) is refused where it is sent.
 * W2. Reading takes memory in proportion to the bytes, runs nothing that they name, and sets no prototype.
 * W3. Bytes that are not exactly one value are refused, never repaired.
 *
 * Its own reader and writer, not a package: a checked pass over the bytes is a reader already, and msgpackr 2.1.4 drops
 * a byte order mark, replaces lone surrogates and sends a Map as an object.
 */
import { isUtf8 } from "node:buffer";

/** Values inside one another. */
export const wireDepthMax = 100;

/** Values in one body: an empty object is one byte on the wire and fifty in memory. */
export const wireValuesMax = 1_000_000;

/** The value cannot travel. */
export class WireEncodeError extends TypeError {
  override readonly name = "WireEncodeError";
}

/** The bytes are not those of a value. */
export class WireDecodeError extends Error {
  override readonly name = "WireDecodeError";
}

/** Extension types of Kelpie's own. */
const undefinedExtension = 0;
const utf16Extension = 1;

/** Where a value is put together before its bytes are copied. Grown for a large one, and then let go again. */
const scratchBytes = 65_536;
let scratch: Buffer = Buffer.allocUnsafeSlow(scratchBytes);
let at = 0;
let values = 0;

/** @throws {WireEncodeError} Something in `value` cannot travel, or it takes more than `bytesMax`. */
export function encodeWire(value: unknown, bytesMax: number): Buffer {
  at = 0;
  values = 0;
  try {
    write(value, wireDepthMax, bytesMax);
    if (at > bytesMax) throw tooLarge(bytesMax);
    const bytes = Buffer.allocUnsafe(at);
    scratch.copy(bytes, 0, 0, at);
    return bytes;
  } finally {
    if (scratch.length > scratchBytes) scratch = Buffer.allocUnsafeSlow(scratchBytes);
  }
}

function write(value: unknown, depth: number, bytesMax: number): void {
  if (++values > wireValuesMax) throw new WireEncodeError(`A message has more than ${wireValuesMax} values: send it as bytes, or in parts`);
  reserve(16, bytesMax);
  switch (typeof value) {
    case "string":
      return writeText(value, bytesMax);
    case "number":
      return writeNumber(value);
    case "boolean":
      scratch[at++] = value ? 0xc3 : 0xc2;
      return;
    case "undefined":
      scratch[at++] = 0xd4;
      scratch[at++] = undefinedExtension;
      scratch[at++] = 0;
      return;
    case "bigint":
      return writeBigint(value);
    case "object":
      if (value === null) scratch[at++] = 0xc0;
      else if (depth === 0) throw new WireEncodeError(`A message is more than ${wireDepthMax} levels deep, or holds itself`);
      else if (Array.isArray(value)) {
        writeHead(value.length, { small: 0x90, smallMax: 15, wide: 0xdc });
        for (let index = 0; index < value.length; index++) write(value[index], depth - 1, bytesMax);
      } else if (value instanceof Uint8Array) writeBytes(value, bytesMax);
      else writeObject(value as { readonly [key: string]: unknown }, depth, bytesMax);
      return;
    default:
      throw new WireEncodeError(`A ${typeof value} cannot be sent to another node`);
  }
}

function writeObject(value: { readonly [key: string]: unknown }, depth: number, bytesMax: number): void {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    throw new WireEncodeError(`A ${value.constructor?.name ?? "class instance"} cannot be sent to another node: only plain objects can`);
  const keys = Object.keys(value);
  writeHead(keys.length, { small: 0x80, smallMax: 15, wide: 0xde });
  for (const key of keys) {
    if (key === "__proto__") throw new WireEncodeError("An object with the key __proto__ cannot be sent to another node");
    reserve(16, bytesMax);
    writeText(key, bytesMax);
    write(value[key], depth - 1, bytesMax);
  }
}

function writeText(text: string, bytesMax: number): void {
  const { length } = text;
  // A UTF-16 unit has up to three bytes in UTF-8.
  reserve(length * 3 + 16, bytesMax, length);
  if (length < 32 && writeShortAscii(text)) return;
  if (!text.isWellFormed()) {
    scratch[at++] = 0xc9;
    at = scratch.writeUInt32BE(length * 2, at);
    scratch[at++] = utf16Extension;
    at += scratch.write(text, at, "utf16le");
    return;
  }
  // The room for the length is chosen before the length is known, so it may be a byte or two more than needed.
  const head = length * 3 < 0x100 ? 2 : length * 3 < 0x10000 ? 3 : 5;
  const written = scratch.write(text, at + head, "utf8");
  if (head === 2) {
    scratch[at] = 0xd9;
    scratch[at + 1] = written;
  } else if (head === 3) {
    scratch[at] = 0xda;
    scratch.writeUInt16BE(written, at + 1);
  } else {
    scratch[at] = 0xdb;
    scratch.writeUInt32BE(written, at + 1);
  }
  at += head + written;
}

/** Nearly every key, and many a value, is short ASCII, which a loop writes faster than a call into the engine. */
function writeShortAscii(text: string): boolean {
  const { length } = text;
  for (let index = 0; index < length; index++) {
    const unit = text.charCodeAt(index);
    if (unit > 0x7f) return false;
    scratch[at + 1 + index] = unit;
  }
  scratch[at] = 0xa0 + length;
  at += length + 1;
  return true;
}

function writeNumber(value: number): void {
  if (Number.isInteger(value) && value >= -0x80000000 && value <= 0xffffffff && !Object.is(value, -0)) {
    if (value >= 0) {
      if (value < 0x80) scratch[at++] = value;
      else if (value < 0x100) {
        scratch[at++] = 0xcc;
        scratch[at++] = value;
      } else if (value < 0x10000) {
        scratch[at++] = 0xcd;
        at = scratch.writeUInt16BE(value, at);
      } else {
        scratch[at++] = 0xce;
        at = scratch.writeUInt32BE(value, at);
      }
    } else if (value >= -0x20) scratch[at++] = 0x100 + value;
    else {
      scratch[at++] = 0xd2;
      at = scratch.writeInt32BE(value, at);
    }
    return;
  }
  scratch[at++] = 0xcb;
  at = scratch.writeDoubleBE(value, at);
}

function writeBigint(value: bigint): void {
  if (BigInt.asIntN(64, value) === value) {
    scratch[at++] = 0xd3;
    at = scratch.writeBigInt64BE(value, at);
  } else if (BigInt.asUintN(64, value) === value) {
    scratch[at++] = 0xcf;
    at = scratch.writeBigUInt64BE(value, at);
  } else throw new WireEncodeError("A bigint of more than 64 bits cannot be sent to another node");
}

function writeBytes(bytes: Uint8Array, bytesMax: number): void {
  reserve(bytes.length + 8, bytesMax, bytes.length);
  scratch[at++] = 0xc6;
  at = scratch.writeUInt32BE(bytes.length, at);
  scratch.set(bytes, at);
  at += bytes.length;
}

function writeHead(count: number, code: { readonly small: number; readonly smallMax: number; readonly wide: number }): void {
  if (count <= code.smallMax) scratch[at++] = code.small + count;
  else if (count < 0x10000) {
    scratch[at++] = code.wide;
    at = scratch.writeUInt16BE(count, at);
  } else {
    scratch[at++] = code.wide + 1;
    at = scratch.writeUInt32BE(count, at);
  }
}

/** Makes room for `count` more bytes, of which at least `certain` will be used. */
function reserve(count: number, bytesMax: number, certain = 0): void {
  if (at + certain > bytesMax) throw tooLarge(bytesMax);
  if (at + count <= scratch.length) return;
  const larger = Buffer.allocUnsafeSlow(Math.max(scratch.length * 2, at + count));
  scratch.copy(larger, 0, 0, at);
  scratch = larger;
}

function tooLarge(bytesMax: number): WireEncodeError {
  return new WireEncodeError(`A message takes more than ${bytesMax} bytes: send it as a stream of parts`);
}

const nothing: Buffer = Buffer.alloc(0);
let source: Buffer = nothing;

/** The value that `encodeWire` made the bytes of. Nothing in it refers to `bytes`. @throws {WireDecodeError} */
export function decodeWire(bytes: Buffer): unknown {
  source = bytes;
  at = 0;
  values = 0;
  try {
    const value = read(wireDepthMax);
    if (at !== bytes.length) throw new WireDecodeError(`${bytes.length - at} bytes follow the value`);
    return value;
  } finally {
    source = nothing;
  }
}

function read(depth: number): unknown {
  if (++values > wireValuesMax) throw new WireDecodeError(`More than ${wireValuesMax} values`);
  const code = source[take(1)]!;
  if (code < 0x80) return code;
  if (code >= 0xe0) return code - 0x100;
  if (code < 0x90) return readObject(code - 0x80, depth);
  if (code < 0xa0) return readArray(code - 0x90, depth);
  if (code < 0xc0) return readText(code - 0xa0);
  switch (code) {
    case 0xc0:
      return null;
    case 0xc2:
      return false;
    case 0xc3:
      return true;
    case 0xc4:
      return readBytes(readUint(1));
    case 0xc5:
      return readBytes(readUint(2));
    case 0xc6:
      return readBytes(readUint(4));
    case 0xc9:
      return readUtf16(readUint(4));
    case 0xca:
      return source.readFloatBE(take(4));
    case 0xcb:
      return source.readDoubleBE(take(8));
    case 0xcc:
      return readUint(1);
    case 0xcd:
      return readUint(2);
    case 0xce:
      return readUint(4);
    case 0xcf:
      return source.readBigUInt64BE(take(8));
    case 0xd0:
      return source.readInt8(take(1));
    case 0xd1:
      return source.readInt16BE(take(2));
    case 0xd2:
      return source.readInt32BE(take(4));
    case 0xd3:
      return source.readBigInt64BE(take(8));
    case 0xd4:
      if (readUint(1) !== undefinedExtension || readUint(1) !== 0) throw new WireDecodeError("Unknown extension");
      return undefined;
    case 0xd9:
      return readText(readUint(1));
    case 0xda:
      return readText(readUint(2));
    case 0xdb:
      return readText(readUint(4));
    case 0xdc:
      return readArray(readUint(2), depth);
    case 0xdd:
      return readArray(readUint(4), depth);
    case 0xde:
      return readObject(readUint(2), depth);
    case 0xdf:
      return readObject(readUint(4), depth);
    default:
      throw new WireDecodeError(`Unknown code 0x${code.toString(16)}`);
  }
}

/** Where the next `count` bytes begin. */
function take(count: number): number {
  const begin = at;
  if (count > source.length - begin) throw new WireDecodeError(`The value ends too early: ${count} more bytes are missing`);
  at = begin + count;
  return begin;
}

function readUint(count: 1 | 2 | 4): number {
  const begin = take(count);
  return count === 1 ? source[begin]! : count === 2 ? source.readUInt16BE(begin) : source.readUInt32BE(begin);
}

function readArray(count: number, depth: number): unknown[] {
  checkContainer(count, depth);
  const array: unknown[] = [];
  for (let index = 0; index < count; index++) array.push(read(depth - 1));
  return array;
}

function readObject(count: number, depth: number): unknown {
  checkContainer(count, depth);
  const object: { [key: string]: unknown } = {};
  for (let index = 0; index < count; index++) {
    const key = readKey();
    object[key] = read(depth - 1);
  }
  return object;
}

function checkContainer(count: number, depth: number): void {
  // Each element has a byte at least, so what is announced cannot be more than what is there.
  if (count > source.length - at) throw new WireDecodeError(`${count} elements are announced and ${source.length - at} bytes are left`);
  if (depth === 0) throw new WireDecodeError(`More than ${wireDepthMax} levels`);
}

function readKey(): string {
  const key = read(0);
  if (typeof key !== "string") throw new WireDecodeError("A key of an object is not a text");
  if (key === "__proto__") throw new WireDecodeError("An object has the key __proto__");
  return key;
}

function readBytes(count: number): Uint8Array {
  const begin = take(count);
  return Uint8Array.prototype.slice.call(new Uint8Array(source.buffer, source.byteOffset + begin, count));
}

function readText(count: number): string {
  const begin = take(count);
  if (count < 24) {
    let text = "";
    for (let index = begin; index < at; index++) {
      const byte = source[index]!;
      if (byte > 0x7f) return readAnyText(begin);
      text += String.fromCharCode(byte);
    }
    return text;
  }
  return readAnyText(begin);
}

/** The text from `begin` to `at`. */
function readAnyText(begin: number): string {
  if (!isUtf8(source.subarray(begin, at))) throw new WireDecodeError("A text is not UTF-8");
  return source.toString("utf8", begin, at);
}

function readUtf16(count: number): string {
  if (readUint(1) !== utf16Extension || count % 2 !== 0) throw new WireDecodeError("Unknown extension");
  const begin = take(count);
  return source.toString("utf16le", begin, at);
}
