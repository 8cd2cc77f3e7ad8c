/** How the command shows what it does: a line that moves on, and tables. */
import type { JobResult } from "./jobs.ts";

/** One line for a terminal: how far it is, what was found and how long it may still take. */
export class Progress {
  readonly #jobs: number;
  #done = 0;
  #runs = 0;
  #found = 0;

  constructor(jobs: number) {
    this.#jobs = jobs;
  }

  /** What to show after one more result and so many seconds; nothing when all is done. */
  line(result: JobResult, elapsedSeconds: number): string {
    this.#done++;
    this.#runs += result.runs;
    this.#found += result.violations;
    if (this.#done === this.#jobs) return "";
    const seconds = elapsedSeconds * (this.#jobs / this.#done - 1);
    const left = seconds < 90 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(0)} min`;
    const percent = Math.floor((100 * this.#done) / this.#jobs);
    const found = result.job.kind === "mutant" ? `${this.#found} planted bugs found` : `${this.#found} violations`;
    return `${percent} %, ${this.#runs.toLocaleString("en-US")} runs, ${found}, about ${left} left`;
  }
}

/** Rows under their headings; a column whose first cell is a number is aligned to the right. */
export function table(columns: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [columns, ...rows].map((row) => row.map((cell) => (typeof cell === "number" ? cell.toLocaleString("en-US") : cell)));
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => row[at]!.length)));
  const isNumber = columns.map((_, at) => typeof rows[0]?.[at] === "number");
  const lines = cells.map((row) =>
    row.map((cell, at) => (isNumber[at] ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!))).join("  "),
  );
  return lines.map((line) => line.trimEnd()).join("\n");
}
