/**
 * The sandbox `process`: bubblewrap's namespaces, a filter of system calls, control groups.
 *
 * Every command has namespaces of its own for processes, files, and what processes share; those of one sandbox share its
 * workspace, its `/tmp` and its network, so that one can serve on 127.0.0.1 what another asks for.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, realpathSync, writeFileSync } from "node:fs";
import { chown, mkdir, readdir, realpath, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import type { Environment } from "../environment/environment.ts";
import { becomeUser, bubblewrapArguments, inside, insideUser, reservedTargets } from "./bubblewrap-arguments.ts";
import { type BubblewrapHost, findBubblewrap } from "./bubblewrap-host.ts";
import { BubblewrapSandbox } from "./bubblewrap-sandbox.ts";
import { Cgroup, removeStaleCgroups } from "./cgroup.ts";
import { checkBounds, checkMounts, shorten } from "./check-input.ts";
import { DiskWatch } from "./disk-watch.ts";
import { EgressProxy } from "./egress-proxy.ts";
import { checkPolicy } from "./network-policy.ts";
import { SandboxNetworks } from "./sandbox-network.ts";
import { removeFolder } from "./remove-folder.ts";
import {
  type BackendInfo,
  requireIsolation,
  type Sandbox,
  type SandboxBackend,
  SandboxInputError,
  type SandboxSpec,
  SandboxUnavailableError,
} from "./sandbox.ts";
import { seccompProgram } from "./seccomp.ts";
import { WorkspaceFiles } from "./workspace-files.ts";

/** Users of the host for sandboxes of a root: numbers that no system hands out (systemd's table of users has them unused). */
const usersFirst = 1_900_000_000;
const usersCount = 200_000_000;

/** Then follows the process that has it. */
const folderPrefix = "kelpie-sandboxes-";

export interface BubblewrapOptions {
  readonly environment: Environment;
  /**
   * Where sandboxes have their files, in folders of their own; by default among the temporary ones. Several processes of a
   * host may have the same; what those that were killed left there is removed.
   */
  readonly folder?: string;
  readonly egress?: EgressProxy;
}

export class BubblewrapBackend implements SandboxBackend {
  readonly info: BackendInfo;
  readonly #environment: Environment;
  readonly #host: BubblewrapHost;
  readonly #folder: string;
  readonly #networks: SandboxNetworks;
  readonly #sandboxes = new Set<BubblewrapSandbox>();
  readonly #workspaces = new Set<string>();

  /** @throws {SandboxUnavailableError} bubblewrap does not run here, why, and what to do. */
  static async open(options: BubblewrapOptions): Promise<BubblewrapBackend> {
    const host = await findBubblewrap();
    if ("problem" in host) throw new SandboxUnavailableError(`Cannot isolate code by processes: ${host.problem}`);
    if (options.folder !== undefined) await removeStaleFolders(options.folder);
    return new BubblewrapBackend(options, host);
  }

  private constructor({ environment, folder, egress }: BubblewrapOptions, host: BubblewrapHost) {
    this.#environment = environment;
    this.#host = host;
    if (folder !== undefined) mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = mkdtempSync(join(folder ?? tmpdir(), `${folderPrefix}${process.pid}-`));
    writeFileSync(
      this.#seccompFile,
      seccompProgram({ architecture: process.arch === "arm64" ? "arm64" : "x64", sharedMemory: this.#hasCgroups }),
    );
    copyFileSync("/bin/sh", this.#firstShell);
    chmodSync(this.#firstShell, 0o111);
    if (!("problem" in host.cgroups)) removeStaleCgroups(host.cgroups);
    this.#networks = new SandboxNetworks(host, egress ?? new EgressProxy({ environment }));
    this.info = infoOf(host);
  }

  async create(spec: SandboxSpec): Promise<Sandbox> {
    requireIsolation(this.info, spec.isolation);
    const bounds = checkBounds(spec.bounds);
    const mounts = checkMounts(spec.mounts, reservedTargets);
    if (spec.network !== undefined) checkPolicy(spec.network);
    for (const { source } of mounts) this.#refuseOverlap(await realpath(source).catch(() => source));
    const { clock, random } = this.#environment;
    const id = random.uuid();
    const folder = join(this.#folder, id);
    const workspace = await this.#claimWorkspace(spec.workspace, join(folder, "workspace"));
    const undo: (() => Promise<void>)[] = [async () => void this.#workspaces.delete(workspace), () => removeFolder(folder)];
    try {
      const [temporary, etc] = [join(folder, "tmp"), join(folder, "etc")];
      await mkdir(folder, { mode: 0o700 });
      await mkdir(temporary);
      if (spec.workspace === undefined) await mkdir(workspace);
      const isRoot = this.#host.mode === "root";
      const user = await this.#userOf(workspace);
      const group = isRoot ? usersFirst : insideUser;
      if (isRoot) await chown(temporary, user, group);
      await writeEtc(etc, user, group);
      const cgroup = "problem" in this.#host.cgroups ? undefined : new Cgroup(this.#host.cgroups, id, bounds);
      if (cgroup !== undefined) undo.push(() => cgroup.remove(clock));
      const network = await this.#networks.create(id, spec.network);
      undo.push(() => network.close());
      const disk = new DiskWatch({ folders: [workspace, temporary], bounds, clock, onFull: () => sandbox.endAll("disk-limit") });
      if (spec.workspace !== undefined) await disk.look();
      const runtime = process.execPath;
      const hasCgroup = cgroup !== undefined;
      const firstShell = this.#firstShell;
      const view = { mode: this.#host.mode, user, group, workspace, temporary, etc, runtime, firstShell, mounts, bounds, hasCgroup };
      const owner = isRoot ? { user, group } : undefined;
      const sandbox: BubblewrapSandbox = new BubblewrapSandbox({
        environment: this.#environment,
        id,
        info: this.info,
        folder,
        files: new WorkspaceFiles({ folder: workspace, workspace: inside.workspace, random, owner, disk }),
        disk,
        cgroup,
        launcher: [...network.launcher, this.#host.bwrap, ...bubblewrapArguments(view), inside.firstShell],
        becoming: becomeUser(view),
        seccompFile: this.#seccompFile,
        network,
        onClose: () => {
          this.#sandboxes.delete(sandbox);
          this.#workspaces.delete(workspace);
        },
      });
      // It closes what was made for it, and lets the workspace go.
      undo.length = 0;
      undo.push(() => sandbox.close());
      await sandbox.prepare();
      this.#sandboxes.add(sandbox);
      return sandbox;
    } catch (error) {
      for (const step of undo.reverse()) await step();
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sandboxes].map((sandbox) => sandbox.close()));
    await removeFolder(this.#folder);
  }

  /** One sandbox at a time: two would count and end each other's files. */
  async #claimWorkspace(given: string | undefined, own: string): Promise<string> {
    if (given === undefined) return own;
    if (!isAbsolute(given)) throw new SandboxInputError(`Cannot use ${shorten(given)} as a workspace: it is no absolute path`);
    const path = await realpath(given).catch(() => given);
    const isFolder = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (!isFolder) throw new SandboxInputError(`Cannot use ${shorten(given)} as a workspace: there is no such folder`);
    this.#refuseOverlap(path);
    if (this.#workspaces.has(path)) throw new SandboxInputError(`Cannot use ${shorten(given)} as a workspace: another sandbox has it`);
    this.#workspaces.add(path);
    return path;
  }

  /** What holds the filter of system calls and the lists of users must not be in the hands of those it is for. */
  #refuseOverlap(path: string): void {
    const own = realpathSync(this.#folder);
    if (path === "/" || path === own || own.startsWith(`${path}/`) || path.startsWith(`${own}/`))
      throw new SandboxInputError(`Cannot give ${shorten(path)} to a sandbox: it overlaps with Kelpie's own folder of sandboxes`);
  }

  /** Whose rights on the host its commands have: the owner of the workspace, and of a new one somebody who has nothing else. */
  async #userOf(workspace: string): Promise<number> {
    if (this.#host.mode === "user-namespace") return insideUser;
    const { uid } = await stat(workspace);
    if (uid !== 0) return uid;
    if ((await readdir(workspace)).length > 0)
      throw new SandboxInputError(
        `Cannot use ${shorten(workspace)} as a workspace: it belongs to root; give it to the user that its commands are to be`,
      );
    const user = usersFirst + 1 + Math.floor(this.#environment.random.fraction() * (usersCount - 1));
    await chown(workspace, user, usersFirst);
    return user;
  }

  get #hasCgroups(): boolean {
    return !("problem" in this.#host.cgroups);
  }

  get #firstShell(): string {
    return join(this.#folder, "first-shell");
  }

  get #seccompFile(): string {
    return join(this.#folder, "seccomp.bpf");
  }
}

/** Of processes that are gone. */
async function removeStaleFolders(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []); // It is made later.
  for (const name of names) {
    const owner = name.startsWith(folderPrefix) ? Number.parseInt(name.slice(folderPrefix.length)) : Number.NaN;
    if (owner > 0 && !existsSync(`/proc/${owner}`)) await removeFolder(join(folder, name));
  }
}

/** What programs ask of /etc: who they are, and that no name is to be asked of a server. */
async function writeEtc(folder: string, user: number, group: number): Promise<void> {
  const files = {
    passwd: `root:x:0:0::/:/bin/sh\nuser:x:${user}:${group}::${inside.workspace}:/bin/sh\n`,
    group: `root:x:0:\nuser:x:${group}:\n`,
    hosts: "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": "",
  };
  await mkdir(folder);
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o644 });
}

function infoOf({ version, mode, cgroups }: BubblewrapHost): BackendInfo {
  const hasCgroups = !("problem" in cgroups);
  return {
    name: "process",
    version: `bubblewrap ${version}`,
    capabilities: {
      isolation: "process",
      endsEverything: true,
      memoryBound: hasCgroups ? "sandbox" : "process",
      processBound: true,
      diskBound: "measured",
      hidesHost: true,
      networkPolicy: true,
      freeze: false,
      memorySnapshot: false,
      fileSnapshot: false,
      fork: false,
      hardwareAccelerated: false,
    },
    weaknesses: [
      ...(hasCgroups
        ? []
        : [`memory is bounded for each process only, and processor time not at all: no control groups (${cgroups.problem})`]),
      ...(mode === "root" ? [] : ["commands have the same user on the host as Kelpie, kept apart by namespaces only"]),
      "a command that writes fast gets past the bound of its disk for a moment before it is ended",
    ],
  };
}
