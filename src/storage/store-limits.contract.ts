/** The part of the contract of stores about their limits: what is just allowed, and what is refused with nothing written. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { equalBytes } from "../base/bytes.ts";
import { bytes, contents, del, delRange, set, type StoreHarness } from "./store-harness.contract.ts";
import { type Check, LimitError, type Query, storeLimits, type Write } from "./store.ts";

export function describeLimits(harness: StoreHarness): void {
  const { space, commit, get } = harness;

  describe("limits", () => {
    const { keyBytes, valueBytes, batchBytes, rangeEntries } = storeLimits;
    const longest = Buffer.alloc(keyBytes, 0x7a);
    const tooLong = Buffer.alloc(keyBytes + 1, 0x7a);

    test("fit into those of FoundationDB", () => {
      assert.deepEqual(harness.store.limits, storeLimits);
      assert.ok(keyBytes < 10_000 && valueBytes < 100_000 && batchBytes < 10_000_000);
    });

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
        assert.deepEqual(await contents(harness.store, at), {});
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
        const [answer] = await harness.store.read([{ begin: at(""), end: at("~"), limit: 1_000 }]);
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
        const attempt = harness.store.commit({ id, checks: [], writes: [set(at("a"), "1")] });
        if (isOk) assert.equal((await attempt).ok, true);
        else await assert.rejects(attempt, LimitError);
        assert.equal((await get(at("a"))) !== undefined, isOk);
      });

    for (const limit of [0, -1, 1.5, Number.NaN, Infinity, rangeEntries + 1])
      test(`a range of ${limit} entries is refused`, async () =>
        await assert.rejects(harness.store.read([{ begin: bytes("a"), end: bytes("b"), limit }]), LimitError));

    for (const query of [
      { key: tooLong },
      { begin: tooLong, end: bytes("~"), limit: 1 },
      { begin: bytes("a"), end: tooLong, limit: 1 },
    ] as readonly Query[])
      test(`a query with ${Object.keys(query)[0]} and a key that is too long is refused`, async () =>
        await assert.rejects(harness.store.read([{ key: bytes("a") }, query]), LimitError));

    test("a range gives 10,000 entries at once", async () => {
      const at = space();
      const keys = Array.from({ length: rangeEntries + 1 }, (_, index) => at(String(index).padStart(6, "0")));
      await commit(keys.map((key) => set(key, "")));
      const [answer] = await harness.store.read([{ begin: at(""), end: at("~"), limit: rangeEntries }]);
      assert.equal(answer!.length, rangeEntries);
      assert.ok(equalBytes(answer!.at(-1)!.key, keys[rangeEntries - 1]!));
      await commit([delRange(at(""), at("~"))]);
    });
  });
}
