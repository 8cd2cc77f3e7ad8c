import { bytesToMapKey } from "../base/bytes.ts";
import type { Answer, Key, Query, Version, Write } from "./store.ts";
import { Watchers } from "./watchers.ts";

/** Keys in one look. */
const keysMax = 512;

interface Watched {
  readonly key: Key;
  watchers: number;
  /** `undefined`: not looked at yet. */
  version: Version | null | undefined;
}

/** `watch` for a store that hears nothing of other nodes' batches: looks at the versions of what is watched. */
export class ChangePoll {
  readonly #read: (queries: readonly Query[]) => Promise<readonly Answer[]>;
  readonly #milliseconds: number;
  readonly #watchers = new Watchers();
  readonly #watched = new Map<string, Watched>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(read: (queries: readonly Query[]) => Promise<readonly Answer[]>, milliseconds: number) {
    this.#read = read;
    this.#milliseconds = milliseconds;
  }

  /** The first look gives a hint as well: what changed before it, nobody knows. */
  async *watch(keys: readonly Key[], signal: AbortSignal): AsyncGenerator<void> {
    for (const key of keys) {
      const name = bytesToMapKey(key);
      const watched = this.#watched.get(name);
      if (watched === undefined) this.#watched.set(name, { key, watchers: 1, version: undefined });
      else watched.watchers++;
    }
    this.#schedule();
    try {
      yield* this.#watchers.watch(keys, signal);
    } finally {
      for (const name of keys.map(bytesToMapKey)) {
        const watched = this.#watched.get(name);
        if (watched !== undefined && --watched.watchers === 0) this.#watched.delete(name);
      }
    }
  }

  /** Of this node's own batches, hints come at once. */
  notify(writes: readonly Write[]): void {
    this.#watchers.notify(writes);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#isStopped) return;
    this.#timer = setTimeout(() => {
      void this.#look().finally(() => {
        this.#timer = undefined;
        if (this.#watched.size > 0) this.#schedule();
      });
    }, this.#milliseconds);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const watched = [...this.#watched.values()];
    for (let at = 0; at < watched.length; at += keysMax) {
      const some = watched.slice(at, at + keysMax);
      try {
        const answers = await this.#read(some.map(({ key }) => ({ key })));
        for (const [index, each] of some.entries()) {
          const version = answers[index]![0]?.version ?? null;
          if (version !== each.version) this.#watchers.notify([{ kind: "delete", key: each.key }]);
          each.version = version;
        }
      } catch {
        // Reads and commits report what is wrong; a hint may be missing.
      }
    }
  }
}
