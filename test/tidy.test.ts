/** The rules of the house that the compiler and the linter do not know: layers, front doors, what a tree may contain. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";

/** ARCHITECTURE.md, "Layers": a folder imports only from rows below its own. Its front door, where it has one by another name than its own. */
const layers: readonly (readonly Layer[])[] = [
  [{ folder: "base", frontDoor: "assert" }],
  [{ folder: "environment" }],
  [{ folder: "storage", frontDoor: "store" }, { folder: "models", frontDoor: "model" }, { folder: "sandbox" }],
  [{ folder: "actors", frontDoor: "actor" }],
  [{ folder: "cluster" }, { folder: "memory" }],
  [{ folder: "tools", frontDoor: "tool" }],
  [{ folder: "agents", frontDoor: "agent" }],
  [{ folder: "server", frontDoor: "app" }],
  [{ folder: "cli" }],
];

interface Layer {
  readonly folder: string;
  readonly frontDoor?: string;
}

/** Files of composition: above every layer, and the only ones of the product that name adapters. */
const composition = [
  "main",
  "kelpie",
  "config",
  "setting-parsers",
  "open-store",
  "open-node",
  "open-member",
  "open-source-tools",
  "join-cluster",
  "open-sealing-key",
  "serve",
  "diagnose",
  "supervision",
  "supervisor",
  "speak-for-node",
].map((name) => `src/${name}.ts`);
const testFile = /\.(test|contract|crash|child)\.ts$|\/testing(\.ts$|\/)/;
/** A file that is longer holds two ideas, or its reason stands here. */
const linesMax = 500;
const longFiles: Readonly<Record<string, string>> = {};

const root = join(import.meta.dirname, "..");
// What git would commit: tracked files, and new ones that are not ignored.
const tree = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: root, encoding: "utf8" })
  .split("\n")
  .filter((file) => file !== "" && existsSync(join(root, file)));
const sources = tree.filter((file) => /^(src|simulation|test|bench|examples|scripts)\/.*\.ts$/.test(file));
const texts = new Map(
  tree.filter((file) => !/\.(png|ico|woff2?)$/.test(file)).map((file) => [file, readFileSync(join(root, file), "utf8")]),
);

test("A folder of src/ imports only from layers below its own", () => {
  const wrong: string[] = [];
  for (const file of sources.filter((source) => source.startsWith("src/") && !testFile.test(source) && !composition.includes(source))) {
    const from = rowOf(file);
    assert.notEqual(from, -1, `${file} is in no layer: add its folder to the table here and in ARCHITECTURE.md`);
    for (const target of importsOf(file)) {
      const sameFolder = folderOf(target) === folderOf(file);
      if (!sameFolder && (composition.includes(target) || rowOf(target) >= from)) wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("Nothing of the product imports tests, contracts, simulation, benches, examples or scripts", () => {
  const wrong = sources
    .filter((file) => file.startsWith("src/") && !testFile.test(file))
    .flatMap((file) => importsOf(file).map((target) => ({ file, target })))
    .filter(({ target }) => !target.startsWith("src/") || testFile.test(target));
  assert.deepEqual(wrong, []);
});

test("Only tests, contracts and benches import simulation/, and simulation/ imports only itself and src/", () => {
  const wrong: string[] = [];
  for (const file of sources) {
    for (const target of importsOf(file)) {
      const reaches = target.startsWith("simulation/") && !file.startsWith("simulation/");
      if (reaches && !testFile.test(file) && !/^(test|bench)\//.test(file)) wrong.push(`${file} imports ${target}`);
      if (file.startsWith("simulation/") && !/^(src|simulation)\//.test(target)) wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("Every import names a file that exists", () => {
  const wrong = sources.flatMap((file) =>
    importsOf(file)
      .filter((target) => !tree.includes(target))
      .map((target) => `${file} imports ${target}`),
  );
  assert.deepEqual(wrong, []);
});

test("A folder of src/ has its front door", () => {
  const missing = layers
    .flat()
    .filter(({ folder }) => sources.some((file) => file.startsWith(`src/${folder}/`)))
    .map(({ folder, frontDoor }) => `src/${folder}/${frontDoor ?? folder}.ts`)
    .filter((file) => !tree.includes(file));
  assert.deepEqual(missing, []);
});

test("The current time comes from the environment's clock", () => {
  // The linter bans Date.now and its like; it has no rule for a Date made of nothing.
  const allowed = adapters();
  const wrong = sources
    .filter((file) => /^(src|simulation)\//.test(file) && !testFile.test(file) && !allowed.some((pattern) => pattern.test(file)))
    .filter((file) => /\bnew Date\(\s*\)|(?<!new )\bDate\(\s*\)/.test(withoutComments(texts.get(file)!)));
  assert.deepEqual(wrong, []);
});

test("Every file that the linter lets do I/O exists", () => {
  const unused = adapters().filter((pattern) => !tree.some((file) => pattern.test(file)));
  assert.deepEqual(unused.map(String), []);
});

test("Only composition, tests, benches and examples name adapters", () => {
  const adapter = /^src\/(storage\/(memory|sqlite|postgres|foundationdb)-store|environment\/real-environment)\.ts$/;
  const wrong: string[] = [];
  for (const file of sources.filter((source) => source.startsWith("src/") && !testFile.test(source) && !composition.includes(source)))
    for (const target of importsOf(file))
      if (adapter.test(target) && folderOf(file) !== folderOf(target)) wrong.push(`${file} imports ${target}`);
  assert.deepEqual(wrong, []);
});

test(`A source file has at most ${linesMax} lines, and a reason if more`, () => {
  const long = sources.filter(
    (file) => !testFile.test(file) && texts.get(file)!.split("\n").length > linesMax && longFiles[file] === undefined,
  );
  assert.deepEqual(long, []);
  for (const file of Object.keys(longFiles))
    assert.ok(texts.get(file)!.split("\n").length > linesMax, `${file} is not long any more: take it off the list`);
});

test("No file holds a forgotten mark, a merge conflict or a switched-off check", () => {
  const marks = [
    /\bTODO\b/,
    /\bFIXME\b/,
    /\bXXX\b/,
    /^(<{7}|>{7}) /m,
    /@ts-(ignore|nocheck)/,
    /\b(test|it|describe)\.only\(/,
    /oxlint-disable(?!-next-line)/,
  ];
  const wrong = sources
    .filter((file) => file !== "test/tidy.test.ts")
    .flatMap((file) => marks.filter((mark) => mark.test(texts.get(file)!)).map((mark) => `${file}: ${mark.source}`));
  assert.deepEqual(wrong, []);
});

test("No file holds a path of somebody's machine, or names a package registry", () => {
  const marks = [/(?<![\w.])\/(home|Users|work|root)\/[a-z]/i, /registry\.npmjs\.org|"resolved": "http/];
  const wrong = [...texts]
    .filter(([file]) => file !== "test/tidy.test.ts")
    .flatMap(([file, text]) => marks.filter((mark) => mark.test(text)).map((mark) => `${file}: ${mark.source}`));
  assert.deepEqual(wrong, []);
});

test("Text files end with a line break and have no trailing spaces", () => {
  const wrong = [...texts]
    .filter(
      ([file, text]) =>
        text !== "" && file !== "LICENSE" && (!text.endsWith("\n") || (/\.(ts|mjs|json|md)$/.test(file) && /[ \t]$/m.test(text))),
    )
    .map(([file]) => file);
  assert.deepEqual(wrong, []);
});

test("Every link of a document names a file that exists", () => {
  const wrong: string[] = [];
  for (const [file, text] of texts) {
    if (!file.endsWith(".md")) continue;
    for (const [, target] of text.matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)/g)) {
      const path = join(root, dirname(file), target!);
      if (!existsSync(path)) wrong.push(`${file} links to ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

function folderOf(file: string): string {
  return dirname(file).split("/").slice(0, 2).join("/");
}

function rowOf(file: string): number {
  const folder = file.split("/")[1];
  return layers.findIndex((row) => row.some((layer) => layer.folder === folder));
}

/** The files of this tree that a source imports, also for types only and also dynamically. */
function importsOf(file: string): string[] {
  const text = withoutComments(texts.get(file)!);
  const specifiers = text.matchAll(
    /(?:^|\n)\s*(?:import|export)\b[^"'`;]*?["'](\.{1,2}\/[^"']+)["']|\bimport\(\s*["'](\.{1,2}\/[^"']+)["']/g,
  );
  return [...specifiers].map(([, fixed, dynamic]) => relative(root, join(root, dirname(file), (fixed ?? dynamic)!)));
}

function withoutComments(text: string): string {
  return text.replaceAll(/(^|\s)\/\*[\s\S]*?\*\//g, "$1").replaceAll(/(^|\s)\/\/.*$/gm, "$1");
}

/** The files under the first of the linter's overrides, which lists adapters with a reason each. */
function adapters(): RegExp[] {
  const list = /"overrides": \[\s*\{\s*\/\/ Adapters[\s\S]*?"files": \[([\s\S]*?)\]/.exec(texts.get(".oxlintrc.json")!)?.[1];
  assert.ok(list, ".oxlintrc.json begins its overrides with the list of adapters");
  const lines = list.split("\n").filter((line) => line.trim() !== "");
  return lines.map((line) => {
    const [, glob] = /^\s*"([^"]+)",? \/\/ \S/.exec(line) ?? [];
    assert.ok(glob, `.oxlintrc.json gives a reason beside each adapter: ${line.trim()}`);
    assert.ok(!/[?[]/.test(glob), `${glob}: only *, ** and {a,b} are understood here`);
    const alternatives = glob.replaceAll(/\{([^}]*)\}/g, (_, names: string) => `(${names.replaceAll(",", "|")})`);
    return new RegExp(
      `^${alternatives.replaceAll(".", "\\.").replaceAll("**", "\u0000").replaceAll("*", "[^/]*").replaceAll("\u0000", ".*")}$`,
    );
  });
}
