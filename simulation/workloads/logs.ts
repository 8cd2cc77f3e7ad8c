/**
 * Actors that keep a log: the history of each has to be that of a log which one client at a time appends to and reads.
 *
 * An append writes two rows (the entry and the count), so a turn of which only a part arrives shows. Some turns wait in
 * the middle, some throw after writing, some are cancelled or run out of time. Clients repeat with the same invocation
 * id. Every reply is compared with the store at the instant when it leaves.
 */
import type { Actor, ActorId, ActorType, Turn } from "../../src/actors/actor.ts";
import { alone, type OpenActors, project, runClients, storedRow } from "../actor-cluster.ts";
import { deduplicationMilliseconds } from "../../src/actors/limits.ts";
import { checkLinearizable, type Operation, type SequentialModel } from "../linearizability.ts";
import type { Incarnation } from "../process.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

interface Message {
  readonly kind: "append" | "read" | "refuse";
  /** Unique, and the invocation's id: what an append adds. */
  readonly entry: string;
  /** Milliseconds for which the turn waits between its two writes. */
  readonly waits: number;
}

/** An append answers with the length of the log, a read with its entries. */
type Reply = number | readonly string[];

/** What an actor throws on purpose after it has written. */
class RefusedError extends Error {
  override readonly name = "RefusedError";
}

/** Of the workload `quarters`. Records have moved on twice after three. */
const bursts = 5;

const model: SequentialModel<readonly string[], Message, Reply> = {
  init: [],
  step: (state, input, output) => {
    if (input.kind === "read") return output === undefined || `${output}` === `${state}` ? { state } : undefined;
    const next = [...state, input.kind === "append" ? input.entry : ""];
    return output === undefined || output === next.length ? { state: next } : undefined;
  },
  key: (state) => state.join(","),
  isRead: (input) => input.kind === "read",
  kind: (input) => JSON.stringify(input),
};

export const logs: Workload = {
  name: "logs",
  checks: "the history of every actor is linearizable, with retries, crashes, cancels, deadlines and eviction",
  run: (world) => runLogs(world, alone),
};

export const handover: Workload = {
  name: "handover",
  checks: "the same while several processes take actors over from each other again and again",
  options: (swarm) => ({
    ...swarm,
    processes: Math.max(2, swarm.processes),
    crashEveryMilliseconds: swarm.crashEveryMilliseconds || 500,
    restartAfterMilliseconds: Math.max(100, swarm.restartAfterMilliseconds),
    isCalm: false,
    idleMilliseconds: Math.min(50, swarm.idleMilliseconds),
  }),
  run: (world) => runLogs(world, alone),
};

export const quarters: Workload = {
  name: "quarters",
  checks: "the same, with all that clients do around the moments, a quarter of an hour apart, when records of invocations go",
  options: (swarm) => ({
    ...swarm,
    keys: 1,
    operationsPerClient: bursts,
    burstMilliseconds: deduplicationMilliseconds,
    faultsUntil: (bursts + 1) * deduplicationMilliseconds,
    // As many as in a run that is a hundred times as short.
    crashEveryMilliseconds: 100 * swarm.crashEveryMilliseconds,
    pauseEveryMilliseconds: 100 * swarm.pauseEveryMilliseconds,
    replyLost: 0.3,
    isCalm: false,
  }),
  run: (world) => runLogs(world, alone),
};

export async function runLogs(world: World, open: OpenActors): Promise<void> {
  const cluster = open(world, (incarnation) => [logType(incarnation)]);
  const histories = new Map<string, Operation<Message, Reply>[]>();
  const ids = Array.from({ length: world.swarm.keys }, (_, at): ActorId => ({ project, type: "log", key: `log-${at}` }));
  for (const { key } of ids) histories.set(key, []);

  await runClients(cluster, async (client, name, operation) => {
    const id = client.random.pick(ids);
    const entry = `${name}.${operation}`;
    const waits = client.random.chance(0.3) ? client.random.between(1, 100) : 0;
    const kind = client.random.pick(["append", "append", "append", "read", "read", "refuse"] as const);
    const message: Message = { kind, entry, waits };
    if (client.random.chance(0.05)) cluster.cancel(client.random.pick(cluster.processes), id);
    const called = world.moment();
    const settled = await client.request<Reply>({
      id,
      message,
      // A read without an id leaves no record, so it is answered from memory where that is allowed.
      ...(kind === "read" && client.random.chance(0.7) ? {} : { invocationId: entry }),
      ownErrors: ["RefusedError"],
      onReply: (reply) => checkDurable(world, id, message, reply),
    });
    const returned = world.moment();
    if (settled.kind === "reply") {
      if (kind === "refuse") world.violation(`${id.key} answered ${JSON.stringify(message)} instead of refusing it`);
      histories.get(id.key)!.push({ called, returned, input: message, output: settled.reply });
    } else if (settled.kind === "error" && kind !== "refuse") world.violation(`${id.key} refused ${JSON.stringify(message)}`);
    else if (settled.kind === "unknown" && kind === "append")
      histories.get(id.key)!.push({ called, returned: Infinity, input: message, output: undefined });
  });

  for (const id of ids) checkHistory(world, id, histories.get(id.key)!, await storedLog(world, id));
}

function checkHistory(world: World, id: ActorId, history: readonly Operation<Message, Reply>[], stored: readonly string[]): void {
  const end = world.moment();
  const read: Operation<Message, Reply> = {
    called: end,
    returned: end,
    input: { kind: "read", entry: "the store", waits: 0 },
    output: stored,
  };
  // Nothing leaves a log, so what is in it at the end says which appends with an unknown outcome happened, and where.
  const settled = history.flatMap((operation): Operation<Message, Reply>[] => {
    if (operation.returned !== Infinity) return [operation];
    const position = stored.indexOf(operation.input.entry);
    return position < 0 ? [] : [{ ...operation, returned: end, output: position + 1 }];
  });
  const result = checkLinearizable(model, [...settled, read]);
  if (result.verdict === "unknown") world.violation(`The history of ${id.key} was too hard to check`);
  if (result.verdict !== "not linearizable") return;
  world.violation(
    `The history of ${id.key} is not linearizable: no order has a place for ${JSON.stringify(result.stuckAt)} in ${JSON.stringify(settled)}`,
  );
}

/** A4: what a reply tells of has to be in the store when it leaves. */
async function checkDurable(world: World, id: ActorId, message: Message, reply: Reply): Promise<void> {
  const stored = await storedLog(world, id);
  const told = message.kind === "append" ? [message.entry] : (reply as readonly string[]);
  for (const entry of told) if (!stored.includes(entry)) world.violation(`${id.key} told of ${entry} before it was durable`);
}

async function storedLog(world: World, id: ActorId): Promise<string[]> {
  const count = (await storedRow<number>(world, id, ["count"])) ?? 0;
  const entries: string[] = [];
  for (let at = 0; at < count; at++) {
    const entry = await storedRow<string>(world, id, ["entry", at]);
    if (entry === undefined) world.violation(`${id.key} has a count of ${count} but no entry ${at}: a part of a batch is missing`);
    else entries.push(entry);
  }
  if ((await storedRow(world, id, ["entry", count])) !== undefined)
    world.violation(`${id.key} has a count of ${count} and also an entry ${count}: a part of a batch is missing`);
  return entries;
}

/** Waits by the clock of the incarnation that it lives in. */
function logType(incarnation: Incarnation): ActorType {
  return { type: "log", create: () => new LogActor(incarnation) as Actor };
}

class LogActor implements Actor<Message, Reply> {
  readonly #incarnation: Incarnation;

  constructor(incarnation: Incarnation) {
    this.#incarnation = incarnation;
  }

  async receive(message: Message, turn: Turn): Promise<Reply> {
    const count = (await turn.state.get<number>(["count"])) ?? 0;
    if (message.kind === "read") {
      const rows = await turn.state.list<string>(["entry"], { limit: 1_000 });
      // A turn that will come to nothing may see what does not fit together, so this is judged when it is told to a client.
      return rows.length === count ? rows.map((row) => row.value) : [`${rows.length} entries and a count of ${count}`];
    }
    turn.state.set(["entry", count], message.entry);
    if (message.waits > 0) {
      await this.#incarnation.environment.clock.sleep(message.waits, turn.signal);
      turn.signal.throwIfAborted();
    }
    turn.state.set(["count"], count + 1);
    if (message.kind === "refuse") throw new RefusedError("Refused on purpose");
    return count + 1;
  }
}
