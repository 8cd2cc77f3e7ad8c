/** The parts of `npm run check` and `npm test`: how each runs, and how its outcome is told in one line. */
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { join, relative } from "node:path";
import { styleText } from "node:util";

export const root: string = join(import.meta.dirname, "..");

export interface Part {
  readonly name: string;
  /** A script of node_modules/.bin and its arguments, run by this very Node. */
  readonly command: readonly [string, ...string[]];
}

const folders = ["src", "simulation", "test", "bench", "examples", "scripts"];

/** What needs no test to run. */
export const staticParts: readonly Part[] = [
  { name: "format", command: ["oxfmt", "--check", "--no-error-on-unmatched-pattern", ...folders] },
  { name: "lint", command: ["oxlint", "--type-aware", "--deny-warnings", "--report-unused-disable-directives", ...folders] },
  { name: "types", command: ["tsc", "--pretty"] },
];

/** Tests beside the sources, and of the tree itself: those that are fast. */
export const unitTests: readonly string[] = [
  "src/**/*.test.ts",
  "simulation/!(simulation).test.ts",
  "scripts/**/*.test.ts",
  "test/*.test.ts",
];
/** Those, a sweep of the simulation, and what starts real servers: end-to-end tests and the examples. */
export const allTests: readonly string[] = [...unitTests, "simulation/simulation.test.ts", "test/*/**/*.test.ts"];

/** Runs the parts at once, prints a line for each as it ends, and the output of those that failed. */
export async function runParts(parts: readonly Part[]): Promise<boolean> {
  const outcomes = await Promise.all(
    parts.map(async (part) => {
      const started = performance.now();
      const [bin, ...args] = part.command;
      const { code, output } = await run([join(root, "node_modules", ".bin", bin), ...args]);
      const ok = code === 0;
      const mark = ok ? styleText("green", "✔") : styleText("red", "✖");
      process.stdout.write(`${mark} ${part.name.padEnd(7)} ${seconds(started)}\n`);
      if (!ok) process.stdout.write(`\n${output.trimEnd()}\n\n`);
      return ok;
    }),
  );
  return outcomes.every(Boolean);
}

/**
 * Runs test files with `node --test`; its counts are the last thing printed.
 *
 * `filters` keep the files whose path contains one of them.
 */
export async function runTests(patterns: readonly string[], filters: readonly string[] = []): Promise<boolean> {
  const files = [...new Set(globSync(patterns, { cwd: root }))]
    .map((file) => relative(root, join(root, file)))
    // Of packages that tests install.
    .filter((file) => !file.includes("node_modules"))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .toSorted();
  if (files.length === 0) {
    process.stdout.write(`✖ No test file matches ${filters.join(", ") || patterns.join(", ")}\n`);
    return false;
  }
  // Two files at a time: the machine that this has to be fast on has two cores. No test may hang for ever.
  const options = ["--test", "--test-concurrency=2", "--test-timeout=180000", "--test-reporter=./scripts/reporter.ts"];
  const child = spawn(process.execPath, [...options, ...files], { cwd: root, stdio: "inherit" });
  return await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve(code === 0));
  });
}

function run(args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}

function seconds(started: number): string {
  return `${((performance.now() - started) / 1000).toFixed(1)} s`.padStart(7);
}
