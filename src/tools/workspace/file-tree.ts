/**
 * A folder of files as rows of the store: an agent's workspace, the files of a skill.
 *
 * F1. A change of any number of files is part of one transaction: all of it, or none.
 * F2. Which files there are is one value, the listing; whoever changes a file writes the listing, so of two changes that
 *     were made from the same one only the first commits.
 * F3. Contents are rows under an id of their own and never change. They may be written before the listing that names them.
 *
 * Rows under the root: `("listing", i)` the listing's JSON in pieces; `("content", id, i)` contents in base64.
 */
import { decodeJson, encodeJson } from "../../base/json.ts";
import { encodeTuple, tupleRange, type Tuple } from "../../base/tuple.ts";
import type { Environment } from "../../environment/environment.ts";
import type { Store, Write } from "../../storage/store.ts";
import { commitUntilKnown, type Transaction } from "../../storage/transaction.ts";

export interface TreeLimits {
  readonly files: number;
  readonly fileBytes: number;
  /** Of all files together. */
  readonly totalBytes: number;
}

export const pathBytesMax = 256;

export interface StoredFile {
  readonly content: string;
  readonly bytes: number;
}

/** In the order of the paths. */
export type Listing = ReadonlyMap<string, StoredFile>;

/** New contents by path; undefined: the file goes. */
export type Changes = ReadonlyMap<string, StoredFile | undefined>;

/** What was asked of a folder of files cannot be. Nothing was changed. */
export class FileTreeError extends Error {
  override readonly name = "FileTreeError";
}

interface Piece {
  readonly pieces: number;
  readonly text: string;
}

const pieceCharacters = 24_000;
/** In base64 96,000 characters, under what a row takes. */
const chunkBytes = 72_000;
const chunksAtOnce = 40;

export class FileTree {
  readonly #root: Tuple;
  readonly #limits: TreeLimits;

  constructor(root: Tuple, limits: TreeLimits) {
    this.#root = root;
    this.#limits = limits;
  }

  /** As of the last commit. */
  async read(store: Store): Promise<Listing> {
    const [answer] = await store.read([{ ...tupleRange([...this.#root, "listing"]), limit: store.limits.rangeEntries }]);
    return parse(answer!.map(({ value }) => decodeJson<Piece>(value).text));
  }

  async get(transaction: Transaction): Promise<Listing> {
    const first = await transaction.get<Piece>(this.#pieceKey(0));
    const texts = first === undefined ? [] : [first.text];
    for (let index = 1; index < (first?.pieces ?? 0); index++) texts.push((await transaction.get<Piece>(this.#pieceKey(index)))!.text);
    return parse(texts);
  }

  async readContent(store: Store, file: StoredFile): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (let index = 0; index < chunkCount(file.bytes); index += chunksAtOnce) {
      const count = Math.min(chunksAtOnce, chunkCount(file.bytes) - index);
      const keys = Array.from({ length: count }, (_, at) => ({ key: encodeTuple(this.#contentKey(file.content, index + at)) }));
      for (const [entry] of await store.read(keys)) chunks.push(Buffer.from(decodeJson<string>(wholeRow(entry).value), "base64"));
    }
    return Buffer.concat(chunks);
  }

  /** The same inside a transaction, which sees what it wrote itself. */
  async getContent(transaction: Transaction, file: StoredFile): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (let index = 0; index < chunkCount(file.bytes); index++)
      chunks.push(Buffer.from(wholeRow(await transaction.get<string>(this.#contentKey(file.content, index))), "base64"));
    return Buffer.concat(chunks);
  }

  /** New contents as a part of the transaction. For what fits a batch beside everything else. */
  setContent(transaction: Transaction, environment: Environment, bytes: Uint8Array): StoredFile {
    const file = { content: environment.random.uuid(), bytes: bytes.length };
    for (const [index, chunk] of chunksOf(bytes).entries()) transaction.set(this.#contentKey(file.content, index), chunk);
    return file;
  }

  /** New contents of any number of files, in batches of their own: of use once a listing names them (F3). */
  async writeContents(store: Store, environment: Environment, contents: ReadonlyMap<string, Uint8Array>): Promise<Map<string, StoredFile>> {
    const files = new Map<string, StoredFile>();
    let writes: Write[] = [];
    const commit = async (): Promise<void> => {
      if (writes.length > 0) await commitUntilKnown(store, environment, { id: environment.random.uuid(), checks: [], writes });
      writes = [];
    };
    for (const [path, bytes] of contents) {
      const file = { content: environment.random.uuid(), bytes: bytes.length };
      files.set(path, file);
      for (const [index, chunk] of chunksOf(bytes).entries()) {
        writes.push({ kind: "set", key: encodeTuple(this.#contentKey(file.content, index)), value: encodeJson(chunk) });
        if (writes.length === chunksAtOnce) await commit();
      }
    }
    await commit();
    return files;
  }

  /** Takes contents away that no listing names. */
  async discard(store: Store, environment: Environment, files: Iterable<StoredFile>): Promise<void> {
    const writes = [...files].map(({ content }): Write => ({ kind: "deleteRange", ...tupleRange([...this.#root, "content", content]) }));
    if (writes.length > 0) await commitUntilKnown(store, environment, { id: environment.random.uuid(), checks: [], writes });
  }

  /** What `change` would make of `before`; nothing is written. @throws {FileTreeError} */
  check(before: Listing, changes: Changes): Listing {
    const changed = new Map(before);
    for (const [path, file] of changes) {
      if (file === undefined) changed.delete(path);
      else changed.set(path, file);
    }
    checkListing(changed, this.#limits);
    return new Map([...changed].sort(([left], [right]) => (left < right ? -1 : 1)));
  }

  /** Changes `before`, which this transaction has got. @throws {FileTreeError} Nothing was written. */
  change(transaction: Transaction, before: Listing, changes: Changes): void {
    const after = this.check(before, changes);
    for (const path of changes.keys()) {
      const old = before.get(path);
      if (old !== undefined) transaction.deleteAll([...this.#root, "content", old.content]);
    }
    const text = JSON.stringify([...after].map(([path, { content, bytes }]) => [path, content, bytes]));
    const pieces = after.size === 0 ? 0 : Math.ceil(text.length / pieceCharacters);
    transaction.deleteAll([...this.#root, "listing"]);
    for (let index = 0; index < pieces; index++) {
      const piece: Piece = { pieces, text: text.slice(index * pieceCharacters, (index + 1) * pieceCharacters) };
      transaction.set(this.#pieceKey(index), piece);
    }
  }

  #pieceKey(index: number): Tuple {
    return [...this.#root, "listing", index];
  }

  #contentKey(content: string, index: number): Tuple {
    return [...this.#root, "content", content, index];
  }
}

/**
 * The path as a tree has it: parts between single slashes, from the root. Names differ if a byte of them does.
 *
 * @throws {FileTreeError} It leads elsewhere, or is no name that every system takes.
 */
export function checkPath(given: string): string {
  const refuse = (why: string): never => {
    throw new FileTreeError(`${JSON.stringify(given.slice(0, 100))} is no path of a file: ${why}`);
  };
  if (given.startsWith("/")) refuse("write it from the root of the files on, without a slash at the begin");
  // What is shown for bytes that are no UTF-8 names no file.
  if (/[\p{Cc}\ufffd]/u.test(given) || !given.isWellFormed()) refuse("it has characters that cannot be in a name");
  const parts = given.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length === 0) refuse("it names the root");
  if (parts.includes("..")) refuse("it leads out by ..");
  const path = parts.join("/");
  if (Buffer.byteLength(path) > pathBytesMax) refuse(`it has ${Buffer.byteLength(path)} bytes, and at most ${pathBytesMax} may be`);
  return path;
}

/** @throws {FileTreeError} */
export function checkListing(files: ReadonlyMap<string, { readonly bytes: number }>, limits: TreeLimits): void {
  if (files.size > limits.files) throw new FileTreeError(`There would be ${files.size} files, and at most ${limits.files} may be`);
  let total = 0;
  for (const [path, { bytes }] of files) {
    total += bytes;
    if (bytes > limits.fileBytes) throw new FileTreeError(`${path} has ${bytes} bytes, and a file may have ${limits.fileBytes}`);
    for (let at = path.indexOf("/"); at !== -1; at = path.indexOf("/", at + 1))
      if (files.has(path.slice(0, at))) throw new FileTreeError(`${path} cannot be: ${path.slice(0, at)} is a file, no folder`);
  }
  if (total > limits.totalBytes) throw new FileTreeError(`All files would have ${total} bytes, and at most ${limits.totalBytes} may be`);
}

function parse(texts: readonly string[]): Listing {
  if (texts.length === 0) return new Map();
  const rows = JSON.parse(texts.join("")) as readonly (readonly [string, string, number])[];
  return new Map(rows.map(([path, content, bytes]) => [path, { content, bytes }]));
}

function chunkCount(bytes: number): number {
  return Math.ceil(bytes / chunkBytes);
}

function chunksOf(bytes: Uint8Array): string[] {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: chunkCount(all.length) }, (_, index) =>
    all.subarray(index * chunkBytes, (index + 1) * chunkBytes).toString("base64"),
  );
}

function wholeRow<T>(row: T | undefined): T {
  // A reader that is overtaken by a change: the file that it wants is gone.
  if (row === undefined) throw new FileTreeError("A file was changed while it was read: read it again");
  return row;
}
