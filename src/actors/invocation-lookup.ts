import { decodeJson } from "../base/json.ts";
import type { Store } from "../storage/store.ts";
import type { ActorId } from "./actor.ts";
import type { BucketSpan, InvocationRecord } from "./actor-rows.ts";
import { invocationKeys } from "./deduplication.ts";
import type { Envelope } from "./envelope.ts";

/** Waiting invocations that are looked up together. */
const lookupMax = 100;

/** Where the records of invocations are that are not in the store yet, and in which buckets the others are. */
interface Records {
  pendingRecord(invocation: string): InvocationRecord | undefined;
  readonly dedup: BucketSpan | undefined;
}

/** Finds out whether an invocation took effect before: looks up those that wait together, in one read. */
export class InvocationLookup {
  readonly #id: ActorId;
  readonly #store: Store;
  readonly #records: Records;
  /** What the store said about invocations that wait. Never of one whose turn has begun since: that is taken out first. */
  readonly #found = new Map<string, InvocationRecord | undefined>();

  constructor(id: ActorId, store: Store, records: Records) {
    this.#id = id;
    this.#store = store;
    this.#records = records;
  }

  /** The record of `invocation`, which is about to begin and is among `waiting`; `undefined` if it took no effect before. */
  async find(invocation: string, waiting: Iterable<Envelope>): Promise<InvocationRecord | undefined> {
    const pending = this.#records.pendingRecord(invocation);
    if (pending !== undefined || this.#records.dedup === undefined) return pending;
    if (!this.#found.has(invocation)) await this.#lookUp(waiting);
    const record = this.#found.get(invocation);
    this.#found.delete(invocation);
    return record;
  }

  async #lookUp(waiting: Iterable<Envelope>): Promise<void> {
    const keys = new Map<string, readonly Uint8Array[]>();
    for (const { invocation } of waiting) {
      if (keys.size === lookupMax) break;
      if (invocation === undefined || this.#found.has(invocation.id) || this.#records.pendingRecord(invocation.id) !== undefined) continue;
      keys.set(invocation.id, invocationKeys(this.#id, this.#records.dedup, invocation.id));
    }
    const answers = await this.#store.read([...keys.values()].flat().map((key) => ({ key })));
    let at = 0;
    for (const [id, { length }] of keys) {
      const entry = answers.slice(at, (at += length)).find((answer) => answer.length > 0)?.[0];
      this.#found.set(id, entry && decodeJson<InvocationRecord>(entry.value));
    }
  }
}
