/** Starts `kelpie serve` as a process of its own, on a free port and with a data folder that is deleted at the end. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const main = join(import.meta.dirname, "..", "src", "main.ts");
const startMillisecondsMax = 60_000;

/** What one start has become: the process that was started, and the server, which is another one where it has a supervisor. */
interface Started {
  readonly child: ChildProcess;
  url: string;
  pid: number;
  /** Settles with the exit code when nothing of it runs any more. */
  readonly closed: Promise<number | null>;
}

export class ServerProcess implements AsyncDisposable {
  /** Stays the same over restarts. */
  readonly url: string;
  readonly folder: string;
  #started: Started;
  readonly #variables: Readonly<Record<string, string>>;

  private constructor(folder: string, started: Started, variables: Readonly<Record<string, string>>) {
    this.folder = folder;
    this.#started = started;
    this.url = started.url;
    this.#variables = variables;
  }

  /** `variables` are the settings of the server: none of this process's own reach it. */
  static async start(variables: Readonly<Record<string, string>> = {}): Promise<ServerProcess> {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-"));
    return new ServerProcess(folder, await start(folder, "0", variables), variables);
  }

  /** The server's, which changes when its supervisor starts it again. */
  get pid(): number {
    return this.#started.pid;
  }

  /** The supervisor's, where there is one. */
  get supervisorPid(): number {
    return this.#started.child.pid!;
  }

  /** SIGKILL to the server and its supervisor: nothing is finished, as when the power fails. Resolves when both are gone. */
  async kill(): Promise<void> {
    const { child, pid, closed } = this.#started;
    // A process that has ended is still known by its number until it was waited for, and this one is waited for by the other.
    if (child.kill("SIGKILL") && pid !== child.pid) process.kill(pid, "SIGKILL");
    await closed;
  }

  /** SIGTERM: steps are finished and committed. Resolves with the exit code. */
  async stop(): Promise<number | null> {
    this.#started.child.kill("SIGTERM");
    return await this.#started.closed;
  }

  /** Resolves with the exit code when it has ended. */
  async ended(): Promise<number | null> {
    return await this.#started.closed;
  }

  /** Starts it again on the same data and the same port. */
  async restart(): Promise<void> {
    this.#started = await start(this.folder, new URL(this.url).port, this.#variables);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function start(folder: string, port: string, variables: Readonly<Record<string, string>>): Promise<Started> {
  const environment = { PATH: process.env.PATH, HOME: folder, KELPIE_DISCOVER_LOCAL: "no", ...variables };
  // A node that joins a cluster on this machine finds its store by itself; a flag would come before the variable.
  const data = variables.KELPIE_JOIN === undefined && variables.KELPIE_DATA === undefined ? ["--data", folder] : [];
  const child = spawn(process.execPath, [main, "serve", "--json", "--port", port, ...data], {
    cwd: folder,
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors = (errors + text).slice(-10_000)));
  const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
  return await new Promise<Started>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`The server was not ready within ${startMillisecondsMax / 1_000} s: ${errors}`)),
      startMillisecondsMax,
    );
    let started: Started | undefined;
    // One line for each time that the server is ready, also when its supervisor has started it again.
    createInterface(child.stdout).on("line", (line) => {
      const ready = JSON.parse(line) as Pick<Started, "url" | "pid">;
      if (started === undefined) {
        clearTimeout(timer);
        resolve((started = { child, closed, ...ready }));
      } else started.pid = ready.pid;
    });
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`The server ended with ${signal ?? code} before it was ready: ${errors}`));
    });
  });
}
