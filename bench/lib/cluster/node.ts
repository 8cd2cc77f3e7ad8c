/** Worker: a node of a cluster over PostgreSQL with counters, over its HTTP API. */
import { actorName } from "../../../src/actors/actor-id.ts";
import { rendezvous } from "../../../src/cluster/rendezvous.ts";
import { RealEnvironment } from "../../../src/environment/real-environment.ts";
import { createKelpie, type Kelpie } from "../../../src/kelpie.ts";
import { counterActor } from "../counters/counter-actor.ts";
import { Samples } from "../statistics.ts";
import { answerQuestions } from "../worker.ts";

export interface NodeOptions {
  readonly storeAddress: string;
  readonly name: string;
}

/** Calls of counters from within the node, many at a time. */
export interface CallAll {
  readonly keys: readonly string[];
  readonly concurrency: number;
}

export interface CallAllResult {
  readonly seconds: number;
  /** Of each call, in milliseconds, in the order of their ends. */
  readonly latencies: Float64Array;
}

/** Counts the calls that go to other nodes. */
class CountingEnvironment extends RealEnvironment {
  forwarded = 0;

  override probe(name?: string): void {
    if (name === "cluster.forwarded") this.forwarded++;
  }
}

const environment = new CountingEnvironment({ level: "error" });
let kelpie: Kelpie;

answerQuestions(
  {
    start: async ({ storeAddress, name }: NodeOptions): Promise<number> => {
      kelpie = await createKelpie({
        storeAddress,
        environment,
        actors: [counterActor],
        leaveMilliseconds: 0,
        cluster: {
          name,
          secret: "only for this bench",
          onFenced: (reason) => {
            throw reason;
          },
        },
      });
      return (await kelpie.serve({ port: 0 })).port;
    },

    forwarded: (): number => environment.forwarded,

    /** Those of the counters that belong to this node, as the members are now. */
    ownKeys: (keys: readonly string[]): string[] => {
      const { node, members } = kelpie.cluster!;
      const up = members.filter(({ state }) => state === "up");
      return keys.filter((key) => rendezvous(actorName(counterId(key)), up)?.node === node);
    },

    members: (): number => kelpie.cluster!.members.length,

    callAll: async ({ keys, concurrency }: CallAll): Promise<CallAllResult> => {
      const latencies = new Samples();
      const waiting = keys.values();
      const begin = performance.now();
      const caller = async (): Promise<void> => {
        for (const key of waiting) {
          const before = performance.now();
          await kelpie.actors.invoke(counterId(key), { method: "add", body: { by: 1 } });
          latencies.add(performance.now() - before);
        }
      };
      await Promise.all(Array.from({ length: concurrency }, caller));
      return { seconds: (performance.now() - begin) / 1_000, latencies: latencies.values.slice() };
    },
  },
  async () => await kelpie.close(),
);

function counterId(key: string): { readonly project: string; readonly type: string; readonly key: string } {
  return { project: "default", type: "counter", key };
}
