/**
 * A kind of entity: rows by id, and rows of indexes that name them in other orders.
 *
 * C1. An entity and its index rows change in one batch.
 * C2. An index is read by range and cursor; nothing is ever found by reading everything.
 *
 * Rows: `(project, kind, id)` holds the entity; `(project, kind + "." + index, ...value, id)` holds its id.
 */
import { bytesToMapKey, keyAfter } from "../base/bytes.ts";
import { decodeJson, encodeJson } from "../base/json.ts";
import { encodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import type { Query, Store } from "./store.ts";
import type { Transaction } from "./transaction.ts";

/** For an entity, the index rows it has under each index: none, one or several tuples. */
export type Indexes<T> = { readonly [index: string]: (entity: T) => readonly Tuple[] };

export interface Page {
  /** 1 to 1,000. */
  readonly limit: number;
  readonly reverse?: boolean;
  /** Starts after this entity in the order asked for: an id from an earlier page. */
  readonly after?: string;
  /** Ends before this entity in the order asked for. */
  readonly before?: string;
  /**
   * The entity of a cursor as an earlier page showed it, for one that was deleted since, or changed so that it is not
   * under the prefix any more: whoever deletes what a list shows, page by page, can go on.
   */
  readonly shownBefore?: (id: string) => unknown;
}

export class Collection<T extends { readonly id: string }> {
  readonly kind: string;
  readonly #indexes: Indexes<T>;

  constructor(kind: string, indexes: Indexes<T>) {
    this.kind = kind;
    this.#indexes = indexes;
  }

  key(project: string, id: string): Tuple {
    return [project, this.kind, id];
  }

  async get(transaction: Transaction, project: string, id: string): Promise<T | undefined> {
    return await transaction.get<T>(this.key(project, id));
  }

  /** Writes a new entity; the transaction fails if one with this id exists at commit. */
  insert(transaction: Transaction, project: string, entity: T): void {
    transaction.check(this.key(project, entity.id), null);
    this.#write(transaction, project, undefined, entity);
  }

  /** Replaces an entity that the transaction has read as `before`. */
  replace(transaction: Transaction, project: string, before: T, entity: T): void {
    this.#write(transaction, project, before, entity);
  }

  delete(transaction: Transaction, project: string, entity: T): void {
    transaction.delete(this.key(project, entity.id));
    for (const key of this.#indexKeys(project, entity).values()) transaction.delete(key);
  }

  /** Reads entities by id from one snapshot, without a transaction; `undefined` for those that do not exist. */
  async read(store: Store, project: string, ids: readonly string[]): Promise<(T | undefined)[]> {
    if (ids.length === 0) return [];
    const answers = await store.read(ids.map((id) => ({ key: encodeTuple(this.key(project, id)) })));
    return answers.map((answer) => (answer[0] === undefined ? undefined : decodeJson<T>(answer[0].value)));
  }

  /**
   * A page of the entities under `prefix` of `index`, in the order of the index.
   * A cursor that names no entity, or one that is not under `prefix`, gives `undefined`.
   */
  async page(store: Store, project: string, index: string, prefix: Tuple, page: Page): Promise<T[] | undefined> {
    const root: Tuple = [project, `${this.kind}.${index}`];
    const range = tupleRange([...root, ...prefix]);
    let { begin, end } = range;
    const cursors = [page.after, page.before].filter((id) => id !== undefined);
    const found = new Map((await this.read(store, project, cursors)).map((entity) => [entity?.id, entity]));
    for (const [id, isAfter] of [
      [page.after, true],
      [page.before, false],
    ] as const) {
      if (id === undefined) continue;
      const shown = page.shownBefore?.(id) as T | undefined;
      const key = this.#positionUnder(root, prefix, index, found.get(id)) ?? this.#positionUnder(root, prefix, index, shown);
      if (key === undefined) return undefined;
      // "After" in reverse order means below the cursor's key.
      if (isAfter !== (page.reverse ?? false)) begin = keyAfter(key);
      else end = key;
    }
    const query: Query = { begin, end, limit: page.limit, reverse: page.reverse ?? false };
    const [answer] = await store.read([query]);
    const ids = (answer ?? []).map((entry) => decodeJson<string>(entry.value));
    return (await this.read(store, project, ids)).filter((entity) => entity !== undefined);
  }

  /** How many entities are under `prefix` of `index`, counted up to `most`. */
  async count(store: Store, project: string, index: string, prefix: Tuple, most: number): Promise<number> {
    const { begin, end } = tupleRange([project, `${this.kind}.${index}`, ...prefix]);
    let total = 0;
    let from = begin;
    while (total < most) {
      const limit = Math.min(most - total, store.limits.rangeEntries);
      const [answer] = await store.read([{ begin: from, end, limit }]);
      total += answer!.length;
      if (answer!.length < limit) break;
      from = keyAfter(answer!.at(-1)!.key);
    }
    return total;
  }

  #positionUnder(root: Tuple, prefix: Tuple, index: string, entity: T | undefined): Uint8Array | undefined {
    if (entity === undefined) return undefined;
    const tuples = this.#indexes[index]!(entity);
    const tuple = tuples.find((each) => prefix.every((element, at) => each[at] === element));
    return tuple && encodeTuple([...root, ...tuple, entity.id]);
  }

  #write(transaction: Transaction, project: string, before: T | undefined, entity: T): void {
    transaction.set(this.key(project, entity.id), entity);
    const stale = before === undefined ? new Map<string, Tuple>() : this.#indexKeys(project, before);
    for (const [name, key] of this.#indexKeys(project, entity)) {
      if (!stale.delete(name)) transaction.set(key, entity.id);
    }
    for (const key of stale.values()) transaction.delete(key);
  }

  #indexKeys(project: string, entity: T): Map<string, Tuple> {
    const keys = new Map<string, Tuple>();
    for (const [index, tuplesOf] of Object.entries(this.#indexes)) {
      for (const tuple of tuplesOf(entity)) {
        const key: Tuple = [project, `${this.kind}.${index}`, ...tuple, entity.id];
        keys.set(bytesToMapKey(encodeTuple(key)), key);
      }
    }
    return keys;
  }
}

/** The largest entity that fits one row, in bytes of JSON. */
export const entityBytesMax = 95_000;

/** Whether `entity` fits one row. */
export function fitsOneRow(entity: unknown): boolean {
  return encodeJson(entity).length <= entityBytesMax;
}
