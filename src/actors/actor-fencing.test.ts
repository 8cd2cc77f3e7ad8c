import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeJson } from "../base/json.ts";
import { actor, startNode } from "../../test/support/actor-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { type Batch, type CommitOutcome, CommitUnknownError, StoreUnavailableError } from "../storage/store.ts";
import { ActivationLostError, ActorElsewhereError, type ActorType, type Turn } from "./actor.ts";
import { type Header, headerKey } from "./actor-rows.ts";

type Work = (turn: Turn) => Promise<unknown>;

const Anything: ActorType<Work, unknown> = {
  type: "anything",
  create: () => ({ receive: async (work, turn) => await work(turn) }),
};
const one = actor("anything");
const increment: Work = async (turn) => {
  const count = ((await turn.state.get<number>(["count"])) ?? 0) + 1;
  turn.state.set(["count"], count);
  return count;
};
const read: Work = async (turn) => (await turn.state.get<number>(["count"])) ?? 0;

async function headerOf(store: MemoryStore): Promise<Header> {
  const [answer] = await store.read([{ key: headerKey(one) }]);
  return decodeJson<Header>(answer![0]!.value);
}

test("An actor of another node that is alive is refused with a message that names the node", async () => {
  const first = await startNode([Anything]);
  await first.runtime.invoke(one, increment);
  const second = await startNode([Anything], { store: first.store, processes: first.processes });
  await assert.rejects(second.runtime.invoke(one, read), (error) => {
    assert.ok(error instanceof ActorElsewhereError);
    assert.match(error.message, /anything\/one of project test is held by node test-host:[0-9]+:[0-9a-f]{8}, which is alive/);
    return true;
  });
  assert.equal(second.runtime.live, 0);
});

test("An actor of a process that is dead is taken over at once, with the next epoch", async () => {
  const store = new MemoryStore();
  const first = await startNode([Anything], { store });
  await first.runtime.invoke(one, increment);
  const before = await headerOf(store);
  const second = await startNode([Anything], { store, processes: first.processes });
  first.kill();
  assert.equal(await second.runtime.invoke(one, increment), 2);
  const after = await headerOf(store);
  assert.equal(after.epoch, before.epoch + 1);
  assert.equal(after.ver, before.ver + 1);
  assert.notEqual(after.owner, before.owner);
  assert.equal(second.environment.count("actors.takenOver"), 1);
});

test("An actor of a node that has left in good order is taken over", async () => {
  const store = new MemoryStore();
  const first = await startNode([Anything], { store });
  await first.runtime.invoke(one, increment);
  const second = await startNode([Anything], { store, processes: first.processes });
  await first.runtime[Symbol.asyncDispose]();
  assert.equal(await second.runtime.invoke(one, increment), 2);
});

test("An activation that was taken over cannot commit, and its callers learn that it is lost (A1)", async () => {
  const store = new MemoryStore();
  const first = await startNode([Anything], { store });
  await first.runtime.invoke(one, increment);
  // The process is only thought to be dead: it goes on.
  const second = await startNode([Anything], { store });
  assert.equal(await second.runtime.invoke(one, increment), 2);
  first.store.hold();
  const stale = first.runtime.invoke(one, increment);
  const pipelined = first.runtime.invoke(one, increment);
  await settle();
  first.store.release();
  await assert.rejects(stale, ActivationLostError);
  await assert.rejects(pipelined, ActivationLostError);
  assert.equal(first.environment.count("actors.fenced"), 1);
  assert.equal(await second.runtime.invoke(one, read), 2, "nothing of the stale turns is there");
});

test("A message that had not started when its activation was fenced runs on a fresh one", async () => {
  const store = new MemoryStore();
  const first = await startNode([Anything], { store });
  await first.runtime.invoke(one, increment);
  const second = await startNode([Anything], { store });
  await second.runtime.invoke(one, increment);
  second.kill();
  let release = (): void => {};
  const stale = first.runtime.invoke(one, async (turn: Turn) => {
    turn.state.set(["count"], 100);
    await turn.durable().catch(() => {});
    await new Promise<void>((resolve) => (release = resolve));
  });
  const waiting = [first.runtime.invoke(one, increment), first.runtime.invoke(one, increment)];
  await assert.rejects(stale, ActivationLostError);
  // The first node believes that the second has it, which is only known to the second's processes.
  const results = await Promise.allSettled(waiting);
  for (const result of results) assert.equal(result.status === "rejected" && result.reason instanceof ActorElsewhereError, false);
  assert.deepEqual(
    results.map((result) => result.status === "fulfilled" && result.value),
    [3, 4],
  );
  release();
});

test("Two nodes that claim at once: one of them gets the actor", async () => {
  const store = new MemoryStore();
  const nodes = await Promise.all([startNode([Anything], { store }), startNode([Anything], { store })]);
  const results = await Promise.allSettled(nodes.map((node) => node.runtime.invoke(one, increment)));
  assert.deepEqual(results.map((result) => result.status).sort(), ["fulfilled", "rejected"]);
  const refused = results.find((result) => result.status === "rejected")!;
  assert.ok(refused.reason instanceof ActivationLostError);
});

test("The first messages to an actor share one activation", async () => {
  const { runtime, store } = await startNode([Anything]);
  await settle();
  const reads = store.reads;
  await Promise.all(Array.from({ length: 20 }, () => runtime.invoke(one, async () => {})));
  assert.equal(store.reads, reads + 1);
  assert.equal((await headerOf(store as unknown as MemoryStore)).epoch, 1);
});

test("Every batch checks and writes the header, whose version grows by one and whose epoch stays", async () => {
  const { runtime, store } = await startNode([Anything]);
  for (let turn = 0; turn < 5; turn++) await runtime.invoke(one, increment);
  const batches = store.batches.slice(1);
  assert.deepEqual(
    batches.map((batch) => headerIn(batch)),
    batches.map((batch, index) => {
      const { owner, at } = headerIn(batch);
      return { owner, epoch: 1, ver: index + 1, lastBatch: batch.id, schema: 1, at };
    }),
  );
  for (const batch of batches) assert.deepEqual(Buffer.from(batch.checks[0]!.key), Buffer.from(headerKey(one)));
});

test("A header of a newer schema is left alone", async () => {
  const { runtime, store } = await startNode([Anything]);
  const header = { owner: "x", epoch: 1, ver: 1, lastBatch: "b", schema: 2 };
  await store.commit({
    id: "newer",
    checks: [],
    writes: [{ kind: "set", key: headerKey(one), value: Buffer.from(JSON.stringify(header)) }],
  });
  await assert.rejects(runtime.invoke(one, increment), /newer Kelpie \(schema 2\): update this node/);
});

for (const [faults, probe] of [
  [["unknownApplied"], "actors.unknownSettled"],
  [["unknownLost"], "actors.unknownSettled"],
  [["unknownLost", "unavailable", "unknownApplied", "unavailable"], "actors.unknownSettled"],
  [["unavailable", "unavailable"], "actors.storeUnavailable"],
] as const) {
  test(`A commit that fares ${faults.join(", ")} is settled by the same batch, and takes effect once`, async () => {
    const { runtime, store, environment } = await startNode([Anything]);
    await runtime.invoke(one, increment);
    const before = store.batches.length;
    store.failNext(...faults);
    const invocation = runtime.invoke(one, increment);
    await environment.clock.advance(30_000);
    assert.equal(await invocation, 2);
    const ids = new Set(store.batches.slice(before).map((batch) => batch.id));
    assert.equal(ids.size, 1, "the very same batch");
    assert.ok(environment.count(probe) > 0);
    assert.equal(await runtime.invoke(one, increment), 3);
  });
}

test("A store that stays unavailable fails the turns with what is known, and a later message starts afresh", async () => {
  const { runtime, store, environment } = await startNode([Anything]);
  await runtime.invoke(one, increment);
  store.commitFault = () => "unavailable";
  const failing = [runtime.invoke(one, increment), runtime.invoke(one, increment), runtime.invoke(one, read)];
  const outcomes = Promise.allSettled(failing);
  await environment.clock.advance(40_000);
  for (const outcome of await outcomes) {
    assert.equal(outcome.status, "rejected");
    assert.ok(outcome.status === "rejected" && outcome.reason instanceof StoreUnavailableError);
  }
  store.commitFault = () => undefined;
  assert.equal(await runtime.invoke(one, read), 1);
});

test("A commit whose outcome stays unknown loses the activation; what the store says afterwards is true", async () => {
  const { runtime, store, environment } = await startNode([Anything]);
  await runtime.invoke(one, increment);
  store.commitFault = () => "unknownApplied";
  const outcome = Promise.allSettled([runtime.invoke(one, increment)]);
  await environment.clock.advance(59_000);
  const [result] = await outcome;
  assert.ok(result.status === "rejected" && result.reason instanceof ActivationLostError);
  assert.match(result.reason.message, /took effect is unknown/);
  store.commitFault = () => undefined;
  assert.equal(await runtime.invoke(one, read), 2);
});

test("A store that has forgotten a batch does not make it look lost: the header says that it was applied", async () => {
  const forgetful = new (class extends MemoryStore {
    lose = false;
    override async commit(batch: Batch): Promise<CommitOutcome> {
      if (!this.lose) return await super.commit(batch);
      this.lose = false;
      await super.commit(batch);
      const [header, ...others] = batch.checks;
      const again = await super.commit({ ...batch, id: "forgotten", checks: [header!, ...others] });
      assert.equal(again.ok, false);
      this.answer = again;
      throw new CommitUnknownError("The answer was lost");
    }
    answer: CommitOutcome | undefined;
  })();
  const { runtime, store, environment } = await startNode([Anything], { store: forgetful });
  await runtime.invoke(one, increment);
  forgetful.lose = true;
  // The second attempt is answered from the checks, as by a store that does not know the batch any more.
  const commit = store.commit.bind(store);
  let attempts = 0;
  store.commit = async (batch) => (++attempts === 2 ? forgetful.answer! : await commit(batch));
  const invocation = runtime.invoke(one, increment);
  await environment.clock.advance(5_000);
  assert.equal(await invocation, 2);
  assert.equal(await runtime.invoke(one, increment), 3);
});

test("A store that cannot be read refuses the messages that wait, and the next one tries again", async () => {
  const { runtime, store } = await startNode([Anything]);
  store.readFault = () => true;
  const outcomes = await Promise.allSettled([runtime.invoke(one, read), runtime.invoke(one, read)]);
  for (const outcome of outcomes) assert.ok(outcome.status === "rejected" && outcome.reason instanceof StoreUnavailableError);
  assert.equal(runtime.live, 0);
  store.readFault = () => false;
  assert.equal(await runtime.invoke(one, read), 0);
});

function headerIn(batch: Batch): Header {
  const write = batch.writes[0]!;
  assert.ok(write.kind === "set");
  return decodeJson<Header>(write.value);
}
