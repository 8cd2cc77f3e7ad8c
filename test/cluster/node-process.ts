/** One node: a process at its place in the network, started again whenever it ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { addresses, type Network, type NodeName } from "./network.ts";
import { fakeTimeLibrary } from "./requirements.ts";
import { apiPort, exitCodes, type NodeSettings } from "./server.ts";

const restartMilliseconds = 200;
const startMillisecondsMax = 60_000;

export type CommonSettings = Omit<NodeSettings, "name" | "incarnation" | "host">;

export class NodeProcess {
  readonly name: NodeName;
  readonly url: string;
  /** How often it ended because the others took it to be dead. */
  fencings = 0;
  starts = 0;
  /** Ends that nothing explains. */
  readonly problems: string[] = [];
  readonly #network: Network;
  readonly #folder: string;
  readonly #settings: CommonSettings;
  #process: ChildProcess | undefined;
  /** It serves its API. */
  #isReady = false;
  #isHeldDown = false;

  constructor(name: NodeName, parts: { readonly network: Network; readonly folder: string; readonly settings: CommonSettings }) {
    this.name = name;
    this.url = `http://${addresses[name]}:${apiPort}`;
    this.#network = parts.network;
    this.#folder = parts.folder;
    this.#settings = parts.settings;
    this.setClock(0);
  }

  /** The incarnation that runs now, or ran last. */
  get incarnation(): string {
    return `${this.name}.${this.starts}`;
  }

  start(): void {
    this.#isHeldDown = false;
    this.starts++;
    const settings: NodeSettings = { ...this.#settings, name: this.name, incarnation: this.incarnation, host: addresses[this.name] };
    const server = join(import.meta.dirname, "server.ts");
    const [program, ...parameters] = this.#network.commandAt(this.name, [process.execPath, server]);
    const log = openSync(this.#logFile, "a");
    const child = spawn(program, parameters, {
      env: {
        PATH: process.env["PATH"] ?? "",
        NODE_COMPILE_CACHE: join(this.#folder, "compiled"),
        CLUSTER_NODE: JSON.stringify(settings),
        // Only the wall clock is the library's, and it looks at its file each time.
        LD_PRELOAD: fakeTimeLibrary!,
        DONT_FAKE_MONOTONIC: "1",
        FAKETIME_NO_CACHE: "1",
        FAKETIME_TIMESTAMP_FILE: this.#clockFile,
      },
      stdio: ["ignore", "pipe", log],
    });
    closeSync(log);
    this.#process = child;
    this.#isReady = false;
    child.stdout!.once("data", () => (this.#isReady = this.#process === child));
    child.once("exit", (code, signal) => {
      if (!this.#isHeldDown) void this.#endedByItself(child, code, signal);
    });
  }

  /** Resolves when it serves its API, however often it must be started for that. */
  async ready(): Promise<void> {
    for (const end = performance.now() + startMillisecondsMax; !this.#isReady; await sleep(50))
      if (performance.now() > end) throw new Error(`${this.name} does not start: ${this.lastWords()}`);
  }

  /** Ends it at once. It stays down until `start`. */
  async kill(): Promise<void> {
    this.#isHeldDown = true;
    await this.#end("SIGKILL");
  }

  /** Ends it in good order. It stays down until `start`. */
  async stop(): Promise<void> {
    this.#isHeldDown = true;
    const child = await this.#end("SIGTERM");
    const isExpected = child === undefined || child.signalCode === "SIGTERM" || [0, exitCodes.fenced].includes(child.exitCode ?? -1);
    if (!isExpected)
      this.problems.push(
        `${this.incarnation} ended with ${child.exitCode ?? child.signalCode} when it was told to stop: ${this.lastWords()}`,
      );
  }

  pause(): void {
    this.#process?.kill("SIGSTOP");
  }

  resume(): void {
    this.#process?.kill("SIGCONT");
  }

  /** How far its wall clock is ahead of the machine's. */
  setClock(seconds: number): void {
    // Renamed, so that no half of it is read.
    writeFileSync(`${this.#clockFile}.new`, `${seconds < 0 ? "" : "+"}${seconds}\n`);
    renameSync(`${this.#clockFile}.new`, this.#clockFile);
  }

  /** The last lines that it wrote. */
  lastWords(): string {
    return readFileSync(this.#logFile, "utf8").trimEnd().split("\n").slice(-12).join("\n");
  }

  /** Gives the process that it ended, if one ran. */
  async #end(signal: NodeJS.Signals): Promise<ChildProcess | undefined> {
    const child = this.#process;
    this.#process = undefined;
    this.#isReady = false;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return undefined;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
    return child;
  }

  async #endedByItself(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): Promise<void> {
    this.#isReady = false;
    if (code === exitCodes.fenced) this.fencings++;
    else if (code !== exitCodes.notNow)
      this.problems.push(`${this.incarnation} ended by itself with ${code ?? signal}: ${this.lastWords()}`);
    await sleep(restartMilliseconds);
    // Meanwhile it may have been started, or told to stay down.
    if (this.#process === child) this.start();
  }

  get #clockFile(): string {
    return join(this.#folder, `${this.name}.clock`);
  }

  get #logFile(): string {
    return join(this.#folder, `${this.name}.log`);
  }
}
