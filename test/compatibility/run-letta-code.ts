/** Runs letta-code as a process with a home of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

export interface LettaCodeRun {
  /** `letta.js` */
  readonly program: string;
  readonly home: string;
  readonly url: string;
  readonly args: readonly string[];
  readonly key?: string;
  /** For standard input, which then stays open until the program has printed a result. */
  readonly input?: string;
  readonly started?: (child: ChildProcess) => void;
}

export interface Outcome {
  /** Null for one that was killed. */
  readonly code: number | null;
  readonly output: string;
  readonly notes: string;
}

const millisecondsMax = 90_000;

/** The folder it works in; it remembers its agent by folder. */
export function workFolder(home: string): string {
  const folder = join(home, "work");
  mkdirSync(folder, { recursive: true });
  return folder;
}

export async function runLettaCode({ program, home, url, args, key, input, started }: LettaCodeRun): Promise<Outcome> {
  const quiet = { LETTA_CODE_TELEM: "0", DISABLE_AUTOUPDATER: "1" };
  const child = spawn(process.execPath, [program, ...args], {
    cwd: workFolder(home),
    env: { PATH: process.env.PATH, HOME: home, LETTA_BASE_URL: url, ...quiet, ...(key === undefined ? {} : { LETTA_API_KEY: key }) },
    timeout: millisecondsMax,
    killSignal: "SIGKILL",
  });
  started?.(child);
  let [output, notes] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    if (output.includes('"type":"result"')) child.stdin.end();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (notes += text));
  if (input === undefined) child.stdin.end();
  else child.stdin.write(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  return { code, output, notes };
}
