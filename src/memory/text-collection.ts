/**
 * A collection of entities with one text that may be too long for a row.
 *
 * T1. A text that does not fit beside its entity is in rows of its own, under a revision that is never used again,
 *     written and deleted in the batch that changes the entity. A reader that finds a piece missing has read an
 *     entity that has changed since, and reads it again.
 *
 * Not blobs: those are written in batches before the one with their pointer and stay for ever, while a tool that edits
 * a block has only its own transaction, and a block is edited often.
 *
 * Rows: those of `Collection`, and `(project, kind + ".text", id, revision, n)`.
 */
import { decodeJson } from "../base/json.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import { Collection, fitsOneRow, type Indexes, type Page } from "../storage/collection.ts";
import type { Store } from "../storage/store.ts";
import { ConflictError, type Transaction } from "../storage/transaction.ts";
import { InvalidMemoryError } from "./memory.ts";

/** UTF-16 units in a piece: JSON needs at most six bytes for one, and a value has 100,000. */
const pieceLength = 15_000;
const readAttempts = 8;

interface LongText {
  readonly revision: string;
  readonly pieces: number;
}

type Row<T> = T & { readonly long_text?: LongText };

export class TextCollection<Field extends string, T extends { readonly id: string } & { readonly [field in Field]: string }> {
  readonly #rows: Collection<Row<T>>;
  readonly #field: Field;

  /** `indexes` must not look at `field`. */
  constructor(kind: string, field: Field, indexes: Indexes<T>) {
    this.#rows = new Collection<Row<T>>(kind, indexes);
    this.#field = field;
  }

  /** The entity, checked when the transaction commits. */
  async get(transaction: Transaction, project: string, id: string): Promise<T | undefined> {
    const row = await this.#rows.get(transaction, project, id);
    if (row?.long_text === undefined) return row;
    const pieces = await Promise.all(this.#pieceKeys(project, id, row.long_text).map((key) => transaction.get<string>(key)));
    // The pieces may be newer than the row; then the check of the row fails and the transaction runs again.
    return this.#withText(row, pieces.join(""));
  }

  insert(transaction: Transaction, environment: Environment, project: string, entity: T): void {
    this.#rows.insert(transaction, project, this.#toRow(transaction, environment, project, entity));
  }

  /** Replaces the entity with this id, which the transaction has read. */
  async replace(transaction: Transaction, environment: Environment, project: string, entity: T): Promise<void> {
    const before = await this.#rows.get(transaction, project, entity.id);
    if (before === undefined) return;
    // First what can be refused: a caller that goes on after an error has written nothing.
    const row = this.#toRow(transaction, environment, project, entity);
    this.#deletePieces(transaction, project, before);
    this.#rows.replace(transaction, project, before, row);
  }

  /** Deletes the entity with this id, which the transaction has read. */
  async delete(transaction: Transaction, project: string, id: string): Promise<void> {
    const before = await this.#rows.get(transaction, project, id);
    if (before === undefined) return;
    this.#deletePieces(transaction, project, before);
    this.#rows.delete(transaction, project, before);
  }

  /** The entities with these ids, in this order; `undefined` for those that do not exist. */
  async read(store: Store, project: string, ids: readonly string[]): Promise<(T | undefined)[]> {
    const rows = await this.#rows.read(store, project, ids);
    return await Promise.all(rows.map(async (row) => (row === undefined ? undefined : await this.#complete(store, project, row))));
  }

  /** As `Collection.page`. */
  async page(store: Store, project: string, index: string, prefix: Tuple, page: Page): Promise<T[] | undefined> {
    const rows = await this.#rows.page(store, project, index, prefix, page);
    if (rows === undefined) return undefined;
    const entities = await Promise.all(rows.map((row) => this.#complete(store, project, row)));
    return entities.filter((entity) => entity !== undefined);
  }

  async count(store: Store, project: string, index: string, prefix: Tuple, most: number): Promise<number> {
    return await this.#rows.count(store, project, index, prefix, most);
  }

  async #complete(store: Store, project: string, row: Row<T>): Promise<T | undefined> {
    let current: Row<T> | undefined = row;
    for (let attempt = 0; attempt < readAttempts; attempt++) {
      if (current?.long_text === undefined) return current;
      const keys = this.#pieceKeys(project, row.id, current.long_text);
      const answers = await store.read(keys.map((key) => ({ key: encodeTuple(key) })));
      if (answers.every((answer) => answer.length === 1))
        return this.#withText(current, answers.map((answer) => decodeJson<string>(answer[0]!.value)).join(""));
      [current] = await this.#rows.read(store, project, [row.id]);
    }
    throw new ConflictError(`The ${this.#field} of ${row.id} kept changing while it was read: gave up after ${readAttempts} attempts`);
  }

  #toRow(transaction: Transaction, environment: Environment, project: string, entity: T): Row<T> {
    if (fitsOneRow(entity)) return entity;
    const text: string = entity[this.#field];
    const long_text = { revision: environment.random.uuid(), pieces: Math.ceil(text.length / pieceLength) };
    const row: Row<T> = { ...entity, [this.#field]: "", long_text };
    if (!fitsOneRow(row))
      throw new InvalidMemoryError(
        "metadata",
        `The fields of ${entity.id} other than its ${this.#field} are too large together: shorten the description or the metadata`,
      );
    this.#pieceKeys(project, entity.id, long_text).forEach((key, index) =>
      transaction.set(key, text.slice(index * pieceLength, (index + 1) * pieceLength)),
    );
    return row;
  }

  #withText(row: Row<T>, text: string): T {
    const { long_text: _, ...entity } = row;
    // The type system does not see that only the extra field is gone and the text is a text again.
    return { ...entity, [this.#field]: text } as unknown as T;
  }

  #pieceKeys(project: string, id: string, text: LongText): Tuple[] {
    return Array.from({ length: text.pieces }, (_, index) => [project, `${this.#rows.kind}.text`, id, text.revision, index]);
  }

  #deletePieces(transaction: Transaction, project: string, row: Row<T>): void {
    if (row.long_text !== undefined) transaction.deleteAll([project, `${this.#rows.kind}.text`, row.id, row.long_text.revision]);
  }
}
