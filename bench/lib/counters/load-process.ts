/** Worker: calls counters, and afterwards knows what each of them must hold. */
import { HttpCaller, type Load, runLoad } from "../http-load.ts";
import { seededRandom, type Spread, spread } from "../statistics.ts";
import { answerQuestions } from "../worker.ts";

export interface CounterLoad extends Load {
  /** Names the counters of one server. */
  readonly server: string;
  /** How many counters the calls spread over. */
  readonly keys: number;
  readonly seed: number;
}

export interface CounterLoadResult extends Spread {
  readonly callsPerSecond: number;
  readonly calls: number;
}

/** By server and key: the replies that were received. */
const acknowledged = new Map<string, Map<string, number>>();

answerQuestions({
  load: async (load: CounterLoad): Promise<CounterLoadResult> => {
    const random = seededRandom(load.seed);
    const counts = countsOf(load.server);
    const { calls, milliseconds, latencies } = await runLoad(load, () => {
      const key = load.keys === 1 ? "hot" : `key-${Math.floor(random() * load.keys)}`;
      return { path: pathOf(key), body: '{"by":1}', onReply: () => counts.set(key, (counts.get(key) ?? 0) + 1) };
    });
    return { ...spread(latencies), calls, callsPerSecond: (calls / milliseconds) * 1_000 };
  },

  /** Asks `sample` counters for their value. @throws {Error} One does not hold what was acknowledged. */
  verify: async ({ server, port, sample }: { server: string; port: number; sample: number }): Promise<number> => {
    const counts = countsOf(server);
    const caller = await HttpCaller.connect(port);
    const keys = [...counts.keys()].slice(-sample);
    for (const key of keys) {
      const { body } = await caller.post(pathOf(key), '{"by":0}');
      if (Number(body) !== counts.get(key))
        throw new Error(`${server}: counter ${key} is ${body}, and ${counts.get(key)} calls were acknowledged`);
    }
    caller.close();
    return keys.length;
  },
});

function countsOf(server: string): Map<string, number> {
  const counts = acknowledged.get(server) ?? new Map<string, number>();
  acknowledged.set(server, counts);
  return counts;
}

function pathOf(key: string): string {
  return `/v1/actors/counter/${key}/add`;
}
