import assert from "node:assert/strict";
import { test } from "node:test";
import { actor, FakeProcesses, startNode } from "../../test/support/actor-node.ts";
import { FaultyStore } from "../../test/support/faulty-store.ts";
import { ManualEnvironment, settle } from "../../test/support/manual-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import {
  type Activation,
  ActivationLostError,
  ActorMessageError,
  ActorsStoppedError,
  type ActorType,
  type Turn,
  UnknownActorTypeError,
} from "./actor.ts";
import { ActorRuntime } from "./actor-runtime.ts";
import { RecencyList } from "./recency-list.ts";
import { SingleNodePlacement } from "./single-node-placement.ts";

type Work = (turn: Turn, activation: Activation) => Promise<unknown>;

function observed(
  events: string[],
  options: { readonly activate?: (activation: Activation) => Promise<void> } = {},
): ActorType<Work, unknown> {
  return {
    type: "observed",
    create: (activation) => ({
      activate: async () => {
        events.push(`activate ${activation.id.key}`);
        await options.activate?.(activation);
      },
      receive: async (work, turn) => await work(turn, activation),
      deactivate: async () => void events.push(`deactivate ${activation.id.key}`),
    }),
  };
}
const one = actor("observed");
const nothing: Work = async () => {};

test("activate runs before the first turn, and can read the actor's rows", async () => {
  const events: string[] = [];
  const seen: unknown[] = [];
  const type = observed(events, {
    activate: async ({ state }) => void seen.push(await state.get(["name"]), await state.list(["list"], { limit: 10 })),
  });
  const first = await startNode([type]);
  await first.runtime.invoke(one, async (turn: Turn) => {
    events.push("turn");
    turn.state.set(["name"], "Ada");
    turn.state.set(["list", 1], "x");
  });
  assert.deepEqual(events, ["activate one", "turn"]);
  await first.runtime[Symbol.asyncDispose]();
  const second = await startNode([type], { store: first.store });
  await second.runtime.invoke(one, nothing);
  assert.deepEqual(seen, [undefined, [], "Ada", [{ key: ["list", 1], value: "x" }]]);
});

test("An activate that throws fails the messages that wait, and the next one tries again", async () => {
  let fails = true;
  const type = observed([], { activate: async () => (fails ? await Promise.reject(new Error("cannot")) : undefined) });
  const { runtime } = await startNode([type]);
  const outcomes = await Promise.allSettled([runtime.invoke(one, nothing), runtime.invoke(one, nothing)]);
  for (const outcome of outcomes) assert.ok(outcome.status === "rejected" && /cannot/.test(String(outcome.reason)));
  fails = false;
  await runtime.invoke(one, nothing);
});

test("activation.turn() runs as a turn of the actor, and resolves when it is durable", async () => {
  const { runtime, store } = await startNode([observed([])]);
  const work: Work = async (_turn, activation) =>
    activation.background(
      activation.turn(async (turn) => {
        turn.state.set(["from"], "background");
      }),
    );
  await runtime.invoke(one, work);
  await settle();
  assert.equal(await runtime.invoke(one, async (turn: Turn) => await turn.state.get(["from"])), "background");
  store.hold();
  let isDurable = false;
  const later: Work = async (_turn, activation) =>
    activation.background(activation.turn(async (turn) => turn.state.set(["from"], "later")).then(() => void (isDurable = true)));
  await runtime.invoke(one, later);
  await settle();
  assert.equal(isDurable, false);
  store.release();
  await settle();
  assert.equal(isDurable, true);
});

test("Work that activate begins may take turns: this is how a run goes on after a restart", async () => {
  const events: string[] = [];
  const type = observed(events, {
    activate: async (activation) => activation.background(activation.turn(async () => void events.push("resumed"))),
  });
  const { runtime } = await startNode([type]);
  await runtime.invoke(one, async () => void events.push("message"));
  await settle();
  assert.deepEqual(events, ["activate one", "message", "resumed"]);
});

test("Background work keeps the activation in memory, and a rejection is logged", async () => {
  const { runtime, environment } = await startNode([observed([])], { limits: { idleMilliseconds: 1_000 } });
  let fail = (_error: Error): void => {};
  const work: Work = async (_turn, activation) => activation.background(new Promise<void>((_, reject) => (fail = reject)));
  await runtime.invoke(one, work);
  await environment.clock.advance(10_000);
  assert.equal(runtime.live, 1);
  fail(new Error("background trouble"));
  await environment.clock.advance(2_000);
  assert.equal(runtime.live, 0);
  assert.equal(environment.logs.filter((entry) => entry.message === "Background work of an actor failed").length, 1);
});

test("An activation that is idle leaves memory after its time, and deactivates; one that is used stays", async () => {
  const events: string[] = [];
  const { runtime, environment } = await startNode([observed(events)], { limits: { idleMilliseconds: 1_000 } });
  await runtime.invoke(actor("observed", "idle"), nothing);
  for (let step = 0; step < 4; step++) {
    await runtime.invoke(actor("observed", "used"), nothing);
    await environment.clock.advance(400);
  }
  assert.deepEqual(events, ["activate idle", "activate used", "deactivate idle"]);
  assert.equal(runtime.live, 1);
  await environment.clock.advance(2_000);
  assert.equal(runtime.live, 0);
  assert.equal(environment.count("actors.evicted"), 2);
  const { timers } = environment.clock;
  await environment.clock.advance(60_000);
  assert.ok(environment.clock.timers <= timers, "no timer is left for nobody");
});

test("With more activations than may live, the least recently used idle ones leave", async () => {
  const events: string[] = [];
  const { runtime } = await startNode([observed(events)], { limits: { liveMax: 3 } });
  for (const key of ["a", "b", "c", "a", "d"]) await runtime.invoke(actor("observed", key), nothing);
  await settle();
  assert.equal(runtime.live, 3);
  assert.deepEqual(
    events.filter((event) => event.startsWith("deactivate")),
    ["deactivate b"],
  );
  await Promise.all(Array.from({ length: 300 }, (_, key) => runtime.invoke(actor("observed", `many ${key}`), nothing)));
  await settle();
  // Of the crowd nobody could leave; by hundreds they do as others come.
  for (let key = 0; key < 5; key++) await runtime.invoke(actor("observed", `last ${key}`), nothing);
  await settle();
  assert.equal(runtime.live, 3);
});

test("A busy activation is never ended to make room", async () => {
  const { runtime } = await startNode([observed([])], { limits: { liveMax: 1 } });
  let release = (): void => {};
  const busy = runtime.invoke(one, async () => await new Promise<void>((resolve) => (release = resolve)));
  for (let key = 0; key < 5; key++) await runtime.invoke(actor("observed", `${key}`), nothing);
  release();
  await busy;
});

test("A message that comes while its activation leaves memory gets a fresh one", async () => {
  let leave = (): void => {};
  let activations = 0;
  const type: ActorType<Work, unknown> = {
    type: "observed",
    create: (activation) => {
      activations++;
      return {
        receive: async (work, turn) => await work(turn, activation),
        deactivate: async () => await new Promise<void>((resolve) => (leave = resolve)),
      };
    },
  };
  const { runtime, environment } = await startNode([type], { limits: { idleMilliseconds: 1_000 } });
  await runtime.invoke(one, async (turn: Turn) => turn.state.set(["a"], 1));
  await environment.clock.advance(1_500);
  const reading = runtime.invoke(one, async (turn: Turn) => await turn.state.get(["a"]));
  await settle();
  assert.equal(activations, 1);
  leave();
  assert.equal(await reading, 1);
  assert.equal(activations, 2);
});

test("The activation's signal aborts when it ends, and its turns are refused then", async () => {
  const { runtime, environment } = await startNode([observed([])], { limits: { idleMilliseconds: 1_000 } });
  let kept: Activation | undefined;
  await runtime.invoke(one, async (_turn: Turn, activation: Activation) => void (kept = activation));
  const { signal } = kept!;
  assert.equal(signal.aborted, false);
  await environment.clock.advance(2_000);
  assert.equal(signal.aborted, true);
  await assert.rejects(
    kept!.turn(async () => {}),
    ActivationLostError,
  );
});

test("A graceful stop lets the running turn and background work finish, and refuses what waits and what comes", async () => {
  const events: string[] = [];
  const { runtime, store } = await startNode([observed(events)]);
  let release = (): void => {};
  const running = runtime.invoke(one, async (turn: Turn, activation: Activation) => {
    activation.background(
      (async () => {
        await new Promise((resolve) => activation.signal.addEventListener("abort", resolve));
        events.push("told");
        await activation.turn(async (late) => late.state.set(["background"], "done"));
      })(),
    );
    turn.state.set(["turn"], "done");
    await new Promise<void>((resolve) => (release = resolve));
  });
  const waiting = runtime.invoke(one, nothing);
  await settle();
  const stopped = runtime[Symbol.asyncDispose]();
  await assert.rejects(waiting, ActorsStoppedError);
  await assert.rejects(runtime.invoke(one, nothing), ActorsStoppedError);
  release();
  await running;
  await stopped;
  await runtime[Symbol.asyncDispose]();
  assert.deepEqual(events, ["activate one", "told", "deactivate one"]);
  assert.equal(runtime.live, 0);
  const next = await startNode([observed([])], { store });
  const read: Work = async (turn) => [await turn.state.get(["turn"]), await turn.state.get(["background"])];
  assert.deepEqual(await next.runtime.invoke(one, read), ["done", "done"]);
});

test("A graceful stop does not wait for ever: what hangs is ended", async () => {
  const { runtime, environment } = await startNode([observed([])], { limits: { stopMilliseconds: 500 } });
  let signal: AbortSignal | undefined;
  const hanging = runtime.invoke(one, async (turn: Turn) => {
    ({ signal } = turn);
    await new Promise(() => {});
  });
  await settle();
  const stopped = runtime[Symbol.asyncDispose]();
  const lost = assert.rejects(hanging, ActivationLostError);
  await environment.clock.advance(499);
  assert.equal(signal!.aborted, false);
  await environment.clock.advance(1);
  await stopped;
  await lost;
  assert.equal(signal!.aborted, true);
});

test("A type that is not registered is refused with those that are", async () => {
  const { runtime } = await startNode([observed([])]);
  await assert.rejects(
    runtime.invoke(actor("nobody"), nothing),
    (error) => error instanceof UnknownActorTypeError && /"nobody"; this node has observed/.test(error.message),
  );
});

for (const [id, message] of [
  [{ ...one, key: "" }, /The key of a observed actor has 1 to 500/],
  [{ ...one, key: "x".repeat(501) }, /\(501 characters\)/],
  [{ ...one, key: "\ud800" }, /well-formed/],
  [{ ...one, project: "" }, /project has 1 to 100 characters, not ""/],
  [{ ...one, project: "a\0b" }, /project/],
] as const) {
  test(`The actor id ${JSON.stringify({ ...id, key: id.key.slice(0, 5) })} is refused`, async () => {
    const { runtime } = await startNode([observed([])]);
    await assert.rejects(runtime.invoke(id, nothing), (error) => error instanceof ActorMessageError && message.test(error.message));
  });
}

for (const type of ["", "with space", "x".repeat(101), "ü"]) {
  test(`The actor type ${JSON.stringify(type.slice(0, 12))} is refused`, async () => {
    const { runtime } = await startNode([]);
    assert.throws(() => runtime.register({ type, create: () => ({ receive: async () => {} }) }), ActorMessageError);
  });
}

test("Keys with every kind of character name different actors", async () => {
  const { runtime } = await startNode([observed([])]);
  const keys = ["a", "a/b", "a\0b", "ä", "😀", "..", "%00", " ", "A"];
  for (const key of keys) await runtime.invoke(actor("observed", key), async (turn: Turn) => turn.state.set(["key"], key));
  for (const key of keys)
    assert.equal(await runtime.invoke(actor("observed", key), async (turn: Turn) => await turn.state.get(["key"])), key);
});

test("A recency list keeps the order of use", () => {
  const list = new RecencyList<{ readonly name: string; older: never; newer: never }>();
  const elements = ["a", "b", "c"].map((name) => ({ name, older: undefined as never, newer: undefined as never }));
  const names = (): string => {
    let text = "";
    for (let element = list.oldest; element !== undefined; element = element.newer) text += element.name;
    return text;
  };
  for (const element of elements) list.use(element);
  assert.equal(names(), "abc");
  list.use(elements[0]!);
  list.use(elements[0]!);
  assert.equal(names(), "bca");
  list.remove(elements[2]!);
  list.remove(elements[2]!);
  assert.equal(names(), "ba");
  list.remove(elements[1]!);
  list.remove(elements[0]!);
  assert.equal(names(), "");
});

test("A runtime that is stopped while it starts does not come alive, and leaves nothing behind", async () => {
  const store = new FaultyStore(new MemoryStore());
  const environment = new ManualEnvironment(1);
  const placement = new SingleNodePlacement(store, environment, new FakeProcesses().start());
  const runtime = new ActorRuntime({ store, environment, placement });
  const starting = runtime.start();
  await Promise.all([assert.rejects(starting, ActorsStoppedError), runtime[Symbol.asyncDispose]()]);
  assert.equal(await placement.isAlive("another"), false);
  const [rows] = await store.read([{ begin: new Uint8Array(0), end: Uint8Array.of(0xff), limit: 10 }]);
  assert.deepEqual(rows, []);
});
