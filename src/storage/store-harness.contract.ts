/** What the tests of the contract of stores share: a store under test, spaces of keys, and short forms of writes. */
import { bytesToMapKey } from "../base/bytes.ts";
import { addToCounter } from "./counter.ts";
import type { Check, CommitOutcome, Entry, Key, Store, Version, Write } from "./store.ts";

export interface StoreUnderTest {
  /** Opens an empty store, another one each time. */
  readonly open: () => Promise<Store>;
  /** Closes `store` and opens what it kept. Absent: the store keeps nothing. */
  readonly reopen?: (store: Store) => Promise<Store>;
}

export class StoreHarness {
  readonly #parts: StoreUnderTest;
  #store: Store | undefined;
  cases = 0;
  #batches = 0;

  constructor(parts: StoreUnderTest) {
    this.#parts = parts;
  }

  get store(): Store {
    if (this.#store === undefined) throw new Error("The store is opened before the first test");
    return this.#store;
  }

  async open(): Promise<void> {
    this.#store = await this.#parts.open();
  }

  /** Does nothing for a store that keeps nothing. */
  async reopen(): Promise<void> {
    if (this.#parts.reopen !== undefined) this.#store = await this.#parts.reopen(this.store);
  }

  async close(): Promise<void> {
    await this.store[Symbol.asyncDispose]();
  }

  /** A function that puts keys into a space of their own, so that tests share the store without meeting. */
  readonly space = (): Space => {
    const prefix = `case ${++this.cases}/`;
    return (key) => bytes(prefix + key);
  };

  readonly commit = (writes: readonly Write[], checks: readonly Check[] = []): Promise<CommitOutcome> =>
    this.store.commit({ id: `batch ${++this.#batches}`, checks, writes });

  readonly get = async (key: Key): Promise<Entry | undefined> => (await this.store.read([{ key }]))[0]![0];

  readonly versionOf = async (key: Key): Promise<Version | null> => (await this.get(key))?.version ?? null;
}

export type Space = (key: string) => Key;

export function bytes(latin1: string): Uint8Array {
  return Uint8Array.from(Buffer.from(latin1, "latin1"));
}

export function text(value: Uint8Array): string {
  return bytesToMapKey(value);
}

export function hex(value: Uint8Array): string {
  return Buffer.from(value).toString("hex");
}

export function set(key: Key, value: string): Write {
  return { kind: "set", key, value: bytes(value) };
}

export function del(key: Key): Write {
  return { kind: "delete", key };
}

export function delRange(begin: Key, end: Key): Write {
  return { kind: "deleteRange", begin, end };
}

export function add(key: Key, amount: bigint): Write {
  return { kind: "add", key, amount };
}

export function counterText(value: bigint): string {
  return text(addToCounter(undefined, value));
}

/** Everything in a space, by its keys there. */
export async function contents(store: Store, at: Space): Promise<Record<string, string>> {
  const [answer] = await store.read([{ begin: at(""), end: at("~"), limit: 1_000 }]);
  return Object.fromEntries(answer!.map((entry) => [text(entry.key).slice(at("").length), text(entry.value)]));
}

export function turnOfTheLoop(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

export function abortAtEnd(): { readonly signal: AbortSignal; [Symbol.dispose](): void } {
  const controller = new AbortController();
  return { signal: controller.signal, [Symbol.dispose]: () => controller.abort() };
}
