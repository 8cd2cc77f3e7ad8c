/**
 * Values over a row's limit: their bytes in chunk rows, and a small pointer to keep in a row of one's own.
 *
 * B1. A blob's rows are named by the SHA-256 of its bytes, so writing the same bytes again, also after a crash half
 *     way or by two writers at once, writes the same rows.
 * B2. The last chunk is written last. A pointer is handed out after that, so a pointer that was stored can be read.
 * B3. A read checks the bytes against the hash.
 *
 * A blob is never deleted by itself: another pointer may name the same bytes, and one may be on its way into a row
 * at this very moment, so a count of pointers would have to be in the batch of every row that holds one. Blobs go
 * with their project, whose rows are one range. What a crash between chunks and pointer leaves is taken up by the
 * next writer of the same bytes.
 */
import { createHash } from "node:crypto";
import { keyAfter } from "../base/bytes.ts";
import { encodeTuple, tupleRange } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import { type Key, LimitError, type Store, type Write } from "./store.ts";
import { commitUntilKnown } from "./transaction.ts";

/** What stands for the bytes in a row. */
export interface BlobPointer {
  /** 64 hexadecimal digits. */
  readonly sha256: string;
  readonly bytes: number;
}

/** The most bytes of one blob. */
export const blobBytesMax: number = 64 * 1024 * 1024;

const chunkBytes = 96_000;
/** Chunks of one batch or read: about 5 MB, well under a batch's limit, so that none stops the thread for long. */
const chunksAtOnce = 50;

/** A blob's rows are missing, or are not the bytes that its pointer names: the store was damaged or changed by hand. */
export class BlobDamagedError extends Error {
  override readonly name = "BlobDamagedError";
}

/**
 * Writes `bytes` and returns the pointer, which the caller then stores. May run twice.
 *
 * @throws {LimitError} More than `blobBytesMax`; nothing was written.
 */
export async function writeBlob(store: Store, environment: Environment, project: string, bytes: Uint8Array): Promise<BlobPointer> {
  if (bytes.length > blobBytesMax) throw new LimitError(`A blob has at most ${blobBytesMax} bytes, not ${bytes.length}`);
  const pointer: BlobPointer = { sha256: sha256Of(bytes), bytes: bytes.length };
  const count = chunkCount(pointer);
  // The last chunk is there only if all are (B2).
  if (count === 0 || (await exists(store, chunkKey(project, pointer, count - 1)))) return pointer;
  for (let first = 0; first < count; first += chunksAtOnce) {
    const writes: Write[] = [];
    for (let index = first; index < Math.min(first + chunksAtOnce, count); index++) {
      const value = bytes.slice(index * chunkBytes, (index + 1) * chunkBytes);
      writes.push({ kind: "set", key: chunkKey(project, pointer, index), value });
    }
    await commitUntilKnown(store, environment, { id: environment.random.uuid(), checks: [], writes });
  }
  return pointer;
}

/** @throws {BlobDamagedError} */
export async function readBlob(store: Store, project: string, pointer: BlobPointer): Promise<Uint8Array> {
  // A pointer is a value from a row: one that no `writeBlob` made must not ask for any amount of memory.
  if (!(pointer.bytes >= 0 && pointer.bytes <= blobBytesMax)) throw damaged(pointer, `its pointer says ${pointer.bytes} bytes`);
  const bytes = new Uint8Array(pointer.bytes);
  const { begin, end } = tupleRange([project, "blob", pointer.sha256]);
  let at = 0;
  let from: Key | undefined = chunkCount(pointer) === 0 ? undefined : begin;
  while (from !== undefined) {
    const [answer] = await store.read([{ begin: from, end, limit: chunksAtOnce }]);
    for (const { value } of answer!) {
      if (at + value.length > bytes.length) throw damaged(pointer, "its rows hold more bytes");
      bytes.set(value, at);
      at += value.length;
    }
    from = answer!.length < chunksAtOnce ? undefined : keyAfter(answer!.at(-1)!.key);
  }
  if (at < bytes.length) throw damaged(pointer, `its rows hold ${at} bytes`);
  if (sha256Of(bytes) !== pointer.sha256) throw damaged(pointer, "its rows hold other bytes");
  return bytes;
}

function damaged(pointer: BlobPointer, problem: string): BlobDamagedError {
  return new BlobDamagedError(`The blob ${pointer.sha256} of ${pointer.bytes} bytes cannot be read: ${problem}`);
}

function chunkCount(pointer: BlobPointer): number {
  return Math.ceil(pointer.bytes / chunkBytes);
}

function chunkKey(project: string, pointer: BlobPointer, index: number): Key {
  return encodeTuple([project, "blob", pointer.sha256, index]);
}

async function exists(store: Store, key: Key): Promise<boolean> {
  const [answer] = await store.read([{ key }]);
  return answer!.length > 0;
}

function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
