/** When the faults are over, what is left of a cluster does all that it is for: within a time, and nobody has to help. */
import type { ActorId } from "../../src/actors/actor.ts";
import { decodeJson } from "../../src/base/json.ts";
import { decodeTuple, tupleRange } from "../../src/base/tuple.ts";
import { NodeFencedError } from "../../src/cluster/cluster.ts";
import type { DrainReport } from "../../src/cluster/drain.ts";
import { project } from "../actor-cluster.ts";
import type { SimulatedProcess } from "../process.ts";
import type { SimulatedCluster } from "./simulated-cluster.ts";

/** Long enough for restarts, evictions and connections that are given up; much less than anybody allows for. */
const recoveryMilliseconds = 90_000;
const attemptMilliseconds = 5_000;
const attemptsMax = 3;

/**
 * Every actor that was called answers at every node that is left, from one node that lives; a node that is told to drain
 * has nothing left, and the others go on. `message` asks an actor for something that does no harm.
 */
export async function checkLiveness(cluster: SimulatedCluster, message: (id: ActorId) => unknown): Promise<void> {
  const { world } = cluster;
  const { faultsUntil, outageMilliseconds } = world.swarm;
  const left = faultsUntil + outageMilliseconds - world.kernel.now;
  if (left > 0) await world.sleep(left);
  await cluster.settle();
  await checkTogether(cluster);
  const ids = await calledActors(cluster);
  for (const process of cluster.lasting) await checkAnswers(cluster, process, ids, message);
  for (const id of ids) await checkOwner(cluster, id, message);
  const [draining, ...others] = cluster.lasting;
  if (others.length > 0) {
    await checkDrain(cluster, draining!);
    for (const process of others) await checkAnswers(cluster, process, ids, message);
  }
  await checkRows(cluster);
}

/** The members are the processes that are left, and all of them are up. */
async function checkTogether(cluster: SimulatedCluster): Promise<void> {
  const { world } = cluster;
  const deadline = world.kernel.now + recoveryMilliseconds;
  const wrong = (): string | undefined => {
    const members = cluster.invariants.members.filter((member) => member.state !== "dead").map(({ name, state }) => `${name} ${state}`);
    const wanted = cluster.lasting.map(({ name }) => `${name} up`);
    return `${members.toSorted()}` === `${wanted}` ? undefined : `The members are ${members}, when ${wanted} should be`;
  };
  const isQuiet = (): boolean => cluster.lasting.every(({ incarnation }) => incarnation?.paused === false);
  while (world.kernel.now < deadline && (!isQuiet() || wrong() !== undefined)) await world.sleep(200);
  const text = wrong();
  if (text !== undefined) world.violation(`Liveness: ${text}`);
}

async function calledActors({ world }: SimulatedCluster): Promise<readonly ActorId[]> {
  const [rows] = await world.disk.read([{ ...tupleRange([project, "header"]), limit: 10_000 }]);
  return rows!.map(({ key }) => {
    const [, , type, name] = decodeTuple(key);
    return { project, type: String(type), key: String(name) };
  });
}

async function checkAnswers(
  cluster: SimulatedCluster,
  process: SimulatedProcess,
  ids: readonly ActorId[],
  message: (id: ActorId) => unknown,
): Promise<void> {
  const { world } = cluster;
  await Promise.all(
    ids.map(async (id) => {
      const deadline = world.kernel.now + recoveryMilliseconds;
      for (;;) {
        const outcome = await cluster.invoke(process, id, message(id), { timeoutMilliseconds: attemptMilliseconds });
        if (outcome.kind === "reply") return;
        if (world.kernel.now > deadline) {
          const last = outcome.kind === "error" ? outcome.error.message : "lost";
          return world.violation(`Liveness: ${id.key} does not answer at ${process.name} after all faults: the last attempt was ${last}`);
        }
        await world.sleep(100);
      }
    }),
  );
}

/** Who has answered for an actor is its owner, and is up: unless it crashed since, which a sweep may have planned for just now. */
async function checkOwner(cluster: SimulatedCluster, id: ActorId, message: (id: ActorId) => unknown): Promise<void> {
  const { world, invariants, lasting } = cluster;
  for (let attempt = 1; ; attempt++) {
    const owner = invariants.ownerOf(id);
    const state = owner === undefined ? undefined : invariants.memberOf(owner)?.state;
    if (state === "up") return;
    if (attempt === attemptsMax)
      return world.violation(`Liveness: ${id.key} has answered, and its owner ${owner ?? "(none)"} is ${state ?? "no member"}`);
    await checkTogether(cluster);
    await checkAnswers(cluster, lasting[0]!, [id], message);
  }
}

async function checkDrain(cluster: SimulatedCluster, process: SimulatedProcess): Promise<void> {
  const { world } = cluster;
  for (let attempt = 1; ; attempt++) {
    const startedAt = world.kernel.now;
    const report = await drain(cluster, process);
    if (report !== undefined) {
      if (report.left > 0)
        world.violation(`Liveness: ${process.name} still has ${report.left} actors after a drain of ${world.kernel.now - startedAt} ms`);
      return process.crash("drained");
    }
    if (attempt === attemptsMax)
      return world.violation(`Liveness: ${process.name} ended in each of ${attempt} drains, and nothing was wrong`);
    await checkTogether(cluster);
  }
}

/** `undefined`: the node was taken to be dead meanwhile, for what it had not done while there were faults. */
async function drain(cluster: SimulatedCluster, process: SimulatedProcess): Promise<DrainReport | undefined> {
  try {
    return await cluster.within(process, "drain", async (node) => await node.drain());
  } catch (error) {
    if (error instanceof NodeFencedError) return undefined;
    throw error;
  }
}

/** Nothing of the runtime's own rows is left behind that nobody will look for. */
async function checkRows({ world }: SimulatedCluster): Promise<void> {
  const { begin, end } = tupleRange([]);
  const [rows] = await world.disk.read([{ begin, end, limit: 10_000 }]);
  const due = new Set<string>();
  const set = new Set<string>();
  const spans = new Map<string, { readonly from: number; readonly to: number } | undefined>();
  const records: { readonly actor: string; readonly bucket: number }[] = [];
  for (const { key, value } of rows!) {
    const parts = decodeTuple(key);
    const [inProject, kind] = parts;
    if (inProject === "" && kind === "reminder") due.add(parts.slice(4).concat(parts[3]!).join("/"));
    else if (kind === "reminders") set.add([inProject, ...parts.slice(2), decodeJson<{ due: number }>(value).due].join("/"));
    else if (kind === "header") spans.set(parts.slice(2).join("/"), decodeJson<{ dedup?: { from: number; to: number } }>(value).dedup);
    else if (kind === "dedup") records.push({ actor: parts.slice(2, 4).join("/"), bucket: Number(parts[4]) });
  }
  for (const reminder of due) if (!set.has(reminder)) world.violation(`A reminder is due that nobody has set: ${reminder}`);
  for (const reminder of set) if (!due.has(reminder)) world.violation(`A reminder is set that is never due: ${reminder}`);
  for (const { actor, bucket } of records) {
    const span = spans.get(actor);
    if (span === undefined || bucket < span.from || bucket > span.to) world.violation(`A record of ${actor} is left in bucket ${bucket}`);
  }
}
