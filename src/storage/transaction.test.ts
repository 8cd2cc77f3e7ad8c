import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { RealEnvironment } from "../environment/real-environment.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import { readCounter } from "./counter.ts";
import { MemoryStore } from "./memory-store.ts";
import { type Batch, type CommitOutcome, CommitUnknownError, type Store, StoreUnavailableError } from "./store.ts";
import { commitUntilKnown, ConflictError, transact, Transaction } from "./transaction.ts";

const environment = new RealEnvironment();

async function storeWith(rows: Readonly<Record<string, unknown>>): Promise<Store> {
  const store = new MemoryStore();
  await transact(store, environment, async (transaction) => {
    for (const [name, value] of Object.entries(rows)) transaction.set(name.split("/"), value);
  });
  return store;
}

/** What another client sees. */
async function committed(store: Store, key: Tuple): Promise<unknown> {
  return await new Transaction(store).get(key);
}

/** A store whose next answers to commits are lost: before the batch is applied, or after. */
function losingAnswers(losses: ("before" | "after" | "refused")[]): Store & { readonly attempts: Batch[] } {
  const store = new MemoryStore();
  const attempts: Batch[] = [];
  return {
    attempts,
    limits: store.limits,
    read: (queries) => store.read(queries),
    watch: (keys, signal) => store.watch(keys, signal),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    async commit(batch): Promise<CommitOutcome> {
      attempts.push(batch);
      const loss = losses.shift();
      if (loss === "refused") throw new StoreUnavailableError("refused");
      if (loss === "before") throw new CommitUnknownError("lost");
      const outcome = await store.commit(batch);
      if (loss === "after") throw new CommitUnknownError("lost");
      return outcome;
    },
  };
}

describe("A transaction", () => {
  test("reads what it wrote", async () => {
    const transaction = new Transaction(await storeWith({ a: 1, b: 2 }));
    transaction.set(["a"], 10);
    transaction.delete(["b"]);
    transaction.set(["c"], 30);
    assert.deepEqual([await transaction.get(["a"]), await transaction.get(["b"]), await transaction.get(["c"])], [10, undefined, 30]);
    assert.deepEqual(transaction.checks, []);
  });

  const row = ["p", "x"] as const;
  for (const [title, work, expected] of [
    ["a row it never read", (t) => t.deleteAll(["p"]), undefined],
    ["a row it had read", async (t) => (await t.get(row), t.deleteAll(["p"])), undefined],
    ["a row it had set", (t) => (t.set(row, 2), t.deleteAll(["p"])), undefined],
    ["a row it set afterwards", (t) => (t.deleteAll(["p"]), t.set(row, 3)), 3],
    ["a row it set afterwards and deleted again with all", (t) => (t.deleteAll(["p"]), t.set(row, 3), t.deleteAll(["p"])), undefined],
    ["a row beside the prefix", (t) => t.deleteAll(["p", "x"]), 1],
    ["a row of another prefix", (t) => t.deleteAll(["q"]), 1],
    ["a row when everything goes", (t) => t.deleteAll([]), undefined],
  ] as readonly (readonly [string, (transaction: Transaction) => unknown, unknown])[])
    test(`that deletes all under a prefix and gets ${title} sees ${String(expected)}, as do others after it`, async () => {
      const store = await storeWith({ "p/x": 1 });
      const seen = await transact(store, environment, async (transaction) => {
        await work(transaction);
        return await transaction.get(row);
      });
      assert.equal(seen, expected);
      assert.equal(await committed(store, row), expected);
    });

  test("sees what a plain map would hold, for any steps, and so do others after it", async () => {
    const key = fc.array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 3 });
    const step = fc.record({ kind: fc.constantFrom("get", "set", "delete", "deleteAll"), key });
    await fc.assert(
      fc.asyncProperty(fc.array(key, { maxLength: 5 }), fc.array(step, { maxLength: 20 }), async (present, steps) => {
        const model = new Map(present.map((each) => [each.join("/"), 0]));
        const store = await storeWith(Object.fromEntries(model));
        await transact(store, environment, async (transaction) => {
          for (const [index, { kind, key: at }] of steps.entries()) {
            const name = at.join("/");
            if (kind === "get") assert.equal(await transaction.get(at), model.get(name));
            if (kind === "set") {
              transaction.set(at, index);
              model.set(name, index);
            }
            if (kind === "delete") {
              transaction.delete(at);
              model.delete(name);
            }
            if (kind === "deleteAll") {
              transaction.deleteAll(at);
              for (const each of model.keys()) if (each.startsWith(`${name}/`)) model.delete(each);
            }
          }
        });
        const listed = await new Transaction(store).list<number>([], { limit: 100 });
        assert.equal(listed.length, model.size);
        for (const [name, value] of model) assert.equal(await committed(store, name.split("/")), value);
      }),
      { numRuns: 300 },
    );
  });

  test("reads a row once, also when it is asked twice at once", async () => {
    const transaction = new Transaction(await storeWith({ a: 1 }));
    assert.deepEqual(await Promise.all([transaction.get(["a"]), transaction.get(["a"])]), [1, 1]);
    assert.equal(await transaction.get(["a"]), 1);
    assert.equal(transaction.checks.length, 1);
  });

  test("goes on with what it read first, and does not commit when that has changed", async () => {
    const store = await storeWith({ a: 1 });
    const transaction = new Transaction(store);
    assert.equal(await transaction.get(["a"]), 1);
    await transact(store, environment, async (other) => other.set(["a"], 2));
    assert.equal(await transaction.get(["a"]), 1);
    transaction.set(["b"], 1);
    assert.equal((await store.commit(transaction.toBatch("1"))).ok, false);
    assert.equal(await committed(store, ["b"]), undefined);
  });

  for (const [title, first] of [
    ["before reading the row", true],
    ["after reading the row", false],
  ] as const)
    test(`that states another version ${title} does not commit`, async () => {
      const store = await storeWith({ a: 1 });
      const transaction = new Transaction(store);
      if (first) transaction.check(["a"], 77);
      await transaction.get(["a"]);
      if (!first) transaction.check(["a"], 77);
      transaction.set(["b"], 1);
      assert.equal((await store.commit(transaction.toBatch("1"))).ok, false);
    });

  test("lists rows in the order of their keys, both ways, up to a limit", async () => {
    const transaction = new Transaction(await storeWith({ "p/b": 2, "p/a": 1, "p/c": 3, q: 4 }));
    const values = async (options: { limit: number; reverse?: boolean }): Promise<number[]> =>
      (await transaction.list<number>(["p"], options)).map(({ value }) => value);
    assert.deepEqual(await values({ limit: 9 }), [1, 2, 3]);
    assert.deepEqual(await values({ limit: 2 }), [1, 2]);
    assert.deepEqual(await values({ limit: 2, reverse: true }), [3, 2]);
  });

  test("adds to counters without conflicts", async () => {
    const store = new MemoryStore();
    await Promise.all(Array.from({ length: 50 }, () => transact(store, environment, async (transaction) => transaction.add(["n"], 2))));
    const [answer] = await store.read([{ key: encodeTuple(["n"]) }]);
    assert.equal(readCounter(answer![0]!.value), 100n);
  });
});

describe("transact", () => {
  test("runs again when a row it read has changed, and returns the result of the run that committed", async () => {
    const store = await storeWith({ a: 1 });
    let runs = 0;
    const result = await transact(store, environment, async (transaction) => {
      const value = (await transaction.get<number>(["a"]))!;
      if (++runs === 1) await transact(store, environment, async (other) => other.set(["a"], 5));
      transaction.set(["a"], value + 1);
      return value;
    });
    assert.deepEqual([runs, result, await committed(store, ["a"])], [2, 5, 6]);
  });

  test("loses no update of many clients", async () => {
    const store = await storeWith({ a: 0 });
    const increment = (): Promise<void> =>
      transact(store, environment, async (transaction) => transaction.set(["a"], (await transaction.get<number>(["a"]))! + 1), {
        attempts: 100,
      });
    await Promise.all(Array.from({ length: 20 }, increment));
    assert.equal(await committed(store, ["a"]), 20);
  });

  test("gives up when rows keep changing, with nothing written", async () => {
    const store = await storeWith({ a: 0 });
    let runs = 0;
    const attempt = transact(
      store,
      environment,
      async (transaction) => {
        await transaction.get(["a"]);
        await transact(store, environment, async (other) => other.set(["a"], ++runs));
        transaction.set(["b"], 1);
      },
      { attempts: 3 },
    );
    await assert.rejects(attempt, ConflictError);
    assert.deepEqual([runs, await committed(store, ["b"])], [3, undefined]);
  });

  test("holds several rows that it only reads against each other", async () => {
    const store = await storeWith({ a: 1, b: 1 });
    let runs = 0;
    const seen = await transact(store, environment, async (transaction) => {
      const a = await transaction.get(["a"]);
      if (++runs === 1) await transact(store, environment, async (other) => (other.set(["a"], 2), other.set(["b"], 2)));
      return [a, await transaction.get(["b"])];
    });
    assert.deepEqual(seen, [2, 2]);
  });

  test("writes nothing when its work throws", async () => {
    const store = await storeWith({});
    const work = async (transaction: Transaction): Promise<void> => {
      transaction.set(["a"], 1);
      throw new RangeError("no");
    };
    await assert.rejects(transact(store, environment, work), RangeError);
    assert.equal(await committed(store, ["a"]), undefined);
  });
});

describe("commitUntilKnown", () => {
  const batch: Batch = {
    id: "1",
    checks: [{ key: encodeTuple(["n"]), version: null }],
    writes: [{ kind: "add", key: encodeTuple(["n"]), amount: 1n }],
  };

  for (const losses of [
    ["before"],
    ["after"],
    ["after", "before"],
    ["before", "refused", "after"],
    ["after", "refused", "refused"],
  ] as const)
    test(`commits the same batch until it is known, after answers lost: ${losses.join(", ")}`, async () => {
      const store = losingAnswers([...losses]);
      assert.equal((await commitUntilKnown(store, environment, batch)).ok, true);
      assert.ok(store.attempts.length === losses.length + 1 && store.attempts.every((attempt) => attempt === batch));
      const [answer] = await store.read([{ key: encodeTuple(["n"]) }]);
      assert.equal(readCounter(answer![0]!.value), 1n);
    });

  test("passes on a refusal of the first attempt", async () => {
    const store = losingAnswers(["refused"]);
    await assert.rejects(commitUntilKnown(store, environment, batch), StoreUnavailableError);
    assert.equal(store.attempts.length, 1);
  });
});
