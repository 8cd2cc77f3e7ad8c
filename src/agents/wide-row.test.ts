import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeJson } from "../base/json.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { deleteWide, getWide, readWide, setWide } from "./wide-row.ts";

/** An actor's state without the actor. */
class Rows {
  readonly rows = new Map<string, { readonly key: Tuple; readonly value: unknown }>();

  get<T>(key: Tuple): Promise<T | undefined> {
    return Promise.resolve(this.rows.get(JSON.stringify(key))?.value as T | undefined);
  }

  set(key: Tuple, value: unknown): void {
    assert.ok(encodeJson(value).length <= new MemoryStore().limits.valueBytes, "A row fits the store");
    this.rows.set(JSON.stringify(key), { key, value });
  }

  delete(key: Tuple): void {
    this.rows.delete(JSON.stringify(key));
  }

  list<T>(prefix: Tuple, { limit }: { readonly limit: number }): Promise<{ readonly key: Tuple; readonly value: T }[]> {
    const found = [...this.rows.values()].filter(({ key }) => key.length === prefix.length + 1 && key[0] === prefix[0]);
    return Promise.resolve(
      found.sort((left, right) => Number(left.key[1]) - Number(right.key[1])).slice(0, limit) as { key: Tuple; value: T }[],
    );
  }
}

const texts = [
  "",
  "short",
  "a".repeat(23_980),
  "a".repeat(24_000),
  '"\\'.repeat(60_000),
  "€".repeat(100_000),
  "😀".repeat(70_001),
  "\0\ud800".repeat(9_001),
];

for (const text of texts)
  test(`A wide row keeps a text of ${text.length} characters (${JSON.stringify(text.slice(0, 4))}…), seen from inside and outside`, async () => {
    const rows = new Rows();
    const value = { calls: [{ arguments: text }] };
    await setWide(rows, ["x"], value);
    assert.deepEqual(await getWide(rows, ["x"]), value);
    const store = new MemoryStore();
    const writes = [...rows.rows.values()].map(
      (row) => ({ kind: "set", key: encodeTuple(["p", ...row.key]), value: encodeJson(row.value) }) as const,
    );
    await store.commit({
      id: "1",
      checks: [],
      writes: [...writes, { kind: "set", key: encodeTuple(["p", "xx"]), value: encodeJson("a neighbour") }],
    });
    assert.deepEqual(await readWide(store, ["p", "x"]), value);
    await deleteWide(rows, ["x"]);
    assert.equal(rows.rows.size, 0);
  });

test("A wide row that becomes shorter leaves nothing behind", async () => {
  const rows = new Rows();
  for (const length of [200_000, 90_000, 10, 50_000, 0]) {
    await setWide(rows, ["x"], { text: "é".repeat(length) });
    assert.deepEqual(await getWide(rows, ["x"]), { text: "é".repeat(length) });
    assert.equal(rows.rows.size, length < 24_000 ? 1 : 1 + Math.ceil((length + 11) / 24_000));
  }
});

test("A wide row that is not there is undefined", async () => {
  assert.equal(await getWide(new Rows(), ["x"]), undefined);
  assert.equal(await readWide(new MemoryStore(), ["x"]), undefined);
});
