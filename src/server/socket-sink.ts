/** Adapter: an event stream straight to Node's socket, at less than half the cost of a web stream. */
import type { ServerResponse } from "node:http";
import { eventStreamHeaders, type Sink } from "./event-stream.ts";

/** Text gathered before it is written without waiting for the end of the event loop's turn. */
const gatheredCharactersMax = 64 * 1024;

/** Events that come within one turn of the event loop leave in one write. */
export function socketSink(outgoing: ServerResponse): Sink {
  const gone = new AbortController();
  let gathered = "";
  let isScheduled = false;
  let hasRoom = true;
  let wake: (() => void) | undefined;
  const settle = (): void => {
    hasRoom = true;
    wake?.();
    wake = undefined;
  };
  outgoing.on("drain", settle);
  // "close" also follows a stream that ended well; nobody listens to `gone` then.
  outgoing.on("close", () => {
    gone.abort();
    settle();
  });
  // A reader that resets the connection is not an error of ours; "close" follows.
  outgoing.on("error", () => {});
  outgoing.writeHead(200, eventStreamHeaders);
  outgoing.flushHeaders();

  const flush = (): void => {
    isScheduled = false;
    if (gathered === "" || gone.signal.aborted) return;
    const text = gathered;
    gathered = "";
    if (!outgoing.write(text)) hasRoom = false;
  };
  return {
    gone: gone.signal,
    write(text) {
      gathered += text;
      if (gathered.length > gatheredCharactersMax) flush();
      else if (!isScheduled) {
        isScheduled = true;
        setImmediate(flush);
      }
      return hasRoom;
    },
    drained: () =>
      new Promise((resolve) => {
        if (hasRoom || gone.signal.aborted) return resolve();
        wake = resolve;
      }),
    end() {
      flush();
      outgoing.end();
    },
    destroy() {
      outgoing.destroy();
    },
  };
}
