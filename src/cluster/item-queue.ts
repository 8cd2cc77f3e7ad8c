import type { Answer } from "./caller.ts";

/** The items of a stream between their arrival and their reader. Bounded by the credit that the reader's side gives. */
export class ItemQueue implements Answer {
  readonly #items: { readonly value: unknown; readonly bytes: number }[] = [];
  #end: { readonly error: Error | undefined } | undefined;
  #wake: (() => void) | undefined;

  value(value: unknown, bytes: number): void {
    this.#items.push({ value, bytes });
    this.#wake?.();
  }

  end(): void {
    this.#end ??= { error: undefined };
    this.#wake?.();
  }

  fail(error: Error): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  /** The next item; `undefined` after the last. What arrived before a failure comes before it. */
  async next(): Promise<{ readonly value: unknown; readonly bytes: number } | undefined> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) return item;
      if (this.#end?.error !== undefined) throw this.#end.error;
      if (this.#end !== undefined) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
