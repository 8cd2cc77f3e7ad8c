/**
 * Values of a conversation's own state that may be larger than one row of the store holds: what a model wrote as the
 * arguments of its calls, what tools answered, the schemas of a client's tools.
 *
 * One that fits is an ordinary row at its key. A larger one leaves a note there, and its JSON in pieces under the key.
 */
import type { ScopedStore } from "../actors/actor.ts";
import { decodeJson } from "../base/json.ts";
import { encodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import type { Store } from "../storage/store.ts";

/** UTF-16 units of one row: at most three bytes each, and a few more where a piece's quotes are escaped. */
const rowCharactersMax = 24_000;

interface WideNote {
  readonly pieces: number;
}

/** The value at `key`, whether it is one row or many. */
export async function getWide<T>(state: Pick<ScopedStore, "get" | "list">, key: Tuple): Promise<T | undefined> {
  const row = await state.get<T | WideNote>(key);
  if (!isNote(row)) return row;
  const pieces = await state.list<string>(key, { limit: row.pieces });
  return JSON.parse(pieces.map(({ value }) => value).join("")) as T;
}

/** The same, from outside the actor: as it was at the last commit. */
export async function readWide<T>(store: Store, key: Tuple): Promise<T | undefined> {
  const [answer] = await store.read([{ begin: encodeTuple(key), end: tupleRange(key).end, limit: store.limits.rangeEntries }]);
  const [head, ...pieces] = answer!;
  if (head === undefined) return undefined;
  const row = decodeJson<T | WideNote>(head.value);
  if (!isNote(row)) return row;
  return JSON.parse(pieces.map(({ value }) => decodeJson<string>(value)).join("")) as T;
}

/** @throws {LimitError} The batch holds no more. */
export async function setWide(state: Pick<ScopedStore, "get" | "set" | "delete">, key: Tuple, value: unknown): Promise<void> {
  const text = JSON.stringify(value);
  const count = text.length <= rowCharactersMax ? 0 : Math.ceil(text.length / rowCharactersMax);
  const before = await state.get<unknown>(key);
  for (let index = count; index < (isNote(before) ? before.pieces : 0); index++) state.delete([...key, index]);
  if (count === 0) return state.set(key, value);
  state.set(key, { pieces: count } satisfies WideNote);
  for (let index = 0; index < count; index++)
    state.set([...key, index], text.slice(index * rowCharactersMax, (index + 1) * rowCharactersMax));
}

export async function deleteWide(state: Pick<ScopedStore, "get" | "delete">, key: Tuple): Promise<void> {
  const row = await state.get<unknown>(key);
  for (let index = 0; index < (isNote(row) ? row.pieces : 0); index++) state.delete([...key, index]);
  state.delete(key);
}

/** No value that is kept this way has a field `pieces`. */
function isNote(row: unknown): row is WideNote {
  return typeof row === "object" && row !== null && "pieces" in row;
}
