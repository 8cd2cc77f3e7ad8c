/** The processes of the real machine: an adapter. */
import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import type { ProcessIdentity, ProcessTable } from "./process-table.ts";

export class HostProcessTable implements ProcessTable {
  readonly self: ProcessIdentity;

  constructor() {
    this.self = { host: hostname(), pid: process.pid, started: startOf(process.pid) ?? "" };
  }

  /** What tells this machine from all others, as far as one can know it: on Linux its boot, elsewhere its name. */
  get machine(): string {
    return process.platform === "linux" ? this.self.started.split(" ")[0]! : this.self.host;
  }

  /** Whether that process would be seen here if it ran: it is of this machine, and counted as this one is. */
  sees(identity: ProcessIdentity): boolean {
    return identity.host === this.self.host && placeOf(identity) === placeOf(this.self);
  }

  isRunning(identity: ProcessIdentity): boolean {
    if (identity.pid === this.self.pid) return identity.started === this.self.started;
    const started = startOf(identity.pid);
    return started !== undefined && started === identity.started;
  }
}

/** On Linux, what comes before the clock tick of the start (see `startOf`); nothing where a start is only a time. */
function placeOf({ started }: ProcessIdentity): string {
  return process.platform === "linux" ? started.split(" ").slice(0, 2).join(" ") : "";
}

/**
 * When a process started, exactly enough to tell it from another one with its number; `undefined` if none runs.
 *
 * On Linux: the machine's boot, the namespace in which process numbers are counted, and the clock tick of the start.
 * A process of another container is thus not running as far as this one can know: it takes the actors over, and the
 * header (A1) keeps the other one from committing should it live.
 */
function startOf(pid: number): string | undefined {
  if (process.platform !== "linux") return startByCommand(pid);
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command's name, in parentheses, may hold anything; the fields after it are fixed: state first, start 20th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const state = fields[0];
    if (state === "Z" || state === "X") return undefined;
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot} ${readlinkSync("/proc/self/ns/pid")} ${fields[19]}`;
  } catch {
    // No such process: its directory in /proc is gone.
    return undefined;
  }
}

/** POSIX `ps`: the start to the second, and an exit code of 1 for a process that is not there. */
function startByCommand(pid: number): string | undefined {
  try {
    const line = execFileSync("ps", ["-o", "stat=,lstart=", "-p", String(pid)], {
      encoding: "utf8",
      timeout: 5_000,
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
    const [state, ...started] = line.split(/\s+/);
    return state === undefined || state.startsWith("Z") ? undefined : started.join(" ");
  } catch {
    return undefined;
  }
}
