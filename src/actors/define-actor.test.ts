import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { startNode } from "../../test/support/actor-node.ts";
import { ActorMessageError, type Turn } from "./actor.ts";
import { actorOf, defineActor, type MethodMessage, sendTo } from "./define-actor.ts";

const Counter = defineActor({
  type: "counter",
  methods: {
    async increment(turn: Turn, { by }: { by: number }) {
      const count = ((await turn.state.get<number>(["count"])) ?? 0) + by;
      turn.state.set(["count"], count);
      return count;
    },
    async read(turn: Turn) {
      return (await turn.state.get<number>(["count"])) ?? 0;
    },
    async later(turn: Turn, { due }: { due: number }) {
      turn.remind("later", { due });
    },
  },
  schemas: { increment: z.object({ by: z.number().int() }) },
  async remind(turn, reminder) {
    turn.state.set(["count"], reminder.name);
  },
});

test("The methods of a defined actor are called by their names, with types", async () => {
  const { runtime } = await startNode([Counter]);
  const visits = actorOf(runtime, Counter, "visits");
  const count: number = await visits.increment({ by: 2 });
  assert.equal(count, 2);
  assert.equal(await visits.increment({ by: 3 }), 5);
  assert.equal(await visits.read(), 5);
  assert.equal(await actorOf(runtime, Counter, "other").read(), 0);
});

test("Actors of one key in different projects have nothing in common", async () => {
  const { runtime } = await startNode([Counter]);
  await actorOf(runtime, Counter, "a", { project: "one" }).increment({ by: 1 });
  assert.equal(await actorOf(runtime, Counter, "a", { project: "two" }).read(), 0);
  assert.equal(await actorOf(runtime, Counter, "a", { project: "one" }).read(), 1);
});

test("An invocation's options are passed on", async () => {
  const { runtime } = await startNode([Counter]);
  const visits = actorOf(runtime, Counter, "visits");
  for (let attempt = 0; attempt < 2; attempt++) assert.equal(await visits.increment({ by: 1 }, { invocationId: "a" }), 1);
});

test("A body that its schema refuses never reaches the actor", async () => {
  const { runtime } = await startNode([Counter]);
  const visits = actorOf(runtime, Counter, "visits");
  await assert.rejects(
    visits.increment({ by: "two" as unknown as number }),
    (error) => error instanceof ActorMessageError && /The body of counter\.increment is not valid: [^]*expected number/.test(error.message),
  );
  assert.equal(runtime.live, 0);
});

for (const method of ["missing", "constructor", "toString", "__proto__", ""]) {
  test(`A call of the method ${JSON.stringify(method)} is refused with those there are`, async () => {
    const { runtime } = await startNode([Counter]);
    const refusal = (error: unknown): boolean =>
      error instanceof ActorMessageError && /they have increment, read, later/.test(error.message);
    assert.throws(() => Counter.parse(method, {}), refusal);
    await assert.rejects(runtime.invoke({ project: "default", type: "counter", key: "a" }, { method, body: {} }), refusal);
  });
}

test("A defined actor may be reminded", async () => {
  const { runtime, environment } = await startNode([Counter]);
  const visits = actorOf(runtime, Counter, "visits");
  await visits.later({ due: 0 });
  await environment.clock.advance(10);
  assert.equal(await visits.read(), "later" as unknown as number);
});

test("A type's name is checked when it is defined", () => {
  assert.throws(() => defineActor({ type: "not a name", methods: {} }), ActorMessageError);
});

test("A method is sent to by its name, with types and its schema", async () => {
  const Clicker = defineActor({
    type: "clicker",
    methods: {
      async click(turn: Turn, { times }: { times: number }) {
        for (let time = 0; time < times; time++) sendTo(turn, Counter, "clicks", { project: "test" }).increment({ by: 1 });
      },
      async clickBadly(turn: Turn) {
        sendTo(turn, Counter, "clicks", { project: "test" }).increment({ by: 0.5 });
      },
    },
  });
  const { runtime, environment } = await startNode<MethodMessage>([Counter, Clicker]);
  const clicker = actorOf(runtime, Clicker, "one", { project: "test" });
  await clicker.click({ times: 3 });
  await environment.clock.advance(1);
  assert.equal(await actorOf(runtime, Counter, "clicks", { project: "test" }).read(), 3);
  await assert.rejects(clicker.clickBadly(), ActorMessageError);
});
