/** Checks the Promela model of lease, claim, commit and read exhaustively, and that it finds what a missing rule breaks. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const model = join(import.meta.dirname, "..", "..", "simulation", "model", "lease.pml");
const skip = ["spin", "cc"].find((program) => spawnSync(program, ["-v"]).error !== undefined);
const options = skip === undefined ? {} : { skip: `${skip} is not installed` };

function check(mutant: string | undefined): {
  readonly errors: number;
  readonly states: number;
  readonly assertion: string | undefined;
  readonly isComplete: boolean;
} {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-spin-"));
  const run = (program: string, ...parameters: string[]): string => {
    const result = spawnSync(program, parameters, { cwd: folder, encoding: "utf8", timeout: 120_000 });
    if (result.error !== undefined) throw result.error;
    return result.stdout + result.stderr;
  };
  try {
    run("spin", "-a", ...(mutant === undefined ? [] : [`-D${mutant}`]), "-DHBMAX=3", "-DEPMAX=4", "-DVMAX=4", model);
    run("cc", "-O2", "-w", "-DBFS", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c");
    const output = run("./pan", "-E");
    const errors = /errors: (\d+)/.exec(output)?.[1];
    assert.ok(errors !== undefined, `spin printed no result: ${output}`);
    return {
      errors: Number(errors),
      states: Number(/(\d+) states, stored/.exec(output)?.[1]),
      assertion: /assertion violated \((.*?)\) \(/.exec(output)?.[1],
      isComplete: !output.includes("Search not completed"),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("The lease protocol loses no increment, has one committer, and answers no stale read, in every interleaving", options, (context) => {
  const { errors, states, isComplete } = check(undefined);
  assert.equal(errors, 0);
  assert.ok(isComplete);
  assert.ok(states > 100_000, `only ${states} states were looked at`);
  context.diagnostic(`${states} states`);
});

for (const [mutant, rule, assertion] of [
  ["NOFENCE", "comparing the header in each commit", "owner==me"],
  ["READNOLEASE", "looking at the lease before a read", "value==committed"],
  ["NOWAIT", "waiting until the lease has expired", "value==committed"],
] as const) {
  test(`Without ${rule} the model finds a counterexample`, options, () => {
    assert.equal(check(mutant).assertion, assertion);
  });
}
