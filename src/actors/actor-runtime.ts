/**
 * The actors of one node: finds or makes the activation for a message, and lets idle ones leave memory.
 *
 * N1. There is at most one activation of an actor on this node that has not ended, made when the first message comes.
 * N2. A message whose turn has not started when an activation ends goes to the next activation, in its place.
 */
import { assert } from "../base/assert.ts";
import type { Cancel, Environment } from "../environment/environment.ts";
import { LimitError, type Store } from "../storage/store.ts";
import {
  ActivationLostError,
  ActorElsewhereError,
  ActorMessageError,
  type Actors,
  type ActorSight,
  ActorsStoppedError,
  type ActorId,
  type ActorType,
  CancelledError,
  type InvokeOptions,
  type LiveActor,
  MailboxFullError,
  UnknownActorTypeError,
} from "./actor.ts";
import { actorName, describeActor, validateActorId, validateActorType, validateInvocationId, validateTimeout } from "./actor-id.ts";
import { readActorRecord } from "./actor-record.ts";
import { reminderSlot } from "./actor-rows.ts";
import { Courier } from "./courier.ts";
import { Envelope, type Invocation, type Task } from "./envelope.ts";
import { fingerprint } from "./fingerprint.ts";
import { holderOf } from "./holder.ts";
import { type ActorLimits, defaultActorLimits, timeoutMillisecondsDefault } from "./limits.ts";
import { type ActivationOwner, type HandedOver, LiveActivation } from "./live-activation.ts";
import { Mailbox } from "./mailbox.ts";
import { estimateBytes } from "./message-size.ts";
import type { Placement } from "./placement.ts";
import { RecencyList } from "./recency-list.ts";
import { ReminderScheduler } from "./reminder-scheduler.ts";
import type { ActorServices, NodeSharing } from "./services.ts";

/** How far the search for an idle activation goes when there are too many. */
const evictionSearchMax = 100;

export class ActorRuntime implements Actors {
  readonly #services: ActorServices;
  readonly #scheduler: ReminderScheduler;
  readonly #courier: Courier;
  readonly #types = new Map<string, ActorType>();
  readonly #activations = new Map<string, LiveActivation>();
  readonly #recency = new RecencyList<LiveActivation>();
  /** Of the activations, those that are being evicted. */
  readonly #leaving = new Set<LiveActivation>();
  /** What waits for actors that are being released to another node: no activation of theirs is made meanwhile. */
  readonly #released = new Map<string, Mailbox>();
  readonly #owner: ActivationOwner = { activationEnded: (ended) => this.#replace(ended) };
  #state: "new" | "started" | "stopping" = "new";
  #cancelSweep: Cancel | undefined;
  #starting: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: {
    readonly store: Store;
    readonly environment: Environment;
    readonly placement: Placement;
    readonly limits?: Partial<ActorLimits>;
    /** Absent: this node has all slots. */
    readonly sharing?: NodeSharing;
  }) {
    const limits = { ...defaultActorLimits, ...options.limits };
    const { store, environment, placement, sharing } = options;
    const ownsSlot = (slot: number): boolean => sharing?.ownsSlot(slot) ?? true;
    this.#scheduler = new ReminderScheduler({
      store,
      environment,
      limits,
      ownsSlot,
      deliver: async (id, reminder) => {
        if (sharing === undefined) await this.remind(id, reminder);
        else await sharing.deliver(id, reminder);
      },
    });
    this.#courier = new Courier({ store, environment, ownsSlot, tell: async (id) => await (sharing ?? this).lookIntoInbox(id) });
    const reminderSet = (id: ActorId, due: number): void => {
      const slot = reminderSlot(id);
      if (sharing === undefined || sharing.ownsSlot(slot)) this.#scheduler.notify(due);
      else sharing.setElsewhere(slot, due);
    };
    const assertType = (id: ActorId): void => {
      if (!this.#types.has(id.type)) throw this.#unknownTypeError(id);
    };
    this.#services = { store, environment, placement, limits, reminderSet, messageSent: (to) => this.#courier.tell(to), assertType };
  }

  /** Joins the placement and begins to deliver reminders. Register the types of actors first. */
  start(): Promise<void> {
    assert(this.#starting === undefined, "A runtime is started once");
    return (this.#starting = this.#start());
  }

  async #start(): Promise<void> {
    await this.#services.placement.join();
    // A stop that came meanwhile waits for this, and then leaves the placement.
    if (this.#state !== "new") throw new ActorsStoppedError("This node was stopped while it started");
    this.#state = "started";
    this.#scheduler.start();
    this.#courier.start();
  }

  register<Message, Reply>(type: ActorType<Message, Reply>): void {
    validateActorType(type.type);
    assert(!this.#types.has(type.type), `Actors of type ${type.type} are registered once`);
    // Whoever sends a message knows its type: the runtime only carries it.
    this.#types.set(type.type, type as ActorType<never, Reply> as ActorType);
  }

  async invoke<Reply>(id: ActorId, message: unknown, options: InvokeOptions = {}): Promise<Reply> {
    return (await this.#send(id, { kind: "message", message }, options)) as Reply;
  }

  cancel(id: ActorId, reason: string): boolean {
    const activation = this.#activations.get(actorName(id));
    activation?.cancel(new CancelledError(reason));
    return activation !== undefined;
  }

  async inspect(id: ActorId): Promise<ActorSight | undefined> {
    const live = this.look(id);
    if (live !== undefined) return { node: this.#services.placement.node, answers: true, live };
    const record = await readActorRecord(this.#services.store, id);
    const node = record && (await holderOf(record.header, this.#services.placement));
    return node === undefined ? undefined : { node, answers: node === this.#services.placement.node };
  }

  get live(): number {
    return this.#activations.size;
  }

  // For nodes that share the actors.

  /** What of an actor is in this node's memory. */
  look(id: ActorId): LiveActor | undefined {
    const activation = this.#activations.get(actorName(id));
    if (activation === undefined) return undefined;
    const { mailboxMessages, mailboxBytes } = this.#services.limits;
    const { size = 0, bytes = 0 } = activation.mailbox ?? {};
    return { isBusy: activation.isBusy, messages: size, messagesMax: mailboxMessages, bytes, bytesMax: mailboxBytes };
  }

  /** Whether the actor has an activation here, or is on its way out: messages for it are taken or redirected here. */
  has(id: ActorId): boolean {
    const name = actorName(id);
    return this.#activations.has(name) || this.#released.has(name);
  }

  /** The actors in memory, the least recently used first. */
  *activations(): Generator<{ readonly id: ActorId; readonly isBusy: boolean }> {
    let activation = this.#recency.oldest;
    while (activation !== undefined) {
      // Whoever is shown it may let it leave.
      const { newer } = activation;
      yield activation;
      activation = newer;
    }
  }

  /** Brings an actor into memory, as its owner: resolves when that is durable. */
  async activate(id: ActorId, handedOver?: HandedOver): Promise<void> {
    await this.#send(id, { kind: "own", work: async () => {} }, { handedOver });
  }

  /** Delivers a reminder that is due, if it is still set. */
  async remind(id: ActorId, reminder: { readonly name: string; readonly due: number }): Promise<void> {
    await this.#send(id, { kind: "reminder", name: reminder.name, due: reminder.due }, {});
  }

  /** Makes an actor look into its inbox: resolves when it is sure to, unless its activation ends. */
  async lookIntoInbox(id: ActorId): Promise<void> {
    await this.#send(id, { kind: "look" }, {});
  }

  /** This node has other slots now; `early`: also reminders that another node has left behind are delivered. */
  slotsMoved(options: { readonly early: boolean }): void {
    this.#scheduler.lookAgain(options);
    this.#courier.lookAgain();
  }

  /** A reminder of a slot of this node was set at another one. */
  reminderSet(due: number): void {
    this.#scheduler.notify(due);
  }

  /**
   * Ends the activation of an actor in good order, if there is one, and keeps what comes for it until `give` has
   * settled: with the node that has the actor now, or `undefined`, when it goes on here.
   */
  async release(id: ActorId, give: (handedOver: unknown) => Promise<string | undefined>): Promise<string | undefined> {
    const { environment, limits } = this.#services;
    const name = actorName(id);
    await this.#activations.get(name)?.prepareToMove();
    assert(!this.#released.has(name), "An actor is released by one at a time");
    const waiting = new Mailbox();
    this.#released.set(name, waiting);
    let owner: string | undefined;
    try {
      const activation = this.#activations.get(name);
      for (const envelope of activation?.takeWaiting({ own: false }) ?? []) waiting.push(envelope, limits, () => describeActor(id));
      const isOver = environment.clock.schedule(limits.stopMilliseconds, () =>
        activation?.end(new ActivationLostError(`What ${describeActor(id)} was doing did not end in time for it to move`)),
      );
      const handedOver = await activation?.release();
      isOver();
      owner = await give(handedOver);
      return owner;
    } finally {
      this.#released.delete(name);
      for (const envelope of waiting) {
        waiting.remove(envelope);
        if (owner === undefined) this.#deliver(id, envelope);
        else envelope.reject(new ActorElsewhereError(`${describeActor(id)} has moved to node ${owner}`, owner));
      }
    }
  }

  /** Lets an actor leave memory in good order, if it is not busy. */
  evict(id: ActorId): boolean {
    const activation = this.#activations.get(actorName(id));
    return activation !== undefined && this.#evict(activation);
  }

  /** Ends every activation at once: what they know may not be true any more. What waits goes on in fresh ones. */
  endAll(reason: Error): void {
    // Not those that are made meanwhile for what waits.
    const known = [...this.#activations.values()];
    for (const activation of known) activation.end(reason);
  }

  /** Ends everything at once, and takes nothing more: this node is taken to be dead. */
  fence(reason: Error): void {
    if (this.#state === "stopping") return;
    this.#state = "stopping";
    this.#cancelSweep?.();
    this.#scheduler.stop();
    this.#courier.stop();
    this.endAll(reason);
  }

  /** Takes no more messages, lets what runs come to its end within `limits.stopMilliseconds`, and leaves the placement. */
  [Symbol.asyncDispose](): Promise<void> {
    return (this.#stopped ??= this.#stop());
  }

  #send(id: ActorId, task: Task, options: InvokeOptions & { readonly handedOver?: HandedOver | undefined }): Promise<unknown> {
    const { environment, limits } = this.#services;
    if (this.#state !== "started") return Promise.reject(this.#notRunningError(id));
    const type = this.#types.get(id.type);
    if (type === undefined) return Promise.reject(this.#unknownTypeError(id));
    let envelope: Envelope;
    try {
      envelope = makeEnvelope(id, task, options, limits);
      const released = this.#released.size === 0 ? undefined : this.#released.get(actorName(id));
      if (released !== undefined) released.push(envelope, limits, () => describeActor(id));
      else {
        const activation = this.#activationOf(id, type, options.handedOver);
        activation.deliver(envelope);
        this.#use(activation);
      }
    } catch (error) {
      if (error instanceof MailboxFullError) environment.probe("actors.mailboxFull");
      return Promise.reject(error as Error);
    }
    envelope.limitTime(environment, options.timeoutMilliseconds ?? timeoutMillisecondsDefault, () => describeActor(id));
    if (options.signal !== undefined) envelope.follow(options.signal);
    return envelope.outcome;
  }

  /** Delivers what was accepted before. */
  #deliver(id: ActorId, envelope: Envelope): void {
    if (this.#state === "stopping") {
      envelope.reject(this.#notRunningError(id));
      return;
    }
    try {
      const activation = this.#activationOf(id, this.#types.get(id.type)!);
      activation.deliver(envelope);
      this.#use(activation);
    } catch (error) {
      envelope.reject(error);
    }
  }

  #activationOf(id: ActorId, type: ActorType, handedOver?: HandedOver): LiveActivation {
    const name = actorName(id);
    const live = this.#activations.get(name);
    if (live !== undefined) return live;
    validateActorId(id);
    this.#makeRoom();
    const activation = this.#make({ project: id.project, type: id.type, key: id.key }, name, type, handedOver);
    this.#scheduleSweep();
    return activation;
  }

  #make(id: ActorId, name: string, type: ActorType, handedOver?: HandedOver): LiveActivation {
    const activation = new LiveActivation(id, { name, type, services: this.#services, owner: this.#owner, handedOver });
    this.#activations.set(name, activation);
    return activation;
  }

  /** An activation has ended: what waits goes on in a fresh one. */
  #replace(ended: LiveActivation): void {
    const { id, name, type } = ended;
    this.#recency.remove(ended);
    const wasEvicted = this.#leaving.delete(ended);
    this.#activations.delete(name);
    // One that had to leave does not come back only because something is to be tried again later.
    if (wasEvicted ? ended.inbox?.hasMore : ended.inbox?.isUnfinished) this.#courier.tell(id);
    const waiting = ended.takeWaiting();
    if (waiting.length === 0) return;
    assert(!this.#released.has(name), "Whoever releases an activation has taken what waits for it");
    if (this.#state === "stopping") {
      for (const envelope of waiting) envelope.reject(this.#notRunningError(id));
      return;
    }
    const next = this.#make(id, name, type);
    this.#use(next);
    for (const envelope of waiting) next.deliver(envelope);
  }

  /** Makes room for one more, as far as idle ones are found among the least recently used. */
  #makeRoom(): void {
    let candidate = this.#recency.oldest;
    for (let searched = 0; candidate !== undefined && searched < evictionSearchMax; searched++) {
      if (this.#activations.size - this.#leaving.size < this.#services.limits.liveMax) return;
      const { newer } = candidate;
      if (!this.#evict(candidate)) this.#use(candidate);
      candidate = newer;
    }
  }

  #evict(activation: LiveActivation): boolean {
    if (!activation.evict()) return false;
    this.#leaving.add(activation);
    this.#recency.remove(activation);
    this.#services.environment.probe("actors.evicted");
    return true;
  }

  #use(activation: LiveActivation): void {
    activation.usedAt = this.#services.environment.clock.elapsed();
    this.#recency.use(activation);
  }

  /** Lets the activations that have been idle for too long leave; one timer for all of them. */
  #scheduleSweep(): void {
    const { environment, limits } = this.#services;
    this.#cancelSweep ??= environment.clock.schedule(limits.idleMilliseconds / 8, () => {
      this.#cancelSweep = undefined;
      const before = environment.clock.elapsed() - limits.idleMilliseconds;
      let activation = this.#recency.oldest;
      while (activation !== undefined && activation.usedAt <= before) {
        const { newer } = activation;
        this.#evict(activation);
        activation = newer;
      }
      if (this.#activations.size > 0) this.#scheduleSweep();
    });
  }

  async #stop(): Promise<void> {
    const { environment, limits, placement } = this.#services;
    const wasStarted = this.#state === "started";
    this.#state = "stopping";
    this.#cancelSweep?.();
    if (!wasStarted) {
      if (this.#starting === undefined) return;
      // Whoever started it is told what became of that.
      await this.#starting.catch(() => undefined);
      return await placement.leave();
    }
    this.#scheduler.stop();
    this.#courier.stop();
    const isOver = environment.clock.schedule(limits.stopMilliseconds, () => {
      for (const activation of this.#activations.values())
        activation.end(new ActivationLostError(`The node of ${describeActor(activation.id)} stopped before its work was done`));
    });
    const stops = [...this.#activations.values()].map((activation) => activation.stop(this.#notRunningError(activation.id)));
    await Promise.all([...stops, this.#scheduler.stopped, this.#courier.stopped]);
    isOver();
    await placement.leave();
  }

  #notRunningError(id: ActorId): Error {
    if (this.#state === "new") return new ActorsStoppedError(`Cannot deliver to ${describeActor(id)}: this node has not started`);
    return new ActorsStoppedError(`Cannot deliver to ${describeActor(id)}: this node is stopping`);
  }

  #unknownTypeError(id: ActorId): UnknownActorTypeError {
    const known = [...this.#types.keys()].sort().join(", ") || "none";
    return new UnknownActorTypeError(
      `There are no actors of type ${JSON.stringify(String(id.type).slice(0, 100))}; this node has ${known}`,
    );
  }
}

/** @throws {ActorMessageError} An option is not valid. @throws {LimitError} @throws {CancelledError} */
function makeEnvelope(id: ActorId, task: Task, options: InvokeOptions, limits: ActorLimits): Envelope {
  const { timeoutMilliseconds: timeout, invocationId, signal } = options;
  if (signal?.aborted === true) throw new CancelledError("The caller gave the invocation up before it began", { cause: signal.reason });
  if (timeout !== undefined) validateTimeout(timeout);
  if (task.kind !== "message") return new Envelope(task);
  const bytes = estimateBytes(task.message, limits.mailboxBytes);
  if (bytes > limits.mailboxBytes)
    throw new LimitError(`A message for ${describeActor(id)} has at most about ${limits.mailboxBytes} bytes`);
  const invocation = invocationId === undefined ? undefined : nameInvocation(invocationId, task.message, options.recordOnlyWrites ?? false);
  return new Envelope(task, { bytes, invocation });
}

function nameInvocation(id: string, message: unknown, recordOnlyWrites: boolean): Invocation {
  validateInvocationId(id);
  try {
    return { id, recordOnlyWrites, message: fingerprint((JSON.stringify(message) as string | undefined) ?? "") };
  } catch (error) {
    throw new ActorMessageError(`The message of invocation ${id} is not JSON, so a repeat of it could not be recognised`, { cause: error });
  }
}
