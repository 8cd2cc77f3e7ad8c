/**
 * A store in FoundationDB, for many nodes: each has a `FoundationDbStore` over the same cluster.
 *
 * Each batch is one transaction (foundationdb-batch.ts, F1 to F3), and so is each `read`.
 *
 * F4. The caller is told that a batch was not applied only if no attempt at it can have been or will be, and
 *     `CommitUnknownError` otherwise.
 * F5. Nothing of the caller's is awaited inside a transaction, which lives five seconds at most.
 * F6. A call ends within its time, whatever the cluster does: FoundationDB's client waits for ever if it is let.
 */
import { compareBytes } from "../base/bytes.ts";
import type { Environment } from "../environment/environment.ts";
import { prepareBatch, sweepIds } from "./foundationdb-batch.ts";
import {
  errorCodes,
  type FoundationDbClient,
  FoundationDbError,
  type FoundationDbTransaction,
  type FoundationDbWatch,
  isCertainlyNotCommitted,
} from "./foundationdb-client.ts";
import {
  bucketOf,
  decodeVersion,
  FoundationDbFormatError,
  FoundationDbRows,
  format,
  nameCharactersMax,
  namesOf,
} from "./foundationdb-rows.ts";
import { FoundationDbWatches } from "./foundationdb-watches.ts";
import { KeyTurns } from "./key-turns.ts";
import {
  type Answer,
  type Batch,
  CommitUnknownError,
  type CommitOutcome,
  type Entry,
  type Key,
  LimitError,
  type Query,
  type Store,
  type StoreLimits,
  storeLimits,
  StoreUnavailableError,
  validateBatch,
  validateQueries,
  type Version,
} from "./store.ts";

export interface FoundationDbStoreOptions {
  /** Several stores may share a cluster under different names: 1 to 64 characters. "kelpie" by default. */
  readonly name?: string;
  /** How long a call may take, with all its tries. 10,000 by default. */
  readonly waitMillisecondsMax?: number;
  /** How often a watched key is looked at, beside FoundationDB's watches. 5,000 by default. */
  readonly watchMilliseconds?: number;
}

/** What may wait. Past it, calls fail at once. */
const waitingCallsMax = 100_000;
const waitingBytesMax = 256_000_000;

export class FoundationDbStore implements Store {
  readonly limits: StoreLimits = storeLimits;
  readonly #client: FoundationDbClient;
  readonly #environment: Environment;
  readonly #name: string;
  readonly #rows: FoundationDbRows;
  readonly #waitMillisecondsMax: number;
  readonly #watches: FoundationDbWatches;
  readonly #turns = new KeyTurns();
  #waitingCalls = 0;
  #waitingBytes = 0;
  /** The bucket in which this process deleted old ids last. */
  #sweptIn = -1;
  #closing: PromiseWithResolvers<void> | undefined;

  private constructor(client: FoundationDbClient, environment: Environment, options: FoundationDbStoreOptions) {
    this.#client = client;
    this.#environment = environment;
    this.#name = options.name ?? "kelpie";
    if (this.#name.length < 1 || this.#name.length > nameCharactersMax)
      throw new RangeError(`The name of a store has 1 to ${nameCharactersMax} characters, not ${this.#name.length}`);
    this.#rows = new FoundationDbRows(this.#name);
    this.#waitMillisecondsMax = options.waitMillisecondsMax ?? 10_000;
    this.#watches = new FoundationDbWatches({
      clock: environment.clock,
      pollMilliseconds: options.watchMilliseconds ?? 5_000,
      look: (key) => this.#look(key),
    });
  }

  /**
   * Opens the store of that name in the cluster of `client`, and makes it if there is none. The client belongs to the
   * store from then on, and is closed with it.
   *
   * @throws {FoundationDbFormatError} What is there cannot be used.
   * @throws {StoreUnavailableError} The cluster does not answer.
   */
  static async open(
    client: FoundationDbClient,
    environment: Environment,
    options: FoundationDbStoreOptions = {},
  ): Promise<FoundationDbStore> {
    try {
      const store = new FoundationDbStore(client, environment, options);
      await store.#checkFormat();
      return store;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  async read(queries: readonly Query[]): Promise<readonly Answer[]> {
    validateQueries(queries, this.limits);
    const answerAll = (transaction: FoundationDbTransaction): Promise<Answer[]> =>
      Promise.all(queries.map((query) => this.#answer(transaction, query)));
    return await this.#whileOpen(0, async () => {
      if (queries.length === 0) return [];
      try {
        return await this.#transact(this.#deadline(), answerAll);
      } catch (error) {
        throw this.#explained("Cannot read from", error);
      }
    });
  }

  async commit(batch: Batch): Promise<CommitOutcome> {
    const bytes = validateBatch(batch, this.limits);
    const deadline = this.#deadline();
    // Two batches of this process that meet at a key would conflict; one after the other they do not. Those before
    // end by their deadlines, which are before this one.
    return await this.#whileOpen(bytes, () => this.#turns.take(namesOf(batch), () => this.#commitInTurn(batch, deadline)));
  }

  watch(keys: readonly Key[], signal: AbortSignal): AsyncIterable<void> {
    return this.#watches.watch(keys, signal);
  }

  /** Waits for what was asked of it, and closes its client. What comes later is refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing !== undefined) return await this.#closing.promise;
    this.#closing = Promise.withResolvers();
    this.#watches.close();
    this.#closeIfIdle();
    await this.#closing.promise;
    this.#client.close();
  }

  async #commitInTurn(batch: Batch, deadline: number): Promise<CommitOutcome> {
    let mayBeApplied = false;
    const attempt = async (transaction: FoundationDbTransaction): Promise<CommitOutcome> => {
      const { outcome, isDecided } = await prepareBatch(transaction, this.#rows, batch);
      if (isDecided || !outcome.ok) return outcome;
      const bucket = bucketOf(outcome.version);
      if (bucket !== this.#sweptIn) sweepIds(transaction, this.#rows, outcome.version);
      try {
        await transaction.commit();
      } catch (error) {
        if (!(error instanceof FoundationDbError && isCertainlyNotCommitted(error.code))) mayBeApplied = true;
        throw error;
      }
      this.#sweptIn = bucket;
      return outcome;
    };
    try {
      const outcome = await this.#transact(deadline, attempt);
      if (outcome.ok) this.#watches.notify(batch.writes);
      return outcome;
    } catch (error) {
      if (mayBeApplied && error instanceof FoundationDbError)
        throw new CommitUnknownError(`FoundationDB left open whether a batch was applied: ${messageOf(error)}`, { cause: error });
      throw this.#explained("Cannot write to", error);
    }
  }

  async #answer(transaction: FoundationDbTransaction, query: Query): Promise<Answer> {
    if ("key" in query) {
      const row = this.#rows.entryKey(query.key);
      const value = await transaction.get(row);
      return value === undefined ? [] : [this.#rows.entry(row, value)];
    }
    if (compareBytes(query.begin, query.end) >= 0) return [];
    const [begin, end] = [this.#rows.entryKey(query.begin), this.#rows.entryKey(query.end)];
    const entries: Entry[] = [];
    for await (const page of transaction.getRange(begin, end, { limit: query.limit, reverse: query.reverse ?? false }))
      for (const [row, value] of page) entries.push(this.#rows.entry(row, value));
    return entries;
  }

  async #look(key: Key): Promise<{ readonly version: Version | null; readonly watch: FoundationDbWatch }> {
    return await this.#transact(this.#deadline(), async (transaction) => {
      const row = this.#rows.entryKey(key);
      const value = await transaction.get(row);
      const watch = transaction.watch(row);
      // Not every failed commit has somebody who waits for the watch.
      watch.changed.catch(() => {});
      await transaction.commit();
      return { version: value === undefined ? null : decodeVersion(value), watch };
    });
  }

  async #checkFormat(): Promise<void> {
    const found = await this.#transact(this.#deadline(), async (transaction) => {
      const value = await transaction.get(this.#rows.formatKey());
      if (value !== undefined) return Buffer.from(value).toString("latin1");
      transaction.set(this.#rows.formatKey(), Buffer.from(`${format}`, "latin1"));
      await transaction.commit();
      return `${format}`;
    }).catch((error: unknown) => {
      throw this.#explained("Cannot open", error);
    });
    if (found === `${format}`) return;
    throw new FoundationDbFormatError(
      `The store ${JSON.stringify(this.#name)} in FoundationDB has the format ${JSON.stringify(found.slice(0, 20))}, and this Kelpie ` +
        `knows the format ${format}: use the Kelpie that wrote it or a newer one, or another name`,
    );
  }

  /**
   * Runs `work` in a transaction, again and again for as long as FoundationDB says that it makes sense.
   *
   * @throws {FoundationDbError} The last error. Its cause is the one before, where the time ran out.
   */
  async #transact<T>(deadline: number, work: (transaction: FoundationDbTransaction) => Promise<T>): Promise<T> {
    const timeoutMilliseconds = Math.floor(deadline - this.#environment.clock.elapsed());
    // FoundationDB takes 0 for no timeout at all.
    if (timeoutMilliseconds < 1) throw new FoundationDbError(errorCodes.transactionTimedOut);
    const transaction = this.#client.begin({ timeoutMilliseconds });
    let before: FoundationDbError | undefined;
    for (;;) {
      try {
        return await work(transaction);
      } catch (error) {
        if (!(error instanceof FoundationDbError)) throw error;
        await transaction.onError(error).catch((last: unknown) => {
          if (!(last instanceof FoundationDbError) || before === undefined) throw last;
          throw new FoundationDbError(last.code, undefined, { cause: before });
        });
        before = error;
      }
    }
  }

  async #whileOpen<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw new StoreUnavailableError(`The store ${this.#name} in FoundationDB is closed`);
    if (this.#waitingCalls >= waitingCallsMax || this.#waitingBytes + bytes > waitingBytesMax)
      throw new StoreUnavailableError(`${this.#waitingCalls} calls wait for FoundationDB: try again later`);
    this.#waitingCalls++;
    this.#waitingBytes += bytes;
    try {
      return await work();
    } finally {
      this.#waitingBytes -= bytes;
      this.#waitingCalls--;
      this.#closeIfIdle();
    }
  }

  #closeIfIdle(): void {
    if (this.#waitingCalls === 0) this.#closing?.resolve();
  }

  #deadline(): number {
    return this.#environment.clock.elapsed() + this.#waitMillisecondsMax;
  }

  /** What to tell the caller of a call that certainly did nothing. */
  #explained(attempt: string, error: unknown): unknown {
    if (!(error instanceof FoundationDbError)) return error;
    const message = `${attempt} the store ${this.#name} in FoundationDB: ${messageOf(error)}`;
    return limitCodes.has(error.code) ? new LimitError(message, { cause: error }) : new StoreUnavailableError(message, { cause: error });
  }
}

const limitCodes: ReadonlySet<number> = new Set([errorCodes.transactionTooLarge, errorCodes.keyTooLarge, errorCodes.valueTooLarge]);

/** The error, and what is behind it if it is only that the time was over; and what to do. */
function messageOf(error: FoundationDbError): string {
  const cause = error.cause instanceof FoundationDbError ? error.cause : undefined;
  const parts = [error.message, ...(cause === undefined ? [] : [`before that, ${cause.message}`])];
  const advice = adviceFor(cause?.code ?? error.code);
  return parts.join("; ") + (advice === undefined ? "" : `. ${advice}`);
}

function adviceFor(code: number): string | undefined {
  if (code === errorCodes.transactionTooOld) return "Ask for less at once: FoundationDB keeps a version for five seconds";
  if (code === errorCodes.transactionTooLarge)
    return "With its conflict ranges, the batch is over FoundationDB's 10 MB: make several of it";
  if (code === errorCodes.databaseLocked) return "A restore or a switch of clusters locks the database until it is over";
  if (code === errorCodes.transactionTimedOut)
    return "Does the cluster run, and does the cluster file name its coordinators? (fdbcli --exec status)";
  return undefined;
}
