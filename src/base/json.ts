/** A value that survives JSON unchanged. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/**
 * The bytes of a value in a row: UTF-8 JSON.
 *
 * Lone surrogates survive, as `JSON.stringify` escapes them; `undefined` properties are dropped.
 */
export function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value), "utf8");
}

/** Bytes that a row holds are not those that were written: the store was damaged or changed by hand. */
export class RowDamagedError extends Error {
  override readonly name = "RowDamagedError";
}

/**
 * The value of bytes made by `encodeJson`. The caller names the type it wrote.
 *
 * @throws {RowDamagedError}
 */
export function decodeJson<T>(bytes: Uint8Array): T {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new RowDamagedError(
      `The store is damaged: one of its rows, of ${bytes.length} bytes, is no JSON. Stop Kelpie, keep a copy of the store, and restore a backup`,
      { cause: error },
    );
  }
}
