/**
 * A sandboxed process that is ready for its command: the namespaces are made, and a shell in them waits to be told what
 * to run. So a command starts in the time of a fork, and nothing of it is known before.
 *
 * The shell is the first process of its namespace. It reads its orders on descriptor 0 and has the command's standard input
 * on 3, where it says that it is there. It collects processes whose parents have ended, and when the command ends, so does
 * it; then the kernel ends whatever is left in the namespace, before bubblewrap hears of it and ends too.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { openSync } from "node:fs";
import type { Duplex, Readable, Writable } from "node:stream";
import type { Clock } from "../environment/environment.ts";
import type { CheckedCommand } from "./check-input.ts";
import { firstProcess, type HostProcess, inheritedDescriptors } from "./host-process.ts";
import { RunningCommand } from "./running-command.ts";
import { SandboxUnavailableError } from "./sandbox.ts";
import { quote, quoteAll } from "./shell.ts";

const readyMilliseconds = 10_000;
const errorBytesMax = 4_096;

export interface PreparedCommandOptions {
  readonly clock: Clock;
  /** Words that run the shell in new namespaces. */
  readonly launcher: readonly string[];
  /** Words that run what is appended to them as the user of commands. */
  readonly becoming: readonly string[];
  readonly seccompFile: string;
  /** A process that writes "0" into each is in the sandbox's control groups. */
  readonly joinFiles: readonly string[];
  memoryKills(): number;
}

export class PreparedCommand {
  /** @throws {SandboxUnavailableError} */
  readonly ready: Promise<void>;
  readonly #options: PreparedCommandOptions;
  readonly #child: ChildProcess;
  /** The first process of the namespace: with it ends every other one. */
  #first: HostProcess | undefined;
  #isKilled = false;

  constructor(options: PreparedCommandOptions) {
    this.#options = options;
    const { launcher, joinFiles, seccompFile } = options;
    const joins = joinFiles.map((file) => `echo 0 >${quote(file)} && `).join("");
    const start = `${joins}exec ${quoteAll(launcher)} 9<${quote(seccompFile)}`;
    this.#child = spawn("/bin/sh", ["-c", start], { env: {}, cwd: "/", stdio: [...stdio()], detached: true });
    this.ready = this.#awaitReady();
    // Whoever awaits it later hears of it then.
    this.ready.catch(() => undefined);
    const orders = this.#child.stdin!;
    orders.on("error", () => undefined); // It ended; `ready` says why.
    orders.write("echo >&3\n");
  }

  hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** After `ready`, once. */
  run(command: CheckedCommand): RunningCommand {
    const { becoming, clock, memoryKills } = this.#options;
    const child = this.#child;
    const variables = Object.entries(command.environment).map(([name, value]) => `${name}=${value}`);
    const words = quoteAll([...becoming, "/usr/bin/env", "-C", command.folder, "-i", ...variables, ...command.argv]);
    const killsBefore = memoryKills();
    const running = new RunningCommand({
      clock,
      child,
      input: this.#pipe(3) as Duplex,
      stdout: child.stdout!,
      stderr: child.stderr!,
      timeoutMilliseconds: command.timeoutMilliseconds,
      outputBytesMax: command.outputBytesMax,
      kill: () => this.kill(),
      ended: () => this.ended(),
      wasOutOfMemory: () => memoryKills() > killsBefore,
    });
    // What a shell says of a child that a signal has ended is not the command's.
    const orders = ["exec 4>&2 2>/dev/null", `(exec ${words} <&3 3<&- 2>&4 4>&-)`, "exit $?"];
    child.stdin!.end(orders.join("\n") + "\n");
    return running;
  }

  /**
   * At once, if it is ready; else as soon as it is: bubblewrap that is killed while it makes a namespace may leave in it a
   * process that nobody knows.
   */
  kill(): void {
    this.#isKilled = true;
    this.#first?.kill();
  }

  /** Resolves once nothing runs in the namespace. */
  async ended(): Promise<void> {
    await this.ready.catch(() => undefined); // Then it has ended too.
    if (!this.hasEnded()) await new Promise((resolve) => this.#child.once("exit", resolve));
    // Its parent is usually the last to end, but not if somebody else has killed it.
    this.#first?.kill();
    await this.#first?.ended(this.#options.clock);
  }

  async #awaitReady(): Promise<void> {
    const child = this.#child;
    const [hello, information] = [this.#pipe(3) as Duplex, this.#pipe(4) as Readable];
    let problems = "";
    let isLate = false;
    const keepProblems = (bytes: Buffer): void => {
      if (problems.length < errorBytesMax) problems += bytes.toString("utf8");
    };
    child.stderr!.on("data", keepProblems);
    const cancel = this.#options.clock.schedule(readyMilliseconds, () => {
      isLate = true;
      child.kill("SIGKILL");
    });
    const failed = new Promise<never>((_, reject) => {
      const fail = (why: string): void => reject(new SandboxUnavailableError(`Cannot start a sandbox: ${why}`));
      child.once("error", ({ message }) => fail(message));
      child.once("close", () => fail(isLate ? `it was not ready after ${readyMilliseconds} ms` : problems.trim() || "it ended at once"));
    });
    failed.catch(() => undefined); // Every process ends some time.
    try {
      const greeted = new Promise((resolve) => hello.once("data", resolve));
      const [first] = await Promise.race([Promise.all([firstProcess(information), greeted]), failed]);
      this.#first = first;
      if (this.#isKilled) first.kill();
    } finally {
      cancel();
      child.stderr!.off("data", keepProblems).pause();
      // From now on the command holds the other end, and could write without end: nobody reads here.
      hello.pause();
    }
  }

  #pipe(index: number): Readable | Writable {
    return this.#child.stdio[index]!;
  }
}

/** Orders, output, errors, input, what bubblewrap says; and nothing in the place of what was not meant for a command. */
function stdio(): readonly ("pipe" | "ignore" | number)[] {
  descriptors ??= inheritedDescriptors();
  nothing ??= openSync("/dev/null", "r");
  const pipes = 5;
  const last = Math.max(pipes - 1, ...descriptors);
  // Beyond the first three, "ignore" leaves a descriptor as it is.
  return Array.from({ length: last + 1 }, (_, index) => (index < pipes ? "pipe" : descriptors!.includes(index) ? nothing! : "ignore"));
}

let descriptors: readonly number[] | undefined;
let nothing: number | undefined;
