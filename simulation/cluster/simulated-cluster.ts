/** Nodes of a cluster over one store and one network, put together as they are in production, and what is done to them. */
import type { ActorId, InvokeOptions } from "../../src/actors/actor.ts";
import { defaultActorLimits } from "../../src/actors/limits.ts";
import { MemoryTransport } from "../../src/cluster/memory-transport.ts";
import { type Cluster, type ClusterOptions, openCluster } from "../../src/cluster/open-cluster.ts";
import type { Witness } from "../../src/cluster/membership.ts";
import { type ActorProcesses, type ActorTypes, Invocations } from "../actor-cluster.ts";
import { type Incarnation, never, type SimulatedProcess } from "../process.ts";
import type { CallOutcome, World } from "../world.ts";
import { startFaults } from "./faults.ts";
import { ClusterInvariants } from "./invariants.ts";
import { SimulatedNetwork } from "./network.ts";

const secret = Buffer.from("the secret of a simulated cluster");
/** A node that is told to stop gives its actors away for so long. */
const drainMilliseconds = 5_000;
/** From when a node has heard that it is taken to be dead until it exits. */
const exitMilliseconds = 100;
/** Before a process that could not start is started again. */
const startAgainMilliseconds = 500;

interface Node {
  readonly cluster: Cluster;
  readonly started: Promise<void>;
  stopped?: Promise<void>;
}

/** What a workload wants different from other clusters. */
export interface ClusterSetup {
  /** Changes what a node is opened with. */
  readonly options?: (options: ClusterOptions, incarnation: Incarnation) => ClusterOptions;
  /** Runs before a node stops in good order. */
  readonly beforeStop?: (incarnation: Incarnation) => Promise<void>;
  /** Whether a process that ended comes back. */
  readonly isWanted?: (name: string) => boolean;
}

export class SimulatedCluster implements ActorProcesses {
  readonly world: World;
  readonly processes: readonly SimulatedProcess[];
  readonly invariants: ClusterInvariants;
  readonly network: SimulatedNetwork;
  readonly #types: ActorTypes;
  readonly #setup: ClusterSetup;
  readonly #nodes = new WeakMap<Incarnation, Node>();
  readonly #invocations: Invocations;
  /** How often each process is cut off from the store. */
  readonly #cuts = new Map<string, number>();
  /** The one that does not come back. */
  #lost: SimulatedProcess | undefined;

  constructor(world: World, types: ActorTypes, setup: ClusterSetup = {}) {
    this.world = world;
    this.#types = types;
    this.#setup = setup;
    this.#invocations = new Invocations(world);
    this.invariants = new ClusterInvariants(world);
    this.network = new SimulatedNetwork(world);
    const { processes, cluster, faultsUntil } = world.swarm;
    const { rateError } = cluster;
    this.processes = Array.from({ length: processes }, (_, at) => {
      const name = `node-${at}`;
      const rate = 1 + rateError * (2 * world.random.stream(`rate/${name}`).fraction() - 1);
      return world.addProcess(
        name,
        (incarnation) => this.#boot(incarnation),
        async (incarnation) => await this.stop(incarnation),
        { rate, isWanted: () => this.#lost?.name !== name && (setup.isWanted?.(name) ?? true) },
      );
    });
    startFaults({ world, processes: this.processes, network: this.network, cutStore: (process) => this.cutStore(process) });
    if (cluster.losesNode && this.processes.length > 1)
      world.kernel.schedule(faultsUntil, { kind: "loses a node" }, () => {
        this.#lost = world.random.stream("lost node").pick(this.processes);
        if (this.world.faultHappens("lost node", this.#lost.name)) this.#lost.crash("does not come back");
        else this.#lost = undefined;
      });
  }

  /** Those that live, or will. */
  get lasting(): readonly SimulatedProcess[] {
    return this.processes.filter((process) => process !== this.#lost);
  }

  /** Resolves when the actors of an incarnation take messages: never, if it cannot start. */
  async started(incarnation: Incarnation): Promise<void> {
    await this.#nodes.get(incarnation)!.started.catch(() => never());
  }

  /** The node of the incarnation that runs, when it has started. */
  async node(process: SimulatedProcess): Promise<Cluster | undefined> {
    const { incarnation } = process;
    const node = incarnation && this.#nodes.get(incarnation);
    try {
      await node?.started;
    } catch {
      return undefined;
    }
    return process.incarnation === incarnation ? node?.cluster : undefined;
  }

  invoke<Reply>(
    process: SimulatedProcess,
    id: ActorId,
    message: unknown,
    options: InvokeOptions,
    onReply?: (reply: Reply) => Promise<void>,
  ): Promise<CallOutcome<Reply>> {
    return this.world.call(process, `${id.type}/${id.key} ${JSON.stringify(message)}`, async (incarnation) => {
      const node = this.#nodes.get(incarnation)!;
      await this.started(incarnation);
      const invoked = node.cluster.actors.invoke<Reply>(id, structuredClone(message), options);
      const reply = await this.#invocations.add(incarnation, `${id.key} ${JSON.stringify(message)}`, invoked);
      await onReply?.(reply);
      return reply;
    });
  }

  cancel(process: SimulatedProcess, id: ActorId): void {
    const { incarnation } = process;
    if (incarnation === undefined || incarnation.paused) return;
    this.world.kernel.schedule(0, { kind: "cancel", owner: incarnation, details: id.key }, () => {
      this.#nodes.get(incarnation)?.cluster.actors.cancel(id, "The simulation cancelled it");
    });
  }

  async settle(): Promise<void> {
    await this.#invocations.settle();
  }

  /** Runs `work` inside a living process, in an event of its own: `undefined` if it dies meanwhile, or has none. */
  within<T>(process: SimulatedProcess, kind: string, work: (cluster: Cluster) => Promise<T>): Promise<T | undefined> {
    const { incarnation } = process;
    if (incarnation === undefined) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      incarnation.onEnd(() => resolve(undefined));
      this.world.kernel.schedule(0, { kind, owner: incarnation }, () => {
        const { cluster, started } = this.#nodes.get(incarnation)!;
        started.then(() => work(cluster)).then(resolve, reject);
      });
    });
  }

  /** Cuts a process off from the store, until the function that it gives is called. */
  cutStore({ name }: SimulatedProcess): () => void {
    const change = (by: number): void => void this.#cuts.set(name, (this.#cuts.get(name) ?? 0) + by);
    let isOver = false;
    change(1);
    return () => {
      if (!isOver) change(-1);
      isOver = true;
    };
  }

  #boot(incarnation: Incarnation): void {
    const { world } = this;
    const { mutant, swarm } = world;
    const { environment, process } = incarnation;
    const { name } = process;
    const { cluster: faults } = swarm;
    this.network.inhabit(name, incarnation);
    const limits = {
      ...defaultActorLimits,
      idleMilliseconds: swarm.idleMilliseconds,
      liveMax: swarm.liveMax,
      cachedRows: swarm.cachedRows,
      mailboxMessages: swarm.mailboxMax,
      moveMilliseconds: faults.moveMilliseconds,
      stopMilliseconds: faults.stopMilliseconds,
    };
    let options: ClusterOptions = {
      store: world.storeFor(incarnation, () => (this.#cuts.get(name) ?? 0) > 0),
      environment,
      name,
      limits,
      timings: faults.timings,
      reads: faults.reads,
      transport: (node) =>
        new MemoryTransport({
          environment,
          network: this.network,
          address: name,
          node,
          cluster: "simulation",
          secret,
          timings: { ping: faults.pingMilliseconds },
        }),
      ...(faults.hasWitness ? { witness: this.#witness(incarnation) } : {}),
      onFenced: () => environment.clock.schedule(environment.random.fraction() * exitMilliseconds, () => process.crash("taken to be dead")),
    };
    options = this.#setup.options?.(options, incarnation) ?? options;
    options = mutant?.clusterOptions?.(options, incarnation) ?? options;
    const cluster = openCluster(options);
    mutant?.changeCluster?.(cluster, incarnation);
    this.invariants.watch(incarnation, cluster);
    for (const type of this.#types(incarnation, { store: options.store, actors: cluster.actors }))
      cluster.actors.register(this.invariants.watchTurns(mutant?.wrapType?.(type) ?? type, incarnation, () => cluster.node));
    const started = cluster.start();
    started.catch((error: unknown) => {
      environment.log.write("warn", "A node could not start", { error });
      environment.clock.schedule(startAgainMilliseconds, () => process.crash("could not start"));
    });
    this.#nodes.set(incarnation, { cluster, started });
  }

  /** Stops a node in good order, as at a deploy. */
  async stop(incarnation: Incarnation): Promise<void> {
    const node = this.#nodes.get(incarnation)!;
    node.stopped ??= this.#stop(node, incarnation);
    await node.stopped;
  }

  async #stop({ cluster, started }: Node, incarnation: Incarnation): Promise<void> {
    await started;
    await this.#setup.beforeStop?.(incarnation);
    const late = new AbortController();
    const isOver = incarnation.environment.clock.schedule(drainMilliseconds, () => late.abort());
    try {
      await cluster.drain(late.signal);
    } finally {
      isOver();
      await cluster[Symbol.asyncDispose]();
    }
  }

  #witness(incarnation: Incarnation): Witness {
    return {
      self: { host: "simulation", pid: this.processes.indexOf(incarnation.process), started: incarnation.label },
      sees: () => true,
      isRunning: ({ started }) => this.processes.some((process) => process.incarnation?.label === started),
    };
  }
}
