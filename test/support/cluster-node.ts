import type { Activation, ActorId, ActorType, InvokeOptions, Turn } from "../../src/actors/actor.ts";
import { actorName } from "../../src/actors/actor-id.ts";
import type { ActorLimits } from "../../src/actors/limits.ts";
import type { NodeFencedError } from "../../src/cluster/cluster.ts";
import type { Transport } from "../../src/cluster/transport.ts";
import { type Cluster, type ClusterOptions, openCluster } from "../../src/cluster/open-cluster.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { FaultyStore } from "./faulty-store.ts";
import { ManualClock, settle } from "./manual-environment.ts";
import { NodeEnvironment } from "./node-clock.ts";
import { TestNetwork } from "./test-network.ts";

export interface ClusterNode {
  readonly name: string;
  readonly cluster: Cluster;
  readonly environment: NodeEnvironment;
  readonly store: FaultyStore;
  readonly fenced: NodeFencedError[];
  /** As `SIGSTOP` and `SIGCONT` do: nothing happens here meanwhile, and nothing comes in or goes out. */
  pause(): void;
  resume(options?: { readonly suspended?: boolean }): void;
  /** As `kill -9` does. */
  kill(): void;
}

/** Several nodes over one store and one network, in the time of a test. */
export class TestCluster {
  readonly time: ManualClock = new ManualClock();
  readonly memory: MemoryStore = new MemoryStore();
  readonly network: TestNetwork = new TestNetwork();
  readonly nodes: ClusterNode[] = [];
  #seeds: number;

  constructor(seed = 1) {
    this.#seeds = seed * 1_000;
  }

  async start(
    name: string,
    types: (environment: NodeEnvironment) => readonly ActorType[],
    options: Partial<Omit<ClusterOptions, "store" | "environment" | "transport">> & {
      readonly limits?: Partial<ActorLimits>;
      /** In place of the test's own network. */
      readonly transport?: (node: string, environment: NodeEnvironment) => Transport;
    } = {},
  ): Promise<ClusterNode> {
    const environment = new NodeEnvironment(this.time, ++this.#seeds);
    const { clock } = environment;
    const store = new GatedStore(this.memory, () => clock.gate);
    const fenced: NodeFencedError[] = [];
    const cluster = openCluster({
      store,
      environment,
      name,
      onFenced: (reason) => fenced.push(reason),
      ...options,
      transport: (incarnation) => options.transport?.(incarnation, environment) ?? this.network.transport(name, { clock, pause: clock }),
    });
    for (const type of types(environment)) cluster.actors.register(type);
    await cluster.start();
    await settle();
    const node: ClusterNode = {
      name,
      cluster,
      environment,
      store,
      fenced,
      pause: () => clock.pause(),
      resume: (how) => clock.resume(how),
      kill: () => {
        clock.pause();
        for (const [address, station] of this.network.stations) if (station.name === name) this.network.stations.delete(address);
      },
    };
    this.nodes.push(node);
    return node;
  }

  /** Lets time pass until `promise` has settled, and gives its outcome. */
  async until<T>(promise: Promise<T>, milliseconds = 120_000): Promise<T> {
    let isSettled = false;
    const settled = promise.finally(() => (isSettled = true));
    settled.catch(() => {});
    const end = this.time.elapsed() + milliseconds;
    await settle();
    while (!isSettled && this.time.elapsed() < end) await this.time.advance(5);
    if (!isSettled) throw new Error(`Nothing came of it within ${milliseconds} ms`);
    return await settled;
  }
}

/** A store whose calls wait while its node is paused, on their way out and on their way back. */
class GatedStore extends FaultyStore {
  readonly #gate: () => Promise<void>;

  constructor(store: MemoryStore, gate: () => Promise<void>) {
    super(store);
    this.#gate = gate;
  }

  override async read(...parameters: Parameters<FaultyStore["read"]>): ReturnType<FaultyStore["read"]> {
    await this.#gate();
    const answers = await super.read(...parameters);
    await this.#gate();
    return answers;
  }

  override async commit(...parameters: Parameters<FaultyStore["commit"]>): ReturnType<FaultyStore["commit"]> {
    await this.#gate();
    const outcome = await super.commit(...parameters);
    await this.#gate();
    return outcome;
  }
}

export type LedgerMessage =
  | { readonly method: "add"; readonly entry: string }
  | { readonly method: "read" }
  /** Works in the background, a turn every 100 ms, until told to end; goes on in the next activation if it did not. */
  | { readonly method: "work"; readonly steps: number }
  | { readonly method: "fail" }
  | { readonly method: "wait" }
  | { readonly method: "remind"; readonly name: string; readonly due: number; readonly early?: boolean };

/** Where activations began, and what ran, over all nodes. */
export interface LedgerLog {
  readonly activations: string[];
  readonly reminders: string[];
  readonly handedOver: unknown[];
}

/** Nodes with ledgers. */
export class LedgerCluster extends TestCluster {
  readonly log: LedgerLog = { activations: [], reminders: [], handedOver: [] };

  async up(name: string, options: Parameters<TestCluster["start"]>[2] = {}): Promise<ClusterNode> {
    return await this.start(name, (environment) => this.types(name, environment), { errors: [LedgerError], ...options });
  }

  types(name: string, environment: NodeEnvironment): readonly ActorType[] {
    return [ledgerType(this.log, name, environment)];
  }

  /** A ledger that the members as they are now would place on `node`. */
  ledgerAt(node: ClusterNode, from = 0): ActorId {
    for (let at = from; ; at++) {
      const id = ledger(`key-${at}`);
      if (node.cluster.placement.choose(actorName(id))?.node === node.cluster.node) return id;
    }
  }
}

export function ledger(key: string): ActorId {
  return { project: "test", type: "ledger", key };
}

export async function send<Reply>(node: ClusterNode, id: ActorId, message: LedgerMessage, options?: InvokeOptions): Promise<Reply> {
  return await node.cluster.actors.invoke<Reply>(id, message, options);
}

export const add = (entry: string): LedgerMessage => ({ method: "add", entry });
export const read: LedgerMessage = { method: "read" };

/** An actor that keeps a list of entries, with the list in memory as a cache. */
function ledgerType(log: LedgerLog, node: string, environment: NodeEnvironment): ActorType {
  return {
    type: "ledger",
    create: (activation) => new Ledger(activation, log, node, environment),
  } as ActorType<LedgerMessage, unknown> as ActorType;
}

class Ledger {
  readonly #activation: Activation;
  readonly #log: LedgerLog;
  readonly #node: string;
  readonly #environment: NodeEnvironment;

  constructor(activation: Activation, log: LedgerLog, node: string, environment: NodeEnvironment) {
    this.#activation = activation;
    this.#log = log;
    this.#node = node;
    this.#environment = environment;
  }

  async activate(): Promise<void> {
    this.#log.activations.push(`${this.#activation.id.key}@${this.#node}`);
    this.#log.handedOver.push(this.#activation.handedOver);
    if (((await this.#activation.state.get<number>(["left"])) ?? 0) > 0) this.#activation.background(this.#work());
  }

  async receive(message: LedgerMessage, turn: Turn): Promise<unknown> {
    const entries = (await turn.state.get<string[]>(["entries"])) ?? [];
    switch (message.method) {
      case "add":
        turn.state.set(["entries"], [...entries, message.entry]);
        return entries.length + 1;
      case "read":
        return entries;
      case "fail":
        throw new LedgerError("The ledger is closed", entries.length);
      case "wait":
        return await new Promise((resolve) => turn.signal.addEventListener("abort", () => resolve("aborted")));
      case "work":
        turn.state.set(["left"], message.steps);
        this.#activation.background(this.#work());
        return null;
      case "remind":
        turn.remind(message.name, { due: message.due, ...(message.early === undefined ? {} : { earlyAfterRestart: message.early }) });
        return null;
    }
  }

  async remind({ name }: { readonly name: string }): Promise<void> {
    this.#log.reminders.push(`${this.#activation.id.key}:${name}@${this.#node}`);
  }

  handOver(): unknown {
    return { from: this.#node };
  }

  async #work(): Promise<void> {
    const { signal } = this.#activation;
    for (let left = 1; left > 0 && !signal.aborted;) {
      await this.#environment.clock.sleep(100, signal);
      left = await this.#activation.turn(async (turn) => {
        const before = (await turn.state.get<number>(["left"])) ?? 0;
        const entries = (await turn.state.get<string[]>(["entries"])) ?? [];
        if (before === 0) return 0;
        turn.state.set(["entries"], [...entries, `step ${before}`]);
        turn.state.set(["left"], before - 1);
        return before - 1;
      });
    }
  }
}

/** An error of the test's own, with a field. */
export class LedgerError extends Error {
  override readonly name = "LedgerError";
  readonly entries: number;

  constructor(message: string, entries: number) {
    super(message);
    this.entries = entries;
  }
}
