/** What the world does to the nodes of a cluster until the faults stop; then all of it is over. */
import type { SimulatedProcess } from "../process.ts";
import type { RandomStream } from "../random.ts";
import type { World } from "../world.ts";
import type { ClusterFault } from "./cluster-swarm.ts";
import type { SimulatedNetwork, Stoppage } from "./network.ts";

/** What the faults have to do with. */
export interface FaultyParts {
  readonly world: World;
  readonly processes: readonly SimulatedProcess[];
  readonly network: SimulatedNetwork;
  /** Cuts a node off from the store, until the function that it gives is called. */
  cutStore(process: SimulatedProcess): () => void;
}

/** Begins to do harm, at times and in ways that the seed says. */
export function startFaults(parts: FaultyParts): void {
  const { world } = parts;
  const { faults, faultEveryMilliseconds } = world.swarm.cluster;
  if (faults.length === 0) return;
  let number = 0;
  world.repeat("cluster faults", faultEveryMilliseconds, (random) => {
    const kind = random.pick(faults);
    const process = random.pick(parts.processes);
    // Its own draws: one that a shrunk run leaves out does not change the next ones.
    const own = world.random.stream(`cluster fault ${++number}`);
    if (world.faultHappens(kind, process.name)) begin(kind, process, own, parts);
  });
}

function begin(kind: ClusterFault, process: SimulatedProcess, random: RandomStream, parts: FaultyParts): void {
  const { world, network, processes } = parts;
  const { timings } = world.swarm.cluster;
  const others = processes.filter((each) => each !== process);
  const stoppage = random.pick<Stoppage>(["lose", "hold"]);
  /** From too short to be noticed to longer than any lease. */
  const milliseconds = random.pick([0.1, 0.5, 1, 2, 3]) * timings.lease * (0.5 + random.fraction());
  const during = (...ends: readonly (() => void)[]): void => {
    const left = Math.max(0, world.swarm.faultsUntil - world.kernel.now);
    for (const end of ends) world.kernel.schedule(Math.min(milliseconds, left), { kind: "fault over", details: kind }, end);
  };
  const cutOff = (peers: readonly SimulatedProcess[], directions: readonly ("to" | "from")[], how: Stoppage = stoppage): (() => void)[] =>
    peers.flatMap((peer) =>
      directions.map((direction) =>
        direction === "to" ? network.stop(process.name, peer.name, how) : network.stop(peer.name, process.name, how),
      ),
    );

  switch (kind) {
    case "partition":
      return during(...cutOff(some(others, random), ["to", "from"]));
    case "one-way partition":
      return during(...cutOff(some(others, random), [random.pick(["to", "from"] as const)]));
    case "isolation from peers":
      return during(...cutOff(others, ["to", "from"]));
    case "isolation from store":
      return during(parts.cutStore(process));
    case "isolation":
      return during(...cutOff(others, ["to", "from"]), parts.cutStore(process));
    case "half-open link": {
      const ends = cutOff(some(others, random), [random.pick(["to", "from"] as const)], "lose");
      for (const end of ends) world.kernel.schedule(random.fraction() * 50, { kind: "fault over", details: kind }, end);
      return;
    }
    case "reset": {
      const peers = new Set(some(others, random).map((peer) => peer.name));
      return network.break((from, to) => (from === process.name && peers.has(to)) || (to === process.name && peers.has(from)));
    }
    case "swizzle-clog":
      for (const peer of others)
        for (const [from, to] of [
          [process.name, peer.name],
          [peer.name, process.name],
        ] as const)
          if (random.chance(0.7)) clog(from, to, random, milliseconds, parts);
      return;
    case "stall":
      return process.pause(random.between(20, 500));
    case "pause beyond lease":
      return process.pause(timings.lease * (0.8 + 2 * random.fraction()));
    case "suspension":
      // Also just as long as the margin is.
      return process.pause(random.pick([timings.margin + random.between(-1, 2), milliseconds]), { suspended: true });
    case "wall-clock jump":
      process.clock.offsetMilliseconds += Math.round(random.pick([1, 60, 3_600, 86_400]) * 1_000 * (2 * random.fraction() - 1));
      return;
    case "restart loop":
      for (let at = 0; at < 4; at++)
        world.kernel.schedule(at * (world.swarm.restartAfterMilliseconds + random.fraction() * timings.lease), { kind: "loop" }, () => {
          if (world.kernel.now < world.swarm.faultsUntil) process.crash("restart loop");
        });
      return;
    default:
      return kind satisfies never;
  }
}

function clog(from: string, to: string, random: RandomStream, milliseconds: number, { world, network }: FaultyParts): void {
  const [begins, lasts] = [random.fraction() * milliseconds, random.fraction() * milliseconds];
  world.kernel.schedule(begins, { kind: "clog", details: `${from}>${to}` }, () => {
    const end = network.stop(from, to, "hold");
    const left = Math.max(0, world.swarm.faultsUntil - world.kernel.now);
    world.kernel.schedule(Math.min(lasts, left), { kind: "unclog", details: `${from}>${to}` }, end);
  });
}

/** At least one of them, if there are any. */
function some<T>(all: readonly T[], random: RandomStream): readonly T[] {
  const chosen = all.filter(() => random.chance(0.5));
  return chosen.length > 0 || all.length === 0 ? chosen : [random.pick(all)];
}
