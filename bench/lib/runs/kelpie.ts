/** Worker: one Kelpie process over HTTP, with agents whose model is the scripted one. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createKelpie, type Kelpie } from "../../../src/kelpie.ts";
import type { Listening } from "../../../src/server/listen.ts";
import type { Spread } from "../statistics.ts";
import { answerQuestions } from "../worker.ts";

export interface KelpieOptions {
  readonly directory: string;
  readonly modelUrl: string;
  readonly agents: number;
}

export interface Started {
  readonly port: number;
  readonly agents: readonly string[];
}

const blocks = [
  { label: "human", value: "This person is called Ada." },
  { label: "persona", value: "I am a helpful assistant." },
];

const resolution = 5;
const delay = monitorEventLoopDelay({ resolution });
let kelpie: Kelpie | undefined;
let listening: Listening | undefined;

answerQuestions(
  {
    start: async ({ directory, modelUrl, agents }: KelpieOptions): Promise<Started> => {
      const providers = { OPENAI_API_KEY: "bench", OPENAI_API_BASE: `${modelUrl}/v1` };
      kelpie = await createKelpie({ dataDirectory: directory, providers });
      listening = await kelpie.serve({ port: 0 });
      const ids: string[] = [];
      for (let index = 0; index < agents; index++) ids.push(await createAgent(kelpie));
      return { port: listening.port, agents: ids };
    },
    watchDelay: (): void => {
      delay.reset();
      delay.enable();
    },
    /** How much later than asked for a timer ran, in milliseconds, since `watchDelay`. */
    delay: (): Spread => {
      delay.disable();
      const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - resolution);
      return { p50: late(delay.percentile(50)), p99: late(delay.percentile(99)), max: late(delay.max) };
    },
    resident: (): number => process.memoryUsage.rss(),
  },
  async () => {
    await listening?.close(5_000);
    await kelpie?.close();
  },
);

async function createAgent({ app }: Kelpie): Promise<string> {
  const body = JSON.stringify({ model: "openai/scripted", memory_blocks: blocks });
  const response = await app.request("/v1/agents", { method: "POST", body });
  if (response.status !== 200) throw new Error(`An agent was refused: ${await response.text()}`);
  return ((await response.json()) as { id: string }).id;
}
