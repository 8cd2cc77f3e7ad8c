import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  type ClusterNode,
  ledger,
  LedgerCluster,
  LedgerError,
  read,
  send,
  type TestCluster,
} from "../../test/support/cluster-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import {
  ActivationLostError,
  ActorElsewhereError,
  type ActorId,
  ActorMessageError,
  ActorsStoppedError,
  CancelledError,
  DeadlineExceededError,
  MailboxFullError,
  UnknownActorTypeError,
} from "../actors/actor.ts";
import { StoreUnavailableError } from "../storage/store.ts";
import { defaultTimings, evictionMilliseconds } from "./cluster.ts";
import { readHeader } from "./header.ts";
import type { ClusterOptions } from "./open-cluster.ts";
import { MemoryNetwork, MemoryTransport } from "./memory-transport.ts";
import { NodeUnreachableError, OverloadedError } from "./transport.ts";

const eviction = evictionMilliseconds(defaultTimings);

async function ups(world: LedgerCluster, ...names: readonly string[]): Promise<ClusterNode[]> {
  const nodes: ClusterNode[] = [];
  for (const name of names) nodes.push(await world.up(name));
  return nodes;
}

async function ownerOf(world: TestCluster, id: ActorId): Promise<string> {
  return (await readHeader(world.memory, id))!.header.owner;
}

test("Any node answers for any actor, and each actor has one activation, on the node that it belongs to", async () => {
  const world = new LedgerCluster();
  const nodes = await ups(world, "a", "b", "c");
  for (const home of nodes) {
    const id = world.ledgerAt(home);
    for (const [at, node] of nodes.entries()) assert.equal(await world.until(send(node, id, add(`${at}`))), at + 1);
    assert.equal(home.cluster.actors.runtime.has(id), true);
    assert.equal(await ownerOf(world, id), home.cluster.node);
  }
  assert.equal(world.log.activations.length, 3);
});

test("A cluster of one forwards nothing, and costs a local call no read of its own", async () => {
  const world = new LedgerCluster();
  const [node] = await ups(world, "a");
  const id = world.ledgerAt(node!);
  await send(node!, id, add("x"));
  const { reads } = node!.store;
  assert.deepEqual(await send(node!, id, read), ["x"]);
  assert.equal(node!.store.reads, reads);
  assert.equal(world.network.calls.length, 0);
});

test("An error of an actor at another node is of its own class, with its fields", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await assert.rejects(send(a!, id, { method: "fail" }), (error) => {
    assert.ok(error instanceof LedgerError && error instanceof Error);
    assert.equal(error.entries, 0);
    assert.equal(error.message, "The ledger is closed");
    return true;
  });
});

test("An id that is not valid, or a reply that takes too long, is an error at the caller as if the actor were local", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  for (const id of [{ ...ledger(""), key: "" }, ledger("\ud800"), { ...ledger("x"), project: "" }, { ...ledger("x"), type: "a b" }])
    await assert.rejects(send(a!, id, read), ActorMessageError);
  for (const timeoutMilliseconds of [0, -1, Number.NaN, 1e9])
    await assert.rejects(send(a!, world.ledgerAt(b!), read, { timeoutMilliseconds }), ActorMessageError);
  await assert.rejects(send(a!, world.ledgerAt(b!), read, { signal: AbortSignal.abort() }), CancelledError);
  await assert.rejects(send(a!, world.ledgerAt(b!), read, { invocationId: "" }), ActorMessageError);
  const waiting = send(a!, world.ledgerAt(b!), { method: "wait" }, { timeoutMilliseconds: 1_000 });
  await assert.rejects(world.until(waiting), (error) => error instanceof DeadlineExceededError && error.started);
});

test("A node that is killed loses its actors to the others when its lease must be over, and nothing that was acknowledged", async () => {
  const world = new LedgerCluster();
  const [a, b, c] = await ups(world, "a", "b", "c");
  const id = world.ledgerAt(b!);
  assert.equal(await world.until(send(a!, id, add("one"))), 1);
  b!.kill();
  const killedAt = world.time.elapsed();
  assert.equal(await world.until(send(a!, id, add("two"))), 2);
  const took = world.time.elapsed() - killedAt;
  assert.ok(took > 3_000 && took < eviction + 2 * defaultTimings.renew, `${took} ms`);
  assert.deepEqual(await world.until(send(c!, id, read)), ["one", "two"]);
  assert.notEqual(await ownerOf(world, id), b!.cluster.node);
});

test("A node that is reported dead is replaced at once", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, add("one")));
  b!.kill();
  await a!.cluster.membership.markDead(b!.cluster.node);
  const before = world.time.elapsed();
  assert.equal(await world.until(send(a!, id, add("two"))), 2);
  assert.ok(world.time.elapsed() - before < 100);
});

test("A message that waits for a node is tried again as soon as that is known to be dead", { timeout: 20_000 }, async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, add("one")));
  b!.kill();
  const waiting = send<number>(a!, id, add("two"));
  // By now its pauses are as long as they get.
  await world.time.advance(3_000);
  await a!.cluster.membership.markDead(b!.cluster.node);
  await settle();
  const before = world.time.elapsed();
  assert.equal(await waiting, 2);
  assert.equal(world.time.elapsed(), before);
});

test("A message that a node has not answered is sent on as soon as that is known to be dead", { timeout: 20_000 }, async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, add("one")));
  b!.pause();
  const waiting = send<number>(a!, id, add("two"));
  await world.time.advance(1_000);
  await a!.cluster.membership.markDead(b!.cluster.node);
  const before = world.time.elapsed();
  assert.equal(await world.until(waiting), 2);
  assert.ok(world.time.elapsed() - before < 100);
  b!.resume();
  await world.time.advance(3_000);
  assert.deepEqual(await world.until(send(a!, id, read)), ["one", "two"]);
});

test("A paused node is fenced when it wakes: it answers no stale read and commits nothing", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, add("one")));
  b!.pause();
  assert.equal(await world.until(send(a!, id, add("two"))), 2);
  const stale = Promise.allSettled([send(b!, id, read), send(b!, id, add("stale"), { invocationId: "i" }), send(b!, id, read)]);
  b!.resume();
  const outcomes = await world.until(stale);
  for (const outcome of outcomes) {
    // Answered by the new owner, or refused: never from the old memory.
    if (outcome.status === "fulfilled") assert.notDeepEqual(outcome.value, ["one"]);
    else assert.ok(outcome.reason instanceof ActivationLostError || outcome.reason instanceof ActorsStoppedError, String(outcome.reason));
  }
  await world.time.advance(2_000);
  assert.equal(b!.fenced.length, 1);
  assert.equal(b!.cluster.actors.live, 0);
  await assert.rejects(send(b!, id, read), ActorsStoppedError);
  const entries = await world.until(send<string[]>(a!, id, read));
  assert.deepEqual(entries.slice(0, 2), ["one", "two"]);
  assert.ok(entries.length <= 3);
});

test("A machine that slept, with its monotonic clock standing still, answers no stale read", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, add("one")));
  b!.pause();
  assert.equal(await world.until(send(a!, id, add("two"))), 2);
  const stale = send(b!, id, read);
  stale.catch(() => {});
  b!.resume({ suspended: true });
  const [outcome] = await world.until(Promise.allSettled([stale]));
  if (outcome!.status === "fulfilled") assert.deepEqual(outcome.value, ["one", "two"]);
  else assert.ok(outcome!.reason instanceof ActivationLostError || outcome!.reason instanceof ActorsStoppedError, String(outcome!.reason));
  assert.ok(b!.environment.count("actors.validated") > 0);
});

test("With strict reads every answer from memory is held against the header", async () => {
  const world = new LedgerCluster();
  const node = await world.up("a", { reads: "strict" });
  const id = world.ledgerAt(node);
  await send(node, id, add("x"));
  for (let at = 0; at < 3; at++) assert.deepEqual(await send(node, id, read), ["x"]);
  assert.equal(node.environment.count("actors.validated"), 3);
});

test("Many nodes that are asked for an actor of a dead one at once: one takes it, and all get their answers", async () => {
  const world = new LedgerCluster();
  const nodes = await ups(world, "a", "b", "c", "d");
  const dead = nodes[3]!;
  const id = world.ledgerAt(dead);
  await world.until(send(nodes[0]!, id, add("zero")));
  dead.kill();
  await nodes[0]!.cluster.membership.markDead(dead.cluster.node);
  await settle();
  const before = world.log.activations.length;
  const replies = await world.until(
    Promise.all(nodes.slice(0, 3).flatMap((node, at) => [send<number>(node, id, add(`${at}`)), send<number>(node, id, add(`${at}'`))])),
  );
  assert.deepEqual(replies.toSorted(), [2, 3, 4, 5, 6, 7]);
  assert.equal(world.log.activations.length - before, 1);
});

test("Nodes that disagree about who is there race for an actor: the loser follows the winner", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  // Each believes that it is alone, so each takes the actor.
  const id = world.ledgerAt(b!);
  a!.cluster.placement.choose = () => a!.cluster.members.find(({ name }) => name === "a");
  const replies = await world.until(Promise.all([send<number>(a!, id, add("a")), send<number>(b!, id, add("b"))]));
  assert.deepEqual(replies.toSorted(), [1, 2]);
  assert.deepEqual((await world.until(send<string[]>(a!, id, read))).toSorted(), ["a", "b"]);
});

test("A reply that got lost is asked for again, and the message takes effect once, though its caller gave no id", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  let lost = 0;
  world.network.losesReply = (method) => method === "invoke" && lost++ < 3;
  assert.equal(await world.until(send(a!, id, add("one"))), 1);
  assert.deepEqual(await world.until(send(a!, id, read)), ["one"]);
  assert.equal(lost, 5);
});

test("A reply that got lost with its node is asked for at the next owner, and the message takes effect once", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  world.network.losesReply = () => {
    b!.kill();
    return true;
  };
  assert.equal(await world.until(send(a!, id, add("one"))), 1);
  assert.deepEqual(await world.until(send(a!, id, read)), ["one"]);
  assert.equal(await ownerOf(world, id), a!.cluster.node);
});

test("A message that may have taken effect is not said to have had none, whatever stops its next attempt", async () => {
  for (const refusal of ["a store that cannot be reached", "a node that has no room", "time that is over"] as const) {
    const world = new LedgerCluster();
    const [a, b] = await ups(world, "a", "b");
    const id = world.ledgerAt(b!);
    world.network.losesReply = (method) => {
      if (method !== "invoke") return false;
      if (refusal === "a store that cannot be reached") b!.store.readFault = a!.store.readFault = () => true;
      if (refusal === "a node that has no room")
        a!.cluster.transport.request = async () => {
          throw new OverloadedError("Too much is on its way", 250);
        };
      b!.cluster.actors.runtime.endAll(new Error("the end of what remembers the message"));
      return true;
    };
    await assert.rejects(
      world.until(send(a!, id, add("one"), { timeoutMilliseconds: 500 })),
      (error) => (error instanceof ActivationLostError && !error.tookNoEffect) || (error instanceof DeadlineExceededError && error.started),
      refusal,
    );
    a!.store.readFault = b!.store.readFault = () => false;
    assert.deepEqual(await world.until(send(b!, id, read)), ["one"]);
  }
});

test("Reads at another node cost no commit", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, add("one")));
  const before = (await readHeader(world.memory, id))!.header.ver;
  for (let at = 0; at < 5; at++) await world.until(send(a!, id, read));
  assert.equal((await readHeader(world.memory, id))!.header.ver, before);
});

test("An owner that lives but cannot be reached: the caller learns that its message had no effect, in bounded time", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, add("one")));
  world.network.cut("a", "b");
  const before = world.time.elapsed();
  await assert.rejects(
    world.until(send(a!, id, add("two"))),
    (error) => error instanceof ActorElsewhereError && /cannot be reached/.test(error.message),
  );
  assert.ok(world.time.elapsed() - before < 4 * eviction);
  await assert.rejects(
    world.until(send(a!, id, add("three"), { timeoutMilliseconds: 500 })),
    (error) => error instanceof DeadlineExceededError && !error.started,
  );
  world.network.heal();
  assert.deepEqual(await world.until(send(a!, id, read)), ["one"]);
});

test("What the transport refuses for want of room is a full mailbox to the caller", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  a!.cluster.transport.request = async () => {
    throw new OverloadedError("Too much is on its way", 250);
  };
  await assert.rejects(send(a!, id, read), (error) => error instanceof MailboxFullError && error.retryAfterMilliseconds === 250);
});

test("An error of the store at the owner is an error of the store at the caller", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, add("one")));
  // Those of actors: a member's row is renewed by a batch of one write.
  b!.store.commitFault = (batch) => (batch.writes.length > 1 ? "unavailable" : undefined);
  await assert.rejects(world.until(send(a!, id, add("two"))), StoreUnavailableError);
});

test("A caller that goes away ends its turn at the other node", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  const controller = new AbortController();
  const waiting = send(a!, id, { method: "wait" }, { signal: controller.signal });
  waiting.catch(() => {});
  await settle();
  assert.equal(b!.cluster.actors.live, 1);
  controller.abort(new Error("gone"));
  await assert.rejects(world.until(waiting), CancelledError);
  // The turn has ended, so the next one runs.
  assert.deepEqual(await world.until(send(b!, id, read)), []);
});

test("cancel reaches an actor at another node", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const id = world.ledgerAt(b!);
  await world.until(send(a!, id, read));
  const waiting = send(a!, id, { method: "wait" });
  await settle();
  assert.equal(a!.cluster.actors.cancel(id, "enough"), true);
  assert.equal(await world.until(waiting), "aborted");
  assert.equal(a!.cluster.actors.cancel({ ...id, key: "nobody's" }, "enough"), false);
});

test("A history of the store that may have gone back ends every activation", async () => {
  const world = new LedgerCluster();
  const node = await world.up("a");
  const id = world.ledgerAt(node);
  await send(node, id, add("x"));
  assert.equal(node.cluster.actors.live, 1);
  Object.assign(node.store, { generation: () => "another" });
  await world.time.advance(2_000);
  assert.equal(node.cluster.actors.live, 0);
  assert.deepEqual(await send(node, id, read), ["x"]);
});

test("Each due reminder is delivered by one node, and its turn runs where its actor is", async () => {
  const world = new LedgerCluster();
  const nodes = await ups(world, "a", "b", "c");
  const due = world.time.now() + 20_000;
  const ids = Array.from({ length: 30 }, (_, at) => ledger(`r${at}`));
  for (const id of ids) await world.until(send(nodes[0]!, id, { method: "remind", name: "due", due }));
  const shares = nodes.map(({ cluster }) =>
    Array.from({ length: 64 }, (_, slot) => slot).filter((slot) => cluster.placement.ownsSlot(slot)),
  );
  assert.equal(shares.flat().length, 64, "every slot has one owner");
  assert.ok(shares.every((slots) => slots.length > 8));
  await world.time.advance(21_000);
  assert.equal(world.log.reminders.length, 30);
  for (const entry of world.log.reminders) {
    const [, key, name] = /^(.*):due@(.*)$/.exec(entry)!;
    assert.equal(nodes.find((node) => node.name === name)!.cluster.actors.runtime.has(ledger(key!)), true);
  }
});

test("A reminder that is set at one node for a slot of another is not late", async () => {
  const world = new LedgerCluster();
  const nodes = await ups(world, "a", "b");
  await world.time.advance(1_000);
  for (let at = 0; at < 10; at++) {
    const id = ledger(`soon${at}`);
    await world.until(send(nodes[at % 2]!, id, { method: "remind", name: "soon", due: world.time.now() + 200 }));
  }
  await world.time.advance(400);
  assert.equal(world.log.reminders.length, 10);
});

test("Work that a dead node has left behind is taken up when it is known to be dead, not when its reminder is due", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const left = world.ledgerAt(b!);
  const kept = world.ledgerAt(a!);
  for (const id of [left, kept])
    await world.until(send(a!, id, { method: "remind", name: "resume", due: world.time.now() + 300_000, early: true }));
  b!.kill();
  await world.time.advance(eviction + 3_000);
  assert.deepEqual(world.log.reminders, [`${left.key}:resume@a`]);
});

test("A node that fails to start leaves nobody waiting, and says why", async () => {
  const world = new LedgerCluster();
  await world.up("a");
  const again = world.up("a", { timings: { ...defaultTimings } } satisfies Partial<ClusterOptions>);
  await assert.rejects(world.until(again), /A node called a is alive/);
});

test("Over the production's frames: replies, errors with their fields, and a node that dies", async () => {
  const world = new LedgerCluster();
  const network = new MemoryNetwork();
  const up = async (name: string): Promise<ClusterNode> =>
    await world.up(name, {
      transport: (node, environment) =>
        new MemoryTransport({ environment, node, cluster: "test", secret: Buffer.from("a secret of the cluster"), network, address: name }),
    });
  const [a, b] = [await up("a"), await up("b")];
  const id = world.ledgerAt(b);
  assert.equal(await world.until(send(a, id, add("one"))), 1);
  await assert.rejects(world.until(send(a, id, { method: "fail" })), (error) => error instanceof LedgerError && error.entries === 1);
  await assert.rejects(world.until(send(a, { ...id, type: "unknown" }, read)), UnknownActorTypeError);
  network.crash("b");
  b.kill();
  assert.equal(await world.until(send(a, id, add("two"))), 2);
  assert.deepEqual(await world.until(send(a, id, read)), ["one", "two"]);
});

test("An unknown call is refused by name", async () => {
  const world = new LedgerCluster();
  const [a, b] = await ups(world, "a", "b");
  const address = b!.cluster.members.find(({ name }) => name === "b")!.address!;
  await assert.rejects(
    a!.cluster.transport.request(address, "make-coffee", {}, { timeoutMilliseconds: 100 }),
    /answers no call "make-coffee"/,
  );
  for (const body of [null, [], { id: { project: 1, type: "ledger", key: "x" } }, { id: { project: "p", type: "ledger", key: "x" } }])
    await assert.rejects(a!.cluster.transport.request(address, "invoke", body, { timeoutMilliseconds: 100 }), /of a call is/);
  await assert.rejects(a!.cluster.transport.request("nowhere:1", "invoke", {}, { timeoutMilliseconds: 100 }), NodeUnreachableError);
});
