/** What the model of FoundationDB promises (D1 to D6): a store tested on it is worth what these are. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Clock } from "../src/environment/environment.ts";
import { errorCodes, FoundationDbError } from "../src/storage/foundationdb-client.ts";
import { clusterClock, FoundationDbCluster, type FoundationDbClusterOptions, noFoundationDbFaults } from "./foundationdb-cluster.ts";
import { beginInModel, type ModelTransaction } from "./foundationdb-model.ts";
import { LiveKernel } from "./live-kernel.ts";
import { KeyedRandom } from "./random.ts";

interface Bench {
  readonly clock: Clock;
  readonly cluster: FoundationDbCluster;
  begin(timeoutMilliseconds?: number): ModelTransaction;
}

function bench(options: Partial<FoundationDbClusterOptions> = {}): Bench {
  const clock = clusterClock(new LiveKernel({ guardsGlobals: false, limits: { virtualMillisecondsMax: Infinity } }));
  const random = new KeyedRandom(1).stream("cluster");
  const cluster = new FoundationDbCluster({ clock, random, latencyMilliseconds: { lowest: 1, highest: 1 }, ...options });
  return { clock, cluster, begin: (timeoutMilliseconds = 60_000) => beginInModel(cluster, clock, timeoutMilliseconds) };
}

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

async function write(on: Bench, key: string, value: string): Promise<void> {
  const transaction = on.begin();
  transaction.set(bytes(key), bytes(value));
  await transaction.commit();
}

async function read(on: Bench, key: string): Promise<string | undefined> {
  const value = await on.begin().get(bytes(key));
  return value === undefined ? undefined : Buffer.from(value).toString("latin1");
}

async function rejectsWith(code: number, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof FoundationDbError && error.code === code, `error ${code}`);
}

describe("D1: reads", () => {
  test("a transaction reads one version, whatever is committed meanwhile", async () => {
    const on = bench();
    await write(on, "a", "old");
    const reader = on.begin();
    assert.equal((await reader.get(bytes("a")))?.toString(), "old");
    await write(on, "a", "new");
    await write(on, "b", "new");
    assert.equal((await reader.get(bytes("a")))?.toString(), "old");
    assert.equal(await reader.get(bytes("b")), undefined);
    assert.equal(await read(on, "a"), "new");
  });

  test("a transaction sees its own writes, and no versionstamp of its own", async () => {
    const on = bench();
    await write(on, "a", "\u0005");
    const transaction = on.begin();
    transaction.add(bytes("a"), bytes("\u0002"));
    assert.deepEqual(await transaction.get(bytes("a")), Uint8Array.of(7));
    transaction.clear(bytes("a"));
    assert.equal(await transaction.get(bytes("a")), undefined);
    transaction.set(bytes("a"), bytes("set"));
    assert.equal(Buffer.from((await transaction.get(bytes("a")))!).toString(), "set");
    transaction.setVersionstampedValue(bytes("a"), bytes(""));
    await rejectsWith(1036, transaction.get(bytes("a")));
  });

  test("a range comes in pages of one version, in either direction", async () => {
    const on = bench();
    const value = "x".repeat(30_000);
    for (let index = 0; index < 9; index++) await write(on, `k${index}`, value);
    for (const reverse of [false, true]) {
      const pages: string[][] = [];
      for await (const page of on.begin().getRange(bytes("k1"), bytes("k9"), { limit: 6, reverse })) {
        pages.push(page.map(([key]) => Buffer.from(key).toString()));
        await write(on, "k5", "");
        await write(on, "k55", "");
      }
      const all = reverse ? ["k8", "k7", "k6", "k5", "k4", "k3"] : ["k1", "k2", "k3", "k4", "k5", "k6"];
      assert.ok(pages.length > 1);
      assert.deepEqual(pages.flat(), reverse ? ["k8", "k7", "k6", "k55", "k5", "k4"] : all);
      if (!reverse) await write(on, "k5", value);
    }
  });
});

describe("D2: conflicts", () => {
  // What the one reads, what the other writes meanwhile, whether the one is refused.
  for (const [title, reads, writes, conflicts] of [
    ["a key that was read and set", (one) => one.get(bytes("a")), (other) => other.set(bytes("a"), bytes("2")), true],
    ["a key that was read and cleared", (one) => one.get(bytes("a")), (other) => other.clear(bytes("a")), true],
    ["a key that was read and added to", (one) => one.get(bytes("a")), (other) => other.add(bytes("a"), bytes("1")), true],
    ["a key in a range that was cleared", (one) => one.get(bytes("b")), (other) => other.clearRange(bytes("a"), bytes("c")), true],
    ["the end of a range that was cleared", (one) => one.get(bytes("c")), (other) => other.clearRange(bytes("a"), bytes("c")), false],
    ["an absent key that was read and set", (one) => one.get(bytes("x")), (other) => other.set(bytes("x"), bytes("2")), true],
    ["a key that was only named", (one) => one.addReadConflictKey(bytes("a")), (other) => other.set(bytes("a"), bytes("2")), true],
    ["a key that was not read", (one) => one.get(bytes("b")), (other) => other.set(bytes("a"), bytes("2")), false],
    ["its own write", (one) => one.set(bytes("a"), bytes("1")), (other) => other.set(bytes("a"), bytes("2")), false],
  ] as readonly (readonly [string, (one: ModelTransaction) => unknown, (other: ModelTransaction) => void, boolean])[])
    test(`${title} is ${conflicts ? "" : "no "}conflict`, async () => {
      const on = bench();
      for (const key of ["a", "b", "c"]) await write(on, key, "1");
      const [one, other] = [on.begin(), on.begin()];
      await one.readVersion();
      await reads(one);
      writes(other);
      await other.commit();
      one.set(bytes("result"), bytes(""));
      if (conflicts) await rejectsWith(errorCodes.notCommitted, one.commit());
      else await one.commit();
      assert.equal((await read(on, "result")) === undefined, conflicts);
    });

  test("a phantom in a range that was read is a conflict", async () => {
    const on = bench();
    const one = on.begin();
    for await (const _ of one.getRange(bytes("a"), bytes("c"), { limit: 9, reverse: false }));
    await write(on, "b", "1");
    one.set(bytes("x"), bytes(""));
    await rejectsWith(errorCodes.notCommitted, one.commit());
  });

  test("a transaction that was cleared of another key and set again conflicts all the same: what counts is that it was written", async () => {
    const on = bench();
    const one = on.begin();
    assert.equal(await one.get(bytes("a")), undefined);
    await write(on, "a", "1");
    const other = on.begin();
    other.clear(bytes("a"));
    await other.commit();
    one.set(bytes("x"), bytes(""));
    await rejectsWith(errorCodes.notCommitted, one.commit());
  });

  test("commits that arrive together have one version and an order, and conflict in that order", async () => {
    const on = bench({ commitBatchMilliseconds: 5 });
    const [first, second, third] = [on.begin(), on.begin(), on.begin()];
    await Promise.all([first, second, third].map((each) => each.readVersion()));
    for (const each of [first, second, third]) each.setVersionstampedValue(bytes("a"), bytes("!"));
    third.addReadConflictKey(bytes("a"));
    const ends = await Promise.allSettled([first, second, third].map((each) => each.commit()));
    assert.deepEqual(
      ends.map(({ status }) => status),
      ["fulfilled", "fulfilled", "rejected"],
    );
    const [one, two] = [first.versionstamp(), second.versionstamp()];
    assert.deepEqual(one.subarray(0, 8), two.subarray(0, 8));
    assert.deepEqual([one[9], two[9]], [0, 1]);
    assert.equal(await read(on, "a"), `${Buffer.from(two).toString("latin1")}!`);
    assert.throws(() => third.versionstamp(), FoundationDbError);
  });

  test("any transactions are as if they were done one after the other, in the order of their versionstamps", async () => {
    const anyKey = fc.constantFrom("a", "b", "c");
    const anyWork = fc.record({ reads: fc.array(anyKey, { maxLength: 2 }), writes: fc.array(anyKey, { minLength: 1, maxLength: 2 }) });
    const property = fc.asyncProperty(fc.array(anyWork, { maxLength: 12 }), fc.nat(), async (all, seed) => {
      const random = new KeyedRandom(seed).stream("cluster");
      const on = bench({
        random,
        latencyMilliseconds: { lowest: 0, highest: 9 },
        commitBatchMilliseconds: seed % 6,
        versionsPerSecond: 100,
      });
      const done: { stamp: string; saw: readonly (string | undefined)[]; work: (typeof all)[number]; name: string }[] = [];
      const run = async (work: (typeof all)[number], at: number): Promise<void> => {
        await on.clock.sleep(random.fraction() * 20);
        const transaction = on.begin();
        const saw = await Promise.all(work.reads.map(async (key) => (await transaction.get(bytes(key)))?.toString()));
        for (const key of work.writes) transaction.set(bytes(key), bytes(`${at}`));
        await transaction.commit().then(
          () => done.push({ stamp: Buffer.from(transaction.versionstamp()).toString("hex"), saw, work, name: `${at}` }),
          (error: FoundationDbError) => assert.equal(error.code, errorCodes.notCommitted),
        );
      };
      await Promise.all(all.map(run));
      const state: { [key: string]: string } = {};
      for (const { saw, work, name } of done.toSorted((left, right) => (left.stamp < right.stamp ? -1 : 1))) {
        assert.deepEqual(
          saw,
          work.reads.map((key) => state[key]),
        );
        for (const key of work.writes) state[key] = name;
      }
      for (const key of ["a", "b", "c"]) assert.equal(await read(on, key), state[key]);
    });
    await fc.assert(property, { numRuns: 200 });
  });
});

describe("D3 and D4: limits", () => {
  test("five seconds after its read version a transaction can neither read nor commit", async () => {
    const on = bench();
    for (const [seconds, isOld] of [
      [4.9, false],
      [5.1, true],
    ] as const) {
      const [reading, committing, blind] = [on.begin(), on.begin(), on.begin()];
      await Promise.all([reading.readVersion(), committing.get(bytes("a")), blind.readVersion()]);
      await on.clock.sleep(seconds * 1_000);
      committing.set(bytes("b"), bytes(""));
      blind.set(bytes("c"), bytes(""));
      const ends = await Promise.allSettled([reading.get(bytes("a")), committing.commit(), blind.commit()]);
      // One that has read nothing may be as old as it likes.
      assert.deepEqual(
        ends.map(({ status }) => status),
        [isOld ? "rejected" : "fulfilled", isOld ? "rejected" : "fulfilled", "fulfilled"],
      );
      for (const end of ends)
        if (end.status === "rejected") assert.equal((end.reason as FoundationDbError).code, errorCodes.transactionTooOld);
    }
  });

  for (const [code, prepare] of [
    [errorCodes.keyTooLarge, (each) => each.set(new Uint8Array(10_001), bytes(""))],
    [errorCodes.valueTooLarge, (each) => each.set(bytes("a"), new Uint8Array(100_001))],
    [errorCodes.keyOutsideLegalRange, (each) => each.set(Uint8Array.of(0xff), bytes(""))],
    [errorCodes.invertedRange, (each) => each.clearRange(bytes("b"), bytes("a"))],
    [errorCodes.transactionTooLarge, (each) => Array.from({ length: 101 }, (_, at) => each.set(bytes(`${at}`), new Uint8Array(100_000)))],
    [errorCodes.transactionTooLarge, (each) => Array.from({ length: 501 }, (_, at) => each.addReadConflictKey(Buffer.alloc(10_000, at)))],
  ] as readonly (readonly [number, (transaction: ModelTransaction) => unknown])[])
    test(`the commit of what is over a limit fails with ${code}, and nothing is written`, async () => {
      const on = bench();
      const transaction = on.begin();
      transaction.set(bytes("marker"), bytes(""));
      prepare(transaction);
      await rejectsWith(code, transaction.commit());
      assert.equal(await read(on, "marker"), undefined);
      await rejectsWith(code, transaction.onError(new FoundationDbError(code)));
    });

  test("the longest key and value are kept, and a transaction of almost 10 MB", async () => {
    const on = bench();
    const transaction = on.begin();
    transaction.set(Buffer.alloc(10_000, 1), new Uint8Array(100_000));
    for (let at = 0; at < 98; at++) transaction.set(bytes(`${at}`), new Uint8Array(100_000));
    await transaction.commit();
    assert.equal((await on.begin().get(Buffer.alloc(10_000, 1)))?.length, 100_000);
  });

  test("a transaction ends with its time, all its tries together", async () => {
    const on = bench({ faults: { ...noFoundationDbFaults, readFails: 1 } });
    const transaction = on.begin(1_000);
    let tries = 0;
    const tryAgain = async (): Promise<never> => {
      for (;;) {
        try {
          tries++;
          await transaction.readVersion();
        } catch (error) {
          await transaction.onError(error as FoundationDbError);
        }
      }
    };
    await rejectsWith(errorCodes.transactionTimedOut, tryAgain());
    assert.ok(tries > 3);
    assert.ok(Math.abs(on.clock.elapsed() - 1_000) < 2);
  });
});

describe("D5: unknown results", () => {
  for (const [fate, isThere, isThereLater] of [
    ["unknownApplied", true, true],
    ["unknownLost", false, false],
    ["unknownLate", false, true],
  ] as const)
    test(`${fate}: ${isThere ? "" : "not "}there at once, ${isThereLater ? "" : "not "}there later`, async () => {
      const on = bench({ faults: { ...noFoundationDbFaults, [fate]: 1 } });
      const transaction = on.begin();
      transaction.set(bytes("a"), bytes("1"));
      const error = await transaction.commit().catch((thrown: unknown) => thrown);
      assert.ok(error instanceof FoundationDbError && [1021, 1039].includes(error.code));
      assert.equal((await read(on, "a")) !== undefined, isThere);
      await on.clock.sleep(10_000);
      assert.equal((await read(on, "a")) !== undefined, isThereLater);
    });

  test("a commit that lands late conflicts as any other", async () => {
    let lateConflicts = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const random = new KeyedRandom(seed).stream("cluster");
      const on = bench({ random, faults: { ...noFoundationDbFaults, unknownLate: 1 }, faultsUntil: 20 });
      const late = on.begin();
      const before = await late.get(bytes("n"));
      late.set(bytes("n"), bytes("late"));
      await assert.rejects(late.commit());
      await on.clock.sleep(20);
      const retry = on.begin();
      const seen = await retry.get(bytes("n"));
      retry.set(bytes("n"), bytes("retry"));
      const isRetryDone = await retry.commit().then(
        () => true,
        () => false,
      );
      await on.clock.sleep(10_000);
      assert.equal(before, undefined);
      if (seen === undefined && isRetryDone) lateConflicts++;
      if (isRetryDone) assert.equal(await read(on, "n"), "retry");
    }
    assert.ok(lateConflicts > 10, `${lateConflicts}`);
  });

  test("a client that hears nothing is told that the time was over", async () => {
    const on = bench({ faults: { ...noFoundationDbFaults, silent: 1 } });
    const transaction = on.begin(500);
    transaction.set(bytes("a"), bytes("1"));
    await rejectsWith(errorCodes.transactionTimedOut, transaction.commit());
    assert.ok(on.clock.elapsed() >= 500);
  });

  test("a recovery loses what is on its way, makes old transactions too old, and versions go on growing", async () => {
    const on = bench({ commitBatchMilliseconds: 10 });
    const [lost, old] = [on.begin(), on.begin()];
    const before = await old.readVersion();
    lost.set(bytes("a"), bytes("1"));
    const ends = Promise.allSettled([lost.commit()]);
    await on.clock.sleep(5);
    on.cluster.recover();
    const [end] = await ends;
    assert.equal(end?.status === "rejected" && (end.reason as FoundationDbError).code, errorCodes.commitUnknownResult);
    await rejectsWith(errorCodes.transactionTooOld, old.get(bytes("a")));
    assert.ok((await on.begin().readVersion()) - before >= 100_000_000);
    assert.equal(await read(on, "a"), undefined);
  });
});

describe("D6: watches", () => {
  for (const [title, write, fires] of [
    ["another value", (each) => each.set(bytes("a"), bytes("2")), true],
    ["a clear", (each) => each.clear(bytes("a")), true],
    ["the same value", (each) => each.set(bytes("a"), bytes("1")), false],
    ["another key", (each) => each.set(bytes("b"), bytes("2")), false],
  ] as readonly (readonly [string, (transaction: ModelTransaction) => void, boolean])[])
    test(`${title} makes a watch ${fires ? "fire" : "wait"}`, async () => {
      const on = bench();
      const first = on.begin();
      first.set(bytes("a"), bytes("1"));
      await first.commit();
      const watching = on.begin();
      const watch = watching.watch(bytes("a"));
      await watching.commit();
      let hasFired = false;
      void watch.changed.then(() => (hasFired = true));
      const writing = on.begin();
      write(writing);
      await writing.commit();
      await on.clock.sleep(100);
      assert.equal(hasFired, fires);
      watch.cancel();
    });

  test("one watch too many fails, and one that was cancelled leaves room", async () => {
    const on = bench({ watchesMax: 1 });
    const client = on.begin();
    const watch = client.watch(bytes("a"));
    await rejectsWith(errorCodes.tooManyWatches, client.watch(bytes("b")).changed);
    watch.cancel();
    const again = client.watch(bytes("b"));
    await client.commit();
    await write(on, "b", "1");
    await again.changed;
  });
});
