/** Starts `kelpie serve` as a process of its own, on a free port and with a data folder that is deleted at the end. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const main = join(import.meta.dirname, "..", "src", "main.ts");
const startMillisecondsMax = 60_000;

export class ServerProcess implements AsyncDisposable {
  /** Stays the same over restarts. */
  readonly url: string;
  readonly folder: string;
  #child: ChildProcess;
  readonly #variables: Readonly<Record<string, string>>;

  private constructor(folder: string, child: ChildProcess, url: string, variables: Readonly<Record<string, string>>) {
    this.folder = folder;
    this.#child = child;
    this.url = url;
    this.#variables = variables;
  }

  /** `variables` are the settings of the server: none of this process's own reach it. */
  static async start(variables: Readonly<Record<string, string>> = {}): Promise<ServerProcess> {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-"));
    const { child, url } = await startChild(folder, "0", variables);
    return new ServerProcess(folder, child, url, variables);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** SIGKILL: nothing is finished, as when the power fails. Resolves when the process is gone. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGTERM: steps are finished and committed. Resolves with the exit code. */
  async stop(): Promise<number | null> {
    return await this.#end("SIGTERM");
  }

  /** Resolves with the exit code when it has ended. */
  async ended(): Promise<number | null> {
    return await this.#end();
  }

  /** Starts it again on the same data and the same port. */
  async restart(): Promise<void> {
    this.#child = (await startChild(this.folder, new URL(this.url).port, this.#variables)).child;
  }

  async #end(signal?: "SIGKILL" | "SIGTERM"): Promise<number | null> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    return await new Promise((resolve) => {
      child.once("exit", resolve);
      if (signal !== undefined) child.kill(signal);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function startChild(
  folder: string,
  port: string,
  variables: Readonly<Record<string, string>>,
): Promise<{ readonly child: ChildProcess; readonly url: string }> {
  const environment = { PATH: process.env.PATH, HOME: folder, KELPIE_DISCOVER_LOCAL: "no", ...variables };
  // A node that joins a cluster on this machine finds its store by itself.
  const data = variables.KELPIE_JOIN === undefined ? ["--data", folder] : [];
  const child = spawn(process.execPath, [main, "serve", "--json", "--port", port, ...data], {
    cwd: folder,
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors = (errors + text).slice(-10_000)));
  const line = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`The server was not ready within ${startMillisecondsMax / 1_000} s: ${errors}`)),
      startMillisecondsMax,
    );
    createInterface(child.stdout).once("line", (ready) => {
      clearTimeout(timer);
      resolve(ready);
    });
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`The server ended with ${signal ?? code} before it was ready: ${errors}`));
    });
  });
  return { child, url: (JSON.parse(line) as { url: string }).url };
}
