import assert from "node:assert/strict";
import { test } from "node:test";
import { mutantNamed, workloadNamed } from "./catalogue.ts";
import { type Fixture, fixtureOf, runFixture } from "./fixture.ts";
import { simulate } from "./run.ts";
import { kindOfViolation, shrink } from "./shrink.ts";

async function failing(name: string, seed: number): Promise<Fixture> {
  const mutant = mutantNamed(name);
  const run = { workload: workloadNamed(mutant.workload), seed, mutant };
  for (;;) {
    const report = await simulate(run);
    if (report.violations.length > 0) return fixtureOf(run, report);
    run.seed++;
  }
}

for (const name of ["half-a-batch", "due-row-lost", "unknown-is-done"]) {
  test(`A run with the planted bug ${name} shrinks to one operation and still fails in the same way`, async () => {
    const before = await failing(name, 1);
    const { fixture, runs } = await shrink(before);
    assert.equal(fixture.operations.length, 1);
    assert.ok(fixture.faults.length <= 1, `${fixture.faults}`);
    assert.ok(before.operations.length > 10 && runs < 300, `${before.operations.length} operations, ${runs} runs`);
    const { violations } = await runFixture(fixture);
    assert.ok(violations.some((each) => kindOfViolation(each) === kindOfViolation(before.violation)));
  });
}

test("No part of what was shrunk can be taken away", async () => {
  const { fixture } = await shrink(await failing("no-deduplication", 1));
  for (const part of ["operations", "faults"] as const) {
    for (let at = 0; at < fixture[part].length; at++) {
      const { violations } = await runFixture({ ...fixture, [part]: fixture[part].toSpliced(at, 1) });
      assert.ok(
        violations.every((each) => kindOfViolation(each) !== kindOfViolation(fixture.violation)),
        `${fixture[part][at]} is not needed`,
      );
    }
  }
});

test("Each smaller run is told of, and none is larger than the one before", async () => {
  const sizes: number[] = [];
  await shrink(await failing("half-a-batch", 3), ({ operations, faults }) => sizes.push(operations.length + faults.length));
  assert.ok(sizes.length > 3);
  assert.deepEqual(
    sizes.filter((size, at) => at > 0 && size > sizes[at - 1]!),
    [],
  );
});

for (const [violation, kind] of [
  ["There are 19 coins, not 20", "There are # coins, not #"],
  ["The history of log-0 is not linearizable: no order has a place for {}", "The history of # is not linearizable"],
  ["J6: a follower of run-1 saw 3 events", "J6"],
  ["The workload failed: Error: x\n    at y", "The workload failed"],
] as const)
  test(`The kind of ${JSON.stringify(violation)} is ${JSON.stringify(kind)}`, () => assert.equal(kindOfViolation(violation), kind));
