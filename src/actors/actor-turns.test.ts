import assert from "node:assert/strict";
import { test } from "node:test";
import { InvariantError } from "../base/assert.ts";
import { encodeTuple } from "../base/tuple.ts";
import { actor, startNode } from "../../test/support/actor-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import { LimitError, storeLimits } from "../storage/store.ts";
import { ActivationLostError, type ActorType, type Turn } from "./actor.ts";

type Work = (turn: Turn, own: { field: number }) => Promise<unknown>;

/** An actor that does what each message says: the tests write its turns. */
const Anything: ActorType<Work, unknown> = {
  type: "anything",
  create: () => {
    const own = { field: 0 };
    return { receive: async (work, turn) => await work(turn, own), remind: async () => {} };
  },
};

const one = actor("anything");

const increment: Work = async (turn) => {
  const count = ((await turn.state.get<number>(["count"])) ?? 0) + 1;
  turn.state.set(["count"], count);
  return count;
};
const read: Work = async (turn) => (await turn.state.get<number>(["count"])) ?? 0;

test("A reply is the turn's, and what it wrote is there in a later activation", async () => {
  const first = await startNode([Anything]);
  assert.equal(await first.runtime.invoke(one, increment), 1);
  assert.equal(await first.runtime.invoke(one, increment), 2);
  await first.runtime[Symbol.asyncDispose]();
  const second = await startNode([Anything], { store: first.store, processes: first.processes });
  assert.equal(await second.runtime.invoke(one, read), 2);
});

test("Turns run one at a time, in the order of their messages (A2)", async () => {
  const { runtime } = await startNode([Anything]);
  const order: string[] = [];
  const say =
    (name: string): Work =>
    async () => {
      order.push(`${name} begins`);
      await settle();
      order.push(`${name} ends`);
    };
  await Promise.all(["a", "b", "c"].map((name) => runtime.invoke(one, say(name))));
  assert.deepEqual(order, ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
});

test("Different actors run their turns at the same time", async () => {
  const { runtime } = await startNode([Anything]);
  let release = (): void => {};
  const held = runtime.invoke(actor("anything", "slow"), async () => await new Promise<void>((resolve) => (release = resolve)));
  assert.equal(await runtime.invoke(actor("anything", "fast"), increment), 1);
  release();
  await held;
});

test("A turn that throws leaves no writes, and its caller gets the error (A3)", async () => {
  const { runtime, store } = await startNode([Anything]);
  await runtime.invoke(one, increment);
  const commits = store.batches.length;
  const failing: Work = async (turn) => {
    turn.state.set(["count"], 100);
    turn.state.delete(["other"]);
    turn.write({ kind: "set", key: encodeTuple(["test", "index"]), value: Uint8Array.of(1) });
    turn.remind("later", { due: 0 });
    throw new Error("No such luck");
  };
  await assert.rejects(runtime.invoke(one, failing), /No such luck/);
  assert.equal(store.batches.length, commits, "nothing was committed");
  assert.equal(await runtime.invoke(one, read), 1);
});

test("Turns pipeline through the commit: later ones run while a batch is on its way, and leave together", async () => {
  const { runtime, store } = await startNode([Anything]);
  await runtime.invoke(one, increment);
  const before = store.batches.length;
  store.hold();
  const replies: unknown[] = [];
  const invocations = Array.from({ length: 10 }, () => runtime.invoke(one, increment).then((reply) => replies.push(reply)));
  await settle();
  assert.equal(store.batches.length, before + 1, "one batch is on its way");
  assert.deepEqual(replies, [], "no reply leaves before its batch is durable (A4)");
  store.release();
  await Promise.all(invocations);
  assert.deepEqual(replies, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  assert.equal(store.batches.length, before + 2, "the other nine shared a batch");
  const rows = store.batches.at(-1)!.writes;
  assert.equal(rows.length, 2, "which writes the header, and the row once");
});

test("A reply that has seen the writes of a turn before it waits for them (A4)", async () => {
  const { runtime, store } = await startNode([Anything]);
  await runtime.invoke(one, increment);
  store.hold();
  const done: string[] = [];
  const write = runtime.invoke(one, increment).then(() => done.push("write"));
  const peek = runtime.invoke(one, read).then((count) => done.push(`read ${String(count)}`));
  const fail = runtime.invoke(one, async () => await Promise.reject(new Error("said no"))).catch(() => done.push("error"));
  await settle();
  assert.deepEqual(done, []);
  store.release();
  await Promise.all([write, peek, fail]);
  assert.deepEqual(done, ["write", "read 2", "error"]);
});

test("A turn that only reads commits nothing, except as the first one of its activation, which claims the actor", async () => {
  const { runtime, store } = await startNode([Anything]);
  const before = store.batches.length;
  assert.equal(await runtime.invoke(one, read), 0);
  assert.equal(store.batches.length, before + 1);
  for (let turn = 0; turn < 5; turn++) await runtime.invoke(one, read);
  assert.equal(store.batches.length, before + 1);
});

test("A first turn that throws claims the actor too, so that its error is the owner's", async () => {
  const { runtime, store } = await startNode([Anything]);
  const before = store.batches.length;
  await assert.rejects(runtime.invoke(one, async () => await Promise.reject(new Error("no"))));
  assert.equal(store.batches.length, before + 1);
});

test("A cold activation reads once, and a warm one does not read", async () => {
  const { runtime, store } = await startNode([Anything]);
  await settle();
  const before = store.reads;
  await runtime.invoke(one, async () => {});
  assert.equal(store.reads, before + 1);
  await runtime.invoke(one, increment);
  const afterFirstGet = store.reads;
  for (let turn = 0; turn < 5; turn++) await runtime.invoke(one, increment);
  assert.equal(store.reads, afterFirstGet, "a row that was read or written stays in memory");
});

test("turn.durable() resolves when what the turn has written so far is durable", async () => {
  const { runtime, store } = await startNode([Anything]);
  const seen: unknown[] = [];
  const work: Work = async (turn) => {
    turn.state.set(["a"], 1);
    await turn.durable();
    seen.push(store.batches.at(-1)!.writes.length);
    const committed = store.batches.length;
    await turn.durable();
    seen.push(store.batches.length - committed);
    turn.state.set(["b"], await turn.state.get(["a"]));
    throw new Error("after the durable part");
  };
  await assert.rejects(runtime.invoke(one, work), /after the durable part/);
  assert.deepEqual(seen, [2, 0], "the header and the row; then nothing that needs a commit");
  assert.equal(await runtime.invoke(one, async (turn: Turn) => await turn.state.get(["a"])), 1);
  assert.equal(await runtime.invoke(one, async (turn: Turn) => await turn.state.get(["b"])), undefined);
});

test("A turn whose last part fails after a durable one is not said to have left nothing", async () => {
  const { runtime, store, environment } = await startNode([Anything]);
  await runtime.invoke(one, increment);
  const work: Work = async (turn) => {
    turn.state.set(["a"], 1);
    await turn.durable();
    store.commitFault = () => "unavailable";
    turn.state.set(["b"], 2);
  };
  const rejected = assert.rejects(runtime.invoke(one, work), ActivationLostError);
  await environment.clock.advance(40_000);
  await rejected;
  store.commitFault = () => undefined;
  const rows = await runtime.invoke<unknown[]>(one, async (turn: Turn) => await turn.state.list([], { limit: 10 }));
  assert.equal(rows.length, 2, "the count and the first part");
});

test("turn.durable() waits for the turns before, and claims an actor that is not claimed yet", async () => {
  const { runtime, store } = await startNode([Anything]);
  await settle();
  const before = store.batches.length;
  await runtime.invoke(one, async (turn: Turn) => {
    await turn.durable();
    assert.equal(store.batches.length, before + 1);
  });
  store.hold();
  const write = runtime.invoke(one, increment);
  let isDurable = false;
  const waits = runtime.invoke(one, async (turn: Turn) => {
    await turn.durable();
    isDurable = true;
  });
  await settle();
  assert.equal(isDurable, false);
  store.release();
  await Promise.all([write, waits]);
  assert.equal(isDurable, true);
});

test("A turn that writes more than a batch can hold fails, leaves nothing, and others go on", async () => {
  const { runtime } = await startNode([Anything]);
  const value = "x".repeat(90_000);
  const large: Work = async (turn) => {
    for (let row = 0; row < 200; row++) turn.state.set(["row", row], value);
  };
  await assert.rejects(runtime.invoke(one, large), LimitError);
  assert.deepEqual(await runtime.invoke(one, async (turn: Turn) => await turn.state.list([], { limit: 10 })), []);
  await assert.rejects(
    runtime.invoke(one, async (turn: Turn) => turn.state.set(["row"], "x".repeat(storeLimits.valueBytes))),
    new RegExp(`at most ${storeLimits.valueBytes} bytes of JSON, not ${storeLimits.valueBytes + 2}`),
  );
  await assert.rejects(
    runtime.invoke(one, async (turn: Turn) => turn.state.set(["k".repeat(10_001)], 1)),
    /A key of anything\/one of project test has at most/,
  );
  await assert.rejects(
    runtime.invoke(one, async (turn: Turn) => turn.write({ kind: "set", key: encodeTuple(["test", "x"]), value: new Uint8Array(1e7) })),
    LimitError,
  );
  assert.equal(await runtime.invoke(one, increment), 1);
});

test("Turns that are large one by one do not share a batch, and all become durable", async () => {
  const { runtime, store } = await startNode([Anything]);
  await runtime.invoke(one, increment);
  const value = "x".repeat(90_000);
  const large =
    (name: number): Work =>
    async (turn) => {
      for (let row = 0; row < 60; row++) turn.state.set([name, row], value);
    };
  store.hold();
  const turns = [0, 1, 2, 3].map((name) => runtime.invoke(one, large(name)));
  await settle();
  store.release();
  await Promise.all(turns);
  for (const batch of store.batches) assert.ok(batch.writes.length <= 61, `${batch.writes.length} writes in a batch`);
  const rows = await runtime.invoke<unknown[]>(one, async (turn: Turn) => await turn.state.list([], { limit: 1_000 }));
  assert.equal(rows.length, 4 * 60 + 1);
});

test("A bug in a turn discards the activation and its fields; an error that is thrown on purpose does not", async () => {
  const { runtime, environment } = await startNode([Anything]);
  const bump: Work = async (_turn, own) => ++own.field;
  assert.equal(await runtime.invoke(one, bump), 1);
  await assert.rejects(
    runtime.invoke(one, async () => await Promise.reject(new Error("on purpose"))),
    /on purpose/,
  );
  assert.equal(await runtime.invoke(one, bump), 2);
  for (const bug of [new InvariantError("broken"), new TypeError("undefined is not a function"), new RangeError("too deep")]) {
    const failing = runtime.invoke(one, async () => await Promise.reject(bug));
    // It waits behind the bug, and runs on the fresh activation.
    const after = runtime.invoke(one, bump);
    await assert.rejects(failing, bug);
    assert.equal(await after, 1);
  }
  assert.equal(environment.count("actors.discarded"), 3);
});

test("A bug does not lose what the turns before it have written", async () => {
  const { runtime, store } = await startNode([Anything]);
  await runtime.invoke(one, increment);
  store.hold();
  const write = runtime.invoke(one, increment);
  const bug = runtime.invoke(one, async () => await Promise.reject(new TypeError("a bug")));
  const after = runtime.invoke(one, read);
  await settle();
  store.release();
  assert.equal(await write, 2);
  await assert.rejects(bug, TypeError);
  assert.equal(await after, 2);
});

test("A turn cannot be used after its end", async () => {
  const { runtime } = await startNode([Anything]);
  let kept: Turn | undefined;
  await runtime.invoke(one, async (turn: Turn) => void (kept = turn));
  assert.throws(() => kept!.state.set(["late"], 1), ActivationLostError);
  assert.throws(() => kept!.shared, ActivationLostError);
  assert.throws(() => kept!.remind("late", undefined), ActivationLostError);
  await assert.rejects(kept!.state.get(["count"]), ActivationLostError);
  await assert.rejects(kept!.durable(), ActivationLostError);
});

test("turn.write() refuses the actor's own rows, which live in memory too", async () => {
  const { runtime } = await startNode([Anything]);
  for (const key of [
    ["test", "state", "anything", "one", "count"],
    ["test", "header", "anything", "one"],
    ["test", "reminders", "anything", "one", "later"],
  ]) {
    const write: Work = async (turn) => turn.write({ kind: "set", key: encodeTuple(key), value: Uint8Array.of(1) });
    await assert.rejects(runtime.invoke(one, write), InvariantError, key.join("/"));
  }
  const range: Work = async (turn) => turn.write({ kind: "deleteRange", begin: encodeTuple(["test"]), end: encodeTuple(["tesu"]) });
  await assert.rejects(runtime.invoke(one, range), InvariantError);
  await runtime.invoke(one, async (turn: Turn) =>
    turn.write({ kind: "set", key: encodeTuple(["test", "states", "anything", "one", 1]), value: Uint8Array.of(1) }),
  );
});

test("What a turn changes in a value that it read is not kept", async () => {
  const { runtime } = await startNode([Anything]);
  await runtime.invoke(one, async (turn: Turn) => turn.state.set(["list"], [1]));
  await runtime.invoke(one, async (turn: Turn) => void (await turn.state.get<number[]>(["list"]))!.push(2));
  assert.deepEqual(await runtime.invoke(one, async (turn: Turn) => await turn.state.get(["list"])), [1]);
});
