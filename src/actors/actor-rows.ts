/**
 * Where the rows of actors are, and what the ones that the runtime keeps hold.
 *
 * | key                                                           | holds                                  |
 * |---------------------------------------------------------------|----------------------------------------|
 * | `(project, "header", type, key)`                              | who may commit for the actor: `Header` |
 * | `(project, "state", type, key, …)`                            | the actor's own rows                   |
 * | `(project, "reminders", type, key, name)`                     | `ReminderRow`                          |
 * | `("", "reminder", slot, due, project, type, key, name)`       | `DueRow`, in the order of time         |
 * | `(project, "dedup", type, key, bucket, invocation id)`        | `InvocationRecord`                     |
 * | `("", "inbox", slot, project, type, key, …)`                  | what was sent to the actor: `SentRow`  |
 * | `(…, sender's type, sender's key, ver, n)`                    | … by one sender, in the order sent     |
 * | `(project, "inbox size", type, key)`                          | how many those are: a counter          |
 * | `(project, "dead letter", type, key, …)`                      | the same, given up: `DeadLetterRow`    |
 * | `("", "member", node)`                                        | `MemberRow`                            |
 *
 * A header is never deleted, so that an absent one proves that no batch of the actor was ever committed.
 */
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import type { ActorId } from "./actor.ts";
import { fingerprint } from "./fingerprint.ts";
import type { ProcessIdentity } from "./process-table.ts";

/** Rows of the runtime itself, beside all projects: no actor's project is empty. */
const systemProject = "";

export interface Header {
  /** The node whose activation committed last. */
  readonly owner: string;
  /** Grows with each activation. */
  readonly epoch: number;
  /** Grows with each batch. */
  readonly ver: number;
  /** The batch that wrote this header: settles its outcome where a store has forgotten it. */
  readonly lastBatch: string;
  /** The version of all rows of the actor. */
  readonly schema: number;
  /** When that batch was made, for people to see: Unix milliseconds of its node. Absent in headers of before this field. */
  readonly at?: number;
  /** The node that is being given the actor, and may claim it while `owner` lives; `owner` may not any more. */
  readonly migrating?: { readonly to: string };
  /** The time buckets that may hold deduplication records. Absent: there are none. */
  readonly dedup?: BucketSpan;
}

/** The newest version of rows that this Kelpie reads and writes. */
export const headerSchema = 1;

/** Two buckets, or one, whatever is between them. */
export interface BucketSpan {
  readonly from: number;
  readonly to: number;
  /** When the owner first knew `to`, in its elapsed milliseconds. Absent in headers of before this field. */
  readonly since?: number;
}

export interface InvocationRecord {
  /** Of the message, to tell a repeat from an id that was used twice. */
  readonly message: number;
  /** JSON text; absent when the reply is `undefined` or was not kept. */
  readonly reply?: string;
  /** The bytes of a reply that was too large to be kept. */
  readonly droppedBytes?: number;
}

export interface ReminderRow {
  readonly due: number;
  readonly early: boolean;
  readonly payload?: unknown;
}

export interface DueRow {
  readonly early: boolean;
}

export interface MemberRow extends ProcessIdentity {
  readonly node: string;
  /** Unix milliseconds. */
  readonly joined: number;
}

/** `ver` is that of the sender's batch: no two messages ever have one key. */
export interface SentRow {
  /** When it was sent, Unix milliseconds. */
  readonly at: number;
  readonly message: unknown;
  /** Turns that threw, and when the next one may be: Unix milliseconds. */
  readonly failures?: number;
  readonly after?: number;
}

export interface DeadLetterRow {
  readonly at: number;
  readonly message: unknown;
  readonly failures: number;
  /** Of the last turn: at most 1,000 characters. */
  readonly error: string;
  /** When it was given up, Unix milliseconds. */
  readonly died: number;
}

/** Shares of the reminders and inboxes, so that a cluster can divide them. Fixed: it is part of the keys. */
export const reminderSlots = 64;

export function headerKey(id: ActorId): Uint8Array {
  return encodeTuple([id.project, "header", id.type, id.key]);
}

/** What the keys of an actor's own rows begin with. */
export function statePrefix(id: ActorId): Tuple {
  return [id.project, "state", id.type, id.key];
}

/** What the keys of an actor's reminders, by name, begin with. */
export function reminderPrefix(id: ActorId): Tuple {
  return [id.project, "reminders", id.type, id.key];
}

/** The share that the reminders and the inbox of an actor belong to. */
export function reminderSlot(id: ActorId): number {
  return fingerprint(`${id.project}\0${id.type}\0${id.key}`) % reminderSlots;
}

export function dueKey(id: ActorId, name: string, due: number): Uint8Array {
  return encodeTuple([...slotPrefix(reminderSlot(id)), due, id.project, id.type, id.key, name]);
}

export function slotPrefix(slot: number): Tuple {
  return [systemProject, "reminder", slot];
}

export const inboxesPrefix: Tuple = [systemProject, "inbox"];

/** What the keys of the inboxes of one share begin with. */
export function inboxSlotPrefix(slot: number): Tuple {
  return [...inboxesPrefix, slot];
}

/** What the keys of the messages to an actor begin with; `sender`: of those that it has sent. */
export function inboxPrefix(id: ActorId, sender?: ActorId): Tuple {
  const prefix = [...inboxSlotPrefix(reminderSlot(id)), id.project, id.type, id.key];
  return sender === undefined ? prefix : [...prefix, sender.type, sender.key];
}

export function inboxSizeKey(id: ActorId): Tuple {
  return [id.project, "inbox size", id.type, id.key];
}

/** What the keys of dead letters begin with: of a project, a type, or one actor. */
export function deadLetterPrefix(project: string, ...actor: readonly string[]): Tuple {
  return [project, "dead letter", ...actor];
}

export function dedupPrefix(id: ActorId): Tuple {
  return [id.project, "dedup", id.type, id.key];
}

export const memberPrefix: Tuple = [systemProject, "member"];

export function memberKey(node: string): Tuple {
  return [...memberPrefix, node];
}
