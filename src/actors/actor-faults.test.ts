/** The promises A1 to A6 under faults of the store, drawn by fast-check. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { actor, FakeProcesses, startNode, type TestNode } from "../../test/support/actor-node.ts";
import type { CommitFault } from "../../test/support/faulty-store.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { StoreUnavailableError } from "../storage/store.ts";
import { Transaction } from "../storage/transaction.ts";
import { ActivationLostError, type ActorType } from "./actor.ts";

type Message = "increment" | "shared" | "throw" | "read" | "durable" | "remind";
const messages: readonly Message[] = ["increment", "increment", "increment", "shared", "throw", "read", "durable", "remind"];
const sharedKey = ["test", "shared counter"];

/** Counts in its own row, with a field as a cache of it; in a shared row; and through reminders. */
const Counter: ActorType<Message, number> = {
  type: "counter",
  create: () => ({
    receive: async (message, turn) => {
      const count = (await turn.state.get<number>(["count"])) ?? 0;
      if (message === "read") return count;
      turn.state.set(["count"], count + 1);
      if (message === "throw") throw new Error("on purpose");
      if (message === "durable") await turn.durable();
      if (message === "remind") turn.remind("again", { due: 0 });
      if (message === "shared") turn.shared.set(sharedKey, ((await turn.shared.get<number>(sharedKey)) ?? 0) + 1);
      return count + 1;
    },
    remind: async (_reminder, turn) => turn.state.set(["reminded"], ((await turn.state.get<number>(["reminded"])) ?? 0) + 1),
  }),
};

type Step =
  | { readonly kind: "invoke"; readonly key: number; readonly message: Message; readonly id: number | null }
  | { readonly kind: "advance"; readonly milliseconds: number }
  | { readonly kind: "restart" };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("invoke" as const),
      key: fc.nat(2),
      message: fc.constantFrom(...messages),
      id: fc.option(fc.nat(20)),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("advance" as const), milliseconds: fc.nat(500) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
);
const anyFault: fc.Arbitrary<CommitFault | undefined> = fc.oneof(
  { weight: 5, arbitrary: fc.constant(undefined) },
  { weight: 3, arbitrary: fc.constantFrom<CommitFault>("unavailable", "unknownApplied", "unknownLost") },
);

/** One effect that was asked for: by one invocation, or by several with one id. */
interface Effect {
  readonly key: number;
  readonly isShared: boolean;
  acknowledged: boolean;
  unknown: boolean;
  reply?: number;
}

test("Whatever the store does, each counter holds what was acknowledged, and at most what is unknown beside it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { minLength: 5, maxLength: 60 }), fc.array(anyFault, { maxLength: 60 }), async (steps, faults) => {
      const store = new MemoryStore();
      const processes = new FakeProcesses();
      const start = async (): Promise<TestNode> =>
        await startNode([Counter], { store, processes, limits: { idleMilliseconds: 300, liveMax: 2 } });
      let node = await start();
      const queue = [...faults];
      node.store.commitFault = () => queue.shift();
      const effects = new Map<string, Effect>();
      const pending = new Map<Promise<void>, Effect>();

      const invoke = (key: number, message: Message, id: number | null, step: number): void => {
        // An id belongs to one message of one actor, as a client's does. A turn with parts can be repeated in part.
        const invocationId = id === null || message === "durable" ? undefined : `${key} ${message} ${id}`;
        const name = invocationId ?? `step ${step}`;
        const isEffect = message !== "read" && message !== "throw";
        const effect = (isEffect ? effects.get(name) : undefined) ?? {
          key,
          isShared: message === "shared",
          acknowledged: false,
          unknown: false,
        };
        if (isEffect) effects.set(name, effect);
        const invoker = node;
        const settled = invoker.runtime
          .invoke<number>(actor("counter", `${key}`), message, invocationId === undefined ? {} : { invocationId })
          .then(
            (reply) => {
              // The caller of a process that was killed does not hear what it says.
              if (invoker !== node) return;
              if (effect.acknowledged && isEffect) assert.equal(reply, effect.reply, "A repeat gets the reply of the first (A5)");
              effect.acknowledged = true;
              effect.reply = reply;
            },
            (error: unknown) => {
              if (invoker !== node || error instanceof StoreUnavailableError || (error as Error).message === "on purpose") return;
              assert.ok(error instanceof ActivationLostError, String(error));
              effect.unknown = true;
            },
          )
          .finally(() => void pending.delete(settled));
        pending.set(settled, effect);
      };

      for (const [index, step] of steps.entries()) {
        if (step.kind === "invoke") invoke(step.key, step.message, step.id, index);
        else if (step.kind === "advance") await node.environment.clock.advance(step.milliseconds);
        else {
          for (const effect of pending.values()) effect.unknown = true;
          pending.clear();
          node.kill();
          node = await start();
          node.store.commitFault = () => queue.shift();
        }
      }
      queue.length = 0;
      while (pending.size > 0) await node.environment.clock.advance(1_000);
      const check = (count: number, mine: readonly Effect[]): void => {
        const acknowledged = mine.filter((effect) => effect.acknowledged).length;
        const unknown = mine.filter((effect) => !effect.acknowledged && effect.unknown).length;
        assert.ok(
          count >= acknowledged && count <= acknowledged + unknown,
          `${count}, of ${acknowledged} acknowledged and ${unknown} unknown`,
        );
      };
      for (const key of [0, 1, 2]) {
        const reading = node.runtime.invoke<number>(actor("counter", `${key}`), "read");
        // It may have to wait for a reminder's turn, whose commit is being tried again.
        await node.environment.clock.advance(30_000);
        const count = await reading;
        check(
          count,
          [...effects.values()].filter((effect) => effect.key === key),
        );
      }
      const count = (await new Transaction(store).get<number>(sharedKey)) ?? 0;
      check(
        count,
        [...effects.values()].filter((effect) => effect.isShared),
      );
    }),
    { numRuns: 300 },
  );
});
