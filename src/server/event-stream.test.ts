import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualEnvironment } from "../../test/support/manual-environment.ts";
import { eventStreamResponse } from "./body-sink.ts";
import { EventStream, keepAliveMilliseconds, pump, type Sink, slowReaderMilliseconds, type StreamEvent } from "./event-stream.ts";

/** A source whose events a test gives one by one. */
function openSource(): {
  readonly follow: EventStream["follow"];
  push(...events: StreamEvent[]): void;
  readonly ended: Promise<void>;
  pulls: number;
} {
  let wake: (() => void) | undefined;
  const waiting: StreamEvent[][] = [];
  const ended = Promise.withResolvers<void>();
  const source = {
    pulls: 0,
    ended: ended.promise,
    push(...events: StreamEvent[]) {
      waiting.push(events);
      wake?.();
    },
    async *follow(signal: AbortSignal): AsyncGenerator<readonly StreamEvent[]> {
      try {
        while (!signal.aborted) {
          source.pulls++;
          const next = waiting.shift();
          if (next !== undefined) yield next;
          else
            await new Promise<void>((resolve) => {
              wake = resolve;
              signal.addEventListener("abort", () => resolve());
            });
        }
      } finally {
        ended.resolve();
      }
    },
  };
  return source;
}

function message(seq: number, fields: { readonly message_type?: string; readonly last?: boolean } = {}): StreamEvent {
  return {
    seq,
    message: { message_type: fields.message_type ?? "assistant_message", content: `c${seq}` },
    ...(fields.last === true ? { last: true } : {}),
  };
}

/** A sink that keeps what it gets, with room only while `hasRoom`. */
function openSink(): Sink & {
  readonly written: string[];
  hasRoom: boolean;
  readonly state: { ended: boolean; destroyed: boolean };
  makeRoom(): void;
  leave(): void;
} {
  const gone = new AbortController();
  let wake: (() => void) | undefined;
  const sink = {
    written: [] as string[],
    hasRoom: true,
    state: { ended: false, destroyed: false },
    gone: gone.signal,
    write(text: string) {
      sink.written.push(text);
      return sink.hasRoom;
    },
    drained: () => new Promise<void>((resolve) => void (wake = resolve)),
    end: () => void (sink.state.ended = true),
    destroy: () => void (sink.state.destroyed = true),
    makeRoom() {
      sink.hasRoom = true;
      wake?.();
    },
    leave: () => gone.abort(),
  };
  return sink;
}

/** Lets everything that is ready run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
}

const never = new AbortController().signal;

test("Events are plain data lines with their number; an error has its name; [DONE] follows the last", async () => {
  const [environment, source, sink] = [new ManualEnvironment(), openSource(), openSink()];
  const pumped = pump(new EventStream({ follow: source.follow, runId: "run-1", after: 0, includePings: false }), sink, environment, never);
  source.push(message(1), message(2));
  await settle();
  source.push(message(3, { message_type: "stop_reason" }), message(4, { message_type: "error_message", last: true }));
  await pumped;
  assert.deepEqual(sink.written, [
    'data: {"message_type":"assistant_message","content":"c1","seq_id":1}\n\ndata: {"message_type":"assistant_message","content":"c2","seq_id":2}\n\n',
    'data: {"message_type":"stop_reason","content":"c3","seq_id":3}\n\nevent: error\ndata: {"message_type":"error_message","content":"c4","seq_id":4}\n\ndata: [DONE]\n\n',
  ]);
  assert.equal(sink.state.ended, true);
  await source.ended;
});

test("With pings a stream says hello with the run's id, and shows life after silence with the last number", async () => {
  const [environment, source, sink] = [new ManualEnvironment(), openSource(), openSink()];
  void pump(new EventStream({ follow: source.follow, runId: "run-1", after: 6, includePings: true }), sink, environment, never);
  await settle();
  assert.match(
    sink.written[0]!,
    /^data: \{"message_type":"ping","id":"ping-[^"]+","date":"[^"]+\+00:00","run_id":"run-1","seq_id":6\}\n\n$/,
  );
  await environment.clock.advance(keepAliveMilliseconds - 1);
  assert.equal(sink.written.length, 1);
  source.push(message(7));
  await settle();
  await environment.clock.advance(keepAliveMilliseconds - 1);
  assert.equal(sink.written.filter((text) => text.includes('"ping"')).length, 1, "an event a moment ago is life enough");
  await environment.clock.advance(keepAliveMilliseconds);
  assert.match(sink.written.at(-1)!, /"ping".*"seq_id":7/);
  sink.leave();
  await source.ended;
});

test("Without pings, life is shown as a comment", async () => {
  const [environment, source, sink] = [new ManualEnvironment(), openSource(), openSink()];
  void pump(new EventStream({ follow: source.follow, runId: "run-1", after: 0, includePings: false }), sink, environment, never);
  await settle();
  await environment.clock.advance(keepAliveMilliseconds);
  assert.deepEqual(sink.written, [": alive\n\n"]);
  sink.leave();
  await source.ended;
});

test("While a reader is slow nothing is pulled for it; it goes on when there is room", async () => {
  const [environment, source, sink] = [new ManualEnvironment(), openSource(), openSink()];
  sink.hasRoom = false;
  const pumped = pump(new EventStream({ follow: source.follow, runId: "run-1", after: 0, includePings: false }), sink, environment, never);
  source.push(message(1));
  await settle();
  const pulls = source.pulls;
  source.push(message(2, { last: true }));
  await settle();
  await environment.clock.advance(slowReaderMilliseconds - 1);
  assert.equal(source.pulls, pulls);
  assert.equal(sink.written.length, 1);
  sink.makeRoom();
  await pumped;
  assert.equal(sink.written.length, 2);
  assert.deepEqual(sink.state, { ended: true, destroyed: false });
});

test("A reader that takes nothing for a minute is dropped, and its source ends", async () => {
  const [environment, source, sink] = [new ManualEnvironment(), openSource(), openSink()];
  sink.hasRoom = false;
  const pumped = pump(new EventStream({ follow: source.follow, runId: "run-1", after: 0, includePings: false }), sink, environment, never);
  source.push(message(1));
  await settle();
  await environment.clock.advance(slowReaderMilliseconds);
  await pumped;
  assert.deepEqual(sink.state, { ended: false, destroyed: true });
  await source.ended;
});

test("A source that breaks ends the stream without [DONE], and the fault is logged", async () => {
  const [environment, sink] = [new ManualEnvironment(), openSink()];
  async function* follow(): AsyncGenerator<readonly StreamEvent[]> {
    yield [message(1)];
    throw new Error("the store is gone");
  }
  await pump(new EventStream({ follow, runId: "run-1", after: 0, includePings: false }), sink, environment, never);
  assert.equal(sink.state.ended, true);
  assert.doesNotMatch(sink.written.join(""), /DONE/);
  assert.equal(environment.logs[0]?.message, "An event stream broke");
});

test("As a body, a stream is pulled only as fast as it is read, and cancelling it ends its source", async () => {
  const [environment, source] = [new ManualEnvironment(), openSource()];
  const response = eventStreamResponse(
    new EventStream({ follow: source.follow, runId: "run-1", after: 0, includePings: false }),
    environment,
    never,
  );
  for (let seq = 1; seq <= 100; seq++) source.push(message(seq));
  await settle();
  await settle();
  assert.ok(source.pulls < 40, `${source.pulls} pulls`);
  const reader = response.body!.getReader();
  assert.match(new TextDecoder().decode((await reader.read()).value), /"seq_id":1\}/);
  await reader.cancel();
  await source.ended;
});

test("Closing the server ends a body without [DONE]", async () => {
  const [environment, source, closing] = [new ManualEnvironment(), openSource(), new AbortController()];
  const response = eventStreamResponse(
    new EventStream({ follow: source.follow, runId: "run-1", after: 0, includePings: false }),
    environment,
    closing.signal,
  );
  source.push(message(1));
  await settle();
  closing.abort();
  assert.equal(await response.text(), 'data: {"message_type":"assistant_message","content":"c1","seq_id":1}\n\n');
});
