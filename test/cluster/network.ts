/** Each node in a network namespace of its own, on a bridge; the store and the clients are at two addresses of this one. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";

export const nodeNames = ["node1", "node2", "node3"] as const;
export type NodeName = (typeof nodeNames)[number];
export type Place = NodeName | "store" | "clients";

export const addresses: Readonly<Record<Place, string>> = {
  node1: "10.77.0.1",
  node2: "10.77.0.2",
  node3: "10.77.0.3",
  store: "10.77.0.10",
  clients: "10.77.0.20",
};

/** One direction. `percent` of its packets are lost. */
export interface Loss {
  readonly from: Place;
  readonly to: Place;
  readonly percent: number;
}

export class Network {
  /** One for each node: it does nothing but hold the namespaces. */
  readonly #holders: ReadonlyMap<NodeName, ChildProcess>;
  readonly #losses = new Set<readonly Loss[]>();

  private constructor(holders: ReadonlyMap<NodeName, ChildProcess>) {
    this.#holders = holders;
  }

  /** Once, in a network namespace that it takes for its own. */
  static async build(): Promise<Network> {
    run("ip", "link set lo up");
    run("ip", "link add bridge type bridge");
    // The first address is the one from which connections are made.
    for (const place of ["clients", "store"] as const) run("ip", `address add ${addresses[place]}/24 dev bridge`);
    run("ip", "link set bridge up");
    const network = new Network(new Map(await Promise.all(nodeNames.map(async (node) => [node, await hold(node)] as const))));
    for (const node of nodeNames) network.#plugIn(node);
    return network;
  }

  /** How to start a program at a node: it is that very process. */
  commandAt(node: NodeName, command: readonly string[]): readonly [string, ...string[]] {
    const folder = `/proc/${this.#holders.get(node)!.pid}/ns`;
    return ["nsenter", `--net=${folder}/net`, `--uts=${folder}/uts`, "--", ...command];
  }

  /** From now on these packets are lost, until what it gives is called. */
  lose(losses: readonly Loss[]): () => void {
    this.#losses.add(losses);
    this.#filter();
    return () => {
      this.#losses.delete(losses);
      this.#filter();
    };
  }

  #plugIn(node: NodeName): void {
    run("ip", `link add ${node} type veth peer name eth0 netns ${this.#holders.get(node)!.pid}`);
    run("ip", `link set ${node} master bridge up`);
    for (const command of ["link set lo up", `address add ${addresses[node]}/24 dev eth0`, "link set eth0 up"])
      this.#runAt(node, ["ip", ...command.split(" ")]);
  }

  #filter(): void {
    const losses = [...this.#losses].flat();
    for (const node of nodeNames) {
      const incoming = losses
        .filter(({ to }) => to === node)
        .map(({ from, percent }) => `ip saddr ${addresses[from]} ${dropping(percent)}`);
      const outgoing = losses
        .filter(({ from }) => from === node)
        .map(({ to, percent }) => `ip daddr ${addresses[to]} ${dropping(percent)}`);
      const rules = `flush ruleset
table inet faults {
  chain incoming {
    type filter hook input priority 0
    ${incoming.join("\n    ")}
  }
  chain outgoing {
    type filter hook output priority 0
    ${outgoing.join("\n    ")}
  }
}
`;
      this.#runAt(node, ["nft", "-f", "-"], rules);
    }
  }

  #runAt(node: NodeName, command: readonly string[], input = ""): void {
    const [program, ...parameters] = this.commandAt(node, command);
    execFileSync(program, parameters, { input, stdio: ["pipe", "ignore", "inherit"] });
  }
}

function dropping(percent: number): string {
  return percent >= 100 ? "drop" : `numgen random mod 100 < ${percent} drop`;
}

async function hold(node: NodeName): Promise<ChildProcess> {
  // A host name of its own makes it another host: its processes are not looked up in this one's table of them.
  const holder = spawn("unshare", ["--net", "--uts", "sh", "-c", `hostname ${node} && echo ready && exec sleep infinity`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  return holder;
}

function run(program: string, parameters: string): void {
  execFileSync(program, parameters.split(" "), { stdio: ["ignore", "ignore", "inherit"] });
}
