import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  clusterClock,
  FoundationDbCluster,
  type FoundationDbClusterOptions,
  noFoundationDbFaults,
} from "../../simulation/foundationdb-cluster.ts";
import { connectToModel } from "../../simulation/foundationdb-model.ts";
import { LiveKernel } from "../../simulation/live-kernel.ts";
import { KeyedRandom } from "../../simulation/random.ts";
import type { Environment } from "../environment/environment.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { errorCodes, type FoundationDbClient, FoundationDbError, isCertainlyNotCommitted, isRetryable } from "./foundationdb-client.ts";
import { bucketVersions, FoundationDbFormatError } from "./foundationdb-rows.ts";
import { FoundationDbStore, type FoundationDbStoreOptions } from "./foundationdb-store.ts";
import { describeStoreContract } from "./store.contract.ts";
import { bytes, set, text } from "./store-harness.contract.ts";
import { CommitUnknownError, type Entry, LimitError, type Store, StoreUnavailableError, type Write } from "./store.ts";

interface Bench {
  readonly cluster: FoundationDbCluster;
  readonly environment: Environment;
  connect(): FoundationDbClient;
  open(options?: FoundationDbStoreOptions): Promise<FoundationDbStore>;
}

/** A cluster that is a model, with its time: it runs whenever there is something to do. */
function bench(options: Partial<FoundationDbClusterOptions> = {}): Bench {
  const kernel = new LiveKernel({ guardsGlobals: false, limits: { eventsMax: Infinity, virtualMillisecondsMax: Infinity } });
  const clock = clusterClock(kernel);
  const random = new KeyedRandom(1).stream("cluster");
  const latencyMilliseconds = { lowest: 0.1, highest: 1 };
  const cluster = new FoundationDbCluster({ clock, random, latencyMilliseconds, commitBatchMilliseconds: 1, ...options });
  const { log } = new RealEnvironment({ write: () => {} });
  const environment: Environment = { clock, random, log, probe: () => {} };
  const connect = (): FoundationDbClient => connectToModel(cluster, clock);
  return { cluster, environment, connect, open: (more) => FoundationDbStore.open(connect(), environment, more) };
}

const benches = new WeakMap<Store, Bench>();
async function openOn(on: Bench): Promise<FoundationDbStore> {
  // Ten thousand batches that set one key take their turns.
  const store = await on.open({ waitMillisecondsMax: 1_000_000 });
  benches.set(store, on);
  return store;
}

describeStoreContract("FoundationDbStore on the model", {
  open: () => openOn(bench()),
  reopen: async (store) => {
    await store[Symbol.asyncDispose]();
    return await openOn(benches.get(store)!);
  },
});

/** A client whose transactions are those of `client`, but for what `change` puts in their place. */
function changed(client: FoundationDbClient, change: (transaction: ReturnType<FoundationDbClient["begin"]>) => void): FoundationDbClient {
  return {
    begin: (options) => {
      const transaction = client.begin(options);
      change(transaction);
      return transaction;
    },
    close: () => client.close(),
  };
}

async function entryOf(store: Store, key: string): Promise<Entry | undefined> {
  return (await store.read([{ key: bytes(key) }]))[0]![0];
}

describe("FoundationDbStore", () => {
  test("several nodes are one store", async () => {
    const { open } = bench();
    const [left, right] = [await open(), await open()];
    await left.commit({ id: "1", checks: [], writes: [set(bytes("a"), "left")] });
    const entry = (await entryOf(right, "a"))!;
    assert.equal(text(entry.value), "left");
    const writes: readonly Write[] = [set(bytes("a"), "again")];
    const checks = [{ key: bytes("a"), version: entry.version }];
    const outcomes = await Promise.all([left, right].map((store, at) => store.commit({ id: `race ${at}`, checks, writes })));
    assert.equal(outcomes.filter((outcome) => outcome.ok).length, 1);
  });

  test("a batch that was applied by one node is known to another", async () => {
    const { open } = bench();
    const batch = { id: "once", checks: [], writes: [{ kind: "add", key: bytes("n"), amount: 1n } as const] };
    const outcomes = await Promise.all([(await open()).commit(batch), (await open()).commit(batch), (await open()).commit(batch)]);
    for (const outcome of outcomes) assert.deepEqual(outcome, outcomes[0]);
    assert.equal((await entryOf(await open(), "n"))!.value[0], 1);
  });

  test("a batch is known for fifteen minutes at least, and forgotten in an hour", async () => {
    const { environment, open } = bench({ firstVersion: bucketVersions - 1_000 });
    const store = await open();
    const batch = { id: "long ago", checks: [], writes: [{ kind: "add", key: bytes("n"), amount: 1n } as const] };
    const first = await store.commit(batch);
    for (const [minutes, isKnown] of [
      [0, true],
      [14.9, true],
      [60, false],
    ] as const) {
      await environment.clock.sleep(minutes * 60_000);
      await store.commit({ id: `other ${minutes}`, checks: [], writes: [set(bytes("other"), "")] });
      const again = await store.commit(batch);
      assert.equal(JSON.stringify(again) === JSON.stringify(first), isKnown, `after ${minutes} minutes`);
    }
  });

  test("two names are two stores in one cluster", async () => {
    const { open } = bench();
    const [one, other] = [await open({ name: "one" }), await open({ name: "other" })];
    await one.commit({ id: "1", checks: [], writes: [set(bytes("a"), "1")] });
    await other.commit({ id: "1", checks: [], writes: [{ kind: "deleteRange", begin: bytes(""), end: Buffer.alloc(9, 0xff) }] });
    assert.equal(await entryOf(other, "a"), undefined);
    assert.equal(text((await entryOf(one, "a"))!.value), "1");
  });

  test("ids that only differ in what no Unicode is are two batches", async () => {
    const { open } = bench();
    const store = await open();
    for (const id of ["\ud800", "\ud801", "é", "e\u0301"])
      await store.commit({ id, checks: [], writes: [{ kind: "add", key: bytes("n"), amount: 1n }] });
    assert.equal((await entryOf(store, "n"))!.value[0], 4);
  });

  for (const name of ["", "x".repeat(65)])
    test(`a name of ${name.length} characters is refused`, async () => await assert.rejects(bench().open({ name }), RangeError));

  test("the longest name leaves room for the longest key, with a value of the most bytes", async () => {
    const store = await bench().open({ name: "é\u0800\0".repeat(21) });
    const key = new Uint8Array(store.limits.keyBytes).fill(0xff);
    const value = new Uint8Array(store.limits.valueBytes).fill(1);
    assert.equal((await store.commit({ id: "1", checks: [], writes: [{ kind: "set", key, value }] })).ok, true);
    assert.equal((await store.read([{ key }]))[0]![0]!.value.length, value.length);
  });

  test("a store that a newer Kelpie wrote is refused", async () => {
    const on = bench();
    await on.open();
    const transaction = on.connect().begin({ timeoutMilliseconds: 1_000 });
    transaction.set(Buffer.from("\x02kelpie\0\0", "latin1"), bytes("2"));
    await transaction.commit();
    await assert.rejects(on.open(), (error) => error instanceof FoundationDbFormatError && /has the format "2"/.test(error.message));
  });

  test("a batch whose conflict ranges make it too large is refused whole", async () => {
    const store = await bench().open();
    const writes = Array.from({ length: 300 }, (_, index) => set(Buffer.alloc(9_000, index), ""));
    await assert.rejects(
      store.commit({ id: "1", checks: [], writes }),
      (error) => error instanceof LimitError && /make several of it/.test(error.message),
    );
    assert.deepEqual(await store.read([{ begin: bytes(""), end: Buffer.alloc(9, 0xff), limit: 10 }]), [[]]);
  });

  test("a range that takes longer than five seconds says so", async () => {
    const { open, environment } = bench({ latencyMilliseconds: { lowest: 200, highest: 200 } });
    const store = await open();
    const value = new Uint8Array(99_000);
    const writes = Array.from({ length: 80 }, (_, index): Write => ({ kind: "set", key: bytes(String(index)), value }));
    await store.commit({ id: "1", checks: [], writes });
    const before = environment.clock.elapsed();
    await assert.rejects(
      store.read([{ begin: bytes(""), end: bytes("~"), limit: 80 }]),
      (error) => error instanceof StoreUnavailableError && /older than 5 seconds.*Ask for less at once/.test(error.message),
    );
    assert.ok(environment.clock.elapsed() - before <= 11_000);
    assert.equal((await store.read([{ begin: bytes(""), end: bytes("~"), limit: 9 }]))[0]!.length, 9);
  });

  test("a cluster that does not answer gives an error in time, and says what to look at", async () => {
    const on = bench({ faults: { ...noFoundationDbFaults, readFails: 1 } });
    await assert.rejects(on.open({ waitMillisecondsMax: 3_000 }), (error) => error instanceof StoreUnavailableError);
    assert.ok(on.environment.clock.elapsed() < 4_000);
  });

  for (const [fate, expected] of [
    ["commitRefused", StoreUnavailableError],
    ["unknownLost", CommitUnknownError],
    ["silent", CommitUnknownError],
  ] as const)
    test(`a commit that always ends as ${fate} is a ${expected.name}`, async () => {
      const on = bench();
      await (await on.open())[Symbol.asyncDispose]();
      const always = { ...noFoundationDbFaults, [fate]: 1 };
      const broken = new FoundationDbCluster({ ...on.cluster.options, faults: always });
      const store = await FoundationDbStore.open(
        changed(connectToModel(broken, on.environment.clock), (transaction) => {
          // The format's row is there already.
          const get = transaction.get.bind(transaction);
          transaction.get = async (key) => (text(key) === "\x02kelpie\0\0" ? bytes("1") : await get(key));
        }),
        on.environment,
        { waitMillisecondsMax: 2_000 },
      );
      const before = on.environment.clock.elapsed();
      await assert.rejects(store.commit({ id: "1", checks: [], writes: [set(bytes("a"), "1")] }), expected);
      assert.ok(on.environment.clock.elapsed() - before <= 3_000);
    });

  test("an outcome that was unknown is settled by the batch that is sent again", async () => {
    const on = bench({ faults: { ...noFoundationDbFaults, unknownApplied: 0.5, unknownLost: 0.3 } });
    const store = await on.open({ waitMillisecondsMax: 100_000 });
    for (let round = 0; round < 200; round++)
      await store.commit({ id: `${round}`, checks: [], writes: [{ kind: "add", key: bytes("n"), amount: 1n }] });
    assert.equal((await entryOf(store, "n"))!.value[0], 200);
  });

  test("a closed store refuses what comes, after it has done what was asked", async () => {
    const store = await bench().open();
    const asked = Promise.all([1, 2, 3].map((each) => store.commit({ id: `${each}`, checks: [], writes: [set(bytes("a"), `${each}`)] })));
    await store[Symbol.asyncDispose]();
    assert.ok((await asked).every((outcome) => outcome.ok));
    await assert.rejects(store.commit({ id: "late", checks: [], writes: [] }), StoreUnavailableError);
    await assert.rejects(store.read([]), StoreUnavailableError);
  });

  test("hints come of other nodes' batches, also where every watch is lost or there are too many", async () => {
    const none = noFoundationDbFaults;
    for (const options of [{}, { faults: { ...none, watchLost: 1 } }, { watchesMax: 0 }, { faults: { ...none, watchSpurious: 1 } }]) {
      const { open } = bench(options);
      const [watching, writing] = [await open(), await open()];
      const end = new AbortController();
      const hints = watching.watch([bytes("a")], end.signal)[Symbol.asyncIterator]();
      // The first says that it has begun to look.
      assert.equal((await hints.next()).done, false);
      for (let round = 0; round < 3; round++) {
        const hint = hints.next();
        await writing.commit({ id: `${round}`, checks: [], writes: [set(bytes("a"), `${round}`)] });
        assert.equal((await hint).done, false);
      }
      end.abort();
      assert.equal((await hints.next()).done, true);
    }
  });

  test("many who wait for one key need one watch", async () => {
    const { open } = bench({ watchesMax: 1 });
    const [watching, writing] = [await open({ watchMilliseconds: 1e9 }), await open()];
    const end = new AbortController();
    const hints = Array.from({ length: 50 }, () => watching.watch([bytes("a")], end.signal)[Symbol.asyncIterator]());
    await Promise.all(hints.map((each) => each.next()));
    const next = hints.map((each) => each.next());
    await writing.commit({ id: "1", checks: [], writes: [set(bytes("a"), "1")] });
    for (const hint of next) assert.equal((await hint).done, false);
    end.abort();
  });
});

test("The predicates of errors are those of the C library", () => {
  const maybe = [1021, 1039];
  const notCommitted = [1007, 1009, 1020, 1037, 1038, 1042, 1051, 1078, 1213, 1223, 1235];
  for (let code = 1_000; code < 5_000; code++) {
    assert.equal(isRetryable(code), maybe.includes(code) || notCommitted.includes(code), `${code}`);
    assert.equal(isCertainlyNotCommitted(code), notCommitted.includes(code) || (code >= 2_000 && code < 3_000), `${code}`);
  }
  for (const open of [errorCodes.transactionTimedOut, errorCodes.transactionCancelled, 1_100, 4_100])
    assert.equal(isCertainlyNotCommitted(open), false);
  assert.match(new FoundationDbError(1020).message, /conflicts.*1020/);
});
