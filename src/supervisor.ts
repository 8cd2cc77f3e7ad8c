/**
 * The process above a node of a cluster: `node supervisor.ts <arguments>` runs `node <arguments>`, the server.
 *
 * V1. The server's end is known from the kernel, and said in the store at once: the other nodes need not wait.
 * V2. A server that was ready once is started again when it ends by a signal or a failure. One that was told to stop, never
 *     was ready, or finds its settings wrong is not: its exit code is this process's.
 * V3. Starts are bounded in rate: before each next one in a row the pause is twice as long.
 * V4. A signal is passed on. The second one ends the server at once.
 * V5. A server whose event loop does not turn is vouched for while it may be busy: the others do not take it to be dead.
 *     When that lasts, it is stuck, and ended.
 *
 * It is small, and loads nothing of the server but the store's code, once that is up: the store is opened only when there is
 * something to be told.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes } from "./cli/exit-codes.ts";
import type { StorePlace } from "./open-store.ts";
import { type Supervised, supervisedVariable, tickMilliseconds, type Told } from "./supervision.ts";

/** A server that ran for this long did not end because of how it was started. */
const steadyMilliseconds = 60_000;
const pauseMillisecondsMin = 1_000;
const pauseMillisecondsMax = 30_000;
/** By then the others have nearly noticed by themselves. */
const reportMillisecondsMax = 5_000;
/** A terminal sends Ctrl-C to all processes at once, and npm passes it on: both are one wish. */
const sameSignalMilliseconds = 300;
/** What a server ends with that did what it was told, or can do nothing with what it was told (V2). */
const finalCodes = new Set<number>([exitCodes.ok, exitCodes.usage, exitCodes.hungUp, exitCodes.interrupted, exitCodes.terminated]);

/** Of an event loop that does not turn, in intervals of a tick: until the others would take the node to be dead in two seconds. */
const busyTicks = 3;
/** As long as anybody should wait for an agent of a node that lives. */
const stuckTicks = 20;

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

class Supervisor {
  readonly #args: readonly string[];
  #server: ChildProcess | undefined;
  #incarnation: Extract<Told, { kind: "incarnation" }> | undefined;
  #before: Supervised["before"];
  #isVouching = false;
  readonly #told = new AbortController();
  #toldAt = 0;
  /** The signal that was sent twice. */
  #forced: NodeJS.Signals | undefined;

  constructor(args: readonly string[]) {
    this.#args = args;
  }

  /** Resolves with the exit code when the server has ended for good. */
  async run(): Promise<number> {
    for (let ends = 0; ;) {
      const startedAt = performance.now();
      const end = await this.#runServer();
      const wasSteady = performance.now() - startedAt >= steadyMilliseconds;
      await this.#report(end);
      if (this.#told.signal.aborted || !this.#isWorthAnother(end)) return this.#codeOf(end);
      ends = wasSteady ? 1 : ends + 1;
      const pause = ends === 1 ? 0 : Math.min(pauseMillisecondsMin * 2 ** (ends - 2), pauseMillisecondsMax);
      const how = end.signal === null ? `ended with exit code ${end.code}` : `was ended by ${end.signal}`;
      const again = ends === 1 ? "" : `, ${ends} times in a row soon after its start`;
      say(`The server ${how}${again}. It is started again ${pause === 0 ? "now" : `in ${pause / 1_000} s`}`);
      await sleep(pause, undefined, { signal: this.#told.signal }).catch(() => {
        // Told to stop: below.
      });
      if (this.#told.signal.aborted) return this.#codeOf(end);
    }
  }

  /** V4. */
  pass(signal: NodeJS.Signals): void {
    const now = performance.now();
    if (!this.#told.signal.aborted) {
      this.#toldAt = now;
      this.#told.abort();
      this.#server?.kill(signal);
    } else if (now - this.#toldAt > sameSignalMilliseconds) {
      this.#forced = signal;
      // oxlint-disable-next-line unicorn/no-process-exit -- the process's entry: what is left is to tell of the end, which the others see too
      if (this.#server === undefined) process.exit(128 + constants.signals[signal]);
      this.#server.kill("SIGKILL");
    }
  }

  async #runServer(): Promise<End> {
    this.#incarnation = undefined;
    const server = spawn(process.execPath, this.#args, {
      stdio: ["inherit", "inherit", "inherit", "ipc"],
      env: { ...process.env, [supervisedVariable]: JSON.stringify({ pid: process.pid, before: this.#before } satisfies Supervised) },
    });
    this.#server = server;
    server.on("message", (told: Told) => {
      if (told.kind === "incarnation") this.#incarnation = told;
      else silentTicks = 0;
      if (told.kind !== "ready") return;
      const place = this.#incarnation?.place;
      this.#before = { port: told.port, place };
      if (place !== undefined) void prepare(place);
    });
    // Ticks of this process are counted, not the time: when it stood still itself, it cannot know of the server.
    let silentTicks: number | undefined;
    const watch = setInterval(() => {
      if (silentTicks === undefined || ++silentTicks < busyTicks) return;
      if (silentTicks < stuckTicks) void this.#vouch();
      if (silentTicks !== stuckTicks) return;
      say(`The server is stuck: it has not reacted for ${(stuckTicks * tickMilliseconds) / 1_000} s, and is ended`);
      server.kill("SIGKILL");
    }, tickMilliseconds);
    const end = await new Promise<End>((resolve) => {
      server.on("error", (error) => {
        say(`Cannot start the server: ${error.message}`);
        resolve({ code: exitCodes.failed, signal: null });
      });
      server.on("exit", (code, signal) => resolve({ code, signal }));
    });
    clearInterval(watch);
    this.#server = undefined;
    return end;
  }

  /** V1. A server that ended in order has said so itself, and one that is fenced was told so. */
  async #report({ code }: End): Promise<void> {
    if (this.#incarnation === undefined || code === exitCodes.ok || code === exitCodes.fenced) return;
    const { node, place } = this.#incarnation;
    const late = sleep(reportMillisecondsMax, "the store does not answer");
    try {
      const { speakForNode } = await import("./speak-for-node.ts");
      const why = await Promise.race([speakForNode("ended", node, place), late]);
      if (why !== undefined) throw new Error(why);
    } catch (error) {
      say(`The other nodes could not be told of the end of ${node}, and will see it by themselves: ${(error as Error).message}`);
    }
  }

  /** V5. */
  async #vouch(): Promise<void> {
    if (this.#incarnation === undefined || this.#isVouching) return;
    const { node, place } = this.#incarnation;
    this.#isVouching = true;
    try {
      const { speakForNode } = await import("./speak-for-node.ts");
      await speakForNode("busy", node, place);
    } catch {
      // A store that does not answer takes no word of others against the node either.
    } finally {
      this.#isVouching = false;
    }
  }

  /** V2. */
  #isWorthAnother({ code }: End): boolean {
    return this.#before !== undefined && (code === null || !finalCodes.has(code));
  }

  #codeOf({ code, signal }: End): number {
    return this.#forced === undefined && code !== null ? code : 128 + constants.signals[this.#forced ?? signal!];
  }
}

async function prepare(place: StorePlace): Promise<void> {
  try {
    await (await import("./speak-for-node.ts")).prepareToSpeak(place);
  } catch {
    // It is told when there is something to say, and that cannot be done either.
  }
}

function say(text: string): void {
  process.stderr.write(`kelpie: ${text}\n`);
}

// Nobody reads what it says any more: that is no reason to end.
process.stderr.on("error", () => {});
const supervisor = new Supervisor(process.argv.slice(2));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => supervisor.pass(signal));
const code = await supervisor.run();
// A store that does not answer may still be waited for.
// oxlint-disable-next-line unicorn/no-process-exit -- the process's entry
process.exit(code);
