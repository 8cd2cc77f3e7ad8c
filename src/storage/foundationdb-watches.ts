import { bytesToMapKey } from "../base/bytes.ts";
import type { Clock } from "../environment/environment.ts";
import type { FoundationDbWatch } from "./foundationdb-client.ts";
import type { Key, Version, Write } from "./store.ts";
import { Watchers } from "./watchers.ts";

export interface FoundationDbWatchesOptions {
  readonly clock: Clock;
  /** How often a key is looked at when no watch says anything: watches get lost, and there are only so many. */
  readonly pollMilliseconds: number;
  /** Reads the version of `key` and sets a watch on what was read. */
  look(key: Key): Promise<{ readonly version: Version | null; readonly watch: FoundationDbWatch }>;
}

/**
 * Hints about keys: at once of this process's own batches, and by FoundationDB's watches of others'. A key has one
 * watch, however many wait for it, as a client has only 10,000.
 */
export class FoundationDbWatches {
  readonly #options: FoundationDbWatchesOptions;
  readonly #watchers = new Watchers();
  readonly #followed = new Map<string, { watchers: number; readonly end: AbortController }>();

  constructor(options: FoundationDbWatchesOptions) {
    this.#options = options;
  }

  /** One hint comes when it begins to look, as a change may have come just before. */
  async *watch(keys: readonly Key[], signal: AbortSignal): AsyncGenerator<void> {
    if (signal.aborted) return;
    for (const key of keys) this.#follow(key);
    let isOver = false;
    const end = (): void => {
      if (!isOver) for (const key of keys) this.#unfollow(key);
      isOver = true;
    };
    // Whoever aborts need not ask for another hint, and then nothing here goes on.
    signal.addEventListener("abort", end, { once: true });
    try {
      yield* this.#watchers.watch(keys, signal);
    } finally {
      signal.removeEventListener("abort", end);
      end();
    }
  }

  notify(writes: readonly Write[]): void {
    this.#watchers.notify(writes);
  }

  close(): void {
    for (const { end } of this.#followed.values()) end.abort();
  }

  #follow(key: Key): void {
    const name = bytesToMapKey(key);
    const followed = this.#followed.get(name);
    if (followed !== undefined) {
      followed.watchers++;
      return;
    }
    const end = new AbortController();
    this.#followed.set(name, { watchers: 1, end });
    void this.#lookAgainAndAgain(key, end.signal);
  }

  #unfollow(key: Key): void {
    const name = bytesToMapKey(key);
    const followed = this.#followed.get(name);
    if (followed === undefined || --followed.watchers > 0) return;
    this.#followed.delete(name);
    followed.end.abort();
  }

  async #lookAgainAndAgain(key: Key, signal: AbortSignal): Promise<void> {
    let seen: Version | null | undefined;
    while (!signal.aborted) {
      try {
        const { version, watch } = await this.#options.look(key);
        if (version !== seen) this.#watchers.notify([{ kind: "delete", key }]);
        seen = version;
        await this.#changeOrPoll(watch.changed, signal);
        watch.cancel();
      } catch {
        // Reads and commits report what is wrong; a hint may be missing.
        await this.#options.clock.sleep(this.#options.pollMilliseconds, signal);
      }
    }
  }

  async #changeOrPoll(changed: Promise<void>, signal: AbortSignal): Promise<void> {
    const enough = new AbortController();
    const poll = this.#options.clock.sleep(this.#options.pollMilliseconds, AbortSignal.any([signal, enough.signal]));
    await Promise.race([poll, changed.catch(() => poll)]);
    enough.abort();
  }
}
