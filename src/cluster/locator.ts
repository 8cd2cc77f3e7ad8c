import { type ActorId, ActorElsewhereError } from "../actors/actor.ts";
import { describeActor } from "../actors/actor-id.ts";
import { holderOf } from "../actors/holder.ts";
import { TokenBucket } from "../actors/token-bucket.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import type { MemberPlacement } from "./cluster-placement.ts";
import { readHeader } from "./header.ts";
import type { Migration } from "./migration.ts";

/** Actors whose node is remembered; one that is forgotten is looked up again. */
const rememberedMax = 100_000;
/** Cold actors a second that move to the node that they belong to, when they are first called. */
const coldMovesPerSecond = 200;

/**
 * Finds the node that has an actor, or should take it: one look-up at a time for each actor.
 *
 * The answer is a hint: whoever gets the message looks into the header before it takes the actor, and says where it is.
 */
export class ActorLocator {
  readonly #store: Store;
  readonly #placement: MemberPlacement;
  readonly #migration: Migration;
  readonly #affinity: (id: ActorId) => string | undefined;
  readonly #coldMoves: TokenBucket;
  readonly #remembered = new Map<string, string>();
  readonly #finding = new Map<string, Promise<string>>();

  constructor(options: {
    readonly store: Store;
    readonly environment: Environment;
    readonly placement: MemberPlacement;
    readonly migration: Migration;
    /** The node on which an actor would find what it needs. */
    readonly affinity?: ((id: ActorId) => string | undefined) | undefined;
  }) {
    this.#store = options.store;
    this.#placement = options.placement;
    this.#migration = options.migration;
    this.#affinity = options.affinity ?? (() => undefined);
    this.#coldMoves = new TokenBucket(options.environment.clock, coldMovesPerSecond);
  }

  /** The actor called `name` is at `node`, as that node or another one has said. */
  remember(name: string, node: string): void {
    this.#remembered.delete(name);
    if (node === this.#placement.node) return;
    this.#remembered.set(name, node);
    if (this.#remembered.size > rememberedMax) this.#remembered.delete(this.#remembered.keys().next().value!);
  }

  remembered(name: string): string | undefined {
    return this.#remembered.get(name);
  }

  forget(name: string): void {
    this.#remembered.delete(name);
  }

  /** The node to ask. @throws {ActorElsewhereError} Nobody can take the actor. */
  async find(id: ActorId, name: string): Promise<string> {
    const remembered = this.#remembered.get(name);
    if (remembered !== undefined) {
      if (this.#placement.sees(remembered)) return remembered;
      this.#remembered.delete(name);
    }
    // This node's own look into the header, when it activates the actor, is enough.
    if (this.belongsHere(id, name)) return this.#placement.node;
    let finding = this.#finding.get(name);
    if (finding === undefined) {
      finding = this.#read(id, name, false).finally(() => this.#finding.delete(name));
      this.#finding.set(name, finding);
    }
    return await finding;
  }

  /** The living node that has the actor; `undefined` if nobody has. */
  async locate(id: ActorId, name: string): Promise<string | undefined> {
    const remembered = this.#remembered.get(name);
    if (remembered !== undefined && this.#placement.sees(remembered)) return remembered;
    const row = await readHeader(this.#store, id);
    return row && (await holderOf(row.header, this.#placement));
  }

  /** Whether this node would be chosen for the actor. */
  belongsHere(id: ActorId, name: string): boolean {
    return this.#placement.choose(name, { affinity: this.#affinity(id) })?.node === this.#placement.node;
  }

  /** Where an actor is for which another node asks this one: here, if nobody has it and this node is up. */
  async findAsked(id: ActorId, name: string): Promise<string> {
    if (this.belongsHere(id, name)) return this.#placement.node;
    return await this.#read(id, name, true);
  }

  async #read(id: ActorId, name: string, isAsked: boolean): Promise<string> {
    const { node } = this.#placement;
    const row = await readHeader(this.#store, id);
    const holder = row && (await holderOf(row.header, this.#placement));
    if (holder !== undefined && holder !== node) {
      this.remember(name, holder);
      return holder;
    }
    const target = this.#placement.choose(name, { schema: row?.header.schema ?? 0, affinity: this.#affinity(id) });
    if (holder === node) {
      const isToMove = target !== undefined && target.node !== node && (this.#placement.isDraining || this.#coldMoves.takeNow());
      return isToMove ? ((await this.#migration.move(id, target, { wake: false })) ?? node) : node;
    }
    if (isAsked && this.#placement.isUp) return node;
    if (target !== undefined) return target.node;
    if (row !== undefined && this.#placement.members.some((member) => member.state === "up"))
      throw new ActorElsewhereError(
        `${describeActor(id)} was written by a newer Kelpie (schema ${row.header.schema}), and no such node is up`,
      );
    return node;
  }
}
