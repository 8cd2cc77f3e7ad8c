import assert from "node:assert/strict";
import { test } from "node:test";
import { TestCluster } from "../../test/support/cluster-node.ts";
import { NodeEnvironment } from "../../test/support/node-clock.ts";
import { declareDead } from "./report-dead.ts";
import { readMember } from "./member-rows.ts";
import { vouchFor } from "./vouch-for.ts";

test("A node that is busy for longer than its lease stays a member while somebody vouches for it, and has no lease", async () => {
  const test = new TestCluster();
  const [a, b] = [await test.start("a", () => []), await test.start("b", () => [])];
  const supervisor = new NodeEnvironment(test.time, 7);
  const { node, membership } = a.cluster;
  a.pause();
  for (let second = 0; second < 30; second++) {
    await test.time.advance(1_000);
    await vouchFor(test.memory, supervisor, node);
    assert.ok(b.cluster.membership.sees(node));
  }
  a.resume();
  assert.equal(membership.holdsLease, false, "what is vouched for is that it lives");
  await test.time.advance(5_000);
  assert.equal(membership.holdsLease, true, "it has renewed on what was vouched");
  assert.deepEqual(a.fenced, []);
  assert.ok(b.cluster.membership.sees(node));
});

test("When nobody vouches for it any more, it is declared dead as any other, and vouching does not bring it back", async () => {
  const test = new TestCluster();
  const [a, b] = [await test.start("a", () => []), await test.start("b", () => [])];
  const supervisor = new NodeEnvironment(test.time, 7);
  const { node } = a.cluster;
  a.pause();
  await test.time.advance(4_000);
  await vouchFor(test.memory, supervisor, node);
  await test.time.advance(4_000);
  assert.ok(b.cluster.membership.sees(node));
  await test.time.advance(4_000);
  assert.equal(b.cluster.membership.sees(node), false);
  await vouchFor(test.memory, supervisor, node);
  assert.equal((await readMember(test.memory, node))?.member.state, "dead");
  a.resume();
  await test.time.advance(2_000);
  assert.equal(a.fenced.length, 1);
});

test("Vouching for a node does not undo what others say of it at the same time", async () => {
  const test = new TestCluster();
  const { cluster } = await test.start("a", () => []);
  const environment = new NodeEnvironment(test.time, 7);
  const row = (await readMember(test.memory, cluster.node))!;
  const [isDeclared] = await Promise.all([declareDead(test.memory, environment, row), vouchFor(test.memory, environment, cluster.node)]);
  assert.equal((await readMember(test.memory, cluster.node))?.member.state === "dead", isDeclared);
  await vouchFor(test.memory, environment, "b#1");
  assert.equal(await readMember(test.memory, "b#1"), undefined, "nobody is made a member");
});
