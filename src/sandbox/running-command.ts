/** A command that runs as a process of the host: its output with back-pressure, its limits, its end. */
import type { ChildProcess } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import type { Cancel, Clock } from "../environment/environment.ts";
import type { Exit, OutputChunk, SandboxProcess } from "./sandbox.ts";

/** What waits to be read before the command is made to wait. */
const waitingBytesMax = 256 * 1024;
/** How long output may go on after the end: something outside of the sandbox may hold the pipe open. */
const drainMilliseconds = 1_000;

/** As shells have it. */
const noStartCode = 126;

export interface RunningCommandOptions {
  readonly clock: Clock;
  readonly child: ChildProcess;
  readonly input: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly timeoutMilliseconds: number;
  readonly outputBytesMax: number;
  /** Ends all its processes at once. Called again, it does no harm. */
  kill(): void;
  /** Resolves once all of them have ended; asked after the first of them has. */
  ended(): Promise<void>;
  /** Whether the kernel ended processes for want of memory since the command started. */
  wasOutOfMemory(): boolean;
}

type Reason = Exclude<Exit["reason"], "exited">;

export class RunningCommand implements SandboxProcess {
  readonly output: AsyncIterable<OutputChunk>;
  readonly exit: Promise<Exit>;
  readonly #options: RunningCommandOptions;
  readonly #chunks: OutputChunk[] = [];
  #waitingBytes = 0;
  #outputBytes = 0;
  #openStreams = 2;
  #isDiscarding = false;
  #wake: (() => void) | undefined;
  #endedBy: Reason | undefined;
  #hasExited = false;

  constructor(options: RunningCommandOptions) {
    this.#options = options;
    this.output = { [Symbol.asyncIterator]: () => this.#read() };
    // A command may close its input, or end, before it has read all of it.
    options.input.on("error", () => undefined);
    const cancelTimeout = options.clock.schedule(options.timeoutMilliseconds, () => this.end("timeout"));
    this.exit = this.#awaitExit(cancelTimeout);
    this.#take(options.stdout, "stdout");
    this.#take(options.stderr, "stderr");
  }

  write(bytes: Uint8Array): Promise<void> {
    const { input } = this.#options;
    if (!input.writable) return Promise.resolve();
    return new Promise((resolve) => input.write(bytes, () => resolve()));
  }

  endInput(): void {
    this.#options.input.end();
  }

  kill(): void {
    this.end("killed");
  }

  /** Ends the command, if it has not ended, for the first reason given. */
  end(reason: Reason): void {
    if (this.#hasExited) return;
    this.#endedBy ??= reason;
    this.#options.kill();
  }

  async #awaitExit(cancelTimeout: Cancel): Promise<Exit> {
    const { child, clock, ended, input, wasOutOfMemory } = this.#options;
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) resolve([child.exitCode, child.signalCode]);
      else child.once("exit", (code, signal) => resolve([code, signal]));
      child.once("error", () => resolve([noStartCode, null])); // The system could not start it.
    });
    await ended();
    this.#hasExited = true;
    cancelTimeout();
    input.destroy();
    clock.schedule(drainMilliseconds, () => this.#cutOff());
    if (this.#endedBy !== undefined) return { reason: this.#endedBy };
    if (code !== 0 && wasOutOfMemory()) return { reason: "memory-limit" };
    return { reason: "exited", code: code ?? 128 + signalNumber(signal) };
  }

  /** What is in the pipes is still read, however long its reader takes: only an open pipe with nothing in it is cut off. */
  #cutOff(): void {
    const { stdout, stderr } = this.#options;
    for (const stream of [stdout, stderr]) if (stream.readableFlowing !== false) stream.destroy();
  }

  #take(stream: Readable, name: OutputChunk["stream"]): void {
    stream.on("data", (bytes: Buffer) => {
      if (this.#isDiscarding) return;
      const room = this.#options.outputBytesMax - this.#outputBytes;
      this.#outputBytes += bytes.length;
      if (room <= 0 || bytes.length > room) this.end("output-limit");
      const kept = room <= 0 ? 0 : Math.min(bytes.length, room);
      if (kept === 0) return;
      this.#chunks.push({ stream: name, bytes: bytes.subarray(0, kept) });
      this.#waitingBytes += kept;
      if (this.#waitingBytes >= waitingBytesMax) this.#pause(true);
      this.#wake?.();
    });
    stream.resume();
    stream.on("error", () => undefined); // The end of the pipe follows.
    stream.once("close", () => {
      this.#openStreams--;
      this.#wake?.();
    });
  }

  #pause(pause: boolean): void {
    const { stdout, stderr } = this.#options;
    for (const stream of [stdout, stderr])
      if (pause) stream.pause();
      else stream.resume();
  }

  async *#read(): AsyncGenerator<OutputChunk, void> {
    try {
      while (true) {
        const chunk = this.#chunks.shift();
        if (chunk !== undefined) {
          this.#waitingBytes -= chunk.bytes.length;
          if (this.#waitingBytes < waitingBytesMax) this.#pause(false);
          yield chunk;
        } else if (this.#openStreams === 0) return;
        else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
          this.#wake = undefined;
        }
      }
    } finally {
      // A reader that leaves does not make the command wait.
      this.#isDiscarding = true;
      this.#chunks.length = 0;
      this.#pause(false);
    }
  }
}

const signals: Readonly<Partial<Record<NodeJS.Signals, number>>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
};

function signalNumber(signal: NodeJS.Signals | null): number {
  return (signal !== null && signals[signal]) || 0;
}
