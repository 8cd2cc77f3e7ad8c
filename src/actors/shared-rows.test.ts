import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeJson } from "../base/json.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import { actor, startNode, type TestNode } from "../../test/support/actor-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import { ConflictError, Transaction } from "../storage/transaction.ts";
import type { ActorType, Turn } from "./actor.ts";
import { turnAttemptsMax } from "./limits.ts";

type Work = (turn: Turn) => Promise<unknown>;
const Anything: ActorType<Work, unknown> = {
  type: "anything",
  create: () => ({ receive: async (work, turn) => await work(turn) }),
};
const one = actor("anything");
const left: Tuple = ["test", "account", "left"];
const right: Tuple = ["test", "account", "right"];

async function write(node: TestNode, key: Tuple, value: unknown): Promise<void> {
  await node.store.commit({
    id: node.environment.random.uuid(),
    checks: [],
    writes: [{ kind: "set", key: encodeTuple(key), value: encodeJson(value) }],
  });
}

async function balances(node: TestNode): Promise<number[]> {
  const transaction = new Transaction(node.store);
  return [(await transaction.get<number>(left)) ?? 0, (await transaction.get<number>(right)) ?? 0];
}

test("Actors that move amounts between shared rows never lose or make any", async () => {
  const node = await startNode([Anything]);
  await write(node, left, 1_000);
  await write(node, right, 1_000);
  const transfer =
    (from: Tuple, to: Tuple, amount: number): Work =>
    async (turn) => {
      const [source, target] = [(await turn.shared.get<number>(from))!, (await turn.shared.get<number>(to))!];
      turn.shared.set(from, source - amount);
      turn.shared.set(to, target + amount);
      turn.state.set(["moved"], ((await turn.state.get<number>(["moved"])) ?? 0) + amount);
    };
  const actors = [actor("anything", "a"), actor("anything", "b"), actor("anything", "c")];
  const transfers = Array.from({ length: 60 }, (_, each) =>
    node.runtime.invoke(actors[each % 3]!, each % 2 === 0 ? transfer(left, right, each) : transfer(right, left, each)),
  );
  let isDone = false;
  const all = Promise.all(transfers).finally(() => (isDone = true));
  while (!isDone) await node.environment.clock.advance(50);
  await all;
  const even = Array.from({ length: 60 }, (_, each) => (each % 2 === 0 ? each : -each)).reduce((sum, amount) => sum + amount, 0);
  assert.deepEqual(await balances(node), [1_000 - even, 1_000 + even]);
  const moved = await Promise.all(
    actors.map((id) => node.runtime.invoke<number>(id, async (turn: Turn) => await turn.state.get(["moved"]))),
  );
  assert.equal(moved[0]! + moved[1]! + moved[2]!, (59 * 60) / 2, "own rows count each transfer once");
  assert.ok(node.environment.count("actors.conflictRerun") > 0, "there was contention");
});

test("A turn whose shared row changed meanwhile runs again from the start, without what it had written", async () => {
  const node = await startNode([Anything]);
  await write(node, left, 1);
  let runs = 0;
  const work: Work = async (turn) => {
    runs++;
    const value = (await turn.shared.get<number>(left))!;
    if (runs === 1) {
      turn.state.set(["first run"], true);
      await write(node, left, 10);
    }
    turn.shared.set(left, value + 1);
    turn.state.set(["runs"], runs);
    return value;
  };
  const invocation = node.runtime.invoke(one, work);
  await node.environment.clock.advance(1_000);
  assert.equal(await invocation, 10);
  assert.equal(runs, 2);
  assert.deepEqual(await balances(node), [11, 0]);
  const rows = await node.runtime.invoke<{ value: unknown }[]>(one, async (turn: Turn) => await turn.state.list([], { limit: 10 }));
  assert.deepEqual(
    rows.map((row) => row.value),
    [2],
  );
});

test("A turn that conflicts again and again is given up, and leaves nothing", async () => {
  const node = await startNode([Anything]);
  let runs = 0;
  const work: Work = async (turn) => {
    runs++;
    await turn.shared.get(left);
    await write(node, left, runs);
    turn.shared.set(right, "written");
    turn.state.set(["written"], true);
  };
  const rejected = assert.rejects(node.runtime.invoke(one, work), ConflictError);
  await node.environment.clock.advance(10_000);
  await rejected;
  assert.equal(runs, turnAttemptsMax);
  assert.deepEqual((await balances(node))[1], 0);
  assert.deepEqual(await node.runtime.invoke(one, async (turn: Turn) => await turn.state.list([], { limit: 10 })), []);
});

test("A turn with shared rows commits alone: its conflict does not touch the turns before and after it", async () => {
  const node = await startNode([Anything]);
  const add: Work = async (turn) => turn.state.set(["count"], ((await turn.state.get<number>(["count"])) ?? 0) + 1);
  await node.runtime.invoke(one, add);
  node.store.hold();
  let runs = 0;
  const shared: Work = async (turn) => {
    runs++;
    const value = (await turn.shared.get<number>(left)) ?? 0;
    turn.shared.set(left, value + 1);
    return await turn.state.get(["count"]);
  };
  const invocations = [
    node.runtime.invoke(one, add),
    node.runtime.invoke(one, add),
    node.runtime.invoke(one, shared),
    node.runtime.invoke(one, add),
  ];
  await settle();
  const raced = write(node, left, 5);
  node.store.release();
  await raced;
  const all = Promise.all(invocations);
  await node.environment.clock.advance(1_000);
  assert.equal((await all)[2], 3);
  assert.deepEqual(await balances(node), [6, 0]);
  assert.equal(await node.runtime.invoke(one, async (turn: Turn) => await turn.state.get(["count"])), 4);
  assert.ok(runs >= 1);
});

test("An error that came of shared rows which were never so at one time is no answer: the turn runs again", async () => {
  const node = await startNode([Anything]);
  await write(node, left, 1);
  await write(node, right, 1);
  let runs = 0;
  const compare: Work = async (turn) => {
    runs++;
    const first = await turn.shared.get(left);
    if (runs === 1) {
      await write(node, left, 2);
      await write(node, right, 2);
    }
    if (first !== (await turn.shared.get(right))) throw new Error("They differ");
    return first;
  };
  const invocation = node.runtime.invoke(one, compare);
  await node.environment.clock.advance(1_000);
  assert.equal(await invocation, 2);
});

test("A turn that only reads shared rows answers what was so at one time, without a commit", async () => {
  const node = await startNode([Anything]);
  await node.runtime.invoke(one, async () => {});
  await write(node, left, 1);
  await write(node, right, 1);
  let runs = 0;
  const read: Work = async (turn) => {
    runs++;
    const first = await turn.shared.get(left);
    if (runs === 1) {
      await write(node, left, 2);
      await write(node, right, 2);
    }
    return [first, await turn.shared.get(right)];
  };
  const invocation = node.runtime.invoke(one, read);
  await node.environment.clock.advance(1_000);
  const before = node.store.batches.length;
  assert.deepEqual(await invocation, [2, 2]);
  assert.equal(node.store.batches.length, before);
});

test("A conflict in turn.durable() runs the turn again; after a durable part it does not", async () => {
  const node = await startNode([Anything]);
  let runs = 0;
  const early: Work = async (turn) => {
    runs++;
    await turn.shared.get(left);
    if (runs === 1) await write(node, left, 1);
    turn.state.set(["early"], runs);
    await turn.durable();
    return runs;
  };
  const first = node.runtime.invoke(one, early);
  await node.environment.clock.advance(1_000);
  assert.equal(await first, 2);

  let lateRuns = 0;
  const late: Work = async (turn) => {
    lateRuns++;
    turn.state.set(["late"], lateRuns);
    await turn.durable();
    await turn.shared.get(left);
    await write(node, left, 2);
    turn.shared.set(right, "never");
  };
  const second = assert.rejects(node.runtime.invoke(one, late), ConflictError);
  await node.environment.clock.advance(1_000);
  await second;
  assert.equal(lateRuns, 1);
  assert.deepEqual((await balances(node))[1], 0);
});

test("The first turn of an activation may use shared rows, and claims the actor only when it commits", async () => {
  const node = await startNode([Anything]);
  let runs = 0;
  const work: Work = async (turn) => {
    runs++;
    const value = (await turn.shared.get<number>(left)) ?? 0;
    if (runs === 1) await write(node, left, 7);
    if (runs === 2) return "gave up writing";
    turn.shared.set(left, value + 1);
    return "wrote";
  };
  const invocation = node.runtime.invoke(one, work);
  await node.environment.clock.advance(1_000);
  assert.equal(await invocation, "gave up writing");
  assert.equal(node.environment.count("actors.claimed"), 1);
});
