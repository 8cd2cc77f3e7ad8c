/**
 * What a test run prints: one line a file, the failures of a file below its line, and at the end what was skipped and
 * why, then the runner's counts in the form of its own `spec` reporter.
 */
import { relative } from "node:path";
import { inspect, styleText } from "node:util";
import type { TestEvent } from "node:test/reporters";

interface FileReport {
  passed: number;
  readonly failures: string[];
  output: string;
  /** The names of the tests that are open, by nesting: the path of the one that reports. */
  readonly names: string[];
}

/** A file that prints more than this is cut in the report of its failure. */
const outputCharactersMax = 20_000;

// The runner loads a reporter by its default export.
// oxlint-disable-next-line import/no-default-export -- the test runner asks for one
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const files = new Map<string, FileReport>();
  const skipped: string[] = [];
  const failed: string[] = [];
  for await (const event of source) {
    if (event.type === "test:summary") {
      if (event.data.file !== undefined) yield* fileLines(event.data.file, files, event.data.duration_ms, failed);
      else {
        // A file that ended before it could say so (a crash, a time-out) has no summary of its own.
        for (const file of files.keys()) yield* fileLines(file, files, undefined, failed);
        yield* closingLines(event.data.counts, event.data.duration_ms, skipped, failed);
      }
      continue;
    }
    switch (event.type) {
      case "test:start": {
        const { names } = reportOf(files, event.data.file);
        names.length = event.data.nesting;
        names[event.data.nesting] = event.data.name;
        break;
      }
      case "test:stdout":
      case "test:stderr": {
        const fileReport = reportOf(files, event.data.file);
        fileReport.output = (fileReport.output + event.data.message).slice(-outputCharactersMax);
        break;
      }
      case "test:pass": {
        const fileReport = reportOf(files, event.data.file);
        if (event.data.skip !== undefined)
          skipped.push(`${nameOf(fileReport, event.data)} (${place(event.data.file)}): ${reason(event.data.skip)}`);
        else if (event.data.details.type !== "suite") fileReport.passed++;
        break;
      }
      case "test:fail": {
        const { error } = event.data.details;
        // A suite fails because a test in it did, which has its own entry.
        if ("failureType" in error && error.failureType === "subtestsFailed") break;
        const fileReport = reportOf(files, event.data.file);
        fileReport.failures.push(`${nameOf(fileReport, event.data)}\n${indent(describe(error))}`);
        break;
      }
      default:
    }
  }
}

function* fileLines(file: string, files: Map<string, FileReport>, milliseconds: number | undefined, failed: string[]): Generator<string> {
  const report = files.get(file);
  if (report === undefined) return;
  files.delete(file);
  const time = milliseconds === undefined ? "" : `${(milliseconds / 1000).toFixed(1)} s`;
  const mark = report.failures.length === 0 ? styleText("green", "✔") : styleText("red", "✖");
  yield `${mark} ${place(file)}  ${styleText("gray", `${report.passed} passed${time === "" ? "" : `, ${time}`}`)}\n`;
  if (report.failures.length === 0) return;
  failed.push(...report.failures.map((failure) => `${failure.split("\n", 1)[0]} (${place(file)})`));
  for (const failure of report.failures) yield `\n  ${styleText("red", "✖")} ${failure}\n\n`;
  if (report.output !== "") yield `  what ${place(file)} printed:\n${indent(report.output.trimEnd())}\n\n`;
}

function* closingLines(
  counts: { readonly [name: string]: number | undefined },
  milliseconds: number,
  skipped: readonly string[],
  failed: readonly string[],
): Generator<string> {
  if (failed.length > 0) yield `\n${styleText("red", "Failed:")}\n${failed.map((line) => `  ✖ ${line}\n`).join("")}`;
  if (skipped.length > 0) yield `\n${styleText("yellow", "Skipped, and why:")}\n${skipped.map((line) => `  ﹣ ${line}\n`).join("")}`;
  const lines = [
    ["tests", counts.tests],
    ["suites", counts.suites],
    ["pass", counts.passed],
    ["fail", counts.failed],
    ["cancelled", counts.cancelled],
    ["skipped", counts.skipped],
    ["todo", counts.todo],
    ["duration_ms", Math.round(milliseconds)],
  ] as const;
  yield `\n${lines.map(([name, value]) => `ℹ ${name} ${value ?? 0}\n`).join("")}`;
}

function describe(error: Error): string {
  if ("exitCode" in error && typeof error.exitCode === "number" && error.exitCode !== 0)
    return `The process of this file ended with exit code ${error.exitCode}`;
  return inspect(error.cause ?? error, { colors: false });
}

function reportOf(files: Map<string, FileReport>, file = ""): FileReport {
  let report = files.get(file);
  if (report === undefined) files.set(file, (report = { passed: 0, failures: [], output: "", names: [] }));
  return report;
}

function nameOf(report: FileReport, test: { readonly name: string; readonly nesting: number }): string {
  return [...report.names.slice(0, test.nesting), test.name].join(" › ");
}

function place(file = ""): string {
  return relative(process.cwd(), file);
}

function reason(skip: string | boolean): string {
  return typeof skip === "string" && skip !== "" ? skip : "no reason given";
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "    ");
}
