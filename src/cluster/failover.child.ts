/** A node of a cluster as a process of its own, for the test that kills it: `failover.child.ts <file of the store> <name>`. */
import { HostProcessTable } from "../actors/host-process-table.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { SqliteStore } from "../storage/sqlite-store.ts";
import { type Cluster, openCluster } from "./open-cluster.ts";
import { TcpTransport } from "./tcp-transport.ts";

export async function startNode(file: string, name: string): Promise<Cluster> {
  const environment = new RealEnvironment({ level: "error" });
  const cluster = openCluster({
    store: await SqliteStore.open(file),
    environment,
    name,
    transport: (node) =>
      new TcpTransport({ environment, node, cluster: "test", secret: Buffer.from("a secret of the cluster"), host: "127.0.0.1", port: 0 }),
    witness: new HostProcessTable(),
    onFenced: (reason) => {
      throw reason;
    },
  });
  cluster.actors.register<"add" | "who", unknown>({
    type: "counter",
    create: () => ({
      receive: async (message, turn) => {
        if (message === "who") return name;
        const count = ((await turn.state.get<number>(["count"])) ?? 0) + 1;
        turn.state.set(["count"], count);
        return count;
      },
    }),
  });
  await cluster.start();
  return cluster;
}

if (import.meta.main) {
  await startNode(process.argv[2]!, process.argv[3]!);
  process.stdout.write("started\n");
  // Runs until it is killed.
  process.stdin.resume();
}
