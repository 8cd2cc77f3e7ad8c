/**
 * Calls whose outcome nobody knows are settled by a person, or looked for with a tool, while everything else goes on.
 *
 * U1. What was acknowledged as the outcome of an unknown call stays, and nothing else is taken for it.
 * U2. Lists of unknown calls show just those that are unknown.
 * U3. The agent of a settled call is told once: in its conversation, or with the next message that it gets.
 *
 * Beside these, J1 to J9 hold (agent-runs.ts): a call of a tool that says what became of it takes effect at most once as well.
 */
import { AgentClient } from "../agent-runs/agent-client.ts";
import { AgentCluster } from "../agent-runs/agent-cluster.ts";
import { checkHistories } from "../agent-runs/check-history.ts";
import { EffectPerson } from "../agent-runs/effect-person.ts";
import { readFinalState } from "../agent-runs/final-state.ts";
import { checkedTool, type Plan } from "../agent-runs/task.ts";
import type { Workload } from "../run.ts";
import type { World } from "../world.ts";
import { agentRuns, settle } from "./agent-runs.ts";

const plans: readonly Plan[] = ["once", "checked", "parallel", "chain", "approval"];
const tasksMax = 3;
/** What is unknown in the end is settled in this time, mostly. */
const afterMilliseconds = 10_000;

export const effects: Workload = {
  name: "effects",
  checks: "calls whose outcome nobody knows are listed, settled once, told once, and never made again",
  options: agentRuns.options!,
  run: settleEffects,
};

async function settleEffects(world: World): Promise<void> {
  const cluster = await AgentCluster.start(world, undefined, [checkedTool]);
  const clients = Array.from({ length: world.swarm.clients }, (_, name) => new AgentClient(cluster, `${name}`));
  const person = new EffectPerson(cluster);
  let isOver = false;
  const working = person.work(() => isOver);
  await Promise.all(clients.map((client, name) => live(world, client, name)));
  await world.sleep(afterMilliseconds);
  isOver = true;
  await working;
  await settle(world, cluster);
  const state = await readFinalState(cluster);
  checkHistories(
    cluster,
    clients.flatMap(({ notes }) => notes),
    state,
  );
  await person.check(state);
}

async function live(world: World, client: AgentClient, name: number): Promise<void> {
  for (let operation = 0; operation < tasksMax; operation++) {
    await client.think(operation);
    if (!world.parts.takesOperation(name, operation)) continue;
    await client.work({ id: `${name}.${operation}`, plan: world.random.stream(`task/${name}.${operation}`).pick(plans) });
  }
}
