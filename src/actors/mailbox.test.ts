import assert from "node:assert/strict";
import { test } from "node:test";
import { actor, startNode } from "../../test/support/actor-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import { LimitError } from "../storage/store.ts";
import { ActorMessageError, type ActorType, CancelledError, DeadlineExceededError, MailboxFullError, type Turn } from "./actor.ts";
import { estimateBytes } from "./message-size.ts";

type Message = string | { readonly run: (turn: Turn) => Promise<unknown> };

/** Handles texts at once and remembers them; runs what it is given. */
function recorder(handled: string[]): ActorType<Message, unknown> {
  return {
    type: "recorder",
    create: () => ({
      receive: async (message, turn) => (typeof message === "string" ? handled.push(message) : await message.run(turn)),
    }),
  };
}
const one = actor("recorder");

/** Occupies an actor until it is released. */
function occupation(): { readonly message: Message; readonly release: () => void; readonly signal: () => AbortSignal } {
  let release = (): void => {};
  let signal: AbortSignal | undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const run = async (turn: Turn): Promise<void> => {
    signal = turn.signal;
    await released;
  };
  return { message: { run }, release, signal: () => signal! };
}

test("A full mailbox refuses at once, with a hint when to try again, and loses nothing that it took", async () => {
  const handled: string[] = [];
  const { runtime, environment } = await startNode([recorder(handled)], { limits: { mailboxMessages: 3 } });
  const { message, release } = occupation();
  const first = runtime.invoke(one, message);
  await settle();
  const waiting = ["a", "b", "c"].map((text) => runtime.invoke(one, text));
  await assert.rejects(runtime.invoke(one, "d"), (error) => {
    assert.ok(error instanceof MailboxFullError);
    assert.equal(error.message, "Cannot deliver to recorder/one of project test: 3 messages are waiting");
    assert.ok(error.retryAfterMilliseconds > 0);
    return true;
  });
  release();
  await Promise.all([first, ...waiting]);
  await runtime.invoke(one, "d");
  assert.deepEqual(handled, ["a", "b", "c", "d"]);
  assert.equal(environment.count("actors.mailboxFull"), 1);
});

test("The bytes of what waits are bounded too", async () => {
  const { runtime } = await startNode([recorder([])], { limits: { mailboxBytes: 10_000 } });
  const { message, release } = occupation();
  const first = runtime.invoke(one, message);
  await settle();
  const waiting = [runtime.invoke(one, "x".repeat(3_000))];
  await assert.rejects(runtime.invoke(one, "x".repeat(3_000)), MailboxFullError);
  await assert.rejects(runtime.invoke(one, "x".repeat(6_000)), LimitError);
  waiting.push(runtime.invoke(one, "x".repeat(1_000)));
  release();
  await Promise.all([first, ...waiting]);
});

test("Messages that were dropped take no room", async () => {
  const { runtime, environment } = await startNode([recorder([])], { limits: { mailboxMessages: 2 } });
  const { message, release } = occupation();
  const first = runtime.invoke(one, message);
  await settle();
  for (let round = 0; round < 5; round++) {
    const waiting = [1, 2].map(() => runtime.invoke(one, "late", { timeoutMilliseconds: 10 }));
    const outcomes = Promise.allSettled(waiting);
    await environment.clock.advance(10);
    for (const outcome of await outcomes) assert.equal(outcome.status, "rejected");
  }
  release();
  await first;
});

test("An actor's own turns find room in a mailbox that callers have filled", async () => {
  let own: Promise<string> | undefined;
  const type: ActorType<Message, unknown> = {
    type: "recorder",
    create: (activation) => ({
      receive: async (message, turn) => {
        if (typeof message === "string") return message;
        await message.run(turn);
        own = activation.turn(async () => "done");
      },
    }),
  };
  const { runtime } = await startNode([type], { limits: { mailboxMessages: 2 } });
  const { message, release } = occupation();
  const first = runtime.invoke(one, message);
  await settle();
  const waiting = ["a", "b"].map((text) => runtime.invoke(one, text));
  release();
  await Promise.all([first, ...waiting]);
  assert.equal(await own, "done");
});

test("A message whose time runs out while it waits never runs", async () => {
  const handled: string[] = [];
  const { runtime, environment } = await startNode([recorder(handled)]);
  const { message, release } = occupation();
  const first = runtime.invoke(one, message);
  await settle();
  const late = assert.rejects(runtime.invoke(one, "late", { timeoutMilliseconds: 50 }), (error) => {
    assert.ok(error instanceof DeadlineExceededError);
    assert.equal(error.started, false);
    assert.match(error.message, /No reply of recorder\/one of project test within 50 ms: its turn had not started/);
    return true;
  });
  await environment.clock.advance(50);
  await late;
  release();
  await first;
  await runtime.invoke(one, "after");
  assert.deepEqual(handled, ["after"]);
});

test("A turn that runs over its time is told through its signal; its caller does not wait for it, and others do", async () => {
  const handled: string[] = [];
  const { runtime, environment } = await startNode([recorder(handled)]);
  const { message, release, signal } = occupation();
  const slow = assert.rejects(
    runtime.invoke(one, message, { timeoutMilliseconds: 50 }),
    (error) => error instanceof DeadlineExceededError && error.started,
  );
  const next = runtime.invoke(one, "next");
  await environment.clock.advance(49);
  assert.equal(signal().aborted, false);
  await environment.clock.advance(1);
  await slow;
  assert.ok(signal().reason instanceof DeadlineExceededError);
  assert.deepEqual(handled, []);
  release();
  await next;
  assert.deepEqual(handled, ["next"]);
});

test("A reply that comes in time leaves no timer behind", async () => {
  const { runtime, environment } = await startNode([recorder([])]);
  await runtime.invoke(one, "a");
  const { timers } = environment.clock;
  for (let each = 0; each < 10; each++) await runtime.invoke(one, "a");
  assert.equal(environment.clock.timers, timers);
});

test("cancel() drops the messages that wait and aborts the running turn, without waiting for the mailbox", async () => {
  const handled: string[] = [];
  const { runtime } = await startNode([recorder(handled)]);
  assert.equal(runtime.cancel(one, "nothing there"), false);
  const running = runtime.invoke(one, {
    run: async (turn: Turn) =>
      await new Promise((_, reject) => turn.signal.addEventListener("abort", () => reject(turn.signal.reason as Error))),
  });
  const waiting = runtime.invoke(one, "waiting");
  await settle();
  assert.equal(runtime.cancel(one, "the user stopped it"), true);
  for (const promise of [running, waiting])
    await assert.rejects(promise, (error) => error instanceof CancelledError && error.message === "the user stopped it");
  await runtime.invoke(one, "after");
  assert.deepEqual(handled, ["after"]);
});

test("A cancelled turn that goes on regardless answers as usual", async () => {
  const { runtime } = await startNode([recorder([])]);
  const { message, release } = occupation();
  const running = runtime.invoke(one, message);
  await settle();
  runtime.cancel(one, "please");
  release();
  assert.equal(await running, undefined);
});

test("A caller's signal drops its message while it waits, and aborts its turn once it runs", async () => {
  const handled: string[] = [];
  const { runtime } = await startNode([recorder(handled)]);
  const { message, release, signal } = occupation();
  const [runs, waits] = [new AbortController(), new AbortController()];
  const running = runtime.invoke(one, message, { signal: runs.signal });
  const waiting = runtime.invoke(one, "waiting", { signal: waits.signal });
  await settle();
  waits.abort();
  await assert.rejects(waiting, CancelledError);
  assert.equal(signal().aborted, false);
  runs.abort();
  assert.ok(signal().reason instanceof CancelledError);
  release();
  await running;
  await assert.rejects(runtime.invoke(one, "never", { signal: AbortSignal.abort() }), CancelledError);
  assert.deepEqual(handled, []);
});

for (const timeoutMilliseconds of [0, -1, Number.NaN, Infinity, 86_400_001]) {
  test(`A time of ${timeoutMilliseconds} ms is refused`, async () => {
    const { runtime } = await startNode([recorder([])]);
    await assert.rejects(runtime.invoke(one, "a", { timeoutMilliseconds }), ActorMessageError);
  });
}

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
for (const [what, message, low, high] of [
  ["undefined", undefined, 8, 8],
  ["a number", 5, 8, 8],
  ["a text", "x".repeat(100), 208, 208],
  ["an object", { name: "x".repeat(10), list: [1, 2, 3] }, 80, 150],
  ["bytes", new Uint8Array(1_000), 1_008, 1_008],
  ["a cyclic object", cyclic, 10_001, 11_000],
  ["a huge array", Array.from({ length: 1_000_000 }), 10_001, 1e8],
] as const) {
  test(`The size of ${what} is estimated`, () => {
    const bytes = estimateBytes(message, 10_000);
    assert.ok(bytes >= low && bytes <= high, `${bytes} bytes`);
  });
}
