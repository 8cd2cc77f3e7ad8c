import type { Check, Write } from "../storage/store.ts";
import type { InvocationRecord } from "./actor-rows.ts";
import type { Outgoing } from "./outgoing.ts";

/** What one turn adds to a batch. */
export interface Part {
  /** Own rows by name (see `OwnRows`), as JSON text; `null` deletes. */
  readonly rows: ReadonlyMap<string, string | null>;
  readonly writes: readonly Write[];
  /** Of shared rows: a part with checks is a batch of its own. */
  readonly checks: readonly Check[];
  /** When the reminders that the turn set are due. */
  readonly dues: readonly number[];
  readonly sent: readonly Outgoing[] | undefined;
  /** What to keep of a named invocation. */
  readonly record?: { readonly invocation: string; readonly outcome: InvocationRecord };
  readonly bytes: number;
}

/** Of a turn that leaves no writes, for a batch that only claims the actor. */
export const emptyPart: Part = { rows: new Map(), writes: [], checks: [], dues: [], sent: undefined, bytes: 0 };

/** Whether a part writes nothing. */
export function isEmpty(part: Part): boolean {
  return part.rows.size === 0 && part.writes.length === 0 && part.sent === undefined && part.record === undefined;
}

/** How a batch ended: `conflict` is a shared row that had changed; nothing was written then. */
export type BatchEnd = { readonly kind: "durable" } | { readonly kind: "conflict" } | { readonly kind: "failed"; readonly error: Error };

/** The writes of one or several turns that become durable together, and who waits for that. */
export class PendingBatch {
  readonly rows: Map<string, string | null> = new Map();
  readonly writes: Write[] = [];
  readonly checks: Check[] = [];
  readonly records: Map<string, InvocationRecord> = new Map();
  readonly dues: number[] = [];
  sent: Outgoing[] | undefined;
  bytes = 0;
  turns = 0;
  #end: BatchEnd | undefined;
  readonly #waiters: ((end: BatchEnd) => void)[] = [];

  add(part: Part): void {
    // A row that several turns changed is written once, as the last of them left it.
    for (const [name, text] of part.rows) this.rows.set(name, text);
    this.writes.push(...part.writes);
    this.checks.push(...part.checks);
    this.dues.push(...part.dues);
    if (part.sent !== undefined) (this.sent ??= []).push(...part.sent);
    if (part.record !== undefined) this.records.set(part.record.invocation, part.record.outcome);
    this.bytes += part.bytes;
    this.turns++;
  }

  /** Calls `waiter` when the batch has ended: in the order of the calls. */
  whenEnded(waiter: (end: BatchEnd) => void): void {
    if (this.#end === undefined) this.#waiters.push(waiter);
    else waiter(this.#end);
  }

  end(end: BatchEnd): void {
    this.#end = end;
    for (const waiter of this.#waiters.splice(0)) waiter(end);
  }
}

/** Resolves when `batch` has ended; at once without one. */
export async function ended(batch: PendingBatch | undefined): Promise<BatchEnd | undefined> {
  return batch && (await new Promise((resolve) => batch.whenEnded(resolve)));
}
