/**
 * Parts of a bench in processes of their own, so that the CPU and memory of each can be told apart.
 *
 * The file of a worker calls `answerQuestions`; the bench starts it with `Worker.start` and asks.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";

interface Question {
  readonly id: number;
  readonly name: string;
  readonly argument: unknown;
}

interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

type Answers = { readonly [question: string]: (argument: never) => unknown };

const stopMillisecondsMax = 20_000;

export class Worker implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #file: string;
  #questions = 0;

  /** Starts `file` with the node of this process; `nodeOptions` are flags such as `--cpu-prof`. */
  constructor(file: string, nodeOptions: readonly string[] = []) {
    this.#file = file;
    this.#process = fork(file, [], { execArgv: [...nodeOptions], serialization: "advanced" });
    this.#process.on("message", (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (reply.error === undefined) waiting?.resolve(reply.value);
      else waiting?.reject(new Error(`${file}: ${reply.error}`));
    });
    this.#process.on("exit", (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${file} ended early (${signal ?? code})`));
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#process.pid!;
  }

  async ask<T>(name: string, argument?: unknown): Promise<T> {
    if (this.#process.exitCode !== null) throw new Error(`${this.#file} has ended (${this.#process.exitCode})`);
    const id = ++this.#questions;
    return await new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#process.send({ id, name, argument } satisfies Question);
    });
  }

  /** SIGKILL: it finishes nothing. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  /** Asks the process to end, and ends it if it does not. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    if (this.#process.connected) this.#process.disconnect();
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), stopMillisecondsMax);
    await ended;
    clearTimeout(timer);
  }
}

/** In the worker: answers questions by name until the bench lets go of it, then closes. `cpu` and `memory` are known. */
export function answerQuestions(answers: Answers, close: () => Promise<void> = async () => {}): void {
  const all: Answers = {
    cpu: (): number => {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
    memory: (): number => {
      globalThis.gc?.();
      return process.memoryUsage.rss();
    },
    ...answers,
  };
  process.on("message", ({ id, name, argument }: Question) => {
    void (async (): Promise<void> => {
      const reply: Reply = await Promise.resolve()
        .then(() => all[name]!(argument as never))
        .then(
          (value) => ({ id, value }),
          (error: unknown) => ({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
        );
      if (process.connected) process.send!(reply);
    })();
  });
  process.on("disconnect", () => void close().finally(() => process.exit(0)));
}
