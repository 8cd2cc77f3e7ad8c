/** Nodes are replaced one after the other by nodes of the next version, which write its rows when all of them can read it. */
import { readCluster } from "../../src/cluster/member-rows.ts";
import type { ClusterSetup, SimulatedCluster } from "./simulated-cluster.ts";

const upMilliseconds = 60_000;

export class RollingUpgrade {
  /** Names of nodes that are of the next version from their next start on. */
  readonly #upgraded = new Set<string>();

  get setup(): ClusterSetup {
    return {
      options: (options, { process }) => ({ ...options, schema: { min: 1, max: this.#upgraded.has(process.name) ? 2 : 1 } }),
    };
  }

  /** Begins after a while, and goes on to the next node when the one before is up again. */
  async run(cluster: SimulatedCluster): Promise<void> {
    const { world, processes } = cluster;
    const random = world.random.stream("upgrade");
    for (const process of processes) {
      await world.sleep(random.fraction() * 4_000);
      if (!world.faultHappens("upgrade", process.name)) continue;
      this.#upgraded.add(process.name);
      const { incarnation } = process;
      if (incarnation !== undefined) world.stop(incarnation, (each) => cluster.stop(each));
      await this.#up(cluster, process.name);
    }
  }

  async #up({ world, invariants }: SimulatedCluster, name: string): Promise<void> {
    const deadline = world.kernel.now + upMilliseconds;
    const isUp = (): boolean => invariants.members.some((each) => each.name === name && each.state === "up" && each.schema.max === 2);
    while (!isUp() && world.kernel.now < deadline) await world.sleep(100);
  }

  /** When all nodes can read the next version, it is what they write. */
  async check({ world, processes }: SimulatedCluster): Promise<void> {
    if (this.#upgraded.size < processes.length) return;
    const deadline = world.kernel.now + upMilliseconds;
    const written = async (): Promise<number> => (await readCluster(world.disk)).schema.written;
    while ((await written()) < 2 && world.kernel.now < deadline) await world.sleep(500);
    if ((await written()) < 2) world.violation("All nodes read version 2 of the rows, and the cluster still writes version 1");
  }
}
