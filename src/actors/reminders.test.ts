import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeTuple } from "../base/tuple.ts";
import { actor, FakeProcesses, startNode, type TestNode } from "../../test/support/actor-node.ts";
import { ManualEnvironment, settle } from "../../test/support/manual-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { LimitError, type Store } from "../storage/store.ts";
import type { ActorType, Reminder, Turn } from "./actor.ts";
import { reminderSlots, slotPrefix } from "./actor-rows.ts";

type Work = (turn: Turn) => Promise<unknown>;
type OnReminder = (reminder: Reminder, turn: Turn, key: string) => Promise<void>;

function alarmed(onReminder: OnReminder): ActorType<Work, unknown> {
  return {
    type: "alarmed",
    create: ({ id }) => ({
      receive: async (work, turn) => await work(turn),
      remind: async (reminder, turn) => await onReminder(reminder, turn, id.key),
    }),
  };
}

function recording(delivered: Reminder[]): ActorType<Work, unknown> {
  return alarmed(async (reminder) => void delivered.push(reminder));
}

const one = actor("alarmed");
const remind =
  (...args: Parameters<Turn["remind"]>): Work =>
  async (turn) =>
    turn.remind(...args);

/** Rows of reminders in the order of time, in all slots. */
async function dueRows(store: Store): Promise<number> {
  const answers = await store.read(
    Array.from({ length: reminderSlots }, (_, slot) => ({
      begin: encodeTuple(slotPrefix(slot)),
      end: encodeTuple(slotPrefix(slot + 1)),
      limit: 1_000,
    })),
  );
  return answers.reduce((sum, rows) => sum + rows.length, 0);
}

test("A reminder is delivered when it is due, with its payload, and its rows are gone then", async () => {
  const delivered: Reminder[] = [];
  const { runtime, environment, store } = await startNode([recording(delivered)]);
  const { clock } = environment;
  const due = clock.now() + 5_000;
  await runtime.invoke(one, remind("wake", { due, payload: { step: 3 } }));
  await clock.advance(4_999);
  assert.deepEqual(delivered, []);
  await clock.advance(1);
  assert.deepEqual(delivered, [{ name: "wake", due, payload: { step: 3 } }]);
  assert.equal(await dueRows(store), 0);
  await clock.advance(600_000);
  assert.equal(delivered.length, 1);
});

test("A reminder that was due in the past is delivered at once, and one that is due in years in years", async () => {
  const delivered: string[] = [];
  const { runtime, environment } = await startNode([alarmed(async ({ name }) => void delivered.push(name))]);
  const year = 365 * 86_400_000;
  await runtime.invoke(one, async (turn: Turn) => {
    turn.remind("past", { due: 0 });
    turn.remind("future", { due: environment.clock.now() + 10 * year });
  });
  await environment.clock.advance(1);
  assert.deepEqual(delivered, ["past"]);
  environment.clock.jump(10 * year);
  await environment.clock.advance(10_000);
  assert.deepEqual(delivered, ["past", "future"]);
});

test("A reminder can be moved and cancelled; the rows of the old time are gone", async () => {
  const delivered: Reminder[] = [];
  const { runtime, environment, store } = await startNode([recording(delivered)]);
  const now = environment.clock.now();
  await runtime.invoke(one, remind("a", { due: now + 1_000 }));
  await runtime.invoke(one, remind("b", { due: now + 1_000 }));
  await runtime.invoke(one, remind("a", { due: now + 3_000 }));
  await runtime.invoke(one, remind("b", undefined));
  await runtime.invoke(one, remind("never set", undefined));
  assert.equal(await dueRows(store), 1);
  await environment.clock.advance(2_999);
  assert.deepEqual(delivered, []);
  await environment.clock.advance(1);
  assert.deepEqual(
    delivered.map(({ name, due }) => [name, due]),
    [["a", now + 3_000]],
  );
});

test("A turn that throws sets no reminder", async () => {
  const delivered: Reminder[] = [];
  const { runtime, environment, store } = await startNode([recording(delivered)]);
  const work: Work = async (turn) => {
    turn.remind("a", { due: 0 });
    throw new Error("no");
  };
  await assert.rejects(runtime.invoke(one, work));
  await environment.clock.advance(60_000);
  assert.deepEqual(delivered, []);
  assert.equal(await dueRows(store), 0);
});

test("A reminder survives the process, and wakes its actor on the node that starts (A6)", async () => {
  const store = new MemoryStore();
  const delivered: Reminder[] = [];
  const first = await startNode([recording(delivered)], { store });
  const due = first.environment.clock.now() + 60_000;
  await first.runtime.invoke(one, remind("wake", { due, payload: "x" }));
  first.kill();
  const second = await startNode([recording(delivered)], { store, processes: first.processes });
  await second.environment.clock.advance(59_999);
  assert.deepEqual(delivered, []);
  await second.environment.clock.advance(1);
  assert.deepEqual(delivered, [{ name: "wake", due, payload: "x" }]);
});

test("A reminder marked early is delivered at once by a node that starts, and in its time by one that runs", async () => {
  const store = new MemoryStore();
  const delivered: string[] = [];
  const type = alarmed(async ({ name }) => void delivered.push(name));
  const first = await startNode([type], { store });
  const now = first.environment.clock.now();
  await first.runtime.invoke(one, async (turn: Turn) => {
    turn.remind("early", { due: now + 300_000, earlyAfterRestart: true });
    turn.remind("too far", { due: now + 700_000, earlyAfterRestart: true });
    turn.remind("plain", { due: now + 200_000 });
  });
  await first.environment.clock.advance(1_000);
  assert.deepEqual(delivered, []);
  first.kill();
  const second = await startNode([type], { store, processes: first.processes });
  await second.environment.clock.advance(0);
  assert.deepEqual(delivered, ["early"]);
  await second.environment.clock.advance(200_000);
  assert.deepEqual(delivered, ["early", "plain"]);
  await second.environment.clock.advance(500_000);
  assert.deepEqual(delivered, ["early", "plain", "too far"]);
});

test("An early delivery that fails is tried again before the reminder is due", async () => {
  const store = new MemoryStore();
  const times: number[] = [];
  const environment = new ManualEnvironment(77);
  const type = alarmed(async () => {
    times.push(environment.clock.elapsed());
    if (times.length < 3) throw new Error("not yet");
  });
  const first = await startNode([recording([])], { store });
  await first.runtime.invoke(one, remind("early", { due: first.environment.clock.now() + 300_000, earlyAfterRestart: true }));
  first.kill();
  await startNode([type], { store, environment, processes: first.processes });
  await environment.clock.advance(20_000);
  assert.equal(times.length, 3);
  assert.ok(times[2]! < 10_000, `${times.join(", ")} ms`);
});

test("A reminder whose turn throws is delivered again later and later, and its row stays meanwhile", async () => {
  const times: number[] = [];
  const environment = new ManualEnvironment(3);
  const type = alarmed(async () => {
    times.push(environment.clock.elapsed());
    if (times.length < 5) throw new Error("not yet");
  });
  const { runtime, store } = await startNode([type], { environment });
  await runtime.invoke(one, remind("wake", { due: 0 }));
  await environment.clock.advance(5);
  assert.equal(await dueRows(store), 1);
  await environment.clock.advance(120_000);
  assert.equal(times.length, 5);
  const waits = times.slice(1).map((time, index) => time - times[index]!);
  for (const [index, wait] of waits.entries())
    assert.ok(wait >= 500 * 2 ** index && wait <= 1_001 * 2 ** index, `${wait} ms after failure ${index}`);
  assert.equal(await dueRows(store), 0);
});

test("A reminder that its own turn sets again stays set, for the new time", async () => {
  const dues: number[] = [];
  const { runtime, environment } = await startNode([
    alarmed(async (reminder, turn) => {
      dues.push(reminder.due);
      if (dues.length < 4) turn.remind(reminder.name, { due: reminder.due + 1_000, payload: dues.length });
    }),
  ]);
  const now = environment.clock.now();
  await runtime.invoke(one, remind("tick", { due: now + 1_000 }));
  await environment.clock.advance(60_000);
  assert.deepEqual(
    dues,
    [1_000, 2_000, 3_000, 4_000].map((after) => now + after),
  );
});

test("A delivery is deduplicated: the turn of a reminder that is not set any more does nothing", async () => {
  const store = new MemoryStore();
  const delivered: Reminder[] = [];
  const { runtime, environment } = await startNode([recording(delivered)], { store });
  const due = environment.clock.now() + 1_000;
  await runtime.invoke(one, remind("wake", { due }));
  // The scheduler has read the row, and the actor cancels the reminder before the delivery reaches it.
  const invocation = runtime.invoke(one, async (turn: Turn) => {
    await environment.clock.sleep(1_500);
    turn.remind("wake", undefined);
  });
  await environment.clock.advance(3_000);
  await invocation;
  await environment.clock.advance(60_000);
  assert.deepEqual(delivered, []);
});

test("Reminders of an actor that another living node holds are left to it", async () => {
  const store = new MemoryStore();
  const processes = new FakeProcesses();
  const delivered: string[] = [];
  const node = async (name: string): Promise<TestNode> =>
    await startNode([alarmed(async () => void delivered.push(name))], { store, processes });
  const first = await node("first");
  const second = await node("second");
  await first.runtime.invoke(one, remind("wake", { due: first.environment.clock.now() + 1_000 }));
  await second.environment.clock.advance(60_000);
  assert.deepEqual(delivered, []);
  assert.equal(second.environment.logs.filter((entry) => entry.level === "warn").length, 0);
  first.kill();
  await second.environment.clock.advance(20_000);
  assert.deepEqual(delivered, ["second"]);
});

test("A thousand reminders that are due at once are delivered by and by: bounded in rate and number, none twice", async () => {
  const store = new MemoryStore();
  const first = await startNode([recording([])], { store });
  await Promise.all(
    Array.from({ length: 1_000 }, (_, key) =>
      first.runtime.invoke(actor("alarmed", `${key}`), remind("wake", { due: first.environment.clock.now() + 60_000 })),
    ),
  );
  first.kill();
  let [running, most] = [0, 0];
  const delivered = new Map<string, number>();
  const environment = new ManualEnvironment(5);
  environment.clock.jump(120_000);
  const type = alarmed(async (_reminder, _turn, key) => {
    most = Math.max(most, ++running);
    await environment.clock.sleep(10);
    running--;
    delivered.set(key, (delivered.get(key) ?? 0) + 1);
  });
  await startNode([type], { store, environment, processes: first.processes, limits: { reminderDeliveries: 8, remindersPerSecond: 200 } });
  await environment.clock.advance(1_000);
  assert.ok(delivered.size > 100 && delivered.size <= 220, `${delivered.size} in the first second`);
  await environment.clock.advance(5_000);
  assert.equal(delivered.size, 1_000);
  assert.deepEqual([...new Set(delivered.values())], [1]);
  assert.equal(most <= 8, true, `${most} at once`);
});

test("Reminders whose delivery fails do not keep those behind them in the same slot from being delivered", async () => {
  const delivered: string[] = [];
  const { runtime, environment } = await startNode([
    alarmed(async ({ name }) => {
      if (name.startsWith("bad")) throw new Error("always");
      delivered.push(name);
    }),
  ]);
  await runtime.invoke(one, async (turn: Turn) => {
    for (let each = 0; each < 100; each++) turn.remind(`bad ${each}`, { due: each });
    turn.remind("good", { due: 1_000 });
  });
  await environment.clock.advance(1_000);
  assert.deepEqual(delivered, ["good"]);
});

test("A store that fails does not end the scheduler", async () => {
  const delivered: Reminder[] = [];
  const { runtime, environment, store } = await startNode([recording(delivered)]);
  await runtime.invoke(one, remind("wake", { due: environment.clock.now() + 1_000 }));
  store.readFault = () => true;
  await environment.clock.advance(10_000);
  assert.deepEqual(delivered, []);
  store.readFault = () => false;
  await environment.clock.advance(2_000);
  assert.equal(delivered.length, 1);
});

test("No reminder is delivered after a graceful stop has begun", async () => {
  const delivered: Reminder[] = [];
  const { runtime, environment } = await startNode([recording(delivered)]);
  await runtime.invoke(one, remind("wake", { due: environment.clock.now() + 1_000 }));
  await runtime[Symbol.asyncDispose]();
  await environment.clock.advance(60_000);
  assert.deepEqual(delivered, []);
});

test("A node at rest reads rarely", async () => {
  const { environment, store } = await startNode([recording([])]);
  await settle();
  const before = store.reads;
  await environment.clock.advance(60_000);
  assert.ok(store.reads - before <= 13, `${store.reads - before} reads in a minute`);
});

for (const [what, name, due, payload] of [
  ["an empty name", "", 0, null],
  ["a name that is too long", "x".repeat(201), 0, null],
  ["a time that is no number", "a", Number.NaN, null],
  ["a time before 1970", "a", -1, null],
  ["a time with fractions", "a", 0.5, null],
  ["a large payload", "a", 0, "x".repeat(64_001)],
] as const) {
  test(`A reminder with ${what} is refused`, async () => {
    const { runtime } = await startNode([recording([])]);
    await assert.rejects(runtime.invoke(one, remind(name, { due, payload })), LimitError);
  });
}

test("An actor without a remind method cannot set reminders", async () => {
  const type: ActorType<Work, unknown> = { type: "alarmed", create: () => ({ receive: async (work, turn) => await work(turn) }) };
  const { runtime } = await startNode([type]);
  await assert.rejects(runtime.invoke(one, remind("a", { due: 0 })), /has a remind method, unlike alarmed\/one/);
});
