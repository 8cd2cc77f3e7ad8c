/**
 * Records of named invocations, in buckets of time so that old ones are removed by one range.
 *
 * D1. A record is written in the batch of its turn, into the newest bucket. Records are in two buckets at most: the newest
 *     one and the one before it.
 * D2. A record lives for at least 15 minutes, also where the wall clocks of two nodes, or of one at two times, differ by
 *     a day: a new bucket begins when the actor's node has known the newest one for so long on its own monotonic clock, or
 *     the wall clock says that it is two days old. The newest bucket outlives the first such move, and goes at the second.
 * D3. The header says which buckets hold records, so an invocation is looked up in two rows at most, and in none for
 *     an actor that was never called with an id.
 */
import { encodeJson } from "../base/json.ts";
import { encodeTuple } from "../base/tuple.ts";
import type { Write } from "../storage/store.ts";
import type { ActorId } from "./actor.ts";
import { type BucketSpan, dedupPrefix, type InvocationRecord } from "./actor-rows.ts";
import { deduplicationMilliseconds, keptReplyBytesMax } from "./limits.ts";

/** Wall clocks of nodes differ by less: beyond it a bucket is old whoever looks at it. */
const bucketsMax = 172_800_000 / deduplicationMilliseconds;

/**
 * The writes that keep `records`, after those that remove what is over; and the buckets there are then. `now`: Unix
 * milliseconds; `elapsed`: those of this node.
 */
export function recordInvocations(
  id: ActorId,
  span: BucketSpan | undefined,
  records: ReadonlyMap<string, InvocationRecord>,
  { now, elapsed }: { readonly now: number; readonly elapsed: number },
): { readonly writes: readonly Write[]; readonly span: BucketSpan | undefined } {
  const bucketNow = Math.floor(now / deduplicationMilliseconds);
  const writes: Write[] = [];
  let left = span;
  if (span !== undefined) {
    const seen = elapsed - (span.since ?? elapsed);
    const moves = Math.floor(Math.max(seen / deduplicationMilliseconds, (bucketNow - span.to) / bucketsMax));
    // Nothing was written into the newest bucket since it was due to be moved on.
    if (moves > 1) left = undefined;
    else if (moves === 1) left = { ...span, from: span.to };
    if (left?.from !== span.from) writes.push(removal(id, span.from, left?.from ?? span.to + 1));
    if (records.size > 0 && moves > 0) {
      const to = Math.max(bucketNow, span.to + 1);
      left = { from: left?.from ?? to, to, since: elapsed };
    }
  } else if (records.size > 0) left = { from: bucketNow, to: bucketNow, since: elapsed };
  for (const [invocation, record] of records)
    writes.push({ kind: "set", key: encodeTuple([...dedupPrefix(id), left!.to, invocation]), value: encodeJson(record) });
  return { writes, span: left };
}

/** Removes the buckets from `begin` to before `end`. */
function removal(id: ActorId, begin: number, end: number): Write {
  const prefix = dedupPrefix(id);
  return { kind: "deleteRange", begin: encodeTuple([...prefix, begin]), end: encodeTuple([...prefix, end]) };
}

/** The keys that may hold the record of `invocation`. */
export function invocationKeys(id: ActorId, span: BucketSpan | undefined, invocation: string): Uint8Array[] {
  if (span === undefined) return [];
  const buckets = span.from === span.to ? [span.to] : [span.from, span.to];
  return buckets.map((bucket) => encodeTuple([...dedupPrefix(id), bucket, invocation]));
}

/** @throws {TypeError} The reply is not JSON. */
export function invocationRecord(message: number, reply: unknown): InvocationRecord {
  const text = JSON.stringify(reply) as string | undefined;
  if (text === undefined) return { message };
  const bytes = Buffer.byteLength(text);
  return bytes > keptReplyBytesMax ? { message, droppedBytes: bytes } : { message, reply: text };
}
