/**
 * The client's side of the model of FoundationDB: `connectToModel` gives the port that the store uses.
 *
 * A transaction keeps what it has read and means to write, and sends it when it commits. Its calls take time, and end
 * with the transaction's own. What the cluster does is in `foundationdb-cluster.ts`, with the rules D1 to D6.
 */
import { compareBytes, keyAfter } from "../src/base/bytes.ts";
import type { Cancel, Clock } from "../src/environment/environment.ts";
import {
  errorCodes,
  type FoundationDbClient,
  type FoundationDbEntry,
  FoundationDbError,
  type FoundationDbTransaction,
  type FoundationDbWatch,
  isRetryable,
} from "../src/storage/foundationdb-client.ts";
import type { CommitRequest, FoundationDbCluster } from "./foundationdb-cluster.ts";
import { encodeStamp, type Mutation, mutate, operandBytes, type Range, type Stamp, touches } from "./foundationdb-mutations.ts";

const keyBytesMax = 10_000;
const valueBytesMax = 100_000;
const transactionBytesMax = 10_000_000;

/** Of a value that is read before its commit: a versionstamp cannot be. */
const noStamp: Stamp = { version: 0, order: 0 };

/** Where FoundationDB's own keys begin. */
const systemKeys = Uint8Array.of(0xff);

const readErrors = [
  errorCodes.futureVersion,
  errorCodes.processBehind,
  errorCodes.transactionTooOld,
  errorCodes.databaseLocked,
  errorCodes.batchTransactionThrottled,
  errorCodes.grvProxyMemoryLimitExceeded,
  errorCodes.tagThrottled,
  errorCodes.clusterVersionChanged,
];
const commitErrors = [
  errorCodes.notCommitted,
  errorCodes.transactionTooOld,
  errorCodes.databaseLocked,
  errorCodes.commitProxyMemoryLimitExceeded,
  errorCodes.transactionThrottledHotShard,
];

/** A transaction of a client of its own, with what the port leaves out of FoundationDB. */
export function beginInModel(cluster: FoundationDbCluster, clock: Clock, timeoutMilliseconds: number): ModelTransaction {
  return new ModelTransaction({ cluster, clock, timeoutMilliseconds, countWatch: watchCounter(cluster) });
}

/** A client that lives by `clock`: its process's, so that nothing reaches a process that has crashed. */
export function connectToModel(cluster: FoundationDbCluster, clock: Clock): FoundationDbClient {
  const countWatch = watchCounter(cluster);
  return {
    begin: ({ timeoutMilliseconds }) => new ModelTransaction({ cluster, clock, timeoutMilliseconds, countWatch }),
    close: () => {},
  };
}

/** Counts the watches of a client; false if there are too many. */
function watchCounter(cluster: FoundationDbCluster): (change: 1 | -1) => boolean {
  let watches = 0;
  return (change) => {
    if (change > 0 && watches >= (cluster.options.watchesMax ?? 10_000)) return false;
    watches += change;
    return true;
  };
}

interface ModelTransactionOptions {
  readonly cluster: FoundationDbCluster;
  /** The client's. */
  readonly clock: Clock;
  readonly timeoutMilliseconds: number;
  readonly countWatch: (change: 1 | -1) => boolean;
}

export class ModelTransaction implements FoundationDbTransaction {
  readonly #options: ModelTransactionOptions;
  readonly #deadline: number;
  readonly #calls = new Set<(error: FoundationDbError) => void>();
  #timeout: Cancel | undefined;
  #tries = 0;
  #readVersion: Promise<number> | undefined;
  #reads: Range[] = [];
  #mutations: Mutation[] = [];
  #watches: { readonly key: Uint8Array; start(): void; fail(error: FoundationDbError): void }[] = [];
  /** What was wrong with a call that cannot fail: `commit` says it. */
  #refusal: FoundationDbError | undefined;
  #isCommitting = false;
  #committed: Stamp | undefined;

  constructor(options: ModelTransactionOptions) {
    this.#options = options;
    this.#deadline = options.clock.elapsed() + options.timeoutMilliseconds;
  }

  readVersion(): Promise<number> {
    this.#readVersion ??= this.#call(() => {
      this.#failNowAndThen();
      return this.#options.cluster.readVersion();
    });
    return this.#readVersion;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#refuseDuringCommit();
    if (key.length > keyBytesMax) throw new FoundationDbError(errorCodes.keyTooLarge);
    const own = this.#mutations.filter((mutation) => touches(mutation, key));
    const last = own.findLast((mutation) => mutation.kind !== "add");
    if (last?.kind === "versionstamp") throw new FoundationDbError(1036, "a versionstamp cannot be read before its commit");
    let value: Uint8Array | undefined;
    if (last === undefined) {
      this.#reads.push([key, keyAfter(key)]);
      const version = await this.readVersion();
      value = await this.#call(() => {
        this.#failNowAndThen();
        return this.#options.cluster.get(key, version);
      });
    }
    return own.reduce<Uint8Array | undefined>((before, mutation) => mutate(before, mutation, noStamp), value);
  }

  async *getRange(
    begin: Uint8Array,
    end: Uint8Array,
    options: { readonly limit: number; readonly reverse: boolean },
  ): AsyncGenerator<readonly FoundationDbEntry[]> {
    this.#refuseDuringCommit();
    if (compareBytes(begin, end) > 0) throw new FoundationDbError(errorCodes.invertedRange);
    this.#reads.push([begin, end]);
    if (this.#mutations.length > 0)
      throw new FoundationDbError(errorCodes.clientInvalidOperation, "this model reads ranges only before the transaction writes");
    const version = await this.readVersion();
    let [from, to, left] = [begin, end, options.limit];
    while (left > 0) {
      const [low, high, limit] = [from, to, left];
      const page = await this.#call(() => {
        this.#failNowAndThen();
        return this.#options.cluster.getRange(low, high, { version, limit, reverse: options.reverse });
      });
      const last = page.at(-1);
      if (last === undefined) return;
      left -= page.length;
      if (options.reverse) to = last[0];
      else from = keyAfter(last[0]);
      yield page;
    }
  }

  set(key: Uint8Array, value: Uint8Array): void {
    this.#mutate(key, value.length, { kind: "set", key, value });
  }

  clear(key: Uint8Array): void {
    this.clearRange(key, keyAfter(key));
  }

  clearRange(begin: Uint8Array, end: Uint8Array): void {
    this.#refuseDuringCommit();
    if (compareBytes(begin, end) > 0) this.#refusal ??= new FoundationDbError(errorCodes.invertedRange);
    if (compareBytes(end, systemKeys) > 0) this.#refusal ??= new FoundationDbError(errorCodes.keyOutsideLegalRange);
    this.#mutations.push({ kind: "clearRange", begin, end });
  }

  /** FoundationDB's atomic ADD: without a read, so without a conflict. Not part of the port: nothing of Kelpie's uses it. */
  add(key: Uint8Array, operand: Uint8Array): void {
    this.#mutate(key, operand.length, { kind: "add", key, operand });
  }

  /** FoundationDB's SET_VERSIONSTAMPED_VALUE with the stamp in front. Not part of the port, as `add`. */
  setVersionstampedValue(key: Uint8Array, rest: Uint8Array): void {
    this.#mutate(key, rest.length + 10, { kind: "versionstamp", key, rest });
  }

  /** Of the commit that was done. */
  versionstamp(): Uint8Array {
    if (this.#committed === undefined) throw new FoundationDbError(2021, "the transaction wrote nothing or is not committed");
    return encodeStamp(this.#committed);
  }

  addReadConflictKey(key: Uint8Array): void {
    this.#refuseDuringCommit();
    this.#reads.push([key, keyAfter(key)]);
  }

  async commit(): Promise<void> {
    this.#refuseDuringCommit();
    this.#isCommitting = true;
    try {
      if (this.#refusal !== undefined) throw this.#refusal;
      if (this.#size() > transactionBytesMax) throw new FoundationDbError(errorCodes.transactionTooLarge);
      if (this.#mutations.length > 0) {
        const readVersion = this.#reads.length > 0 ? await this.readVersion() : undefined;
        this.#committed = await this.#send({ readVersion, reads: this.#reads, mutations: this.#mutations });
      }
      for (const watch of this.#watches.splice(0)) watch.start();
    } catch (error) {
      for (const watch of this.#watches.splice(0)) watch.fail(error as FoundationDbError);
      throw error;
    } finally {
      this.#isCommitting = false;
    }
  }

  async onError(error: FoundationDbError): Promise<void> {
    if (!isRetryable(error.code)) throw error;
    // What is still on its way belongs to the try before.
    for (const fail of this.#calls) fail(new FoundationDbError(errorCodes.transactionCancelled));
    for (const watch of this.#watches.splice(0)) watch.fail(error);
    const backoff = Math.min(10 * 2 ** this.#tries++, 1_000) * this.#options.cluster.options.random.fraction();
    const { clock } = this.#options;
    await this.#until((resolve) => void clock.schedule(backoff, () => resolve(undefined)));
    this.#readVersion = undefined;
    this.#reads = [];
    this.#mutations = [];
    this.#refusal = undefined;
    this.#committed = undefined;
  }

  watch(key: Uint8Array): FoundationDbWatch {
    this.#refuseDuringCommit();
    const { cluster, clock, countWatch } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const isCounted = countWatch(1);
    let forget: () => void = () => {};
    let isOver = !isCounted;
    const end = (): void => {
      if (isOver) return;
      isOver = true;
      forget();
      countWatch(-1);
    };
    const fire = (delay: number): void =>
      void clock.schedule(delay, () => {
        end();
        resolve();
      });
    const readVersion = this.readVersion();
    const start = async (): Promise<void> => {
      const version = await readVersion;
      const seen = cluster.get(key, version);
      const isLost = cluster.happens("watchLost");
      if (cluster.happens("watchSpurious")) fire(cluster.latency() * 50);
      if (!isOver && !isLost) forget = cluster.watch(key, seen, () => fire(cluster.latency() * (cluster.happens("watchLate") ? 100 : 1)));
    };
    if (!isCounted) reject(new FoundationDbError(errorCodes.tooManyWatches));
    const fail = (error: FoundationDbError): void => {
      end();
      reject(error);
    };
    this.#watches.push({ key, start: () => void start().catch(fail), fail });
    return { changed: promise, cancel: end };
  }

  // Calls to the cluster.

  /** `work` happens at the cluster when the request arrives; the result arrives here later. */
  #call<T>(work: () => T): Promise<T> {
    const { cluster, clock } = this.#options;
    return this.#until((resolve, reject) => {
      cluster.options.clock.schedule(cluster.latency(), () => {
        let answer: () => void;
        try {
          const value = work();
          answer = () => resolve(value);
        } catch (error) {
          answer = () => reject(error as FoundationDbError);
        }
        clock.schedule(cluster.latency(), answer);
      });
    });
  }

  #send(request: CommitRequest): Promise<Stamp> {
    const { cluster, clock } = this.#options;
    const { random } = cluster.options;
    const back = (answer: () => void): void => void clock.schedule(cluster.latency(), answer);
    const arrive = (delay: number, answer: Parameters<FoundationDbCluster["commit"]>[1]): void =>
      void cluster.options.clock.schedule(delay, () => cluster.commit(request, answer));
    return this.#until((resolve, reject) => {
      const unknown = (): void =>
        back(() => reject(new FoundationDbError(random.chance(0.8) ? errorCodes.commitUnknownResult : errorCodes.clusterVersionChanged)));
      const late = (): number => cluster.latency() + random.fraction() * random.pick([100, 1_000, 8_000]);
      if (cluster.happens("commitRefused")) back(() => reject(new FoundationDbError(random.pick(commitErrors))));
      else if (cluster.happens("unknownApplied")) arrive(cluster.latency(), unknown);
      else if (cluster.happens("unknownLost")) unknown();
      else if (cluster.happens("unknownLate")) {
        arrive(late(), () => {});
        unknown();
      } else if (cluster.happens("silent")) {
        const fate = random.pick(["applied", "lost", "late"]);
        if (fate !== "lost") arrive(fate === "late" ? late() : cluster.latency(), () => {});
      } else arrive(cluster.latency(), (result) => back(() => (result instanceof FoundationDbError ? reject(result) : resolve(result))));
    });
  }

  /** A promise that also ends with the transaction's time, or when the transaction is made empty. */
  #until<T>(begin: (resolve: (value: T) => void, reject: (error: FoundationDbError) => void) => void): Promise<T> {
    const { clock } = this.#options;
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#calls.delete(fail);
        if (this.#calls.size > 0) return;
        this.#timeout?.();
        this.#timeout = undefined;
      };
      const fail = (error: FoundationDbError): void => {
        end();
        reject(error);
      };
      this.#calls.add(fail);
      this.#timeout ??= clock.schedule(Math.max(0, this.#deadline - clock.elapsed()), () => {
        for (const each of this.#calls) each(new FoundationDbError(errorCodes.transactionTimedOut));
      });
      begin((value) => {
        end();
        resolve(value);
      }, fail);
    });
  }

  #failNowAndThen(): void {
    const { cluster } = this.#options;
    if (cluster.happens("readFails")) throw new FoundationDbError(cluster.options.random.pick(readErrors));
  }

  #refuseDuringCommit(): void {
    if (this.#isCommitting) throw new FoundationDbError(errorCodes.usedDuringCommit, "the transaction was used during its commit");
  }

  #mutate(key: Uint8Array, valueBytes: number, mutation: Mutation): void {
    this.#refuseDuringCommit();
    if (compareBytes(key, systemKeys) >= 0) this.#refusal ??= new FoundationDbError(errorCodes.keyOutsideLegalRange);
    if (key.length > keyBytesMax) this.#refusal ??= new FoundationDbError(errorCodes.keyTooLarge);
    if (valueBytes > valueBytesMax) this.#refusal ??= new FoundationDbError(errorCodes.valueTooLarge);
    this.#mutations.push(mutation);
  }

  /** Keys and values of what is written, and both ends of every conflict range. */
  #size(): number {
    let bytes = 0;
    for (const [begin, end] of this.#reads) bytes += begin.length + end.length;
    for (const mutation of this.#mutations) {
      if (mutation.kind === "clearRange") bytes += 2 * (mutation.begin.length + mutation.end.length);
      else bytes += 3 * mutation.key.length + 1 + operandBytes(mutation);
    }
    return bytes;
  }
}
