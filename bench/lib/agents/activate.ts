/** Worker: activates agents of a filled store in a fresh process. */
import { conversationActor } from "../../../src/agents/conversation.ts";
import type { ConversationMessage } from "../../../src/agents/conversation-actor.ts";
import { createKelpie } from "../../../src/kelpie.ts";
import { Samples, type Spread, spread } from "../statistics.ts";
import { answerQuestions } from "../worker.ts";

export interface ActivateOptions {
  readonly directory: string;
  /** In the order of their activation. */
  readonly agents: readonly string[];
  readonly callers: number;
}

/** Bytes after a garbage collection. */
export interface Memory {
  readonly resident: number;
  /** Of JavaScript's objects alone. */
  readonly heap: number;
}

export interface ActivateResult extends Spread {
  readonly perSecond: number;
  readonly live: number;
  readonly before: Memory;
  readonly after: Memory;
}

answerQuestions({
  activate: async ({ directory, agents, callers }: ActivateOptions): Promise<ActivateResult> => {
    await using kelpie = await createKelpie({
      dataDirectory: directory,
      // Nothing leaves memory while it is measured.
      actorLimits: { liveMax: agents.length, idleMilliseconds: 3_600_000 },
    });
    const memoryBefore = memory();
    const latencies = new Samples();
    let next = 0;
    const runCaller = async (): Promise<void> => {
      while (next < agents.length) {
        const address = { project: "default", agentId: agents[next++]!, conversationId: "default" };
        const message: ConversationMessage = { kind: "recompile", address, dryRun: true };
        const before = performance.now();
        await kelpie.actors.invoke<string>(conversationActor(address), message);
        latencies.add(performance.now() - before);
      }
    };
    const begin = performance.now();
    await Promise.all(Array.from({ length: callers }, runCaller));
    const seconds = (performance.now() - begin) / 1_000;
    return {
      ...spread(latencies.values),
      perSecond: agents.length / seconds,
      live: kelpie.actors.live,
      before: memoryBefore,
      after: memory(),
    };
  },
});

function memory(): Memory {
  globalThis.gc!();
  const { rss, heapUsed } = process.memoryUsage();
  return { resident: rss, heap: heapUsed };
}
