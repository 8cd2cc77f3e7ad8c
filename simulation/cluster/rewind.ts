/**
 * The store's history goes back, as at a failover to a replica that lagged: what was acknowledged in the part that is gone
 * is gone too. Everything else holds, and soon every activation has noticed.
 *
 * H1. What was in the store when it had gone back stays there: a log goes on from what it held then.
 * H2. A short time later what is acknowledged is there for good, and a read shows what was acknowledged before it and
 *     nothing that is not there.
 */
import type { Actor, ActorId, ActorType, Turn } from "../../src/actors/actor.ts";
import { project, runClients, storedRow } from "../actor-cluster.ts";
import type { World } from "../world.ts";
import { checkLiveness } from "./liveness.ts";
import { SimulatedCluster } from "./simulated-cluster.ts";

interface ListMessage {
  readonly kind: "append" | "read";
  readonly entry: string;
}

interface Told {
  readonly id: ActorId;
  readonly message: ListMessage;
  readonly called: number;
  readonly returned: number;
  readonly reply: readonly string[];
}

export async function runRewind(world: World): Promise<void> {
  const cluster = new SimulatedCluster(world, () => [listType]);
  const ids = Array.from({ length: world.swarm.keys }, (_, at): ActorId => ({ project, type: "list", key: `list-${at}` }));
  const told: Told[] = [];
  const kept = new Map<string, readonly string[]>();
  /** From when on everything holds again. */
  let noticedAt = Infinity;
  const rewind = async (): Promise<void> => {
    const random = world.random.stream("rewind");
    await world.sleep(1_000 + random.fraction() * 3_000);
    if (!world.faultHappens("rewind", "store")) return;
    world.disk.rewind(Math.max(0, world.disk.length - random.between(1, 60)));
    await cluster.invariants.forget();
    for (const id of ids) kept.set(id.key, (await storedRow<string[]>(world, id, ["entries"])) ?? []);
    await world.sleep(noticeMilliseconds(world));
    noticedAt = world.moment();
    // Leases of the lost part may run on until here.
    await world.sleep(2 * world.swarm.cluster.timings.lease);
    cluster.invariants.settle();
  };
  const rewound = rewind();
  await runClients(cluster, async (client, name, at) => {
    const id = client.random.pick(ids);
    const entry = `${name}.${at}`;
    const isRead = client.random.chance(Math.max(0.4, world.swarm.cluster.readShare));
    const message: ListMessage = { kind: isRead ? "read" : "append", entry };
    const called = world.moment();
    const settled = await client.request<readonly string[]>({ id, message, ...(isRead ? {} : { invocationId: entry }) });
    if (settled.kind === "reply") told.push({ id, message, called, returned: world.moment(), reply: settled.reply });
  });
  await rewound;
  await checkLiveness(cluster, () => ({ kind: "read", entry: "afterwards" }));
  for (const id of ids)
    await checkList(
      world,
      id,
      told.filter((each) => each.id === id),
      { kept: kept.get(id.key) ?? [], noticedAt },
    );
}

/** Members are read at least every renewal; the slowest answers take a few times longer than most. */
function noticeMilliseconds({ swarm }: World): number {
  return 3 * swarm.cluster.timings.renew + 20 * swarm.storeLatencyMilliseconds.highest + 100;
}

async function checkList(
  world: World,
  id: ActorId,
  told: readonly Told[],
  { kept, noticedAt }: { readonly kept: readonly string[]; readonly noticedAt: number },
): Promise<void> {
  const stored = (await storedRow<string[]>(world, id, ["entries"])) ?? [];
  if (new Set(stored).size < stored.length) world.violation(`${id.key} holds an entry twice: ${stored}`);
  if (`${stored.slice(0, kept.length)}` !== `${kept}`)
    world.violation(`H1: ${id.key} held ${kept} after the store went back, and holds ${stored}`);
  const certain = told.filter(({ called }) => called > noticedAt);
  for (const { message, reply, called } of certain) {
    if (`${stored.slice(0, reply.length)}` !== `${reply}`) world.violation(`H2: ${id.key} told of ${reply}, and holds ${stored}`);
    for (const before of certain)
      if (before.message.kind === "append" && before.returned < called && !reply.includes(before.message.entry))
        world.violation(`H2: ${id.key} had acknowledged ${before.message.entry}, and told of ${reply} to ${JSON.stringify(message)}`);
  }
}

const listType: ActorType = { type: "list", create: () => new List() as Actor };

/** Answers with all that it holds. */
class List implements Actor<ListMessage, readonly string[]> {
  async receive({ kind, entry }: ListMessage, turn: Turn): Promise<readonly string[]> {
    const entries = (await turn.state.get<string[]>(["entries"])) ?? [];
    if (kind === "read") return entries;
    const next = [...entries, entry];
    turn.state.set(["entries"], next);
    return next;
  }
}
