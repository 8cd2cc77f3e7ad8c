/**
 * Event streams as values: a handler answers with an `EventStream`, and one pump writes it wherever it goes.
 *
 * V1. Plain `data:` lines only; both SDKs drop events that have a name, except `event: error`, which they raise.
 * V2. `[DONE]` follows the last event of a run, and nothing else: a stream that ends without it can be resumed from
 *     the last `seq_id`, and nothing is lost.
 * V3. A reader that does not read slows down only itself: nothing is pulled for it meanwhile, and after
 *     `slowReaderMilliseconds` it is dropped.
 * V4. A reader that goes away ends its stream, never the run.
 */
import type { Environment } from "../environment/environment.ts";

export interface StreamEvent {
  readonly seq: number;
  readonly message: { readonly message_type: string; readonly [field: string]: unknown };
  readonly last?: boolean;
}

export class EventStream {
  /** Events of a run after `after`, in batches of what is there; ends early when the signal aborts. */
  readonly follow: (signal: AbortSignal) => AsyncIterable<readonly StreamEvent[]>;
  readonly runId: string;
  readonly after: number;
  /** Says hello with the run's id at once, and shows life as `ping` messages instead of comments. */
  readonly includePings: boolean;

  constructor(options: Pick<EventStream, "follow" | "runId" | "after" | "includePings">) {
    this.follow = options.follow;
    this.runId = options.runId;
    this.after = options.after;
    this.includePings = options.includePings;
  }
}

/** Where a stream is written to. */
export interface Sink {
  /** False: the other side is not reading fast enough, wait for `drained`. */
  write(text: string): boolean;
  /** Resolves when there is room again, or when the other side is gone. */
  drained(): Promise<void>;
  end(): void;
  /** Drops the connection. */
  destroy(): void;
  /** Aborts when the other side is gone. */
  readonly gone: AbortSignal;
}

/** Silence for this long is broken by a sign of life, as proxies close silent connections. V1's interval. */
export const keepAliveMilliseconds = 20_000;

/** A reader that takes nothing for this long is dropped. */
export const slowReaderMilliseconds = 60_000;

export const eventStreamHeaders: Readonly<Record<string, string>> = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  // Nginx would hold events back.
  "x-accel-buffering": "no",
};

/** Writes `stream` to `sink` until its last event, until the reader is gone, or until `closing` aborts. */
export async function pump(stream: EventStream, sink: Sink, environment: Environment, closing: AbortSignal): Promise<void> {
  const signal = AbortSignal.any([sink.gone, closing]);
  const { clock } = environment;
  let seq = stream.after;
  let wroteAt = clock.elapsed();
  let isWaiting = false;
  const showLife = (): void => {
    const idle = clock.elapsed() - wroteAt;
    if (idle >= keepAliveMilliseconds && !isWaiting) {
      sink.write(stream.includePings ? pingFrame(stream.runId, seq, environment) : ": alive\n\n");
      wroteAt = clock.elapsed();
    }
    cancel = clock.schedule(Math.max(1_000, keepAliveMilliseconds - idle), showLife);
  };
  let cancel = clock.schedule(keepAliveMilliseconds, showLife);
  try {
    if (stream.includePings) sink.write(pingFrame(stream.runId, seq, environment));
    for await (const events of stream.follow(signal)) {
      if (sink.gone.aborted) return;
      const last = events.at(-1);
      if (last === undefined) continue;
      seq = last.seq;
      wroteAt = clock.elapsed();
      const hasRoom = sink.write(frames(events));
      if (last.last === true) break;
      if (hasRoom) continue;
      isWaiting = true;
      if (!(await drains(sink, environment))) return sink.destroy();
      isWaiting = false;
    }
    sink.end();
  } catch (error) {
    // The head is sent: what is left is to end without [DONE], so that the client resumes or asks for the run (V2).
    environment.log.write("error", "An event stream broke", { run: stream.runId, error });
    sink.end();
  } finally {
    cancel();
  }
}

async function drains(sink: Sink, environment: Environment): Promise<boolean> {
  const drained = new AbortController();
  const isDrained = sink.drained().then(() => {
    drained.abort();
    return true;
  });
  return await Promise.race([
    isDrained,
    environment.clock.sleep(slowReaderMilliseconds, drained.signal).then(() => drained.signal.aborted),
  ]);
}

function frames(events: readonly StreamEvent[]): string {
  let text = "";
  for (const { seq, message, last } of events) {
    const name = message.message_type === "error_message" ? "event: error\n" : "";
    text += `${name}data: ${JSON.stringify({ ...message, seq_id: seq })}\n\n`;
    if (last === true) text += "data: [DONE]\n\n";
  }
  return text;
}

function pingFrame(runId: string, seq: number, { clock, random }: Environment): string {
  const date = new Date(clock.now()).toISOString().slice(0, 19) + "+00:00";
  // Before the first event there is no number that a reader could resume from.
  return `data: ${JSON.stringify({ message_type: "ping", id: `ping-${random.uuid()}`, date, run_id: runId, seq_id: seq === 0 ? null : seq })}\n\n`;
}
