/**
 * A store in one SQLite file: the embedded default. Several processes of one host may share the file.
 *
 * Q1. An answer leaves after the transaction that holds its batch is on disk: write-ahead log, `synchronous = FULL`.
 * Q2. The commits of one event-loop turn are one transaction, and so share one `fsync`. Their checks are evaluated
 *     in their order inside it; a batch whose check fails is skipped alone.
 * Q3. Nothing read from the file is kept between transactions: another process may have written meanwhile.
 * Q4. After an I/O error in a commit the store refuses all work. The system may have dropped the pages that it could
 *     not write, and the next `fsync` then succeeds without them (https://lwn.net/Articles/752063/), so only a fresh
 *     look at the file tells what it holds.
 * Q5. A file that was deleted or replaced under the store takes no more commits: what is written into it is lost when
 *     the process ends.
 */
import { statSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { addToCounter } from "./counter.ts";
import { asStoreFileError, openStoreFile, sqliteErrorKind } from "./sqlite-file.ts";
import {
  type Answer,
  type Batch,
  type Check,
  type CommitOutcome,
  CommitUnknownError,
  type Entry,
  type Key,
  type Query,
  type Store,
  type StoreLimits,
  storeLimits,
  StoreUnavailableError,
  validateBatch,
  validateQueries,
  type Value,
  type Version,
  type Write,
} from "./store.ts";
import { RecentOutcomes } from "./recent-outcomes.ts";
import { Watchers } from "./watchers.ts";

export interface SqliteStoreOptions {
  /** How long a read or a commit waits for a lock of another process. 10,000 by default. */
  readonly lockMillisecondsMax?: number;
  /** How often a watched store looks for commits of other processes. 50 by default. */
  readonly watchMilliseconds?: number;
  /** How often a commit first looks whether the file is still there (Q5). 1,000 by default. */
  readonly presenceMilliseconds?: number;
}

/** One transaction holds at most this much, so that a burst does not stop the thread for long. */
const groupBatchesMax = 4_096;
const groupBytesMax = 16_000_000;

/** What may wait for the disk. Past it, commits fail at once. */
const waitingBatchesMax = 100_000;
const waitingBytesMax = 256_000_000;

interface Waiting {
  readonly batch: Batch;
  readonly bytes: number;
  readonly resolve: (outcome: CommitOutcome) => void;
  readonly reject: (error: unknown) => void;
}

export class SqliteStore implements Store {
  readonly limits: StoreLimits = storeLimits;
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements: Statements;
  readonly #lockMillisecondsMax: number;
  readonly #watchMilliseconds: number;
  readonly #presenceMilliseconds: number;
  readonly #inode: number | undefined;
  #presenceSeenAt = -Infinity;
  readonly #outcomes: RecentOutcomes = new RecentOutcomes(() => performance.now());
  readonly #watchers = new Watchers();
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #groupIsScheduled = false;
  /** When the store began to wait for another process's lock. */
  #lockedSince: number | undefined;
  #isClosed = false;
  /** Why the store works no more (Q4). */
  #refusal: string | undefined;
  #watching = 0;
  #poll: NodeJS.Timeout | undefined;

  private constructor(path: string, database: DatabaseSync, options: SqliteStoreOptions) {
    this.#path = path;
    this.#database = database;
    this.#statements = prepare(database);
    this.#lockMillisecondsMax = options.lockMillisecondsMax ?? 10_000;
    this.#watchMilliseconds = options.watchMilliseconds ?? 50;
    this.#presenceMilliseconds = options.presenceMilliseconds ?? 1_000;
    this.#inode = inodeOf(path);
  }

  /**
   * Opens the store in `path`; makes the file and its directory if there is none.
   *
   * @throws {StoreFileError} The file is damaged, foreign, newer, or cannot be written.
   * @throws {StoreUnavailableError} Another process held a lock for too long.
   */
  static async open(path: string, options: SqliteStoreOptions = {}): Promise<SqliteStore> {
    const database = await retryWhileLocked(path, options.lockMillisecondsMax ?? 10_000, () => openStoreFile(path));
    return new SqliteStore(path, database, options);
  }

  async read(queries: readonly Query[]): Promise<readonly Answer[]> {
    validateQueries(queries, this.limits);
    return await retryWhileLocked(this.#path, this.#lockMillisecondsMax, () => this.#readSnapshot(queries));
  }

  async commit(batch: Batch): Promise<CommitOutcome> {
    const bytes = validateBatch(batch, this.limits);
    this.#refuseIfClosed();
    this.#refuseIfUnusable();
    if (this.#waiting.length >= waitingBatchesMax || this.#waitingBytes + bytes > waitingBytesMax)
      throw new StoreUnavailableError(`${this.#waiting.length} batches wait for the disk of ${this.#path}: try again later`);
    return await new Promise<CommitOutcome>((resolve, reject) => {
      this.#waiting.push({ batch, bytes, resolve, reject });
      this.#waitingBytes += bytes;
      this.#scheduleGroup();
    });
  }

  async *watch(keys: readonly Key[], signal: AbortSignal): AsyncGenerator<void> {
    if (this.#watching++ === 0) this.#startPolling();
    try {
      yield* this.#watchers.watch(keys, signal);
    } finally {
      if (--this.#watching === 0) clearInterval(this.#poll);
    }
  }

  /** Writes what still waits, brings the log into the file, and closes it. What comes later is refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    while (this.#waiting.length > 0) {
      this.#commitGroup();
      if (this.#waiting.length > 0) await pause(5);
    }
    if (!this.#database.isOpen) return;
    clearInterval(this.#poll);
    try {
      this.#database.exec("PRAGMA wal_checkpoint(PASSIVE)");
    } catch {
      // Nothing is lost: the log stays beside the file, and the next open reads it.
    }
    this.#database.close();
  }

  #readSnapshot(queries: readonly Query[]): readonly Answer[] {
    this.#refuseIfClosed();
    this.#refuseIfUnusable();
    try {
      // One statement is one snapshot already.
      if (queries.length === 1) return [this.#answer(queries[0]!)];
      this.#statements.beginRead.run();
      const answers = queries.map((query) => this.#answer(query));
      this.#statements.commit.run();
      return answers;
    } catch (error) {
      if (this.#database.isTransaction) this.#statements.rollback.run();
      throw sqliteErrorKind(error) === "busy" ? error : this.#unavailable("Cannot read from", error);
    }
  }

  #answer(query: Query): Answer {
    if ("key" in query) {
      const row = this.#statements.get.get(query.key) as Omit<Entry, "key"> | undefined;
      return row === undefined ? [] : [{ key: query.key, value: row.value, version: row.version }];
    }
    const statement = query.reverse === true ? this.#statements.rangeReverse : this.#statements.range;
    const rows = statement.all(query.begin, query.end, query.limit) as unknown as Entry[];
    return rows.map(({ key, value, version }) => ({ key, value, version }));
  }

  #scheduleGroup(): void {
    if (this.#groupIsScheduled) return;
    this.#groupIsScheduled = true;
    setImmediate(() => this.#commitGroup());
  }

  /** Commits what waits as one transaction, or as much of it as one may hold. */
  #commitGroup(): void {
    this.#groupIsScheduled = false;
    if (this.#waiting.length === 0 || !this.#beginGroup()) return;
    const group = this.#takeGroup();
    const applied: Batch[] = [];
    let isCommitting = false;
    try {
      const outcomes = this.#applyGroup(group, applied);
      isCommitting = true;
      this.#statements.commit.run();
      for (let index = 0; index < group.length; index++) group[index]!.resolve(outcomes[index]!);
    } catch (error) {
      for (const { id } of applied) this.#outcomes.delete(id);
      const reason = this.#rollBack(error, isCommitting);
      for (const { reject } of group) reject(reason);
      return;
    }
    for (const { writes } of applied) this.#watchers.notify(writes);
  }

  /** False: another process is writing. The group waits for it, or has waited too long and failed. */
  #beginGroup(): boolean {
    try {
      this.#noticeLoss();
      this.#refuseIfUnusable();
      this.#statements.beginWrite.run();
      this.#lockedSince = undefined;
      return true;
    } catch (error) {
      const now = performance.now();
      this.#lockedSince ??= now;
      if (sqliteErrorKind(error) === "busy" && now - this.#lockedSince < this.#lockMillisecondsMax) {
        this.#groupIsScheduled = true;
        // Not a timer that lets the process end: somebody waits for these commits.
        setTimeout(() => this.#commitGroup(), pauseFor(now - this.#lockedSince));
        return false;
      }
      this.#lockedSince = undefined;
      const reason = this.#unavailable("Cannot write to", error);
      for (const { reject } of this.#takeGroup()) reject(reason);
      return false;
    }
  }

  #takeGroup(): readonly Waiting[] {
    let count = 0;
    let bytes = 0;
    while (count < this.#waiting.length && count < groupBatchesMax && (count === 0 || bytes + this.#waiting[count]!.bytes <= groupBytesMax))
      bytes += this.#waiting[count++]!.bytes;
    const group = this.#waiting;
    this.#waiting = count === group.length ? [] : group.splice(count);
    this.#waitingBytes -= bytes;
    if (this.#waiting.length > 0) this.#scheduleGroup();
    return group;
  }

  /** Applies each batch whose checks hold, and gathers these in `applied`. */
  #applyGroup(group: readonly Waiting[], applied: Batch[]): CommitOutcome[] {
    this.#outcomes.forgetOld();
    const first = this.#statements.version.get()!["version"] as Version;
    let version = first;
    const outcomes = group.map(({ batch }): CommitOutcome => {
      const known = this.#outcomes.get(batch.id);
      if (known !== undefined) return known;
      // A batch that only checks costs no write, and so no `fsync`.
      const next = batch.writes.length > 0 ? version + 1 : version;
      const failedCheck = this.#applyIfHolds(batch, next);
      if (failedCheck >= 0) return { ok: false, failedCheck };
      version = next;
      const outcome: CommitOutcome = { ok: true, version };
      this.#outcomes.set(batch.id, outcome);
      applied.push(batch);
      return outcome;
    });
    if (version > first) this.#statements.setVersion.run(version);
    return outcomes;
  }

  /** Applies a batch if its checks hold. The index of the first that does not, or -1. */
  #applyIfHolds({ checks, writes }: Batch, version: Version): number {
    const [check, write] = [checks[0], writes[0]];
    // An actor's commit: its one check is of the row that it writes first, and one statement does both.
    const isCompareAndSet = checks.length === 1 && write?.kind === "set" && write.key === check!.key;
    const failedCheck = isCompareAndSet ? this.#compareAndSet(check!, write.value, version) : this.#failedCheck(checks);
    if (failedCheck >= 0) return failedCheck;
    for (let index = isCompareAndSet ? 1 : 0; index < writes.length; index++) this.#apply(writes[index]!, version);
    return -1;
  }

  /** 0 if the check does not hold, else -1. */
  #compareAndSet(check: Check, value: Value, version: Version): number {
    const { insertAbsent, replaceVersion } = this.#statements;
    const { changes } =
      check.version === null ? insertAbsent.run(check.key, value, version) : replaceVersion.run(value, version, check.key, check.version);
    return changes === 0 ? 0 : -1;
  }

  /** The index of the first check that does not hold, or -1. */
  #failedCheck(checks: readonly Check[]): number {
    return checks.findIndex(({ key, version }) => {
      const row = this.#statements.versionOf.get(key);
      return (row === undefined ? null : row["version"]) !== version;
    });
  }

  #apply(write: Write, version: Version): void {
    if (write.kind === "set") this.#statements.set.run(write.key, write.value, version);
    else if (write.kind === "delete") this.#statements.delete.run(write.key);
    else if (write.kind === "deleteRange") this.#statements.deleteRange.run(write.begin, write.end);
    else {
      const row = this.#statements.get.get(write.key) as Omit<Entry, "key"> | undefined;
      this.#statements.set.run(write.key, addToCounter(row?.value, write.amount), version);
    }
  }

  /** Undoes the open transaction and returns what its callers are told. */
  #rollBack(error: unknown, wasCommitting: boolean): unknown {
    try {
      if (this.#database.isTransaction) this.#statements.rollback.run();
    } catch (rollbackError) {
      this.#refusal = `The store ${this.#path} could not undo a failed transaction (${String(rollbackError)}): open it again`;
    }
    const kind = sqliteErrorKind(error);
    const isOfDisk = kind === "inputOutput" || kind === "sync";
    if (kind === "sync" || (wasCommitting && isOfDisk))
      this.#refusal = `The disk failed under the store ${this.#path} while it committed: check the disk, then open it again`;
    if (kind === "damaged") this.#refusal = String(asStoreFileError(this.#path, error));
    // "Full" while committing is certain: the frame that ends a transaction is the last to be written.
    if (wasCommitting && isOfDisk) return new CommitUnknownError(`The disk failed while ${this.#path} committed a batch`, { cause: error });
    return this.#unavailable("Cannot write to", error);
  }

  #unavailable(attempt: string, error: unknown): unknown {
    const kind = sqliteErrorKind(error);
    if (kind === undefined) return error;
    const options = { cause: kind === "damaged" ? asStoreFileError(this.#path, error) : error };
    if (kind === "full")
      return new StoreUnavailableError(
        `${attempt} the store ${this.#path}: the disk is full. Nothing was written; it goes on when there is space`,
        options,
      );
    if (kind === "busy") return new StoreUnavailableError(lockedMessage(this.#path, this.#lockMillisecondsMax), options);
    return new StoreUnavailableError(
      `${attempt} the store ${this.#path}: ${options.cause instanceof Error ? options.cause.message : String(options.cause)}`,
      options,
    );
  }

  #refuseIfClosed(): void {
    if (this.#isClosed) throw new StoreUnavailableError(`The store ${this.#path} is closed`);
  }

  /** Q5 */
  #noticeLoss(): void {
    const now = performance.now();
    if (now - this.#presenceSeenAt < this.#presenceMilliseconds) return;
    this.#presenceSeenAt = now;
    if (inodeOf(this.#path) !== this.#inode)
      this.#refusal ??= `The file of the store ${this.#path} was deleted or replaced while it was open, so nothing more can be written to it. Put the file back if you can, and start again`;
  }

  #refuseIfUnusable(): void {
    if (this.#refusal !== undefined) throw new StoreUnavailableError(this.#refusal);
  }

  /** Commits of other connections change `data_version`; own ones do not. */
  #startPolling(): void {
    let seen = this.#dataVersion();
    this.#poll = setInterval(() => {
      const now = this.#dataVersion();
      if (now !== seen) this.#watchers.notifyAll();
      seen = now;
    }, this.#watchMilliseconds);
    this.#poll.unref();
  }

  /** `undefined` if the file cannot be read at the moment: a hint more or less. */
  #dataVersion(): unknown {
    try {
      return this.#statements.dataVersion.get()?.["data_version"];
    } catch {
      return undefined; // Reads and commits report what is wrong; a hint may be missing.
    }
  }
}

type Statements = ReturnType<typeof prepare>;

const texts = {
  beginRead: "BEGIN",
  // Takes the write lock at once. Otherwise a transaction could read, find that another process wrote, and have to start over.
  beginWrite: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  rollback: "ROLLBACK",
  get: "SELECT value, version FROM kv WHERE key = ?",
  range: "SELECT key, value, version FROM kv WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
  rangeReverse: "SELECT key, value, version FROM kv WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?",
  versionOf: "SELECT version FROM kv WHERE key = ?",
  set: "INSERT INTO kv VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version",
  insertAbsent: "INSERT INTO kv VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING",
  replaceVersion: "UPDATE kv SET value = ?, version = ? WHERE key = ? AND version = ?",
  delete: "DELETE FROM kv WHERE key = ?",
  deleteRange: "DELETE FROM kv WHERE key >= ? AND key < ?",
  version: "SELECT version FROM counter",
  setVersion: "UPDATE counter SET version = ?",
  dataVersion: "PRAGMA data_version",
} as const;

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

function prepare(database: DatabaseSync): { readonly [name in keyof typeof texts]: StatementSync } {
  const entries = Object.entries(texts).map(([name, text]) => [name, database.prepare(text)]);
  return Object.fromEntries(entries) as { [name in keyof typeof texts]: StatementSync };
}

async function retryWhileLocked<T>(path: string, millisecondsMax: number, work: () => T): Promise<T> {
  const since = performance.now();
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (sqliteErrorKind(error) !== "busy") throw error;
      if (performance.now() - since >= millisecondsMax)
        throw new StoreUnavailableError(lockedMessage(path, millisecondsMax), { cause: error });
    }
    await pause(pauseFor(performance.now() - since));
  }
}

/** How long to leave a lock alone after `waited`: short at first, as most are held for a millisecond. */
function pauseFor(waited: number): number {
  return Math.min(Math.max(waited / 4, 1), 20);
}

function lockedMessage(path: string, milliseconds: number): string {
  return `Another process has held the lock of the store ${path} for ${milliseconds} ms: it is stuck, or is not Kelpie`;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, milliseconds));
}
