/** Counters are rows of 8 bytes: a signed little-endian integer, as FoundationDB's atomic add has it. */

/** The value of a counter after adding to it: wraps at 64 bits. A value of another length counts as 0, as an absent one does. */
export function addToCounter(value: Uint8Array | undefined, amount: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt.asIntN(64, readCounter(value) + amount));
  return bytes;
}

export function readCounter(value: Uint8Array | undefined): bigint {
  if (value === undefined || value.length !== 8) return 0n;
  return Buffer.from(value.buffer, value.byteOffset, 8).readBigInt64LE();
}
