/**
 * Versions in PostgreSQL: the timeline of the history that a version was made in, and in it a number of a sequence.
 *
 * A failover that loses commits begins a new timeline, in which the sequence may give the lost numbers again. As the
 * timeline is in front, no check that was made for a lost version can hold by chance afterwards, and versions grow.
 */
import type { Version } from "./store.ts";

/** 2,047 timelines of 4.4 × 10¹² batches each fit into a safe integer. */
export const timelineFactor: number = 2 ** 42;

export function timelineOf(version: Version): number {
  return Math.floor(version / timelineFactor);
}
