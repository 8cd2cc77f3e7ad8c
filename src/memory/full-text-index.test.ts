import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RealEnvironment } from "../environment/real-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { transact } from "../storage/transaction.ts";
import {
  addDocument,
  countDocuments,
  countTerms,
  type IndexedDocument,
  postingsPerTermMax,
  rankDocuments,
  removeAllDocuments,
  removeDocument,
  tokenize,
} from "./full-text-index.ts";
import { WriteList } from "./row-writer.ts";

const environment = new RealEnvironment();
const root = ["p", "index", "one"];
const termsMax = 100;

async function indexed(...documents: readonly IndexedDocument[]): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (let start = 0; start < documents.length; start += 500)
    await transact(store, environment, async (transaction) => {
      for (const document of documents.slice(start, start + 500)) addDocument(transaction, root, document, termsMax);
    });
  return store;
}

function documents(...texts: readonly string[]): IndexedDocument[] {
  return texts.map((text, at) => ({ id: `d${at}`, time: at, text }));
}

for (const [text, terms] of [
  ["Hello, World!", ["hello", "world"]],
  ["Crème BRÛLÉE", ["creme", "brulee"]],
  ["ﬁne Ⅳ x²", ["fine", "iv", "x2"]],
  ["snake_case kebab-case it's", ["snake", "case", "kebab", "case", "it", "s"]],
  ["東京タワー", ["東", "京", "タ", "ワ", "ー"]],
  ["Ёлка и Йод", ["елка", "и", "иод"]],
  ["नमस्ते", ["नमस्ते"]],
  ["😀 \ud800 --", []],
  ["", []],
  ["a".repeat(70), ["a".repeat(64)]],
] as const)
  test(`The terms of ${JSON.stringify(text.slice(0, 20))} are ${JSON.stringify(terms).slice(0, 60)}`, () =>
    assert.deepEqual([...tokenize(text)], terms));

test("Terms are well-formed and fold again to themselves, whatever the text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      for (const term of tokenize(text)) {
        assert.ok(term.length > 0 && term.length <= 64 && term.isWellFormed());
        assert.equal(term, term.normalize("NFC"));
      }
    }),
  );
});

test("A document is found by each of its words, in any case and with any accents", async () => {
  const store = await indexed(...documents("The café is closed", "Tea at home"));
  for (const query of ["cafe", "CAFÉ", "is it closed?"])
    assert.deepEqual(
      (await rankDocuments(store, root, query)).map(({ id }) => id),
      ["d0"],
    );
  assert.deepEqual(await rankDocuments(store, root, "coffee"), []);
  assert.deepEqual(await rankDocuments(store, root, " !? "), []);
});

for (const [why, texts, query, best] of [
  ["more of the query's words", ["red apple", "red car", "green apple pie"], "red apple", "d0"],
  ["the rarer word", ["common common rare", "common common x", "common y", "common z"], "rare common", "d0"],
  ["the word more often", ["cat dog bird", "cat cat bird"], "cat", "d1"],
  ["the word in a shorter text", ["cat naps", "cat and many other animals of the farm and the forest"], "cat", "d0"],
  ["being newer, all else equal", ["same text", "same text"], "text", "d1"],
] as const)
  test(`What ranks first has ${why}`, async () => {
    const [first] = await rankDocuments(await indexed(...documents(...texts)), root, query);
    assert.equal(first!.id, best);
  });

test("The range of time is inclusive", async () => {
  const store = await indexed(...documents("word", "word", "word", "word"));
  const ids = async (range: { from?: number; to?: number }): Promise<string[]> =>
    (await rankDocuments(store, root, "word", range)).map(({ id }) => id).toSorted();
  assert.deepEqual(await ids({ from: 1, to: 2 }), ["d1", "d2"]);
  assert.deepEqual(await ids({ from: 3 }), ["d3"]);
  assert.deepEqual(await ids({ to: 0 }), ["d0"]);
  assert.deepEqual(await ids({ from: 3, to: 2 }), []);
});

test("Of a word in very many documents the newest are found, and a rare word still ranks above it", async () => {
  const many = Array.from({ length: postingsPerTermMax + 500 }, (_, at) => ({
    id: `d${at}`,
    time: at,
    text: at === 3 ? "common rare" : "common words",
  }));
  const store = await indexed(...many);
  const found = await rankDocuments(store, root, "common rare");
  assert.equal(found[0]!.id, "d3");
  assert.equal(found.length, postingsPerTermMax + 1);
  assert.equal(found[1]!.id, `d${postingsPerTermMax + 499}`);
});

test("A word in more documents than are read counts as common, not as in just those that were read", async () => {
  const many = Array.from({ length: 3_000 }, (_, at) => ({ id: `d${at}`, time: at, text: at < 900 ? "middling x y" : "common x y" }));
  many[899] = { id: "middling", time: 899, text: "middling x y" };
  many[2_999] = { id: "common", time: 2_999, text: "common common common" };
  const found = await rankDocuments(await indexed(...many), root, "common middling");
  assert.equal(found[0]!.id, "middling");
});

test("A document has at most the terms that its caller allows, and is removed with them", async () => {
  const words = Array.from({ length: 300 }, (_, at) => `w${at}`).join(" ");
  const store = await indexed({ id: "d", time: 1, text: words });
  assert.equal((await rankDocuments(store, root, "w99")).length, 1);
  assert.equal((await rankDocuments(store, root, "w100")).length, 0);
  assert.equal(countTerms(words, 5).terms.size, 5);
  assert.equal(countTerms(words, 5).length, 300);
  await transact(store, environment, async (transaction) => removeDocument(transaction, root, { id: "d", time: 1, text: words }, termsMax));
  assert.equal(await countDocuments(store, root), 0);
  assert.equal((await rankDocuments(store, root, "w99")).length, 0);
});

test("Removing all documents of one index leaves the others", async () => {
  const store = await indexed(...documents("word"));
  const other = ["p", "index", "one2"];
  await transact(store, environment, async (transaction) => addDocument(transaction, other, { id: "x", time: 1, text: "word" }, termsMax));
  const list = new WriteList();
  removeAllDocuments(list, root);
  await store.commit({ id: "remove", checks: [], writes: list.writes });
  assert.deepEqual(await rankDocuments(store, root, "word"), []);
  assert.deepEqual(
    (await rankDocuments(store, other, "word")).map(({ id }) => id),
    ["x"],
  );
});

test("After any adds and removes the index finds what a scan of the texts finds", async () => {
  const word = fc.constantFrom("a", "b", "c", "d", "É", "e");
  const text = fc.array(word, { maxLength: 6 }).map((words) => words.join(" "));
  await fc.assert(
    fc.asyncProperty(fc.array(text, { maxLength: 12 }), fc.array(fc.nat(11)), text, async (texts, removed, query) => {
      const all = documents(...texts);
      const store = await indexed(...all);
      const gone = new Set(removed.filter((at) => at < all.length));
      await transact(store, environment, async (transaction) => {
        for (const at of gone) removeDocument(transaction, root, all[at]!, termsMax);
      });
      const left = all.filter((_, at) => !gone.has(at));
      const wanted = new Set(tokenize(query));
      const expected = left.filter((document) => [...tokenize(document.text)].some((term) => wanted.has(term))).map(({ id }) => id);
      assert.deepEqual((await rankDocuments(store, root, query)).map(({ id }) => id).toSorted(), expected.toSorted());
      assert.equal(await countDocuments(store, root), left.length);
    }),
    { numRuns: 100 },
  );
});
