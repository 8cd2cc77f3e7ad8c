/**
 * What must hold of a cluster at every instant, seen from where its nodes cannot look: the store, and all nodes at once.
 *
 * V1. An answer is given from memory only by the owner that the header in the store names, and while the store does not
 *     say that its node is dead.
 * V2. A header's epoch never goes back and its version grows; a new owner has a new epoch, and nobody commits in another's
 *     name. An actor is taken only from a node that is dead, or by the node that it is being given to.
 * V3. When an actor changes its owner, no turn of it runs at a living node that had it and whose lease is valid.
 * V4. `dead` is final; only a node whose lease is over, or that says so itself, is declared dead; two living members never
 *     share a name.
 * V5. A node claims no actor whose rows are of a newer version than it can read, and the version that is written never goes
 *     back, nor beyond what every living member can read.
 *
 * All of it is said of one history of the store. When that goes back, nothing is compared with what was before; and until
 * every node must have noticed, neither leases nor names are judged, nor who may take an actor: what they rested on may be
 * gone.
 */
import type { Actor, ActorId, ActorType, Turn } from "../../src/actors/actor.ts";
import { actorName } from "../../src/actors/actor-id.ts";
import type { Header } from "../../src/actors/actor-rows.ts";
import { decodeJson } from "../../src/base/json.ts";
import { decodeTuple, tupleRange } from "../../src/base/tuple.ts";
import type { Member } from "../../src/cluster/cluster.ts";
import { MemberPlacement } from "../../src/cluster/cluster-placement.ts";
import type { Cluster } from "../../src/cluster/open-cluster.ts";
import type { Batch, CommitOutcome, Write } from "../../src/storage/store.ts";
import type { Incarnation } from "../process.ts";
import type { World } from "../world.ts";

interface WatchedNode {
  readonly incarnation: Incarnation;
  readonly cluster: Cluster;
  /** The event of the kernel in which this node last gave an answer from memory. */
  answeredFromMemory: number;
  /** Turns that run, by actor; one whose signal has aborted does not count. */
  readonly turns: Map<string, Set<Turn>>;
}

const holdsLease = Object.getOwnPropertyDescriptor(MemberPlacement.prototype, "holdsLease")!.get!;

export class ClusterInvariants {
  readonly #world: World;
  /** By the name of the node's incarnation. */
  readonly #nodes = new Map<string, WatchedNode>();
  readonly #headers = new Map<string, Header>();
  readonly #members = new Map<string, Member>();
  #applied = new Set<string>();
  readonly #hasLeases: boolean;
  /** The store has not gone back, or all have noticed. */
  #isSettled = true;
  #rowSchema = 1;

  constructor(world: World) {
    this.#world = world;
    this.#hasLeases = world.swarm.cluster.reads === "lease";
    world.onApplied((batch, outcome, incarnation) => this.#batchApplied(batch, outcome, incarnation));
  }

  /** Watches a node from before it starts. */
  watch(incarnation: Incarnation, cluster: Cluster): void {
    const node: WatchedNode = { incarnation, cluster, answeredFromMemory: -1, turns: new Map() };
    this.#nodes.set(cluster.node, node);
    const { placement, actors } = cluster;
    const { kernel } = this.#world;
    const asked = Object.getOwnPropertyDescriptor(placement, "holdsLease")?.get ?? holdsLease;
    Object.defineProperty(placement, "holdsLease", {
      configurable: true,
      get: () => {
        const holds = asked.call(placement) as boolean;
        if (holds) {
          node.answeredFromMemory = kernel.events;
          if (this.#isSettled && this.#stateOf(cluster.node) === "dead")
            this.#violation(`V1: ${incarnation.label} answered from memory, and the store says that it is dead`);
        }
        return holds;
      },
    });
    const { runtime } = actors;
    const invoke = runtime.invoke.bind(runtime);
    runtime.invoke = async <Reply>(...parameters: Parameters<typeof runtime.invoke>): Promise<Reply> => {
      const reply = await invoke<Reply>(...parameters);
      // The reply follows its permission within one event.
      if (isRead(parameters[1]) && node.answeredFromMemory === kernel.events) this.#checkOwner(node, parameters[0]);
      return reply;
    };
  }

  /** The same kind of actors, with their turns at an incarnation watched. */
  watchTurns(type: ActorType, incarnation: Incarnation, nodeOf: () => string): ActorType {
    return {
      ...type,
      create: (activation) => {
        const actor = type.create(activation);
        const name = actorName(activation.id);
        const during = async <T>(turn: Turn, work: () => Promise<T>): Promise<T> => {
          const node = this.#nodes.get(nodeOf())!;
          const turns = node.turns.get(name) ?? new Set();
          node.turns.set(name, turns);
          if ([...turns].some(isRunning)) this.#violation(`A2: two turns of ${activation.id.key} ran at one time in ${incarnation.label}`);
          turns.add(turn);
          try {
            return await work();
          } finally {
            turns.delete(turn);
          }
        };
        return {
          ...methodsOf(actor),
          receive: async (message, turn) => await during(turn, () => actor.receive(message, turn)),
          ...(actor.remind === undefined
            ? {}
            : { remind: async (reminder, turn) => await during(turn, async () => await actor.remind!(reminder, turn)) }),
        };
      },
    };
  }

  /** The store's history has gone back. */
  async forget(): Promise<void> {
    this.#isSettled = false;
    this.#applied = new Set(this.#world.disk.ids);
    this.#headers.clear();
    this.#members.clear();
    this.#rowSchema = 1;
    const { begin, end } = tupleRange([]);
    const [rows] = await this.#world.disk.read([{ begin, end, limit: 10_000 }]);
    for (const { key, value } of rows!) this.#remember({ kind: "set", key, value });
  }

  /** Every node must have noticed. */
  settle(): void {
    this.#isSettled = true;
  }

  /** The node that has an actor, as the store says. */
  ownerOf(id: ActorId): string | undefined {
    return this.#headers.get(actorName(id))?.owner;
  }

  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  memberOf(node: string): Member | undefined {
    return this.#members.get(node);
  }

  #violation(text: string): void {
    this.#world.violation(text);
  }

  #stateOf(node: string): Member["state"] {
    return this.#members.get(node)?.state ?? "dead";
  }

  #checkOwner({ incarnation, cluster }: WatchedNode, id: ActorId): void {
    const header = this.#headers.get(actorName(id));
    if (this.#isSettled && header?.owner !== cluster.node)
      this.#violation(`V1: ${incarnation.label} answered for ${id.key} from memory, which ${header?.owner ?? "nobody"} has`);
  }

  #batchApplied(batch: Batch, outcome: CommitOutcome, incarnation: Incarnation): void {
    // A batch that was committed again is answered as the first time and changes nothing.
    if (!outcome.ok || this.#applied.has(batch.id)) return;
    this.#applied.add(batch.id);
    for (const write of batch.writes) {
      const known = this.#known(write);
      if (known?.kind === "header") this.#checkHeader(known.name, known.header, incarnation);
      else if (known?.kind === "member") this.#checkMember(known.member, incarnation);
      else if (known?.kind === "row schema") this.#checkRowSchema(known.version);
      this.#remember(write);
    }
  }

  #known(write: Write): Known | undefined {
    if (write.kind !== "set") return undefined;
    const [project, kind, ...rest] = decodeTuple(write.key);
    if (kind === "header")
      return {
        kind,
        name: actorName({ project: String(project), type: String(rest[0]), key: String(rest[1]) }),
        header: decodeJson(write.value),
      };
    if (project === "" && kind === "member") return { kind, member: decodeJson(write.value) };
    if (project === "" && kind === "row-schema") return { kind: "row schema", version: decodeJson(write.value) };
    return undefined;
  }

  #remember(write: Write): void {
    const known = this.#known(write);
    if (known?.kind === "header") this.#headers.set(known.name, known.header);
    else if (known?.kind === "member") this.#members.set(known.member.node, known.member);
    else if (known?.kind === "row schema") this.#rowSchema = known.version;
  }

  #checkHeader(name: string, header: Header, incarnation: Incarnation): void {
    const before = this.#headers.get(name);
    const owner = this.#nodes.get(header.owner);
    const actor = name.replaceAll("\0", "/");
    if (owner?.incarnation !== incarnation) this.#violation(`V2: ${incarnation.label} committed for ${actor} as ${header.owner}`);
    if (before === undefined) return;
    if (header.ver <= before.ver) this.#violation(`V2: the header of ${actor} went from version ${before.ver} to ${header.ver}`);
    if (header.epoch < before.epoch) this.#violation(`V2: the header of ${actor} went from epoch ${before.epoch} to ${header.epoch}`);
    if (header.epoch > before.epoch && owner !== undefined) this.#checkClaim(actor, before, owner);
    if (header.owner === before.owner) return;
    if (header.epoch === before.epoch)
      this.#violation(`V2: ${actor} changed its owner without a new epoch: ${before.owner} to ${header.owner}`);
    const last = [before.migrating?.to, before.owner].find((node) => node !== undefined && this.#stateOf(node) !== "dead");
    if (this.#isSettled && last !== undefined && before.migrating?.to !== header.owner)
      this.#violation(`V2: ${header.owner} took ${actor} from ${last}, which is not dead`);
    const former = this.#nodes.get(before.owner);
    if (former !== undefined && this.#isValid(former) && [...(former.turns.get(name) ?? [])].some(isRunning))
      this.#violation(`V3: ${header.owner} took ${actor} while a turn of it ran at ${before.owner}, whose lease is valid`);
  }

  #checkClaim(actor: string, before: Header, { cluster, incarnation }: WatchedNode): void {
    const schema = this.#members.get(cluster.node)?.schema;
    if (schema !== undefined && before.schema > schema.max)
      this.#violation(`V5: ${incarnation.label} reads rows up to version ${schema.max}, and claimed ${actor} of version ${before.schema}`);
  }

  #checkMember(member: Member, incarnation: Incarnation): void {
    const before = this.#members.get(member.node);
    if (before?.state === "dead" && member.state !== "dead") this.#violation(`V4: ${member.node} was dead, and is ${member.state} again`);
    if (member.state !== "dead") {
      for (const other of this.#members.values())
        if (this.#isSettled && other.name === member.name && other.node !== member.node && other.state !== "dead")
          this.#violation(`V4: ${member.node} and ${other.node} live, and both are called ${member.name}`);
      return;
    }
    const node = this.#nodes.get(member.node);
    if (node === undefined || node.incarnation === incarnation || before?.state === "dead") return;
    if (this.#isValid(node)) this.#violation(`V4: ${incarnation.label} declared ${node.incarnation.label} dead, whose lease is valid`);
  }

  #checkRowSchema(version: number): void {
    if (version < this.#rowSchema) this.#violation(`V5: rows of version ${this.#rowSchema} were written, and now of version ${version}`);
    for (const { node, state, schema } of this.#members.values())
      if (state !== "dead" && schema.max < version)
        this.#violation(`V5: rows of version ${version} are to be written, and ${node} reads up to version ${schema.max}`);
  }

  #isValid({ incarnation, cluster }: WatchedNode): boolean {
    return this.#hasLeases && this.#isSettled && incarnation.alive && cluster.membership.holdsLease;
  }
}

type Known =
  | { readonly kind: "header"; readonly name: string; readonly header: Header }
  | { readonly kind: "member"; readonly member: Member }
  | { readonly kind: "row schema"; readonly version: number };

function isRunning(turn: Turn): boolean {
  return !turn.signal.aborted;
}

/** Reads of workloads are called so. */
function isRead(message: unknown): boolean {
  const { kind } = message as { readonly kind?: unknown };
  return kind === "read" || kind === "audit";
}

/** What an actor has beside `receive` and `remind`, for the object that stands in for it. */
function methodsOf(actor: Actor): Partial<Actor> {
  return {
    ...(actor.activate === undefined ? {} : { activate: () => actor.activate!() }),
    ...(actor.deactivate === undefined ? {} : { deactivate: () => actor.deactivate!() }),
    ...(actor.prepareToMove === undefined ? {} : { prepareToMove: () => actor.prepareToMove!() }),
    ...(actor.handOver === undefined ? {} : { handOver: () => actor.handOver!() }),
  };
}
