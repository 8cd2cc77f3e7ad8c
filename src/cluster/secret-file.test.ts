import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import { makeSecret, readSecret } from "./secret-file.ts";

const { random } = new RealEnvironment();

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("The first node makes a secret that only its user can read, and all others find that one", (t) => {
  const folder = temporaryFolder(t);
  const secret = makeSecret(folder, random);
  assert.ok(secret.length >= 32);
  assert.deepEqual(makeSecret(folder, random), secret);
  assert.deepEqual(readSecret(folder), secret);
  assert.deepEqual(readdirSync(folder), ["cluster-secret"]);
  if (process.platform !== "win32") assert.equal(statSync(join(folder, "cluster-secret")).mode & 0o777, 0o600);
});

test("Each folder has a secret of its own, and one that has none gives none", (t) => {
  const [one, two] = [temporaryFolder(t), temporaryFolder(t)];
  assert.throws(() => readSecret(one), /ENOENT/);
  assert.notDeepEqual(makeSecret(one, random), makeSecret(two, random));
  writeFileSync(join(one, "cluster-secret"), "short\n");
  assert.throws(() => makeSecret(one, random), /holds no secret/);
});
