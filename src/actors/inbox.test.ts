import assert from "node:assert/strict";
import { test } from "node:test";
import { actor, FakeProcesses, startNode, type TestNode } from "../../test/support/actor-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import { encodeTuple, tupleRange } from "../base/tuple.ts";
import { readCounter } from "../storage/counter.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { LimitError, type Store, StoreUnavailableError } from "../storage/store.ts";
import {
  type ActorId,
  ActorMessageError,
  type ActorType,
  MailboxFullError,
  type Origin,
  type Turn,
  UnknownActorTypeError,
} from "./actor.ts";
import { inboxesPrefix, inboxSizeKey } from "./actor-rows.ts";
import { readActorRecord } from "./actor-record.ts";
import { discardDeadLetter, listDeadLetters, redeliverDeadLetter } from "./dead-letters.ts";

type Work = (turn: Turn) => Promise<unknown>;

const cyclic: unknown[] = [];
cyclic.push(cyclic);

/** What a reader does with a message after it has written it down. */
type OnMessage = (message: unknown, turn: Turn, id: ActorId) => Promise<void>;

/** An actor that does what it is told: to send. */
const poster: ActorType = {
  type: "poster",
  create: () => ({ receive: async (work, turn) => await (work as Work)(turn) }),
};

/** An actor that keeps what it was sent, in the order in which it was handled. */
function readers(onMessage: OnMessage = async () => {}): ActorType {
  return {
    type: "reader",
    create: ({ id }) => ({
      receive: async (message, turn) => {
        const log = (await turn.state.get<unknown[]>(["log"])) ?? [];
        if (message === "log") return log;
        turn.state.set(["log"], [...log, message]);
        await onMessage(message, turn, id);
        return null;
      },
    }),
  };
}

const one = actor("poster", "one");
const two = actor("poster", "two");
const reader = (key = "r"): ActorId => actor("reader", key);

async function start(onMessage?: OnMessage, options: Parameters<typeof startNode>[1] = {}): Promise<TestNode> {
  return await startNode<never>([poster, readers(onMessage)] as never, options);
}

/** Sends `messages` in one turn of `from`. */
async function post({ runtime }: TestNode, from: ActorId, to: ActorId, ...messages: readonly unknown[]): Promise<void> {
  await runtime.invoke(from, (async (turn) => {
    for (const message of messages) turn.send(to, message);
  }) satisfies Work);
}

async function log({ runtime, environment }: TestNode, id: ActorId = reader()): Promise<readonly unknown[]> {
  await environment.clock.advance(1);
  return await runtime.invoke<unknown[]>(id, "log");
}

/** Messages that wait in inboxes, and what the counter of `id` says of them. */
async function waiting(store: Store, id: ActorId = reader()): Promise<readonly [rows: number, counter: number]> {
  const [rows, counter] = await store.read([{ ...tupleRange(inboxesPrefix), limit: 10_000 }, { key: encodeTuple(inboxSizeKey(id)) }]);
  return [rows!.length, Number(readCounter(counter![0]?.value))];
}

test("Messages are handled in the order sent, once, and say where they come from; nothing is left of them", async () => {
  const origins: (Origin | undefined)[] = [];
  const node = await start(async (_, turn) => void origins.push(turn.origin));
  await post(node, one, reader(), "a", { b: [1, null] });
  await post(node, one, reader(), "c");
  assert.deepEqual(await log(node), ["a", { b: [1, null] }, "c"]);
  assert.deepEqual(await waiting(node.store), [0, 0]);
  const at = node.environment.clock.now() - 1;
  assert.deepEqual(
    origins,
    ["1/0", "1/1", "2/0"].map((end) => ({ sender: one, id: `poster/one/${end}`, at, attempt: 1 })),
  );
  await node.environment.clock.advance(60_000);
  assert.equal(origins.length, 3);
});

test("A hundred messages of a turn are handled in the same order, in few batches", async () => {
  const node = await start();
  const { store } = node;
  const messages = Array.from({ length: 100 }, (_, each) => each);
  store.hold();
  const sent = post(node, one, reader(), ...messages);
  await settle();
  const { length } = store.batches;
  store.release();
  store.hold();
  await sent;
  await settle();
  store.release();
  assert.deepEqual(await log(node), messages);
  assert.equal(store.batches.length - length, 2);
});

test("A turn that throws sends nothing, and one that runs again after a conflict sends once", async () => {
  const node = await start();
  const { runtime, store } = node;
  await assert.rejects(
    runtime.invoke(one, (async (turn) => {
      turn.send(reader(), "never");
      throw new Error("no");
    }) satisfies Work),
    /no/u,
  );
  let runs = 0;
  const work: Work = async (turn) => {
    turn.send(reader(), ++runs);
    const seen = (await turn.shared.get<number>(["test", "shared"])) ?? 0;
    if (runs === 1)
      await store.commit({
        id: "other",
        checks: [],
        writes: [{ kind: "set", key: encodeTuple(["test", "shared"]), value: Buffer.from("1") }],
      });
    turn.shared.set(["test", "shared"], seen + 1);
  };
  const sent = runtime.invoke(one, work);
  await node.environment.clock.advance(100);
  await sent;
  assert.deepEqual(await log(node), [2]);
});

test("What a turn has made durable is sent, although the turn throws then", async () => {
  const node = await start();
  const work: Work = async (turn) => {
    turn.send(reader(), "kept");
    await turn.durable();
    turn.send(reader(), "never");
    throw new Error("no");
  };
  await assert.rejects(node.runtime.invoke(one, work), /no/u);
  assert.deepEqual(await log(node), ["kept"]);
});

test("A message of a turn whose commit was lost and settled is handled once", async () => {
  const node = await start();
  for (const fault of ["unknownApplied", "unknownLost", "unavailable"] as const) {
    node.store.failNext(fault);
    const sent = post(node, one, reader(), fault);
    await node.environment.clock.advance(1_000);
    await sent;
    node.store.failNext(undefined, fault);
    await post(node, two, reader(), `receiver ${fault}`);
    await node.environment.clock.advance(1_000);
  }
  const expected = ["unknownApplied", "unknownLost", "unavailable"].flatMap((fault) => [fault, `receiver ${fault}`]);
  assert.deepEqual(await log(node), expected);
  assert.deepEqual(await waiting(node.store), [0, 0]);
});

test("What waits when a process dies is handled by the one that starts, also what was under way (A7)", async () => {
  const memory = new MemoryStore();
  const processes = new FakeProcesses();
  const first = await start(async () => await new Promise(() => {}), { store: memory, processes });
  await post(first, one, reader(), "a", "b");
  await post(first, two, reader("other"), "c");
  await settle();
  first.kill();
  const second = await start(undefined, { store: memory, processes });
  assert.deepEqual(await log(second), ["a", "b"]);
  assert.deepEqual(await log(second, reader("other")), ["c"]);
  assert.deepEqual(await waiting(memory), [0, 0]);
});

test("A message that its process handled and could not say so is not handled again by the next one", async () => {
  const memory = new MemoryStore();
  const processes = new FakeProcesses();
  const first = await start(undefined, { store: memory, processes });
  first.store.failNext(undefined, "unknownApplied");
  await post(first, one, reader(), "a");
  await settle();
  first.kill();
  const second = await start(undefined, { store: memory, processes });
  assert.deepEqual(await log(second), ["a"]);
});

test("A message comes again after the turn over it has thrown, before what its sender sent later; others go ahead", async () => {
  const attempts: number[] = [];
  const node = await start(async (message, turn) => {
    if (message !== "a" || attempts.push(turn.origin!.attempt) === 3) return;
    throw new Error("not yet");
  });
  await post(node, one, reader(), "a", "b");
  await post(node, two, reader(), "c");
  assert.deepEqual(await log(node), ["c"]);
  await node.environment.clock.advance(997);
  assert.deepEqual(attempts, [1]);
  await node.environment.clock.advance(2);
  assert.deepEqual(attempts, [1, 2]);
  await node.environment.clock.advance(1_990);
  assert.deepEqual(await log(node), ["c"]);
  await node.environment.clock.advance(20);
  assert.deepEqual(await log(node), ["c", "a", "b"]);
  assert.deepEqual(attempts, [1, 2, 3]);
});

test("A message that waits to be tried again is not overtaken, however long the turns meanwhile take", async () => {
  const node = await start(async (message, turn) => {
    if (message === "slow") await node.environment.clock.sleep(1_500);
    if (message === "a" && turn.origin!.attempt === 1) throw new Error("not yet");
  });
  const { runtime } = node;
  const first = runtime.invoke(reader(), "slow");
  await post(node, one, reader(), "a", "b");
  await settle();
  const calls = [first, runtime.invoke(reader(), "slow"), runtime.invoke(reader(), "slow")];
  await node.environment.clock.advance(10_000);
  await Promise.all(calls);
  assert.deepEqual(
    (await log(node)).filter((message) => message !== "slow"),
    ["a", "b"],
  );
});

test("A bug in the receiver's turn discards its activation, and the message comes again all the same", async () => {
  let runs = 0;
  const node = await start(async () => {
    if (++runs === 1) throw new TypeError("a bug");
  });
  await post(node, one, reader(), "a", "b");
  await node.environment.clock.advance(2_000);
  assert.deepEqual(await log(node), ["a", "b"]);
  assert.equal(node.environment.count("actors.discarded"), 1);
});

test("The attempts of a message are counted over restarts, and its next one waits its time", async () => {
  const memory = new MemoryStore();
  const processes = new FakeProcesses();
  const attempts: number[] = [];
  const fails: OnMessage = async (_, turn) => {
    attempts.push(turn.origin!.attempt);
    throw new Error("no");
  };
  const first = await start(fails, { store: memory, processes });
  await post(first, one, reader(), "a");
  await first.environment.clock.advance(1_500);
  first.kill();
  const second = await start(fails, { store: memory, processes, environment: first.environment });
  await second.environment.clock.advance(1_000);
  assert.deepEqual(attempts, [1, 2]);
  await second.environment.clock.advance(1_000);
  assert.deepEqual(attempts, [1, 2, 3]);
});

test("After eight attempts a message is a dead letter, and what was behind it goes on", async () => {
  let isBroken = true;
  const node = await start(async (message) => {
    if (message === "bad" && isBroken) throw new RangeError("out of reach");
  });
  const { environment, store } = node;
  const at = environment.clock.now();
  await post(node, one, reader(), "bad", "good");
  await environment.clock.advance(120_000);
  assert.deepEqual(await waiting(store), [2, 2]);
  await environment.clock.advance(10_000);
  assert.deepEqual(await log(node), ["good"]);
  assert.deepEqual(await waiting(store), [0, 0]);
  const letters = await listDeadLetters(store, { project: "test" }, { limit: 10 });
  assert.equal(letters.length, 1);
  const { died, ...letter } = letters[0]!;
  assert.ok(died - at > 120_000 && died - at < 130_000);
  assert.deepEqual(letter, {
    at,
    message: "bad",
    failures: 8,
    error: "RangeError: out of reach",
    sender: one,
    receiver: reader(),
    path: ["test", "dead letter", "reader", "r", "poster", "one", 1, 0],
  });
  assert.equal((await listDeadLetters(store, { project: "test", type: "reader", key: "r" }, { limit: 10 })).length, 1);
  assert.equal((await listDeadLetters(store, { project: "test", type: "poster" }, { limit: 10 })).length, 0);
  assert.equal((await listDeadLetters(store, { project: "test" }, { limit: 10, after: letter.path })).length, 0);

  isBroken = false;
  assert.equal(await redeliverDeadLetter(store, environment, letters[0]!), true);
  assert.equal(await redeliverDeadLetter(store, environment, letters[0]!), false);
  await environment.clock.advance(10_000);
  assert.deepEqual(await log(node), ["good", "bad"]);
  assert.deepEqual(await waiting(store), [0, 0]);
});

test("A receiver that has no room now, or no store, uses up no attempt of a message", async () => {
  const attempts: number[] = [];
  const node = await start(async (_, turn) => {
    if (attempts.push(turn.origin!.attempt) <= 20)
      throw attempts.length % 2 === 0 ? new MailboxFullError("Not now", 2_000) : new StoreUnavailableError("Away");
  });
  await post(node, one, reader(), "a", "b");
  await node.environment.clock.advance(29_000);
  assert.deepEqual(await log(node), []);
  await node.environment.clock.advance(2_000);
  assert.deepEqual(await log(node), ["a", "b"]);
  assert.ok(attempts.every((attempt) => attempt === 1));
});

test("What is kept of an actor says what waits in its inbox, and what was given up", async () => {
  const node = await start(async (message) => {
    if (message === "bad") throw new Error("no");
  });
  await post(node, one, reader(), "bad", "good");
  await node.environment.clock.advance(1);
  const before = (await readActorRecord(node.store, reader()))!;
  assert.deepEqual([before.inbox, before.deadLetters], [2, []]);
  await node.environment.clock.advance(130_000);
  const after = (await readActorRecord(node.store, reader()))!;
  assert.equal(after.inbox, 0);
  assert.deepEqual(
    after.deadLetters.map(({ message, error }) => [message, error]),
    [["bad", "Error: no"]],
  );
});

test("A turn cannot write the rows of another actor", async () => {
  const node = await start();
  for (const kind of ["state", "header", "reminders", "dedup"]) {
    const key = ["test", kind, "reader", "r", "x"];
    const works: readonly Work[] = [
      async (turn) => turn.shared.set(key, 1),
      async (turn) => turn.shared.deleteAll(key),
      async (turn) => turn.write({ kind: "delete", key: encodeTuple(key) }),
    ];
    for (const work of works) await assert.rejects(node.runtime.invoke(one, work), /written by that actor only: send it a message/u);
  }
});

test("A dead letter can be thrown away", async () => {
  const node = await start(async () => await Promise.reject(new Error("no")));
  await post(node, one, reader(), "bad");
  await node.environment.clock.advance(130_000);
  const [letter] = await listDeadLetters(node.store, { project: "test" }, { limit: 10 });
  await discardDeadLetter(node.store, node.environment, letter!);
  assert.deepEqual(await listDeadLetters(node.store, { project: "test" }, { limit: 10 }), []);
});

test("An inbox that is full makes the sender's turn fail, which leaves nothing; there is room again later", async () => {
  let isStuck = true;
  const node = await start(
    async () => {
      if (isStuck) throw new Error("no");
    },
    { limits: { inboxMessages: 3 } },
  );
  const { runtime, store, environment } = node;
  await post(node, one, reader(), "a", "b");
  await assert.rejects(
    runtime.invoke(one, (async (turn) => {
      turn.state.set(["written"], true);
      turn.send(reader(), "c");
      turn.send(reader(), "d");
    }) satisfies Work),
    (error) => error instanceof MailboxFullError && /2 messages wait in its inbox, and at most 3/u.test(error.message),
  );
  assert.equal(await runtime.invoke(one, (async (turn) => await turn.state.get(["written"])) satisfies Work), undefined);
  assert.deepEqual(await waiting(store), [2, 2]);
  await post(node, one, reader("other"), "x");
  isStuck = false;
  await environment.clock.advance(2_000);
  await post(node, one, reader(), "c", "d");
  assert.deepEqual(await log(node), ["a", "b", "c", "d"]);
});

for (const [what, work, error, text] of [
  ["to a type that there is not", (turn) => turn.send(actor("nobody"), 1), UnknownActorTypeError, /nobody/u],
  ["to another project", (turn) => turn.send({ ...reader(), project: "other" }, 1), ActorMessageError, /own project/u],
  ["to an id that is not valid", (turn) => turn.send(actor("reader", ""), 1), ActorMessageError, /1 to 500/u],
  ["of more than 64,000 bytes", (turn) => turn.send(reader(), "x".repeat(63_999)), LimitError, /64000 bytes/u],
  ["that is not JSON", (turn) => turn.send(reader(), undefined), TypeError, /is JSON/u],
  ["that is cyclic", (turn) => turn.send(reader(), cyclic), TypeError, /circular/u],
  ["that is the 1,001st", (turn) => Array.from({ length: 1_001 }, (_, each) => turn.send(reader(), each)), LimitError, /at most 1000/u],
  [
    "beyond what a batch holds",
    (turn) => Array.from({ length: 200 }, () => turn.send(reader(), "x".repeat(60_000))),
    LimitError,
    /at most/u,
  ],
] as const satisfies readonly (readonly [string, (turn: Turn) => unknown, abstract new (...args: never) => Error, RegExp])[])
  test(`A message ${what} is refused, and its turn can go on without it`, async () => {
    const node = await start();
    const sent = node.runtime.invoke(one, (async (turn) => {
      assert.throws(
        () => work(turn),
        (refusal) => refusal instanceof error && text.test(refusal.message),
      );
      throw new Error("That was to be shown");
    }) satisfies Work);
    await assert.rejects(sent, /to be shown/u);
    assert.deepEqual(await waiting(node.store), [0, 0]);
  });

test("An actor may send to itself, and pass on what it was sent", async () => {
  const node = await start(async (message, turn, id) => {
    const left = message as number;
    if (left > 0) turn.send(left % 2 === 0 ? id : reader(`${left}`), left - 1);
  });
  await post(node, one, reader(), 6);
  await node.environment.clock.advance(10);
  assert.deepEqual(await log(node), [6, 5]);
  assert.deepEqual(await log(node, reader("5")), [4, 3]);
  assert.deepEqual(await log(node, reader("1")), [0]);
});

test("An actor whose mailbox is full of calls gets what was sent to it", async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const node = await start(async (message) => await (message === "hold" ? held : undefined), { limits: { mailboxMessages: 3 } });
  const { runtime } = node;
  const first = runtime.invoke(reader(), "hold");
  await settle();
  const calls = [first, ...["x", "y", "z"].map((message) => runtime.invoke(reader(), message))];
  await assert.rejects(runtime.invoke(reader(), "refused"), MailboxFullError);
  await post(node, one, reader(), "a", "b");
  release();
  await Promise.all(calls);
  assert.deepEqual(await log(node), ["hold", "x", "y", "z", "a", "b"]);
});

test("An inbox that cannot be read is read again", async () => {
  const node = await start();
  let failures = 3;
  await post(node, one, reader(), "a");
  node.store.readFault = () => failures-- > 0;
  await node.environment.clock.advance(5_000);
  assert.deepEqual(await log(node), ["a"]);
});

test("A node that stops leaves what it has not begun, for after the restart", async () => {
  const memory = new MemoryStore();
  const first = await start(async () => await first.environment.clock.sleep(100), { store: memory });
  await post(first, one, reader(), "a", "b", "c");
  await settle();
  const stopped = first.runtime[Symbol.asyncDispose]();
  await first.environment.clock.advance(150);
  await stopped;
  assert.deepEqual(await waiting(memory), [2, 2]);
  const second = await start(undefined, { store: memory });
  assert.deepEqual(await log(second), ["a", "b", "c"]);
});

test("What was sent to a type that a later version does not have waits until one has it again", async () => {
  const memory = new MemoryStore();
  const processes = new FakeProcesses();
  const first = await start(async () => await new Promise(() => {}), { store: memory, processes });
  await post(first, one, reader(), "a");
  first.kill();
  const second = await startNode<never>([poster] as never, { store: memory, processes });
  await second.environment.clock.advance(600_000);
  assert.deepEqual(await waiting(memory), [1, 1]);
  assert.ok(second.environment.logs.some(({ message }) => message === "An actor could not be told of what was sent to it"));
  second.kill();
  const third = await start(undefined, { store: memory, processes });
  assert.deepEqual(await log(third), ["a"]);
});

test("A thousand actors that were sent something before a crash are all told after it", async () => {
  const memory = new MemoryStore();
  const processes = new FakeProcesses();
  const first = await start(async () => await new Promise(() => {}), { store: memory, processes });
  await first.runtime.invoke(one, (async (turn) => {
    for (let each = 0; each < 1_000; each++) turn.send(reader(`${each}`), each);
  }) satisfies Work);
  first.kill();
  const handled: unknown[] = [];
  const second = await start(async (message) => void handled.push(message), { store: memory, processes });
  await second.environment.clock.advance(2_000);
  assert.deepEqual(
    handled.toSorted((left, right) => (left as number) - (right as number)),
    Array.from({ length: 1_000 }, (_, each) => each),
  );
  assert.deepEqual(await waiting(memory), [0, 0]);
});
