/** What a run of a cluster is like, drawn from its seed: beside what every run draws, its clocks, its network and its leases. */
import { type ClusterTimings, defaultTimings } from "../../src/cluster/cluster.ts";
import type { KeyedRandom } from "../random.ts";

/** What the world does to nodes, beside crashes, stops and pauses. */
export const clusterFaults = [
  /** Two nodes, or all from one, cannot hear each other; packets are lost, or wait until it is over. */
  "partition",
  "one-way partition",
  "isolation from peers",
  "isolation from store",
  "isolation",
  /** For a moment everything of one direction is lost, so that what is open there stays open and is dead. */
  "half-open link",
  "reset",
  /** Links are stopped one by one, and go on in another order. */
  "swizzle-clog",
  /** The event loop does nothing for a while. */
  "stall",
  "pause beyond lease",
  /** A machine sleeps: its monotonic clock stands still. */
  "suspension",
  "wall-clock jump",
  "restart loop",
] as const;
export type ClusterFault = (typeof clusterFaults)[number];

export interface ClusterSwarm {
  readonly nodes: number;
  /** Of clients, who have to be there for as long as there are faults. */
  readonly thinkMilliseconds: number;
  readonly operationsPerClient: number;
  /** Of the operations, where a workload reads and writes. */
  readonly readShare: number;
  readonly timings: ClusterTimings;
  readonly reads: "lease" | "strict";
  readonly networkMilliseconds: { readonly lowest: number; readonly highest: number };
  /** That something travels thirty times as long. */
  readonly networkTail: number;
  /** That something is lost: what is behind it in its pipe waits for it for ever. */
  readonly networkLoss: number;
  readonly pingMilliseconds: number;
  readonly faults: readonly ClusterFault[];
  /** Mean time between two of these. */
  readonly faultEveryMilliseconds: number;
  /** By how much the clocks of nodes may run too fast or too slow. */
  readonly rateError: number;
  /** Nodes see the processes of other nodes end. */
  readonly hasWitness: boolean;
  /** When the faults stop, one node does not come back. */
  readonly losesNode: boolean;
  /** How long an actor that moves has for what it does, and a stop for what runs. */
  readonly moveMilliseconds: number;
  readonly stopMilliseconds: number;
}

/** `storeMilliseconds`: the highest latency of the store, which a lease has to be a multiple of. */
export function drawClusterSwarm(random: KeyedRandom, storeMilliseconds: number): ClusterSwarm {
  const stream = random.stream("swarm/cluster");
  const maybe = <T>(probability: number, value: T, otherwise: T): T => (stream.chance(probability) ? value : otherwise);
  const drawn = clusterFaults.filter(() => stream.chance(0.35));
  // A wall clock that is set back hides that a machine slept: no code could tell, so no run does both.
  const faults = drawn.includes("suspension") ? drawn.filter((fault) => fault !== "wall-clock jump") : drawn;
  const lease = Math.max(stream.pick([300, 800, 2_500]), 12 * storeMilliseconds);
  const margin = stream.pick([0, 1, 20, 100]);
  const reads = maybe<"lease" | "strict">(0.25, "strict", "lease");
  return {
    nodes: stream.pick([1, 2, 2, 3, 3, 4]),
    thinkMilliseconds: stream.pick([20, 100, 400, 1_000]),
    operationsPerClient: stream.between(6, 20),
    readShare: stream.pick([0.1, 0.5, 0.9]),
    reads,
    timings: {
      lease,
      renew: lease / 4,
      rateError: defaultTimings.rateError,
      // A sleep is seen on a clock of whole milliseconds, so it can be that much longer than it looks.
      margin: faults.includes("suspension") ? Math.max(margin, 4) : margin,
    },
    networkMilliseconds: stream.pick([
      { lowest: 0.05, highest: 1 },
      { lowest: 0.5, highest: 20 },
      { lowest: 0.1, highest: 100 },
    ]),
    networkTail: maybe(0.5, 0.05 * stream.fraction(), 0),
    networkLoss: maybe(0.5, 0.01 * stream.fraction(), 0),
    pingMilliseconds: stream.pick([200, 1_000]),
    faults,
    faultEveryMilliseconds: stream.pick([200, 600, 2_000]),
    // Beyond the bound only where no answer depends on a clock.
    rateError: reads === "strict" ? stream.pick([0, 0.3]) : stream.pick([0, defaultTimings.rateError]),
    hasWitness: stream.chance(0.3),
    losesNode: stream.chance(0.3),
    moveMilliseconds: stream.pick([100, 2_000]),
    stopMilliseconds: stream.pick([500, 5_000]),
  };
}

export function withoutClusterFaults(cluster: ClusterSwarm): ClusterSwarm {
  return { ...cluster, networkTail: 0, networkLoss: 0, faults: [], losesNode: false };
}
