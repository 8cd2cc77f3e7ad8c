/**
 * Takes turns by name: work that shares a name with work that came before begins when that is done. Other work is
 * not held up.
 *
 * Work waits only for what came before it, so no two ever wait for each other.
 */
export class KeyTurns {
  readonly #last = new Map<string, Promise<void>>();

  /** Names that somebody has or waits for. */
  get size(): number {
    return this.#last.size;
  }

  async take<T>(names: ReadonlySet<string>, work: () => Promise<T>): Promise<T> {
    const done = Promise.withResolvers<void>();
    const before = new Set<Promise<void>>();
    for (const name of names) {
      const last = this.#last.get(name);
      if (last !== undefined) before.add(last);
      this.#last.set(name, done.promise);
    }
    try {
      for (const turn of before) await turn;
      return await work();
    } finally {
      for (const name of names) if (this.#last.get(name) === done.promise) this.#last.delete(name);
      done.resolve();
    }
  }
}
