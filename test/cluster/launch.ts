/** Starts a run in namespaces of its own, and sees to it that nothing of it is left. */
import { spawn } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunResult, RunSettings } from "./inside.ts";
import { namespaces } from "./requirements.ts";

const endMillisecondsMax = 5_000;

export interface Launched {
  readonly result: RunResult;
  /** Where the evidence was put, if something was wrong: the histories that cannot be, and what the nodes wrote. */
  readonly kept: string | undefined;
}

/** `undefined`: it was interrupted. @throws {Error} The run itself failed. */
export async function launch(settings: Omit<RunSettings, "folder">): Promise<Launched | undefined> {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-cluster-"));
  // PostgreSQL runs as a user of its own, below it.
  chmodSync(folder, 0o711);
  const run: RunSettings = { ...settings, folder };
  const child = spawn("unshare", [...namespaces, process.execPath, join(import.meta.dirname, "inside.ts")], {
    env: { ...process.env, CLUSTER_RUN: JSON.stringify(run), TMPDIR: folder },
    // When this process ends, the pipe does, and with it the run.
    stdio: ["pipe", "inherit", "inherit"],
  });
  let isInterrupted = false;
  const interrupt = (): void => {
    isInterrupted = true;
    child.stdin.end();
    setTimeout(() => child.kill("SIGKILL"), endMillisecondsMax).unref();
  };
  const signals: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, interrupt);
  try {
    const code = await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (exitCode, signal) => resolve(exitCode ?? signal));
    });
    if (isInterrupted) return undefined;
    const file = join(folder, "result.json");
    if (code !== 0 || !existsSync(file)) throw new Error(`The run ended with ${String(code)}; what it wrote is in ${keep(folder)}`);
    const result = JSON.parse(readFileSync(file, "utf8")) as RunResult;
    return { result, kept: isGood(result) ? undefined : keep(folder) };
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Whether nothing happened that must not. */
export function isGood({ histories, lost, repeatedEffects, streams, wrong }: RunResult): boolean {
  return [histories.bad, lost, repeatedEffects, streams, wrong].every((list) => list.length === 0);
}

function keep(folder: string): string {
  const kept = mkdtempSync(join(tmpdir(), "kelpie-cluster-kept-"));
  for (const file of readdirSync(folder)) if (/\.(log|json)$/.test(file)) copyFileSync(join(folder, file), join(kept, file));
  return kept;
}
