import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("main.ts", import.meta.url));

function simulate(...options: string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  return spawnSync(process.execPath, [main, ...options], { encoding: "utf8" });
}

const refusals: readonly (readonly [options: string, message: RegExp])[] = [
  ["--sedes 5", /Unknown option '--sedes'/],
  ["--seeds many", /--seeds is a whole number, not "many"/],
  ["--workload loggs", /There is no workload "loggs": there are logs, /],
  ["--mutant no-such-bug", /There is no mutant "no-such-bug": there are /],
  ["--replay 1 --workload logs --crash node-0", /--crash is PROCESS:CROSSING, not "node-0"/],
  ["--replay nowhere.json", /Cannot read the fixture nowhere\.json: ENOENT/],
  ["--shrink --workload logs", /--shrink needs a --seed, or a --mutant/],
];

for (const [options, message] of refusals) {
  test(`simulate ${options} is refused with a reason`, () => {
    const { status, stdout, stderr } = simulate(...options.split(" "));
    assert.match(stderr, message);
    assert.match(stderr, /Try npm run simulate -- --help\n$/);
    assert.deepEqual([status, stdout], [2, ""]);
  });
}

test("simulate --replay of a fixture of another version says which versions they are", () => {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-fixture-"));
  try {
    writeFileSync(join(folder, "old.json"), '{ "version": 0 }');
    const { status, stderr } = simulate("--replay", join(folder, "old.json"));
    assert.match(stderr, /its version is 0, and this command runs version 1/);
    assert.equal(status, 2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("simulate --help names every option", () => {
  const { status, stdout } = simulate("--help");
  assert.equal(status, 0);
  for (const option of "seeds start workload sweeps mutants mutant coverage workers replay crash small shrink seed json help".split(" "))
    assert.match(stdout, new RegExp(`^  --${option}\\b`, "mu"));
});

test("Two processes give one seed the same trace", () => {
  const traces = [1, 2].map(() => simulate("--workload", "handover", "--replay", "5", "--json").stdout);
  assert.match(traces[0]!, /"hash": "[0-9a-f]{16}"/);
  assert.equal(traces[1], traces[0]);
});

test("simulate --replay of a fixture shows its trace and fails as the fixture does", () => {
  const { status, stdout } = simulate("--replay", fileURLToPath(new URL("corpus/half-a-batch.json", import.meta.url)));
  assert.equal(status, 1);
  assert.match(stdout, /^0 begin world bank$/m);
  assert.match(stdout, /^VIOLATION: There are \d+ coins/m);
});

test("simulate --coverage gives the six measures of what its runs came to", () => {
  const { status, stdout, stderr } = simulate(
    ..."--coverage --workload logs --workload bank --seeds 20 --sweeps 1 --mutant half-a-batch --json".split(" "),
  );
  assert.equal(status, 0, stderr);
  const report = JSON.parse(stdout) as {
    [measure in "criticalProbes" | "sometimes" | "crashPoints" | "pairs" | "branches" | "mutants"]: {
      readonly reached: number;
      readonly of: number;
      readonly isMet: boolean;
    };
  } & { readonly branches: { readonly files: readonly { readonly file: string; readonly branches: number; readonly covered: number }[] } };
  assert.deepEqual([report.mutants.reached, report.mutants.of, report.mutants.isMet], [1, 1, true]);
  assert.ok(report.crashPoints.isMet && report.crashPoints.reached > 20, `${report.crashPoints.reached} crash points`);
  assert.ok(report.criticalProbes.reached > 5 && !report.criticalProbes.isMet);
  assert.ok(report.pairs.reached > 30 && report.pairs.of > report.pairs.reached);
  const file = (name: string): number => {
    const { branches, covered } = report.branches.files.find((each) => each.file === name)!;
    return covered / branches;
  };
  assert.ok(file("actors/mailbox.ts") > 0.5 && file("actors/mailbox.ts") <= 1);
  assert.equal(file("agents/run-driver.ts"), 0);
});
