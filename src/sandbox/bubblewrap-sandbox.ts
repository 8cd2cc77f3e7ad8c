/** One sandbox over bubblewrap: a folder, control groups, perhaps a network, and a process that is ready for the next command. */
import type { Environment } from "../environment/environment.ts";
import { inside } from "./bubblewrap-arguments.ts";
import type { Cgroup } from "./cgroup.ts";
import { checkCommand } from "./check-input.ts";
import type { DiskWatch } from "./disk-watch.ts";
import type { NetworkPolicy } from "./network-policy.ts";
import { PreparedCommand } from "./prepared-command.ts";
import type { RunningCommand } from "./running-command.ts";
import { removeFolder } from "./remove-folder.ts";
import {
  type BackendInfo,
  type Command,
  limits,
  type Sandbox,
  SandboxClosedError,
  SandboxInputError,
  SandboxLimitError,
  type SandboxFiles,
  type SandboxProcess,
} from "./sandbox.ts";

export interface BubblewrapSandboxParts {
  readonly environment: Environment;
  readonly id: string;
  readonly info: BackendInfo;
  /** Of this sandbox alone: it goes with it. */
  readonly folder: string;
  readonly files: SandboxFiles;
  readonly disk: DiskWatch;
  readonly cgroup: Cgroup | undefined;
  readonly launcher: readonly string[];
  readonly becoming: readonly string[];
  readonly seccompFile: string;
  readonly network: SandboxNetwork | undefined;
  onClose(): void;
}

/** What a sandbox has of the network that its policy allows. */
export interface SandboxNetwork {
  /** What leads programs to the egress proxy. */
  readonly environment: Readonly<Record<string, string>>;
  setPolicy(policy: NetworkPolicy): void;
  close(): Promise<void>;
}

export class BubblewrapSandbox implements Sandbox {
  readonly id: string;
  readonly info: BackendInfo;
  readonly workspace: string = inside.workspace;
  readonly files: SandboxFiles;
  readonly #parts: BubblewrapSandboxParts;
  readonly #running = new Set<RunningCommand>();
  /** Commands that are being started or run. */
  #commands = 0;
  #next: PreparedCommand | undefined;
  #closing: Promise<void> | undefined;

  constructor(parts: BubblewrapSandboxParts) {
    this.#parts = parts;
    this.id = parts.id;
    this.info = parts.info;
    this.files = parts.files;
  }

  /** Resolves once a command would start at once. */
  async prepare(): Promise<void> {
    this.#next ??= this.#prepareOne();
    await this.#next.ready;
  }

  async start(command: Command): Promise<SandboxProcess> {
    const { disk, network } = this.#parts;
    const environment = { PATH: inside.path, HOME: inside.workspace, USER: "user", LANG: "C.UTF-8", ...network?.environment };
    const checked = checkCommand(command, { workspace: inside.workspace, environment });
    this.#checkOpen();
    if (this.#commands >= limits.commands)
      throw new SandboxLimitError(`Cannot start a command: ${limits.commands} run already in this sandbox`);
    this.#commands++;
    try {
      if (disk.isFull()) await this.#checkDisk();
      const prepared = await this.#take();
      this.#checkOpen(prepared);
      const running = prepared.run(checked);
      this.#running.add(running);
      disk.begin();
      void running.exit.then(() => {
        this.#running.delete(running);
        this.#commands--;
        disk.end();
      });
      this.#next ??= this.#prepareOne();
      return running;
    } catch (error) {
      this.#commands--;
      throw error;
    }
  }

  setNetwork(policy: NetworkPolicy): void {
    const { network } = this.#parts;
    if (network === undefined) throw new SandboxInputError("Cannot change the network policy: the sandbox was made without a network");
    network.setPolicy(policy);
  }

  endAll(reason: "disk-limit" | "killed"): void {
    for (const command of this.#running) command.end(reason);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { cgroup, environment, folder, network, onClose } = this.#parts;
    this.endAll("killed");
    this.#next?.kill();
    await Promise.all([...[...this.#running].map(({ exit }) => exit), this.#next?.ended()]);
    await network?.close();
    cgroup?.kill();
    await cgroup?.remove(environment.clock);
    await removeFolder(folder);
    onClose();
  }

  #prepareOne(): PreparedCommand {
    const { becoming, cgroup, environment, launcher, seccompFile } = this.#parts;
    return new PreparedCommand({
      clock: environment.clock,
      launcher,
      becoming,
      seccompFile,
      joinFiles: cgroup?.joinFiles ?? [],
      memoryKills: () => cgroup?.memoryKills() ?? 0,
    });
  }

  /** The one that is ready, unless the kernel or a person has ended it meanwhile. */
  async #take(): Promise<PreparedCommand> {
    const prepared = this.#next;
    this.#next = undefined;
    if (prepared !== undefined && !prepared.hasEnded()) {
      await prepared.ready;
      if (!prepared.hasEnded()) return prepared;
    }
    const other = this.#prepareOne();
    await other.ready;
    return other;
  }

  async #checkDisk(): Promise<void> {
    const { disk } = this.#parts;
    await disk.look();
    const { bytes, entries } = disk.use;
    if (disk.isFull())
      throw new SandboxLimitError(`Cannot start a command: the workspace is full, with ${bytes} bytes in ${entries} files; remove some`);
  }

  #checkOpen(prepared?: PreparedCommand): void {
    if (this.#closing === undefined) return;
    prepared?.kill();
    throw new SandboxClosedError("Cannot start a command: the sandbox is closed");
  }
}
