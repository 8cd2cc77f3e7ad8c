/** What the host's process table says of a process, and when it is gone. */
import { readdirSync, readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import type { Clock } from "../environment/environment.ts";
import { holdProcess } from "../environment/hold-process.ts";

/** A process for as long as it lives: its number alone may be another's later. */
export class HostProcess {
  readonly pid: number;
  readonly #startTime: string | undefined;

  constructor(pid: number) {
    this.pid = pid;
    this.#startTime = stateOf(pid)?.startTime;
  }

  /** A zombie has ended: nothing of it runs, and the threads and children of a namespace's first process are gone. */
  hasEnded(): boolean {
    const state = stateOf(this.pid);
    return state === undefined || state.startTime !== this.#startTime || state.letter === "Z" || state.letter === "X";
  }

  kill(): void {
    if (this.hasEnded()) return;
    try {
      process.kill(this.pid, "SIGKILL");
    } catch {
      // It ended meanwhile.
    }
  }

  async ended(clock: Clock): Promise<void> {
    if (this.hasEnded()) return;
    const release = holdProcess();
    for (let wait = 1; !this.hasEnded(); wait = Math.min(wait * 2, 50)) await clock.sleep(wait);
    release();
  }
}

function stateOf(pid: number): { readonly letter: string; readonly startTime: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field, in parentheses, is a name that may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { letter: fields[0]!, startTime: fields[19]! };
  } catch {
    // It is gone.
    return undefined;
  }
}

/**
 * Descriptors that this process was started with and would hand on to each process that it starts, beside the usual three:
 * whoever started it did not mark them as its own, as Node marks all it opens.
 */
export function inheritedDescriptors(): readonly number[] {
  const closeOnExec = 0o2000000;
  return readdirSync("/proc/self/fdinfo")
    .map(Number)
    .filter((descriptor) => descriptor > 2)
    .filter((descriptor) => {
      try {
        const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, "utf8"))?.[1];
        return (Number.parseInt(flags ?? "0", 8) & closeOnExec) === 0;
      } catch {
        // It was the one that listed the others.
        return false;
      }
    });
}

/**
 * The first process in the namespaces that bubblewrap made, from what it says of itself.
 *
 * All of that is read: a pipe closed early would end bubblewrap in the middle of its work.
 */
export function firstProcess(information: Readable): Promise<HostProcess> {
  return new Promise((resolve) => {
    let said = "";
    information.on("error", () => undefined); // Nothing more is said.
    information.on("data", (bytes: Buffer) => {
      said += bytes.toString("utf8");
      const pid = /"child-pid": (\d+)/.exec(said)?.[1];
      if (pid !== undefined) resolve(new HostProcess(Number(pid)));
    });
  });
}
