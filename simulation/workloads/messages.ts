/**
 * Actors that write letters to each other, through `turn.send`, and pass some of them on. Some letters make the turns
 * over them throw a few times, and a few do so for ever.
 *
 * Every actor keeps a list of what it has sent and one of what it was sent, each written in the turn that sends or
 * receives. At the end each of a pair has what the other has sent to it: all of it, once, in the order sent, but for
 * what was given up.
 */
import type { Actor, ActorId, ActorType, Turn } from "../../src/actors/actor.ts";
import { inboxesPrefix, inboxSizeKey } from "../../src/actors/actor-rows.ts";
import { listDeadLetters } from "../../src/actors/dead-letters.ts";
import { sentAttemptsMax } from "../../src/actors/limits.ts";
import { encodeTuple, tupleRange } from "../../src/base/tuple.ts";
import { readCounter } from "../../src/storage/counter.ts";
import { alone, type OpenActors, project, runClients, storedRow } from "../actor-cluster.ts";
import type { Incarnation } from "../process.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

/** Asks an actor to write letters. */
interface Post {
  readonly kind: "post";
  readonly id: string;
  readonly letters: readonly { readonly to: string; readonly letter: Letter }[];
  /** The turn throws when it has sent them: then none is sent. */
  readonly throws: boolean;
}

interface Letter {
  readonly kind: "letter";
  /** Unique. */
  readonly text: string;
  /** How many turns over it throw. */
  readonly fails: number;
  /** Who gets it next. */
  readonly onward: readonly string[];
}

interface Entry {
  /** The other one's key. */
  readonly with: string;
  readonly text: string;
}

/** What a turn throws over a letter, or because it was asked to. */
class ReturnedError extends Error {
  override readonly name = "ReturnedError";
}

/** For letters that are tried until they are given up, several of a pair after each other. */
const patience = 3_600_000;
const forEver = 1_000;

export const messages: Workload = {
  name: "messages",
  checks: "what turns send to other actors is handled once, in the order of each sender, whatever crashes and throws",
  run: (world) => runMessages(world, alone),
};

export async function runMessages(world: World, open: OpenActors): Promise<void> {
  const cluster = open(world, (incarnation) => [correspondentType(world, incarnation)]);
  const keys = Array.from({ length: world.swarm.keys + 1 }, (_, at) => `correspondent-${at}`);
  const idOf = (key: string): ActorId => ({ project, type: "correspondent", key });
  const acknowledged: { readonly key: string; readonly text: string }[] = [];
  const refused: string[] = [];
  await runClients(cluster, async (client, name, operation) => {
    const { random } = client;
    const key = random.pick(keys);
    const letters = Array.from({ length: random.between(1, 4) }, (_, at) => ({
      to: random.pick(keys),
      letter: {
        kind: "letter" as const,
        text: `${name}.${operation}.${at}`,
        fails: world.swarm.isCalm || random.chance(0.8) ? 0 : random.pick([1, 1, 2, 3, forEver]),
        onward: Array.from({ length: random.pick([0, 0, 1, 3]) }, () => random.pick(keys)),
      },
    }));
    const post: Post = { kind: "post", id: `${name}.${operation}`, letters, throws: random.chance(0.15) };
    const settled = await client.request<null>({
      id: idOf(key),
      message: post,
      invocationId: post.id,
      ownErrors: ["ReturnedError"],
      onReply: async () => {
        const sent = new Set((await entries(world, idOf(key), "sent")).map(({ text }) => text));
        for (const { letter } of letters)
          if (!sent.has(letter.text)) world.violation(`${key} acknowledged ${letter.text} before it was durable`);
      },
    });
    if (settled.kind === "reply") acknowledged.push(...letters.map(({ letter: { text } }) => ({ key, text })));
    else if (settled.kind === "error") refused.push(...letters.map(({ letter: { text } }) => text));
  });

  const deadline = Math.max(world.kernel.now, world.swarm.faultsUntil + world.swarm.outageMilliseconds) + patience;
  while (world.kernel.now < deadline && (await waiting(world)) > 0) await world.sleep(1_000);
  const left = await waiting(world);
  if (left > 0) world.violation(`${left} letters are still in inboxes`);
  // Long enough for a second delivery to show.
  await world.sleep(30_000);
  await checkLetters(world, keys.map(idOf), acknowledged, refused);
}

async function checkLetters(
  world: World,
  ids: readonly ActorId[],
  acknowledged: readonly { readonly key: string; readonly text: string }[],
  refused: readonly string[],
): Promise<void> {
  const dead = new Set<string>();
  for (const { message, failures } of await listDeadLetters(world.disk, { project }, { limit: 1_000 })) {
    const { text, fails } = message as Letter;
    dead.add(text);
    if (fails !== forEver || failures !== sentAttemptsMax) world.violation(`${text} was given up after ${failures} attempts`);
  }
  const all = new Map<string, readonly Entry[]>();
  for (const id of ids) all.set(id.key, await entries(world, id, "sent"));
  for (const { key, text } of acknowledged)
    if (!all.get(key)!.some((entry) => entry.text === text)) world.violation(`${key} has acknowledged ${text} and not sent it`);
  for (const [key, sent] of all)
    for (const { text } of sent) if (refused.includes(text)) world.violation(`${key} has sent ${text} in a turn that threw`);
  for (const id of ids) {
    const received = await entries(world, id, "received");
    for (const [sender, sent] of all) {
      const expected = sent.filter((entry) => entry.with === id.key && !dead.has(entry.text)).map(({ text }) => text);
      const actual = received.filter((entry) => entry.with === sender).map(({ text }) => text);
      if (`${actual}` !== `${expected}`) world.violation(`${id.key} got ${actual} from ${sender}, which has sent ${expected}`);
    }
    const [size] = await world.disk.read([{ key: encodeTuple(inboxSizeKey(id)) }]);
    const count = readCounter(size![0]?.value);
    if (count !== 0n) world.violation(`The inbox of ${id.key} is empty and is said to have ${count} messages`);
  }
}

async function entries(world: World, id: ActorId, list: string): Promise<readonly Entry[]> {
  return (await storedRow<Entry[]>(world, id, [list])) ?? [];
}

async function waiting(world: World): Promise<number> {
  const [answer] = await world.disk.read([{ ...tupleRange(inboxesPrefix), limit: 10_000 }]);
  return answer!.length;
}

function correspondentType(world: World, incarnation: Incarnation): ActorType {
  return { type: "correspondent", create: ({ id }) => new Correspondent(world, incarnation, id) as Actor };
}

class Correspondent implements Actor<Post | Letter, null> {
  readonly #world: World;
  readonly #incarnation: Incarnation;
  readonly #id: ActorId;

  constructor(world: World, incarnation: Incarnation, id: ActorId) {
    this.#world = world;
    this.#incarnation = incarnation;
    this.#id = id;
  }

  async receive(message: Post | Letter, turn: Turn): Promise<null> {
    if (message.kind === "letter") await this.#read(message, turn);
    else {
      for (const { to, letter } of message.letters) await this.#send(to, letter, turn);
      if (message.throws) throw new ReturnedError("The turn was asked to throw");
    }
    return null;
  }

  async #read(letter: Letter, turn: Turn): Promise<void> {
    const { sender, at, attempt } = turn.origin!;
    await append(turn, "received", { with: sender.key, text: letter.text });
    const [next, ...onward] = letter.onward;
    if (next !== undefined) await this.#send(next, { kind: "letter", text: `${letter.text}>`, fails: 0, onward }, turn);
    if (attempt <= letter.fails) throw new ReturnedError("The letter is of the kind that turns throw over");
    const { swarm } = this.#world;
    const late = this.#incarnation.environment.clock.now() - at;
    // It waits for the turns before it, each of which may take a few answers of the store. Processes that do not forward
    // find what is for them when they search.
    const answers = 50 + 20 * swarm.clients;
    if (swarm.isCalm && swarm.processes === 1 && late > 2_000 + answers * swarm.storeLatencyMilliseconds.highest)
      this.#world.violation(`${letter.text} came to ${this.#id.key} ${late} ms late though nothing was wrong`);
  }

  async #send(to: string, letter: Letter, turn: Turn): Promise<void> {
    turn.send({ ...this.#id, key: to }, letter);
    await append(turn, "sent", { with: to, text: letter.text });
  }
}

async function append(turn: Turn, list: string, entry: Entry): Promise<void> {
  turn.state.set([list], [...((await turn.state.get<Entry[]>([list])) ?? []), entry]);
}
