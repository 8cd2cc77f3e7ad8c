/** An event stream as the body of a `Response`: for tests, the simulation, and servers that are not Node's. */
import type { Environment } from "../environment/environment.ts";
import { type EventStream, eventStreamHeaders, pump, type Sink } from "./event-stream.ts";

/** Chunks that may wait for the reader before nothing more is pulled for it. */
const chunksWaitingMax = 16;

export function eventStreamResponse(stream: EventStream, environment: Environment, closing: AbortSignal): Response {
  const { sink, body } = bodySink();
  void pump(stream, sink, environment, closing);
  return new Response(body, { status: 200, headers: eventStreamHeaders });
}

export function bodySink(): { readonly sink: Sink; readonly body: ReadableStream<Uint8Array> } {
  const gone = new AbortController();
  const encoder = new TextEncoder();
  let controller: ReadableStreamDefaultController<Uint8Array>;
  let wake: (() => void) | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      start: (given) => void (controller = given),
      pull: () => wake?.(),
      cancel: () => {
        gone.abort();
        wake?.();
      },
    },
    { highWaterMark: chunksWaitingMax },
  );
  const sink: Sink = {
    gone: gone.signal,
    write(text) {
      if (gone.signal.aborted) return true;
      controller.enqueue(encoder.encode(text));
      return (controller.desiredSize ?? 0) > 0;
    },
    drained: () =>
      new Promise((resolve) => {
        if (gone.signal.aborted || (controller.desiredSize ?? 0) > 0) return resolve();
        wake = resolve;
      }),
    end() {
      if (!gone.signal.aborted) controller.close();
    },
    destroy() {
      if (!gone.signal.aborted) controller.error(new Error("The reader was too slow"));
    },
  };
  return { sink, body };
}
