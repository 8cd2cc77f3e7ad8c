import assert from "node:assert/strict";
import { test } from "node:test";
import type { Environment } from "../src/environment/environment.ts";
import { MemoryStore } from "../src/storage/memory-store.ts";
import { type Batch, CommitUnknownError, type Store, StoreUnavailableError } from "../src/storage/store.ts";
import { commitUntilKnown } from "../src/storage/transaction.ts";
import { Kernel } from "./kernel.ts";
import { SimulatedProcess } from "./process.ts";
import { KeyedRandom } from "./random.ts";
import { noStoreFaults, type StoreFaults, StoreTwin } from "./store-twin.ts";

const key = Buffer.from("key");
const batch: Batch = {
  id: "batch-1",
  checks: [{ key, version: null }],
  writes: [
    { kind: "set", key, value: Buffer.from("value") },
    { kind: "add", key: Buffer.from("count"), amount: 1n },
  ],
};

interface Bench {
  readonly kernel: Kernel;
  readonly disk: MemoryStore;
  readonly process: SimulatedProcess;
  readonly faults: string[];
  /** Times a batch was applied or refused. */
  readonly applied: string[];
}

/** A process that does `work` over a twin with these faults. */
function bench(faults: Partial<StoreFaults>, work: (store: Store, environment: Environment) => Promise<void>, seed = 1): Bench {
  const kernel = new Kernel();
  const disk = new MemoryStore();
  const random = new KeyedRandom(seed);
  const seen: string[] = [];
  const applied: string[] = [];
  const process = new SimulatedProcess(kernel, {
    name: "p",
    random,
    boot: (incarnation) => {
      const store = new StoreTwin({
        kernel,
        disk,
        incarnation,
        random,
        latencyMilliseconds: { lowest: 1, highest: 5 },
        faults: { ...noStoreFaults, ...faults },
        happens: (kind) => seen.push(kind) > 0,
        onApplied: (each, outcome) => void applied.push(`${each.id} ${outcome.ok ? "applied" : "refused"}`),
      });
      void work(store, incarnation.environment);
    },
  });
  process.start();
  return { kernel, disk, process, faults: seen, applied };
}

async function count(disk: MemoryStore): Promise<number> {
  const [answer] = await disk.read([{ key: Buffer.from("count") }]);
  return answer![0] === undefined ? 0 : Number(Buffer.from(answer![0].value).readBigInt64LE());
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

test("Without faults a twin answers like its store, later", async () => {
  const answers: unknown[] = [];
  const { kernel, faults } = bench({}, async (store, { clock }) => {
    answers.push((await store.commit(batch)).ok, (await store.commit({ ...batch, id: "batch-2" })).ok);
    answers.push((await store.read([{ key }]))[0]!.length);
    answers.push(clock.elapsed() >= 6);
  });
  await kernel.run();
  assert.deepEqual(answers, [true, false, 1, true]);
  assert.deepEqual(faults, []);
});

for (const [fault, expected, changesNow, changesLater] of [
  ["commitUnavailable", StoreUnavailableError, 0, 0],
  ["unknownApplied", CommitUnknownError, 1, 1],
  ["unknownLost", CommitUnknownError, 0, 0],
  ["unknownLate", CommitUnknownError, 0, 1],
] as const) {
  test(`A commit with the fault ${fault} throws ${expected.name}; applied at once: ${changesNow}, in the end: ${changesLater}`, async () => {
    let error: unknown;
    let now: number | undefined;
    const { kernel, disk, faults } = bench({ [fault]: 1 }, async (store) => {
      error = await errorOf(store.commit(batch));
      now = await count(disk);
    });
    await kernel.run();
    assert.ok(error instanceof expected, String(error));
    assert.deepEqual([now, await count(disk)], [changesNow, changesLater]);
    assert.deepEqual(faults, [fault]);
  });
}

test("A read that fails throws StoreUnavailableError", async () => {
  let error: unknown;
  const { kernel } = bench({ readUnavailable: 1 }, async (store) => void (error = await errorOf(store.read([{ key }]))));
  await kernel.run();
  assert.ok(error instanceof StoreUnavailableError);
});

test("A store's refusal of a malformed batch comes back as it is", async () => {
  let error: unknown;
  const { kernel } = bench({}, async (store) => void (error = await errorOf(store.commit({ ...batch, id: "" }))));
  await kernel.run();
  assert.equal((error as Error).name, "LimitError");
});

test("A batch that is committed again until its outcome is known counts once, also when the original arrives after its retry", async () => {
  let known = 0;
  let lateAfterRetry = 0;
  for (let seed = 1; seed <= 100; seed++) {
    const { kernel, disk, applied } = bench(
      { unknownLate: 0.3, unknownApplied: 0.1, unknownLost: 0.1 },
      async (store, environment) => {
        assert.deepEqual((await commitUntilKnown(store, environment, batch)).ok, true);
        known++;
        assert.equal(await count(disk), 1);
      },
      seed,
    );
    await kernel.run();
    assert.equal(await count(disk), 1);
    assert.ok(applied.every((line) => line === "batch-1 applied"));
    if (applied.length > 1) lateAfterRetry++;
  }
  assert.ok(known >= 99, `Only ${known} of 100 were settled`);
  assert.ok(lateAfterRetry > 10, `Only ${lateAfterRetry} batches arrived more than once`);
});

test("A batch on its way when its process crashes is applied or lost, as the seed says, and nobody is answered", async () => {
  const outcomes = new Set<number>();
  for (let seed = 1; seed <= 30; seed++) {
    let answered = false;
    const { kernel, disk, process } = bench(
      { lostAtCrash: 0.5 },
      async (store) => {
        await store.commit(batch);
        answered = true;
      },
      seed,
    );
    kernel.schedule(0.5, { kind: "kill" }, () => process.crash("test"));
    await kernel.run();
    assert.equal(answered, false);
    outcomes.add(await count(disk));
  }
  assert.deepEqual([...outcomes].toSorted(), [0, 1]);
});

test("A process that has crashed reaches the store no more", async () => {
  const { kernel, disk, process } = bench({}, async (store) => {
    process.crash("test");
    await store.commit(batch);
  });
  await kernel.run();
  assert.equal(await count(disk), 0);
});
