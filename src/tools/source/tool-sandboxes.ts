/**
 * Sandboxes for the calls of tools: opened when the first is asked for, a few kept ready.
 *
 * What keeps code from running is a result that says so, and what to do about it; never weaker isolation (I8).
 */
import type { Environment } from "../../environment/environment.ts";
import {
  type Bounds,
  type Exit,
  IsolationError,
  type Mount,
  type Sandbox,
  type SandboxBackend,
  SandboxClosedError,
  SandboxFileError,
  SandboxInputError,
  SandboxLimitError,
  type SandboxSpec,
  SandboxUnavailableError,
} from "../../sandbox/sandbox.ts";
import { SandboxPool } from "../../sandbox/sandbox-pool.ts";
import type { HostRule } from "../../sandbox/network-policy.ts";
import type { ToolResult } from "../tool.ts";

export interface ToolSandboxesOptions {
  readonly environment: Environment;
  /** Opens what runs code; asked for at the first call, and again after it failed. @throws {SandboxUnavailableError} */
  readonly openBackend: () => Promise<SandboxBackend>;
  /** The owner has said that code may run as plain processes of the host where there is no sandbox. */
  readonly unisolatedAllowed?: boolean;
}

/** What a call needs beside a sandbox without a network. */
export interface SandboxNeeds {
  readonly allow?: readonly HostRule[];
  readonly mounts?: readonly Mount[];
  /** A folder of the host that stays. */
  readonly workspace?: string;
}

/** Of one call. */
export const callBounds: Bounds = {
  memoryBytes: 1024 * 2 ** 20,
  processes: 128,
  processors: 1,
  diskBytes: 256 * 2 ** 20,
  diskEntries: 50_000,
  openFiles: 1_024,
};

/** Sandboxes that wait to be used. */
const warm = 2;

interface Opened {
  readonly backend: SandboxBackend;
  readonly pool: SandboxPool;
}

export class ToolSandboxes implements AsyncDisposable {
  readonly unisolatedAllowed: boolean;
  readonly #options: ToolSandboxesOptions;
  readonly #spec: SandboxSpec;
  #opened: Promise<Opened> | undefined;

  constructor(options: ToolSandboxesOptions) {
    this.#options = options;
    this.unisolatedAllowed = options.unisolatedAllowed ?? false;
    this.#spec = { isolation: this.unisolatedAllowed ? "none" : "process", bounds: callBounds };
  }

  /** Gives `work` a sandbox for one call, which is gone afterwards. */
  async use(needs: SandboxNeeds, signal: AbortSignal, work: (sandbox: Sandbox) => Promise<ToolResult>): Promise<ToolResult> {
    return await asResult(async () => {
      const isPlain = (needs.allow ?? []).length === 0 && needs.mounts === undefined;
      await using sandbox = closing(isPlain ? await (await this.#open()).pool.take() : await this.create(needs));
      signal.throwIfAborted();
      return await work(sandbox.it);
    });
  }

  /** One that is the caller's, to close too. Errors as `SandboxBackend.create`. */
  async create({ allow, ...needs }: SandboxNeeds, bounds: Bounds = callBounds): Promise<Sandbox> {
    const { backend } = await this.#open();
    const isIsolated = backend.info.capabilities.networkPolicy;
    // Without isolation code reaches every host; the owner has allowed that.
    return await backend.create({ ...this.#spec, ...needs, bounds, ...(allow === undefined || !isIsolated ? {} : { network: { allow } }) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#opened?.catch(() => undefined);
    await opened?.pool.close();
    await opened?.backend.close();
  }

  async #open(): Promise<Opened> {
    this.#opened ??= this.#openAnew();
    return await this.#opened;
  }

  async #openAnew(): Promise<Opened> {
    try {
      const backend = await this.#options.openBackend();
      return { backend, pool: new SandboxPool({ backend, spec: this.#spec, size: warm, log: this.#options.environment.log }) };
    } catch (error) {
      // What is missing may be installed meanwhile.
      this.#opened = undefined;
      throw error;
    }
  }
}

/** Gives what a sandbox refuses as a result for the model. */
async function asResult(work: () => Promise<ToolResult>): Promise<ToolResult> {
  try {
    return await work();
  } catch (error) {
    if (isRefusal(error)) return failed(`The code did not run: ${error.message}`);
    throw error;
  }
}

/** Whether a sandbox did not do what it was asked for, and says why. */
export function isRefusal(error: unknown): error is Error {
  return refusals.some((each) => error instanceof each);
}

const refusals = [IsolationError, SandboxUnavailableError, SandboxInputError, SandboxLimitError, SandboxClosedError, SandboxFileError];

export function failed(text: string): ToolResult {
  return { status: "error", text };
}

/** How a command ended that gave no result, for the model. */
export function describeExit(
  exit: Exit,
  bounds: Bounds,
  given: { readonly timeoutMilliseconds: number; readonly outputBytesMax: number },
): string {
  switch (exit.reason) {
    case "exited":
      return `ended with the exit code ${exit.code}`;
    case "timeout":
      return `ran for ${given.timeoutMilliseconds / 1_000} s and was ended`;
    case "output-limit":
      return `wrote more than ${given.outputBytesMax} bytes and was ended`;
    case "memory-limit":
      return `used more than ${bounds.memoryBytes / 2 ** 20} MB of memory and was ended`;
    case "disk-limit":
      return `filled its ${bounds.diskBytes / 2 ** 20} MB of disk and was ended`;
    case "killed":
      return "was ended";
  }
}

function closing(sandbox: Sandbox): AsyncDisposable & { readonly it: Sandbox } {
  return { it: sandbox, [Symbol.asyncDispose]: () => sandbox.close() };
}
