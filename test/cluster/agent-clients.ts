/** Clients of agents, as in the crash test, but each attempt of theirs is at another node. */
import type { RandomStream } from "../../simulation/random.ts";
import { doTask, type Note, type Route } from "../crash/client.ts";
import { type Plan } from "../crash/task.ts";
import type { Endpoint } from "./object-clients.ts";

const plans: readonly Plan[] = ["talk", "memory", "once", "idempotent", "read", "parallel", "chain"];
/** Pings come every 20 s; a run that was at a node that is gone goes on within half of that. */
const silenceMillisecondsMax = 8_000;

export class AgentClients {
  readonly notes: Note[] = [];
  /** Streams that were followed on, at another node mostly. */
  resumed = 0;
  readonly #endpoints: readonly Endpoint[];
  readonly #apiKey: string;
  readonly #agentIds: readonly string[];

  constructor(endpoints: readonly Endpoint[], apiKey: string, agentIds: readonly string[]) {
    this.#endpoints = endpoints;
    this.#apiKey = apiKey;
    this.#agentIds = agentIds;
  }

  /** One client, one task after the other until `signal` aborts; the last one is brought to its end, or to that of `patience`. */
  async run(
    name: string,
    options: { readonly random: RandomStream; readonly signal: AbortSignal; readonly patience: AbortSignal },
  ): Promise<void> {
    const { random, signal, patience } = options;
    for (let number = 0; !signal.aborted; number++) {
      const id = `${name}-${number}`;
      const note: Note = {
        task: { id, plan: random.pick(plans) },
        agentId: random.pick(this.#agentIds),
        otid: `otid-${id}`,
        mode: random.chance(0.7) ? "stream" : "json",
        runId: undefined,
        accepted: false,
        finished: false,
        seqs: [],
        texts: new Map(),
        problem: undefined,
      };
      this.notes.push(note);
      await doTask(this.#route(note, random.below(this.#endpoints.length)), note, patience);
    }
  }

  #route(note: Note, first: number): Route {
    let attempts = 0;
    return {
      apiKey: this.#apiKey,
      silenceMillisecondsMax,
      url: () => {
        if (note.mode === "stream" && note.seqs.length > 0) this.resumed++;
        return this.#endpoints[(first + attempts++) % this.#endpoints.length]!.url;
      },
    };
  }
}
