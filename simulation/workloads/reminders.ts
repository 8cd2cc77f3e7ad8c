/**
 * Actors that set, move and cancel reminders, and then are called by nobody: each reminder has to arrive by itself,
 * after it is due, with its effect exactly once, whatever crashes meanwhile.
 *
 * Every name has one client, so what its actor's journal has to look like is known.
 */
import type { Activation, Actor, ActorId, ActorType, Reminder, Turn } from "../../src/actors/actor.ts";
import { pollMilliseconds } from "../../src/actors/reminder-scheduler.ts";
import { alone, type OpenActors, project, runClients, storedRow } from "../actor-cluster.ts";
import type { Incarnation } from "../process.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

interface Message {
  readonly name: string;
  /** What the reminder carries: unique. */
  readonly payload: string;
  /** From now; absent: cancel. */
  readonly inMilliseconds?: number;
}

type Line = { readonly kind: "set" | "cancel" | "fired"; readonly name: string; readonly payload: string };

/** Reminders have to arrive within this time after the last one is due and the last fault is over. */
const patience = 120_000;
const farthest = 30_000;

export const reminders: Workload = {
  name: "reminders",
  checks: "every reminder arrives after it is due, once, also when its actor's process died and nobody calls",
  run: (world) => runReminders(world, alone),
};

export async function runReminders(world: World, open: OpenActors): Promise<void> {
  const cluster = open(world, (incarnation) => [alarmType(world, incarnation)]);
  const ids = Array.from({ length: world.swarm.keys }, (_, at): ActorId => ({ project, type: "alarm", key: `alarm-${at}` }));
  /** The last thing that was asked for a name, where that is known. */
  const last = new Map<string, { readonly id: ActorId; readonly message: Message; readonly isKnown: boolean }>();
  await runClients(cluster, async (client, name, operation) => {
    const reminder = `${name}.${client.random.below(2)}`;
    const id = ids[name % ids.length]!;
    const payload = `${name}.${operation}`;
    const message: Message = client.random.chance(0.15)
      ? { name: reminder, payload }
      : { name: reminder, payload, inMilliseconds: client.random.pick([0, 5, 500, farthest]) };
    const settled = await client.request<null>({ id, message, invocationId: payload });
    if (settled.kind !== "never")
      last.set(reminder, { id, message, isKnown: settled.kind === "reply" && last.get(reminder)?.isKnown !== false });
  });

  const waiting = (): Promise<string[]> => missing(world, last);
  const deadline = Math.max(world.kernel.now, world.swarm.faultsUntil) + farthest + patience;
  while (world.kernel.now < deadline && (await waiting()).length > 0) await world.sleep(1_000);
  for (const text of await waiting()) world.violation(text);
  // Long enough for a second delivery to show.
  await world.sleep(farthest);
  for (const id of ids) await checkJournal(world, id);
}

async function missing(
  world: World,
  last: ReadonlyMap<string, { readonly id: ActorId; readonly message: Message; readonly isKnown: boolean }>,
): Promise<string[]> {
  const texts: string[] = [];
  for (const [name, { id, message, isKnown }] of last) {
    if (!isKnown || message.inMilliseconds === undefined) continue;
    const journal = await journalOf(world, id);
    if (!journal.some((line) => line.kind === "fired" && line.payload === message.payload))
      texts.push(`The reminder ${name} of ${id.key} with ${message.payload} never arrived`);
  }
  return texts;
}

/** A reminder fires only while it is the one that is set, and once. */
async function checkJournal(world: World, id: ActorId): Promise<void> {
  const current = new Map<string, string>();
  for (const { kind, name, payload } of await journalOf(world, id)) {
    if (kind === "set") current.set(name, payload);
    else if (kind === "cancel") current.delete(name);
    else {
      if (current.get(name) !== payload)
        world.violation(`The reminder ${name} of ${id.key} arrived with ${payload} when ${current.get(name) ?? "none"} was set`);
      current.delete(name);
    }
  }
}

async function journalOf(world: World, id: ActorId): Promise<readonly Line[]> {
  return (await storedRow<Line[]>(world, id, ["journal"])) ?? [];
}

function alarmType(world: World, incarnation: Incarnation): ActorType {
  return { type: "alarm", create: (activation: Activation) => new Alarm(world, incarnation, activation) as Actor };
}

class Alarm implements Actor<Message, null> {
  readonly #world: World;
  readonly #incarnation: Incarnation;
  readonly #activation: Activation;

  constructor(world: World, incarnation: Incarnation, activation: Activation) {
    this.#world = world;
    this.#incarnation = incarnation;
    this.#activation = activation;
  }

  async receive(message: Message, turn: Turn): Promise<null> {
    const { name, payload, inMilliseconds } = message;
    const due = inMilliseconds === undefined ? undefined : this.#incarnation.environment.clock.now() + inMilliseconds;
    turn.remind(name, due === undefined ? undefined : { due, payload });
    await append(turn, { kind: due === undefined ? "cancel" : "set", name, payload });
    return null;
  }

  async remind(reminder: Reminder, turn: Turn): Promise<void> {
    const { swarm } = this.#world;
    const late = this.#incarnation.environment.clock.now() - reminder.due;
    // A full mailbox refuses a reminder too, and it comes again later. One that is set and its delivery wait for the
    // turns of the other clients before them, each of which may take a few answers of the store.
    const answers = 20 + 5 * swarm.clients;
    // Nodes that share the work may take until the next look to see what another one has set.
    const most = swarm.processes > 1 ? 1_000 + pollMilliseconds : 1_000;
    if (swarm.isCalm && swarm.mailboxMax > swarm.clients && late > most + answers * swarm.storeLatencyMilliseconds.highest)
      this.#world.violation(`A reminder of ${this.#activation.id.key} came ${late} ms late though nothing was wrong`);
    if (late < -skewMilliseconds(this.#world)) this.#world.violation(`A reminder of ${this.#activation.id.key} arrived before it was due`);
    await append(turn, { kind: "fired", name: reminder.name, payload: reminder.payload as string });
  }
}

/** By how much wall clocks differ: where nodes share the work, a reminder may be due by the clock of another one. */
function skewMilliseconds({ processes, kernel }: World): number {
  const times = processes.map(({ clock }) => clock.wall(kernel.now));
  return Math.max(...times) - Math.min(...times);
}

async function append(turn: Turn, line: Line): Promise<void> {
  turn.state.set(["journal"], [...((await turn.state.get<Line[]>(["journal"])) ?? []), line]);
}
