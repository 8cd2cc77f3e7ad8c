import assert from "node:assert/strict";
import { test } from "node:test";
import { add, type ClusterNode, ledger, LedgerCluster, type LedgerMessage, read, send } from "../../test/support/cluster-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import { ActorElsewhereError, type ActorId } from "../actors/actor.ts";
import { actorName } from "../actors/actor-id.ts";
import { defaultTimings } from "./cluster.ts";
import { readHeader } from "./header.ts";

async function close(node: ClusterNode): Promise<void> {
  await node.cluster[Symbol.asyncDispose]();
}
const work = (steps: number): LedgerMessage => ({ method: "work", steps });
const steps = (count: number): string[] => Array.from({ length: count }, (_, at) => `step ${count - at}`);

test("A node that drains under load loses nothing, and no caller is refused", async () => {
  const world = new LedgerCluster();
  const nodes = [await world.up("a"), await world.up("b"), await world.up("c")];
  const [a, b] = nodes as [ClusterNode, ClusterNode, ClusterNode];
  const ids = Array.from({ length: 40 }, (_, at) => ledger(`load-${at}`));
  const sent = new Map(ids.map((id) => [id.key, 0]));
  let isOver = false;
  const client = async (at: number): Promise<void> => {
    for (let turn = 0; !isOver; turn++) {
      const id = ids[(at * 7 + turn) % ids.length]!;
      const node = nodes[(at + turn) % 3]!;
      const entry = `${at}.${turn}`;
      sent.set(id.key, sent.get(id.key)! + 1);
      await send(node, id, add(entry));
      await world.time.sleep(3);
    }
  };
  const clients = Array.from({ length: 10 }, (_, at) => client(at));
  await world.time.advance(500);
  assert.ok(b.cluster.actors.live > 5);
  const report = await world.until(b.cluster.drain());
  assert.equal(report.left, 0);
  await world.time.advance(200);
  assert.equal(b.cluster.actors.live, 0, "calls that come through the node go on to others");
  isOver = true;
  await world.until(Promise.all(clients));
  await world.until(close(b));
  assert.deepEqual(a.cluster.members.map(({ name }) => name).sort(), ["a", "c"]);
  for (const id of ids) {
    const entries: string[] = await world.until(send<string[]>(a, id, read));
    assert.equal(new Set(entries).size, entries.length, "nothing twice");
    assert.equal(entries.length, sent.get(id.key), "nothing lost");
  }
});

test("Work in the background goes on at the next node where it was, with what its actor has handed over", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(a, id, work(20)));
  await world.time.advance(550);
  const report = await world.until(b.cluster.drain());
  assert.deepEqual(report, { moved: 1, left: 0 });
  assert.deepEqual(world.log.activations, [`${id.key}@b`, `${id.key}@a`], "its next activation has begun without being called");
  assert.deepEqual(world.log.handedOver, [undefined, { from: "b" }]);
  await world.until(close(b));
  await world.time.advance(2_500);
  assert.deepEqual(await world.until(send(a, id, read)), steps(20));
});

test("Messages that wait while their actor moves are answered by the next node", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(a, id, work(50)));
  const target = a.cluster.members.find(({ name }) => name === "a")!;
  const moving = b.cluster.actors.migration.move(id, target, { wake: true });
  const replies = Promise.all([send(a, id, add("from a")), send(b, id, add("from b"))]);
  assert.equal(await world.until(moving), a.cluster.node);
  await world.until(replies);
  const entries = await world.until(send<string[]>(b, id, read));
  assert.ok(entries.includes("from a") && entries.includes("from b"));
  assert.equal((await readHeader(world.memory, id))!.header.owner, a.cluster.node);
  assert.equal(world.log.activations.length, 2);
});

test("A target that is silent is given up: the actor goes on at the source", async () => {
  const world = new LedgerCluster();
  const [, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(b, id, work(10)));
  world.network.cut("a", "b");
  const target = b.cluster.members.find(({ name }) => name === "a")!;
  assert.equal(await world.until(b.cluster.actors.migration.move(id, target, { wake: true })), undefined);
  await world.time.advance(2_000);
  assert.deepEqual(await world.until(send(b, id, read)), steps(10));
  const { header } = (await readHeader(world.memory, id))!;
  assert.equal(header.owner, b.cluster.node);
  assert.equal(header.migrating, undefined);
  assert.equal(b.environment.count("cluster.takenBack"), 1);
});

test("A target whose answer got lost has the actor: the source cannot take it back", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(b, id, work(10)));
  world.network.losesReply = (method) => method === "take-over";
  const target = b.cluster.members.find(({ name }) => name === "a")!;
  assert.equal(await world.until(b.cluster.actors.migration.move(id, target, { wake: true })), a.cluster.node);
  await world.time.advance(2_000);
  assert.deepEqual(await world.until(send(b, id, read)), steps(10));
  assert.equal((await readHeader(world.memory, id))!.header.owner, a.cluster.node);
  assert.equal(b.environment.count("cluster.takenBack"), 0);
});

test("The claim of the target and the take-back of the source race: one of them wins, and the work is done once", async () => {
  // The claim is on its way while the source gives up, and comes before or after it.
  for (const isClaimFirst of [true, false]) {
    const world = new LedgerCluster();
    const [a, b] = [await world.up("a"), await world.up("b")];
    const id = world.ledgerAt(b);
    await world.until(send(b, id, work(10)));
    const { transport } = b.cluster;
    const request = transport.request.bind(transport);
    let claim: Promise<unknown> | undefined;
    transport.request = async (address, method, body, options) => {
      if (method !== "take-over") return await request(address, method, body, options);
      claim = request(address, method, body, options);
      claim.catch(() => {});
      if (!isClaimFirst) a.store.hold();
      await settle();
      throw new Error("The test is impatient");
    };
    const target = b.cluster.members.find(({ name }) => name === "a")!;
    const owner = await world.until(b.cluster.actors.migration.move(id, target, { wake: true }));
    a.store.release();
    await Promise.allSettled([claim]);
    assert.equal(owner, isClaimFirst ? a.cluster.node : undefined);
    await world.time.advance(2_000);
    assert.deepEqual(await world.until(send(a, id, read)), steps(10));
  }
});

test("An actor whose source and target both died while it moved is taken by a third node", async () => {
  const world = new LedgerCluster();
  const [a, b, c] = [await world.up("a"), await world.up("b"), await world.up("c")];
  const id = world.ledgerAt(b);
  await world.until(send(b, id, add("one")));
  const target = b.cluster.members.find(({ name }) => name === "a")!;
  assert.equal(await world.until(b.cluster.actors.migration.move(id, target, { wake: false })), a.cluster.node);
  assert.equal((await readHeader(world.memory, id))!.header.owner, b.cluster.node, "the target has not claimed it");
  a.kill();
  b.kill();
  assert.deepEqual(await world.until(send(c, id, read)), ["one"]);
});

test("A node without room takes no more actors from one that drains, until it has", async () => {
  const world = new LedgerCluster();
  const b = await world.up("b");
  const id = world.ledgerAt(b);
  await world.until(send(b, id, work(1_000)));
  const a = await world.up("a", { limits: { liveMax: 1 } });
  const filling = world.ledgerAt(a, 1_000);
  const holding = send(a, filling, { method: "wait" });
  await settle();
  const draining = b.cluster.drain();
  await world.time.advance(3_000);
  assert.equal(b.cluster.actors.live, 1, "it is refused");
  a.cluster.actors.cancel(filling, "enough");
  await world.until(holding);
  a.cluster.actors.runtime.evict(filling);
  assert.equal((await world.until(draining)).left, 0);
});

test("A node that is alone drains nowhere: its work stops in good order, and goes on with the next one", async () => {
  const world = new LedgerCluster();
  const only = await world.up("only");
  const id = world.ledgerAt(only);
  await world.until(send(only, id, work(10)));
  await world.time.advance(350);
  assert.deepEqual(await world.until(only.cluster.drain()), { moved: 0, left: 1 });
  await world.until(close(only));
  const next = await world.up("only");
  await world.until(send(next, id, read));
  await world.time.advance(2_000);
  assert.deepEqual(await world.until(send(next, id, read)), steps(10));
});

test("Actors that belong to a node that has come move there: those at work soon, those at rest when they are called", async () => {
  const world = new LedgerCluster();
  const a = await world.up("a");
  const ids = Array.from({ length: 40 }, (_, at) => ledger(`rest-${at}`));
  for (const id of ids) await world.until(send(a, id, add("one")));
  for (const id of ids.slice(0, 10)) await world.until(send(a, id, work(1_000)));
  const b = await world.up("b");
  await world.time.advance(4 * defaultTimings.renew);
  const belongsToB = (id: ActorId): boolean => a.cluster.placement.choose(actorName(id))?.node === b.cluster.node;
  for (const id of ids.slice(0, 10))
    assert.equal(b.cluster.actors.runtime.has(id), belongsToB(id), `${id.key} is at work where it belongs`);
  for (const id of ids.slice(10)) assert.deepEqual(await world.until(send(a, id, read)), ["one"]);
  for (const id of ids.slice(10)) {
    const owner = (await readHeader(world.memory, id))!.header.owner;
    assert.equal(owner, belongsToB(id) ? b.cluster.node : a.cluster.node);
  }
  assert.ok(ids.filter(belongsToB).length > 8);
});

test("A node whose rows are of a newer version gives nothing to nodes that cannot read them", async () => {
  const world = new LedgerCluster();
  const a = await world.up("a");
  const id = world.ledgerAt(a);
  await world.until(send(a, id, add("one")));
  const { header } = (await readHeader(world.memory, id))!;
  assert.equal(a.cluster.placement.choose(actorName(id), { schema: header.schema + 1 }), undefined);
  const newer = await world.up("newer", { schema: { min: 1, max: header.schema + 1 } });
  assert.equal(a.cluster.placement.choose(actorName(id), { schema: header.schema + 1 })?.node, newer.cluster.node);
});

test("A hint of affinity wins over the hash, if that node is up", async () => {
  const world = new LedgerCluster();
  const a = await world.up("a", { affinity: () => "b-is-not-known-yet" });
  const b = await world.up("b");
  const id = world.ledgerAt(a);
  assert.equal(a.cluster.placement.choose(actorName(id), { affinity: b.cluster.node })?.node, b.cluster.node);
  await b.cluster.membership.drain();
  await settle();
  assert.equal(a.cluster.placement.choose(actorName(id), { affinity: b.cluster.node })?.node, a.cluster.node);
  assert.deepEqual(await world.until(send(a, id, read)), []);
});

test("A node that drains gives away what is called at it and is not in memory", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(b, id, add("one")));
  await world.until(b.cluster.drain());
  assert.deepEqual(await world.until(send(b, id, read)), ["one"]);
  assert.equal((await readHeader(world.memory, id))!.header.owner, a.cluster.node);
  assert.equal(b.cluster.actors.live, 0);
  await assert.rejects(
    b.cluster.actors.runtime.invoke(id, read),
    (error) => error instanceof ActorElsewhereError && error.owner === a.cluster.node,
  );
});
