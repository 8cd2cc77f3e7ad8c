/**
 * An actor's own rows in memory, over those in the store.
 *
 * R1. A row is, in this order: what the running turn wrote, what the batches that are not durable yet write, what is
 *     remembered, what the store holds. Only this activation writes the rows while its epoch is current, so what is
 *     remembered stays true.
 * R2. What is remembered is bounded, and leaves by least recent use. Rows that are not durable yet are never dropped.
 */
import { assert } from "../base/assert.ts";
import { bytesToMapKey, compareBytes, concatBytes, keyAfter } from "../base/bytes.ts";
import { decodeTuple, encodeTuple, type Tuple, tupleRange } from "../base/tuple.ts";
import { type Entry, LimitError, type Store, type Write } from "../storage/store.ts";
import type { ActorId, ScopedStore } from "./actor.ts";
import { headerKey, reminderPrefix, statePrefix } from "./actor-rows.ts";
import type { ActorLimits } from "./limits.ts";

/** Rows by name: JSON text, or `null` for a row that is not there. */
export type RowTexts = ReadonlyMap<string, string | null>;

export interface PendingRows {
  /** The rows of batches that are not durable yet, the oldest batch first. */
  readonly pendingRows: readonly RowTexts[];
}

/**
 * A row's name is a letter for the place of its key, and the bytes of the rest of its key as Latin-1: short, and in
 * the order of the keys.
 */
const stateLetter = "s";
const reminderLetter = "r";

export function stateRowName(key: Tuple): string {
  return stateLetter + bytesToMapKey(encodeTuple(key));
}

export function reminderRowName(name: string): string {
  return reminderLetter + bytesToMapKey(encodeTuple([name]));
}

/** Kinds of rows that belong to one actor each. */
const actorKinds: ReadonlySet<unknown> = new Set(["header", "state", "reminders", "dedup"]);

export class OwnRows {
  readonly #id: ActorId;
  readonly #store: Store;
  readonly #limits: ActorLimits;
  readonly #pending: PendingRows;
  // Made when first needed: most activations at rest remember nothing.
  #remembered: Map<string, string | null> | undefined;
  #rememberedBytes = 0;
  #commits = 0;
  #prefixBytes = 0;

  constructor(id: ActorId, store: Store, limits: ActorLimits, pending: PendingRows) {
    this.#id = id;
    this.#store = store;
    this.#limits = limits;
    this.#pending = pending;
  }

  /** The key in the store of the row called `name`. */
  key(name: string): Uint8Array {
    return concatBytes(this.#prefix(name), Buffer.from(name.slice(1), "latin1"));
  }

  /** The actor's state as it is without a turn. */
  get state(): Pick<ScopedStore, "get" | "list"> {
    return {
      get: async <T>(key: Tuple): Promise<T | undefined> => {
        const text = await this.get(stateRowName(key));
        return text === null ? undefined : (JSON.parse(text) as T);
      },
      list: async <T>(prefix: Tuple, options: Parameters<ScopedStore["list"]>[1]) => await this.list<T>(prefix, options),
    };
  }

  async get(name: string, turn?: RowTexts): Promise<string | null> {
    const known = this.#known(name, turn);
    if (known !== undefined) return known;
    const commits = this.#commits;
    const [answer] = await this.#store.read([{ key: this.key(name) }]);
    const entry = answer?.[0];
    const text = entry === undefined ? null : decodeText(entry);
    // A batch that became durable meanwhile may have changed the row after this answer was made.
    if (commits === this.#commits && this.#known(name) === undefined) this.#remember(name, text);
    return text;
  }

  /** Rows under `prefix` of the actor's state, as a turn with the changes `turn` sees them. */
  async list<T>(
    prefix: Tuple,
    options: Parameters<ScopedStore["list"]>[1],
    turn?: RowTexts,
  ): Promise<{ readonly key: Tuple; readonly value: T }[]> {
    const { limit, reverse = false } = options;
    const most = this.#store.limits.rangeEntries;
    if (!Number.isInteger(limit) || limit < 1 || limit > most) throw new LimitError(`A list asks for 1 to ${most} rows, not ${limit}`);
    const range = tupleRange(prefix);
    let [begin, end] = [stateLetter + bytesToMapKey(range.begin), stateLetter + bytesToMapKey(range.end)];
    if (options.after !== undefined) {
      const after = stateRowName(options.after);
      if (reverse) end = after < end ? after : end;
      else begin = after + "\0" > begin ? after + "\0" : begin;
    }
    const changes = this.#changesBetween(begin, end, turn);
    const deletions = changes.values().reduce((count, text) => count + (text === null ? 1 : 0), 0);
    const found: (readonly [name: string, text: string])[] = [];
    while (found.length < limit && begin < end) {
      const asked = Math.min(limit - found.length + deletions, most);
      const stored = await this.#read(begin, end, asked, reverse);
      // Beyond the last row that was read the store may hold more, so changes there wait for the next page.
      const last = stored.length < asked ? undefined : stored.at(-1)![0];
      const page = stored.filter(([name]) => !changes.has(name));
      for (const [name, text] of changes) {
        if (last !== undefined && (reverse ? name < last : name > last)) continue;
        if (text !== null) page.push([name, text]);
        changes.delete(name);
      }
      page.sort(([left], [right]) => (left < right !== reverse ? -1 : 1));
      found.push(...page);
      if (last === undefined) break;
      if (reverse) end = last;
      else begin = last + "\0";
    }
    return found
      .slice(0, limit)
      .map(([name, text]) => ({ key: decodeTuple(Buffer.from(name.slice(1), "latin1")), value: JSON.parse(text) as T }));
  }

  /** Takes over the rows of a batch that has become durable. */
  committed(rows: RowTexts): void {
    this.#commits++;
    for (const [name, text] of rows) this.#remember(name, text);
  }

  /** The bytes that the place of the rows adds to each key. */
  get prefixBytes(): number {
    this.#prefixBytes ||= Math.max(encodeTuple(statePrefix(this.#id)).length, encodeTuple(reminderPrefix(this.#id)).length);
    return this.#prefixBytes;
  }

  /**
   * Asserts that none of `writes` reaches the rows that only this class, and the actor's commits, read and write; nor
   * those of another actor, whose activation would not see it.
   */
  refuse(writes: readonly Write[]): void {
    const header = headerKey(this.#id);
    const places = [tupleRange(statePrefix(this.#id)), tupleRange(reminderPrefix(this.#id)), { begin: header, end: keyAfter(header) }];
    for (const write of writes) {
      const begin = write.kind === "deleteRange" ? write.begin : write.key;
      const end = write.kind === "deleteRange" ? write.end : undefined;
      for (const own of places) {
        const isBelow = end === undefined ? compareBytes(begin, own.begin) < 0 : compareBytes(end, own.begin) <= 0;
        assert(isBelow || compareBytes(begin, own.end) >= 0, "A turn writes its actor's own rows through turn.state and turn.remind only");
      }
      assert(!actorKinds.has(decodeTuple(begin)[1]), "The rows of an actor are written by that actor only: send it a message");
    }
  }

  #known(name: string, turn?: RowTexts): string | null | undefined {
    let text = turn?.get(name);
    if (text !== undefined) return text;
    const pending = this.#pending.pendingRows;
    for (let index = pending.length - 1; index >= 0; index--) {
      text = pending[index]!.get(name);
      if (text !== undefined) return text;
    }
    text = this.#remembered?.get(name);
    if (text !== undefined) {
      // The most recently used row is the last one.
      this.#remembered!.delete(name);
      this.#remembered!.set(name, text);
    }
    return text;
  }

  #changesBetween(begin: string, end: string, turn: RowTexts | undefined): Map<string, string | null> {
    const changes = new Map<string, string | null>();
    for (const rows of turn === undefined ? this.#pending.pendingRows : [...this.#pending.pendingRows, turn])
      for (const [name, text] of rows) if (name >= begin && name < end) changes.set(name, text);
    return changes;
  }

  async #read(begin: string, end: string, limit: number, reverse: boolean): Promise<[name: string, text: string][]> {
    const [answer] = await this.#store.read([{ begin: this.key(begin), end: this.key(end), limit, reverse }]);
    const prefixLength = this.#prefix(begin).length;
    return (answer ?? []).map((entry) => [stateLetter + bytesToMapKey(entry.key.subarray(prefixLength)), decodeText(entry)]);
  }

  #prefix(name: string): Uint8Array {
    return encodeTuple(name.startsWith(reminderLetter) ? reminderPrefix(this.#id) : statePrefix(this.#id));
  }

  #remember(name: string, text: string | null): void {
    const rows = (this.#remembered ??= new Map<string, string | null>());
    const before = rows.get(name);
    if (before !== undefined) {
      this.#rememberedBytes -= rowBytes(name, before);
      rows.delete(name);
    }
    rows.set(name, text);
    this.#rememberedBytes += rowBytes(name, text);
    for (const [oldest, value] of rows) {
      if (rows.size <= this.#limits.cachedRows && this.#rememberedBytes <= this.#limits.cachedBytes) break;
      rows.delete(oldest);
      this.#rememberedBytes -= rowBytes(oldest, value);
    }
  }
}

function rowBytes(name: string, text: string | null): number {
  return name.length + (text?.length ?? 0);
}

function decodeText(entry: Entry): string {
  return Buffer.from(entry.value.buffer, entry.value.byteOffset, entry.value.byteLength).toString("utf8");
}
