/** What every store must do (S1 to S4 of `store.ts`): one suite, run on each adapter by one line in its test. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bytesToMapKey, compareBytes, equalBytes } from "../base/bytes.ts";
import { readCounter } from "./counter.ts";
import { batchCases, checkCases, oddKeys } from "./store-cases.contract.ts";
import {
  abortAtEnd,
  add,
  bytes,
  contents,
  counterText,
  del,
  delRange,
  hex,
  set,
  type Space,
  StoreHarness,
  type StoreUnderTest,
  text,
  turnOfTheLoop,
} from "./store-harness.contract.ts";
import { describeLimits } from "./store-limits.contract.ts";
import { describeHistories } from "./store-histories.contract.ts";
import type { Check, Version, Write } from "./store.ts";

export function describeStoreContract(name: string, parts: StoreUnderTest): void {
  describe(`${name} keeps the contract of stores`, () => {
    const harness = new StoreHarness(parts);
    const { space, commit, get, versionOf } = harness;

    before(() => harness.open());
    after(() => harness.close());

    describe("batches", () => {
      for (const [title, given, writes, expected] of batchCases)
        test(title, async () => {
          const at = space();
          await commit(Object.entries(given).map(([key, value]) => set(at(key), value)));
          assert.equal((await commit(writes(at))).ok, true);
          assert.deepEqual(await contents(harness.store, at), expected);
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
            await contents(harness.store, at),
            failedCheck === undefined ? { ...left, counter: counterText(1n), result: "written" } : untouched,
          );
        });

      test("the check of a row that the batch then sets holds or fails as any other", async () => {
        const at = space();
        const key = at("a");
        const compareAndSet = (version: Version | null, value: string): ReturnType<typeof commit> =>
          commit([{ kind: "set", key, value: bytes(value) }, set(at("other"), value), del(at("gone"))], [{ key, version }]);
        assert.deepEqual(await compareAndSet(1, "too early"), { ok: false, failedCheck: 0 });
        const first = await compareAndSet(null, "first");
        assert.ok(first.ok);
        assert.deepEqual(await compareAndSet(null, "again"), { ok: false, failedCheck: 0 });
        const second = await compareAndSet(first.version, "second");
        assert.ok(second.ok);
        assert.deepEqual(await compareAndSet(first.version, "stale"), { ok: false, failedCheck: 0 });
        assert.deepEqual(await contents(harness.store, at), { a: "second", other: "second" });
        assert.equal(await versionOf(key), second.version);
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
        const [answer] = await harness.store.read([{ begin: at(""), end: at("~"), limit: 10_000 }]);
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
        const [answer] = await harness.store.read([{ begin: at(""), end: Buffer.concat([at(""), Buffer.alloc(9_000, 0xff)]), limit: 100 }]);
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
          const [only] = await harness.store.read([{ begin: key, end: Buffer.concat([key, Buffer.of(0)]), limit: 10 }]);
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
        ["99,000 bytes", Buffer.alloc(99_000, 0xab)],
      ] as const)
        test(`a value of ${title} comes back as it was`, async () => {
          const at = space();
          await commit([{ kind: "set", key: at("a"), value }]);
          const entry = await get(at("a"));
          assert.ok(entry!.value instanceof Uint8Array && equalBytes(entry!.value, value));
          const [[ranged] = []] = await harness.store.read([{ begin: at("a"), end: at("b"), limit: 1 }]);
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
            const answers = await harness.store.read(wanted.map(({ end, limit }) => ({ begin: at(begin), end: at(end), limit, reverse })));
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

      test("no queries have no answers", async () => assert.deepEqual(await harness.store.read([]), []));

      test("answers come in the order of the queries, also for absent keys and the same key twice", async () => {
        const at = space();
        await commit([set(at("a"), "1"), set(at("b"), "2")]);
        const answers = await harness.store.read([
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
        const [one, many] = await harness.store.read([{ key: at("a") }, { begin: at("a"), end: at("b"), limit: 1 }]);
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
            const answers = await harness.store.read([
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

    describeLimits(harness);

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
        const left = await contents(harness.store, at);
        assert.equal(left["b"] !== undefined, outcomes[1].ok);
        assert.equal(left["c"] !== undefined, outcomes[3].ok);
      });
    });

    describe("batch ids", () => {
      test("a batch that is committed again answers as the first time and has no second effect", async () => {
        const at = space();
        const batch = {
          id: `again ${harness.cases}`,
          checks: [{ key: at("a"), version: null }],
          writes: [set(at("a"), "1"), add(at("n"), 1n)],
        };
        const first = await harness.store.commit(batch);
        await commit([set(at("a"), "2")]);
        for (let round = 0; round < 3; round++) assert.deepEqual(await harness.store.commit(batch), first);
        assert.deepEqual(await contents(harness.store, at), { a: "2", n: counterText(1n) });
      });

      test("a batch that is committed 20 times at once takes effect once", async () => {
        const at = space();
        const batch = { id: `at once ${harness.cases}`, checks: [], writes: [add(at("n"), 1n)] };
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => harness.store.commit(batch)));
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
        const batch = { id: `long ago ${harness.cases}`, checks: [], writes: [add(at("n"), 1n)] };
        const first = await harness.store.commit(batch);
        await Promise.all(Array.from({ length: 10_000 }, () => commit([set(at("other"), "1")])));
        assert.deepEqual(await harness.store.commit(batch), first);
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
          const hints = harness.store.watch([at("x"), at("a")], abort.signal)[Symbol.asyncIterator]();
          for (let round = 0; round < 3; round++) {
            const hint = hints.next();
            await commit([write(at)]);
            assert.equal((await hint).done ?? false, false);
          }
        });

      test("a watch ends when its signal aborts", async () => {
        const abort = new AbortController();
        const hints = harness.store.watch([bytes("a")], abort.signal)[Symbol.asyncIterator]();
        const hint = hints.next();
        abort.abort();
        assert.equal((await hint).done, true);
        const none = harness.store.watch([bytes("a")], abort.signal)[Symbol.asyncIterator]();
        assert.equal((await none.next()).done, true);
      });

      test("every watcher of a key gets the hint", async () => {
        const at = space();
        using abort = abortAtEnd();
        const watches = Array.from({ length: 10 }, () => harness.store.watch([at("a")], abort.signal)[Symbol.asyncIterator]());
        const hints = watches.map((watch) => watch.next());
        await commit([set(at("a"), "1")]);
        for (const hint of hints) assert.equal((await hint).done ?? false, false);
      });
    });

    describeHistories(harness);

    if (parts.reopen !== undefined)
      test("a store that is opened again has everything, and versions go on growing", async () => {
        const at = space();
        await commit([set(at("a"), "1"), set(at("gone"), "1"), add(at("n"), 41n)]);
        const outcome = await commit([del(at("gone")), add(at("n"), 1n)]);
        assert.ok(outcome.ok);
        await harness.reopen();
        assert.deepEqual(await contents(harness.store, at), { a: "1", n: counterText(42n) });
        const next = await commit([set(at("gone"), "2")], [{ key: at("gone"), version: null }]);
        assert.ok(next.ok && next.version > outcome.version);
      });

    test("closing a store twice is nothing", async () => {
      const other = await parts.open();
      await other.commit({ id: "1", checks: [], writes: [set(bytes("a"), "1")] });
      await other[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    });
  });
}
