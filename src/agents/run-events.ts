/**
 * The events of a run: one numbered sequence, however many readers follow it and wherever they begin.
 *
 * E1. Numbers start at 1 and grow; a reader that gives the last number it saw gets every later event once.
 * E2. An event of a background run is shown only after it is durable, so no number is ever used twice.
 * E3. Token events of a foreground run live in memory only; its durable log holds whole messages under the number
 *     of the last token of each. After a crash its numbers go on far above those that may have been shown.
 * E4. The last event of a run is marked `last`; it is durable with the end of the run.
 *
 * Rows: `(project, "event", run, seq)` holds the events up to number `seq` that follow those of the row before it; of one
 * event that is larger than a row, `(project, "event", run, seq, n)` hold the pieces.
 */
import { concatBytes, keyAfter } from "../base/bytes.ts";
import { decodeJson } from "../base/json.ts";
import { decodeTuple, encodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store, Write } from "../storage/store.ts";

export interface RunEvent {
  readonly seq: number;
  /** Letta's stream message, without `seq_id`. */
  readonly message: { readonly message_type: string; readonly [field: string]: unknown };
  readonly last?: true;
}

/** How far the numbers jump each time that a foreground run goes on after a crash (E3): more tokens than a step can have. */
const seqJumpAfterCrash = 1_000_000;

const rowsPerRead = 200;
const rowBytesMax = 64_000;
/** How often a reader looks into the store for a run that is not active on this node. */
const pollMillisecondsMin = 20;
const pollMillisecondsMax = 1_000;

/**
 * The number above which the events of a run go on that was taken up again, for the `resumes`-th time in its step.
 * Each time it is another: an attempt that crashed too may have shown tokens under the numbers above the one before.
 */
export function seqAfterCrash(run: { readonly background: boolean }, durable: number, resumes: number): number {
  return run.background ? durable : durable + resumes * seqJumpAfterCrash;
}

export function eventRows(project: string, runId: string): Tuple {
  return [project, "event", runId];
}

/** The writes of events. The key of each row is the number of its last event, so a reader can begin inside the log. */
export function eventWrites(project: string, runId: string, events: readonly RunEvent[]): Write[] {
  const writes: Write[] = [];
  let texts: string[] = [];
  let bytes = 0;
  for (const [index, event] of events.entries()) {
    const text = JSON.stringify(event);
    const more = Buffer.byteLength(text) + 1;
    if (bytes + more > rowBytesMax && texts.length > 0) {
      writes.push(...rowWrites([...eventRows(project, runId), events[index - 1]!.seq], texts));
      texts = [];
      bytes = 0;
    }
    texts.push(text);
    bytes += more;
  }
  if (texts.length > 0) writes.push(...rowWrites([...eventRows(project, runId), events.at(-1)!.seq], texts));
  return writes;
}

function rowWrites(key: Tuple, texts: readonly string[]): Write[] {
  const value = Buffer.from(`[${texts.join(",")}]`, "utf8");
  if (value.length <= rowBytesMax) return [{ kind: "set", key: encodeTuple(key), value }];
  return Array.from({ length: Math.ceil(value.length / rowBytesMax) }, (_, index): Write => ({
    kind: "set",
    key: encodeTuple([...key, index]),
    value: value.subarray(index * rowBytesMax, (index + 1) * rowBytesMax),
  }));
}

/** The durable events after `after`, at most about `rowsPerRead` rows of them. */
export async function readEvents(store: Store, project: string, runId: string, after: number): Promise<RunEvent[]> {
  const { end } = tupleRange(eventRows(project, runId));
  const rows: { readonly seq: number; readonly pieces: Uint8Array[] }[] = [];
  // The pieces of what was seen already are passed over with it.
  let begin = tupleRange([...eventRows(project, runId), after]).end;
  for (;;) {
    const [answer] = await store.read([{ begin, end, limit: rowsPerRead }]);
    for (const { key, value } of answer!) {
      const seq = decodeTuple(key)[3] as number;
      if (rows.at(-1)?.seq === seq) rows.at(-1)!.pieces.push(value);
      else rows.push({ seq, pieces: [value] });
    }
    const last = answer!.at(-1);
    // The read may have ended inside a large event.
    if (last === undefined || answer!.length < rowsPerRead || decodeTuple(last.key).length === 4) break;
    begin = keyAfter(last.key);
  }
  return rows.flatMap(({ pieces }) => decodeJson<RunEvent[]>(concatBytes(...pieces))).filter((event) => event.seq > after);
}

/** The number of the last durable event, 0 if there is none. */
export async function lastSeq(store: Store, project: string, runId: string): Promise<number> {
  const [answer] = await store.read([{ ...tupleRange(eventRows(project, runId)), limit: 1, reverse: true }]);
  const row = answer![0];
  return row === undefined ? 0 : (decodeTuple(row.key)[3] as number);
}

/**
 * The number above which the events of a run go on that nobody works on, or whose driver has not begun: token events of
 * a background run are durable without the progress that was committed with its steps.
 */
export async function newestSeq(
  store: Store,
  project: string,
  run: { readonly id: string; readonly background: boolean },
  progress: { readonly seq: number; readonly resumes: number },
): Promise<number> {
  const durable = Math.max(progress.seq, await lastSeq(store, project, run.id));
  return seqAfterCrash(run, durable, progress.resumes + 1);
}

/** The live end of one run's sequence, in the memory of the node that works on the run. */
export class RunFeed {
  /** Events above this number are in `#events`; those up to it are durable in the store. */
  #base: number;
  #events: RunEvent[] = [];
  /** The next change, once somebody waits for it. */
  #change: PromiseWithResolvers<void> | undefined;
  #closed = false;

  constructor(base: number) {
    this.#base = base;
  }

  get base(): number {
    return this.#base;
  }

  get closed(): boolean {
    return this.#closed;
  }

  publish(events: readonly RunEvent[]): void {
    if (events.length === 0) return;
    this.#events.push(...events);
    this.wake();
  }

  /** Forgets events up to `seq`, which readers now find in the store. */
  settle(seq: number): void {
    this.#base = Math.max(this.#base, seq);
    const keep = this.#events.findIndex((event) => event.seq > seq);
    this.#events = keep < 0 ? [] : this.#events.slice(keep);
  }

  /** The run ended, or is no longer worked on here. */
  close(): void {
    this.#closed = true;
    this.wake();
  }

  after(seq: number): readonly RunEvent[] {
    // From the end: a reader that keeps up misses only the newest.
    let first = this.#events.length;
    while (first > 0 && this.#events[first - 1]!.seq > seq) first--;
    return this.#events.slice(first);
  }

  /** Resolves at the next event, when the feed closes, or at `wake`. */
  changed(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return (this.#change ??= Promise.withResolvers<void>()).promise;
  }

  /** Has every reader look again. */
  wake(): void {
    this.#change?.resolve();
    this.#change = undefined;
  }
}

/** Another node's live end of a run: yields events after `after` until that end closes. Ends at once where there is none. */
export type RemoteFeed = (
  run: { readonly project: string; readonly runId: string },
  after: number,
  signal: AbortSignal,
) => AsyncIterable<readonly RunEvent[]>;

/** The feeds of the runs that this node works on. */
export class RunFeeds {
  readonly #feeds = new Map<string, RunFeed>();
  /** Where to follow runs that other nodes work on. Without it, their events are seen when they are durable. */
  remote: RemoteFeed | undefined;

  open(runId: string, base: number): RunFeed {
    const feed = new RunFeed(base);
    this.#feeds.get(runId)?.close();
    this.#feeds.set(runId, feed);
    return feed;
  }

  get(runId: string): RunFeed | undefined {
    return this.#feeds.get(runId);
  }

  close(runId: string, feed: RunFeed): void {
    feed.close();
    if (this.#feeds.get(runId) === feed) this.#feeds.delete(runId);
  }
}

/**
 * Yields the events of a run after number `after`, then waits for more until the last one.
 * Ends early when `signal` aborts, or when `isOver` says that nothing more will come.
 */
export async function* followRun(
  source: {
    readonly store: Store;
    readonly environment: Environment;
    readonly feeds: RunFeeds;
    readonly project: string;
    readonly runId: string;
    /** Other nodes are not asked. */
    readonly hereOnly?: boolean;
  },
  after: number,
  isOver: () => Promise<boolean>,
  signal: AbortSignal,
): AsyncGenerator<readonly RunEvent[]> {
  const remote = source.hereOnly === true ? undefined : source.feeds.remote;
  let seen = after;
  let pause = pollMillisecondsMin;
  let feed: RunFeed | undefined;
  // One listener for the whole stream: adding one for every event would cost more than the event.
  const onAbort = (): void => feed?.wake();
  signal.addEventListener("abort", onAbort);
  using _listening = { [Symbol.dispose]: () => signal.removeEventListener("abort", onAbort) };
  while (!signal.aborted) {
    // A reader keeps the feed it had: it may still hold what the reader has not seen when the run is over.
    feed = source.feeds.get(source.runId) ?? feed;
    const live = feed !== undefined && seen >= feed.base;
    const events = live ? feed!.after(seen) : await readEvents(source.store, source.project, source.runId, seen);
    if (events.length > 0) {
      pause = pollMillisecondsMin;
      seen = events.at(-1)!.seq;
      yield events;
      if (events.at(-1)!.last === true) return;
    } else if (feed !== undefined && !feed.closed) {
      if (live) await feed.changed();
      // Nothing durable is between what was seen and the live end: numbers have gaps (E3).
      else seen = feed.base;
    } else if (feed !== undefined) {
      feed = undefined;
    } else {
      const over = await isOver();
      if (over && (await readEvents(source.store, source.project, source.runId, seen)).length === 0) return;
      const seenBefore = seen;
      if (!over && remote !== undefined) {
        for await (const batch of remote(source, seen, signal)) {
          seen = batch.at(-1)!.seq;
          yield batch;
          if (batch.at(-1)!.last === true) return;
        }
      }
      if (seen > seenBefore) pause = pollMillisecondsMin;
      if (!over) await source.environment.clock.sleep(pause, signal);
      pause = Math.min(pause * 2, pollMillisecondsMax);
    }
  }
}
