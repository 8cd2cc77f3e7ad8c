import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareBytes } from "../base/bytes.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import { actor, startNode, type TestNode } from "../../test/support/actor-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import { LimitError, storeLimits } from "../storage/store.ts";
import type { ActorType, Turn } from "./actor.ts";

type Work = (turn: Turn) => Promise<unknown>;
const Anything: ActorType<Work, unknown> = {
  type: "anything",
  create: () => ({ receive: async (work, turn) => await work(turn) }),
};
const one = actor("anything");

type Row = { readonly key: Tuple; readonly value: unknown };
type Change = { readonly key: Tuple; readonly value: number | null };
type Question = { readonly prefix: Tuple; readonly limit: number; readonly reverse: boolean; readonly after?: Tuple };

const keys: readonly Tuple[] = [
  ["a"],
  ["a", 1],
  ["a", 2],
  ["a", 2, "x"],
  ["a", 10],
  ["a", "b"],
  ["b"],
  ["b", -1],
  ["b", null],
  ["c", "ü"],
  ["c", "\0"],
  [7],
];
const anyKey = fc.constantFrom(...keys);
const anyChange: fc.Arbitrary<Change> = fc.record({ key: anyKey, value: fc.option(fc.nat(9), { freq: 2 }) });
const anyChanges = fc.array(anyChange, { maxLength: 8 });
const anyQuestion: fc.Arbitrary<Question> = fc.record(
  {
    prefix: fc.constantFrom<Tuple>([], ["a"], ["b"], ["a", 2]),
    limit: fc.integer({ min: 1, max: 6 }),
    reverse: fc.boolean(),
    after: anyKey,
  },
  { requiredKeys: ["prefix", "limit", "reverse"] },
);

function apply(turn: Turn, changes: readonly Change[]): void {
  for (const { key, value } of changes) {
    if (value === null) turn.state.delete(key);
    else turn.state.set(key, value);
  }
}

/** What a list must give: from the plain model of a map. */
function expected(model: ReadonlyMap<string, Row>, { prefix, limit, reverse, after }: Question): Row[] {
  const rows = [...model.values()]
    .filter(({ key }) => key.length > prefix.length && prefix.every((element, index) => key[index] === element))
    .sort((left, right) => compareBytes(encodeTuple(left.key), encodeTuple(right.key)));
  if (reverse) rows.reverse();
  const left =
    after === undefined ? rows : rows.filter(({ key }) => compareBytes(encodeTuple(key), encodeTuple(after)) * (reverse ? -1 : 1) > 0);
  return left.slice(0, limit);
}

test("get and list see the store, the batches on their way and the turn's own changes, in every combination", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(anyChanges, fc.constant(keys.map((key, value) => ({ key, value })))),
      anyChanges,
      anyChanges,
      anyChanges,
      fc.array(anyQuestion, { minLength: 1, maxLength: 4 }),
      fc.constantFrom(6, 10_000),
      async (durable, onItsWay, gathering, own, questions, rangeEntries) => {
        const node = await startNode([Anything], { limits: { cachedRows: 3 } });
        node.store.limits = { ...node.store.limits, rangeEntries };
        await node.runtime.invoke(one, async (turn: Turn) => apply(turn, durable));
        node.store.hold();
        const before = [onItsWay, gathering].map((changes) => node.runtime.invoke(one, async (turn: Turn) => apply(turn, changes)));
        const model = new Map<string, Row>();
        for (const { key, value } of [durable, onItsWay, gathering, own].flat()) {
          if (value === null) model.delete(JSON.stringify(key));
          else model.set(JSON.stringify(key), { key, value });
        }
        const seen = node.runtime.invoke(one, async (turn: Turn) => {
          apply(turn, own);
          for (const question of questions) assert.deepEqual(await turn.state.list(question.prefix, question), expected(model, question));
          for (const key of keys) assert.equal(await turn.state.get(key), model.get(JSON.stringify(key))?.value);
        });
        await settle();
        node.store.release();
        await Promise.all([...before, seen]);
        await checkStored(node, model);
      },
    ),
    { numRuns: 300 },
  );
});

/** A fresh activation, which remembers nothing, sees the same. */
async function checkStored(node: TestNode, model: ReadonlyMap<string, Row>): Promise<void> {
  await node.runtime[Symbol.asyncDispose]();
  node.store.limits = storeLimits;
  const next = await startNode([Anything], { store: node.store });
  const all: Question = { prefix: [], limit: 100, reverse: false };
  const rows = await next.runtime.invoke(one, async (turn: Turn) => await turn.state.list([], { limit: 100 }));
  assert.deepEqual(rows, expected(model, all));
}

test("A list over rows that the turn has deleted asks for as many more, and reads one page", async () => {
  const node = await startNode([Anything]);
  await node.runtime.invoke(one, async (turn: Turn) => {
    for (let row = 0; row < 100; row++) turn.state.set([row], row);
  });
  const before = node.store.reads;
  const rows = await node.runtime.invoke<Row[]>(one, async (turn: Turn) => {
    for (let row = 0; row < 50; row++) turn.state.delete([row]);
    return await turn.state.list([], { limit: 10 });
  });
  assert.deepEqual(
    rows.map((row) => row.value),
    [50, 51, 52, 53, 54, 55, 56, 57, 58, 59],
  );
  assert.equal(node.store.reads, before + 1);
});

test("What is remembered is bounded, and what was used last stays", async () => {
  const node = await startNode([Anything], { limits: { cachedRows: 3 } });
  await node.runtime.invoke(one, async (turn: Turn) => {
    for (let row = 0; row < 5; row++) turn.state.set([row], row);
  });
  const readsFor = async (...rows: number[]): Promise<number> => {
    const before = node.store.reads;
    await node.runtime.invoke(one, async (turn: Turn) => {
      for (const row of rows) assert.equal(await turn.state.get([row]), row);
    });
    return node.store.reads - before;
  };
  assert.equal(await readsFor(2, 3, 4), 0);
  assert.equal(await readsFor(2, 0), 1);
  assert.equal(await readsFor(2, 0), 0);
  assert.equal(await readsFor(3), 1, "the least recently used one had left");
});

test("Large rows do not stay in memory beyond the bound in bytes", async () => {
  const node = await startNode([Anything], { limits: { cachedBytes: 10_000 } });
  await node.runtime.invoke(one, async (turn: Turn) => turn.state.set(["large"], "x".repeat(20_000)));
  const before = node.store.reads;
  const read: Work = async (turn) => ((await turn.state.get<string>(["large"])) ?? "").length;
  assert.equal(await node.runtime.invoke(one, read), 20_000);
  assert.equal(node.store.reads, before + 1);
});

test("A read that was overtaken by a commit is not remembered", async () => {
  const node = await startNode([Anything]);
  await node.runtime.invoke(one, async (turn: Turn) => turn.state.set(["row"], "old"));
  await node.runtime[Symbol.asyncDispose]();
  const next = await startNode([Anything], { store: node.store });
  await next.runtime.invoke(one, async () => {});
  // The store takes its snapshot at once and answers late.
  const read = next.store.read.bind(next.store);
  let answer = (): void => {};
  next.store.read = async (queries) => {
    const answers = await read(queries);
    await new Promise<void>((resolve) => (answer = resolve));
    return answers;
  };
  let early: Promise<unknown> | undefined;
  await next.runtime.invoke(one, async (turn: Turn) => {
    early = turn.state.get(["row"]);
    turn.state.set(["row"], "new");
  });
  next.store.read = read;
  answer();
  assert.equal(await early, "old", "it was asked for before the change");
  assert.equal(await next.runtime.invoke(one, async (turn: Turn) => await turn.state.get(["row"])), "new");
});

for (const limit of [0, -1, 1.5, 10_001]) {
  test(`A list of ${limit} rows is refused`, async () => {
    const node = await startNode([Anything]);
    await assert.rejects(
      node.runtime.invoke(one, async (turn: Turn) => await turn.state.list([], { limit })),
      LimitError,
    );
  });
}

for (const value of [undefined, () => 1, Symbol("s")]) {
  test(`A row cannot hold a ${typeof value}`, async () => {
    const node = await startNode([Anything]);
    await assert.rejects(
      node.runtime.invoke(one, async (turn: Turn) => turn.state.set(["row"], value)),
      /holds JSON, not/,
    );
  });
}

test("Every JSON value, also with lone surrogates, comes back as it was", async () => {
  const node = await startNode([Anything]);
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), fc.string({ unit: "binary" }), async (value, text) => {
      await node.runtime.invoke(one, async (turn: Turn) => turn.state.set(["row"], [value, text]));
      const read = await node.runtime.invoke(one, async (turn: Turn) => await turn.state.get(["row"]));
      assert.deepEqual(read, JSON.parse(JSON.stringify([value, text])));
    }),
    { numRuns: 100 },
  );
});
