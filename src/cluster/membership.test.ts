import assert from "node:assert/strict";
import { test } from "node:test";
import { FaultyStore } from "../../test/support/faulty-store.ts";
import { ManualClock, settle } from "../../test/support/manual-environment.ts";
import { NodeEnvironment } from "../../test/support/node-clock.ts";
import type { ProcessIdentity } from "../actors/process-table.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import type { Store } from "../storage/store.ts";
import {
  defaultTimings,
  evictionMilliseconds,
  IncompatibleNodeError,
  type Member,
  NodeFencedError,
  NodeNameTakenError,
} from "./cluster.ts";
import { memberWrite, readCluster } from "./member-rows.ts";
import { Membership, type MembershipOptions } from "./membership.ts";

const eviction = evictionMilliseconds(defaultTimings);

interface TestMember {
  readonly membership: Membership;
  readonly environment: NodeEnvironment;
  readonly store: FaultyStore & { generation?: () => string };
  readonly events: string[];
  /** Rejects as the join does. */
  readonly joined: Promise<void>;
}

class World {
  readonly time: ManualClock = new ManualClock();
  readonly memory: MemoryStore = new MemoryStore();
  #seeds = 700;

  start(name: string, options: Partial<MembershipOptions> & { readonly isReady?: boolean } = {}): TestMember {
    const environment = new NodeEnvironment(this.time, ++this.#seeds);
    const store = new FaultyStore(options.store ?? this.memory);
    const events: string[] = [];
    const membership = new Membership({ environment, name, ...options, store });
    const joined = membership
      .join(`${name}:1`, {
        membersChanged: ({ up, died }) =>
          events.push(...up.map((member) => `${member.name} up`), ...died.map((member) => `${member.name} died`)),
        fenced: () => events.push("fenced"),
        generationChanged: () => events.push("generation"),
      })
      .then(async () => await (options.isReady === false ? undefined : membership.ready()));
    joined.catch(() => {});
    return { membership, environment, store, events, joined };
  }

  async up(name: string, options: Partial<MembershipOptions> = {}): Promise<TestMember> {
    const member = this.start(name, options);
    await member.joined;
    return member;
  }

  async states(): Promise<string[]> {
    return (await readCluster(this.memory)).members.map(({ member }) => `${member.name} ${member.state}`).sort();
  }
}

function names(members: readonly Member[]): string[] {
  return members.map(({ name, state }) => `${name} ${state}`).sort();
}

test("Members see each other come, drain and leave, at once where the store can watch", async () => {
  const world = new World();
  const a = await world.up("a");
  const b = world.start("b", { isReady: false });
  await b.joined;
  await settle();
  assert.deepEqual(names(a.membership.members), ["a up", "b joining"]);
  await b.membership.ready();
  await settle();
  assert.deepEqual(names(a.membership.members), ["a up", "b up"]);
  await b.membership.drain();
  await settle();
  assert.deepEqual(names(a.membership.members), ["a up", "b draining"]);
  await b.membership.leave();
  await settle();
  assert.deepEqual(names(a.membership.members), ["a up"]);
  assert.deepEqual(a.events, ["a up", "b up", "b died"]);
  assert.equal(await a.membership.find(b.membership.node), undefined);
});

test("Without a watch, members are seen by and by", async () => {
  const world = new World();
  const blind: Store = Object.assign(new FaultyStore(world.memory), { watch: async function* () {} });
  const a = await world.up("a", { store: blind });
  await world.up("b");
  await settle();
  assert.deepEqual(names(a.membership.members), ["a up"]);
  await world.time.advance(defaultTimings.renew);
  assert.deepEqual(names(a.membership.members), ["a up", "b up"]);
});

test("A member that has left is dead for good, whatever it is still told to do (C1)", async () => {
  const world = new World();
  const a = await world.up("a");
  const leaving = a.membership.leave();
  await assert.rejects(a.membership.drain(), NodeFencedError);
  await leaving;
  await assert.rejects(a.membership.ready(), NodeFencedError);
  await world.time.advance(2 * defaultTimings.renew);
  assert.deepEqual(await world.states(), ["a dead"]);
  assert.deepEqual(a.events, ["a up", "a died"]);
});

test("A member that renews holds its lease and is never declared dead", async () => {
  const world = new World();
  const a = await world.up("a");
  const b = await world.up("b");
  for (let second = 0; second < 60; second++) {
    await world.time.advance(1_000);
    assert.ok(a.membership.holdsLease && b.membership.holdsLease);
  }
  assert.deepEqual(await world.states(), ["a up", "b up"]);
});

test("The lease counts from before the renewal was sent, however long its answer takes (C4)", async () => {
  const world = new World();
  const a = await world.up("a");
  a.store.hold();
  // The renewal leaves at 1,250 ms, and its answer comes 4,900 ms later.
  await world.time.advance(1_250 + 4_900);
  assert.equal(a.membership.holdsLease, false, "the lease of the join ended at 5,000 ms");
  a.store.release();
  await settle();
  assert.equal(a.membership.holdsLease, true);
  await world.time.advance(99);
  assert.equal(a.membership.holdsLease, true);
  a.store.hold();
  await world.time.advance(1);
  assert.equal(a.membership.holdsLease, false);
});

test("A member that is silent is declared dead, not before its lease must have ended on its own clock (C2)", async () => {
  const world = new World();
  const a = await world.up("a");
  const b = await world.up("b");
  await world.time.advance(3_000);
  b.environment.clock.pause();
  // Its last renewal was at 2,500 ms; its observer saw it then or up to `renew` later.
  await world.time.advance(2_500 + eviction - 3_000 - 1);
  assert.deepEqual(await world.states(), ["a up", "b up"]);
  await world.time.advance(2 * defaultTimings.renew);
  assert.deepEqual(await world.states(), ["a up", "b dead"]);
  assert.deepEqual(a.events.at(-1), "b died");
  assert.equal(a.environment.count("cluster.evicted"), 1);
});

test("A member that was declared dead fences itself when it wakes up, once, and never comes back (M2)", async () => {
  const world = new World();
  await world.up("a");
  const b = await world.up("b");
  b.environment.clock.pause();
  await world.time.advance(10_000);
  assert.equal(b.membership.holdsLease, false, "its clock has gone on");
  b.environment.clock.resume();
  await world.time.advance(2_000);
  assert.deepEqual(
    b.events.filter((event) => event === "fenced"),
    ["fenced"],
  );
  assert.equal(b.membership.state, "dead");
  assert.equal(b.membership.holdsLease, false);
  await assert.rejects(b.membership.ready(), /is no member any more/);
  await world.time.advance(20_000);
  assert.deepEqual(await world.states(), ["a up", "b dead"]);
});

test("A machine whose monotonic clock stood still while it slept does not believe in its lease", async () => {
  const world = new World();
  const b = await world.up("b");
  await world.time.advance(1_300);
  b.environment.clock.pause();
  await world.time.advance(60_000);
  b.store.hold();
  b.environment.clock.resume({ suspended: true });
  assert.equal(b.membership.holdsLease, false);
  b.store.release();
  await world.time.advance(defaultTimings.renew);
  assert.equal(b.membership.holdsLease, true, "nobody had declared it dead: a renewal gives it a new lease");
});

for (const jump of [-86_400_000, 86_400_000])
  test(`A wall clock that jumps by ${jump} ms extends no lease, and ends one until the next renewal at most`, async () => {
    const world = new World();
    const a = await world.up("a");
    const b = await world.up("b");
    b.environment.clock.jump(jump);
    assert.equal(b.membership.holdsLease, jump < 0);
    await world.time.advance(2 * defaultTimings.renew);
    assert.ok(b.membership.holdsLease);
    assert.deepEqual(names(a.membership.members), ["a up", "b up"]);
    b.environment.clock.pause();
    await world.time.advance(defaultTimings.lease);
    assert.equal(b.membership.holdsLease, false);
  });

for (const rate of [0.99, 1.01])
  test(`A member whose clock runs at ${rate} has lost its lease when an observer with the opposite rate declares it dead`, async () => {
    const world = new World();
    const observer = await world.up("observer");
    const slow = await world.up("slow");
    observer.environment.clock.rate = 2 - rate;
    slow.environment.clock.rate = rate;
    await world.time.advance(10_000);
    slow.environment.clock.pause();
    while ((await world.states()).includes("slow up")) await world.time.advance(10);
    assert.equal(slow.membership.holdsLease, false);
  });

test("After an outage of the store, members that lived through it are not declared dead", async () => {
  const world = new World();
  const a = await world.up("a");
  const b = await world.up("b");
  for (const { store } of [a, b]) {
    store.readFault = () => true;
    store.commitFault = () => "unavailable";
  }
  await world.time.advance(60_000);
  assert.equal(a.membership.holdsLease, false);
  // Reads come back first, for one of them.
  a.store.readFault = () => false;
  await world.time.advance(2_000);
  for (const { store } of [a, b]) {
    store.readFault = () => false;
    store.commitFault = () => undefined;
  }
  await world.time.advance(10_000);
  assert.deepEqual(await world.states(), ["a up", "b up"]);
  assert.ok(a.membership.holdsLease && b.membership.holdsLease);
});

test("After an outage that lost answers, members renew before the others could take them to be dead", async () => {
  for (let outage = 20_000; outage < 40_000; outage += 1_000) {
    const world = new World();
    const members = [await world.up("a"), await world.up("b")];
    for (const { store } of members) {
      store.readFault = () => true;
      store.commitFault = () => "unknownLost";
    }
    await world.time.advance(outage);
    for (const { store } of members) {
      store.readFault = () => false;
      store.commitFault = () => undefined;
    }
    await world.time.advance(defaultTimings.renew);
    assert.ok(
      members.every(({ membership }) => membership.holdsLease),
      `after ${outage} ms`,
    );
  }
});

test("A renewal whose answer is lost is known for what it was", async () => {
  const world = new World();
  const a = await world.up("a");
  for (const fault of ["unknownApplied", "unknownLost"] as const) {
    a.store.failNext(fault);
    await world.time.advance(10_000);
    assert.equal(a.membership.holdsLease, true);
  }
  assert.deepEqual(a.events, ["a up"]);
});

test("A node with the name of a living one is refused; with that of a dead one it waits until that is certain", async () => {
  const world = new World();
  const first = await world.up("a");
  const second = world.start("a");
  const refused = assert.rejects(second.joined, (error) => {
    assert.ok(error instanceof NodeNameTakenError);
    assert.match(error.message, /A node called a is alive \(a#[0-9a-f]{16}, at a:1\): start this one under another name, or stop that one/);
    return true;
  });
  await world.time.advance(defaultTimings.renew * 2);
  await refused;
  first.membership.abandon();
  const third = world.start("a");
  await world.time.advance(eviction - 1_000);
  assert.deepEqual(await world.states(), ["a up"]);
  await world.time.advance(2_000);
  await third.joined;
  assert.deepEqual(await world.states(), ["a dead", "a up"]);
});

test("Of two nodes that take one name at once, one gets it", async () => {
  const world = new World();
  const [left, right] = [world.start("a"), world.start("a")];
  await world.time.advance(10_000);
  const results = await Promise.allSettled([left.joined, right.joined]);
  assert.deepEqual(results.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  assert.deepEqual(await world.states(), ["a up"]);
});

test("A name that was left is free at once", async () => {
  const world = new World();
  const first = await world.up("a");
  await first.membership.leave();
  const second = await world.up("a");
  assert.notEqual(second.membership.node, first.membership.node);
});

for (const [kind, range, message] of [
  ["wire", { min: 3, max: 4 }, /has at most version 1 of the protocol, and this one needs 3: update that node first/],
  ["wire", { min: 0, max: 0 }, /needs version 1 of the protocol, and this one has at most 0: update this node/],
  ["schema", { min: 7, max: 9 }, /has at most version 1 of the rows, and this one needs 7: update that node first/],
] as const)
  test(`A node whose ${kind} versions are ${range.min} to ${range.max} does not join nodes that have version 1`, async () => {
    const world = new World();
    await world.up("a");
    const joined = world.start("b", { [kind]: range }).joined;
    const refused = assert.rejects(joined, (error) => error instanceof IncompatibleNodeError && message.test(error.message));
    await world.time.advance(defaultTimings.renew * 2);
    await refused;
    assert.deepEqual(await world.states(), ["a up"]);
  });

for (const isSecure of [true, false])
  test(`A node ${isSecure ? "with" : "without"} TLS does not join nodes ${isSecure ? "without" : "with"} it`, async () => {
    const world = new World();
    await world.up("a", { isSecure: !isSecure });
    const message = isSecure ? /speaks no TLS with other nodes, and this one does: stop that node/ : /KELPIE_CLUSTER_CERTIFICATE/;
    const joined = world.start("b", { isSecure }).joined;
    const refused = assert.rejects(joined, (error) => error instanceof IncompatibleNodeError && message.test(error.message));
    await world.time.advance(defaultTimings.renew * 2);
    await refused;
    assert.deepEqual(await world.states(), ["a up"]);
    await world.up("c", { isSecure: !isSecure });
  });

test("What a dead node was keeps none from starting, once it is certain that it is dead", async () => {
  const world = new World();
  const first = await world.up("a", { isSecure: true, wire: { min: 1, max: 1 } });
  first.membership.abandon();
  const second = world.start("b", { wire: { min: 2, max: 2 } });
  await world.time.advance(eviction - 1_000);
  assert.deepEqual(await world.states(), ["a up"]);
  await world.time.advance(2_000);
  await second.joined;
  assert.deepEqual(await world.states(), ["a dead", "b up"]);
});

test("A rolling update: nodes of versions 1, then 1 to 2, then 2 live together, one step at a time", async () => {
  const world = new World();
  const old = await world.up("old", { wire: { min: 1, max: 1 } });
  await world.up("both", { wire: { min: 1, max: 2 } });
  const refused = assert.rejects(world.start("new", { wire: { min: 2, max: 2 } }).joined, IncompatibleNodeError);
  await world.time.advance(defaultTimings.renew * 2);
  await refused;
  await old.membership.leave();
  await world.up("new", { wire: { min: 2, max: 2 } });
});

test("A node that is reported dead is dead at once, for all", async () => {
  const world = new World();
  const [a, b, c] = [await world.up("a"), await world.up("b"), await world.up("c")];
  b.membership.abandon();
  await a.membership.markDead(b.membership.node);
  await settle();
  assert.deepEqual(names(a.membership.members), ["a up", "c up"]);
  assert.deepEqual(names(c.membership.members), ["a up", "c up"]);
  await a.membership.markDead(b.membership.node);
  await a.membership.markDead("nobody");
});

test("A node whose process has ended on this host is dead within a fraction of a second", async () => {
  const world = new World();
  const running = new Set([1, 2]);
  const witness = (pid: number, host = "here"): MembershipOptions["witness"] => ({
    self: { host, pid, started: `boot ns ${pid}` },
    sees: (process: ProcessIdentity) => process.host === host,
    isRunning: (process: ProcessIdentity) => running.has(process.pid),
  });
  const a = await world.up("a", { witness: witness(1)! });
  const b = await world.up("b", { witness: witness(2)! });
  const far = await world.up("far", { witness: witness(3, "elsewhere")! });
  b.environment.clock.pause();
  await world.time.advance(1_000);
  assert.deepEqual(names(a.membership.members), ["a up", "b up", "far up"]);
  running.delete(2);
  await world.time.advance(100);
  assert.deepEqual(names(a.membership.members), ["a up", "far up"]);
  assert.deepEqual(names(far.membership.members), ["a up", "far up"]);
  // Its successor does not wait for anything.
  running.add(4);
  await world.up("b", { witness: witness(4)! });
});

test("Rows of the dead are deleted after a time, with names that nobody has taken", async () => {
  const world = new World();
  await world.up("a");
  const b = await world.up("b");
  await b.membership.leave();
  await world.time.advance(590_000);
  assert.deepEqual(await world.states(), ["a up", "b dead"]);
  await world.time.advance(20_000);
  assert.deepEqual(await world.states(), ["a up"]);
  await world.up("b");
});

test("A member is up again when the store has gone back to before it was", async () => {
  const world = new World();
  const a = await world.up("a");
  const [row] = (await readCluster(world.memory)).members;
  const before: Member = { ...row!.member, state: "joining", beat: 0 };
  await world.memory.commit({ id: "rewound", checks: [], writes: [memberWrite(before)] });
  await world.time.advance(2 * defaultTimings.renew);
  assert.deepEqual(await world.states(), ["a up"]);
  assert.equal(a.membership.state, "up");
});

test("A history of the store that may have gone backwards is told", async () => {
  const world = new World();
  let generation = "1";
  const store = Object.assign(new FaultyStore(world.memory), { generation: () => generation });
  const environment = new NodeEnvironment(world.time, 1);
  const membership = new Membership({ environment, name: "a", store });
  const events: string[] = [];
  await membership.join(null, { membersChanged: () => {}, fenced: () => {}, generationChanged: () => events.push("generation") });
  await world.time.advance(5_000);
  assert.deepEqual(events, []);
  generation = "2";
  await world.time.advance(5_000);
  assert.deepEqual(events, ["generation"]);
});

for (const name of ["", "a b", "ä", "a".repeat(64), "a#b"])
  test(`A node cannot be called ${JSON.stringify(name.slice(0, 10))}`, () => {
    const world = new World();
    assert.throws(() => world.start(name), /A node's name has 1 to 63 characters/);
  });
