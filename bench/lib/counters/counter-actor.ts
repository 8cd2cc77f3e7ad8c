import { z } from "zod";
import { defineActor, type ActorDefinition } from "../../../src/actors/define-actor.ts";
import type { Turn } from "../../../src/actors/actor.ts";

type Methods = {
  add: (turn: Turn, body: { by: number }) => Promise<number>;
  read: (turn: Turn) => Promise<number>;
};

/** The counter that every bench of invocations calls: one durable number. */
export const counterActor: ActorDefinition<Methods> = defineActor<Methods>({
  type: "counter",
  schemas: { add: z.object({ by: z.number().int() }) },
  methods: {
    add: async (turn, { by }) => {
      const count = ((await turn.state.get<number>(["count"])) ?? 0) + by;
      turn.state.set(["count"], count);
      return count;
    },
    read: async (turn) => (await turn.state.get<number>(["count"])) ?? 0,
  },
});
