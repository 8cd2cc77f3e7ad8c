/** Arrays as PostgreSQL's binary protocol has them: half the bytes of the text form, and nothing to escape. */

/** Oids of element types (`pg_type.dat`), which never change. */
const byteaOid = 17;
const int8Oid = 20;

export function encodeByteaArray(elements: readonly Uint8Array[]): Buffer {
  let size = headerBytes;
  for (const element of elements) size += 4 + element.length;
  const bytes = Buffer.allocUnsafe(size);
  let at = writeHeader(bytes, byteaOid, elements.length);
  for (const element of elements) {
    at = bytes.writeInt32BE(element.length, at);
    bytes.set(element, at);
    at += element.length;
  }
  return bytes.subarray(0, at);
}

/** Each a safe integer or a bigint of 64 bits. */
export function encodeBigintArray(elements: readonly (number | bigint)[]): Buffer {
  const bytes = Buffer.allocUnsafe(headerBytes + elements.length * 12);
  let at = writeHeader(bytes, int8Oid, elements.length);
  for (const element of elements) {
    at = bytes.writeInt32BE(8, at);
    if (typeof element === "bigint") at = bytes.writeBigInt64BE(element, at);
    else {
      at = bytes.writeInt32BE(Math.floor(element / 2 ** 32), at);
      at = bytes.writeUInt32BE(element >>> 0, at);
    }
  }
  return bytes.subarray(0, at);
}

const headerBytes = 20;

/** One dimension from 1 on, without nulls; an empty array has no dimension. Returns where the elements begin. */
function writeHeader(bytes: Buffer, oid: number, length: number): number {
  let at = bytes.writeInt32BE(length === 0 ? 0 : 1, 0);
  at = bytes.writeInt32BE(0, at);
  at = bytes.writeInt32BE(oid, at);
  if (length === 0) return at;
  at = bytes.writeInt32BE(length, at);
  return bytes.writeInt32BE(1, at);
}

/** The text form of `bigint[]`, which the driver gives for results. */
export function decodeBigintArray(text: string): number[] {
  return text === "{}" ? [] : text.slice(1, -1).split(",").map(Number);
}
