import assert from "node:assert/strict";
import { test } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import type { Query, Store } from "../storage/store.ts";
import { transact, type Transaction } from "../storage/transaction.ts";
import { ToolCache } from "./tool-cache.ts";
import { createTool, deleteTool, replaceTool, type ToolRecord, updateTool } from "./tool-record.ts";

const environment = new RealEnvironment({ level: "error" });

/** A store that counts the rows that are asked of it. */
class CountingStore extends MemoryStore {
  asked = 0;

  override async read(queries: readonly Query[]): ReturnType<MemoryStore["read"]> {
    this.asked += queries.length;
    return await super.read(queries);
  }
}

function change<T>(store: Store, work: (transaction: Transaction) => Promise<T>): Promise<T> {
  return transact(store, environment, work);
}

async function make(store: Store, count: number, project = "p"): Promise<ToolRecord[]> {
  const made: ToolRecord[] = [];
  for (let at = 0; at < count; at++) {
    const json_schema = { name: `tool_${at}`, description: "Does something" };
    made.push(await change(store, (transaction) => createTool(transaction, environment, project, { source_type: "json", json_schema })));
  }
  return made;
}

test("What has not changed is read once, and then costs one small row", async () => {
  const [store, cache] = [new CountingStore(), new ToolCache()];
  const made = await make(store, 20);
  const ids = made.map(({ id }) => id);
  assert.deepEqual(await cache.read(store, "p", ids), made);
  store.asked = 0;
  assert.deepEqual(await cache.read(store, "p", ids.toReversed()), made.toReversed());
  assert.deepEqual(await cache.read(store, "p", ids.slice(3, 5)), made.slice(3, 5));
  assert.equal(store.asked, 2);
});

test("Every change is seen by the next read: a new tool, another one in its place, none", async () => {
  const [store, cache] = [new MemoryStore(), new ToolCache()];
  const [first, second] = await make(store, 2);
  const later = await make(new MemoryStore(), 1);
  const ids = [first!.id, second!.id, later[0]!.id];
  const names = async (): Promise<string[]> => (await cache.read(store, "p", ids)).map(({ name, tags }) => `${name} ${tags.join()}`);
  assert.deepEqual(await names(), ["tool_0 ", "tool_1 "]);
  await change(store, (transaction) => updateTool(transaction, environment, "p", first!.id, { tags: ["a"] }));
  assert.deepEqual(await names(), ["tool_0 a", "tool_1 "]);
  await change(store, (transaction) => replaceTool(transaction, "p", second!, { ...second!, tags: ["b"] }));
  assert.deepEqual(await names(), ["tool_0 a", "tool_1 b"]);
  await change(store, (transaction) => deleteTool(transaction, "p", first!.id));
  assert.deepEqual(await names(), ["tool_1 b"]);
});

test("Projects and stores are kept apart", async () => {
  const [store, other, cache] = [new MemoryStore(), new MemoryStore(), new ToolCache()];
  const [ofP, ofQ, ofOther] = [await make(store, 1, "p"), await make(store, 1, "q"), await make(other, 1, "p")];
  for (let round = 0; round < 2; round++) {
    assert.deepEqual(await cache.read(store, "p", [ofP[0]!.id, ofQ[0]!.id, ofOther[0]!.id]), ofP);
    assert.deepEqual(await cache.read(store, "q", [ofP[0]!.id, ofQ[0]!.id]), ofQ);
    assert.deepEqual(await cache.read(other, "p", [ofP[0]!.id, ofOther[0]!.id]), ofOther);
  }
});

test("A change in the middle of a read never leaves an old tool behind", async () => {
  const [store, cache] = [new MemoryStore(), new ToolCache()];
  const made = await make(store, 5);
  const ids = made.map(({ id }) => id);
  let tags = 0;
  const changing = (async () => {
    for (tags = 1; tags <= 50; tags++)
      await change(store, (transaction) => updateTool(transaction, environment, "p", ids[tags % 5]!, { tags: [`${tags}`] }));
  })();
  for (let round = 0; round < 50; round++) await Promise.all([cache.read(store, "p", ids), cache.read(store, "p", ids.slice(2))]);
  await changing;
  assert.deepEqual(
    (await cache.read(store, "p", ids)).map((tool) => tool.tags),
    [["50"], ["46"], ["47"], ["48"], ["49"]],
  );
});

test("More than fits is read again and again, and right all the same", async () => {
  const [store, cache] = [new CountingStore(), new ToolCache()];
  const made: ToolRecord[] = [];
  const source_code = `# ${"x".repeat(60_000)}`;
  for (let at = 0; at < 700; at++) {
    const create = { source_type: "python", source_code, json_schema: { name: `tool_${at}` } };
    made.push(await change(store, (transaction) => createTool(transaction, environment, "p", create)));
  }
  const [one, rest] = [made.slice(0, 10), made.slice(10)];
  await cache.read(
    store,
    "p",
    rest.map(({ id }) => id),
  );
  for (let round = 0; round < 2; round++)
    assert.deepEqual(
      await cache.read(
        store,
        "p",
        one.map(({ id }) => id),
      ),
      one,
    );
  store.asked = 0;
  assert.equal(
    (
      await cache.read(
        store,
        "p",
        made.map(({ id }) => id),
      )
    ).length,
    700,
  );
  assert.equal(store.asked, 702, "the old ones are gone");
});
