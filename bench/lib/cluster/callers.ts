/** Worker: calls counters of a cluster over HTTP, and knows what they must hold. */
import { HttpCaller, type Load, runLoad } from "../http-load.ts";
import { seededRandom, type Spread, spread } from "../statistics.ts";
import { answerQuestions } from "../worker.ts";

export interface CallersLoad extends Load {
  /** Names the counters of one cluster. */
  readonly cluster: string;
  readonly keys: readonly string[];
  readonly method: "add" | "read";
  readonly seed: number;
}

export interface CallersResult extends Spread {
  readonly calls: number;
  readonly callsPerSecond: number;
}

/** By cluster and key: the additions that were acknowledged. */
const acknowledged = new Map<string, Map<string, number>>();

answerQuestions({
  load: async (load: CallersLoad): Promise<CallersResult> => {
    const { method, keys } = load;
    const random = seededRandom(load.seed);
    const counts = acknowledged.get(load.cluster) ?? new Map<string, number>();
    acknowledged.set(load.cluster, counts);
    const { calls, milliseconds, latencies } = await runLoad(load, () => {
      const key = keys[Math.floor(random() * keys.length)]!;
      const onReply = method === "add" ? (): unknown => counts.set(key, (counts.get(key) ?? 0) + 1) : () => {};
      return { path: `/v1/actors/counter/${key}/${method}`, body: method === "add" ? '{"by":1}' : "", onReply };
    });
    return { ...spread(latencies), calls, callsPerSecond: (calls / milliseconds) * 1_000 };
  },

  /** Asks counters for their value at any node. @throws {Error} One does not hold what was acknowledged. */
  verify: async ({ cluster, ports, sample }: { cluster: string; ports: readonly number[]; sample: number }): Promise<number> => {
    const counts = [...acknowledged.get(cluster)!].slice(-sample);
    const callers = await Promise.all(ports.map((port) => HttpCaller.connect(port)));
    for (const [index, [key, count]] of counts.entries()) {
      const { body } = await callers[index % callers.length]!.post(`/v1/actors/counter/${key}/read`, "");
      if (Number(body) !== count) throw new Error(`${cluster}: counter ${key} is ${body}, and ${count} calls were acknowledged`);
    }
    for (const caller of callers) caller.close();
    return counts.length;
  },
});
