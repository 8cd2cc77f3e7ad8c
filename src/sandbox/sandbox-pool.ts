/** Sandboxes that are made before they are asked for: none is ever used twice. */
import type { Log } from "../environment/environment.ts";
import { type Sandbox, type SandboxBackend, SandboxClosedError, SandboxInputError, type SandboxSpec } from "./sandbox.ts";

export interface SandboxPoolOptions {
  readonly backend: SandboxBackend;
  /** Of each sandbox. Without a workspace of the caller's: one folder serves one sandbox. */
  readonly spec: SandboxSpec;
  /** How many wait. */
  readonly size: number;
  readonly log: Log;
}

/** Makes one at a time, as making takes processor time from what runs. */
export class SandboxPool {
  readonly #options: SandboxPoolOptions;
  readonly #ready: Sandbox[] = [];
  #filling: Promise<void> | undefined;
  #isClosed = false;

  /** @throws {SandboxInputError} The specification names a workspace. */
  constructor(options: SandboxPoolOptions) {
    if (options.spec.workspace !== undefined) throw new SandboxInputError("Cannot keep sandboxes ready for a workspace: each has its own");
    this.#options = options;
    this.#fill();
  }

  /** How many wait. */
  get ready(): number {
    return this.#ready.length;
  }

  /** Resolves once as many wait as should, or one could not be made. */
  async filled(): Promise<void> {
    await this.#filling;
  }

  /** One that waits, at once; a new one if none does. It is the caller's, to close too. Errors as `SandboxBackend.create`. */
  async take(): Promise<Sandbox> {
    if (this.#isClosed) throw new SandboxClosedError("Cannot take a sandbox: the pool is closed");
    const ready = this.#ready.shift();
    this.#fill();
    return ready ?? (await this.#options.backend.create(this.#options.spec));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#filling;
    await Promise.all(this.#ready.splice(0).map((sandbox) => sandbox.close()));
  }

  #fill(): void {
    this.#filling ??= this.#make().finally(() => (this.#filling = undefined));
  }

  async #make(): Promise<void> {
    const { backend, log, size, spec } = this.#options;
    try {
      while (!this.#isClosed && this.#ready.length < size) this.#ready.push(await backend.create(spec));
    } catch (error) {
      // Whoever takes one next is told; until then nothing waits.
      log.write("warn", "Could not make a sandbox ahead", { error });
    }
  }
}
