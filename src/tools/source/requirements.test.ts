import assert from "node:assert/strict";
import { test } from "node:test";
import { type Language, PackageError, requirementsOf } from "./requirements.ts";

for (const [language, name, version, expected] of [
  ["python", "six", "1.16.0", "six==1.16.0"],
  ["python", "requests[socks]", ">=2, <3", "requests[socks]>=2, <3"],
  ["python", "ruamel.yaml", null, "ruamel.yaml"],
  ["typescript", "ms", "2.1.3", "ms@2.1.3"],
  ["typescript", "@scope/name", "^1.0.0", "@scope/name@^1.0.0"],
  ["typescript", "left-pad", "", "left-pad"],
] as const)
  test(`${name} ${version ?? "of any version"} is ${expected} to the installer of ${language}`, () => {
    const list = [{ name, version }];
    assert.deepEqual(requirementsOf({ pip_requirements: list, npm_requirements: list }, language), [expected]);
  });

test("A package may be named by a text alone, and none be there at all", () => {
  assert.deepEqual(requirementsOf({ pip_requirements: ["six"], npm_requirements: null }, "python"), ["six"]);
  assert.deepEqual(requirementsOf({ pip_requirements: ["six"], npm_requirements: null }, "typescript"), []);
});

for (const name of [
  "--index-url=http://example.com",
  "-rrequirements.txt",
  "../x",
  "/etc/passwd",
  "./x",
  "~/x",
  "https://example.com/x.whl",
  "git+ssh://git@example.com/x",
  "git@github.com:a/b",
  "user/repository",
  "x @ https://example.com/x.whl",
  "x; python_version > '3'",
  "x\n--pre",
  "npm:other",
  "x.tgz",
  "",
  "a".repeat(10_000),
  "\u0000",
  "\ud800",
  7,
  null,
  {},
  ["x"],
])
  for (const language of languagesOf(name))
    test(`${JSON.stringify(name).slice(0, 40)} is no package of ${language}`, () => {
      const list = [{ name: name as never }];
      assert.throws(() => requirementsOf({ pip_requirements: list, npm_requirements: list }, language), PackageError);
    });

for (const version of ["1 --pre", "1;2", "@ https://example.com/x.whl", "file:../x", "git+ssh://x", "../x", "x.tgz", "1\n2", 7, {}])
  for (const language of languagesOf(version))
    test(`${JSON.stringify(version)} is no version of ${language}`, () => {
      const list = [{ name: "six", version: version as never }];
      assert.throws(() => requirementsOf({ pip_requirements: list, npm_requirements: list }, language), /is no version of six/);
    });

for (const [language, ...names] of [
  ["python", "Six", "six"],
  ["python", "ruamel.yaml", "ruamel_yaml[x]"],
  ["typescript", "ms", "ms"],
] as const)
  test(`${names.join(" and ")} are one package of ${language}, of which two versions are refused`, () => {
    const list = names.map((name, at) => ({ name, version: `${at}` }));
    assert.throws(() => requirementsOf({ pip_requirements: list, npm_requirements: list }, language), /is there twice/);
  });

for (const list of [{}, "six", Array.from({ length: 500 }, (_, at) => `p${at}`)])
  test(`${JSON.stringify(list).slice(0, 40)} is no list of requirements`, () => {
    const given = list as never;
    assert.throws(() => requirementsOf({ pip_requirements: given, npm_requirements: null }, "python"), /a list of at most 50 packages/);
  });

/** A file of an archive is one to npm only. */
function languagesOf(value: unknown): readonly Language[] {
  return value === "x.tgz" ? ["typescript"] : ["python", "typescript"];
}
