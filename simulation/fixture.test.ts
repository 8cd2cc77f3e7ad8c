import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { mutantNamed, workloadNamed, workloads } from "./catalogue.ts";
import { corpusFiles, type Fixture, fixtureName, fixtureOf, isStale, readFixture, runFixture, writeFixture } from "./fixture.ts";
import { simulate } from "./run.ts";

const example: Fixture = {
  version: 1,
  workload: "bank",
  mutant: "half-a-batch",
  violation: "There are 19 coins, not 20",
  seed: 1,
  options: { keys: 2, storeFaults: { slow: 0.5 } },
  faults: [],
  operations: ["0.0"],
};

for (const file of corpusFiles()) {
  const fixture = readFixture(file);
  if (fixture.mutant !== undefined) continue;
  test(`The bug of the fixture ${fixtureName(file)} stays fixed`, async () => {
    assert.deepEqual((await runFixture(fixture)).violations, []);
  });
}

test("At least four in five fixtures of planted bugs still find them", async () => {
  const stale: string[] = [];
  for (const file of corpusFiles()) {
    const fixture = readFixture(file);
    if (isStale(fixture, await runFixture(fixture))) stale.push(fixtureName(file));
  }
  // A change of the code moves some of them. Each is found anew by a seed, or `npm run simulate -- --mutants` says so.
  assert.ok(stale.length * 5 <= corpusFiles().length, `Renew by npm run simulate -- --shrink --mutants: ${stale}`);
});

test("What a planted bug breaks in a fixture is whole without it", async () => {
  for (const file of corpusFiles()) {
    const { mutant: _, ...fixed } = readFixture(file);
    assert.deepEqual((await runFixture(fixed)).violations, [], file.pathname);
  }
});

test("A fixture is stale when it no longer finds its planted bug", async () => {
  const report = await runFixture({ ...example, operations: [] });
  assert.ok(isStale(example, report));
  const { mutant: _, ...met } = example;
  assert.ok(!isStale(met, report));
});

for (const workload of workloads) {
  test(`A run of ${workload.name} that keeps all of its parts is the same run, and one that keeps some has no others`, async () => {
    for (const seed of [2, 9, 14]) {
      const whole = await simulate({ workload, seed });
      const again = await simulate({ workload, seed, kept: whole.parts });
      assert.equal(again.hash, whole.hash);
      const kept = {
        faults: whole.parts.faults.filter((_, at) => at % 2 === 0),
        operations: whole.parts.operations.filter((_, at) => at % 2 === 0),
      };
      const { parts, violations } = await simulate({ workload, seed, kept });
      assert.deepEqual(violations, []);
      assert.deepEqual(parts.operations.toSorted(), kept.operations.toSorted());
      assert.deepEqual(
        parts.faults.filter((name) => !kept.faults.includes(name)),
        [],
      );
    }
  });
}

test("A fixture that was written is read and fails in the same way", async () => {
  const mutant = mutantNamed("shared-rows-unchecked");
  const workload = workloadNamed(mutant.workload);
  const folder = mkdtempSync(join(tmpdir(), "kelpie-fixture-"));
  try {
    for (let seed = 1; ; seed++) {
      const report = await simulate({ workload, seed, mutant });
      if (report.violations.length === 0) continue;
      const file = new URL(`file://${join(folder, "fixture.json")}`);
      writeFixture(file, fixtureOf({ workload, seed, mutant }, report));
      assert.equal((await runFixture(readFixture(file))).hash, report.hash);
      return;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const unreadable: readonly (readonly [what: string, text: string, message: RegExp])[] = [
  ["no JSON", '{"version": 1', /Cannot read the fixture .*JSON/],
  ["a list", "[]", /version is undefined/],
  ["another version", change({ version: 2 }), /its version is 2, and this command runs version 1/],
  ["an unknown workload", change({ workload: "banks" }), /There is no workload "banks": there are logs,/],
  ["an unknown mutant", change({ mutant: "x" }), /There is no mutant "x"/],
  ["a seed that is none", change({ seed: "1" }), /its seed is "1"/],
  ["an unknown option", change({ options: { coins: 1 } }), /its options have no "coins"/],
  ["an unknown part of an option", change({ options: { storeFaults: { fast: 1 } } }), /its storeFaults have no "fast"/],
  ["an option of another kind", change({ options: { keys: "2" } }), /its keys is "2", where something like \d is expected/],
  ["no options", change({ options: undefined }), /its options is undefined/],
  ["faults that are numbers", change({ faults: [1] }), /its faults are not a list of texts/],
  ["half a crash", change({ crash: { process: "node-0" } }), /its crash is not a process and a crossing/],
];

function change(fields: object): string {
  return JSON.stringify({ ...example, ...fields });
}

for (const [what, text, message] of unreadable) {
  test(`A fixture with ${what} is refused with what is wrong`, () => {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-fixture-"));
    try {
      writeFileSync(join(folder, "fixture.json"), text);
      assert.throws(() => readFixture(join(folder, "fixture.json")), { name: "RangeError", message });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
