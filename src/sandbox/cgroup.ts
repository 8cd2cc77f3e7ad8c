/** Control groups: how the kernel bounds what all processes of a sandbox use together. Versions 1 and 2. */
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../environment/environment.ts";
import { holdProcess } from "../environment/hold-process.ts";
import { HostProcess } from "./host-process.ts";
import type { Bounds } from "./sandbox.ts";

const controllers = ["memory", "pids", "cpu"] as const;
type Controller = (typeof controllers)[number];

/** Where groups are made: one folder that has every controller, or one for each. */
export type CgroupParent =
  | { readonly version: 2; readonly folder: string }
  | { readonly version: 1; readonly folders: Readonly<Record<Controller, string>> };

/** What bubblewrap and its helpers take, beside the command's own processes. */
const helperProcesses = 8;
const periodMicroseconds = 100_000;
const removeAttempts = 100;

/** Names carry the process that made them, so that the next one removes what a killed one left. */
const namePattern = /^kelpie-(\d+)-/;

/** A place where this process may make groups, or why there is none. */
export function findCgroupParent(proc = "/proc"): CgroupParent | { readonly problem: string } {
  const mounts = readFileSync(join(proc, "self/mountinfo"), "utf8");
  const own = readFileSync(join(proc, "self/cgroup"), "utf8");
  const first = parentVersion2(mounts, own);
  const found = "problem" in first ? parentVersion1(mounts, own) : first;
  return "problem" in first && "problem" in found ? { problem: `${first.problem}; ${found.problem}` } : found;
}

function parentVersion1(mounts: string, own: string): CgroupParent | { readonly problem: string } {
  const folders: Partial<Record<Controller, string>> = {};
  for (const controller of controllers) {
    const folder = ownFolder(mounts, own, controller);
    if (folder === undefined || !isWritable(folder)) return { problem: `version 1 has no writable ${controller} controller` };
    folders[controller] = folder;
  }
  return { version: 1, folders: folders as Record<Controller, string> };
}

function parentVersion2(mounts: string, own: string): CgroupParent | { readonly problem: string } {
  const folder = ownFolder(mounts, own, undefined);
  if (folder === undefined || !isWritable(folder)) return { problem: "version 2 is not writable" };
  const list = (file: string): string[] => readFileSync(join(folder, file), "utf8").split(/\s+/);
  const missing = controllers.filter((controller) => !list("cgroup.controllers").includes(controller));
  if (missing.length > 0) return { problem: `version 2 lacks the controllers ${missing.join(", ")}` };
  if (controllers.every((controller) => list("cgroup.subtree_control").includes(controller))) return { version: 2, folder };
  // A group with processes of its own cannot pass controllers on, so this process moves into a leaf beside the sandboxes'.
  const leaf = join(folder, "kelpie");
  try {
    if (existsSync(join(folder, "cgroup.type"))) {
      mkdirSync(leaf, { recursive: true });
      writeFileSync(join(leaf, "cgroup.procs"), "0");
    }
    writeFileSync(join(folder, "cgroup.subtree_control"), controllers.map((controller) => `+${controller}`).join(" "));
    return { version: 2, folder };
  } catch (error) {
    return {
      problem: `version 2 passes no controllers on (${(error as Error).message}): give Kelpie a group of its own, as systemd's Delegate=yes does`,
    };
  }
}

/** This process's own group; of version 1, that of a controller. */
function ownFolder(mounts: string, own: string, controller: Controller | undefined): string | undefined {
  const line = own
    .split("\n")
    .find((entry) => (controller === undefined ? entry.startsWith("0::") : entry.split(":")[1]?.split(",").includes(controller)));
  const path = line?.split(":").slice(2).join(":");
  for (const mount of mounts.split("\n")) {
    const [before, after] = mount.split(" - ");
    const [type, , options] = after?.split(" ") ?? [];
    if (controller === undefined ? type !== "cgroup2" : type !== "cgroup" || !options?.split(",").includes(controller)) continue;
    const [, , , root, point] = before!.split(" ");
    if (path === undefined || root === undefined || point === undefined) continue;
    // In a container the mount shows only a part of the hierarchy.
    if (root !== "/" && path !== root && !path.startsWith(`${root}/`)) continue;
    const folder = join(point, path.slice(root === "/" ? 1 : root.length));
    if (existsSync(folder)) return folder;
  }
  return undefined;
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    accessSync(join(folder, "cgroup.procs"), constants.W_OK);
    return true;
  } catch {
    // Not writable is an answer.
    return false;
  }
}

/**
 * Removes the groups of processes that are gone. One that was killed just while it made namespaces may have left in its group
 * a bubblewrap that waits for it.
 */
export function removeStaleCgroups(parent: CgroupParent): void {
  for (const folder of foldersOf(parent))
    for (const name of readdirSync(folder)) {
      const owner = namePattern.exec(name)?.[1];
      if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
      try {
        killAll(join(folder, name, "cgroup.procs"));
        rmdirSync(join(folder, name));
      } catch {
        // It has processes that are about to end, or somebody else removed it.
      }
    }
}

function foldersOf(parent: CgroupParent): readonly string[] {
  return parent.version === 2 ? [parent.folder] : [...new Set(Object.values(parent.folders))];
}

function killAll(file: string): void {
  // Somebody else may have removed it.
  for (const pid of (existsSync(file) ? readFileSync(file, "utf8") : "").split("\n")) if (pid !== "") new HostProcess(Number(pid)).kill();
}

export class Cgroup {
  /** A process that writes "0" into each of these is in the group. */
  readonly joinFiles: readonly string[];
  readonly #folders: readonly string[];
  readonly #eventsFile: string;

  /** @throws {Error} The kernel refuses a bound. */
  constructor(parent: CgroupParent, id: string, bounds: Bounds) {
    const name = `kelpie-${process.pid}-${id}`;
    this.#folders = foldersOf(parent).map((folder) => join(folder, name));
    for (const folder of this.#folders) mkdirSync(folder);
    this.joinFiles = this.#folders.map((folder) => join(folder, "cgroup.procs"));
    const memory = parent.version === 2 ? this.#folders[0]! : join(parent.folders.memory, name);
    this.#eventsFile = join(memory, parent.version === 2 ? "memory.events" : "memory.oom_control");
    for (const [file, value, mayLack] of parent.version === 2 ? valuesVersion2(bounds) : valuesVersion1(bounds)) {
      const folder = parent.version === 2 ? parent.folder : parent.folders[file.split(".")[0] as Controller];
      const path = join(folder, name, file);
      // Kernels without swap accounting lack the files of it.
      if (mayLack && !existsSync(path)) continue;
      writeFileSync(path, value);
    }
  }

  /** How many processes the kernel has ended because the group was out of memory. */
  memoryKills(): number {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(this.#eventsFile, "utf8"))?.[1] ?? 0);
  }

  /** Ends what is left in it, which should be nothing. */
  kill(): void {
    for (const file of this.joinFiles) killAll(file);
  }

  /** After its last process has ended. The kernel may take a moment to see that. */
  async remove(clock: Clock): Promise<void> {
    const release = holdProcess();
    for (const folder of this.#folders)
      for (let attempt = 1; existsSync(folder) && attempt <= removeAttempts; attempt++) {
        try {
          rmdirSync(folder);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "EBUSY") break; // Nothing runs in it; the next start removes it.
          await clock.sleep(attempt);
        }
      }
    release();
  }
}

type Value = readonly [file: string, value: string, mayLack?: boolean];

function valuesVersion1({ memoryBytes, processes, processors }: Bounds): readonly Value[] {
  return [
    ["memory.limit_in_bytes", String(memoryBytes)],
    ["memory.memsw.limit_in_bytes", String(memoryBytes), true],
    ["pids.max", String(processes + helperProcesses)],
    ["cpu.cfs_period_us", String(periodMicroseconds)],
    ["cpu.cfs_quota_us", String(Math.round(processors * periodMicroseconds))],
  ];
}

function valuesVersion2({ memoryBytes, processes, processors }: Bounds): readonly Value[] {
  return [
    ["memory.max", String(memoryBytes)],
    ["memory.swap.max", "0", true],
    ["pids.max", String(processes + helperProcesses)],
    ["cpu.max", `${Math.round(processors * periodMicroseconds)} ${periodMicroseconds}`],
  ];
}
