/**
 * Moves an actor to another node: prepare, transfer, complete (C6).
 *
 * G1. The source ends its activation in good order, then names the target in the header. From then on no other node may
 *     claim the actor while the target lives, and the source answers nothing for it.
 * G2. The target claims by compare-and-set on that very header. A target that is silent is given up by a
 *     compare-and-set on the same version: one of the two wins.
 * G3. What comes for the actor meanwhile waits at the source, and is sent on then, or goes on there.
 * G4. What is handed over in memory is used only with the header that the source wrote with it.
 */
import { type ActorId, ActorsStoppedError } from "../actors/actor.ts";
import { actorName, describeActor } from "../actors/actor-id.ts";
import type { ActorRuntime } from "../actors/actor-runtime.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import { admitMethod, type TakeOverCall, takeOverMethod } from "./calls.ts";
import type { Member } from "./cluster.ts";
import { giveHeader, type HeaderRow, readHeader } from "./header.ts";
import type { Membership } from "./membership.ts";
import type { Transport } from "./transport.ts";

/** Actors that may be on their way into one node at a time. */
const arrivingMax = 64;
const admitMilliseconds = 1_000;
const takeOverMilliseconds = 5_000;
/** Bytes of JSON that an actor may hand over. */
const handedOverBytesMax = 1_000_000;

export interface MigrationParts {
  readonly store: Store;
  readonly environment: Environment;
  readonly membership: Membership;
  readonly transport: Transport;
  readonly runtime: ActorRuntime;
  /** Activations that a node has room for. */
  readonly liveMax: number;
}

export class Migration {
  readonly #parts: MigrationParts;
  readonly #moving = new Map<string, Promise<string | undefined>>();
  #arriving = 0;

  constructor(parts: MigrationParts) {
    this.#parts = parts;
  }

  /**
   * Moves an actor of this node. `wake`: its next activation begins at once, and gets what is handed over.
   *
   * @returns the node that it is for now; `undefined`: it stays here.
   */
  move(id: ActorId, target: Member, options: { readonly wake: boolean }): Promise<string | undefined> {
    const name = actorName(id);
    let moving = this.#moving.get(name);
    if (moving === undefined) {
      moving = this.#move(id, target, options.wake).finally(() => this.#moving.delete(name));
      this.#moving.set(name, moving);
    }
    return moving;
  }

  /** Whether `target` has room for one more. */
  async isAdmitted(target: Member): Promise<boolean> {
    try {
      return (
        (await this.#parts.transport.request(
          target.address!,
          admitMethod,
          {},
          { timeoutMilliseconds: admitMilliseconds, class: "control" },
        )) === true
      );
    } catch {
      // A node that cannot say so has no room now.
      return false;
    }
  }

  // What the target does.

  admits(): boolean {
    const { membership, runtime, liveMax } = this.#parts;
    return membership.state === "up" && this.#arriving < arrivingMax && runtime.live < liveMax;
  }

  /** Claims an actor that is being given to this node. @throws {ActorsStoppedError} @throws {ActorElsewhereError} */
  async takeOver({ id, ver, value }: TakeOverCall): Promise<void> {
    const { membership, runtime, environment } = this.#parts;
    if (membership.state !== "up") throw new ActorsStoppedError(`Node ${membership.node} takes no actors: it is ${membership.state}`);
    this.#arriving++;
    try {
      await runtime.activate(id, { ver, value });
      environment.probe("cluster.takenOver");
    } finally {
      this.#arriving--;
    }
  }

  // What the source does.

  async #move(id: ActorId, target: Member, wake: boolean): Promise<string | undefined> {
    const { environment, runtime } = this.#parts;
    let owner: string | undefined;
    try {
      owner = await runtime.release(id, async (handedOver) => await this.#give(id, target, { wake, handedOver }));
    } catch (error) {
      // Whoever is asked next reads the header, which says where the actor is.
      environment.log.write("warn", "An actor could not be moved", { actor: describeActor(id), target: target.node, error });
    }
    if (owner === undefined && wake) await this.#goOnHere(id);
    return owner;
  }

  /** What the actor was doing was ended for the move. */
  async #goOnHere(id: ActorId): Promise<void> {
    const { environment, runtime } = this.#parts;
    try {
      await runtime.activate(id);
    } catch (error) {
      environment.log.write("info", "An actor that was to move does not go on here", { actor: describeActor(id), error });
    }
  }

  async #give(id: ActorId, target: Member, options: { readonly wake: boolean; readonly handedOver: unknown }): Promise<string | undefined> {
    const { store, environment, membership, transport } = this.#parts;
    const row = await readHeader(store, id);
    if (row === undefined || row.header.owner !== membership.node) return undefined;
    const given = await giveHeader(store, environment, id, row, target.node);
    if (given === undefined) return undefined;
    environment.probe("cluster.given");
    if (!options.wake) return target.node;
    const call: TakeOverCall = { id, ver: given.header.ver, value: this.#limit(id, options.handedOver) };
    try {
      await transport.request(target.address!, takeOverMethod, call, { timeoutMilliseconds: takeOverMilliseconds, class: "control" });
      return target.node;
    } catch (error) {
      environment.log.write("warn", "A node did not take an actor over", { actor: describeActor(id), target: target.node, error });
      return await this.#takeBack(id, given, target);
    }
  }

  async #takeBack(id: ActorId, given: HeaderRow, target: Member): Promise<string | undefined> {
    const { store, environment } = this.#parts;
    if ((await giveHeader(store, environment, id, given, undefined)) === undefined) {
      environment.probe("cluster.takenAfterAll", "sometimes");
      return target.node;
    }
    environment.probe("cluster.takenBack");
    return undefined;
  }

  #limit(id: ActorId, value: unknown): unknown {
    if (value === undefined) return null;
    const text = JSON.stringify(value) as string | undefined;
    if (text !== undefined && text.length <= handedOverBytesMax) return value;
    this.#parts.environment.log.write("warn", "What an actor hands over is too large, and is left behind", { actor: describeActor(id) });
    return null;
  }
}
