/** What a node's actors do so that several nodes can share them: leases, moves, shares of the reminders. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeJson, encodeJson } from "../base/json.ts";
import { actor } from "../../test/support/actor-node.ts";
import { FaultyStore } from "../../test/support/faulty-store.ts";
import { ManualEnvironment, settle } from "../../test/support/manual-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import type { Store } from "../storage/store.ts";
import { type Activation, ActivationLostError, ActorElsewhereError, ActorsStoppedError, type ActorType, type Turn } from "./actor.ts";
import { ActorRuntime } from "./actor-runtime.ts";
import { type Header, headerKey, reminderSlot } from "./actor-rows.ts";
import type { Placement } from "./placement.ts";
import type { NodeSharing } from "./services.ts";

type Work = (turn: Turn, activation: Activation) => Promise<unknown>;

const Anything: ActorType<Work, unknown> = {
  type: "anything",
  create: (activation) => ({
    receive: async (work, turn) => await work(turn, activation),
    remind: async () => {},
    handOver: () => ({ warm: activation.id.key }),
  }),
};
const one = actor("anything");
const increment: Work = async (turn) => {
  const count = ((await turn.state.get<number>(["count"])) ?? 0) + 1;
  turn.state.set(["count"], count);
  return count;
};
const read: Work = async (turn) => (await turn.state.get<number>(["count"])) ?? 0;

/** Nodes that live, and hold their lease, as a test says. */
class TestPlacement implements Placement {
  static readonly alive: Set<string> = new Set();
  readonly node: string;
  holdsLease = true;
  readonly schema = { readable: 1, writable: 1 };

  constructor(node: string) {
    this.node = node;
  }

  async join(): Promise<void> {
    TestPlacement.alive.add(this.node);
  }

  async leave(): Promise<void> {
    TestPlacement.alive.delete(this.node);
  }

  async isAlive(node: string): Promise<boolean> {
    return TestPlacement.alive.has(node);
  }
}

let nodes = 0;

async function start(options: { readonly store?: Store; readonly sharing?: NodeSharing } = {}): Promise<{
  readonly runtime: ActorRuntime;
  readonly placement: TestPlacement;
  readonly store: FaultyStore;
  readonly environment: ManualEnvironment;
}> {
  const environment = new ManualEnvironment(500 + ++nodes);
  const store = new FaultyStore(options.store ?? new MemoryStore());
  const placement = new TestPlacement(`node-${nodes}`);
  const runtime = new ActorRuntime({
    store,
    environment,
    placement,
    ...(options.sharing === undefined ? {} : { sharing: options.sharing }),
  });
  runtime.register(Anything);
  await runtime.start();
  return { runtime, placement, store, environment };
}

async function headerOf(store: Store): Promise<Header> {
  const [answer] = await store.read([{ key: headerKey(one) }]);
  return decodeJson<Header>(answer![0]!.value);
}

async function changeHeader(store: Store, change: (header: Header) => Header): Promise<void> {
  const header = change(await headerOf(store));
  await store.commit({ id: `change ${header.ver}`, checks: [], writes: [{ kind: "set", key: headerKey(one), value: encodeJson(header) }] });
}

test("While the lease is held, an answer from memory reads nothing; without it, it reads the header (L5)", async () => {
  const { runtime, placement, store, environment } = await start();
  await runtime.invoke(one, increment);
  const { reads } = store;
  assert.equal(await runtime.invoke(one, read), 1);
  assert.equal(store.reads, reads);
  placement.holdsLease = false;
  assert.equal(await runtime.invoke(one, read), 1);
  assert.equal(store.reads, reads + 1);
  assert.equal(environment.count("actors.validated"), 1);
});

test("Without its lease, an activation that another has replaced answers no read, and says that nothing happened", async () => {
  const memory = new MemoryStore();
  const first = await start({ store: memory });
  await first.runtime.invoke(one, increment);
  TestPlacement.alive.delete(first.placement.node);
  const second = await start({ store: memory });
  assert.equal(await second.runtime.invoke(one, increment), 2);
  first.placement.holdsLease = false;
  await assert.rejects(first.runtime.invoke(one, read), (error) => error instanceof ActivationLostError && error.tookNoEffect);
  await assert.rejects(
    first.runtime.invoke(one, read),
    (error) => error instanceof ActorElsewhereError && error.owner === second.placement.node,
  );
});

test("A commit that was refused at once took no effect; one whose answer was lost before may have", async () => {
  for (const [fault, tookNoEffect] of [
    [undefined, true],
    ["unknownLost", false],
  ] as const) {
    const memory = new MemoryStore();
    const { runtime, store, environment } = await start({ store: memory });
    await runtime.invoke(one, increment);
    await changeHeader(memory, (header) => ({ ...header, epoch: header.epoch + 1, ver: header.ver + 1, lastBatch: "another" }));
    store.failNext(fault);
    const outcome = assert.rejects(
      runtime.invoke(one, increment),
      (error) => error instanceof ActivationLostError && error.tookNoEffect === tookNoEffect,
    );
    await environment.clock.advance(1_000);
    await outcome;
  }
});

test("A turn that had a durable part is not said to have taken no effect", async () => {
  const memory = new MemoryStore();
  const { runtime } = await start({ store: memory });
  const work: Work = async (turn) => {
    turn.state.set(["part"], 1);
    await turn.durable();
    await changeHeader(memory, (header) => ({ ...header, epoch: header.epoch + 1, ver: header.ver + 1, lastBatch: "another" }));
    turn.state.set(["part"], 2);
  };
  await assert.rejects(runtime.invoke(one, work), (error) => error instanceof ActivationLostError && !error.tookNoEffect);
});

test("An invocation that records only writes costs no commit when it writes nothing, and is once when it does", async () => {
  const { runtime, store } = await start();
  const options = { invocationId: "i1", recordOnlyWrites: true };
  const send = async (method: "read" | "add"): Promise<unknown> => await runtime.invoke(actor("counter"), { method }, options);
  runtime.register({
    type: "counter",
    create: () => ({
      receive: async ({ method }: { readonly method: string }, turn: Turn) => {
        const count = ((await turn.state.get<number>(["count"])) ?? 0) + (method === "add" ? 1 : 0);
        if (method === "add") turn.state.set(["count"], count);
        return count;
      },
    }),
  });
  assert.equal(await send("read"), 0);
  const batches = store.batches.length;
  assert.equal(await send("read"), 0);
  assert.equal(store.batches.length, batches);
  assert.equal(await send("add"), 1);
  assert.equal(await send("add"), 1);
});

test("An actor that is released ends in good order; what comes meanwhile is told where it has gone", async () => {
  const { runtime } = await start();
  const events: string[] = [];
  await runtime.invoke(one, (async (_turn, activation) => {
    activation.background(
      new Promise<void>((resolve) => activation.signal.addEventListener("abort", () => resolve())).then(async () => {
        await activation.turn(async (turn) => turn.state.set(["finished"], true));
        events.push("background work has ended");
      }),
    );
  }) satisfies Work);
  let moved = (_owner: string): void => {};
  const released = runtime.release(one, async (handedOver) => {
    events.push(`given ${JSON.stringify(handedOver)}`);
    return await new Promise<string>((resolve) => (moved = resolve));
  });
  await settle();
  assert.deepEqual(events, ["background work has ended", 'given {"warm":"one"}']);
  const waiting = runtime.invoke(one, read);
  waiting.catch(() => {});
  await settle();
  assert.equal(runtime.live, 0);
  assert.equal(runtime.has(one), true);
  moved("node-x");
  await assert.rejects(waiting, (error) => error instanceof ActorElsewhereError && error.owner === "node-x");
  assert.equal(await released, "node-x");
  assert.equal(runtime.has(one), false);
});

test("An actor that could not be given away goes on here with what waits, in its order", async () => {
  const { runtime } = await start();
  await runtime.invoke(one, increment);
  let hold = (): void => {};
  const running = runtime.invoke(one, (async (turn) => {
    await new Promise<void>((resolve) => (hold = resolve));
    return await increment(turn, undefined as never);
  }) satisfies Work);
  await settle();
  const before = runtime.invoke(one, increment);
  const released = runtime.release(one, async () => undefined);
  const after = runtime.invoke(one, increment);
  await settle();
  hold();
  assert.deepEqual(await Promise.all([running, before, after]), [2, 3, 4]);
  assert.equal(await released, undefined);
});

test("A node stops also while an actor at work is being released, whichever of the two came first", async () => {
  for (const isReleasedFirst of [true, false]) {
    const { runtime } = await start();
    let hold = (): void => {};
    const running = runtime.invoke(one, async () => await new Promise<void>((resolve) => (hold = resolve)));
    await settle();
    const release = (): Promise<unknown> => runtime.release(one, async () => undefined);
    const stop = (): Promise<unknown> => runtime[Symbol.asyncDispose]();
    const ends = isReleasedFirst ? [release(), settle().then(stop)] : [stop(), settle().then(release)];
    await settle();
    await settle();
    hold();
    await Promise.all([...ends, running]);
  }
});

test("An actor that is to move brings its work to a good point first, and answers meanwhile, for as long as it has", async () => {
  for (const isInTime of [true, false]) {
    const { runtime, environment } = await start();
    let finish = (): void => {};
    runtime.register({
      type: "worker",
      create: () => ({
        receive: async () => "still here",
        prepareToMove: async () => await new Promise<void>((resolve) => (finish = resolve)),
      }),
    });
    const worker = actor("worker");
    await runtime.invoke(worker, null);
    let isGiven = false;
    const released = runtime.release(worker, async () => ((isGiven = true), "node-x"));
    await environment.clock.advance(29_999);
    assert.equal(isGiven, false);
    assert.equal(await runtime.invoke(worker, null), "still here");
    if (isInTime) finish();
    else await environment.clock.advance(1);
    assert.equal(await released, "node-x");
  }
});

test("Work that does not end when its actor is to move is ended with its time", async () => {
  const { runtime, environment } = await start();
  await runtime.invoke(one, (async (_turn, activation) => activation.background(new Promise(() => {}))) satisfies Work);
  const released = runtime.release(one, async () => "node-x");
  await environment.clock.advance(9_999);
  assert.equal(runtime.live, 1);
  await environment.clock.advance(1);
  assert.equal(await released, "node-x");
  assert.equal(runtime.live, 0);
});

test("An actor that is being given to a living node is claimed by that node, and by no other", async () => {
  const memory = new MemoryStore();
  const [source, target, other] = [await start({ store: memory }), await start({ store: memory }), await start({ store: memory })];
  await source.runtime.invoke(one, increment);
  await source.runtime.release(one, async () => {
    await changeHeader(memory, (header) => ({ ...header, ver: header.ver + 1, migrating: { to: target.placement.node } }));
    return target.placement.node;
  });
  for (const { runtime } of [source, other])
    await assert.rejects(
      runtime.invoke(one, read),
      (error) => error instanceof ActorElsewhereError && error.owner === target.placement.node,
    );
  const { ver } = await headerOf(memory);
  let seen: unknown;
  await target.runtime.activate(one, { ver, value: { warm: true } });
  await target.runtime.invoke(one, (async (_turn, { handedOver }) => void (seen = handedOver)) satisfies Work);
  assert.deepEqual(seen, { warm: true });
  const header = await headerOf(memory);
  assert.equal(header.owner, target.placement.node);
  assert.equal(header.migrating, undefined);
});

test("What was handed over under an older header is forgotten", async () => {
  const { runtime } = await start();
  await runtime.invoke(one, increment);
  await runtime.release(one, async () => undefined);
  await runtime.activate(one, { ver: 77, value: "stale" });
  let seen: unknown = "not asked";
  await runtime.invoke(one, (async (_turn, { handedOver }) => void (seen = handedOver)) satisfies Work);
  assert.equal(seen, undefined);
});

test("An actor whose target is dead goes back to whoever is asked", async () => {
  const memory = new MemoryStore();
  const source = await start({ store: memory });
  await source.runtime.invoke(one, increment);
  await source.runtime.release(one, async () => {
    await changeHeader(memory, (header) => ({ ...header, ver: header.ver + 1, migrating: { to: "node-that-died" } }));
    return undefined;
  });
  assert.equal(await source.runtime.invoke(one, increment), 2);
});

test("A node that is taken to be dead ends everything at once, and takes nothing more", async () => {
  const { runtime, store } = await start();
  store.hold();
  const running = runtime.invoke(one, increment);
  running.catch(() => {});
  await settle();
  runtime.fence(new ActivationLostError("The test says that this node is dead"));
  await assert.rejects(running, ActivationLostError);
  await assert.rejects(runtime.invoke(one, read), ActorsStoppedError);
  assert.equal(runtime.live, 0);
});

test("A node delivers the reminders of its own slots, and tells of those that it sets in others", async () => {
  const elsewhere: (readonly [slot: number, due: number])[] = [];
  let owns = false;
  const delivered: string[] = [];
  const sharing: NodeSharing = {
    ownsSlot: () => owns,
    deliver: async (id, { name, isEarly }) => void delivered.push(`${id.key} ${name} ${isEarly}`),
    setElsewhere: (slot, due) => void elsewhere.push([slot, due]),
    lookIntoInbox: async () => {},
  };
  const { runtime, environment } = await start({ sharing });
  const due = environment.clock.now() + 1_000;
  await runtime.invoke(one, (async (turn) => {
    turn.remind("a", { due });
    turn.remind("early", { due: due + 300_000, earlyAfterRestart: true });
  }) satisfies Work);
  assert.deepEqual(elsewhere, [
    [reminderSlot(one), due],
    [reminderSlot(one), due + 300_000],
  ]);
  await environment.clock.advance(60_000);
  assert.equal(delivered.length, 0);
  owns = true;
  runtime.slotsMoved({ early: false });
  await environment.clock.advance(10);
  assert.deepEqual([...new Set(delivered)], ["one a false"]);
  runtime.slotsMoved({ early: true });
  await environment.clock.advance(10);
  assert.ok(delivered.includes("one early true"));
});
