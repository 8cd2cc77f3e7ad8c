/** Nodes are stopped and started again, one after the other, while clients use them through a load balancer. */
import { setTimeout as sleep } from "node:timers/promises";
import { ServerProcess } from "../../examples/start-server.ts";
import { ApiClient } from "../../src/cli/api-client.ts";
import { Api } from "../crash/api.ts";
import { check, type Verdict } from "../crash/checker.ts";
import { doTask, type Note } from "../crash/client.ts";
import { type Plan, type Task, taskText } from "../crash/task.ts";
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
  const make = async (name: string): Promise<string[]> =>
    await Promise.all(Array.from({ length: options.clients }, (_, index) => api.createAgent(`${name} ${index}`)));
  const agentIds = await make("agent");
  const listeners = await make("listener");

  const notes: Note[] = [];
  const done = new AbortController();
  const clientErrors: string[] = [];
  const clients = agentIds
    .flatMap((agentId, index) => [
      talk({ url: balancer.url, agentId, client: index, notes, until: done.signal }),
      look(api, agentId, done.signal),
      listen({ url: balancer.url, agentId: listeners[index]!, client: index, notes, until: done.signal }),
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
  const states = new Map(await Promise.all([...agentIds, ...listeners].map(async (id) => [id, await api.finalState(id)] as const)));
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

interface Client {
  readonly url: string;
  readonly agentId: string;
  readonly client: number;
  readonly notes: Note[];
  readonly until: AbortSignal;
}

/** Sends one task after the other to its own agent. The last one is brought to its end too. */
async function talk({ url, agentId, client, notes, until }: Client): Promise<void> {
  for (let number = 0; !until.aborted; number++) {
    const { plan, mode } = kinds[(client + number) % kinds.length]!;
    const note = newNote({ id: `${client}-${number}`, plan }, agentId, mode);
    notes.push(note);
    await doTask(url, note, new AbortController().signal);
  }
}

/** Streams runs of which tokens are in memory only, as most clients do. @throws {StreamCutError} One was cut: it cannot be resumed. */
async function listen({ url, agentId, client, notes, until }: Client): Promise<void> {
  const api = new ApiClient(url, undefined);
  for (let number = 0; !until.aborted; number++) {
    const note = newNote({ id: `listen-${client}-${number}`, plan: "memory" }, agentId, "stream");
    notes.push(note);
    const body = { messages: [{ role: "user", content: taskText(note.task) }], streaming: true, stream_tokens: true };
    for await (const message of api.stream(`/v1/agents/${agentId}/messages/stream`, body, new AbortController().signal)) {
      note.runId ??= message.run_id ?? undefined;
      note.accepted = true;
      if (message.seq_id != null) note.seqs.push(message.seq_id);
      if (message.message_type === "assistant_message")
        note.texts.set(message.id!, (note.texts.get(message.id!) ?? "") + String(message["content"]));
    }
    note.finished = true;
    await sleep(100);
  }
}

function newNote(task: Task, agentId: string, mode: Note["mode"]): Note {
  const empty = { runId: undefined, accepted: false, finished: false, seqs: [], texts: new Map<string, string>(), problem: undefined };
  return { task, agentId, otid: `otid-${task.id}`, mode, ...empty };
}

/** Reads and changes what needs no actor. @throws {Error} A request failed, or a change is lost. */
async function look(api: Api, agentId: string, until: AbortSignal): Promise<void> {
  for (let number = 0; !until.aborted; number++) {
    await api.call("PATCH", `/v1/agents/${agentId}`, { description: `Change ${number}` });
    const { description } = (await api.call("GET", `/v1/agents/${agentId}`)) as { readonly description: string };
    if (description !== `Change ${number}`) throw new Error(`Change ${number} of ${agentId} is lost: it reads ${description}`);
    await sleep(50);
  }
}
