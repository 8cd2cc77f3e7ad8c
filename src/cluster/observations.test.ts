import assert from "node:assert/strict";
import { test } from "node:test";
import type { MemberRow } from "./member-rows.ts";
import { Observations } from "./observations.ts";

const [mine, theirs] = ["node1#a", "node2#b"];

function row(node: string, version: number): MemberRow {
  return { member: { node }, version } as unknown as MemberRow;
}

function observed(moments: readonly (readonly [at: number, mine: number, theirs: number])[]): number {
  const observations = new Observations(mine, 1_000);
  for (const [at, own, other] of moments) observations.observe([row(mine, own), row(theirs, other)], at);
  const [at, , other] = moments.at(-1)!;
  return observations.unchangedFor(row(theirs, other), at);
}

const regular = [0, 500, 1_000, 1_500, 2_000, 2_500];

test("A member is silent for as long as its row was seen unchanged", () => {
  assert.equal(observed(regular.map((at) => [at, at, 1])), 2_500);
  assert.equal(observed(regular.map((at) => [at, at, at < 1_000 ? 1 : 2])), 1_500);
});

test("Time without observations counts for nobody (O2)", () => {
  assert.equal(
    observed([
      [0, 1, 1],
      [500, 2, 1],
      [5_000, 3, 1],
    ]),
    0,
  );
});

test("Time in which this node could not renew either counts for nobody, also not once it can again (O2)", () => {
  const readOnly = regular.map((at) => [at, 1, 1] as const);
  assert.ok(observed(readOnly) <= 1_000);
  const after = [3_000, 3_500].map((at) => [at, at, 1] as const);
  assert.ok(observed([...readOnly, ...after]) <= 1_000, "it has as long as ever to renew");
  const later = [4_000, 4_500, 5_000, 5_500].map((at) => [at, at, 1] as const);
  assert.ok(observed([...readOnly, ...after, ...later]) >= 2_500, "and no longer");
});
