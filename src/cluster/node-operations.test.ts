import assert from "node:assert/strict";
import { test } from "node:test";
import { add, type ClusterNode, ledger, LedgerCluster, type LedgerMessage, read, send } from "../../test/support/cluster-node.ts";
import type { Member } from "./cluster.ts";
import { readHeader } from "./header.ts";
import { NodeUnreachableError, ReplyLostError } from "./transport.ts";

const work = (steps: number): LedgerMessage => ({ method: "work", steps });

function memberOf(asked: ClusterNode, node: ClusterNode): Member {
  return asked.cluster.members.find((member) => member.node === node.cluster.node)!;
}

async function untilState(world: LedgerCluster, node: ClusterNode, state: string): Promise<void> {
  for (let waited = 0; node.cluster.membership.state !== state; waited += 100) {
    assert.ok(waited < 120_000, `${node.name} does not become ${state}`);
    await world.time.advance(100);
  }
}

test("A node is emptied from another one, goes on to answer, and takes part again", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const ids = Array.from({ length: 20 }, (_, at) => ledger(`key-${at}`));
  for (const id of ids) await world.until(send(a, id, add("one")));
  const busy = world.ledgerAt(b, 100);
  await world.until(send(a, busy, work(100)));
  const { operations } = a.cluster;
  const before = await world.until(operations.status(memberOf(a, b)));
  assert.equal(before.state, "up");
  assert.ok(before.actors > 1);

  assert.equal(await world.until(operations.drain(memberOf(a, b))), undefined);
  assert.equal(await world.until(operations.drain(memberOf(a, b))), undefined, "it may be asked again");
  assert.equal((await world.until(operations.status(memberOf(a, b)))).state, "draining");
  await world.time.advance(1_000);
  assert.deepEqual(await world.until(operations.status(memberOf(a, b))), { state: "draining", actors: 0 });
  for (const id of ids) assert.equal(await world.until(send(b, id, add("two"))), 2);
  assert.equal(b.cluster.actors.live, 0);
  assert.equal((await readHeader(world.memory, busy))!.header.owner, a.cluster.node, "what it did goes on at the other node");

  assert.equal(await world.until(operations.undoDrain(memberOf(a, b))), undefined);
  assert.equal(await world.until(operations.undoDrain(memberOf(a, b))), undefined, "it may be asked again");
  await world.time.advance(2_000);
  assert.equal(memberOf(a, b).state, "up");
  const fresh = world.ledgerAt(b, 1_000);
  await world.until(send(a, fresh, add("one")));
  assert.equal(b.cluster.actors.live > 0, true, "it is given actors again");
});

test("The only node that is up does not drain, and says why", async () => {
  const world = new LedgerCluster();
  const a = await world.up("a");
  assert.match((await world.until(a.cluster.operations.drain(memberOf(a, a)))) ?? "", /node a is the only one that is up/);
  const b = await world.up("b");
  assert.equal(await world.until(a.cluster.operations.drain(memberOf(a, a))), undefined);
  await world.time.advance(2_000);
  assert.match((await world.until(a.cluster.operations.drain(memberOf(a, b)))) ?? "", /node b is the only one that is up/);
  assert.equal(b.cluster.membership.state, "up");
});

test("A node whose last other node dies while it drains takes part again, with the actors that are left", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(b, id, { method: "add", entry: "kept" }));
  // A turn that does not end keeps its actor where it is.
  const waiting = send(b, id, { method: "wait" }).catch(() => undefined);
  await world.time.advance(10);
  assert.equal(await world.until(b.cluster.operations.drain(memberOf(b, b))), undefined);
  a.kill();
  await untilState(world, b, "up");
  assert.deepEqual(await world.until(send(b, id, read)), ["kept"]);
  await waiting;
});

test("A drained node does what it is asked to when all the others have ended", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(b, id, add("one")));
  assert.equal(await world.until(a.cluster.operations.drain(memberOf(a, b))), undefined);
  await world.time.advance(1_000);
  assert.equal(b.cluster.actors.live, 0);
  await world.until(send(b, id, add("two")));
  a.kill();
  await world.time.advance(10_000);
  assert.equal(await world.until(send(b, id, add("three"))), 3);
  assert.equal(b.cluster.membership.state, "draining");
});

test("A node that leaves is not brought back, and moves what a drain has left", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(b, id, work(100)));
  assert.equal(await world.until(a.cluster.operations.drain(memberOf(a, b))), undefined);
  const left = b.cluster.drain();
  assert.match((await world.until(b.cluster.operations.undoDrain(memberOf(b, b)))) ?? "", /node b is about to stop/);
  assert.equal((await world.until(left)).left, 0);
  assert.equal(b.cluster.membership.state, "draining");
});

test("A node that does not answer is said to be silent, within the time for it", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const member = memberOf(a, b);
  b.pause();
  const isSilent = (error: unknown): boolean => error instanceof NodeUnreachableError || error instanceof ReplyLostError;
  await assert.rejects(world.until(a.cluster.operations.status(member), 1_100), isSilent);
  const id = world.ledgerAt(b);
  await assert.rejects(a.cluster.operations.status({ ...member, address: null }), NodeUnreachableError);
  assert.equal(await world.until(a.cluster.actors.inspect(id)), undefined, "nobody has an actor that was never called");
});

test("An actor is seen from every node: where it is, what waits for it, and whether it is in memory", async () => {
  const world = new LedgerCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const id = world.ledgerAt(b);
  await world.until(send(a, id, add("first")));
  const waiting = send(a, id, { method: "wait" }, { timeoutMilliseconds: 5_000 }).catch(() => undefined);
  await world.time.advance(10);
  const more = Promise.all([send(a, id, read), send(a, id, add("x"))]);
  await world.time.advance(10);
  for (const node of [a, b]) {
    const sight = await world.until(node.cluster.actors.inspect(id));
    assert.equal(sight?.node, b.cluster.node);
    assert.deepEqual({ ...sight.live, bytes: 0 }, { isBusy: true, messages: 2, messagesMax: 1_000, bytes: 0, bytesMax: 16_000_000 });
    assert.ok(sight.live!.bytes > 0);
  }
  await world.time.advance(6_000);
  await world.until(waiting);
  await world.until(more);
  const seen = await world.until(a.cluster.actors.inspect(id));
  assert.equal(seen?.node, b.cluster.node);
  assert.equal(seen.answers, true);
  assert.equal(seen.live?.isBusy, false);
  b.cluster.actors.runtime.evict(id);
  await world.time.advance(100);
  assert.deepEqual(await world.until(a.cluster.actors.inspect(id)), { node: b.cluster.node, answers: true });
  b.pause();
  assert.deepEqual(await world.until(a.cluster.actors.inspect(id)), { node: b.cluster.node, answers: false });
});
