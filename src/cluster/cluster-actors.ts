/** The actors of all nodes, as one node sees them: those that are here, and the way to the others. */
import {
  ActorElsewhereError,
  type ActorId,
  type Actors,
  type ActorSight,
  type ActorType,
  CancelledError,
  type InvokeOptions,
  type LiveActor,
} from "../actors/actor.ts";
import { actorName, describeActor, validateTimeout } from "../actors/actor-id.ts";
import { ActorRuntime } from "../actors/actor-runtime.ts";
import { holderOf } from "../actors/holder.ts";
import { type ActorLimits, defaultActorLimits, timeoutMillisecondsDefault } from "../actors/limits.ts";
import { pollMilliseconds } from "../actors/reminder-scheduler.ts";
import type { NodeSharing } from "../actors/services.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import type { CallTable } from "./call-table.ts";
import {
  admitMethod,
  Body,
  type CancelCall,
  cancelMethod,
  inspectMethod,
  type InvokeCall,
  invokeMethod,
  lookMethod,
  type RemindCall,
  reminderSetMethod,
  remindMethod,
  takeOverMethod,
} from "./calls.ts";
import type { Member } from "./cluster.ts";
import type { MemberPlacement } from "./cluster-placement.ts";
import { readHeader } from "./header.ts";
import { ActorLocator } from "./locator.ts";
import type { Membership } from "./membership.ts";
import { Migration } from "./migration.ts";
import { Router } from "./router.ts";
import type { CallContext, Transport, Wire } from "./transport.ts";
import { type ErrorClass, WireErrors } from "./wire-errors.ts";

/** For calls whose loss does no harm. */
const hintMilliseconds = 2_000;

export interface ClusterActorsOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly membership: Membership;
  readonly placement: MemberPlacement;
  readonly transport: Transport;
  readonly calls: CallTable;
  readonly limits?: Partial<ActorLimits> | undefined;
  /** Errors that actors throw, beside those of the actors themselves; the others arrive as `RemoteError`. */
  readonly errors?: readonly ErrorClass[] | undefined;
  /** The node on which an actor would find what it needs. */
  readonly affinity?: ((id: ActorId) => string | undefined) | undefined;
}

export class ClusterActors implements Actors, NodeSharing {
  /** The actors of this node. */
  readonly runtime: ActorRuntime;
  readonly migration: Migration;
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #placement: MemberPlacement;
  readonly #transport: Transport;
  readonly #locator: ActorLocator;
  readonly #router: Router;
  /** By node: the earliest reminder that was set for it here and that it was not told of. */
  readonly #hints = new Map<string, number>();

  constructor(options: ClusterActorsOptions) {
    const { store, environment, membership, placement, transport, calls, affinity } = options;
    const limits = { ...defaultActorLimits, ...options.limits };
    this.#store = store;
    this.#environment = environment;
    this.#placement = placement;
    this.#transport = transport;
    this.runtime = new ActorRuntime({ store, environment, placement, limits, sharing: this });
    this.migration = new Migration({ store, environment, membership, transport, runtime: this.runtime, liveMax: limits.liveMax });
    this.#locator = new ActorLocator({ store, environment, placement, migration: this.migration, affinity });
    this.#router = new Router({
      environment,
      runtime: this.runtime,
      placement,
      locator: this.#locator,
      errors: new WireErrors(options.errors),
      timings: membership.timings,
    });
    calls.onRequest(invokeMethod, async (body, context) => await this.#invokeHere(body, context));
    calls.onRequest(remindMethod, async (body) => await this.#remindHere(body));
    calls.onRequest(cancelMethod, async (body) => this.#cancelHere(new Body(body)));
    calls.onRequest(reminderSetMethod, async (body) => this.runtime.reminderSet(new Body(body).integer("due")));
    calls.onRequest(lookMethod, async (body) => await this.#lookHere(new Body(body)));
    calls.onRequest(admitMethod, async () => this.migration.admits());
    calls.onRequest(inspectMethod, async (body) => this.runtime.look(new Body(body).id) ?? null);
    calls.onRequest(takeOverMethod, async (body) => await this.#takeOver(new Body(body)));
  }

  register<Message, Reply>(type: ActorType<Message, Reply>): void {
    this.runtime.register(type);
  }

  async invoke<Reply>(id: ActorId, message: unknown, options: InvokeOptions = {}): Promise<Reply> {
    let { invocationId, recordOnlyWrites = false } = options;
    const { signal, timeoutMilliseconds = timeoutMillisecondsDefault } = options;
    validateTimeout(timeoutMilliseconds);
    if (signal?.aborted === true) throw new CancelledError("The caller gave the invocation up before it began", { cause: signal.reason });
    return await this.#router.deliver<Reply>({
      id,
      timeoutMilliseconds,
      signal,
      isRepeatable: () => invocationId !== undefined,
      here: async (left) =>
        await this.runtime.invoke<Reply>(id, message, {
          ...options,
          timeoutMilliseconds: left,
          ...(invocationId === undefined ? {} : { invocationId, recordOnlyWrites }),
        }),
      there: async (address, callOptions) => {
        // A reply can get lost on its way: with an id, the message can be sent again.
        if (invocationId === undefined) {
          invocationId = this.#environment.random.uuid();
          recordOnlyWrites = true;
        }
        const call: InvokeCall = { id, message, invocationId, recordOnlyWrites };
        return (await this.#transport.request(address, invokeMethod, call, callOptions)) as Reply;
      },
    });
  }

  /** False: the actor is not active here, nor is it known where. */
  cancel(id: ActorId, reason: string): boolean {
    if (this.runtime.cancel(id, reason)) return true;
    const name = actorName(id);
    const node = this.#locator.remembered(name);
    void this.#sendCancel(id, name, reason);
    return node !== undefined;
  }

  async inspect(id: ActorId): Promise<ActorSight | undefined> {
    const here = await this.runtime.inspect(id);
    const member = here === undefined || here.answers ? undefined : await this.#placement.find(here.node);
    if (member?.address == null) return here;
    try {
      const options = { timeoutMilliseconds: hintMilliseconds, class: "control" } as const;
      const live = (await this.#transport.request(member.address, inspectMethod, { id }, options)) as LiveActor | null;
      return { node: member.node, answers: true, ...(live === null ? {} : { live }) };
    } catch (error) {
      this.#environment.log.write("info", "A node did not say what it has of an actor", {
        actor: describeActor(id),
        node: member.node,
        error,
      });
      return here;
    }
  }

  /** The other node at which an actor is, as far as is known: it is not moved or made active for that. */
  async locate(id: ActorId): Promise<Member | undefined> {
    if (this.runtime.has(id)) return undefined;
    const node = await this.#locator.locate(id, actorName(id));
    return node === undefined || node === this.#placement.node ? undefined : await this.#placement.find(node);
  }

  /** Members have come, changed or died: messages that wait for a node are tried again. */
  membersChanged(died: readonly Member[]): void {
    this.#router.membersChanged(died);
  }

  /** Where an actor was last seen is not to be believed any more: the next look for it reads its header. */
  forget(id: ActorId): void {
    this.#locator.forget(actorName(id));
  }

  get live(): number {
    return this.runtime.live;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime[Symbol.asyncDispose]();
  }

  // The reminders and inboxes of this node's slots.

  ownsSlot(slot: number): boolean {
    return this.#placement.ownsSlot(slot);
  }

  async deliver(id: ActorId, reminder: { readonly name: string; readonly due: number; readonly isEarly: boolean }): Promise<void> {
    const { name, due } = reminder;
    if (reminder.isEarly) await this.#assertLeftBehind(id);
    const call: RemindCall = { id, name, due };
    await this.#router.deliver({
      id,
      timeoutMilliseconds: timeoutMillisecondsDefault,
      // Its turn deletes it.
      isRepeatable: () => true,
      here: async () => await this.runtime.remind(id, { name, due }),
      there: async (address, options) => void (await this.#transport.request(address, remindMethod, call, options)),
    });
  }

  setElsewhere(slot: number, due: number): void {
    if (due >= this.#environment.clock.now() + pollMilliseconds) return;
    const owner = this.#placement.slotOwner(slot);
    if (owner?.address == null) return;
    const earliest = this.#hints.get(owner.node);
    this.#hints.set(owner.node, Math.min(due, earliest ?? due));
    if (earliest === undefined) void this.#sendHints(owner.node, owner.address);
  }

  async lookIntoInbox(id: ActorId): Promise<void> {
    await this.#router.deliver({
      id,
      timeoutMilliseconds: timeoutMillisecondsDefault,
      isRepeatable: () => true,
      here: async () => await this.runtime.lookIntoInbox(id),
      there: async (address, options) => void (await this.#transport.request(address, lookMethod, { id }, options)),
    });
  }

  /** Only reminders of actors whose node has ended are delivered before they are due. @throws {ActorElsewhereError} */
  async #assertLeftBehind(id: ActorId): Promise<void> {
    const row = await readHeader(this.#store, id);
    const holder = row && (await holderOf(row.header, this.#placement));
    if (holder !== undefined && (holder !== this.#placement.node || this.runtime.has(id)))
      throw new ActorElsewhereError(`${describeActor(id)} is at work at node ${holder}`, holder);
  }

  async #sendHints(node: string, address: string): Promise<void> {
    // One turn of the event loop gathers what was set together.
    await Promise.resolve();
    for (let due = this.#hints.get(node); due !== undefined;) {
      try {
        await this.#transport.request(address, reminderSetMethod, { due }, { timeoutMilliseconds: hintMilliseconds, class: "control" });
      } catch {
        // A hint: the node looks for itself before long.
      }
      const earliest: number | undefined = this.#hints.get(node);
      if (earliest === due) this.#hints.delete(node);
      due = earliest === due ? undefined : earliest;
    }
  }

  async #sendCancel(id: ActorId, name: string, reason: string): Promise<void> {
    try {
      const node = await this.#locator.find(id, name);
      const member = node === this.#placement.node ? undefined : await this.#placement.find(node);
      if (member?.address == null) return;
      const call: CancelCall = { id, reason };
      await this.#transport.request(member.address, cancelMethod, call, { timeoutMilliseconds: hintMilliseconds, class: "control" });
    } catch (error) {
      this.#environment.log.write("info", "A cancellation did not reach its actor", { actor: describeActor(id), error });
    }
  }

  // What other nodes ask.

  async #invokeHere(wire: Wire, context: CallContext): Promise<unknown> {
    const body = new Body(wire);
    const { id } = body;
    await this.#assertHere(id);
    return await this.runtime.invoke(id, body.any("message"), {
      invocationId: body.text("invocationId"),
      recordOnlyWrites: body.flag("recordOnlyWrites"),
      timeoutMilliseconds: Math.max(1, context.remainingMilliseconds),
      signal: context.signal,
    });
  }

  async #remindHere(wire: Wire): Promise<null> {
    const body = new Body(wire);
    const { id } = body;
    await this.#assertHere(id);
    await this.runtime.remind(id, { name: body.text("name"), due: body.integer("due") });
    return null;
  }

  async #lookHere({ id }: Body): Promise<null> {
    await this.#assertHere(id);
    await this.runtime.lookIntoInbox(id);
    return null;
  }

  /** @throws {ActorElsewhereError} The actor is, or should be, at another node. */
  async #assertHere(id: ActorId): Promise<void> {
    if (this.runtime.has(id)) return;
    const node = await this.#locator.findAsked(id, actorName(id));
    if (node !== this.#placement.node) throw new ActorElsewhereError(`${describeActor(id)} is at node ${node}`, node);
  }

  #cancelHere(body: Body): boolean {
    return this.runtime.cancel(body.id, body.text("reason"));
  }

  async #takeOver(body: Body): Promise<null> {
    await this.migration.takeOver({ id: body.id, ver: body.integer("ver"), value: body.any("value") ?? undefined });
    return null;
  }
}
