import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Tuple } from "../base/tuple.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { Collection, entityBytesMax, fitsOneRow, type Page } from "./collection.ts";
import { MemoryStore } from "./memory-store.ts";
import type { Store } from "./store.ts";
import { ConflictError, transact } from "./transaction.ts";

interface Book {
  readonly id: string;
  readonly year: number;
  readonly tags: readonly string[];
}

const environment = new RealEnvironment();
const books = new Collection<Book>("book", { year: (book) => [[book.year]], tag: (book) => book.tags.map((tag) => [tag, book.year]) });

async function insert(store: Store, ...entities: readonly Book[]): Promise<void> {
  await transact(store, environment, async (transaction) => {
    for (const entity of entities) books.insert(transaction, "p", entity);
  });
}

/** Every row of the store: the entities and all their index rows. */
async function rowCount(store: Store): Promise<number> {
  const [answer] = await store.read([{ begin: Uint8Array.of(), end: Uint8Array.of(0xff), limit: 10_000 }]);
  return answer!.length;
}

async function idsOf(store: Store, index: string, prefix: Tuple, page: Partial<Page> = {}): Promise<string[] | undefined> {
  return (await books.page(store, "p", index, prefix, { limit: 100, ...page }))?.map((book) => book.id);
}

const shelf: readonly Book[] = [
  { id: "d", year: 2001, tags: ["x"] },
  { id: "a", year: 1990, tags: ["x", "y"] },
  { id: "c", year: 1990, tags: [] },
  { id: "b", year: -300, tags: ["y"] },
  { id: "e", year: 2020, tags: ["x", "z"] },
];

describe("A collection", () => {
  test("inserts, reads and deletes an entity with its index rows", async () => {
    const store = new MemoryStore();
    await insert(store, shelf[1]!);
    assert.equal(await rowCount(store), 4);
    assert.deepEqual(await books.read(store, "p", ["a", "nobody", "a"]), [shelf[1], undefined, shelf[1]]);
    assert.deepEqual(await books.read(store, "p", []), []);
    await transact(store, environment, async (transaction) => books.delete(transaction, "p", (await books.get(transaction, "p", "a"))!));
    assert.equal(await rowCount(store), 0);
  });

  test("refuses to insert an id that exists", async () => {
    const store = new MemoryStore();
    await insert(store, shelf[0]!);
    await assert.rejects(
      transact(store, environment, async (transaction) => books.insert(transaction, "p", { ...shelf[0]!, year: 1 }), { attempts: 1 }),
      ConflictError,
    );
    assert.deepEqual(await books.read(store, "p", ["d"]), [shelf[0]]);
  });

  test("moves an entity in its indexes when it is replaced", async () => {
    const store = new MemoryStore();
    await insert(store, ...shelf);
    await transact(store, environment, async (transaction) => {
      const before = (await books.get(transaction, "p", "a"))!;
      books.replace(transaction, "p", before, { ...before, year: 2030, tags: ["y", "new"] });
    });
    assert.deepEqual(await idsOf(store, "year", []), ["b", "c", "d", "e", "a"]);
    assert.deepEqual(await idsOf(store, "tag", ["x"]), ["d", "e"]);
    assert.deepEqual(await idsOf(store, "tag", ["y"]), ["b", "a"]);
    assert.deepEqual(await idsOf(store, "tag", ["new"]), ["a"]);
  });

  test("writes only the entity when no index changes", async () => {
    const store = new MemoryStore();
    await insert(store, shelf[1]!);
    await transact(store, environment, async (transaction) => {
      const before = (await books.get(transaction, "p", "a"))!;
      books.replace(transaction, "p", before, { ...before });
      assert.equal(transaction.writes.length, 1);
    });
  });

  test("keeps projects apart", async () => {
    const store = new MemoryStore();
    await insert(store, ...shelf);
    assert.deepEqual(await books.page(store, "q", "year", [], { limit: 10 }), []);
    assert.deepEqual(await books.read(store, "q", ["a"]), [undefined]);
    assert.equal(await books.page(store, "q", "year", [], { limit: 10, after: "a" }), undefined);
  });

  for (const [title, index, prefix, page, expected] of [
    ["everything", "year", [], {}, ["b", "a", "c", "d", "e"]],
    ["everything in reverse", "year", [], { reverse: true }, ["e", "d", "c", "a", "b"]],
    ["under a prefix", "year", [1990], {}, ["a", "c"]],
    ["under a prefix that nothing has", "year", [7], {}, []],
    ["by a tag", "tag", ["x"], {}, ["a", "d", "e"]],
    ["a limit", "year", [], { limit: 2 }, ["b", "a"]],
    ["after the first", "year", [], { after: "b", limit: 2 }, ["a", "c"]],
    ["after the last", "year", [], { after: "e" }, []],
    ["after, in reverse", "year", [], { after: "d", reverse: true }, ["c", "a", "b"]],
    ["before", "year", [], { before: "c" }, ["b", "a"]],
    ["before, in reverse", "year", [], { before: "c", reverse: true }, ["e", "d"]],
    ["before the first", "year", [], { before: "b" }, []],
    ["between two", "year", [], { after: "b", before: "d" }, ["a", "c"]],
    ["between two that are the wrong way round", "year", [], { after: "d", before: "b" }, []],
    ["after, under a tag", "tag", ["x"], { after: "a" }, ["d", "e"]],
    ["after an unknown id", "year", [], { after: "nobody" }, undefined],
    ["before an unknown id", "year", [], { before: "nobody" }, undefined],
    ["after an id that is not under the prefix", "tag", ["x"], { after: "c" }, undefined],
    ["before an id that is not under the prefix", "year", [1990], { before: "e" }, undefined],
  ] as readonly (readonly [string, string, Tuple, Partial<Page>, string[] | undefined])[])
    test(`pages: ${title}`, async () => {
      const store = new MemoryStore();
      await insert(store, ...shelf);
      assert.deepEqual(await idsOf(store, index, prefix, page), expected);
    });

  test("counts up to a most", async () => {
    const store = new MemoryStore();
    await insert(store, ...shelf);
    assert.deepEqual(
      await Promise.all([
        books.count(store, "p", "year", [], 100),
        books.count(store, "p", "year", [], 3),
        books.count(store, "p", "tag", ["x"], 100),
        books.count(store, "p", "tag", ["none"], 100),
      ]),
      [5, 3, 3, 0],
    );
  });

  test("pages like a sorted list, after any inserts, replacements and deletes", async () => {
    const id = fc.constantFrom("a", "b", "c", "d", "e", "f");
    const book = fc.record({
      id,
      year: fc.integer({ min: -3, max: 3 }),
      tags: fc.uniqueArray(fc.constantFrom("x", "y"), { maxLength: 2 }),
    });
    const step = fc.oneof({ weight: 3, arbitrary: book }, { weight: 1, arbitrary: id });
    const cursor = fc.option(id, { nil: undefined });
    const page = fc.record({ limit: fc.integer({ min: 1, max: 7 }), reverse: fc.boolean(), after: cursor, before: cursor });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 15 }), fc.array(page, { maxLength: 8 }), async (steps, pages) => {
        const store = new MemoryStore();
        const model = new Map<string, Book>();
        for (const each of steps) {
          await transact(store, environment, async (transaction) => {
            const known = await books.get(transaction, "p", typeof each === "string" ? each : each.id);
            if (typeof each === "string") {
              if (known !== undefined) books.delete(transaction, "p", known);
            } else if (known === undefined) books.insert(transaction, "p", each);
            else books.replace(transaction, "p", known, each);
          });
          if (typeof each === "string") model.delete(each);
          else model.set(each.id, each);
        }
        assert.equal(
          await rowCount(store),
          [...model.values()].reduce((sum, { tags }) => sum + 2 + tags.length, 0),
        );
        for (const prefix of [undefined, "x"]) {
          const all = [...model.values()].filter(({ tags }) => prefix === undefined || tags.includes(prefix));
          const sorted = all.toSorted((left, right) => left.year - right.year || (left.id < right.id ? -1 : 1)).map((each) => each.id);
          for (const { limit, reverse, after, before } of pages) {
            const order = reverse ? sorted.toReversed() : sorted;
            const isKnown = [after, before].every((each) => each === undefined || order.includes(each));
            const [from, to] = [
              after === undefined ? 0 : order.indexOf(after) + 1,
              before === undefined ? order.length : order.indexOf(before),
            ];
            const asked = { limit, reverse, ...(after === undefined ? {} : { after }), ...(before === undefined ? {} : { before }) };
            const found = await idsOf(store, prefix === undefined ? "year" : "tag", prefix === undefined ? [] : [prefix], asked);
            // A page before a cursor ends at the cursor, but starts where the range does.
            assert.deepEqual(found, isKnown ? order.slice(from, Math.max(from, to)).slice(0, limit) : undefined);
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});

for (const [length, fits] of [
  [entityBytesMax - 2, true],
  [entityBytesMax - 1, false],
] as const)
  test(`a text whose JSON has ${length + 2} bytes ${fits ? "fits" : "does not fit"} one row`, () =>
    assert.equal(fitsOneRow("x".repeat(length)), fits));
