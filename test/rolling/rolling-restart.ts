/** Nodes are stopped and started again, one after the other, while clients use them through a load balancer. */
import { setTimeout as sleep } from "node:timers/promises";
import { ServerProcess } from "../../examples/start-server.ts";
import { Api } from "../crash/api.ts";
import { check, type Verdict } from "../crash/checker.ts";
import { doTask, type Note } from "../crash/client.ts";
import type { Plan } from "../crash/task.ts";
import { World } from "../crash/world.ts";
import { Balancer } from "./balancer.ts";

export interface RollingOptions {
  /** A PostgreSQL database. */
  readonly store: string;
  readonly nodes: number;
  /** How often every node is restarted. */
  readonly rounds: number;
  readonly clients: number;
  readonly checkMilliseconds: number;
  /** As in the settings of a node. */
  readonly leaveSeconds: number;
  readonly stopSeconds: number;
  /** The model's pause between two pieces of an answer in a stream. */
  readonly eventMilliseconds: number;
  readonly onRestart?: (name: string) => void;
}

export interface RollingReport {
  readonly restarts: number;
  readonly exitCodes: readonly (number | null)[];
  readonly requests: number;
  readonly triedAgain: number;
  readonly failures: readonly string[];
  readonly tasks: number;
  readonly unfinished: number;
  readonly streams: number;
  /** Streams that a client has asked for more than once. */
  readonly resumed: number;
  readonly verdict: Verdict;
}

/** What a client sends: answers at once, and streams of several steps that a restart may meet anywhere. */
const kinds: readonly { readonly plan: Plan; readonly mode: Note["mode"] }[] = [
  { plan: "talk", mode: "json" },
  { plan: "diary", mode: "stream" },
  { plan: "memory", mode: "json" },
];

export async function rollingRestart(options: RollingOptions): Promise<RollingReport> {
  const { store, rounds, leaveSeconds, stopSeconds, eventMilliseconds } = options;
  await using world = await World.start({ eventMilliseconds: ({ plan }) => (plan === "diary" ? eventMilliseconds : 1) });
  await using stack = new AsyncDisposableStack();
  const variables = {
    KELPIE_STORE: store,
    KELPIE_CLUSTER_SECRET: "a-secret-of-this-test",
    KELPIE_LEAVE_SECONDS: String(leaveSeconds),
    KELPIE_STOP_SECONDS: String(stopSeconds),
    OPENAI_API_KEY: "none",
    OPENAI_API_BASE: world.modelUrl,
  };
  const nodes: ServerProcess[] = [];
  for (let index = 1; index <= options.nodes; index++)
    nodes.push(stack.use(await ServerProcess.start({ ...variables, KELPIE_NODE: `node${index}` })));
  const balancer = stack.use(
    await Balancer.start(
      nodes.map(({ url }) => url),
      options.checkMilliseconds,
    ),
  );
  const api = new Api(balancer.url);
  const agentIds = await Promise.all(Array.from({ length: options.clients }, (_, index) => api.createAgent(`agent ${index}`)));

  const notes: Note[] = [];
  const done = new AbortController();
  const clientErrors: string[] = [];
  const clients = agentIds
    .flatMap((agentId, index) => [
      talk({ url: balancer.url, agentId, client: index, notes, until: done.signal }),
      look(api, agentId, done.signal),
    ])
    .map(async (client) => client.catch((error: unknown) => clientErrors.push(String(error))));
  const exitCodes: (number | null)[] = [];
  try {
    for (let round = 0; round < rounds; round++)
      for (const [index, node] of nodes.entries()) {
        options.onRestart?.(`node${index + 1}, round ${round + 1}`);
        exitCodes.push(await node.stop());
        await balancer.until(node.url, false);
        await node.restart();
        await balancer.until(node.url, true);
      }
  } finally {
    done.abort();
    await Promise.all(clients);
  }
  await api.settle();
  const states = new Map(await Promise.all(agentIds.map(async (id) => [id, await api.finalState(id)] as const)));
  const streams = notes.filter(({ mode }) => mode === "stream");
  return {
    restarts: exitCodes.length,
    exitCodes,
    requests: balancer.requests,
    triedAgain: balancer.triedAgain,
    failures: [...balancer.failures, ...clientErrors],
    tasks: notes.length,
    unfinished: notes.filter(({ finished }) => !finished).length,
    streams: streams.length,
    resumed: balancer.resumed.size,
    verdict: check(notes, states, world.effects),
  };
}

/** Sends one task after the other to its own agent. The last one is brought to its end too. */
async function talk(client: {
  readonly url: string;
  readonly agentId: string;
  readonly client: number;
  readonly notes: Note[];
  readonly until: AbortSignal;
}): Promise<void> {
  const { url, agentId, notes, until } = client;
  for (let number = 0; !until.aborted; number++) {
    const id = `${client.client}-${number}`;
    const { plan, mode } = kinds[(client.client + number) % kinds.length]!;
    const empty = { runId: undefined, accepted: false, finished: false, seqs: [], texts: new Map<string, string>(), problem: undefined };
    const note: Note = { task: { id, plan }, agentId, otid: `otid-${id}`, mode, ...empty };
    notes.push(note);
    await doTask(url, note, new AbortController().signal);
  }
}

/** Reads and changes what needs no actor. @throws {Error} A request failed, or a change is lost. */
async function look(api: Api, agentId: string, until: AbortSignal): Promise<void> {
  for (let number = 0; !until.aborted; number++) {
    await api.call("PATCH", `/v1/agents/${agentId}`, { description: `Change ${number}` });
    const { description } = (await api.call("GET", `/v1/agents/${agentId}`)) as { readonly description: string };
    if (description !== `Change ${number}`) throw new Error(`Change ${number} of ${agentId} is lost: it reads ${description}`);
    await sleep(20);
  }
}
