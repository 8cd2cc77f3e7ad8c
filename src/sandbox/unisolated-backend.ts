/**
 * No sandbox at all: commands are processes of the host with all the rights of Kelpie's own user. For owners who run only
 * what they trust as they trust their own shell, and who have said so; code that asks for isolation is refused (X1).
 */
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { mkdir, realpath, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import type { Environment } from "../environment/environment.ts";
import { checkBounds, checkCommand, shorten } from "./check-input.ts";
import { DiskWatch } from "./disk-watch.ts";
import { RunningCommand } from "./running-command.ts";
import { removeFolder } from "./remove-folder.ts";
import {
  type BackendInfo,
  type Command,
  limits,
  requireIsolation,
  type Sandbox,
  type SandboxBackend,
  SandboxClosedError,
  type SandboxFiles,
  SandboxInputError,
  SandboxLimitError,
  type SandboxProcess,
  type SandboxSpec,
} from "./sandbox.ts";
import { WorkspaceFiles } from "./workspace-files.ts";

const info: BackendInfo = {
  name: "unisolated",
  version: "1",
  capabilities: {
    isolation: "none",
    endsEverything: false,
    memoryBound: "none",
    processBound: false,
    diskBound: "measured",
    hidesHost: false,
    networkPolicy: false,
    freeze: false,
    memorySnapshot: false,
    fileSnapshot: false,
    fork: false,
    hardwareAccelerated: false,
  },
  weaknesses: ["commands are plain processes of Kelpie's own user: they read its files, reach its network, and may outlive their end"],
};

const path = [dirname(process.execPath), "/usr/local/bin", "/usr/bin", "/bin"].join(":");

export class UnisolatedBackend implements SandboxBackend {
  readonly info: BackendInfo = info;
  readonly #environment: Environment;
  readonly #folder: string;
  readonly #sandboxes = new Set<UnisolatedSandbox>();

  /** To make one is to allow it: nothing here asks again. */
  constructor({ environment }: { readonly environment: Environment }) {
    this.#environment = environment;
    this.#folder = mkdtempSync(join(tmpdir(), "kelpie-unisolated-"));
  }

  async create(spec: SandboxSpec): Promise<Sandbox> {
    requireIsolation(info, spec.isolation);
    const bounds = checkBounds(spec.bounds);
    if (spec.network !== undefined)
      throw new SandboxInputError("Cannot keep a network policy without isolation: a command reaches every host");
    if ((spec.mounts ?? []).length > 0)
      throw new SandboxInputError("Cannot mount anything without isolation: a command sees the host's own files");
    const id = this.#environment.random.uuid();
    const workspace = await this.#workspaceOf(spec.workspace, id);
    const { clock, random } = this.#environment;
    const disk = new DiskWatch({ folders: [workspace], bounds, clock, onFull: () => sandbox.endAll("disk-limit") });
    if (spec.workspace !== undefined) await disk.look();
    const files = new WorkspaceFiles({ folder: workspace, workspace, random, disk });
    const ownFolder = spec.workspace === undefined ? workspace : undefined;
    const onClose = (): void => void this.#sandboxes.delete(sandbox);
    const sandbox: UnisolatedSandbox = new UnisolatedSandbox({
      environment: this.#environment,
      id,
      workspace,
      files,
      disk,
      ownFolder,
      onClose,
    });
    this.#sandboxes.add(sandbox);
    return sandbox;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sandboxes].map((sandbox) => sandbox.close()));
    await removeFolder(this.#folder);
  }

  async #workspaceOf(given: string | undefined, id: string): Promise<string> {
    if (given === undefined) {
      const folder = join(this.#folder, id);
      await mkdir(folder, { mode: 0o700 });
      return await realpath(folder);
    }
    const isFolder =
      isAbsolute(given) &&
      (await stat(given).then(
        (found) => found.isDirectory(),
        () => false,
      ));
    if (!isFolder) throw new SandboxInputError(`Cannot use ${shorten(given)} as a workspace: it is no absolute path of a folder`);
    return await realpath(given);
  }
}

interface UnisolatedParts {
  readonly environment: Environment;
  readonly id: string;
  readonly workspace: string;
  readonly files: SandboxFiles;
  readonly disk: DiskWatch;
  /** To be removed with it. */
  readonly ownFolder: string | undefined;
  onClose(): void;
}

class UnisolatedSandbox implements Sandbox {
  readonly id: string;
  readonly info: BackendInfo = info;
  readonly workspace: string;
  readonly files: SandboxFiles;
  readonly #parts: UnisolatedParts;
  readonly #running = new Set<RunningCommand>();
  #closing: Promise<void> | undefined;

  constructor(parts: UnisolatedParts) {
    this.#parts = parts;
    this.id = parts.id;
    this.workspace = parts.workspace;
    this.files = parts.files;
  }

  async start(command: Command): Promise<SandboxProcess> {
    const { disk, environment } = this.#parts;
    const variables = { PATH: path, HOME: this.workspace, USER: "user", LANG: "C.UTF-8" };
    const checked = checkCommand(command, { workspace: this.workspace, environment: variables });
    if (disk.isFull()) await disk.look();
    if (disk.isFull()) throw new SandboxLimitError("Cannot start a command: the workspace is full; remove some files");
    if (this.#closing !== undefined) throw new SandboxClosedError("Cannot start a command: the sandbox is closed");
    if (this.#running.size >= limits.commands)
      throw new SandboxLimitError(`Cannot start a command: ${limits.commands} run already in this sandbox`);
    // By env(1), as in other sandboxes: what is not there ends with 127 rather than with an error of this process.
    const words = ["-i", ...Object.entries(checked.environment).map(([name, value]) => `${name}=${value}`), ...checked.argv];
    const child = spawn("/bin/sh", ["-c", 'cd -- "$0" && exec /usr/bin/env "$@"', checked.folder, ...words], {
      env: { PATH: path },
      cwd: "/",
      detached: true,
    });
    child.on("error", () => undefined); // Its exit follows.
    const kill = (): void => {
      try {
        process.kill(-child.pid!, "SIGKILL");
      } catch {
        // The group is gone.
      }
    };
    const running = new RunningCommand({
      clock: environment.clock,
      child,
      input: child.stdin,
      stdout: child.stdout,
      stderr: child.stderr,
      timeoutMilliseconds: checked.timeoutMilliseconds,
      outputBytesMax: checked.outputBytesMax,
      kill,
      // What is left of its process group; what left the group goes on.
      ended: () => Promise.resolve(kill()),
      wasOutOfMemory: () => false,
    });
    this.#running.add(running);
    disk.begin();
    void running.exit.then(() => {
      this.#running.delete(running);
      disk.end();
    });
    return running;
  }

  setNetwork(): void {
    throw new SandboxInputError("Cannot keep a network policy without isolation: a command reaches every host");
  }

  endAll(reason: "disk-limit" | "killed"): void {
    for (const command of this.#running) command.end(reason);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.endAll("killed");
    await Promise.all([...this.#running].map(({ exit }) => exit));
    if (this.#parts.ownFolder !== undefined) await removeFolder(this.#parts.ownFolder);
    this.#parts.onClose();
  }
}
