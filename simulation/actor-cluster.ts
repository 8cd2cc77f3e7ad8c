/** Processes that run actors over one store, the clients' way to them, and what must hold of every batch. */
import { decodeJson } from "../src/base/json.ts";
import { decodeTuple, encodeTuple } from "../src/base/tuple.ts";
import type { ActorId, Actors, ActorType, InvokeOptions } from "../src/actors/actor.ts";
import { ActorRuntime } from "../src/actors/actor-runtime.ts";
import { type Header, headerKey } from "../src/actors/actor-rows.ts";
import { defaultActorLimits } from "../src/actors/limits.ts";
import type { ProcessTable } from "../src/actors/process-table.ts";
import { SingleNodePlacement } from "../src/actors/single-node-placement.ts";
import type { Batch, Store } from "../src/storage/store.ts";
import { RemoteError } from "../src/cluster/transport.ts";
import type { Incarnation, SimulatedProcess } from "./process.ts";
import type { RandomStream } from "./random.ts";
import type { CallOutcome, World } from "./world.ts";

export const project = "simulation";

const longTimeoutMilliseconds = 3_600_000;

/** Makes the kinds of actors of one incarnation; it may also register them itself. */
export type ActorTypes = (incarnation: Incarnation, node: { readonly store: Store; readonly actors: Actors }) => readonly ActorType[];

/** Processes that have actors, as workloads and their clients see them. */
export interface ActorProcesses {
  readonly world: World;
  readonly processes: readonly SimulatedProcess[];
  /** Invokes an actor from outside, as a client of one of the processes. `onReply` runs at the instant at which the reply would leave. */
  invoke<Reply>(
    process: SimulatedProcess,
    id: ActorId,
    message: unknown,
    options: InvokeOptions,
    onReply?: (reply: Reply) => Promise<void>,
  ): Promise<CallOutcome<Reply>>;
  cancel(process: SimulatedProcess, id: ActorId): void;
  /** Waits until every invocation of a living process is settled, also those that their clients have given up. */
  settle(): Promise<void>;
}

/** How a workload gets its processes. */
export type OpenActors = (world: World, types: ActorTypes) => ActorProcesses;

export const alone: OpenActors = (world, types) => new ActorCluster(world, types);

interface Node {
  /** One, unless a planted bug makes it several. */
  readonly runtimes: readonly Actors[];
  readonly started: Promise<unknown>;
}

export class ActorCluster implements ActorProcesses {
  readonly world: World;
  readonly processes: readonly SimulatedProcess[];
  readonly #nodes = new WeakMap<Incarnation, Node>();
  /** Which incarnation a node's name belongs to. */
  readonly #incarnationOf = new Map<string, string>();
  readonly #headers = new Map<string, Header>();
  readonly #applied = new Set<string>();
  readonly #sent = new Set<string>();
  readonly #invocations: Invocations;
  /** Messages whose turn has not begun, by incarnation and actor. */
  readonly #waiting = new Map<string, Set<string>>();

  /** `beforeStop` runs before the runtimes of an incarnation stop in good order. */
  constructor(world: World, types: ActorTypes, beforeStop: (incarnation: Incarnation) => Promise<void> = async () => {}) {
    this.world = world;
    this.#invocations = new Invocations(world);
    this.processes = Array.from({ length: world.swarm.processes }, (_, at) =>
      world.addProcess(
        `node-${at}`,
        (incarnation) => this.#boot(incarnation, types),
        async (incarnation) => {
          await beforeStop(incarnation);
          await Promise.all(this.#nodes.get(incarnation)!.runtimes.map((runtime) => runtime[Symbol.asyncDispose]()));
        },
      ),
    );
    world.onApplied((batch, outcome, incarnation) => {
      // A batch that was committed again is answered as the first time and changes nothing.
      if (!outcome.ok || this.#applied.has(batch.id)) return;
      this.#applied.add(batch.id);
      this.#checkHeaders(batch, incarnation);
    });
  }

  /** Resolves when the actors of an incarnation take messages. */
  async started(incarnation: Incarnation): Promise<void> {
    await this.#nodes.get(incarnation)!.started;
  }

  invoke<Reply>(
    process: SimulatedProcess,
    id: ActorId,
    message: unknown,
    options: InvokeOptions,
    onReply?: (reply: Reply) => Promise<void>,
  ): Promise<CallOutcome<Reply>> {
    const { world } = this;
    return world.call(process, `${id.type}/${id.key} ${JSON.stringify(message)}`, async (incarnation) => {
      const node = this.#nodes.get(incarnation)!;
      await node.started;
      const runtime = node.runtimes[world.moment() % node.runtimes.length]!;
      const waits = this.#wait(incarnation, id, JSON.stringify(message));
      const invoked = runtime.invoke<Reply>(id, structuredClone(message), options).finally(waits);
      const reply = await this.#invocations.add(incarnation, `${id.key} ${JSON.stringify(message)}`, invoked);
      // Still inside the process, at the instant at which its reply would leave.
      await onReply?.(reply);
      return reply;
    });
  }

  /** Counts a message that was never sent before as waiting, and checks I7 once the runtime has had the time to refuse it. */
  #wait(incarnation: Incarnation, id: ActorId, message: string): () => void {
    // A repeat may be answered without a turn, and then waits for a batch, not in the mailbox.
    if (this.#sent.has(message)) return () => {};
    this.#sent.add(message);
    const name = `${incarnation.label} ${id.key}`;
    const waiting = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, waiting);
    waiting.add(message);
    const { kernel, swarm } = this.world;
    kernel.schedule(0, { kind: "bound", owner: incarnation }, () => {
      // One more has left the mailbox and its turn is about to run.
      if (waiting.size > swarm.mailboxMax + 1)
        this.world.violation(`${waiting.size} messages wait for ${name}, which may have ${swarm.mailboxMax}`);
    });
    return () => void waiting.delete(message);
  }

  /** The same type of actors, with the turns of each activation watched. */
  #watched(type: ActorType, incarnation: Incarnation): ActorType {
    return {
      type: type.type,
      create: (activation) => {
        const actor = type.create(activation);
        const { id } = activation;
        let isBusy = false;
        const exclusively = async <T>(turn: () => Promise<T>): Promise<T> => {
          if (isBusy) this.world.violation(`A2: two turns of ${id.key} ran at one time in ${incarnation.label}`);
          isBusy = true;
          try {
            return await turn();
          } finally {
            isBusy = false;
          }
        };
        return {
          receive: async (message, turn) => {
            this.#waiting.get(`${incarnation.label} ${id.key}`)?.delete(JSON.stringify(message));
            return await exclusively(() => actor.receive(message, turn));
          },
          remind: async (reminder, turn) => await exclusively(async () => await actor.remind?.(reminder, turn)),
        };
      },
    };
  }

  async settle(): Promise<void> {
    await this.#invocations.settle();
  }

  cancel(process: SimulatedProcess, id: ActorId): void {
    const { incarnation } = process;
    if (incarnation === undefined || incarnation.paused) return;
    this.world.kernel.schedule(0, { kind: "cancel", owner: incarnation, details: id.key }, () => {
      for (const actors of this.#nodes.get(incarnation)?.runtimes ?? []) actors.cancel(id, "The simulation cancelled it");
    });
  }

  #boot(incarnation: Incarnation, types: ActorTypes): void {
    const { world } = this;
    const store = world.storeFor(incarnation);
    const { environment } = incarnation;
    const placement = new SingleNodePlacement(store, environment, this.#processTable(incarnation));
    this.#incarnationOf.set(placement.node, incarnation.label);
    const limits = {
      ...defaultActorLimits,
      idleMilliseconds: world.swarm.idleMilliseconds,
      liveMax: world.swarm.liveMax,
      cachedRows: world.swarm.cachedRows,
      mailboxMessages: world.mutant?.isMailboxUnbounded === true ? 1_000_000 : world.swarm.mailboxMax,
    };
    const { wrapType, runtimesPerProcess = 1 } = world.mutant ?? {};
    const runtimes = Array.from({ length: runtimesPerProcess }, () => new ActorRuntime({ store, environment, placement, limits }));
    for (const runtime of runtimes)
      for (const type of types(incarnation, { store, actors: runtime }))
        runtime.register(this.#watched(wrapType?.(type) ?? type, incarnation));
    const started = Promise.all(runtimes.map((runtime) => runtime.start()));
    // A process that cannot start exits, and is started again: with a pause, or an outage is one long loop.
    started.catch(() => environment.clock.schedule(500, () => incarnation.process.crash("could not start")));
    this.#nodes.set(incarnation, { runtimes, started });
  }

  #processTable(incarnation: Incarnation): ProcessTable {
    const { processes, mutant } = this.world;
    return {
      self: { host: "simulation", pid: processes.indexOf(incarnation.process) + 1, started: incarnation.label },
      isRunning: (process) => {
        const truth = processes.some((each) => each.incarnation?.label === process.started);
        return mutant?.isRunning?.(truth) ?? truth;
      },
    };
  }

  /** Epochs and versions only grow, a new owner has a new epoch, and nobody commits in another's name. */
  #checkHeaders(batch: Batch, incarnation: Incarnation): void {
    for (const write of batch.writes) {
      if (write.kind !== "set") continue;
      const [writtenProject, kind, type, key] = decodeTuple(write.key);
      if (writtenProject !== project || kind !== "header") continue;
      const actor = `${String(type)}/${String(key)}`;
      const header = decodeJson<Header>(write.value);
      const before = this.#headers.get(actor);
      this.#headers.set(actor, header);
      if (this.#incarnationOf.get(header.owner) !== incarnation.label)
        this.world.violation(`${incarnation.label} committed for ${actor} as ${header.owner}`);
      if (before === undefined) continue;
      if (header.ver <= before.ver) this.world.violation(`The header of ${actor} went from version ${before.ver} to ${header.ver}`);
      if (header.epoch < before.epoch) this.world.violation(`The header of ${actor} went from epoch ${before.epoch} to ${header.epoch}`);
      if (header.owner !== before.owner && header.epoch === before.epoch)
        this.world.violation(`${actor} changed its owner without a new epoch: ${before.owner} to ${header.owner}`);
    }
  }

  /** The header as it is in the store. */
  async header(id: ActorId): Promise<Header | undefined> {
    const [answer] = await this.world.disk.read([{ key: headerKey(id) }]);
    return answer![0] && decodeJson<Header>(answer![0].value);
  }
}

/** Invocations that nobody has answered or refused yet. */
export class Invocations {
  readonly #world: World;
  readonly #unsettled = new Set<{ readonly incarnation: Incarnation; readonly text: string }>();

  constructor(world: World) {
    this.#world = world;
  }

  async add<T>(incarnation: Incarnation, text: string, outcome: Promise<T>): Promise<T> {
    const invocation = { incarnation, text };
    this.#unsettled.add(invocation);
    return await outcome.finally(() => this.#unsettled.delete(invocation));
  }

  /** Waits for those of living processes: it is a violation if some are never settled. */
  async settle(): Promise<void> {
    const { kernel, swarm } = this.#world;
    const left = (): string[] => [...this.#unsettled].filter(({ incarnation }) => incarnation.alive).map(({ text }) => text);
    const deadline = Math.max(kernel.now, swarm.faultsUntil + swarm.outageMilliseconds) + settleMilliseconds;
    while (left().length > 0 && kernel.now < deadline) await this.#world.sleep(1_000);
    for (const text of left()) this.#world.violation(`An invocation was neither answered nor refused: ${text}`);
  }
}

/** Long enough for what is left to do when the faults are over, and much less than clients allow for. */
const settleMilliseconds = 120_000;

/** The rows of an actor under `prefix`, as they are in the store. */
export async function storedRow<T>(world: World, id: ActorId, key: readonly (string | number)[]): Promise<T | undefined> {
  const [answer] = await world.disk.read([{ key: encodeTuple([id.project, "state", id.type, id.key, ...key]) }]);
  return answer![0] && decodeJson<T>(answer![0].value);
}

/** How an invocation with retries ended. `never`: certainly without effect; `unknown`: nobody can say. */
export type Settled<Reply> =
  | { readonly kind: "reply"; readonly reply: Reply }
  | { readonly kind: "error"; readonly error: Error }
  | { readonly kind: "never" }
  | { readonly kind: "unknown" };

export interface Request<Reply> {
  readonly id: ActorId;
  /** Unlike every other message. */
  readonly message: unknown;
  /** Absent only where a repeat does no harm. */
  readonly invocationId?: string;
  /** Errors that the actor itself answers with: an outcome like a reply. */
  readonly ownErrors?: readonly string[];
  /** Runs inside the process when its reply is about to leave. */
  readonly onReply?: (reply: Reply) => Promise<void>;
}

/** Errors after which an invocation certainly took no effect, and ones after which it may have. */
const certainErrors = ["MailboxFullError", "ActorElsewhereError", "StoreUnavailableError", "ConflictError", "ActorsStoppedError"];
const doubtfulErrors = ["ActivationLostError", "CommitUnknownError", "CancelledError"];

/** A client as it should be: it tries again with the same invocation id until it knows, and sometimes gives up. */
export class Client {
  readonly #cluster: ActorProcesses;
  readonly #name: string;
  #random: RandomStream;
  #process: SimulatedProcess;

  constructor(cluster: ActorProcesses, name: string) {
    this.#cluster = cluster;
    this.#name = name;
    this.#random = cluster.world.random.stream(`client/${name}`);
    this.#process = this.random.pick(cluster.processes);
  }

  /** The draws of the operation under way. */
  get random(): RandomStream {
    return this.#random;
  }

  /** Waits before operation number `operation`. */
  async think(operation: number): Promise<void> {
    this.#random = this.#cluster.world.random.stream(`client/${this.#name}.${operation}`);
    const { world } = this.#cluster;
    const { burstMilliseconds, thinkMilliseconds, stickiness } = world.swarm;
    if (burstMilliseconds > 0) await world.sleep(burstMilliseconds - (world.kernel.now % burstMilliseconds));
    await world.sleep(this.random.fraction() * thinkMilliseconds);
    if (!this.random.chance(stickiness)) this.#process = this.random.pick(this.#cluster.processes);
  }

  async request<Reply>(request: Request<Reply>): Promise<Settled<Reply>> {
    const { world } = this.#cluster;
    let isDoubtful = false;
    for (let attempt = 1; ; attempt++) {
      const timeoutMilliseconds = this.random.chance(0.1) ? this.random.between(1, 50) : longTimeoutMilliseconds;
      const outcome = await this.#cluster.invoke(
        this.#process,
        request.id,
        request.message,
        { timeoutMilliseconds, ...(request.invocationId === undefined ? {} : { invocationId: request.invocationId }) },
        request.onReply,
      );
      if (outcome.kind === "reply") {
        world.operations++;
        return { kind: "reply", reply: outcome.value };
      }
      if (outcome.kind === "lost") isDoubtful = true;
      else {
        const { error } = outcome;
        const name = error instanceof RemoteError ? error.remoteName : error.name;
        if (request.ownErrors?.includes(name)) {
          world.operations++;
          return { kind: "error", error };
        }
        world.countProbe(`client.${error.name}`);
        if (error.name === "DeadlineExceededError") isDoubtful ||= (error as Error & { started: boolean }).started;
        else if (doubtfulErrors.includes(error.name)) isDoubtful = true;
        else if (!certainErrors.includes(error.name))
          world.violation(
            `${JSON.stringify(request.message)} was answered with an error that no client expects: ${error.stack ?? error.message}`,
          );
        if (error.name === "ActorElsewhereError") this.#process = this.random.pick(this.#cluster.processes);
      }
      if (this.random.chance(isDoubtful ? 0.02 : 0.1)) return { kind: isDoubtful ? "unknown" : "never" };
      if (attempt > 200) {
        world.violation(
          `${JSON.stringify(request.message)} was never answered: ${attempt} attempts, the last one was ${outcome.kind === "error" ? outcome.error.message : "lost"}`,
        );
        return { kind: isDoubtful ? "unknown" : "never" };
      }
      await world.sleep(this.random.fraction() * Math.min(1_000, 10 * attempt));
      if (outcome.kind === "lost") this.#process = this.random.pick(this.#cluster.processes);
    }
  }
}

/** Runs every client of the swarm and waits for all. */
export async function runClients(
  cluster: ActorProcesses,
  work: (client: Client, name: number, operation: number) => Promise<void>,
): Promise<void> {
  const { clients, operationsPerClient } = cluster.world.swarm;
  const live = async (name: number): Promise<void> => {
    const client = new Client(cluster, `${name}`);
    for (let operation = 0; operation < operationsPerClient; operation++) {
      await client.think(operation);
      if (cluster.world.parts.takesOperation(name, operation)) await work(client, name, operation);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, name) => live(name)));
  await cluster.settle();
}
