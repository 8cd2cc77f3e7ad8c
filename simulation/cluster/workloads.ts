/** What clients do to actors of a cluster: most of it is what they do to those of single processes. */
import type { ActorId } from "../../src/actors/actor.ts";
import { agentErrors } from "../../src/agents/agent-errors.ts";
import type { OpenActors } from "../actor-cluster.ts";
import type { Workload } from "../run.ts";
import type { SwarmOptions } from "../swarm.ts";
import { runAgents } from "../workloads/agent-runs.ts";
import { runBank } from "../workloads/bank.ts";
import { runLogs } from "../workloads/logs.ts";
import { runMessages } from "../workloads/messages.ts";
import { runReminders } from "../workloads/reminders.ts";
import { runSteps } from "../workloads/steps.ts";
import type { World } from "../world.ts";
import { type CellKind, readOf, runCells } from "./cells.ts";
import type { ClusterFault } from "./cluster-swarm.ts";
import { checkLiveness } from "./liveness.ts";
import { moveActors, withAffinity } from "./moves.ts";
import { runRewind } from "./rewind.ts";
import { RollingUpgrade } from "./upgrade.ts";
import { type ClusterSetup, SimulatedCluster } from "./simulated-cluster.ts";

/** Faults last so long: clients spread what they do over them. */
const faultsUntil = 12_000;

type RegisterOperation =
  | { readonly kind: "read" }
  | { readonly kind: "write"; readonly value: string }
  | { readonly kind: "compare-and-set"; readonly expected: string; readonly value: string };

const register: CellKind<string, RegisterOperation> = {
  initial: "",
  read: { kind: "read" },
  draw: (random, unique, seen) =>
    random.chance(0.5) ? { kind: "write", value: unique } : { kind: "compare-and-set", expected: seen, value: unique },
  apply: (value, operation) => {
    if (operation.kind === "read") return { value, reply: value };
    if (operation.kind === "write") return { value: operation.value, reply: null };
    const isEqual = value === operation.expected;
    return { value: isEqual ? operation.value : value, reply: isEqual };
  },
  effectOf: (operation) => JSON.stringify(operation),
};

type CounterOperation = { readonly kind: "read" } | { readonly kind: "add" };

const counter: CellKind<number, CounterOperation> = {
  initial: 0,
  read: { kind: "read" },
  draw: () => ({ kind: "add" }),
  apply: (value, { kind }) => (kind === "read" ? { value, reply: value } : { value: value + 1, reply: value + 1 }),
  effectOf: ({ kind }) => kind,
};

/** What every workload over a cluster makes of what the seed drew. */
export function asCluster(swarm: SwarmOptions): SwarmOptions {
  const { nodes, thinkMilliseconds, operationsPerClient } = swarm.cluster;
  return {
    ...swarm,
    processes: nodes,
    keys: Math.min(swarm.keys, 3),
    thinkMilliseconds,
    operationsPerClient,
    faultsUntil,
    outageMilliseconds: Math.min(swarm.outageMilliseconds, 5_000),
    // A node in a loop of crashes is one of the cluster's own faults.
    crashEveryMilliseconds: swarm.crashEveryMilliseconds && Math.max(1_000, swarm.crashEveryMilliseconds),
    mailboxMax: Math.max(8, swarm.mailboxMax),
  };
}

/** Runs a workload over a cluster, and sees to it that the cluster is well afterwards. */
async function overCluster(
  world: World,
  run: (world: World, open: OpenActors) => Promise<void>,
  options: {
    /** Asks an actor for something that does no harm. */
    readonly message: (id: ActorId) => unknown;
    readonly setup?: (cluster: () => SimulatedCluster) => ClusterSetup;
    /** Goes on beside the clients. */
    readonly beside?: (cluster: SimulatedCluster) => Promise<void>;
  },
): Promise<SimulatedCluster> {
  let opened: SimulatedCluster | undefined;
  let beside: Promise<void> | undefined;
  const cluster = (): SimulatedCluster => opened!;
  await run(world, (_, types) => {
    opened = new SimulatedCluster(world, types, options.setup?.(cluster));
    beside = options.beside?.(opened);
    return opened;
  });
  await beside;
  await checkLiveness(cluster(), options.message);
  return cluster();
}

export const clusterRegister: Workload = {
  name: "cluster-register",
  checks: "registers of a cluster are linearizable, with reads from memory under leases, whatever its clocks and links do",
  options: asCluster,
  run: async (world) => void (await overCluster(world, (_, open) => runCells(world, open, register), { message: () => readOf(register) })),
};

export const clusterCounter: Workload = {
  name: "cluster-counter",
  checks: "each increment that was acknowledged is there once, over failovers, retries and lost answers",
  options: asCluster,
  run: async (world) => void (await overCluster(world, (_, open) => runCells(world, open, counter), { message: () => readOf(counter) })),
};

export const clusterAppend: Workload = {
  name: "cluster-append",
  checks: "logs of a cluster are linearizable, and what a reply tells of is durable when it leaves",
  options: asCluster,
  run: async (world) => void (await overCluster(world, runLogs, { message: () => ({ kind: "read", entry: "afterwards", waits: 0 }) })),
};

export const clusterBank: Workload = {
  name: "cluster-bank",
  checks: "transfers between rows that actors of several nodes share are whole and happen once",
  options: asCluster,
  run: async (world) => {
    const audit = { kind: "audit", id: "afterwards", accounts: world.swarm.keys + 1 };
    await overCluster(world, runBank, { message: () => audit });
  },
};

export const clusterReminders: Workload = {
  name: "cluster-reminders",
  checks: "reminders arrive once and by themselves, whichever node has their slot and whichever has the actor",
  options: (swarm) => withoutJumps(asCluster(swarm)),
  run: async (world) => {
    let message = 0;
    await overCluster(world, runReminders, { message: () => ({ name: "afterwards", payload: `afterwards ${++message}` }) });
  },
};

export const clusterMessages: Workload = {
  name: "cluster-messages",
  checks: "what actors send to actors of other nodes is handled once, in the order of each sender",
  options: (swarm) => withoutJumps(asCluster(swarm)),
  run: async (world) => {
    await overCluster(world, runMessages, { message: () => ({ kind: "post", id: "afterwards", letters: [], throws: false }) });
  },
};

export const clusterMoves: Workload = {
  name: "cluster-moves",
  checks: "registers stay linearizable while they are moved from node to node, by hand, for affinity and at drains",
  options: (swarm) => ({ ...asCluster(swarm), processes: Math.max(2, swarm.cluster.nodes) }),
  run: async (world) => {
    await overCluster(world, (_, open) => runCells(world, open, register), {
      message: () => readOf(register),
      setup: (cluster) => withAffinity(world, cluster),
      beside: async (cluster) => moveActors(cluster),
    });
  },
};

export const clusterSteps: Workload = {
  name: "cluster-steps",
  checks: "work in the background ends although nobody asks, each step once, also when its actor moves in the middle",
  options: (swarm) => ({ ...withoutJumps(asCluster(swarm)), processes: Math.max(2, swarm.cluster.nodes) }),
  run: async (world) => {
    await overCluster(world, runSteps, {
      message: () => ({ job: "afterwards", steps: 0, pauseMilliseconds: 0 }),
      beside: async (cluster) => moveActors(cluster),
    });
  },
};

export const clusterAgentRuns: Workload = {
  name: "cluster-agent-runs",
  checks: "runs of agents lose, double and invent nothing, also when they move from node to node in the middle",
  options: (swarm) => {
    const options = withoutJumps(asCluster(swarm));
    return { ...options, processes: Math.max(2, options.processes), clients: Math.min(options.clients, 4) };
  },
  run: async (world) => {
    await runAgents(world, (_, types, beforeStop) => {
      const setup: ClusterSetup = { beforeStop, options: (options) => ({ ...options, errors: agentErrors }) };
      const cluster = new SimulatedCluster(world, types, setup);
      moveActors(cluster);
      return cluster;
    });
  },
};

export const clusterUpgrade: Workload = {
  name: "cluster-upgrade",
  checks: "nodes are replaced one by one by nodes of the next version, and no node takes what it cannot read",
  options: (swarm) => {
    const options = asCluster(swarm);
    return { ...options, processes: Math.max(2, options.processes), cluster: { ...options.cluster, losesNode: false } };
  },
  run: async (world) => {
    const upgrade = new RollingUpgrade();
    const cluster = await overCluster(world, (_, open) => runCells(world, open, counter), {
      message: () => readOf(counter),
      setup: () => upgrade.setup,
      beside: async (opened) => await upgrade.run(opened),
    });
    await upgrade.check(cluster);
  },
};

export const clusterRewind: Workload = {
  name: "cluster-rewind",
  checks: "a store whose history goes back loses what came after, and nothing else; every activation starts anew",
  options: (swarm) => withPromptStore(asCluster(swarm)),
  run: runRewind,
};

/** Where reminders are waited for: when one is due is a matter of the wall clock that it was set by. */
function withoutJumps(swarm: SwarmOptions): SwarmOptions {
  const { cluster } = swarm;
  const faults = cluster.faults.filter((fault) => fault !== "wall-clock jump");
  return { ...swarm, cluster: { ...cluster, faults, rateError: Math.min(cluster.rateError, cluster.timings.rateError) } };
}

/** Where it is judged how soon nodes hear of what has happened to the store. */
function withPromptStore(swarm: SwarmOptions): SwarmOptions {
  const { cluster, storeFaults } = swarm;
  const late: readonly ClusterFault[] = ["isolation", "isolation from store", "stall", "pause beyond lease", "suspension"];
  return {
    ...swarm,
    thinkMilliseconds: Math.max(400, swarm.thinkMilliseconds),
    storeFaults: { ...storeFaults, readUnavailable: 0, slow: 0 },
    outageMilliseconds: 0,
    pauseEveryMilliseconds: 0,
    cluster: { ...cluster, faults: cluster.faults.filter((fault) => !late.includes(fault)) },
  };
}

export const clusterWorkloads: readonly Workload[] = [
  clusterRegister,
  clusterCounter,
  clusterAppend,
  clusterBank,
  clusterReminders,
  clusterMessages,
  clusterMoves,
  clusterSteps,
  clusterAgentRuns,
  clusterUpgrade,
  clusterRewind,
];
