import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { registryOf } from "./registries.ts";

/** In place of this host's pip and npm: programs that say what a test has them say. */
const programs = mkdtempSync(join(tmpdir(), "kelpie-programs-"));
const path = process.env["PATH"];
after(() => {
  process.env["PATH"] = path;
  rmSync(programs, { recursive: true });
});
beforeEach(() => {
  for (const program of ["python3", "npm"]) rmSync(join(programs, program), { force: true });
  process.env["PATH"] = programs;
});

function says(program: string, text: string): void {
  const file = join(programs, program);
  writeFileSync(file, `#!/bin/sh\nprintf '%s\\n' "$0 $*" >/dev/null\n/bin/cat <<'END'\n${text}\nEND\n`);
  chmodSync(file, 0o755);
}

for (const [language, program, text, url] of [
  [
    "python",
    "python3",
    "global.timeout='3'\nglobal.index-url='https://packages.example.com/simple'",
    "https://packages.example.com/simple",
  ],
  ["python", "python3", ":env:.index-url='http://10.0.0.1:8080/simple'", "http://10.0.0.1:8080/simple"],
  ["python", "python3", "global.cert='/etc/x.pem'", "https://pypi.org/simple"],
  ["typescript", "npm", "https://packages.example.com/npm/", "https://packages.example.com/npm/"],
] as const)
  test(`Where ${program} says ${JSON.stringify(text)}, packages come from ${url}`, async () => {
    says(program, text);
    assert.equal((await registryOf(language)).url, url);
  });

for (const [language, program, text, problem] of [
  [
    "python",
    "python3",
    "global.index-url='https://me:s3cret@packages.example.com/simple'",
    /at packages\.example\.com, asks for a password/,
  ],
  ["typescript", "npm", "https://me:s3cret@packages.example.com/", /at packages\.example\.com, asks for a password/],
  ["typescript", "npm", "file:///srv/packages", /is no address/],
  ["typescript", "npm", "undefined", /is no address/],
] as const)
  test(`Where ${program} says ${JSON.stringify(text)}, nothing is installed, and no password is shown`, async () => {
    says(program, text);
    await assert.rejects(registryOf(language), (error: Error) => problem.test(error.message) && !error.message.includes("s3cret"));
  });

test("Without pip the usual index is named, and without npm that it is missing", async () => {
  assert.equal((await registryOf("python")).url, "https://pypi.org/simple");
  await assert.rejects(registryOf("typescript"), /npm does not say where it gets packages/);
});
