/** Runs `kelpie` as a person does: as a process, with its arguments and its input. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { join } from "node:path";

const main = join(import.meta.dirname, "..", "..", "src", "main.ts");

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
  readonly notes: string;
}

export interface CommandOptions {
  readonly variables?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Sees the process and what it has printed so far, each time it prints something. */
  readonly watch?: (output: string, child: ChildProcessWithoutNullStreams) => void;
  /** The same for its notes. */
  readonly watchNotes?: (notes: string, child: ChildProcessWithoutNullStreams) => void;
}

export async function kelpie(args: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
  const child = spawn(process.execPath, [main, ...args], { env: { PATH: process.env.PATH, ...options.variables } });
  child.stdin.end(options.input ?? "");
  let [output, notes] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    options.watch?.(output, child);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    notes += text;
    options.watchNotes?.(notes, child);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return { code, output, notes };
}
