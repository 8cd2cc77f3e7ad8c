/** Whether this server can do work now: it takes agents, and its store takes writes. */
import { encodeTuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";

/** What keeps a server from being ready. The words of `status` stay as they are: programs look for them. */
export interface Unready {
  readonly status: "draining" | "store_unavailable";
  /** Nothing of the inside: everybody may ask. The log says why. */
  readonly detail: string;
}

/** How long one asks the store before it counts as gone. */
const probeMillisecondsMax = 2_000;
/** For so long an answer of the store holds, whoever asks. */
const freshMilliseconds = 1_000;

/** A row for nothing else: that a write to it works says that others do. All nodes add to it, which never conflicts. */
const probeKey = encodeTuple(["", "ready"]);

export class Readiness {
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #isDraining: () => boolean;
  /** One at a time: a store that is away may keep it for long. */
  #probe: { readonly since: number; readonly ended: Promise<void> } | undefined;
  #known: { readonly at: number; readonly isWritable: boolean } | undefined;

  constructor(store: Store, environment: Environment, isDraining: () => boolean) {
    this.#store = store;
    this.#environment = environment;
    this.#isDraining = isDraining;
  }

  /** Within two seconds, whatever the store does. */
  async check(): Promise<Unready | undefined> {
    if (this.#isDraining()) return { status: "draining", detail: "This node is draining: its agents go to the other nodes" };
    if (await this.#isStoreWritable()) return undefined;
    return { status: "store_unavailable", detail: "The store cannot be written to now" };
  }

  async #isStoreWritable(): Promise<boolean> {
    const { clock, log } = this.#environment;
    if (this.#probe === undefined && this.#known !== undefined && clock.elapsed() - this.#known.at < freshMilliseconds)
      return this.#known.isWritable;
    this.#probe ??= { since: clock.elapsed(), ended: this.#write() };
    const { since, ended } = this.#probe;
    const left = since + probeMillisecondsMax - clock.elapsed();
    if (left > 0) {
      const isAnswered = new AbortController();
      await Promise.race([ended, clock.sleep(left, isAnswered.signal)]);
      isAnswered.abort();
    }
    if (this.#probe === undefined) return this.#known!.isWritable;
    log.write("warn", "The server is not ready: its store does not answer", { milliseconds: Math.round(clock.elapsed() - since) });
    return false;
  }

  /** Never throws. */
  async #write(): Promise<void> {
    const { clock, random, log } = this.#environment;
    let isWritable = true;
    try {
      await this.#store.commit({ id: random.uuid(), checks: [], writes: [{ kind: "add", key: probeKey, amount: 1n }] });
    } catch (error) {
      isWritable = false;
      log.write("warn", "The server is not ready: its store cannot be written to", { error });
    }
    this.#known = { at: clock.elapsed(), isWritable };
    this.#probe = undefined;
  }
}
