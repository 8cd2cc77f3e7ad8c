/**
 * Clients talk to agents whose processes crash, over a store, models and tools that fail.
 *
 * J1. A task that was acknowledged is in its conversation once, one that was not at most once, however often it was
 *     sent; a repeat is answered with the run that took it.
 * J2. The messages of a run are what its plan leaves, or a beginning of it where the run ended early: no step is lost,
 *     doubled or mixed with another run's, and every call of a stored answer has its result in a stored tool message.
 * J3. When a call leaves a process, the ledger in the store says that it has started.
 * J4. A `once` tool takes effect at most once, and just once where its result says success; an `idempotent` one is
 *     called under one effect id only; what is unknown is reported as that, in the result and in the ledger.
 * J5. A state tool takes effect just once if its result says success, else not at all, also in a block that agents share.
 * J6. The numbers of events that a follower sees grow over all its connections, and what it puts together is what is
 *     stored; in a background run it sees the durable log, event for event, and nothing before it is durable.
 * J7. The durable events of a run end with its last event, once.
 * J8. A run whose cancel was acknowledged ends cancelled and goes no further.
 * J9. A run in progress has a reminder. When the faults are over every run comes to its end although nobody asks, and
 *     leaves no reminder, no row of active runs and no busy actor.
 * J10. A call that has to be approved leaves only with an approval for just these arguments and this tool, given in time to
 *     the request that waited, and an approval is used for one call. What a policy denied before stays undone. Lists show
 *     a conversation just as long as it waits for a person.
 */
import { AgentClient, settleMilliseconds } from "../agent-runs/agent-client.ts";
import { AgentCluster, type OpenAgentProcesses } from "../agent-runs/agent-cluster.ts";
import { checkHistories } from "../agent-runs/check-history.ts";
import { checkStreams } from "../agent-runs/check-streams.ts";
import { readFinalState, unfinished } from "../agent-runs/final-state.ts";
import { plans } from "../agent-runs/task.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";

/** A task makes dozens of turns and hundreds of events, so a few of them are as long as a run of another workload. */
const clientsMax = 4;
const tasksMax = 3;
const operationsPerTask = 5;

export const agentRuns: Workload = {
  name: "agent-runs",
  checks: "runs of agents lose, double and invent nothing, and come to their end, across crashes and faults",
  options: (options) => ({ ...options, processes: Math.min(options.processes, 2), clients: Math.min(options.clients, clientsMax) }),
  run: (world) => runAgents(world),
};

export async function runAgents(world: World, open?: OpenAgentProcesses): Promise<void> {
  const cluster = await AgentCluster.start(world, open);
  const clients = Array.from({ length: world.swarm.clients }, (_, name) => new AgentClient(cluster, `${name}`));
  await Promise.all(clients.map((client, name) => live(world, client, name)));
  await settle(world, cluster);
  const notes = clients.flatMap((client) => client.notes);
  const state = await readFinalState(cluster);
  checkHistories(cluster, notes, state);
  checkStreams(world, notes, state);
}

async function live(world: World, client: AgentClient, name: number): Promise<void> {
  const tasks = Math.min(tasksMax, Math.ceil(world.swarm.operationsPerClient / operationsPerTask));
  for (let operation = 0; operation < tasks; operation++) {
    await client.think(operation);
    if (!world.parts.takesOperation(name, operation)) continue;
    await client.work({ id: `${name}.${operation}`, plan: world.random.stream(`task/${name}.${operation}`).pick(plans) });
  }
}

/** Waits until nothing goes on any more (J9). */
export async function settle(world: World, cluster: AgentCluster): Promise<void> {
  const { kernel, swarm } = world;
  const deadline = Math.max(kernel.now, swarm.faultsUntil + swarm.outageMilliseconds) + settleMilliseconds;
  while (kernel.now < deadline && (await unfinished(cluster)).length > 0) await world.sleep(2_000);
  for (const text of await unfinished(cluster)) world.violation(`J9: ${text}`);
  // An activation that is not busy leaves memory when its time is over.
  while (kernel.now < deadline && cluster.live > 0) await world.sleep(2_000);
  if (cluster.live > 0) world.violation(`J9: ${cluster.live} activations are still in memory`);
}
