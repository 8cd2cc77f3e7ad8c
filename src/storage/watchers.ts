import { bytesToMapKey, compareBytes } from "../base/bytes.ts";
import type { Key, Write } from "./store.ts";

/** Who waits for which key, inside one process: the `watch` of the stores that run in it. */
export class Watchers {
  readonly #wakersByKey = new Map<string, Set<() => void>>();

  /** Keys that somebody waits for. */
  get size(): number {
    return this.#wakersByKey.size;
  }

  async *watch(keys: readonly Key[], signal: AbortSignal): AsyncGenerator<void> {
    let pending = false;
    let wake: (() => void) | undefined;
    const waker = (): void => {
      pending = true;
      wake?.();
    };
    const names = keys.map(bytesToMapKey);
    for (const name of names) this.#wakersOf(name).add(waker);
    signal.addEventListener("abort", waker);
    try {
      while (!signal.aborted) {
        if (!pending) await new Promise<void>((resolve) => (wake = resolve));
        pending = false;
        if (signal.aborted) return;
        yield;
      }
    } finally {
      signal.removeEventListener("abort", waker);
      for (const name of names) {
        const wakers = this.#wakersByKey.get(name);
        wakers?.delete(waker);
        if (wakers?.size === 0) this.#wakersByKey.delete(name);
      }
    }
  }

  notify(writes: readonly Write[]): void {
    if (this.#wakersByKey.size === 0) return;
    for (const write of writes) {
      if (write.kind !== "deleteRange") this.#wake(bytesToMapKey(write.key));
      else {
        for (const name of this.#wakersByKey.keys()) {
          const key = Buffer.from(name, "latin1");
          if (compareBytes(key, write.begin) >= 0 && compareBytes(key, write.end) < 0) this.#wake(name);
        }
      }
    }
  }

  /** For a store that learns of a change elsewhere without learning what changed. */
  notifyAll(): void {
    for (const name of this.#wakersByKey.keys()) this.#wake(name);
  }

  #wake(name: string): void {
    for (const waker of this.#wakersByKey.get(name) ?? []) waker();
  }

  #wakersOf(name: string): Set<() => void> {
    let wakers = this.#wakersByKey.get(name);
    if (wakers === undefined) this.#wakersByKey.set(name, (wakers = new Set()));
    return wakers;
  }
}
