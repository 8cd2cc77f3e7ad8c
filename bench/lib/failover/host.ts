/**
 * A `kelpie serve` of a cluster as if on a host of its own: in a process namespace, so that the other nodes do not see its
 * processes end, as they would on one machine.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const main = join(import.meta.dirname, "..", "..", "..", "src", "main.ts");
const namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"] as const;
const startMillisecondsMax = 60_000;

/** Why hosts cannot be told apart on this machine; `undefined`: they can. */
export function namespacesMissing(): string | undefined {
  const [program, ...options] = namespace;
  const { status, error } = spawnSync(program, [...options, "true"]);
  return status === 0 ? undefined : `process namespaces are not permitted here (unshare --pid: ${error?.message ?? `exit code ${status}`})`;
}

export class Host implements AsyncDisposable {
  readonly name: string;
  readonly #storeAddress: string;
  #child: ChildProcess | undefined;
  #port = 0;

  private constructor(name: string, storeAddress: string) {
    this.name = name;
    this.#storeAddress = storeAddress;
  }

  static async start(name: string, storeAddress: string): Promise<Host> {
    const host = new Host(name, storeAddress);
    await host.start();
    return host;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Resolves when its server is ready, on the port that it had. @throws {Error} It is not, in time. */
  async start(): Promise<void> {
    const [program, ...options] = namespace;
    const child = spawn(program, [...options, process.execPath, main, "serve", "--json", "--port", String(this.#port)], {
      env: {
        PATH: process.env["PATH"],
        HOME: process.env["HOME"],
        KELPIE_STORE: this.#storeAddress,
        KELPIE_NODE: this.name,
        KELPIE_CLUSTER_SECRET: "only-for-this-bench",
        KELPIE_LEAVE_SECONDS: "0",
        KELPIE_DEMO_TOKEN_MILLISECONDS: "0",
        KELPIE_DISCOVER_LOCAL: "no",
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-2_000)));
    const timer = setTimeout(() => child.kill("SIGKILL"), startMillisecondsMax);
    const [line] = (await Promise.race([once(createInterface(child.stdout), "line"), once(child, "exit")])) as [unknown];
    clearTimeout(timer);
    if (typeof line !== "string") throw new Error(`${this.name} did not start: ${log}`);
    this.#port = Number(new URL((JSON.parse(line) as { url: string }).url).port);
  }

  /** kill -9 of the server; its supervisor lives. */
  killServer(): void {
    process.kill(childOf(childOf(this.#child!.pid!)), "SIGKILL");
  }

  /** kill -9 of everything. */
  killAll(): void {
    process.kill(childOf(this.#child!.pid!), "SIGKILL");
  }

  /** In order, if its server is there, and starts it again. */
  async restart(): Promise<void> {
    await this.#end();
    await this.start();
  }

  async #end(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    const supervisor = childOf(child.pid!);
    if (supervisor !== 0) {
      // The server that the supervisor has started again is up before it is told to stop.
      while (!(await this.#isReady())) await sleep(20);
      process.kill(supervisor, "SIGTERM");
    }
    await ended;
  }

  async #isReady(): Promise<boolean> {
    return await fetch(`${this.url}/v1/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
}

/** The first child of a process; 0 if it has none. */
function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")[0]);
}
