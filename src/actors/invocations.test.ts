import assert from "node:assert/strict";
import { test } from "node:test";
import { tupleRange } from "../base/tuple.ts";
import { actor, startNode } from "../../test/support/actor-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import type { Store } from "../storage/store.ts";
import { ActivationLostError, type ActorType, InvocationIdReusedError, ReplyNotKeptError } from "./actor.ts";
import { dedupPrefix } from "./actor-rows.ts";
import { deduplicationMilliseconds } from "./limits.ts";

type Message = { readonly add: number; readonly reply?: string; readonly fail?: boolean } | "read";

const Counter: ActorType<Message, unknown> = {
  type: "counter",
  create: () => ({
    receive: async (message, turn) => {
      const count = (await turn.state.get<number>(["count"])) ?? 0;
      if (message === "read") return count;
      turn.state.set(["count"], count + message.add);
      if (message.fail === true) throw new Error("failed on purpose");
      return message.reply ?? { count: count + message.add };
    },
  }),
};
const one = actor("counter");
const add = { add: 1 };

async function records(store: Store): Promise<number> {
  const [answer] = await store.read([{ ...tupleRange(dedupPrefix(one)), limit: 1_000 }]);
  return answer!.length;
}

test("An invocation with an id takes effect once, and its repeats get its reply (A5)", async () => {
  const { runtime, environment } = await startNode([Counter]);
  for (let attempt = 0; attempt < 3; attempt++) assert.deepEqual(await runtime.invoke(one, add, { invocationId: "a" }), { count: 1 });
  assert.deepEqual(await runtime.invoke(one, add, { invocationId: "b" }), { count: 2 });
  assert.equal(await runtime.invoke(one, "read"), 2);
  assert.equal(environment.count("actors.duplicate"), 2);
});

test("A repeat that comes while the first is on its way waits for it", async () => {
  const { runtime, store } = await startNode([Counter]);
  await runtime.invoke(one, "read");
  store.hold();
  const replies: unknown[] = [];
  const invocations = Array.from({ length: 5 }, () => runtime.invoke(one, add, { invocationId: "a" }).then((reply) => replies.push(reply)));
  await settle();
  assert.deepEqual(replies, []);
  store.release();
  await Promise.all(invocations);
  assert.deepEqual(
    replies,
    Array.from({ length: 5 }, () => ({ count: 1 })),
  );
});

test("A repeat after a restart, on the node that took over, gets the reply of the first", async () => {
  const store = new MemoryStore();
  const first = await startNode([Counter], { store });
  await first.runtime.invoke(one, add, { invocationId: "a" });
  first.kill();
  const second = await startNode([Counter], { store, processes: first.processes });
  assert.deepEqual(await second.runtime.invoke(one, add, { invocationId: "a" }), { count: 1 });
  assert.equal(await second.runtime.invoke(one, "read"), 1);
});

test("A retry after a commit that was applied and whose answer was lost does not take effect again", async () => {
  const store = new MemoryStore();
  const first = await startNode([Counter], { store });
  await first.runtime.invoke(one, "read");
  first.store.commitFault = () => "unknownApplied";
  const lost = Promise.allSettled([first.runtime.invoke(one, add, { invocationId: "a" })]);
  await first.environment.clock.advance(59_000);
  const [result] = await lost;
  assert.ok(result.status === "rejected" && result.reason instanceof ActivationLostError);
  first.kill();
  const second = await startNode([Counter], { store, processes: first.processes });
  assert.deepEqual(await second.runtime.invoke(one, add, { invocationId: "a" }), { count: 1 });
});

test("An invocation that threw left nothing, and a retry runs it", async () => {
  const { runtime } = await startNode([Counter]);
  await assert.rejects(runtime.invoke(one, { add: 5, fail: true }, { invocationId: "a" }), /failed on purpose/);
  assert.equal(await runtime.invoke(one, "read"), 0);
  assert.deepEqual(await runtime.invoke(one, { add: 5 }, { invocationId: "a" }), { count: 5 });
});

test("An id that comes again with a different message is refused, and nothing runs", async () => {
  const { runtime } = await startNode([Counter]);
  await runtime.invoke(one, add, { invocationId: "a" });
  await assert.rejects(
    runtime.invoke(one, { add: 2 }, { invocationId: "a" }),
    (error) => error instanceof InvocationIdReusedError && /Invocation a of counter\/one .* different message/.test(error.message),
  );
  assert.equal(await runtime.invoke(one, "read"), 1);
});

test("Many invocations that wait together are looked up in one read", async () => {
  const { runtime, store } = await startNode([Counter]);
  await runtime.invoke(one, add, { invocationId: "first" });
  const before = store.reads;
  await Promise.all(Array.from({ length: 50 }, (_, each) => runtime.invoke(one, add, { invocationId: `${each % 25}` })));
  assert.equal(await runtime.invoke(one, "read"), 26);
  assert.ok(store.reads - before <= 3, `${store.reads - before} reads`);
});

test("An actor that was never called with an id is not looked up", async () => {
  const { runtime, store } = await startNode([Counter]);
  await runtime.invoke(one, add);
  const before = store.reads;
  await runtime.invoke(one, add, { invocationId: "a" });
  assert.equal(store.reads, before);
});

for (const reply of [undefined, null, "", "text", 0, false, [1, { a: null }], { nested: { list: [] } }]) {
  test(`A repeat gets the reply ${JSON.stringify(reply)}`, async () => {
    const type: ActorType<null, unknown> = { type: "echo", create: () => ({ receive: async () => reply }) };
    const { runtime } = await startNode([type]);
    const options = { invocationId: "a" };
    assert.deepEqual(await runtime.invoke(actor("echo"), null, options), reply);
    assert.deepEqual(await runtime.invoke(actor("echo"), null, options), reply);
  });
}

test("A reply that is too large to keep is given once, and its repeat is told so", async () => {
  const { runtime } = await startNode([Counter]);
  const message = { add: 1, reply: "x".repeat(70_000) };
  assert.equal(((await runtime.invoke(one, message, { invocationId: "a" })) as string).length, 70_000);
  await assert.rejects(
    runtime.invoke(one, message, { invocationId: "a" }),
    (error) => error instanceof ReplyNotKeptError && /70002 bytes/.test(error.message),
  );
  assert.equal(await runtime.invoke(one, "read"), 1);
});

test("A record lives for at least fifteen minutes, and is removed after at most thirty", async () => {
  const { runtime, store, environment } = await startNode([Counter]);
  const { clock } = environment;
  await clock.advance(deduplicationMilliseconds - 1);
  await runtime.invoke(one, add, { invocationId: "a" });
  await clock.advance(deduplicationMilliseconds);
  assert.deepEqual(await runtime.invoke(one, add, { invocationId: "a" }), { count: 1 });
  await clock.advance(deduplicationMilliseconds);
  await runtime.invoke(one, add);
  assert.equal(await records(store), 0);
  assert.deepEqual(await runtime.invoke(one, add, { invocationId: "a" }), { count: 3 });
});

test("Old records are removed when the actor is activated again", async () => {
  const store = new MemoryStore();
  const first = await startNode([Counter], { store });
  await first.runtime.invoke(one, add, { invocationId: "a" });
  await first.runtime[Symbol.asyncDispose]();
  const second = await startNode([Counter], { store, processes: first.processes });
  second.environment.clock.jump(400 * deduplicationMilliseconds);
  assert.equal(await second.runtime.invoke(one, "read"), 1);
  assert.equal(await records(store), 0);
});

test("A wall clock that is a day ahead does not make records die early, at whichever node", async () => {
  const store = new MemoryStore();
  const dayMilliseconds = 86_400_000;
  let node = await startNode([Counter], { store });
  node.environment.clock.jump(-dayMilliseconds);
  await node.runtime.invoke(one, add, { invocationId: "a" });
  for (const invocationId of ["b", "c"]) {
    await node.runtime[Symbol.asyncDispose]();
    node = await startNode([Counter], { store, processes: node.processes });
    node.environment.clock.jump(dayMilliseconds);
    await node.runtime.invoke(one, add, { invocationId });
  }
  assert.deepEqual(await node.runtime.invoke(one, add, { invocationId: "a" }), { count: 1 });
  assert.equal(await node.runtime.invoke(one, "read"), 3);
});

test("Records of an actor that is called again and again are in two buckets at most", async () => {
  const { runtime, store, environment } = await startNode([Counter]);
  const counts: number[] = [];
  for (let at = 0; at < 12; at++) {
    await runtime.invoke(one, add, { invocationId: `${at}` });
    counts.push(await records(store));
    await environment.clock.advance(deduplicationMilliseconds / 2);
  }
  assert.deepEqual(counts, [1, 2, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4]);
});

test("A wall clock that jumps back does not make records die early", async () => {
  const { runtime, environment } = await startNode([Counter]);
  await runtime.invoke(one, add, { invocationId: "a" });
  environment.clock.jump(-10 * deduplicationMilliseconds);
  await runtime.invoke(one, add, { invocationId: "b" });
  for (const invocationId of ["a", "b"]) await runtime.invoke(one, add, { invocationId });
  assert.equal(await runtime.invoke(one, "read"), 2);
});

for (const invocationId of ["", "x".repeat(201), "\ud800"]) {
  test(`The invocation id ${JSON.stringify(invocationId.slice(0, 10))} of ${invocationId.length} characters is refused`, async () => {
    const { runtime } = await startNode([Counter]);
    await assert.rejects(runtime.invoke(one, add, { invocationId }), /An invocation id has 1 to 200 well-formed characters/);
  });
}

test("A message with an id that is not JSON is refused, as its repeat could not be recognised", async () => {
  const { runtime } = await startNode([Counter]);
  await assert.rejects(runtime.invoke(one, { add: 1n }, { invocationId: "a" }), /is not JSON/);
});
