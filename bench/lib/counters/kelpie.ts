/** Worker: counters as Kelpie's actors, over its HTTP API. */
import { headerKey, statePrefix } from "../../../src/actors/actor-rows.ts";
import { encodeTuple } from "../../../src/base/tuple.ts";
import { createKelpie, type Kelpie } from "../../../src/kelpie.ts";
import type { Listening } from "../../../src/server/listen.ts";
import { answerQuestions } from "../worker.ts";
import { counterActor } from "./counter-actor.ts";

export interface RowSize {
  readonly key: number;
  readonly value: number;
}

let kelpie: Kelpie | undefined;
let listening: Listening | undefined;

answerQuestions(
  {
    start: async ({ directory }: { directory: string }): Promise<number> => {
      kelpie = await createKelpie({ dataDirectory: directory, actors: [counterActor] });
      listening = await kelpie.serve({ port: 0 });
      return listening.port;
    },

    /** The sizes of the rows that a call writes. */
    rows: async (key: string): Promise<RowSize[]> => {
      const id = { project: "default", type: "counter", key };
      const keys = [headerKey(id), encodeTuple([...statePrefix(id), "count"])];
      const answers = await kelpie!.store.read(keys.map((each) => ({ key: each })));
      return answers.map((answer) => ({ key: answer[0]!.key.length, value: answer[0]!.value.length }));
    },
  },
  async () => {
    await listening?.close(1_000);
    await kelpie?.close();
  },
);
