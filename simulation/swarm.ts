/** What a run is like, drawn from its seed: each fault is on or off, and its rate differs, so that runs explore different corners. */
import { type ClusterSwarm, drawClusterSwarm, withoutClusterFaults } from "./cluster/cluster-swarm.ts";
import { type ModelFaults, noModelFaults } from "./scripted-model.ts";
import { noOutsideFaults, type OutsideFaults } from "./effects.ts";
import type { KeyedRandom, RandomStream } from "./random.ts";
import { noStoreFaults, type StoreFaults } from "./store-twin.ts";

export interface SwarmOptions {
  readonly processes: number;
  readonly clients: number;
  readonly keys: number;
  readonly operationsPerClient: number;
  /** Between two operations of a client, at most. */
  readonly thinkMilliseconds: number;
  /** Operations of all clients begin together, so far apart; 0: each at its own time. */
  readonly burstMilliseconds: number;
  /** That a client stays with one process. */
  readonly stickiness: number;
  readonly storeLatencyMilliseconds: { readonly lowest: number; readonly highest: number };
  readonly storeFaults: StoreFaults;
  readonly modelFaults: ModelFaults;
  readonly outsideFaults: OutsideFaults;
  /** That the reply of a process gets lost on its way to the client. */
  readonly replyLost: number;
  /** Mean time between crashes; 0: none. */
  readonly crashEveryMilliseconds: number;
  /** Mean time between pauses; 0: none. */
  readonly pauseEveryMilliseconds: number;
  readonly restartAfterMilliseconds: number;
  readonly clockOffsetMilliseconds: number;
  /** Activations leave memory after this long without use. */
  readonly idleMilliseconds: number;
  readonly liveMax: number;
  readonly mailboxMax: number;
  /** Rows that an activation remembers. */
  readonly cachedRows: number;
  /** How long a client waits for one try. */
  readonly patienceMilliseconds: number;
  /** How long the store answers nobody; 0: never. */
  readonly outageMilliseconds: number;
  /** What only clusters of nodes have. */
  readonly cluster: ClusterSwarm;
  /** Without any fault: then nothing may be late either. */
  readonly isCalm: boolean;
  /** When faults stop: from then on everything has to end. */
  readonly faultsUntil: number;
}

export function drawSwarm(random: KeyedRandom): SwarmOptions {
  const stream = random.stream("swarm");
  const rate = (highest: number): number => maybe(stream, () => stream.fraction() * highest);
  const storeLatencyMilliseconds = stream.pick([
    { lowest: 0, highest: 0 },
    { lowest: 0.1, highest: 2 },
    { lowest: 1, highest: 30 },
    { lowest: 0.1, highest: 300 },
  ]);
  const options: SwarmOptions = {
    processes: stream.pick([1, 1, 2, 2, 3]),
    clients: stream.between(1, 6),
    keys: stream.pick([1, 1, 2, 3, 6]),
    operationsPerClient: stream.between(4, 16),
    thinkMilliseconds: stream.pick([0, 5, 50, 500]),
    burstMilliseconds: 0,
    stickiness: stream.pick([0, 0.5, 0.9, 1]),
    storeLatencyMilliseconds,
    storeFaults: {
      readUnavailable: rate(0.1),
      commitUnavailable: rate(0.15),
      unknownApplied: rate(0.2),
      unknownLost: rate(0.2),
      unknownLate: rate(0.2),
      slow: rate(0.05),
      lostAtCrash: stream.fraction(),
    },
    modelFaults: { refused: rate(0.2), truncated: rate(0.1), hangs: rate(0.05) },
    outsideFaults: { answerLost: rate(0.1), failed: rate(0.1) },
    replyLost: rate(0.15),
    crashEveryMilliseconds: maybe(stream, () => stream.pick([300, 1_000, 4_000])),
    pauseEveryMilliseconds: maybe(stream, () => stream.pick([1_000, 5_000])),
    restartAfterMilliseconds: stream.pick([1, 100, 3_000]),
    clockOffsetMilliseconds: maybe(stream, () => stream.between(-2_000, 2_000)),
    idleMilliseconds: stream.pick([40, 200, 1_000, 60_000]),
    liveMax: stream.pick([1, 2, 1_000]),
    mailboxMax: stream.pick([1, 2, 8, 1_000]),
    // Several round trips at least: a client that never waits for one is never answered.
    patienceMilliseconds: Math.max(stream.pick([200, 2_000, 20_000]), 20 * storeLatencyMilliseconds.highest),
    faultsUntil: 20_000,
    cachedRows: stream.pick([1, 4, 1_000]),
    outageMilliseconds: stream.chance(0.25) ? stream.pick([500, 5_000, 40_000]) : 0,
    isCalm: false,
    cluster: drawClusterSwarm(random, storeLatencyMilliseconds.highest),
  };
  return stream.chance(0.1) ? withoutFaults(options) : options;
}

/** The same world without a fault: what a run must at least survive. */
export function withoutFaults(options: SwarmOptions): SwarmOptions {
  return {
    ...options,
    isCalm: true,
    storeFaults: noStoreFaults,
    modelFaults: noModelFaults,
    outsideFaults: noOutsideFaults,
    replyLost: 0,
    outageMilliseconds: 0,
    crashEveryMilliseconds: 0,
    pauseEveryMilliseconds: 0,
    cluster: withoutClusterFaults(options.cluster),
  };
}

function maybe(stream: RandomStream, draw: () => number): number {
  const isOn = stream.chance(0.5);
  const value = draw();
  return isOn ? value : 0;
}
