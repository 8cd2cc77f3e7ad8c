import assert from "node:assert/strict";
import { test } from "node:test";
import type { Batch } from "../src/storage/store.ts";
import { RewindableStore } from "./rewindable-store.ts";

const key = Buffer.from("key");

function set(id: string, value: string, version?: number | null): Batch {
  const checks = version === undefined ? [] : [{ key, version }];
  return { id, checks, writes: [{ kind: "set", key, value: Buffer.from(value) }] };
}

async function entryOf(store: RewindableStore): Promise<readonly [string, number] | undefined> {
  const [answer] = await store.read([{ key }]);
  return answer![0] && [Buffer.from(answer![0].value).toString(), answer![0].version];
}

test("W1: a history that goes back is what it was, and its generation is another one", async () => {
  const store = new RewindableStore();
  await store.commit(set("a", "one"));
  const before = await entryOf(store);
  await store.commit(set("b", "two"));
  assert.equal(store.generation, "0");
  store.rewind(1);
  assert.equal(store.generation, "1");
  assert.deepEqual(await entryOf(store), before);
  assert.deepEqual(store.ids, ["a"]);
  store.rewind(0);
  assert.equal(await entryOf(store), undefined);
});

test("W2: no check of a lost version holds, and versions grow", async () => {
  const store = new RewindableStore();
  await store.commit(set("a", "one"));
  await store.commit(set("b", "two"));
  const [, lost] = (await entryOf(store))!;
  store.rewind(1);
  const outcome = await store.commit(set("c", "three"));
  assert.ok(outcome.ok && outcome.version > lost);
  assert.deepEqual(await store.commit(set("d", "four", lost)), { ok: false, failedCheck: 0 });
  assert.deepEqual(await store.commit(set("e", "five", outcome.version)), { ok: true, version: outcome.version + 1 });
});

test("A batch that is still in the history is answered as the first time, and one that was lost is applied", async () => {
  const store = new RewindableStore();
  const first = await store.commit(set("a", "one"));
  await store.commit(set("b", "two"));
  store.rewind(1);
  assert.deepEqual(await store.commit(set("a", "one")), first);
  assert.equal(store.length, 1);
  assert.ok((await store.commit(set("b", "two"))).ok);
  assert.equal((await entryOf(store))?.[0], "two");
});
