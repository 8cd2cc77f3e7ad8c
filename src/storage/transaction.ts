import { bytesToMapKey } from "../base/bytes.ts";
import { decodeJson, encodeJson } from "../base/json.ts";
import { encodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import {
  type Batch,
  type BatchId,
  type Check,
  CommitUnknownError,
  type CommitOutcome,
  type Entry,
  type Key,
  type Store,
  StoreUnavailableError,
  type Version,
  type Write,
} from "./store.ts";

/** Rows changed by others kept a transaction from committing, however often it was tried again. Nothing was written. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/**
 * Gathers reads and writes into one batch: what `get` answered is checked when the batch commits, so the
 * transaction commits only if nothing that it looked at has changed.
 *
 * Optimistic: between reading and committing nothing is locked. Two transactions that only read a row the other
 * one writes can both commit on an engine with snapshot isolation, so a transaction also writes what it must protect.
 */
export class Transaction {
  readonly #store: Store;
  readonly #checks: Check[] = [];
  /** What was read, by key; a promise, so that reading a row twice at once reads it once. */
  readonly #seen = new Map<string, Promise<Entry | undefined>>();
  /** What this transaction made of the rows that it wrote, `undefined` for a deleted one, and the ranges it deleted. */
  readonly #own = new Map<string, Uint8Array | undefined>();
  readonly #deleted: { readonly begin: string; readonly end: string }[] = [];
  readonly #writes: Write[] = [];

  constructor(store: Store) {
    this.#store = store;
  }

  /** The row at `key`, also when this transaction set or deleted it (but without its `add`); checked at commit. */
  async get<T>(key: Tuple): Promise<T | undefined> {
    const bytes = encodeTuple(key);
    const name = bytesToMapKey(bytes);
    const value = this.#isOwn(name) ? this.#own.get(name) : (await this.#read(name, bytes))?.value;
    return value === undefined ? undefined : decodeJson<T>(value);
  }

  /** Rows under `prefix` in the order of their keys, as they are in the store: not checked, without own writes. */
  async list<T>(
    prefix: Tuple,
    options: { readonly limit: number; readonly reverse?: boolean },
  ): Promise<{ readonly key: Key; readonly value: T }[]> {
    const [answer] = await this.#store.read([{ ...tupleRange(prefix), limit: options.limit, reverse: options.reverse ?? false }]);
    return (answer ?? []).map((entry) => ({ key: entry.key, value: decodeJson<T>(entry.value) }));
  }

  set(key: Tuple, value: unknown): void {
    const bytes = encodeTuple(key);
    const encoded = encodeJson(value);
    this.#own.set(bytesToMapKey(bytes), encoded);
    this.#writes.push({ kind: "set", key: bytes, value: encoded });
  }

  delete(key: Tuple): void {
    const bytes = encodeTuple(key);
    this.#own.set(bytesToMapKey(bytes), undefined);
    this.#writes.push({ kind: "delete", key: bytes });
  }

  /** Deletes every row under `prefix`, also those that this transaction wrote before. */
  deleteAll(prefix: Tuple): void {
    const range = tupleRange(prefix);
    const names = { begin: bytesToMapKey(range.begin), end: bytesToMapKey(range.end) };
    this.#deleted.push(names);
    for (const name of this.#own.keys()) if (isIn(names, name)) this.#own.delete(name);
    this.#writes.push({ kind: "deleteRange", ...range });
  }

  /** Adds to a counter row, without reading it. */
  add(key: Tuple, amount: number): void {
    this.#writes.push({ kind: "add", key: encodeTuple(key), amount: BigInt(amount) });
  }

  /** States what a row's version must be at commit, for a row read elsewhere. Every statement about a row counts. */
  check(key: Tuple, version: Version | null): void {
    this.#checks.push({ key: encodeTuple(key), version });
  }

  get checks(): readonly Check[] {
    return this.#checks;
  }

  get writes(): readonly Write[] {
    return this.#writes;
  }

  toBatch(id: BatchId): Batch {
    return { id, checks: this.checks, writes: this.writes };
  }

  #isOwn(name: string): boolean {
    return this.#own.has(name) || this.#deleted.some((range) => isIn(range, name));
  }

  #read(name: string, key: Key): Promise<Entry | undefined> {
    let entry = this.#seen.get(name);
    if (entry === undefined) {
      entry = this.#readAndCheck(key);
      this.#seen.set(name, entry);
    }
    return entry;
  }

  async #readAndCheck(key: Key): Promise<Entry | undefined> {
    const [answer] = await this.#store.read([{ key }]);
    const entry = answer?.[0];
    this.#checks.push({ key, version: entry?.version ?? null });
    return entry;
  }
}

function isIn(range: { readonly begin: string; readonly end: string }, name: string): boolean {
  return name >= range.begin && name < range.end;
}

/**
 * Runs `work` in a transaction and commits it; when a row it read has changed meanwhile, runs it again from the start.
 * `work` may therefore run several times and must do nothing but use its transaction.
 *
 * @throws {ConflictError} Still conflicting after `attempts` (16 by default).
 */
export async function transact<T>(
  store: Store,
  environment: Environment,
  work: (transaction: Transaction) => Promise<T>,
  options: { readonly attempts?: number } = {},
): Promise<T> {
  const attempts = options.attempts ?? 16;
  for (let attempt = 1; ; attempt++) {
    const transaction = new Transaction(store);
    const result = await work(transaction);
    // One row is as it was at one moment; several are held against each other, though nothing is written.
    if (transaction.writes.length === 0 && transaction.checks.length < 2) return result;
    const outcome = await commitUntilKnown(store, environment, transaction.toBatch(environment.random.uuid()));
    if (outcome.ok) return result;
    environment.probe("storage.transactionConflict");
    if (attempt === attempts) throw new ConflictError(`Rows kept changing under a transaction: gave up after ${attempts} attempts`);
    await environment.clock.sleep(environment.random.fraction() * Math.min(2 ** attempt, 100));
  }
}

/** Whether rows are still as they were read, all at one time. */
export async function checksHold(store: Store, checks: readonly Check[]): Promise<boolean> {
  if (checks.length === 0) return true;
  const answers = await store.read(checks.map(({ key }) => ({ key })));
  return checks.every((check, index) => (answers[index]?.[0]?.version ?? null) === check.version);
}

/**
 * Commits `batch`, again and again while its outcome is unknown (S4), with pauses that grow to `pauseMillisecondsMax`.
 *
 * @throws {StoreUnavailableError} Certainly not applied.
 * @throws {CommitUnknownError} Still unknown after 12 attempts: by default about 20 seconds.
 */
export async function commitUntilKnown(
  store: Store,
  environment: Environment,
  batch: Batch,
  { pauseMillisecondsMax = 5_000 }: { readonly pauseMillisecondsMax?: number } = {},
): Promise<CommitOutcome> {
  let unknown: CommitUnknownError | undefined;
  for (let attempt = 0; attempt < 12; attempt++) {
    const pause = Math.min(10 * 2 ** attempt, pauseMillisecondsMax);
    if (attempt > 0) await environment.clock.sleep(pause * (0.5 + environment.random.fraction() / 2));
    try {
      const outcome = await store.commit(batch);
      if (unknown !== undefined) environment.probe("storage.unknownSettled");
      return outcome;
    } catch (error) {
      if (error instanceof CommitUnknownError) unknown = error;
      // Once an outcome was unknown, a refusal of a later attempt says nothing about the first one.
      else if (!(error instanceof StoreUnavailableError && unknown !== undefined)) throw error;
    }
  }
  throw new CommitUnknownError("The outcome of a commit stayed unknown", { cause: unknown });
}
