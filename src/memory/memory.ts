/**
 * What an agent knows: core memory (blocks), archival memory (passages) and the search over both it and messages.
 *
 * M1. A text over its limit is refused with the numbers; nothing is ever cut.
 * M2. A row and its index rows change in one batch.
 * M3. A change of a block is checked against the row it was made from, so no edit of a shared block is lost.
 * M4. A list that has to look at rows to filter them looks at no more than `scanRowsMax`, and says when it gave up.
 *
 * Lengths are in characters as Python counts them: Unicode code points.
 */

/** Letta V1's limit of a block that names none. */
export const blockLimitDefault = 100_000;
/** The longest value of a block, whatever its own limit says, so that a change fits one batch. */
export const blockCharactersMax = 1_000_000;
/** A label is part of index keys, which have 10,000 bytes. */
export const blockLabelBytesMax = 2_000;
export const passageCharactersMax = 100_000;
/** Passages in one call of `insertPassages`. */
export const passagesPerInsertMax = 100;
/** Distinct terms of all passages of one call, so that it fits one batch. */
export const termsPerInsertMax = 20_000;
export const tagsMax = 100;
export const tagBytesMax = 500;
export const archiveNameBytesMax = 1_000;
/** The core memory of an agent made by the library or the command line, in bytes of its blocks' values. */
export const coreBytesDefault: number = 32 * 1024;
/** Rows that one filtered list looks at. */
export const scanRowsMax = 10_000;
/** Entities on one page. */
export const pageLimitMax = 1_000;

/** What a caller, a person or a model, can act on: what was asked for cannot be done, and nothing was changed. */
export class MemoryError extends Error {
  override readonly name: string = "MemoryError";
}

/** A field of a block, passage or archive cannot be accepted. Says which, and what would be right. */
export class InvalidMemoryError extends MemoryError {
  override readonly name = "InvalidMemoryError";
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}

/** A block's value would be longer than its limit. Nothing was changed. */
export class BlockLimitError extends MemoryError {
  override readonly name = "BlockLimitError";
  readonly label: string;
  readonly limit: number;
  readonly length: number;

  constructor(label: string, limit: number, length: number) {
    super(
      `Edit failed: Exceeds ${limit} character limit (requested ${length}) of the memory block ${quote(label)}: shorten the value or raise the limit`,
    );
    this.label = label;
    this.limit = limit;
    this.length = length;
  }
}

/** All blocks of an agent together would be over its core memory's limit. Nothing was changed. */
export class CoreLimitError extends MemoryError {
  override readonly name = "CoreLimitError";
  readonly limit: number;
  readonly bytes: number;

  constructor(limit: number, bytes: number) {
    super(
      `Edit failed: the core memory of this agent holds ${limit} bytes, and its blocks would take ${bytes}: shorten a block, or move text to archival memory`,
    );
    this.limit = limit;
    this.bytes = bytes;
  }
}

/** An agent cannot have two blocks with one label. */
export class DuplicateBlockLabelError extends MemoryError {
  override readonly name = "DuplicateBlockLabelError";

  constructor(label: string) {
    super(`This agent already has a memory block with the label ${quote(label)}`);
  }
}

/** No block, passage or archive has this id. */
export class MemoryNotFoundError extends MemoryError {
  override readonly name = "MemoryNotFoundError";
  readonly kind: "block" | "passage" | "archive";

  constructor(kind: "block" | "passage" | "archive", id: string) {
    super(`${kind[0]!.toUpperCase()}${kind.slice(1)} not found with id=${quote(id)}`);
    this.kind = kind;
  }
}

/** An agent has one archive; it must be detached before another one is attached. */
export class ArchiveAttachedError extends MemoryError {
  override readonly name = "ArchiveAttachedError";
}

/** `after` or `before` names nothing that is in the list. */
export class UnknownCursorError extends MemoryError {
  override readonly name = "UnknownCursorError";

  constructor() {
    super("The cursor (after or before) names nothing in this list: use an id from an earlier page of the same list");
  }
}

/** A filtered list looked at `scanRowsMax` rows and found nothing (M4). */
export class ScanLimitError extends MemoryError {
  override readonly name = "ScanLimitError";

  constructor() {
    super(`Found no match among ${scanRowsMax} rows and stopped: narrow the list with a label, a tag or a cursor`);
  }
}

/** The length of a text as Python's `len` gives it. */
export function characterCount(text: string): number {
  let count = text.length;
  for (let index = 0; index + 1 < text.length; index++) {
    if (isHighSurrogate(text.charCodeAt(index)) && isLowSurrogate(text.charCodeAt(index + 1))) {
      count--;
      index++;
    }
  }
  return count;
}

/** @throws {InvalidMemoryError} The text holds what no store of Letta's could: NUL, or half a character. */
export function checkText(field: string, text: string): void {
  const nul = text.indexOf("\0");
  if (nul >= 0) throw new InvalidMemoryError(field, `${field} holds a NUL character at position ${nul}, which is not allowed`);
  if (!text.isWellFormed())
    throw new InvalidMemoryError(field, `${field} holds a lone surrogate (half of a character): send valid Unicode`);
}

/** @throws {InvalidMemoryError} A short text that becomes part of keys: not empty, and at most `bytesMax` bytes. */
export function checkName(field: string, text: string, bytesMax: number): void {
  checkText(field, text);
  if (text === "") throw new InvalidMemoryError(field, `${field} is empty: it needs at least one character`);
  const bytes = Buffer.byteLength(text);
  if (bytes > bytesMax) throw new InvalidMemoryError(field, `${field} has at most ${bytesMax} bytes, not ${bytes}: ${quote(text)}`);
}

/** The tags without repeats, in their order. @throws {InvalidMemoryError} */
export function checkTags(tags: readonly string[]): string[] {
  if (tags.length > tagsMax) throw new InvalidMemoryError("tags", `There are at most ${tagsMax} tags, not ${tags.length}`);
  for (const tag of tags) checkName("tags", tag, tagBytesMax);
  return [...new Set(tags)];
}

/** A value as it appears in an error: quoted, and short. */
export function quote(text: string): string {
  return JSON.stringify(text.length <= 80 ? text : `${text.slice(0, 77)}...`);
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
