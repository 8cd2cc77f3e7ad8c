/** The part of the simulation that runs with every change; `npm run simulate` is the long one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mutantNamed, mutants, workloadNamed, workloads } from "./catalogue.ts";
import { runJob, smallRun } from "./jobs.ts";
import { type RunReport, simulate, sweepCrashes } from "./run.ts";

/** Events of each workload: 1 to 40 seeds of it, a third of a second. All of these tests take 20 seconds at most. */
const eventsMin = 25_000;
/** Of each process. */
const crashPointsMax = 40;

function assertClean(report: RunReport, replay: string): void {
  assert.deepEqual(
    report.violations,
    [],
    `Seed ${report.seed} of ${report.workload}: npm run simulate -- --workload ${report.workload} --replay ${report.seed}${replay}`,
  );
}

for (const workload of workloads) {
  test(`The workload ${workload.name} has no violation in its first seeds`, async () => {
    const sum = { operations: 0, crashes: 0, events: 0 };
    for (let seed = 1; sum.events < eventsMin; seed++) {
      const report = await simulate({ workload, seed });
      assertClean(report, "");
      for (const name of ["operations", "crashes", "events"] as const) sum[name] += report[name];
    }
    assert.ok(sum.operations > 10 && sum.crashes > 5, `${sum.operations} operations and ${sum.crashes} crashes show little`);
  });

  test(`A seed of the workload ${workload.name} gives the same trace twice, line for line`, async () => {
    for (const seed of [3]) {
      const [first, second] = [
        await simulate({ workload, seed, linesMax: 100_000 }),
        await simulate({ workload, seed, linesMax: 100_000 }),
      ];
      assert.deepEqual(second.lines, first.lines);
      assert.equal(second.hash, first.hash);
    }
  });

  test(`The workload ${workload.name} survives a crash at crossings of all its ports`, async () => {
    const { points, failed } = await sweepCrashes({
      workload,
      seed: 1,
      pointsMax: crashPointsMax,
      options: (options) => ({ ...smallRun(options), clients: 1, operationsPerClient: 2 }),
    });
    if (failed !== undefined) assertClean(failed, ` --small --crash ${failed.crashPlan?.process}:${failed.crashPlan?.crossing}`);
    assert.ok(points > 10, `Only ${points} crash points`);
  });
}

for (const name of ["no-deduplication", "reply-before-commit"]) {
  test(`The planted bug ${name} is found`, async () => {
    const result = await runJob({ kind: "mutant", mutant: mutantNamed(name).name, workload: mutantNamed(name).workload, first: 1 });
    assert.equal(result.failures.length, 1, `Not found in ${result.runs} seeds`);
  });
}

test("Every planted bug names a workload that exists, and no two share a name", () => {
  for (const mutant of mutants) assert.equal(workloadNamed(mutant.workload).name, mutant.workload);
  assert.equal(new Set(mutants.map((mutant) => mutant.name)).size, mutants.length);
  assert.ok(mutants.length >= 10);
});

test("A violation, a workload that throws and a promise that nobody handles are all reported", async () => {
  const run = async (work: () => Promise<void>): Promise<readonly string[]> =>
    (await simulate({ workload: { name: "test", checks: "", run: work }, seed: 1 })).violations;
  assert.match((await run(async () => assert.fail("wrong")))[0]!, /The workload failed: .*wrong/);
  assert.match((await run(() => new Promise(() => {})))[0]!, /did not come to its end: idle/);
  assert.match(
    (
      await run(async () => {
        void Promise.reject(new Error("forgotten"));
      })
    )[0]!,
    /left unhandled: .*forgotten/,
  );
});
