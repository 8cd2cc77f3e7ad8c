import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

/** A clone of nothing but the set-up, with an `npm` that does what `script` says. */
function clone(t: TestContext, script: string): { readonly folder: string; readonly run: (path?: string) => ReturnType<typeof spawnSync> } {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-setup-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of ["scripts", "bin"]) mkdirSync(join(folder, name));
  copyFileSync(join(import.meta.dirname, "setup.mjs"), join(folder, "scripts", "setup.mjs"));
  writeFileSync(join(folder, "package-lock.json"), "{}");
  writeFileSync(join(folder, "bin", "npm"), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, "bin", "npm"), 0o755);
  const run = (path = `${join(folder, "bin")}:/usr/bin:/bin`): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, [join(folder, "scripts", "setup.mjs")], { encoding: "utf8", env: { PATH: path } });
  return { folder, run };
}

/** Stands for the project's own Node. */
const installs = (version: string): string =>
  `mkdir -p node_modules/.bin && printf '#!/bin/sh\\necho ${version}\\n' > node_modules/.bin/node && chmod +x node_modules/.bin/node && echo '{}' > node_modules/.package-lock.json`;

test("Set-up installs once, and then again only when package-lock.json has changed", (t) => {
  const { folder, run } = clone(t, `echo "called with $*"; ${installs("v24.1.0")}`);
  const first = run();
  assert.equal(first.status, 0, String(first.stderr));
  assert.match(String(first.stderr), /not installed: npm ci[\s\S]*called with ci[\s\S]*ready in .* with Node v24\.1\.0/);
  assert.equal(first.stdout, "");
  const second = run();
  assert.deepEqual([second.status, second.stdout, second.stderr], [0, "", ""]);
  const later = new Date(Date.now() + 60_000);
  utimesSync(join(folder, "package-lock.json"), later, later);
  assert.match(String(run().stderr), /package-lock\.json has changed: npm ci/);
});

test("A set-up that was interrupted is done again", (t) => {
  const { folder, run } = clone(t, installs("v24.1.0"));
  run();
  rmSync(join(folder, "node_modules", ".bin", "node"));
  assert.match(String(run().stderr), /own Node is missing: npm ci/);
});

test("Set-up never empties another clone's dependencies through a symbolic link", (t) => {
  const { folder, run } = clone(t, "rm -rf node_modules/*");
  mkdirSync(join(folder, "other", "package"), { recursive: true });
  symlinkSync(join(folder, "other"), join(folder, "node_modules"));
  const { status, stderr } = run();
  assert.equal(status, 1);
  assert.match(String(stderr), /node_modules is a symbolic link[\s\S]*Remove the link/);
  assert.ok(existsSync(join(folder, "other", "package")));
});

for (const [what, script, message] of [
  ["no network", "echo 'npm error code ENOTFOUND' >&2; exit 1", /could not reach the package registry[\s\S]*Check the network/],
  ["a full disk", "echo 'npm error code ENOSPC' >&2; exit 228", /found the disk full/],
  ["another failure", "echo 'npm error something' >&2; exit 7", /ended with exit code 7\n {2}Its messages are above/],
  ["no Node for this system", installs("v20.1.0"), /own Node does not run here \(v20\.1\.0\)/],
] as const)
  test(`Set-up explains ${what}`, (t) => {
    const { status, stderr } = clone(t, script).run();
    assert.equal(status, 1);
    assert.match(String(stderr), message);
  });

test("Set-up explains a missing npm", (t) => {
  const { run, folder } = clone(t, "exit 0");
  const { status, stderr } = run(join(folder, "nowhere"));
  assert.equal(status, 1);
  assert.match(String(stderr), /npm is not on the PATH/);
});
