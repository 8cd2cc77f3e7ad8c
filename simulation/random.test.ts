import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { KeyedRandom } from "./random.ts";

const draws = (seed: number, stream: string, count: number): number[] =>
  Array.from(
    { length: count },
    (
      (random) => () =>
        random.fraction()
    )(new KeyedRandom(seed).stream(stream)),
  );

test("Draws from one stream never shift those of another", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0 }), fc.array(fc.boolean(), { maxLength: 50 }), (seed, turns) => {
      const random = new KeyedRandom(seed);
      const mixed: number[] = [];
      for (const isOurs of turns) {
        if (isOurs) mixed.push(random.stream("ours").fraction());
        else random.stream("theirs").bytes(7);
      }
      assert.deepEqual(mixed, draws(seed, "ours", mixed.length));
    }),
  );
});

test("Other seeds and other streams give other draws", () => {
  const all = new Set<number>();
  for (let seed = 0; seed < 100; seed++)
    for (const stream of ["a", "b", "process/p#1", "process/p#2"]) for (const draw of draws(seed, stream, 5)) all.add(draw);
  for (const draw of draws(2 ** 40, "a", 5)) all.add(draw);
  assert.equal(all.size, 100 * 4 * 5 + 5);
});

test("Draws are spread evenly over their range", () => {
  const buckets = new Array<number>(16).fill(0);
  for (let seed = 0; seed < 200; seed++) for (const draw of draws(seed, "even", 80)) buckets[Math.floor(draw * 16)]!++;
  // 1,000 are expected in each; six standard deviations are about 185.
  for (const bucket of buckets) assert.ok(Math.abs(bucket - 1_000) < 185, `${buckets}`);
  const random = new KeyedRandom(3).stream("between");
  const seen = new Set(Array.from({ length: 200 }, () => random.between(2, 5)));
  assert.deepEqual([...seen].toSorted(), [2, 3, 4, 5]);
});

test("A seed gives version 4 UUIDs, no two alike", () => {
  const random = new KeyedRandom(1).stream("ids");
  const ids = new Set(Array.from({ length: 1_000 }, () => random.uuid()));
  assert.equal(ids.size, 1_000);
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
