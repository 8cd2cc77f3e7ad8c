/** Actors that are moved from node to node while they are used, and nodes that are near to what some actors need. */
import type { ActorId } from "../../src/actors/actor.ts";
import type { Cluster } from "../../src/cluster/open-cluster.ts";
import type { RandomStream } from "../random.ts";
import type { World } from "../world.ts";
import type { ClusterSetup, SimulatedCluster } from "./simulated-cluster.ts";

/** Moves one actor after the other to another node, as long as there are faults. */
export function moveActors(cluster: SimulatedCluster): void {
  const { world } = cluster;
  const every = world.random.stream("moves").pick([100, 400, 1_500]);
  let drawn = 0;
  world.repeat("moves", every, () => {
    const random = world.random.stream(`move/${++drawn}`);
    const process = random.pick(cluster.processes);
    if (!world.faultHappens("move", process.name)) return;
    void cluster
      .within(process, "move", async (node) => await moveOne(node, random))
      .catch(() => {
        // A node that is being fenced, or stops, moves nothing.
      });
  });
}

async function moveOne({ actors, members, node }: Cluster, random: RandomStream): Promise<void> {
  const here = [...actors.runtime.activations()];
  const others = members.filter((member) => member.node !== node && member.state === "up");
  if (here.length === 0 || others.length === 0) return;
  await actors.migration.move(random.pick(here).id, random.pick(others), { wake: random.chance(0.6) });
}

/** Some actors would rather be at a certain node, as for a sandbox that is there. */
export function withAffinity(world: World, cluster: () => SimulatedCluster): ClusterSetup {
  const affinity = (id: ActorId): string | undefined => {
    const wanted = world.random.stream(`affinity/${id.key}`).pick(["node-0", "node-1", "none"]);
    return cluster().invariants.members.find(({ name, state }) => name === wanted && state === "up")?.node;
  };
  return { options: (options) => ({ ...options, affinity }) };
}
