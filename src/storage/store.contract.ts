/** What every store must do (S1 to S4 of `store.ts`): one suite, run on each adapter by one line in its test. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { checkLinearizable, type Operation, type SequentialModel } from "../../simulation/linearizability.ts";
import { bytesToMapKey, compareBytes, equalBytes } from "../base/bytes.ts";
import { addToCounter, readCounter } from "./counter.ts";
import {
  type Check,
  type CommitOutcome,
  type Entry,
  type Key,
  LimitError,
  type Query,
  type Store,
  storeLimits,
  type Version,
  type Write,
} from "./store.ts";

export interface StoreUnderTest {
  /** Opens an empty store, another one each time. */
  readonly open: () => Promise<Store>;
  /** Closes `store` and opens what it kept. Absent: the store keeps nothing. */
  readonly reopen?: (store: Store) => Promise<Store>;
}

export function describeStoreContract(name: string, { open, reopen }: StoreUnderTest): void {
  describe(`${name} keeps the contract of stores`, () => {
    let store: Store;
    let cases = 0;
    let batches = 0;

    /** A function that puts keys into a space of their own, so that tests share the store without meeting. */
    const space = (): ((key: string) => Key) => {
      const prefix = `case ${++cases}/`;
      return (key) => bytes(prefix + key);
    };
    const commit = (writes: readonly Write[], checks: readonly Check[] = []): Promise<CommitOutcome> =>
      store.commit({ id: `batch ${++batches}`, checks, writes });
    const get = async (key: Key): Promise<Entry | undefined> => (await store.read([{ key }]))[0]![0];
    const versionOf = async (key: Key): Promise<Version | null> => (await get(key))?.version ?? null;

    before(async () => {
      store = await open();
    });
    after(async () => await store[Symbol.asyncDispose]());

    describe("batches", () => {
      for (const [title, given, writes, expected] of batchCases)
        test(title, async () => {
          const at = space();
          await commit(Object.entries(given).map(([key, value]) => set(at(key), value)));
          assert.equal((await commit(writes(at))).ok, true);
          assert.deepEqual(await contents(store, at), expected);
        });

      for (const [title, given, checked, failedCheck] of checkCases)
        test(`checks: ${title}`, async () => {
          const at = space();
          const versions = new Map<string, Version>();
          for (const key of [...given, ...given]) {
            const outcome = await commit([set(at(key), "old")]);
            assert.ok(outcome.ok);
            versions.set(key, outcome.version);
          }
          const checks = checked.map(([key, state]): Check => {
            if (state === "absent") return { key: at(key), version: null };
            const version = versions.get(key) ?? 1_000_000;
            return { key: at(key), version: state === "current" ? version : version - 1 };
          });
          const outcome = await commit([set(at("result"), "written"), del(at("a")), add(at("counter"), 1n)], checks);
          if (failedCheck === undefined) assert.equal(outcome.ok, true);
          else assert.deepEqual(outcome, { ok: false, failedCheck });
          const untouched = Object.fromEntries(given.map((key) => [key, "old"]));
          const { a: _deleted, ...left } = untouched as { a?: string };
          assert.deepEqual(
            await contents(store, at),
            failedCheck === undefined ? { ...left, counter: counterText(1n), result: "written" } : untouched,
          );
        });

      test("a batch without writes only checks", async () => {
        const at = space();
        assert.equal((await commit([], [{ key: at("a"), version: null }])).ok, true);
        assert.deepEqual(await commit([], [{ key: at("a"), version: 1 }]), { ok: false, failedCheck: 0 });
        assert.equal((await commit([])).ok, true);
      });

      test("the version of a batch is that of every key it set", async () => {
        const at = space();
        const outcome = await commit([set(at("a"), "1"), set(at("b"), "2"), add(at("c"), 3n)]);
        assert.ok(outcome.ok && Number.isSafeInteger(outcome.version));
        for (const key of ["a", "b", "c"]) assert.equal(await versionOf(at(key)), outcome.version);
      });

      test("the version of a key grows with every write, also over a delete", async () => {
        const at = space();
        let last = 0;
        const steps: readonly Write[] = [
          set(at("a"), "1"),
          set(at("a"), "1"),
          add(at("a"), 1n),
          del(at("a")),
          set(at("a"), "2"),
          delRange(at("a"), at("b")),
          add(at("a"), 1n),
          set(at("a"), ""),
        ];
        for (const write of steps) {
          await commit([write]);
          const version = await versionOf(at("a"));
          if (version === null) continue;
          assert.ok(version > last, `${version} comes after ${last}`);
          last = version;
        }
      });

      test("a write leaves the versions of other keys alone", async () => {
        const at = space();
        await commit([set(at("a"), "1"), set(at("b"), "1")]);
        const version = await versionOf(at("a"));
        await commit([set(at("b"), "2"), del(at("c"))]);
        assert.equal(await versionOf(at("a")), version);
      });

      test("a thousand writes are one batch", async () => {
        const at = space();
        const outcome = await commit(Array.from({ length: 1_000 }, (_, index) => set(at(String(index)), String(index))));
        assert.ok(outcome.ok);
        const [answer] = await store.read([{ begin: at(""), end: at("~"), limit: 10_000 }]);
        assert.equal(answer!.length, 1_000);
        assert.ok(answer!.every((entry) => entry.version === outcome.version));
      });
    });

    describe("counters", () => {
      const most = 2n ** 63n - 1n;
      for (const [title, start, amounts, expected] of [
        ["an absent counter counts as 0", undefined, [5n], 5n],
        ["adds add up", undefined, [5n, 6n, -20n], -9n],
        ["adding 0 makes the counter", undefined, [0n], 0n],
        ["the largest number wraps to the smallest", undefined, [most, 1n], -most - 1n],
        ["the smallest number wraps to the largest", undefined, [-most - 1n, -1n], most],
        ["an amount over 64 bits wraps", undefined, [2n ** 64n + 3n], 3n],
        ["a value of another length counts as 0", "text", [7n], 7n],
        ["an empty value counts as 0", "", [7n], 7n],
        ["a value of 8 bytes is a number", "\u0001\0\0\0\0\0\0\0", [1n], 2n],
      ] as const)
        test(title, async () => {
          const at = space();
          if (start !== undefined) await commit([set(at("n"), start)]);
          for (const amount of amounts) await commit([add(at("n"), amount)]);
          assert.equal(readCounter((await get(at("n")))?.value), expected);
          await commit(amounts.map((amount) => add(at("together"), amount)));
          const sum = amounts.reduce((left, right) => left + right, 0n);
          assert.equal(readCounter((await get(at("together")))?.value), BigInt.asIntN(64, sum));
        });

      test("adds of many clients commute and none is lost", async () => {
        const at = space();
        await Promise.all(Array.from({ length: 200 }, (_, index) => commit([add(at("n"), BigInt(index))])));
        assert.equal(readCounter((await get(at("n")))?.value), 19_900n);
      });
    });

    describe("keys", () => {
      test("the order is that of unsigned bytes, the shorter first", async () => {
        const at = space();
        const keys = oddKeys.map((key) => Buffer.concat([at(""), key]));
        await commit(keys.toReversed().map((key) => set(key, bytesToMapKey(key).slice(0, 20))));
        const [answer] = await store.read([{ begin: at(""), end: Buffer.concat([at(""), Buffer.alloc(9_000, 0xff)]), limit: 100 }]);
        assert.deepEqual(
          answer!.map((entry) => hex(entry.key)),
          keys.toSorted(compareBytes).map(hex),
        );
      });

      for (const key of oddKeys)
        test(`the key ${hex(key).slice(0, 24) || "of no bytes"} is one key among its neighbours`, async () => {
          const value = bytes(`value of ${hex(key)}`);
          await commit([{ kind: "set", key, value }], [{ key, version: null }]);
          const entry = await get(key);
          assert.deepEqual([hex(entry!.key), hex(entry!.value)], [hex(key), hex(value)]);
          const [only] = await store.read([{ begin: key, end: Buffer.concat([key, Buffer.of(0)]), limit: 10 }]);
          assert.deepEqual(
            only!.map((each) => hex(each.key)),
            [hex(key)],
          );
          await commit([del(key)], [{ key, version: entry!.version }]);
          assert.equal(await get(key), undefined);
        });

      for (const [title, value] of [
        ["no bytes", Buffer.alloc(0)],
        ["one NUL", Buffer.alloc(1)],
        ["every byte", Buffer.from(Array.from({ length: 256 }, (_, index) => index))],
        ["a part of a larger array", Buffer.alloc(64, 1).subarray(10, 20)],
        ["100,000 bytes", Buffer.alloc(100_000, 0xab)],
      ] as const)
        test(`a value of ${title} comes back as it was`, async () => {
          const at = space();
          await commit([{ kind: "set", key: at("a"), value }]);
          const entry = await get(at("a"));
          assert.ok(entry!.value instanceof Uint8Array && equalBytes(entry!.value, value));
          const [[ranged] = []] = await store.read([{ begin: at("a"), end: at("b"), limit: 1 }]);
          assert.ok(equalBytes(ranged!.value, value));
        });
    });

    describe("reads", () => {
      const present = ["", "a", "aa", "b", "b\0", "c", "ca", "d"];
      const bounds = ["", "\0", "a", "a\0", "ab", "b", "c", "cc", "d", "d\0", "e"];
      for (const begin of bounds)
        for (const reverse of [false, true])
          test(`ranges from ${JSON.stringify(begin)}${reverse ? ", in reverse," : ""} hold what is in them, up to the limit`, async () => {
            const at = space();
            await commit(present.map((key) => set(at(key), key)));
            const wanted = bounds.flatMap((end) => [1, 2, 3, 8, 10_000].map((limit) => ({ end, limit })));
            const answers = await store.read(wanted.map(({ end, limit }) => ({ begin: at(begin), end: at(end), limit, reverse })));
            for (const [index, { end, limit }] of wanted.entries()) {
              const inside = present.filter((key) => key >= begin && key < end);
              const expected = (reverse ? inside.toReversed() : inside).slice(0, limit);
              assert.deepEqual(
                answers[index]!.map((entry) => text(entry.value)),
                expected,
                `to ${JSON.stringify(end)}, limit ${limit}`,
              );
            }
          });

      test("no queries have no answers", async () => assert.deepEqual(await store.read([]), []));

      test("answers come in the order of the queries, also for absent keys and the same key twice", async () => {
        const at = space();
        await commit([set(at("a"), "1"), set(at("b"), "2")]);
        const answers = await store.read([
          { key: at("b") },
          { key: at("x") },
          { begin: at("a"), end: at("c"), limit: 9 },
          { key: at("a") },
          { key: at("b") },
        ]);
        assert.deepEqual(
          answers.map((answer) => answer.map((entry) => text(entry.value))),
          [["2"], [], ["1", "2"], ["1"], ["2"]],
        );
      });

      test("an entry of a range is the same as that of its key", async () => {
        const at = space();
        await commit([set(at("a"), "1")]);
        const [one, many] = await store.read([{ key: at("a") }, { begin: at("a"), end: at("b"), limit: 1 }]);
        assert.deepEqual(
          { ...one![0]!, key: hex(one![0]!.key), value: hex(one![0]!.value) },
          { ...many![0]!, key: hex(many![0]!.key), value: hex(many![0]!.value) },
        );
      });

      test("a read never sees half a batch", async () => {
        const at = space();
        const writer = async (client: number): Promise<void> => {
          for (let round = 0; round < 25; round++) await commit(["a", "b", "c"].map((key) => set(at(key), `${client}.${round}`)));
        };
        const reader = async (): Promise<void> => {
          for (let round = 0; round < 50; round++) {
            const answers = await store.read([
              { key: at("a") },
              { key: at("b") },
              { key: at("c") },
              { begin: at("a"), end: at("d"), limit: 3 },
            ]);
            const seen = new Set(answers.flat().map((entry) => `${text(entry.value)} ${entry.version}`));
            assert.ok(seen.size <= 1, [...seen].join(" | "));
            await turnOfTheLoop();
          }
        };
        await Promise.all([writer(1), writer(2), writer(3), reader(), reader(), reader()]);
      });
    });

    describe("limits", () => {
      const { keyBytes, valueBytes, batchBytes, rangeEntries } = storeLimits;
      const longest = Buffer.alloc(keyBytes, 0x7a);
      const tooLong = Buffer.alloc(keyBytes + 1, 0x7a);

      test("are those of FoundationDB", () =>
        assert.deepEqual(store.limits, { keyBytes: 10_000, valueBytes: 100_000, batchBytes: 10_000_000, rangeEntries: 10_000 }));

      for (const [title, write, check] of [
        ["a key to set", { kind: "set", key: tooLong, value: bytes("1") }, undefined],
        ["a key to delete", { kind: "delete", key: tooLong }, undefined],
        ["a key to add to", { kind: "add", key: tooLong, amount: 1n }, undefined],
        ["the begin of a range to delete", { kind: "deleteRange", begin: tooLong, end: bytes("~") }, undefined],
        ["the end of a range to delete", { kind: "deleteRange", begin: bytes("y"), end: tooLong }, undefined],
        ["a value", { kind: "set", key: longest, value: Buffer.alloc(valueBytes + 1) }, undefined],
        ["a key to check", undefined, { key: tooLong, version: null }],
      ] as readonly (readonly [string, Write | undefined, Check | undefined])[])
        test(`${title} of one byte too many is refused, and nothing is written`, async () => {
          const at = space();
          await assert.rejects(commit([set(at("a"), "1"), ...(write ? [write] : []), set(at("b"), "2")], check ? [check] : []), LimitError);
          assert.deepEqual(await contents(store, at), {});
        });

      test("the longest key and the longest value are kept", async () => {
        await commit([{ kind: "set", key: longest, value: Buffer.alloc(valueBytes, 1) }]);
        assert.equal((await get(longest))!.value.length, valueBytes);
        await commit([del(longest)]);
      });

      for (const [extra, isOk] of [
        [0, true],
        [1, false],
      ] as const)
        test(`a batch of the most bytes and ${extra} more is ${isOk ? "written" : "refused whole"}`, async () => {
          const at = space();
          const key = at("00");
          const full = Math.floor(batchBytes / (valueBytes + key.length));
          const writes = Array.from({ length: full }, (_, index): Write => ({
            kind: "set",
            key: at(String(index).padStart(2, "0")),
            value: Buffer.alloc(valueBytes),
          }));
          const rest = batchBytes - full * (valueBytes + key.length) - 2 * key.length;
          const batch = [...writes, { kind: "set", key: at("zz"), value: Buffer.alloc(rest + extra) } as const];
          const attempt = commit(batch, [{ key: at("xx"), version: null }]);
          if (isOk) assert.equal((await attempt).ok, true);
          else await assert.rejects(attempt, LimitError);
          const [answer] = await store.read([{ begin: at(""), end: at("~"), limit: 1_000 }]);
          assert.equal(answer!.length, isOk ? full + 1 : 0);
          await commit([delRange(at(""), at("~"))]);
        });

      for (const [id, isOk] of [
        ["", false],
        ["x".repeat(64), true],
        ["x".repeat(65), false],
      ] as const)
        test(`a batch id of ${id.length} characters is ${isOk ? "taken" : "refused"}`, async () => {
          const at = space();
          const attempt = store.commit({ id, checks: [], writes: [set(at("a"), "1")] });
          if (isOk) assert.equal((await attempt).ok, true);
          else await assert.rejects(attempt, LimitError);
          assert.equal((await get(at("a"))) !== undefined, isOk);
        });

      for (const limit of [0, -1, 1.5, Number.NaN, Infinity, rangeEntries + 1])
        test(`a range of ${limit} entries is refused`, async () =>
          await assert.rejects(store.read([{ begin: bytes("a"), end: bytes("b"), limit }]), LimitError));

      for (const query of [
        { key: tooLong },
        { begin: tooLong, end: bytes("~"), limit: 1 },
        { begin: bytes("a"), end: tooLong, limit: 1 },
      ] as readonly Query[])
        test(`a query with ${Object.keys(query)[0]} and a key that is too long is refused`, async () =>
          await assert.rejects(store.read([{ key: bytes("a") }, query]), LimitError));

      test("a range gives 10,000 entries at once", async () => {
        const at = space();
        const keys = Array.from({ length: rangeEntries + 1 }, (_, index) => at(String(index).padStart(6, "0")));
        await commit(keys.map((key) => set(key, "")));
        const [answer] = await store.read([{ begin: at(""), end: at("~"), limit: rangeEntries }]);
        assert.equal(answer!.length, rangeEntries);
        assert.ok(equalBytes(answer!.at(-1)!.key, keys[rangeEntries - 1]!));
        await commit([delRange(at(""), at("~"))]);
      });
    });

    describe("races", () => {
      for (const clients of [2, 8, 64])
        test(`of ${clients} clients that create a key one wins`, async () => {
          const at = space();
          const outcomes = await Promise.all(
            Array.from({ length: clients }, (_, index) => commit([set(at("a"), String(index))], [{ key: at("a"), version: null }])),
          );
          assert.equal(outcomes.filter((outcome) => outcome.ok).length, 1);
          assert.equal(text((await get(at("a")))!.value), String(outcomes.findIndex((outcome) => outcome.ok)));
        });

      test("of 64 clients that compare and set a key one wins each round", async () => {
        const at = space();
        await commit([set(at("a"), "0")]);
        for (let round = 0; round < 10; round++) {
          const version = await versionOf(at("a"));
          const outcomes = await Promise.all(
            Array.from({ length: 64 }, () => commit([set(at("a"), String(round))], [{ key: at("a"), version }])),
          );
          assert.equal(outcomes.filter((outcome) => outcome.ok).length, 1);
        }
      });

      test("no update of 16 clients that read and then compare and set is lost", async () => {
        const at = space();
        const increment = async (): Promise<void> => {
          for (let done = 0; done < 10;) {
            const entry = await get(at("n"));
            const next = String(Number(text(entry?.value ?? bytes("0"))) + 1);
            if ((await commit([set(at("n"), next)], [{ key: at("n"), version: entry?.version ?? null }])).ok) done++;
          }
        };
        await Promise.all(Array.from({ length: 16 }, increment));
        assert.equal(text((await get(at("n")))!.value), "160");
      });

      test("two batches that each check both rows and write one do not both commit", async () => {
        const at = space();
        await commit([set(at("a"), "on call"), set(at("b"), "on call")]);
        const checks: Check[] = [
          { key: at("a"), version: await versionOf(at("a")) },
          { key: at("b"), version: await versionOf(at("b")) },
        ];
        const outcomes = await Promise.all([commit([set(at("a"), "off")], checks), commit([set(at("b"), "off")], checks)]);
        assert.equal(outcomes.filter((outcome) => outcome.ok).length, 1);
      });

      test("a batch sees what the batches before it in the same moment wrote", async () => {
        const at = space();
        const first = await commit([set(at("a"), "1")]);
        assert.ok(first.ok);
        const outcomes = await Promise.all([
          commit([set(at("a"), "2")], [{ key: at("a"), version: first.version }]),
          commit([set(at("b"), "2")], [{ key: at("a"), version: first.version }]),
          commit([del(at("a"))]),
          commit([set(at("c"), "2")], [{ key: at("a"), version: null }]),
        ]);
        const left = await contents(store, at);
        assert.equal(left["b"] !== undefined, outcomes[1].ok);
        assert.equal(left["c"] !== undefined, outcomes[3].ok);
      });
    });

    describe("batch ids", () => {
      test("a batch that is committed again answers as the first time and has no second effect", async () => {
        const at = space();
        const batch = { id: `again ${cases}`, checks: [{ key: at("a"), version: null }], writes: [set(at("a"), "1"), add(at("n"), 1n)] };
        const first = await store.commit(batch);
        await commit([set(at("a"), "2")]);
        for (let round = 0; round < 3; round++) assert.deepEqual(await store.commit(batch), first);
        assert.deepEqual(await contents(store, at), { a: "2", n: counterText(1n) });
      });

      test("a batch that is committed 20 times at once takes effect once", async () => {
        const at = space();
        const batch = { id: `at once ${cases}`, checks: [], writes: [add(at("n"), 1n)] };
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => store.commit(batch)));
        assert.ok(outcomes[0]!.ok);
        for (const outcome of outcomes) assert.deepEqual(outcome, outcomes[0]);
        assert.equal(readCounter((await get(at("n")))?.value), 1n);
      });

      test("two batches with one content and two ids are two batches", async () => {
        const at = space();
        await Promise.all([commit([add(at("n"), 1n)]), commit([add(at("n"), 1n)])]);
        assert.equal(readCounter((await get(at("n")))?.value), 2n);
      });

      test("a batch is still known after 10,000 others", async () => {
        const at = space();
        const batch = { id: `long ago ${cases}`, checks: [], writes: [add(at("n"), 1n)] };
        const first = await store.commit(batch);
        await Promise.all(Array.from({ length: 10_000 }, () => commit([set(at("other"), "1")])));
        assert.deepEqual(await store.commit(batch), first);
        assert.equal(readCounter((await get(at("n")))?.value), 1n);
      });
    });

    describe("watches", () => {
      for (const [title, write] of [
        ["a set", (at) => set(at("a"), "2")],
        ["a delete", (at) => del(at("a"))],
        ["an add", (at) => add(at("a"), 1n)],
        ["a delete of a range around it", (at) => delRange(at(""), at("z"))],
      ] as readonly (readonly [string, (at: Space) => Write])[])
        test(`${title} of a watched key gives a hint`, async () => {
          const at = space();
          await commit([set(at("a"), "1")]);
          using abort = abortAtEnd();
          const hints = store.watch([at("x"), at("a")], abort.signal)[Symbol.asyncIterator]();
          for (let round = 0; round < 3; round++) {
            const hint = hints.next();
            await commit([write(at)]);
            assert.equal((await hint).done ?? false, false);
          }
        });

      test("a watch ends when its signal aborts", async () => {
        const abort = new AbortController();
        const hints = store.watch([bytes("a")], abort.signal)[Symbol.asyncIterator]();
        const hint = hints.next();
        abort.abort();
        assert.equal((await hint).done, true);
        const none = store.watch([bytes("a")], abort.signal)[Symbol.asyncIterator]();
        assert.equal((await none.next()).done, true);
      });

      test("every watcher of a key gets the hint", async () => {
        const at = space();
        using abort = abortAtEnd();
        const watches = Array.from({ length: 10 }, () => store.watch([at("a")], abort.signal)[Symbol.asyncIterator]());
        const hints = watches.map((watch) => watch.next());
        await commit([set(at("a"), "1")]);
        for (const hint of hints) assert.equal((await hint).done ?? false, false);
      });
    });

    describe("histories", () => {
      for (const seed of [1, 2, 3])
        test(`32 clients that read, write and compare a register have a linearizable history (seed ${seed})`, async () => {
          const at = space();
          const history = await recordHistory(seed, 32, 30, registerInput, async (input) => {
            if (input.kind === "read") return text((await get(at("r")))?.value ?? bytes(""));
            if (input.kind === "write") {
              await commit([set(at("r"), input.value)]);
              return "ok";
            }
            const entry = await get(at("r"));
            if (text(entry?.value ?? bytes("")) !== input.expected) return "different";
            const outcome = await commit([set(at("r"), input.value)], [{ key: at("r"), version: entry?.version ?? null }]);
            return outcome.ok ? "ok" : "conflict";
          });
          assert.equal(checkLinearizable(register, history).verdict, "linearizable");
        });

      for (const seed of [4, 5, 6])
        test(`32 clients that append to a list have a linearizable history (seed ${seed})`, async () => {
          const at = space();
          let appended = 0;
          const history = await recordHistory(seed, 32, 20, listInput, async (input) => {
            const entry = await get(at("l"));
            const list = text(entry?.value ?? bytes(""));
            if (input.kind === "read") return list;
            const outcome = await commit([set(at("l"), `${list}${input.value},`)], [{ key: at("l"), version: entry?.version ?? null }]);
            if (outcome.ok) appended++;
            return outcome.ok ? "ok" : "conflict";
          });
          assert.equal(checkLinearizable(list, history).verdict, "linearizable");
          assert.equal(text((await get(at("l")))!.value).split(",").length - 1, appended);
        });
    });

    test("the store does what a simple model does, for any batches and reads, also when opened again", async () => {
      const property = fc.asyncProperty(fc.array(anyStep, { minLength: 1, maxLength: 30 }), async (steps) => {
        await commit([{ kind: "deleteRange", begin: Buffer.alloc(0), end: Buffer.alloc(12, 0xff) }]);
        const model = new StoreModel();
        for (const step of steps) {
          if (step.kind === "reopen") {
            if (reopen !== undefined) store = await reopen(store);
          } else if (step.kind === "read") {
            const answers = await store.read(step.queries);
            assert.deepEqual(
              answers.map((answer) => answer.map(entryText)),
              step.queries.map((query) => model.read(query).map(entryText)),
            );
          } else {
            const checks = step.checks.map(({ key, age }): Check => ({ key, version: model.versionOf(key, age) }));
            const outcome = await commit(step.writes, checks);
            assert.deepEqual(outcome.ok ? -1 : outcome.failedCheck, model.failedCheck(checks));
            if (outcome.ok) model.apply(step.writes, outcome.version);
          }
        }
        const everything: Query = { begin: Buffer.alloc(0), end: Buffer.alloc(12, 0xff), limit: 10_000 };
        assert.deepEqual((await store.read([everything]))[0]!.map(entryText), model.read(everything).map(entryText));
      });
      await fc.assert(property, { numRuns: 300 });
    });

    if (reopen !== undefined)
      test("a store that is opened again has everything, and versions go on growing", async () => {
        const at = space();
        await commit([set(at("a"), "1"), set(at("gone"), "1"), add(at("n"), 41n)]);
        const outcome = await commit([del(at("gone")), add(at("n"), 1n)]);
        assert.ok(outcome.ok);
        store = await reopen(store);
        assert.deepEqual(await contents(store, at), { a: "1", n: counterText(42n) });
        const next = await commit([set(at("gone"), "2")], [{ key: at("gone"), version: null }]);
        assert.ok(next.ok && next.version > outcome.version);
      });

    test("closing a store twice is nothing", async () => {
      const other = await open();
      await other.commit({ id: "1", checks: [], writes: [set(bytes("a"), "1")] });
      await other[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    });
  });
}

type Space = (key: string) => Key;

function bytes(latin1: string): Uint8Array {
  return Uint8Array.from(Buffer.from(latin1, "latin1"));
}

function text(value: Uint8Array): string {
  return bytesToMapKey(value);
}

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString("hex");
}

function set(key: Key, value: string): Write {
  return { kind: "set", key, value: bytes(value) };
}

function del(key: Key): Write {
  return { kind: "delete", key };
}

function delRange(begin: Key, end: Key): Write {
  return { kind: "deleteRange", begin, end };
}

function add(key: Key, amount: bigint): Write {
  return { kind: "add", key, amount };
}

function counterText(value: bigint): string {
  return text(addToCounter(undefined, value));
}

/** Everything in a space, by its keys there. */
async function contents(store: Store, at: Space): Promise<Record<string, string>> {
  const [answer] = await store.read([{ begin: at(""), end: at("~"), limit: 1_000 }]);
  return Object.fromEntries(answer!.map((entry) => [text(entry.key).slice(at("").length), text(entry.value)]));
}

function turnOfTheLoop(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

function abortAtEnd(): { readonly signal: AbortSignal; [Symbol.dispose](): void } {
  const controller = new AbortController();
  return { signal: controller.signal, [Symbol.dispose]: () => controller.abort() };
}

const oddKeys: readonly Key[] = [
  "",
  "00",
  "0000",
  "0001",
  "00ff",
  "01",
  "20",
  "7f",
  "80",
  "8000",
  "c3a9",
  "fe",
  "feff",
  "ff",
  "ff00",
  "ffff",
  "ffffff",
  "61",
  "6100",
  "6161",
  "62",
]
  .map((key) => Uint8Array.from(Buffer.from(key, "hex")))
  .concat(new Uint8Array(9_000).fill(0x62));

/** Title, what is there, what the batch writes, what is there afterwards. */
const batchCases: readonly (readonly [
  string,
  Readonly<Record<string, string>>,
  (at: Space) => Write[],
  Readonly<Record<string, string>>,
])[] = [
  ["a set makes a key", {}, (at) => [set(at("a"), "1")], { a: "1" }],
  ["a set replaces a value", { a: "1" }, (at) => [set(at("a"), "2")], { a: "2" }],
  ["a set replaces a long value with a short one", { a: "x".repeat(50_000) }, (at) => [set(at("a"), "")], { a: "" }],
  ["a set replaces a short value with a long one", { a: "" }, (at) => [set(at("a"), "x".repeat(50_000))], { a: "x".repeat(50_000) }],
  ["the last of two sets stays", {}, (at) => [set(at("a"), "1"), set(at("a"), "2")], { a: "2" }],
  ["a delete removes a key", { a: "1", b: "1" }, (at) => [del(at("a"))], { b: "1" }],
  ["a delete of an absent key is nothing", { b: "1" }, (at) => [del(at("a"))], { b: "1" }],
  ["a delete after a set removes the key", {}, (at) => [set(at("a"), "1"), del(at("a"))], {}],
  ["a set after a delete makes the key", { a: "1" }, (at) => [del(at("a")), set(at("a"), "2")], { a: "2" }],
  ["a delete of a key leaves longer keys", { a: "1", aa: "2", "a\0": "3" }, (at) => [del(at("a"))], { aa: "2", "a\0": "3" }],
  ["a range holds its begin and not its end", { a: "1", b: "2", c: "3", d: "4" }, (at) => [delRange(at("b"), at("d"))], { a: "1", d: "4" }],
  ["an empty range is nothing", { a: "1", b: "2" }, (at) => [delRange(at("b"), at("b"))], { a: "1", b: "2" }],
  ["a range from back to front is nothing", { a: "1", b: "2", c: "3" }, (at) => [delRange(at("c"), at("a"))], { a: "1", b: "2", c: "3" }],
  ["a range without keys is nothing", { a: "1", d: "4" }, (at) => [delRange(at("b"), at("c"))], { a: "1", d: "4" }],
  ["a range over all removes all", { a: "1", b: "2", c: "3" }, (at) => [delRange(at(""), at("~"))], {}],
  [
    "overlapping ranges remove what is in either",
    { a: "1", b: "2", c: "3", d: "4" },
    (at) => [delRange(at("a"), at("c")), delRange(at("b"), at("d"))],
    { d: "4" },
  ],
  ["a range removes what the batch set before", {}, (at) => [set(at("a"), "1"), set(at("b"), "2"), delRange(at("a"), at("b"))], { b: "2" }],
  ["a range leaves what the batch sets after", { a: "1" }, (at) => [delRange(at("a"), at("z")), set(at("b"), "2")], { b: "2" }],
  ["set, range, set of one key", { a: "0" }, (at) => [set(at("a"), "1"), delRange(at("a"), at("b")), set(at("a"), "2")], { a: "2" }],
  ["range, set, range", { a: "0" }, (at) => [delRange(at("a"), at("b")), set(at("a"), "1"), delRange(at("a"), at("b"))], {}],
  ["an add after a set of text starts at 0", {}, (at) => [set(at("a"), "text"), add(at("a"), 1n)], { a: counterText(1n) }],
  ["an add after a delete starts at 0", { a: counterText(41n) }, (at) => [del(at("a")), add(at("a"), 1n)], { a: counterText(1n) }],
  [
    "an add after a range starts at 0",
    { a: counterText(41n) },
    (at) => [delRange(at("a"), at("b")), add(at("a"), 1n)],
    { a: counterText(1n) },
  ],
  ["a delete after an add removes the counter", {}, (at) => [add(at("a"), 1n), del(at("a"))], {}],
  ["a set after an add stays", {}, (at) => [add(at("a"), 1n), set(at("a"), "2")], { a: "2" }],
  ["a range after an add removes the counter", {}, (at) => [add(at("a"), 1n), delRange(at("a"), at("b"))], {}],
  ["adds of one batch add up", { a: counterText(1n) }, (at) => [add(at("a"), 2n), add(at("a"), 3n)], { a: counterText(6n) }],
  [
    "writes to different keys all happen",
    { d: "0" },
    (at) => [set(at("a"), "1"), add(at("b"), 2n), set(at("c"), "3"), del(at("d"))],
    { a: "1", b: counterText(2n), c: "3" },
  ],
];

type CheckState = "current" | "older" | "absent";

/** Title, keys that are there, the checks, the index of the one that fails. */
const checkCases: readonly (readonly [string, readonly string[], readonly (readonly [string, CheckState])[], number | undefined])[] = [
  ["none", ["a"], [], undefined],
  ["absent, of a key that is", [], [["a", "absent"]], undefined],
  ["absent, of a key that is not", ["a"], [["a", "absent"]], 0],
  ["the current version", ["a"], [["a", "current"]], undefined],
  ["an older version", ["a"], [["a", "older"]], 0],
  ["a version of a key that is absent", [], [["a", "current"]], 0],
  [
    "two that hold",
    ["a", "b"],
    [
      ["a", "current"],
      ["b", "current"],
    ],
    undefined,
  ],
  [
    "the second fails",
    ["a", "b"],
    [
      ["a", "current"],
      ["b", "older"],
    ],
    1,
  ],
  [
    "two fail and the first is named",
    ["a", "b"],
    [
      ["a", "older"],
      ["b", "older"],
    ],
    0,
  ],
  [
    "the last of many fails",
    ["a", "b"],
    [
      ["a", "current"],
      ["b", "current"],
      ["c", "absent"],
      ["d", "absent"],
      ["e", "current"],
    ],
    4,
  ],
  [
    "one that holds, twice",
    ["a"],
    [
      ["a", "current"],
      ["a", "current"],
    ],
    undefined,
  ],
  [
    "two of one key that exclude each other",
    ["a"],
    [
      ["a", "current"],
      ["a", "absent"],
    ],
    1,
  ],
  ["of a key that the batch does not write", ["other"], [["other", "current"]], undefined],
  ["a failing one of a key that the batch does not write", ["other"], [["other", "absent"]], 0],
];

type RegisterInput =
  | { readonly kind: "read" }
  | { readonly kind: "write"; readonly value: string }
  | { readonly kind: "compare"; readonly expected: string; readonly value: string };

const register: SequentialModel<string, RegisterInput, string> = {
  init: "",
  step(state, input, output) {
    if (input.kind === "read") return output === state ? { state } : undefined;
    if (input.kind === "write") return { state: input.value };
    if (output === "conflict") return { state };
    if (output === "different") return state === input.expected ? undefined : { state };
    return state === input.expected ? { state: input.value } : undefined;
  },
  key: (state) => state,
  isRead: (input) => input.kind === "read",
  kind: (input) => JSON.stringify(input),
};

function registerInput(random: () => number): RegisterInput {
  const value = String(Math.floor(random() * 5));
  if (random() < 0.4) return { kind: "read" };
  return random() < 0.5 ? { kind: "write", value } : { kind: "compare", expected: String(Math.floor(random() * 5)), value };
}

type ListInput = { readonly kind: "read" } | { readonly kind: "append"; readonly value: number };

const list: SequentialModel<string, ListInput, string> = {
  init: "",
  step(state, input, output) {
    if (input.kind === "read") return output === state ? { state } : undefined;
    return { state: output === "ok" ? `${state}${input.value},` : state };
  },
  key: (state) => state,
  isRead: (input) => input.kind === "read",
  kind: (input) => JSON.stringify(input),
};

function listInput(random: () => number): ListInput {
  return random() < 0.3 ? { kind: "read" } : { kind: "append", value: Math.floor(random() * 1_000_000) };
}

/** What `clients` saw who each did `rounds` operations, one after the other, at moments that the seed chooses. */
async function recordHistory<Input>(
  seed: number,
  clients: number,
  rounds: number,
  input: (random: () => number) => Input,
  perform: (input: Input) => Promise<string>,
): Promise<Operation<Input, string>[]> {
  let state = seed;
  const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  const history: Operation<Input, string>[] = [];
  let now = 0;
  const client = async (): Promise<void> => {
    for (let round = 0; round < rounds; round++) {
      for (let turns = Math.floor(random() * 4); turns > 0; turns--) await turnOfTheLoop();
      const asked = input(random);
      const called = ++now;
      const output = await perform(asked);
      history.push({ called, returned: ++now, input: asked, output });
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return history;
}

type Age = "current" | "older" | "absent";

type Step =
  | { readonly kind: "reopen" }
  | { readonly kind: "read"; readonly queries: readonly Query[] }
  | { readonly kind: "batch"; readonly checks: readonly { readonly key: Key; readonly age: Age }[]; readonly writes: readonly Write[] };

const anyKey: fc.Arbitrary<Key> = fc.array(fc.constantFrom(0x00, 0x61, 0xff), { maxLength: 2 }).map((key) => Uint8Array.from(key));
const anyWrite: fc.Arbitrary<Write> = fc.oneof(
  fc.record({ kind: fc.constant("set" as const), key: anyKey, value: fc.uint8Array({ maxLength: 9 }) }),
  fc.record({ kind: fc.constant("add" as const), key: anyKey, amount: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) }),
  fc.record({ kind: fc.constant("delete" as const), key: anyKey }),
  fc.record({ kind: fc.constant("deleteRange" as const), begin: anyKey, end: anyKey }),
);
const anyQuery: fc.Arbitrary<Query> = fc.oneof(
  fc.record({ key: anyKey }),
  fc.record({ begin: anyKey, end: anyKey, limit: fc.integer({ min: 1, max: 15 }), reverse: fc.boolean() }),
);
const anyCheck = fc.record({ key: anyKey, age: fc.constantFrom<Age[]>("current", "current", "current", "older", "absent") });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("batch" as const),
      checks: fc.array(anyCheck, { maxLength: 3 }),
      writes: fc.array(anyWrite, { maxLength: 6 }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("read" as const), queries: fc.array(anyQuery, { maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
);

/** A store so plain that it is plainly right. */
class StoreModel {
  #entries: readonly Entry[] = [];

  read(query: Query): readonly Entry[] {
    if ("key" in query) return this.#entries.filter((entry) => equalBytes(entry.key, query.key));
    const inside = this.#entries.filter((entry) => compareBytes(entry.key, query.begin) >= 0 && compareBytes(entry.key, query.end) < 0);
    const sorted = inside.toSorted((left, right) => compareBytes(left.key, right.key));
    return (query.reverse === true ? sorted.toReversed() : sorted).slice(0, query.limit);
  }

  versionOf(key: Key, age: Age): Version | null {
    const version = this.read({ key })[0]?.version ?? null;
    if (age === "absent") return null;
    return age === "current" ? version : (version ?? 2) - 1;
  }

  failedCheck(checks: readonly Check[]): number {
    return checks.findIndex((check) => this.versionOf(check.key, "current") !== check.version);
  }

  apply(writes: readonly Write[], version: Version): void {
    for (const write of writes) {
      if (write.kind === "deleteRange") {
        this.#entries = this.#entries.filter(
          (entry) => compareBytes(entry.key, write.begin) < 0 || compareBytes(entry.key, write.end) >= 0,
        );
        continue;
      }
      const before = this.read({ key: write.key })[0]?.value;
      this.#entries = this.#entries.filter((entry) => !equalBytes(entry.key, write.key));
      if (write.kind === "set") this.#entries = [...this.#entries, { key: write.key, value: write.value, version }];
      if (write.kind === "add") {
        const sum = BigInt.asIntN(64, (before?.length === 8 ? Buffer.from(before).readBigInt64LE() : 0n) + write.amount);
        const value = Buffer.alloc(8);
        value.writeBigInt64LE(sum);
        this.#entries = [...this.#entries, { key: write.key, value, version }];
      }
    }
  }
}

function entryText(entry: Entry): string {
  return `${hex(entry.key)} = ${hex(entry.value)} @ ${entry.version}`;
}
