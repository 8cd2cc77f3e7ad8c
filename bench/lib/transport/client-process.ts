import { Samples, spread } from "../statistics.ts";
import { answerQuestions } from "../worker.ts";
import { type Forward, forwardByFrames, forwardByHttp2, type Way } from "./forward.ts";

export interface ForwardLoad {
  readonly way: Way;
  readonly seconds: number;
  readonly inFlight: number;
}

export interface ForwardResult {
  readonly calls: number;
  readonly seconds: number;
  readonly p50: number;
  readonly p99: number;
}

const ways = new Map<Way, Forward>();

answerQuestions({
  connect: ({ frames, http2 }: { readonly frames: string; readonly http2: string }): void => {
    ways.set("frames", forwardByFrames(frames));
    ways.set("http2", forwardByHttp2(http2));
  },
  load: async ({ way, seconds, inFlight }: ForwardLoad): Promise<ForwardResult> => {
    const forward = ways.get(way)!;
    const samples = new Samples();
    const begin = performance.now();
    const end = begin + seconds * 1_000;
    const caller = async (): Promise<void> => {
      for (let from = performance.now(); from < end;) {
        await forward();
        const to = performance.now();
        samples.add(to - from);
        from = to;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, caller));
    const { p50, p99 } = spread(samples.values);
    return { calls: samples.values.length, seconds: (performance.now() - begin) / 1_000, p50, p99 };
  },
});
