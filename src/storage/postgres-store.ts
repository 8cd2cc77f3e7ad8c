/**
 * A store in PostgreSQL, for many nodes: each has a `PostgresStore` over the same schema.
 *
 * P1. A batch is checked and written by one statement under READ COMMITTED, which locks its keys in order
 *     (postgres-functions.ts); batches that wait at the same time share one, as a group.
 * P2. All queries of one statement have one snapshot, so reads that wait at the same time share one too.
 * P3. An outcome that a lost connection left open is settled before anything else is sent on its lane
 *     (postgres-lane.ts). Callers learn of it only if that takes longer than they are made to wait.
 * P4. At most `connections` connections, however many wait; what waits is bounded by count, bytes and time.
 * P5. Nothing depends on a session of the server: a transaction-pooling proxy may stand between.
 *
 * A failover keeps what was acknowledged only if the replication is synchronous. One that lost something shows as
 * another generation, and no check made before can hold by chance after it (postgres-version.ts).
 */
import type { Client, ClientConfig } from "pg";
import { ChangePoll } from "./change-poll.ts";
import { explainPostgresError, postgresErrorKind } from "./postgres-errors.ts";
import { type LaneOptions, PostgresLane } from "./postgres-lane.ts";
import { forgetOldLanes, type History, inspectSchema, PostgresDatabaseError, prepareSchema } from "./postgres-schema.ts";
import { RecentOutcomes } from "./recent-outcomes.ts";
import {
  type Answer,
  type Batch,
  type BatchId,
  CommitUnknownError,
  type CommitOutcome,
  type Key,
  type Query,
  type Store,
  type StoreLimits,
  storeLimits,
  StoreUnavailableError,
  validateBatch,
  validateQueries,
} from "./store.ts";

export interface PostgresStoreOptions {
  /** Everything of the store is in this schema; several stores may share a database. "kelpie" by default. */
  readonly schema?: string;
  /** 1 to 16; 8 by default. */
  readonly connections?: number;
  /** How long a call waits for a server that is away, starting or busy. 10,000 by default. */
  readonly waitMillisecondsMax?: number;
  /** How long a statement may take before its connection is given up. 30,000 by default. */
  readonly answerMillisecondsMax?: number;
  /** How often a watched key is looked at. 100 by default. */
  readonly watchMilliseconds?: number;
  /** Called with the new generation: everything that was read before may be of a history that is no more. */
  readonly onGenerationChange?: (generation: string) => void;
}

export const connectionsMax = 16;
const connectionsByDefault = 8;
const schemaByDefault = "kelpie";
const waitMillisecondsByDefault = 10_000;
const watchMillisecondsByDefault = 100;

/** One statement holds at most this much. Its locks are held until it is on disk. */
const groupBatchesMax = 512;
const groupBytesMax = 4_000_000;
const groupQueriesMax = 512;
const groupEntriesMax = 10_000;

/** What may wait. Past it, calls fail at once. */
const waitingBatchesMax = 100_000;
const waitingBytesMax = 256_000_000;
const waitingReadsMax = 100_000;

/** How often a batch is sent again after the server undid it for no fault of its own. */
const attemptsMax = 20;
const reconnectMillisecondsMax = 500;
const tickMilliseconds = 100;

interface WaitingBatch {
  readonly batch: Batch;
  readonly bytes: number;
  deadline: number;
  attempts: number;
  /** Goes in a group of its own: another group failed that it was in. */
  isAlone: boolean;
  /** `undefined`: its caller was told that the outcome is unknown. */
  answer: PromiseWithResolvers<CommitOutcome> | undefined;
}

interface WaitingRead {
  readonly queries: readonly Query[];
  readonly entries: number;
  readonly deadline: number;
  readonly answer: PromiseWithResolvers<readonly Answer[]>;
}

/** A lane and what the store knows of it. */
interface Worker {
  readonly lane: PostgresLane;
  isBusy: boolean;
  /** The group whose outcome is open (P3). */
  doubt: readonly WaitingBatch[] | undefined;
}

export class PostgresStore implements Store {
  readonly limits: StoreLimits = storeLimits;
  /** What weakens the promises of the store, in sentences for the person who runs it. */
  readonly warnings: readonly string[];
  readonly #name: string;
  readonly #options: PostgresStoreOptions;
  readonly #workers: readonly Worker[];
  readonly #committersMax: number;
  readonly #waitMillisecondsMax: number;
  readonly #poll: ChangePoll;
  #outcomes: RecentOutcomes = new RecentOutcomes(() => performance.now());
  #batches: WaitingBatch[] = [];
  #waitingBytes = 0;
  #reads: WaitingRead[] = [];
  readonly #pending = new Map<BatchId, Promise<CommitOutcome>>();
  /** Batches in doubt whose callers were told so. */
  readonly #doubtful = new Map<BatchId, WaitingBatch>();
  readonly #readsInWork = new Set<WaitingRead>();
  #committers = 0;
  #connecting = 0;
  #dispatchIsScheduled = false;
  #tick: NodeJS.Timeout | undefined;
  #lastError: unknown;
  #isClosed = false;
  #history: History;

  private constructor(
    name: string,
    lanes: readonly PostgresLane[],
    { history, warnings }: { readonly history: History; readonly warnings: readonly string[] },
    options: PostgresStoreOptions,
  ) {
    this.#name = name;
    this.#options = options;
    this.#workers = lanes.map((lane) => ({ lane, isBusy: false, doubt: undefined }));
    this.#committersMax = Math.ceil(lanes.length / 2);
    this.#waitMillisecondsMax = options.waitMillisecondsMax ?? waitMillisecondsByDefault;
    this.#poll = new ChangePoll((queries) => this.read(queries), options.watchMilliseconds ?? watchMillisecondsByDefault);
    this.#history = history;
    this.warnings = warnings;
  }

  /**
   * Connects to `address` (postgres://user:password@host:port/database), and makes the schema if there is none.
   *
   * @throws {PostgresDatabaseError} The database or the schema cannot be used for a store.
   * @throws {StoreUnavailableError} The server cannot be reached, or refused.
   */
  static async open(address: string, options: PostgresStoreOptions = {}): Promise<PostgresStore> {
    const connections = options.connections ?? connectionsByDefault;
    if (!Number.isInteger(connections) || connections < 1 || connections > connectionsMax)
      throw new RangeError(`A store has 1 to ${connectionsMax} connections, not ${connections}`);
    const schema = options.schema ?? schemaByDefault;
    const laneOptions = await laneOptionsFor(address, options);
    const lanes = Array.from({ length: connections }, () => new PostgresLane(laneOptions));
    const name = nameOf(address);
    let warnings: readonly string[] = [];
    const prepare = async (client: Client): Promise<void> => {
      warnings = await prepareSchema(client, schema);
      await forgetOldLanes(client, schema);
    };
    const history = await retryWithin(options.waitMillisecondsMax ?? waitMillisecondsByDefault, name, () => lanes[0]!.connect(prepare));
    return new PostgresStore(name, lanes, { history, warnings }, options);
  }

  /**
   * What `open` would find at `address`; nothing is made, changed or waited for.
   *
   * @throws {PostgresDatabaseError} @throws {StoreUnavailableError}
   */
  static async inspect(
    address: string,
    options: PostgresStoreOptions = {},
  ): Promise<{ readonly isMade: boolean; readonly warnings: readonly string[] }> {
    const lane = new PostgresLane(await laneOptionsFor(address, options));
    let found = { isMade: false, warnings: [] as readonly string[] };
    await retryWithin(0, nameOf(address), () =>
      lane.connect(async (client) => void (found = await inspectSchema(client, options.schema ?? schemaByDefault))),
    );
    await lane.close();
    return found;
  }

  /** The history that the store's entries belong to: the database cluster and its timeline. Another one after some failovers and restores. */
  generation(): string {
    return `${this.#history.systemIdentifier}/${this.#history.timeline}`;
  }

  async read(queries: readonly Query[]): Promise<readonly Answer[]> {
    validateQueries(queries, this.limits);
    this.#refuseIfClosed();
    if (queries.length === 0) return [];
    if (this.#reads.length >= waitingReadsMax)
      throw new StoreUnavailableError(`${this.#reads.length} reads wait for ${this.#name}: try again later`);
    const entries = queries.reduce((sum, query) => sum + ("key" in query ? 1 : query.limit), 0);
    const answer = Promise.withResolvers<readonly Answer[]>();
    this.#reads.push({ queries, entries, deadline: performance.now() + this.#waitMillisecondsMax, answer });
    this.#scheduleDispatch();
    return await answer.promise;
  }

  async commit(batch: Batch): Promise<CommitOutcome> {
    const bytes = validateBatch(batch, this.limits);
    const known = this.#outcomes.get(batch.id) ?? this.#pending.get(batch.id);
    if (known !== undefined) return await known;
    this.#refuseIfClosed();
    const answer = Promise.withResolvers<CommitOutcome>();
    const deadline = performance.now() + this.#waitMillisecondsMax;
    const doubtful = this.#doubtful.get(batch.id);
    if (doubtful !== undefined) {
      this.#doubtful.delete(batch.id);
      doubtful.answer = answer;
      doubtful.deadline = deadline;
    } else {
      if (this.#batches.length >= waitingBatchesMax || this.#waitingBytes + bytes > waitingBytesMax)
        throw new StoreUnavailableError(`${this.#batches.length} batches wait for ${this.#name}: try again later`);
      this.#batches.push({ batch, bytes, deadline, attempts: 0, isAlone: false, answer });
      this.#waitingBytes += bytes;
    }
    this.#pending.set(batch.id, answer.promise);
    this.#scheduleDispatch();
    return await answer.promise;
  }

  /** Hints at once of this node's batches, and by looking now and then of others'. One hint comes when it begins to look. */
  watch(keys: readonly Key[], signal: AbortSignal): AsyncIterable<void> {
    return this.#poll.watch(keys, signal);
  }

  /** Waits for what was asked of it, and closes its connections. What comes later is refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#poll.stop();
    while (this.#pending.size > 0 || this.#reads.length > 0 || this.#readsInWork.size > 0) await pause(5);
    while (this.#workers.some(({ isBusy }) => isBusy)) await pause(5);
    await Promise.all(this.#workers.map(({ lane }) => lane.close()));
    clearInterval(this.#tick);
  }

  // Work: lanes that take groups from what waits.

  /** In the next turn of the event loop, so that what comes in this one goes together. */
  #scheduleDispatch(): void {
    this.#tick ??= setInterval(() => this.#expire(), tickMilliseconds);
    if (this.#dispatchIsScheduled) return;
    this.#dispatchIsScheduled = true;
    setImmediate(() => {
      this.#dispatchIsScheduled = false;
      this.#dispatch();
    });
  }

  /** Wakes a lane for what waits: one that is connected, or else a single one that connects. */
  #dispatch(): void {
    if (!this.#hasWork()) return;
    const idle = this.#workers.filter(({ isBusy }) => !isBusy);
    const worker = idle.find(({ lane }) => lane.isConnected) ?? (this.#connecting === 0 ? idle[0] : undefined);
    if (worker === undefined) return;
    void this.#work(worker);
  }

  #hasWork(): boolean {
    return this.#reads.length > 0 || (this.#batches.length > 0 && this.#committers < this.#committersMax);
  }

  /** Never throws. */
  async #work(worker: Worker): Promise<void> {
    worker.isBusy = true;
    for (let failures = 0; worker.doubt !== undefined ? !this.#isAbandoned() : this.#hasWork();) {
      if (!worker.lane.isConnected) {
        if (await this.#connect(worker.lane)) failures = 0;
        else await pause(Math.min(25 * 2 ** failures++, reconnectMillisecondsMax) * (0.5 + Math.random() / 2));
      } else if (worker.doubt !== undefined) await this.#settle(worker, worker.doubt);
      else if (this.#batches.length > 0 && this.#committers < this.#committersMax) await this.#commitGroup(worker);
      else await this.#readGroup(worker);
    }
    worker.isBusy = false;
  }

  /** Nobody waits any more for what is in doubt. */
  #isAbandoned(): boolean {
    return this.#isClosed && this.#pending.size === 0;
  }

  async #connect(lane: PostgresLane): Promise<boolean> {
    this.#connecting++;
    try {
      this.#noteHistory(await lane.connect());
      return true;
    } catch (error) {
      this.#lastError = error;
      return false;
    } finally {
      this.#connecting--;
      this.#dispatch();
    }
  }

  async #commitGroup(worker: Worker): Promise<void> {
    const group = this.#takeGroup();
    this.#committers++;
    this.#dispatch();
    try {
      const { timeline, outcomes } = await worker.lane.commit(group.map(({ batch }) => batch));
      this.#noteHistory({ ...this.#history, timeline });
      this.#resolve(group, outcomes);
    } catch (error) {
      this.#lastError = error;
      const kind = postgresErrorKind(error);
      if (kind === "moved") worker.lane.disconnect();
      if (kind === "suspect" && group.length > 1) for (const waiting of group) waiting.isAlone = true;
      if (kind === "lost") worker.doubt = group;
      else if (kind === "conflict" || kind === "moved" || (kind === "suspect" && group.length > 1)) this.#waitAgain(group);
      else for (const waiting of group) this.#reject(waiting, this.#unavailable("Cannot write to", error));
    } finally {
      this.#committers--;
    }
  }

  async #settle(worker: Worker, group: readonly WaitingBatch[]): Promise<void> {
    try {
      const { timeline, outcomes } = await worker.lane.settle();
      worker.doubt = undefined;
      this.#noteHistory({ ...this.#history, timeline });
      if (outcomes === undefined) this.#waitAgain(group);
      else this.#resolve(group, outcomes);
    } catch (error) {
      this.#lastError = error;
      // Over another connection: what is wrong may be this one.
      worker.lane.disconnect();
    }
  }

  async #readGroup({ lane }: Worker): Promise<void> {
    const group = this.#takeReads();
    if (group.length === 0) return;
    for (const read of group) this.#readsInWork.add(read);
    this.#dispatch();
    try {
      const { timeline, answers } = await lane.read(group.flatMap(({ queries }) => queries));
      this.#noteHistory({ ...this.#history, timeline });
      let at = 0;
      for (const { queries, answer } of group) answer.resolve(answers.slice(at, (at += queries.length)));
    } catch (error) {
      this.#lastError = error;
      const kind = postgresErrorKind(error);
      // A driver that knows its connection to be lost fails at once: asked again and again, it would let nothing else run.
      if (kind === "moved" || kind === "lost") lane.disconnect();
      if (kind === "lost" || kind === "conflict" || kind === "moved") this.#reads.unshift(...group);
      else for (const { answer } of group) answer.reject(this.#unavailable("Cannot read from", error));
    } finally {
      for (const read of group) this.#readsInWork.delete(read);
    }
  }

  // What waits.

  #takeGroup(): readonly WaitingBatch[] {
    const batches = this.#batches;
    let [count, bytes] = [1, batches[0]!.bytes];
    while (
      count < Math.min(batches.length, groupBatchesMax) &&
      bytes + batches[count]!.bytes <= groupBytesMax &&
      !batches[0]!.isAlone &&
      !batches[count]!.isAlone
    )
      bytes += batches[count++]!.bytes;
    this.#waitingBytes -= bytes;
    return batches.splice(0, count);
  }

  #takeReads(): readonly WaitingRead[] {
    const reads = this.#reads;
    let [count, queries, entries] = [0, 0, 0];
    for (const read of reads) {
      queries += read.queries.length;
      entries += read.entries;
      if (count > 0 && (queries > groupQueriesMax || entries > groupEntriesMax)) break;
      count++;
    }
    return reads.splice(0, count);
  }

  /** Puts back, in front, what was certainly not applied. */
  #waitAgain(group: readonly WaitingBatch[]): void {
    const again = group.filter((waiting) => {
      if (waiting.answer === undefined) this.#doubtful.delete(waiting.batch.id);
      else if (++waiting.attempts > attemptsMax) this.#reject(waiting, this.#unavailable("Cannot write to", this.#lastError));
      return waiting.answer !== undefined;
    });
    this.#batches.unshift(...again);
    for (const { bytes } of again) this.#waitingBytes += bytes;
  }

  #resolve(group: readonly WaitingBatch[], outcomes: readonly CommitOutcome[]): void {
    this.#outcomes.forgetOld();
    for (const [index, { batch, answer }] of group.entries()) {
      const outcome = outcomes[index]!;
      if (outcome.ok) this.#outcomes.set(batch.id, outcome);
      this.#pending.delete(batch.id);
      this.#doubtful.delete(batch.id);
      answer?.resolve(outcome);
      if (outcome.ok) this.#poll.notify(batch.writes);
    }
  }

  #reject(waiting: WaitingBatch, error: Error): void {
    this.#pending.delete(waiting.batch.id);
    waiting.answer?.reject(error);
    waiting.answer = undefined;
  }

  /** Now and then, while anything waits: tells those who have waited for too long what is known. */
  #expire(): void {
    this.#dispatch();
    const now = performance.now();
    while (this.#batches[0] !== undefined && this.#batches[0].deadline <= now) {
      const waiting = this.#batches.shift()!;
      this.#waitingBytes -= waiting.bytes;
      this.#reject(waiting, this.#unavailable("Cannot write to", this.#lastError));
    }
    while (this.#reads[0] !== undefined && this.#reads[0].deadline <= now)
      this.#reads.shift()!.answer.reject(this.#unavailable("Cannot read from", this.#lastError));
    // A connection that is silent is given up later: a large read may take as long.
    for (const { deadline, answer } of this.#readsInWork)
      if (deadline <= now) answer.reject(this.#unavailable("Cannot read from", this.#lastError));
    for (const waiting of this.#workers.flatMap(({ doubt }) => doubt ?? [])) {
      if (waiting.answer === undefined || waiting.deadline > now) continue;
      this.#reject(waiting, new CommitUnknownError(`The answer of ${this.#name} to a batch was lost`, { cause: this.#lastError }));
      this.#doubtful.set(waiting.batch.id, waiting);
    }
    if (this.#pending.size > 0 || this.#reads.length > 0 || this.#readsInWork.size > 0) return;
    clearInterval(this.#tick);
    this.#tick = undefined;
  }

  #unavailable(attempt: string, cause: unknown): StoreUnavailableError {
    const reason = cause === undefined ? `it has not answered for ${this.#waitMillisecondsMax} ms` : explainPostgresError(cause);
    return new StoreUnavailableError(`${attempt} ${this.#name}: ${reason}`, { cause });
  }

  #refuseIfClosed(): void {
    if (this.#isClosed) throw new StoreUnavailableError(`The store ${this.#name} is closed`);
  }

  /** Something went well, in this history. */
  #noteHistory(history: History): void {
    this.#lastError = undefined;
    const generation = this.generation();
    this.#history = history;
    if (this.generation() === generation) return;
    // What was acknowledged in the old history may not be in this one.
    this.#outcomes = new RecentOutcomes(() => performance.now());
    this.#options.onGenerationChange?.(this.generation());
  }
}

/** Only when it is used: a Kelpie without PostgreSQL does without the package. */
async function laneOptionsFor(address: string, options: PostgresStoreOptions): Promise<LaneOptions> {
  return {
    Client: await loadDriver(),
    address,
    schema: options.schema ?? schemaByDefault,
    answerMillisecondsMax: options.answerMillisecondsMax ?? 30_000,
  };
}

async function loadDriver(): Promise<new (config: ClientConfig) => Client> {
  try {
    return (await import("pg")).default.Client;
  } catch (error) {
    throw new StoreUnavailableError("A store in PostgreSQL needs the package pg: npm install pg", { cause: error });
  }
}

async function retryWithin<T>(milliseconds: number, name: string, work: () => Promise<T>): Promise<T> {
  const since = performance.now();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof PostgresDatabaseError) throw error;
      if (postgresErrorKind(error) === "refused" || performance.now() - since >= milliseconds)
        throw new StoreUnavailableError(`Cannot open ${name}: ${explainPostgresError(error)}`, { cause: error });
    }
    await pause(reconnectMillisecondsMax / 4);
  }
}

/** For messages: without user and password. */
function nameOf(address: string): string {
  const url = URL.parse(address);
  if (url === null) return "the PostgreSQL database";
  const host = url.searchParams.get("host") ?? url.host;
  return `the PostgreSQL database ${url.pathname.slice(1)} at ${host || "localhost"}`;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, milliseconds));
}
