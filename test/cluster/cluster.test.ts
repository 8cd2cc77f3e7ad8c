/** The cluster test in short; `npm run test:cluster` runs it for minutes. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isGood, launch } from "./launch.ts";
import { evidence, summary } from "./report.ts";
import { clusterMissing } from "./requirements.ts";

const skip = clusterMissing() ?? false;

test("Three nodes in network namespaces: histories are linearizable and nothing is lost or repeated under faults", { skip }, async () => {
  // A kill, a restart of the store, and a node that is cut off from the store until the others take it to be dead.
  const launched = await launch({ seed: 248, seconds: 19, planted: null, verbose: false });
  const { result, kept } = launched!;
  assert.ok(isGood(result), summary(result) + evidence(result, kept));
  assert.deepEqual(result.histories.undecided, []);
  assert.ok(result.histories.checked > 0 && result.histories.operations > 0);
  assert.ok(Object.keys(result.faults).length > 0);
});

const mayDropRights = process.getuid?.() === 0 && existsSync("/usr/bin/setpriv");
test(
  "Where namespaces are not permitted the cluster test says so, and does not pass",
  { skip: mayDropRights ? skip : "it takes root and setpriv" },
  () => {
    const main = join(import.meta.dirname, "main.ts");
    const child = spawnSync("setpriv", ["--bounding-set", "-all", process.execPath, main, "--minutes", "1"], { encoding: "utf8" });
    assert.equal(child.status, 2);
    assert.match(child.stderr, /^The cluster test cannot be run here: namespaces, a bridge and nftables are not permitted .*\n$/);
  },
);
