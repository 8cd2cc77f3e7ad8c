/** What a bench prints: for people as tables, for scripts as one JSON value. */
import { cpus, release, totalmem, type } from "node:os";

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** A figure that the bench is to reach. */
export interface Target {
  readonly what: string;
  readonly measured: number;
  readonly unit: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Report {
  readonly bench: string;
  /** How it was measured, in sentences. */
  readonly method: readonly string[];
  readonly versions: { readonly [name: string]: string };
  readonly tables: readonly Table[];
  readonly targets: readonly Target[];
  /** What kept a part from being measured, or the figures from being trusted. */
  readonly notes: readonly string[];
  readonly seconds: number;
}

export function reaches({ measured, atLeast, atMost }: Target): boolean {
  return (atLeast === undefined || measured >= atLeast) && (atMost === undefined || measured <= atMost);
}

export function printReport(report: Report, options: { readonly json: boolean }): void {
  const machine = describeMachine();
  const versions = { node: process.version, sqlite: process.versions["sqlite"] ?? "", ...report.versions };
  if (options.json) {
    const targets = report.targets.map((target) => ({ ...target, reached: reaches(target) }));
    console.log(JSON.stringify({ ...report, machine, versions, targets }));
    return;
  }
  console.log(`\n${report.bench}`);
  console.log(`\nMachine   ${machine.processor}, ${machine.cores} cores, ${machine.memoryGigabytes} GB, ${machine.system}`);
  console.log(
    `Versions  ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ")}`,
  );
  console.log(`\nMethod\n${report.method.map((sentence) => `  ${sentence}`).join("\n")}`);
  for (const table of report.tables) console.log(`\n${table.title}\n${formatTable(table)}`);
  if (report.targets.length > 0) console.log(`\nTargets\n${formatTable(targetTable(report.targets))}`);
  if (report.notes.length > 0) console.log(`\nNotes\n${report.notes.map((note) => `  ${note}`).join("\n")}`);
  console.log(`\nTook ${report.seconds.toFixed(0)} s`);
}

function describeMachine(): { processor: string; cores: number; memoryGigabytes: number; system: string } {
  const all = cpus();
  return {
    processor: all[0]?.model.trim() ?? process.arch,
    cores: all.length,
    memoryGigabytes: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
  };
}

function targetTable(targets: readonly Target[]): Table {
  return {
    title: "Targets",
    columns: ["", "measured", "target", ""],
    rows: targets.map((target) => [
      target.what,
      `${show(target.measured)} ${target.unit}`.trim(),
      target.atLeast === undefined ? `at most ${show(target.atMost!)}` : `at least ${show(target.atLeast)}`,
      reaches(target) ? "reached" : "MISSED",
    ]),
  };
}

/** The first column to the left, as it holds names; the others to the right. */
export function formatTable({ columns, rows }: Table): string {
  const cells = [columns, ...rows.map((row) => row.map((cell) => (typeof cell === "number" ? show(cell) : cell)))];
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  const lines = cells.map(
    (row) => `  ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join("  ")}`,
  );
  lines.splice(1, 0, `  ${widths.map((width) => "─".repeat(width)).join("  ")}`);
  return lines.map((line) => line.trimEnd()).join("\n");
}

/** Three significant digits, and no more than are known. */
export function show(value: number): string {
  if (Number.isNaN(value)) return "–";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return Number(value.toPrecision(3)).toString();
}
