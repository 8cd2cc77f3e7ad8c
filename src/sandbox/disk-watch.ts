/**
 * The bound of a sandbox's disk where no kernel keeps it: looks at what is there while commands run, and ends them past it.
 *
 * `du` looks, in a process of its own: it goes through trees of any depth and follows no link.
 */
import { execFile } from "node:child_process";
import type { Cancel, Clock } from "../environment/environment.ts";
import type { Bounds } from "./sandbox.ts";

const restMilliseconds = 200;
/** Looking takes at most this share of the time. */
const restPerLook = 4;
const lookMilliseconds = 60_000;

export interface DiskUse {
  readonly bytes: number;
  readonly entries: number;
}

export class DiskWatch {
  readonly #folders: readonly string[];
  readonly #bounds: Bounds;
  readonly #clock: Clock;
  readonly #onFull: () => void;
  #use: DiskUse = { bytes: 0, entries: 0 };
  #watchers = 0;
  #cancel: Cancel | undefined;

  constructor(options: { readonly folders: readonly string[]; readonly bounds: Bounds; readonly clock: Clock; onFull(): void }) {
    this.#folders = options.folders;
    this.#bounds = options.bounds;
    this.#clock = options.clock;
    this.#onFull = () => options.onFull();
  }

  /** As last looked at. */
  get use(): DiskUse {
    return this.#use;
  }

  isFull(): boolean {
    return this.#use.bytes > this.#bounds.diskBytes || this.#use.entries > this.#bounds.diskEntries;
  }

  hasRoom(bytes: number): boolean {
    return this.#use.bytes + bytes <= this.#bounds.diskBytes && this.#use.entries + 1 <= this.#bounds.diskEntries;
  }

  async look(): Promise<void> {
    this.#use = await measure(this.#folders);
  }

  /** Counts `bytes` until it looks again. */
  add(bytes: number): void {
    this.#use = { bytes: this.#use.bytes + bytes, entries: this.#use.entries + 1 };
  }

  /** Looks again and again until as many have ended as have begun. */
  begin(): void {
    if (this.#watchers++ === 0) this.#cancel = this.#clock.schedule(restMilliseconds, () => void this.#turn());
  }

  end(): void {
    if (--this.#watchers > 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  async #turn(): Promise<void> {
    const before = this.#clock.elapsed();
    await this.look();
    if (this.#watchers === 0) return;
    if (this.isFull()) this.#onFull();
    const rest = Math.max(restMilliseconds, (this.#clock.elapsed() - before) * restPerLook);
    this.#cancel = this.#clock.schedule(rest, () => void this.#turn());
  }
}

/** What cannot be looked at is not counted: a command may take a folder away meanwhile. */
function measure(folders: readonly string[]): Promise<DiskUse> {
  const script = 'du -scxB1 -- "$@" | tail -n 1; du -scx --inodes -- "$@" | tail -n 1';
  return new Promise((resolve) => {
    const options = { env: {}, timeout: lookMilliseconds, killSignal: "SIGKILL" } as const;
    execFile("/bin/sh", ["-c", script, "sh", ...folders], options, (_error, stdout) => {
      const [bytes = 0, entries = 0] = stdout.split("\n").map((line) => Number(line.split("\t")[0]));
      resolve({ bytes, entries });
    });
  });
}
