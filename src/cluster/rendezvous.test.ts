import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Candidate, rendezvous } from "./rendezvous.ts";

const keys = Array.from({ length: 10_000 }, (_, at) => `project\0agent\0key-${at}`);

function shares(candidates: readonly Candidate[]): Map<string, number> {
  const counts = new Map<string, number>(candidates.map(({ node }) => [node, 0]));
  for (const key of keys) {
    const { node } = rendezvous(key, candidates)!;
    counts.set(node, counts.get(node)! + 1);
  }
  return counts;
}

function nodes(...capacities: readonly number[]): Candidate[] {
  return capacities.map((capacity, at) => ({ node: `node${at}#0123456789abcdef`, capacity }));
}

test("There is no candidate among none, and the only one among one", () => {
  assert.equal(rendezvous("key", []), undefined);
  assert.equal(rendezvous("key", nodes(1))?.node, "node0#0123456789abcdef");
});

for (const capacities of [
  [1, 1, 1],
  [1, 2, 3, 4],
  [0.5, 10],
  [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
])
  test(`Capacities ${capacities.join(", ")} get their shares of the keys (V1)`, () => {
    const total = capacities.reduce((sum, capacity) => sum + capacity, 0);
    const counts = [...shares(nodes(...capacities)).values()];
    for (const [at, capacity] of capacities.entries()) {
      const expected = (keys.length * capacity) / total;
      // Five standard deviations of a fair draw.
      assert.ok(Math.abs(counts[at]! - expected) < 5 * Math.sqrt(expected), `${counts[at]} of about ${expected}`);
    }
  });

test("When a node goes only its keys move, and when it comes back they are where they were (V2)", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.1, max: 100, noNaN: true }), { minLength: 2, maxLength: 8 }),
      fc.nat(),
      fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 50 }),
      (capacities, drawn, someKeys) => {
        const all = nodes(...capacities);
        const gone = all[drawn % all.length]!;
        const rest = all.filter((candidate) => candidate !== gone);
        for (const key of someKeys) {
          const before = rendezvous(key, all)!;
          if (before !== gone) assert.equal(rendezvous(key, rest), before);
        }
      },
    ),
  );
});

test("The order of the candidates does not matter", () => {
  const all = nodes(3, 1, 2, 2);
  for (const key of keys.slice(0, 500)) assert.equal(rendezvous(key, all), rendezvous(key, all.toReversed()));
});
