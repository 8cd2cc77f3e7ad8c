/** One simulated run: processes over a store that survives, clients outside, and what was found wrong. */
import type { Batch, CommitOutcome, Store } from "../src/storage/store.ts";
import type { FoundationDbClient } from "../src/storage/foundationdb-client.ts";
import type { ActorType } from "../src/actors/actor.ts";
import type { Cluster, ClusterOptions } from "../src/cluster/open-cluster.ts";
import type { Tool } from "../src/tools/tool.ts";
import { OutsideWorld } from "./effects.ts";
import { Kernel } from "./kernel.ts";
import { type KeptParts, RunParts } from "./parts.ts";
import { type CrashPlan, HostClock, type Incarnation, SimulatedProcess } from "./process.ts";
import { KeyedRandom, type RandomStream } from "./random.ts";
import { RewindableStore } from "./rewindable-store.ts";
import { StoreTwin } from "./store-twin.ts";
import type { SwarmOptions } from "./swarm.ts";
import type { Trace } from "./trace.ts";

/** A planted bug, to show that the checks find it. */
export interface Mutant {
  readonly name: string;
  readonly breaks: string;
  /** The workload that has to find it. */
  readonly workload: string;
  /** Seeds after which it counts as not found. */
  readonly seedsMax: number;
  /** Stands between an incarnation and its store. */
  wrapStore?(store: Store, incarnation: Incarnation): Store;
  /** Stands between a store in FoundationDB and its client. */
  wrapClient?(client: FoundationDbClient): FoundationDbClient;
  /** Stands between the runtime and an actor's behaviour. */
  wrapType?(type: ActorType): ActorType;
  /** Stands between an agent and what its tools do. */
  wrapTool?(tool: Tool): Tool;
  /** What the process table says, given the truth. */
  isRunning?(truth: boolean): boolean;
  /** Changes what a node of a cluster is opened with. */
  clusterOptions?(options: ClusterOptions, incarnation: Incarnation): ClusterOptions;
  /** Changes a node of a cluster before it starts. */
  changeCluster?(cluster: Cluster, incarnation: Incarnation): void;
  readonly isMailboxUnbounded?: boolean;
  /** Runtimes beside each other in one process, under one node's name. 1 by default. */
  readonly runtimesPerProcess?: number;
  /** Changes the options of each run, where the bug needs a corner to show. */
  options?(options: SwarmOptions): SwarmOptions;
}

/** A fault and a probe within this time are a pair. */
const pairMilliseconds = 2_000;

export interface WorldOptions {
  readonly seed: number;
  readonly swarm: SwarmOptions;
  readonly trace: Trace;
  readonly crashPlan?: CrashPlan | undefined;
  readonly mutant?: Mutant | undefined;
  readonly kept?: KeptParts | undefined;
}

/** What a client knows of its call. `lost`: nothing, neither whether it happened nor what the reply was. */
export type CallOutcome<T> =
  | { readonly kind: "reply"; readonly value: T }
  | { readonly kind: "error"; readonly error: Error }
  | { readonly kind: "lost" };

export class World {
  readonly kernel: Kernel;
  readonly random: KeyedRandom;
  readonly swarm: SwarmOptions;
  readonly mutant: Mutant | undefined;
  readonly disk: RewindableStore = new RewindableStore();
  readonly outside: OutsideWorld;
  readonly processes: SimulatedProcess[] = [];
  readonly violations: string[] = [];
  readonly parts: RunParts;
  readonly faults: Map<string, number> = new Map();
  readonly probes: Map<string, number> = new Map();
  /** "fault × probe": the code came to the probe soon after the fault. */
  readonly pairs: Set<string> = new Set();
  readonly #lastFaults = new Map<string, number>();
  /** Calls of clients that were answered. */
  operations = 0;
  #moments = 0;
  readonly #crashPlan: CrashPlan | undefined;
  readonly #appliedListeners: ((batch: Batch, outcome: CommitOutcome, incarnation: Incarnation) => void)[] = [];

  constructor(options: WorldOptions) {
    this.kernel = new Kernel({ trace: options.trace, limits: { eventsMax: 1_000_000, virtualMillisecondsMax: 2 * 3_600_000 } });
    this.random = new KeyedRandom(options.seed);
    this.swarm = options.swarm;
    this.mutant = options.mutant;
    this.parts = new RunParts(options.kept);
    this.#crashPlan = options.crashPlan;
    this.outside = new OutsideWorld(this.kernel);
  }

  get crashes(): number {
    return this.processes.reduce((sum, process) => sum + process.crashes, 0);
  }

  /** A number that grows with each call: orders what clients saw, also within one instant. */
  moment(): number {
    return ++this.#moments;
  }

  /** Something happened that must not. */
  violation(text: string): void {
    this.kernel.note("violation", "world", text);
    this.violations.push(text);
  }

  /** Whether a fault that was drawn happens: a shrunk run leaves some out. Counts it. */
  faultHappens(kind: string, place: string): boolean {
    if (!this.parts.takesFault(kind, place)) return false;
    this.countFault(kind);
    return true;
  }

  countFault(kind: string): void {
    this.faults.set(kind, (this.faults.get(kind) ?? 0) + 1);
    this.#lastFaults.set(kind, this.kernel.now);
  }

  countProbe(name: string): void {
    this.probes.set(name, (this.probes.get(name) ?? 0) + 1);
    for (const [fault, at] of this.#lastFaults) if (this.kernel.now - at <= pairMilliseconds) this.pairs.add(`${fault} × ${name}`);
  }

  /**
   * Adds a process that starts at once, is crashed and paused as the seed says, and comes back as long as it is wanted.
   * Where `stop` is given, some of its ends are in good order, as at a deploy.
   */
  addProcess(
    name: string,
    boot: (incarnation: Incarnation) => void,
    stop?: (incarnation: Incarnation) => Promise<void>,
    options: { readonly rate?: number; readonly isWanted?: () => boolean } = {},
  ): SimulatedProcess {
    const offset = this.swarm.clockOffsetMilliseconds;
    const offsetMilliseconds = offset === 0 ? 0 : this.random.stream(`offset/${name}`).between(-Math.abs(offset), Math.abs(offset));
    const process = new SimulatedProcess(this.kernel, {
      name,
      random: this.random,
      boot,
      clock: new HostClock({ offsetMilliseconds, rate: options.rate ?? 1 }),
      crashPlan: this.#crashPlan,
      onCrash: () => {
        this.countFault("crash");
        this.kernel.schedule(this.swarm.restartAfterMilliseconds, { kind: "restart", details: name }, () => {
          if (options.isWanted?.() ?? true) process.start();
        });
      },
      onProbe: (probe) => this.countProbe(probe),
    });
    this.processes.push(process);
    process.start();
    this.repeat(`crash/${name}`, this.swarm.crashEveryMilliseconds, (random) => {
      const { incarnation } = process;
      const isInGoodOrder = random.chance(0.3);
      if (incarnation === undefined) return;
      if (stop === undefined || !isInGoodOrder) {
        if (this.parts.takesFault("crash", name)) process.crash("drawn");
      } else if (this.faultHappens("stop", name)) this.stop(incarnation, stop);
    });
    this.repeat(`pause/${name}`, this.swarm.pauseEveryMilliseconds, (random) => {
      const milliseconds = random.between(1, 8_000);
      if (this.faultHappens("pause", name)) process.pause(milliseconds);
    });
    return process;
  }

  /** Has a process stop in good order, in an event of its own; then it ends. */
  stop(incarnation: Incarnation, stop: (incarnation: Incarnation) => Promise<void>): void {
    this.kernel.schedule(0, { kind: "stop", owner: incarnation }, () => {
      const exit = (): void => {
        if (incarnation.alive) incarnation.process.crash("stopped");
      };
      stop(incarnation).then(exit, exit);
    });
  }

  /** The store as `incarnation` sees it. `isCut`: nothing goes between the two. */
  storeFor(incarnation: Incarnation, isCut: () => boolean = () => false): Store {
    const twin = new StoreTwin({
      kernel: this.kernel,
      disk: this.disk,
      incarnation,
      random: this.random,
      latencyMilliseconds: this.swarm.storeLatencyMilliseconds,
      faults: this.swarm.storeFaults,
      faultsUntil: this.swarm.faultsUntil,
      isCut,
      generation: () => this.disk.generation,
      ...(this.swarm.outageMilliseconds === 0 ? {} : { outage: this.#outage() }),
      happens: (kind, place) => this.faultHappens(kind, place),
      onApplied: (batch, outcome) => {
        for (const listener of this.#appliedListeners) listener(batch, outcome, incarnation);
      },
    });
    return this.mutant?.wrapStore?.(twin, incarnation) ?? twin;
  }

  /** Tells `listener` of every batch when it was applied or refused, before anything else happens. */
  onApplied(listener: (batch: Batch, outcome: CommitOutcome, incarnation: Incarnation) => void): void {
    this.#appliedListeners.push(listener);
  }

  /** Waits in the world outside all processes. */
  sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => void this.kernel.schedule(milliseconds, { kind: "wait" }, resolve));
  }

  /**
   * A client's call over a network: the request travels, `work` runs inside the process, the reply travels back.
   * Both can get lost, the process can be down or crash meanwhile, and the client gives up after `patience`.
   */
  call<T>(process: SimulatedProcess, details: string, work: (incarnation: Incarnation) => Promise<T>): Promise<CallOutcome<T>> {
    const { kernel, swarm } = this;
    const random = this.random.stream(`network/${details}`);
    const latency = (): number => random.fraction() * 2;
    const isReplyLost = random.chance(swarm.replyLost) && kernel.now < swarm.faultsUntil;
    return new Promise((resolve) => {
      const giveUp = kernel.schedule(swarm.patienceMilliseconds, { kind: "give up", details }, () => resolve({ kind: "lost" }));
      const deliver = (outcome: CallOutcome<T>): void => {
        kernel.schedule(latency(), { kind: "reply", details: `${details} ${outcome.kind}` }, () => {
          giveUp();
          resolve(outcome);
        });
      };
      kernel.schedule(latency(), { kind: "connect", details }, () => {
        const { incarnation } = process;
        if (incarnation === undefined) return deliver({ kind: "lost" });
        const forget = incarnation.onEnd(() => deliver({ kind: "lost" }));
        const reply = (outcome: CallOutcome<T>): void => {
          if (!incarnation.cross("reply")) return;
          forget();
          if (!isReplyLost || !this.faultHappens("reply lost", details.replace(/["{}]/gu, ""))) deliver(outcome);
        };
        kernel.schedule(0, { kind: "request", owner: incarnation, details }, () => {
          work(incarnation).then(
            (value) => reply({ kind: "reply", value: structuredClone(value) }),
            (error: unknown) => reply({ kind: "error", error: error as Error }),
          );
        });
      });
    });
  }

  /** The same for every process. */
  #outage(): { readonly from: number; readonly to: number } {
    const from = new KeyedRandom(this.random.seed).stream("outage").fraction() * this.swarm.faultsUntil;
    return { from, to: from + this.swarm.outageMilliseconds };
  }

  /** Calls `act` again and again, `mean` milliseconds apart on average, until the faults stop. */
  repeat(name: string, mean: number, act: (random: RandomStream) => void): void {
    if (mean === 0) return;
    const random = this.random.stream(name);
    const next = (): void => {
      const delay = random.fraction() * 2 * mean;
      if (this.kernel.now + delay >= this.swarm.faultsUntil) return;
      this.kernel.schedule(delay, { kind: "draw", details: name }, () => {
        act(random);
        next();
      });
    };
    next();
  }
}
