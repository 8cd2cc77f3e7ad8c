/** Worker: opens many event streams and notes when each token arrived. The same client for every server. */
import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { Samples, type Spread, spread } from "../statistics.ts";
import { answerQuestions } from "../worker.ts";

export interface StreamsOptions {
  /** One stream each. */
  readonly requests: readonly { readonly url: string; readonly body: string }[];
  /** The streams begin evenly spread over this time. */
  readonly rampMilliseconds: number;
  /** That each stream must have, or it failed. */
  readonly tokens: number;
}

export interface StreamsResult {
  /** From sending the request to the first token. */
  readonly first: Spread;
  /** From the model server's writing of a token to its arrival here. */
  readonly token: Spread;
  readonly seconds: number;
}

const tokenPattern = /<([\d.]+)>/g;

answerQuestions({
  run: async ({ requests, rampMilliseconds, tokens }: StreamsOptions): Promise<StreamsResult> => {
    const [firsts, delays] = [new Samples(), new Samples()];
    const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
    const begin = now();
    await Promise.all(
      requests.map(async ({ url, body }, index) => {
        await sleep((rampMilliseconds * index) / requests.length);
        await readStream(agent, { url, body, tokens }, firsts, delays);
      }),
    );
    agent.destroy();
    return { first: spread(firsts.values), token: spread(delays.values), seconds: (now() - begin) / 1_000 };
  },
});

async function readStream(
  agent: Agent,
  { url, body, tokens }: { url: string; body: string; tokens: number },
  firsts: Samples,
  delays: Samples,
): Promise<void> {
  const sent = now();
  let count = 0;
  let lastWritten = 0;
  let unread = "";
  const text = await new Promise<string>((resolve, reject) => {
    const outgoing = request(url, { agent, method: "POST", headers: { "content-type": "application/json" } }, (incoming) => {
      incoming.setEncoding("utf8");
      incoming.on("data", (piece: string) => {
        const arrived = now();
        unread += piece;
        const end = unread.lastIndexOf("\n\n");
        if (end < 0) return;
        for (const [, written] of unread.slice(0, end).matchAll(tokenPattern)) {
          if (Number(written) < lastWritten) throw new Error(`${url}: tokens arrived out of order`);
          lastWritten = Number(written);
          if (++count === 1) firsts.add(arrived - sent);
          delays.add(arrived - lastWritten);
        }
        unread = unread.slice(end);
      });
      incoming.on("end", () => resolve(unread));
      incoming.on("error", reject);
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
  if (count !== tokens) throw new Error(`${url}: ${count} of ${tokens} tokens arrived; the stream ended with ${text.slice(-300)}`);
}

/** The same for all processes of this machine, unlike `performance.now()`. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
