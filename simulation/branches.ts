/**
 * Which branches of the code under test a thread came to, from V8's own counters.
 *
 * Node takes types out of a source by overwriting them with blanks, so V8's offsets are those of the file.
 */
import { readdirSync, readFileSync } from "node:fs";
import { type Profiler, Session } from "node:inspector/promises";

/** Folders of `src/` that simulation alone has to cover. */
export const coveredFolders = ["actors", "cluster", "agents"] as const;

const source = new URL("../src/", import.meta.url);

/** Each block of a file that V8 counts on its own, from one offset to another, with how often it ran. */
export interface FileBranches {
  /** From `src/` on. */
  readonly file: string;
  readonly ranges: readonly { readonly from: number; readonly to: number; readonly count: number }[];
}

export class BranchRecorder {
  readonly #session: Session;

  /** Begins to count, then loads all of the code, so that what never runs is counted as that. */
  static async start(): Promise<BranchRecorder> {
    const session = new Session();
    session.connect();
    await session.post("Profiler.enable");
    await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
    for (const file of coveredFiles()) await import(new URL(file, source).href);
    return new BranchRecorder(session);
  }

  private constructor(session: Session) {
    this.#session = session;
  }

  async take(): Promise<FileBranches[]> {
    const { result } = await this.#session.post("Profiler.takePreciseCoverage");
    const scripts = new Map(result.map((script) => [script.url, script]));
    return coveredFiles().map((file) => ({ file, ranges: rangesOf(scripts.get(new URL(file, source).href)) }));
  }
}

/** Outer blocks before the ones inside them; without the module itself, which runs when it is loaded. */
function rangesOf(script: Profiler.ScriptCoverage | undefined): FileBranches["ranges"] {
  const ranges = script?.functions.flatMap((each) => each.ranges) ?? [];
  return ranges
    .toSorted((left, right) => left.startOffset - right.startOffset || right.endOffset - left.endOffset)
    .slice(1)
    .map(({ startOffset, endOffset, count }) => ({ from: startOffset, to: endOffset, count }));
}

/** What is no test and no process of its own. */
function coveredFiles(): readonly string[] {
  return coveredFolders.flatMap((folder) =>
    readdirSync(new URL(`${folder}/`, source))
      .filter((name) => /^(?!testing\.)[\w-]+\.ts$/u.test(name))
      .toSorted()
      .map((name) => `${folder}/${name}`),
  );
}

export interface BranchCoverage {
  readonly file: string;
  readonly branches: number;
  readonly covered: number;
  /** The lines on which branches begin that nothing came to. */
  readonly lines: readonly number[];
}

/** What several threads together came to, file by file; files without a branch are left out. */
export function coverageOf(threads: readonly (readonly FileBranches[])[]): BranchCoverage[] {
  const files = new Map<string, FileBranches["ranges"][]>();
  for (const { file, ranges } of threads.flat()) files.set(file, [...(files.get(file) ?? []), ranges]);
  return [...files].flatMap(([file, ranges]) => {
    const coverage = coverageOfFile(file, readFileSync(new URL(file, source), "utf8"), ranges);
    return coverage.branches === 0 ? [] : [coverage];
  });
}

/** V8 leaves out a block that ran as often as the one around it, so threads are compared by what they came to of the text. */
function coverageOfFile(file: string, text: string, threads: readonly FileBranches["ranges"][]): BranchCoverage {
  const reached = new Uint8Array(text.length);
  for (const ranges of threads) {
    const here = new Uint8Array(text.length).fill(1);
    for (const { from, to, count } of ranges) here.fill(count > 0 ? 1 : 0, from, to);
    here.forEach((isReached, at) => (reached[at]! |= isReached));
  }
  const branches = new Map(threads.flat().map((range) => [`${range.from} ${range.to}`, range]));
  // A brace that follows a return is a block to V8, and to nobody else.
  const meant = [...branches.values()].filter(({ from, to }) => /\w/u.test(text.slice(from, to)));
  const missed = meant.filter(({ from, to }) => !reached.subarray(from, to).includes(1));
  const lines = missed.map(({ from }) => text.slice(0, from + leadingBlank(text, from)).split("\n").length);
  return { file, branches: meant.length, covered: meant.length - missed.length, lines: [...new Set(lines)].toSorted((a, b) => a - b) };
}

function leadingBlank(text: string, from: number): number {
  return text.slice(from).search(/[^\s{}]/u);
}
