/**
 * What Kelpie adds to a model's stream when many agents answer at once.
 *
 *     npm run bench:runs [-- --json] [-- --runs 1000 --tokens 75 --token-milliseconds 200]
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { progress, readArguments } from "./lib/arguments.ts";
import { printReport } from "./lib/report.ts";
import type { StreamsOptions, StreamsResult } from "./lib/runs/client.ts";
import type { KelpieOptions, Started } from "./lib/runs/kelpie.ts";
import type { ModelOptions } from "./lib/runs/model.ts";
import { scratchDirectory } from "./lib/scratch.ts";
import type { Spread } from "./lib/statistics.ts";
import { Worker } from "./lib/worker.ts";

const { json, numbers } = readArguments(
  "Usage: npm run bench:runs -- [--json] [--runs N] [--tokens N] [--token-milliseconds N] [--ramp-seconds N]",
  { runs: 1_000, tokens: 75, "token-milliseconds": 200, "ramp-seconds": 10 },
);
const tokenMilliseconds = numbers["token-milliseconds"];

const begin = performance.now();
using scratch = scratchDirectory();
await using open = new AsyncDisposableStack();
const client = open.use(worker("client"));
const model = open.use(worker("model"));
const modelUrl = await model.ask<string>("start", { tokens: numbers.tokens, tokenMilliseconds } satisfies ModelOptions);
const server = open.use(worker("kelpie", ["--expose-gc"]));
progress(`Making ${numbers.runs} agents`);
const options: KelpieOptions = { directory: join(scratch.path, "data"), modelUrl, agents: numbers.runs };
const { port, agents } = await server.ask<Started>("start", options);
const message = { messages: [{ role: "user", content: "Count for me" }] };

const bareRequests = agents.map(() => ({
  url: `${modelUrl}/v1/chat/completions`,
  body: JSON.stringify({ model: "scripted", stream: true, ...message }),
}));
const kelpieRequests = agents.map((id) => ({
  url: `http://127.0.0.1:${port}/v1/agents/${id}/messages`,
  body: JSON.stringify({ streaming: true, stream_tokens: true, ...message }),
}));

progress("Warming up");
await streams(kelpieRequests.slice(0, 50));
progress(`${numbers.runs} streams of the bare model server`);
const bare = await streams(bareRequests);
progress(`${numbers.runs} runs of Kelpie`);
const residentBefore = await server.ask<number>("memory");
const cpuBefore = await server.ask<number>("cpu");
await server.ask("watchDelay");
const peak = watchPeak();
const kelpie = await streams(kelpieRequests);
const { concurrent, resident } = await peak.stop();
const loopDelay = await server.ask<Spread>("delay");
const cpu = (await server.ask<number>("cpu")) - cpuBefore;
const tokens = numbers.runs * numbers.tokens;

printReport(
  {
    bench: `Runs: ${numbers.runs.toLocaleString("en-US")} streaming at once in one process`,
    method: [
      `A scripted model server (OpenAI's protocol) sends ${numbers.tokens} tokens, one every ${tokenMilliseconds} ms. Each token carries the time of its writing.`,
      `One client opens ${numbers.runs} streams, evenly over ${numbers["ramp-seconds"]} s: first of the bare model server, then of Kelpie, whose agents`,
      "(two blocks, base tools) call that model. Model, Kelpie and client are processes of their own on one machine; events",
      "are read as Letta's SSE with token streaming, and every token must arrive, once and in order.",
      "First token: from the client's request. Token: from its writing by the model server to its arrival at the client.",
      "Added: Kelpie's percentile less the bare server's. Event-loop delay: how late a timer ran in Kelpie's process.",
      "Memory: the resident set with all runs open less that before, without a garbage collection at the peak.",
    ],
    versions: {},
    tables: [
      {
        title: "Milliseconds",
        columns: ["", "p50", "p99", "max"],
        rows: [
          ["first token, bare model", bare.first.p50, bare.first.p99, bare.first.max],
          ["first token, Kelpie", kelpie.first.p50, kelpie.first.p99, kelpie.first.max],
          ["  added", kelpie.first.p50 - bare.first.p50, kelpie.first.p99 - bare.first.p99, kelpie.first.max - bare.first.max],
          ["token, bare model", bare.token.p50, bare.token.p99, bare.token.max],
          ["token, Kelpie", kelpie.token.p50, kelpie.token.p99, kelpie.token.max],
          ["  added", kelpie.token.p50 - bare.token.p50, kelpie.token.p99 - bare.token.p99, kelpie.token.max - bare.token.max],
          ["event-loop delay", loopDelay.p50, loopDelay.p99, loopDelay.max],
        ],
      },
      {
        title: "Kelpie's process",
        columns: ["", ""],
        rows: [
          ["streams open at once", concurrent],
          ["tokens/s", tokens / kelpie.seconds],
          ["CPU µs per token, all of a run included", cpu / tokens],
          ["resident before, MB", residentBefore / 1e6],
          ["resident at the peak, MB", resident / 1e6],
          ["KB per run", (resident - residentBefore) / numbers.runs / 1e3],
        ],
      },
    ],
    targets: [{ what: "Streams open at once", measured: concurrent, unit: "", atLeast: numbers.runs }],
    notes: [],
    seconds: (performance.now() - begin) / 1_000,
  },
  { json },
);

function worker(name: string, nodeOptions: readonly string[] = []): Worker {
  return new Worker(join(import.meta.dirname, "lib", "runs", `${name}.ts`), nodeOptions);
}

async function streams(requests: StreamsOptions["requests"]): Promise<StreamsResult> {
  const rampMilliseconds = numbers["ramp-seconds"] * 1_000;
  return await client.ask<StreamsResult>("run", { requests, rampMilliseconds, tokens: numbers.tokens } satisfies StreamsOptions);
}

/** Looks every 100 ms how many answers the model server writes, and how large Kelpie is. */
function watchPeak(): { stop(): Promise<{ concurrent: number; resident: number }> } {
  let isOver = false;
  let [concurrent, resident] = [0, 0];
  const watching = (async (): Promise<void> => {
    while (!isOver) {
      concurrent = Math.max(concurrent, await model.ask<number>("open"));
      resident = Math.max(resident, await server.ask<number>("resident"));
      await sleep(100);
    }
  })();
  return {
    stop: async () => {
      isOver = true;
      await watching;
      return { concurrent, resident };
    },
  };
}
