import assert from "node:assert/strict";
import { test } from "node:test";
import { coverageReport, coverageText } from "./coverage.ts";
import { probesIn, probeSites } from "./probe-sites.ts";
import { simulate } from "./run.ts";
import { Tally } from "./tally.ts";
import { workloadNamed } from "./catalogue.ts";

test("The probes of a text are found with their lines, also where a condition chooses between two", () => {
  const text = `
    probe("one.name");
    environment.probe(isLate ? "late" : "early");
    if (x) this.#environment.probe(
      "rare", "sometimes");
    probe(name: string): void;`;
  assert.deepEqual(probesIn(text, "a.ts"), [
    { name: "one.name", at: "a.ts:2", isCritical: true },
    { name: "late", at: "a.ts:3", isCritical: true },
    { name: "early", at: "a.ts:3", isCritical: true },
    { name: "rare", at: "a.ts:4", isCritical: false },
  ]);
});

test("Every probe that a run comes to stands in the code", async () => {
  const known = new Set(probeSites().map((site) => site.name));
  for (const name of ["handover", "agent-runs"]) {
    const { probes } = await simulate({ workload: workloadNamed(name), seed: 7 });
    const own = Object.keys(probes).filter((each) => !each.startsWith("client."));
    assert.ok(own.length > 5);
    assert.deepEqual(
      own.filter((each) => !known.has(each)),
      [],
    );
  }
});

test("What falls short of its target is written as that", () => {
  const total = new Tally().totals();
  const branches = [{ file: "actors/x.ts", branches: 40, covered: 37, lines: [3, 9] }];
  const mutants = [
    { mutant: "a", isFound: true },
    { mutant: "b", isFound: false },
  ];
  const report = coverageReport({ total, workloads: [total], branches, mutants });
  assert.ok(!report.criticalProbes.isMet && !report.branches.isMet && !report.mutants.isMet);
  const text = coverageText(report);
  assert.match(text, /^\(a\) .*: 0 of \d+ \(  0\.0 %\), FALLS SHORT$/m);
  assert.match(text, /actors\.claimed  SHORT \(actors\/commit-pipeline\.ts:\d+\)$/m);
  assert.match(text, /^\(e\) .*: 37 of 40 \( 92\.5 %\), FALLS SHORT\n +92\.5 %  actors\/x\.ts, lines 3, 9$/m);
  assert.match(text, /^\(f\) .*: 1 of 2 \( 50\.0 %\), FALLS SHORT\n +not found: b$/m);
});
