/** One run, as the first process of its own namespaces: when it ends, however it does, all that it started ends. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { KeyedRandom } from "../../simulation/random.ts";
import { PostgresServer } from "../../src/storage/testing/postgres-server.ts";
import { Api } from "../crash/api.ts";
import { check } from "../crash/checker.ts";
import { World } from "../crash/world.ts";
import { AgentClients } from "./agent-clients.ts";
import { type Failover, FaultLog } from "./fault-log.ts";
import { type Fault, injectFaults, nodeFaults, worldFaults } from "./faults.ts";
import type { BadHistory, HistoryVerdict } from "./history.ts";
import { addresses, Network, nodeNames } from "./network.ts";
import { type CommonSettings, NodeProcess } from "./node-process.ts";
import { type Endpoint, type Manner, ObjectClients, watchersPerNode } from "./object-clients.ts";

export interface RunSettings {
  readonly seed: number;
  readonly seconds: number;
  readonly planted: string | null;
  /** For what the run makes, and for its result. */
  readonly folder: string;
  /** Tells each fault as it happens. */
  readonly verbose: boolean;
}

export interface RunResult {
  readonly seed: number;
  readonly seconds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly fencings: number;
  readonly starts: number;
  readonly histories: Omit<HistoryVerdict, "bad"> & { readonly bad: readonly string[] };
  readonly tasks: {
    readonly asked: number;
    readonly finished: number;
    readonly resumed: number;
    readonly effects: number;
    readonly unknown: number;
  };
  readonly lost: readonly string[];
  readonly repeatedEffects: readonly string[];
  readonly streams: readonly string[];
  /** Everything else that must not be. */
  readonly wrong: readonly string[];
  readonly failovers: readonly Failover[];
}

const apiKey = "key-of-the-cluster-test";
const agentsMade = 12;
const clientsOfAgents = 4;
const manners: readonly Manner[] = ["patient", "patient", "patient", "patient", "hasty"];
/** How long clients may need for their last request once nothing is broken any more. */
const settleMilliseconds = 90_000;

if (process.env["CLUSTER_RUN"] !== undefined) {
  const settings = JSON.parse(process.env["CLUSTER_RUN"]) as RunSettings;
  // Whoever started this process has ended, or wants it to.
  process.stdin.on("close", () => process.exit(130)).resume();
  const result = await run(settings);
  writeFileSync(join(settings.folder, "result.json"), JSON.stringify(result));
  process.exit(0);
}

async function run(settings: RunSettings): Promise<RunResult> {
  // libfaketime leaves files of each process there.
  execFileSync("mount", ["-t", "tmpfs", "none", "/dev/shm"]);
  const network = await Network.build();
  await using postgres = await PostgresServer.start({
    listen_addresses: `127.0.0.1,${addresses.store}`,
    // In its folder, so that nothing of it stays when it is killed.
    dynamic_shared_memory_type: "mmap",
  });
  // Answers take a second, so that many are cut.
  await using world = await World.start({ host: addresses.clients, eventMilliseconds: () => 15 });
  const common: CommonSettings = {
    storeAddress: `postgres://with_password:right@${addresses.store}:${postgres.port}/kelpie`,
    secret: "secret-of-the-cluster-test",
    apiKey,
    modelUrl: world.modelUrl,
    toolUrl: world.toolUrl,
    planted: settings.planted,
  };
  const nodes = nodeNames.map((name) => new NodeProcess(name, { network, folder: settings.folder, settings: common }));
  for (const node of nodes) node.start();
  await Promise.all(nodes.map((node) => node.ready()));
  const api = new Api(nodes[0]!.url, apiKey);
  const agentIds: string[] = [];
  for (let index = 0; index < agentsMade; index++)
    agentIds.push(await api.createAgent(`agent ${index}`, ["count_once", "count_idempotent", "count_read"]));

  const startedAt = performance.now();
  const objects = new ObjectClients(nodes, apiKey);
  const agents = new AgentClients(nodes, apiKey, agentIds);
  const faults = new FaultLog(objects, nodes, settings.verbose);
  await disturb(settings, { network, postgres, nodes, objects, agents, faults });
  await api.settle();

  for (const object of objects.histories.objects)
    for (let at = 0; at < nodes.length; at++) await objects.read(object, { client: "last", at });
  const { bad, ...histories } = objects.histories.verdict();
  const states = new Map(await Promise.all(agentIds.map(async (id) => [id, await api.finalState(id)] as const)));
  const verdict = check(agents.notes, states, world.effects);
  const unfinished = agents.notes.filter(({ finished, problem }) => !finished && problem === undefined);
  return {
    seed: settings.seed,
    seconds: Math.round((performance.now() - startedAt) / 1_000),
    faults: Object.fromEntries(faults.counts),
    fencings: nodes.reduce((sum, node) => sum + node.fencings, 0),
    starts: nodes.reduce((sum, node) => sum + node.starts, 0),
    histories: { ...histories, bad: bad.map((each) => keep(each, settings)) },
    tasks: {
      asked: agents.notes.length,
      finished: agents.notes.filter(({ finished }) => finished).length,
      resumed: agents.resumed,
      effects: world.effects.size,
      unknown: verdict.unknown,
    },
    lost: [...histories.lost, ...verdict.lost],
    repeatedEffects: verdict.repeated,
    streams: verdict.duplicated,
    wrong: [
      ...objects.histories.problems,
      ...verdict.wrong,
      ...unfinished.map(({ task }) => `task ${task.id} did not end within ${settleMilliseconds} ms after the last fault`),
      ...nodes.flatMap(({ problems }) => problems),
    ],
    failovers: faults.failovers,
  };
}

interface Parts {
  readonly network: Network;
  readonly postgres: PostgresServer;
  readonly nodes: readonly NodeProcess[];
  readonly objects: ObjectClients;
  readonly agents: AgentClients;
  readonly faults: FaultLog;
}

/** Clients call, and faults happen, for as long as the run is to take; then all that was begun comes to its end. */
async function disturb({ seed, seconds }: RunSettings, parts: Parts): Promise<void> {
  const { nodes, objects, agents, faults } = parts;
  const random = new KeyedRandom(seed);
  const [over, patience] = [new AbortController(), new AbortController()];
  const { signal } = over;
  const clients = manners.map((manner, index) => {
    const name = `client ${index}`;
    return objects.run(name, { manner, random: random.stream(name), signal });
  });
  for (let at = 0; at < nodes.length; at++) {
    for (let turn = 0; turn < watchersPerNode; turn++) {
      const name = `watcher ${turn} of ${nodes[at]!.name}`;
      clients.push(objects.watch(name, { at, turn, random: random.stream(name), signal }));
    }
  }
  for (let index = 0; index < clientsOfAgents; index++) {
    const name = `asker-${index}`;
    clients.push(agents.run(name, { random: random.stream(name), signal, patience: patience.signal }));
  }
  const faultParts = { ...parts, onFault: (fault: Fault) => faults.note(fault) };
  const injected = Promise.all([
    injectFaults(nodeFaults, faultParts, random.stream("node faults"), { pause: [500, 3_000], signal }),
    injectFaults(worldFaults, faultParts, random.stream("world faults"), { pause: [4_000, 12_000], signal }),
  ]);
  await sleep(seconds * 1_000);
  over.abort();
  await injected;
  await untilWhole(nodes);
  const timer = setTimeout(() => patience.abort(), settleMilliseconds);
  await Promise.all([...clients, faults.settled()]);
  clearTimeout(timer);
}

/** Gives the name of the file. */
function keep(bad: BadHistory, { seed, folder }: RunSettings): string {
  const file = `history-${bad.object.replace("/", "-")}.json`;
  writeFileSync(join(folder, file), JSON.stringify({ seed, ...bad }, undefined, 1));
  return file;
}

/** Waits until the nodes see each other: one that was paused may have to end first, and to start anew. */
async function untilWhole(endpoints: readonly Endpoint[]): Promise<void> {
  for (const end = performance.now() + settleMilliseconds; performance.now() < end; await sleep(200)) {
    const views = await Promise.all(endpoints.map(({ url }) => livingAt(url)));
    if (views.every((view) => view === views[0]) && views[0]?.split(" ").length === endpoints.length) return;
  }
  throw new Error(`The nodes do not see each other ${settleMilliseconds} ms after the last fault`);
}

/** The incarnations that take part, as the node there sees it; `undefined` if it does not answer. */
async function livingAt(url: string): Promise<string | undefined> {
  try {
    const { members } = (await new Api(url, apiKey).call("GET", "/v1/cluster")) as {
      readonly members: readonly { readonly node: string; readonly state: string }[];
    };
    return members
      .filter(({ state }) => state === "up")
      .map(({ node }) => node)
      .toSorted()
      .join(" ");
  } catch {
    // It is down or about to be; the next look tells.
    return undefined;
  }
}
