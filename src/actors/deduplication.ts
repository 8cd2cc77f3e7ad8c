/**
 * Records of named invocations, in buckets of time so that old ones are removed by one range.
 *
 * D1. A record is written in the batch of its turn, into the newest bucket, which never goes back: a wall clock that
 *     jumps back makes records live longer, not shorter.
 * D2. A record lives until its bucket and the next one are over: 15 to 30 minutes.
 * D3. The header says which buckets hold records, so an invocation is looked up in two rows at most, and in none for
 *     an actor that was never called with an id.
 */
import { encodeJson } from "../base/json.ts";
import { encodeTuple } from "../base/tuple.ts";
import type { Write } from "../storage/store.ts";
import type { ActorId } from "./actor.ts";
import { type BucketSpan, dedupPrefix, type InvocationRecord } from "./actor-rows.ts";
import { deduplicationMilliseconds, keptReplyBytesMax } from "./limits.ts";

/** The writes that keep `records`, after those that remove what is over at the time `now`; and the buckets there are then. */
export function recordInvocations(
  id: ActorId,
  span: BucketSpan | undefined,
  records: ReadonlyMap<string, InvocationRecord>,
  now: number,
): { readonly writes: readonly Write[]; readonly span: BucketSpan | undefined } {
  if (span === undefined && records.size === 0) return { writes: [], span };
  const prefix = dedupPrefix(id);
  const bucket = Math.max(Math.floor(now / deduplicationMilliseconds), span?.to ?? 0);
  const writes: Write[] = [];
  let left = span;
  if (span !== undefined && span.from < bucket - 1) {
    writes.push({ kind: "deleteRange", begin: encodeTuple([...prefix, span.from]), end: encodeTuple([...prefix, bucket - 1]) });
    left = span.to < bucket - 1 ? undefined : { from: bucket - 1, to: span.to };
  }
  if (records.size === 0) return { writes, span: left };
  for (const [invocation, record] of records)
    writes.push({ kind: "set", key: encodeTuple([...prefix, bucket, invocation]), value: encodeJson(record) });
  return { writes, span: { from: left?.from ?? bucket, to: bucket } };
}

/** The keys that may hold the record of `invocation`. */
export function invocationKeys(id: ActorId, span: BucketSpan | undefined, invocation: string): Uint8Array[] {
  const keys: Uint8Array[] = [];
  if (span === undefined) return keys;
  for (let bucket = span.from; bucket <= span.to; bucket++) keys.push(encodeTuple([...dedupPrefix(id), bucket, invocation]));
  return keys;
}

/** @throws {TypeError} The reply is not JSON. */
export function invocationRecord(message: number, reply: unknown): InvocationRecord {
  const text = JSON.stringify(reply) as string | undefined;
  if (text === undefined) return { message };
  const bytes = Buffer.byteLength(text);
  return bytes > keptReplyBytesMax ? { message, droppedBytes: bytes } : { message, reply: text };
}
