import assert from "node:assert/strict";
import { test } from "node:test";
import { add, type ClusterNode, LedgerCluster, read, send } from "../../test/support/cluster-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import type { ActorId } from "../actors/actor.ts";
import { defaultTimings, IncompatibleNodeError } from "./cluster.ts";
import { readHeader } from "./header.ts";
import { readCluster } from "./member-rows.ts";
import { raiseRowSchema } from "./row-schema.ts";

const older = { schema: { min: 1, max: 1 } };
const newer = { schema: { min: 1, max: 2 } };
const isRefused = (error: unknown): boolean =>
  error instanceof IncompatibleNodeError && /writes rows of version 2.*at most version 1: update it/.test(error.message);

async function close(node: ClusterNode): Promise<void> {
  await node.cluster[Symbol.asyncDispose]();
}

async function replace(world: LedgerCluster, node: ClusterNode, options: typeof older): Promise<ClusterNode> {
  await world.until(node.cluster.drain());
  await world.until(close(node));
  return await world.up(node.name, options);
}

async function schemaOf(world: LedgerCluster, id: ActorId): Promise<number> {
  return (await readHeader(world.memory, id))!.header.schema;
}

function written(...nodes: readonly ClusterNode[]): number[] {
  return nodes.map(({ cluster }) => cluster.placement.schema.writable);
}

test("Rows are written in the old version until the last old node is replaced, and in the new one by all nodes then", async () => {
  const world = new LedgerCluster();
  let [a, b, c] = [await world.up("a", older), await world.up("b", older), await world.up("c", older)];
  const id = world.ledgerAt(a);
  await world.until(send(a, id, add("one")));
  a = await replace(world, a, newer);
  b = await replace(world, b, newer);
  await world.until(send(b, id, add("two")));
  assert.deepEqual(written(a, b, c), [1, 1, 1]);
  assert.equal(await schemaOf(world, id), 1);

  b = await replace(world, b, older);
  await world.until(send(b, id, add("three")));
  assert.deepEqual(written(a, b, c), [1, 1, 1], "there is a way back");
  assert.equal(await schemaOf(world, id), 1);

  b = await replace(world, b, newer);
  c = await replace(world, c, newer);
  await settle();
  assert.deepEqual(written(a, b, c), [2, 2, 2]);
  await world.until(send(c, id, add("four")));
  assert.equal(await schemaOf(world, id), 2);
  assert.deepEqual(await world.until(send(b, id, read)), ["one", "two", "three", "four"]);

  await world.until(close(c));
  await assert.rejects(world.up("c", older), isRefused);
  c = await world.up("c", newer);
  assert.deepEqual(written(c), [2], "it knows at once");
});

test("A node that has died may be started again as it was, until nobody remembers it", async () => {
  const world = new LedgerCluster();
  const b = await world.up("b", older);
  const a = await world.up("a", newer);
  b.kill();
  await world.time.advance(60_000);
  assert.deepEqual(
    a.cluster.members.map(({ name }) => name),
    ["a"],
  );
  assert.deepEqual(written(a), [1]);
  await world.until(close(await world.up("b", older)));
  await world.time.advance(660_000);
  await world.time.advance(defaultTimings.renew);
  assert.deepEqual(written(a), [2]);
  await assert.rejects(world.up("b", older), isRefused);
});

test("A version does not grow past a node that comes meanwhile", async () => {
  const world = new LedgerCluster();
  await world.up("a", older);
  const rows = await readCluster(world.memory);
  const pretended = { ...rows, members: rows.members.map((row) => ({ ...row, member: { ...row.member, schema: newer.schema } })) };
  await world.up("b", older);
  const batch = raiseRowSchema(pretended)!;
  assert.equal((await world.memory.commit({ id: "raise", ...batch })).ok, false);
  assert.equal((await readCluster(world.memory)).schema.written, 1);
});

test("A node does not join past a version that grows meanwhile", async () => {
  const world = new LedgerCluster();
  const a = await world.up("a", older);
  await world.until(close(a));
  const stale = await readCluster(world.memory);
  const commit = world.memory.commit.bind(world.memory);
  let hasGrown = false;
  world.memory.commit = async (batch) => {
    if (!hasGrown && batch.checks.length === 3) {
      hasGrown = true;
      const all = { ...stale, members: stale.members.map((row) => ({ ...row, member: { ...row.member, schema: newer.schema } })) };
      assert.equal((await commit({ id: "raise", ...raiseRowSchema(all)! })).ok, true);
    }
    return await commit(batch);
  };
  await assert.rejects(world.up("a", older), isRefused);
  assert.ok(hasGrown);
});
