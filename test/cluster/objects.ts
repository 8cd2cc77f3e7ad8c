/** What the clients share: actors of three kinds, and what each would do if everything happened one at a time. */
import { z } from "zod";
import type { SequentialModel } from "../../simulation/linearizability.ts";
import type { ActorType, Turn } from "../../src/actors/actor.ts";
import { defineActor } from "../../src/kelpie.ts";

export const kinds = ["register", "counter", "list"] as const;
export type Kind = (typeof kinds)[number];

interface Body {
  readonly value: number;
}

export interface Call extends Body {
  readonly method: "read" | "write" | "add" | "append";
}

export interface Output {
  /** A register's or counter's value, a list's items. A write answers the value before it, an append the length after it. */
  readonly text: string;
  /** Grows with each change, where that can be told. */
  readonly order: number;
}

/** What an actor answers. */
export interface ObjectReply extends Output {
  /** The incarnation that answered, for the measure of failovers. */
  readonly node: string;
}

const schema = z.object({ value: z.number().int() });

/** The actors as one incarnation of a node runs them. */
export function objectActors(node: string): readonly ActorType[] {
  const reply = (text: string | number, order: number): ObjectReply => ({ text: String(text), order, node });
  const numberOf = async (turn: Turn): Promise<number> => (await turn.state.get<number>(["value"])) ?? 0;
  const itemsOf = async (turn: Turn): Promise<readonly number[]> => (await turn.state.get<readonly number[]>(["items"])) ?? [];
  return [
    defineActor({
      type: "register",
      methods: {
        read: async (turn: Turn) => reply(await numberOf(turn), 0),
        write: async (turn: Turn, { value }: Body) => {
          const before = await numberOf(turn);
          turn.state.set(["value"], value);
          return reply(before, 0);
        },
      },
      schemas: { write: schema },
    }),
    defineActor({
      type: "counter",
      methods: {
        read: async (turn: Turn) => {
          const value = await numberOf(turn);
          return reply(value, value);
        },
        add: async (turn: Turn, { value }: Body) => {
          const sum = (await numberOf(turn)) + value;
          turn.state.set(["value"], sum);
          return reply(sum, sum);
        },
      },
      schemas: { add: schema },
    }),
    defineActor({
      type: "list",
      methods: {
        read: async (turn: Turn) => {
          const items = await itemsOf(turn);
          return reply(items.join(), items.length);
        },
        append: async (turn: Turn, { value }: Body) => {
          const items = [...(await itemsOf(turn)), value];
          turn.state.set(["items"], items);
          return reply(items.length, items.length);
        },
      },
      schemas: { append: schema },
    }),
  ];
}

const common = {
  key: (state: string) => state,
  isRead: ({ method }: Call) => method === "read",
  kind: ({ method, value }: Call) => `${method} ${value}`,
  rank: ({ order }: Output) => order,
};

/** A state is the text that a read of it gives. */
export const models: Readonly<Record<Kind, SequentialModel<string, Call, Output>>> = {
  register: {
    ...common,
    init: "0",
    step: (state, { method, value }, output) => {
      const before = unchanged(state, output);
      return method === "read" ? before : before && { state: String(value) };
    },
  },
  counter: {
    ...common,
    init: "0",
    step: (state, { method, value }, output) => {
      if (method === "read") return unchanged(state, output);
      const sum = String(Number(state) + value);
      return output === undefined || output.text === sum ? { state: sum } : undefined;
    },
  },
  list: {
    ...common,
    init: "",
    step: (state, { method, value }, output) => {
      if (method === "read") return unchanged(state, output);
      const items = state === "" ? String(value) : `${state},${value}`;
      return output === undefined || output.text === String(items.split(",").length) ? { state: items } : undefined;
    },
  },
};

function unchanged(state: string, output: Output | undefined): { readonly state: string } | undefined {
  return output === undefined || output.text === state ? { state } : undefined;
}
