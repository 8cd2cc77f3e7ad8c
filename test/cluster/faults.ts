/** What happens to the nodes, the network, the clocks and the store: drawn from the seed, two things at a time at most. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RandomStream } from "../../simulation/random.ts";
import type { PostgresServer } from "../../src/storage/testing/postgres-server.ts";
import { type Loss, type Network, type NodeName, nodeNames, type Place } from "./network.ts";
import type { NodeProcess } from "./node-process.ts";

export const nodeFaults = ["kill", "pause", "cut-from-nodes", "cut-from-store", "isolate", "one-way", "lossy", "rolling-restart"] as const;
export const worldFaults = ["clock-jump", "store-restart"] as const;
export type FaultKind = (typeof nodeFaults)[number] | (typeof worldFaults)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** For people. */
  readonly text: string;
  /** What cannot commit meanwhile. */
  readonly owner?: { readonly node: NodeName; readonly incarnation: string };
}

export interface FaultParts {
  readonly network: Network;
  readonly nodes: readonly NodeProcess[];
  readonly postgres: PostgresServer;
  /** A fault has begun. */
  onFault(fault: Fault): void;
}

/** One after the other, each kind as often as any other, until `signal` aborts; the last one is brought to its end. */
export async function injectFaults(
  kinds: readonly FaultKind[],
  parts: FaultParts,
  random: RandomStream,
  options: { readonly pause: readonly [number, number]; readonly signal: AbortSignal },
): Promise<void> {
  let left: FaultKind[] = [];
  while (!options.signal.aborted) {
    await quietly(sleep(random.between(...options.pause), undefined, { signal: options.signal }));
    if (options.signal.aborted) return;
    if (left.length === 0) left = [...kinds];
    const [kind] = left.splice(random.below(left.length), 1);
    await inject(kind!, parts, random);
  }
}

async function inject(kind: FaultKind, parts: FaultParts, random: RandomStream): Promise<void> {
  const node = random.pick(parts.nodes);
  // Half of them are longer than it takes until the others say that a node is dead; an isolation nearly always is.
  const milliseconds = random.between(1_000, 13_000) + (kind === "isolate" ? 6_000 : 0);
  const others = nodeNames.filter((name) => name !== node.name);
  const owner = { node: node.name, incarnation: node.incarnation };
  const lastingSeconds = `for ${(milliseconds / 1_000).toFixed(1)} s`;
  const lose = async (text: string, losses: readonly Loss[], loser?: typeof owner): Promise<void> => {
    const heal = parts.network.lose(losses);
    parts.onFault({ kind, text: `${text} ${lastingSeconds}`, ...(loser === undefined ? {} : { owner: loser }) });
    await sleep(milliseconds);
    heal();
  };
  switch (kind) {
    case "kill":
      await node.kill();
      parts.onFault({ kind, text: `${node.name} is killed, and down ${lastingSeconds}`, owner });
      await sleep(milliseconds);
      node.start();
      await node.ready();
      return;
    case "pause":
      node.pause();
      parts.onFault({ kind, text: `${node.name} is paused ${lastingSeconds}`, owner });
      await sleep(milliseconds);
      node.resume();
      return;
    case "cut-from-nodes":
      return await lose(`${node.name} is cut off from the other nodes`, bothWays(node.name, others));
    case "cut-from-store":
      return await lose(`${node.name} is cut off from the store`, bothWays(node.name, ["store"]), owner);
    case "isolate":
      return await lose(`${node.name} is cut off from the nodes and the store`, bothWays(node.name, [...others, "store"]), owner);
    case "one-way": {
      const other: Place = random.pick([...others, "store"] as const);
      const [from, to] = random.chance(0.5) ? ([node.name, other] as const) : ([other, node.name] as const);
      return await lose(`nothing of ${from} reaches ${to}`, [{ from, to, percent: 100 }], other === "store" ? owner : undefined);
    }
    case "lossy": {
      const percent = random.between(5, 30);
      const places: readonly Place[] = [...others, "store", "clients"];
      return await lose(`${node.name} loses ${percent} % of all packets`, bothWays(node.name, places, percent));
    }
    case "rolling-restart":
      parts.onFault({ kind, text: "all nodes are restarted, one after the other" });
      for (const each of parts.nodes) {
        await each.stop();
        each.start();
        await each.ready();
      }
      return;
    case "clock-jump": {
      const seconds = random.pick([-86_400, -3_600, -2, 2, 600, 3_600, 86_400]);
      node.setClock(seconds);
      parts.onFault({
        kind,
        text: `the wall clock of ${node.name} jumps by ${seconds} s, and back after ${(milliseconds / 1_000).toFixed(1)} s`,
      });
      await sleep(milliseconds);
      node.setClock(0);
      return;
    }
    case "store-restart": {
      const down = random.between(0, 3_000);
      parts.onFault({ kind, text: `PostgreSQL is killed, and down for ${(down / 1_000).toFixed(1)} s` });
      await parts.postgres.stop("immediate");
      await sleep(down);
      await parts.postgres.resume();
      return;
    }
  }
}

function bothWays(node: NodeName, places: readonly Place[], percent = 100): Loss[] {
  return places.flatMap((place) => [
    { from: node, to: place, percent },
    { from: place, to: node, percent },
  ]);
}

async function quietly(waiting: Promise<void>): Promise<void> {
  try {
    await waiting;
  } catch {
    // Aborted: whoever asks the signal knows.
  }
}
