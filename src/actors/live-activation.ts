/**
 * One activation: takes what waits for its actor, one turn at a time, and answers when the writes are durable.
 *
 * L1. A task starts only after the one before it has ended, in the order of the mailbox (A2).
 * L2. An answer, also an error, waits for every batch whose writes its turn may have seen (A4).
 * L3. The first turn's batch claims the actor, so nothing is answered by an activation that another has replaced.
 * L4. When the activation ends, a task that has not started waits for the next activation; one that has is lost.
 * L5. An answer that waits for no batch leaves while this node holds its lease, or after the header was asked.
 */
import type { Store } from "../storage/store.ts";
import { checksHold } from "../storage/transaction.ts";
import {
  type Activation,
  ActivationLostError,
  type Actor,
  ActorElsewhereError,
  type ActorId,
  type ActorType,
  type ScopedStore,
  type Turn,
} from "./actor.ts";
import { describeActor, validateReceiver } from "./actor-id.ts";
import { ActorTurn, type TurnHost } from "./actor-turn.ts";
import { type InvocationRecord } from "./actor-rows.ts";
import { CommitPipeline } from "./commit-pipeline.ts";
import { invocationRecord } from "./deduplication.ts";
import { Envelope, type Task } from "./envelope.ts";
import { assertClaimable } from "./holder.ts";
import { InvocationLookup } from "./invocation-lookup.ts";
import { Inbox, type Sent } from "./inbox.ts";
import { timeoutMillisecondsDefault, turnAttemptsMax } from "./limits.ts";
import { Mailbox } from "./mailbox.ts";
import { handedOverBy, prepareToMove } from "./move.ts";
import type { OwnRows } from "./own-rows.ts";
import { emptyPart, ended, isEmpty, type Part, type PendingBatch } from "./pending-batch.ts";
import { runTask } from "./run-task.ts";
import type { ActorServices } from "./services.ts";
import { conflictError, isBug, lostError, partlyLostError, repeatedEnd, settle, settleAfter, stopError, type TurnEnd } from "./turn-end.ts";

/** Who has made an activation, and is told of its end. */
export interface ActivationOwner {
  activationEnded(activation: LiveActivation): void;
}

/** What the activation before, on another node, has handed over: true only right after the header of version `ver`. */
export interface HandedOver {
  readonly ver: number;
  readonly value: unknown;
}

export class LiveActivation implements Activation, TurnHost {
  readonly id: ActorId;
  readonly name: string;
  readonly type: ActorType;
  readonly #services: ActorServices;
  readonly #owner: ActivationOwner;
  readonly #pipeline: CommitPipeline;
  #actor: Actor | undefined;
  mailbox: Mailbox | undefined;
  inbox: Inbox | undefined;
  #current: Envelope | undefined;
  #turn: ActorTurn | undefined;
  #controller: AbortController | undefined;
  #isWorking = false;
  /** Takes nothing more from the mailbox: what it has begun comes to its end first. */
  #retirement: Promise<void> | undefined;
  #lost: Error | undefined;
  #backgroundWork = 0;
  #isStopping = false;
  /** Of whoever waits until it is not busy: a stop may come while it is being released. */
  #quiet: PromiseWithResolvers<void> | undefined;
  #lookup: InvocationLookup | undefined;
  #handedOver: HandedOver | undefined;
  /** Neighbours in the order of use, and when that was: kept by the runtime. */
  older: LiveActivation | undefined;
  newer: LiveActivation | undefined;
  usedAt = 0;

  constructor(
    id: ActorId,
    options: {
      readonly name: string;
      readonly type: ActorType;
      readonly services: ActorServices;
      readonly owner: ActivationOwner;
      readonly handedOver?: HandedOver | undefined;
    },
  ) {
    this.id = id;
    this.name = options.name;
    this.type = options.type;
    this.#services = options.services;
    this.#owner = options.owner;
    this.#handedOver = options.handedOver;
    this.#pipeline = new CommitPipeline(id, options.services, this);
  }

  // What the actor's behaviour uses.

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#isStopping || this.#lost !== undefined) this.#controller.abort(this.#lost ?? stopError(this.id));
    return this.#controller.signal;
  }

  get schema(): number {
    return this.#pipeline.schema;
  }

  get handedOver(): unknown {
    return this.#handedOver?.value;
  }

  get state(): Pick<ScopedStore, "get" | "list"> {
    return this.rows.state;
  }

  async turn<T>(work: (turn: Turn) => Promise<T>): Promise<T> {
    if (this.#lost !== undefined) throw lostError(this.id, this.#lost);
    if (this.#retirement !== undefined) throw new ActivationLostError(`This activation of ${describeActor(this.id)} is ending`);
    const envelope = new Envelope({ kind: "own", work });
    this.deliver(envelope);
    return (await envelope.outcome) as T;
  }

  background(work: Promise<void>): void {
    this.#backgroundWork++;
    work
      .catch((error: unknown) => {
        const level = this.#lost !== undefined || this.#isStopping ? "info" : "error";
        this.#services.environment.log.write(level, "Background work of an actor failed", { actor: describeActor(this.id), error });
      })
      .finally(() => {
        this.#backgroundWork--;
        this.#noteQuiet();
      });
  }

  // What the runtime uses.

  /** @throws {MailboxFullError} */
  deliver(envelope: Envelope): void {
    this.mailbox ??= new Mailbox();
    this.mailbox.push(envelope, this.#services.limits, () => describeActor(this.id));
    this.#work();
  }

  /** Gives out what has not started, in its order: all of it when the activation has ended, or what came from outside. */
  takeWaiting(options: { readonly own: boolean } = { own: true }): Envelope[] {
    const waiting = [...(this.mailbox ?? [])].filter(({ task }) => options.own || task.kind !== "own");
    for (const envelope of waiting) this.mailbox?.remove(envelope);
    return waiting;
  }

  get isBusy(): boolean {
    return this.#isWorking || this.#backgroundWork > 0 || this.#pipeline.newest !== undefined || (this.mailbox?.size ?? 0) > 0;
  }

  /** Asks the running turn to end, and drops the messages that wait. */
  cancel(reason: Error): void {
    this.#current?.cancel(reason);
    this.#drop(reason, ["message"]);
  }

  /** Leaves memory in good order, if it is not busy. False: it is, or it is leaving already. */
  evict(): boolean {
    if (this.isBusy || this.#retirement !== undefined || this.#lost !== undefined) return false;
    void this.#retire({ deactivate: true });
    return true;
  }

  /**
   * Ends in good order: the running turn, background work and its turns come to their end first. Messages that wait
   * are refused with `reason`.
   */
  async stop(reason: Error): Promise<void> {
    this.#drop(reason, ["message", "reminder", "look"]);
    await this.#finish();
    await this.#retire({ deactivate: true });
  }

  /** The actor is to be released: what it does in the background comes to a good point, or its time is over. */
  async prepareToMove(): Promise<void> {
    await prepareToMove(this.#actor, this.id, this.#services);
  }

  /**
   * Ends in good order like `stop`, for another node to go on: gives what the actor hands over. Whoever calls it has
   * taken the messages that wait, and delivers no more.
   */
  async release(): Promise<unknown> {
    await this.#finish();
    const isWhole = this.#retirement === undefined && this.#lost === undefined;
    const value = isWhole ? handedOverBy(this.#actor, this.id, this.#services) : undefined;
    await this.#retire({ deactivate: true });
    return value;
  }

  /** Ends at once; `error` says why to those whose turn had started. */
  end(error: Error): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    const lost = lostError(this.id, error);
    this.#pipeline.abandon(error);
    this.#turn?.close(error.message);
    this.#current?.abort(lost);
    this.#current?.reject((this.#turn?.durableParts ?? 0) > 0 ? partlyLostError(this.id, error) : error);
    this.#drop(lost, ["own"]);
    this.#controller?.abort(lost);
    this.inbox?.close();
    this.#owner.activationEnded(this);
    this.#quiet?.resolve();
  }

  // What its turns use.

  get store(): Store {
    return this.#services.store;
  }

  get rows(): OwnRows {
    return this.#pipeline.rows;
  }

  get hasRemind(): boolean {
    return this.#actor?.remind !== undefined;
  }

  get inboxMessages(): number {
    return this.#services.limits.inboxMessages;
  }

  assertReceives(id: ActorId): void {
    validateReceiver(id, this.id);
    this.#services.assertType(id);
  }

  async makeDurable(turn: ActorTurn, part: Part): Promise<void> {
    const end = await ended(isEmpty(part) && this.#pipeline.claims ? this.#pipeline.newest : await this.#commit(part));
    if (this.#lost !== undefined) throw lostError(this.id, this.#lost);
    if (end?.kind === "failed") throw end.error;
    if (end?.kind !== "conflict") return;
    turn.isConflicted = true;
    const conflict = conflictError(this.id);
    turn.close(conflict.message);
    throw conflict;
  }

  // The loop.

  #work(): void {
    if (this.#isWorking || this.#retirement !== undefined || this.#lost !== undefined) return;
    this.#isWorking = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    try {
      if (this.#actor === undefined) await this.#activate();
      while (this.#lost === undefined && this.#retirement === undefined) {
        const envelope = this.mailbox?.first();
        if (envelope !== undefined) await this.#handle(envelope);
        // One from each in turn: neither who calls nor who sends can keep the other waiting.
        if (this.#looks) await this.#handleSent(await this.inbox!.next());
        else if (envelope === undefined) break;
      }
    } catch (error) {
      if (error instanceof ActorElsewhereError) this.#services.environment.probe("actors.heldElsewhere");
      this.#drop(error, ["message", "reminder", "look", "own"]);
      this.end(new ActivationLostError(`${describeActor(this.id)} could not be activated`, { cause: error, tookNoEffect: true }));
    }
    this.#isWorking = false;
    this.#lookup = undefined;
    // A mailbox in which messages wait while the activation ends is for the next one.
    if (this.mailbox?.size === 0) this.mailbox = undefined;
    const { newest } = this.#pipeline;
    if (newest === undefined) this.#noteQuiet();
    else newest.whenEnded(() => this.#noteQuiet());
  }

  async #activate(): Promise<void> {
    const { placement, environment } = this.#services;
    const header = await this.#pipeline.open();
    if (header !== undefined) {
      await assertClaimable(this.id, header, placement);
      if (header.owner !== placement.node) environment.probe("actors.takenOver");
      if (header.ver !== this.#handedOver?.ver) this.#handedOver = undefined;
    }
    const actor = this.type.create(this);
    await actor.activate?.();
    this.#actor = actor;
  }

  /** Whether to look into the inbox: on its way out, an activation leaves that to the next one. */
  get #looks(): boolean {
    return this.inbox?.hasMore === true && !this.#isStopping && this.#lost === undefined && this.#retirement === undefined;
  }

  async #handleSent(sent: Sent | undefined): Promise<void> {
    if (sent === undefined || this.#lost !== undefined) return;
    const { environment } = this.#services;
    const envelope = new Envelope({ kind: "sent", sent });
    // What became of it is in the batch: nobody waits for a reply.
    envelope.outcome.catch(() => undefined);
    envelope.limitTime(environment, timeoutMillisecondsDefault, () => describeActor(this.id));
    envelope.start();
    environment.probe("actors.sentReceived");
    this.#current = envelope;
    await this.#perform(envelope);
    this.#current = undefined;
    this.#turn = undefined;
  }

  async #handle(envelope: Envelope): Promise<void> {
    if (envelope.task.kind === "look") {
      if (!envelope.start()) return;
      (this.inbox ??= new Inbox(this.id, this.#services, () => this.#work())).want();
      envelope.resolve(undefined);
      return;
    }
    if (envelope.invocation !== undefined) {
      let record: InvocationRecord | undefined;
      try {
        this.#lookup ??= new InvocationLookup(this.id, this.#services.store, this.#pipeline);
        record = await this.#lookup.find(envelope.invocation.id, this.mailbox!);
      } catch (error) {
        envelope.reject(error);
        return;
      }
      if (this.#lost !== undefined) return;
      if (record !== undefined) {
        if (!envelope.start()) return;
        const isPending = this.#pipeline.pendingRecord(envelope.invocation.id) !== undefined;
        this.#services.environment.probe(isPending ? "actors.duplicatePending" : "actors.duplicate");
        this.#answer(envelope, repeatedEnd(this.id, envelope.invocation, record));
        return;
      }
    }
    if (!envelope.start()) return;
    this.#current = envelope;
    await this.#perform(envelope);
    this.#current = undefined;
    this.#turn = undefined;
  }

  /** Runs the task's turn, and again while shared rows that it had read are changed by others before it commits. */
  async #perform(envelope: Envelope): Promise<void> {
    const { environment } = this.#services;
    for (let attempt = 1; this.#lost === undefined; attempt++) {
      const { task } = envelope;
      const turn = new ActorTurn(this, task.kind === "sent" ? task.sent.origin : undefined);
      this.#turn = turn;
      envelope.runs(turn);
      const end = await runTask(this.#actor!, task, turn, environment);
      if (this.#lost !== undefined) return;
      turn.close("it has ended");
      try {
        if ((await this.#conclude(envelope, turn, end)) === "answered") return;
        if (envelope.abortReason !== undefined) throw envelope.abortReason;
        if (attempt === turnAttemptsMax) throw conflictError(this.id);
      } catch (error) {
        // The actor believes that its turn is done, so its fields may hold what was not written.
        this.#answer(envelope, { kind: "error", error });
        this.#discard(error);
        return;
      }
      environment.probe("actors.conflictRerun");
      await environment.clock.sleep(environment.random.fraction() * Math.min(2 ** attempt, 100));
    }
  }

  /** Commits what the turn has written, and sees to it that its caller is answered then. */
  async #conclude(envelope: Envelope, turn: ActorTurn, end: TurnEnd): Promise<"answered" | "conflict"> {
    if (turn.isConflicted) {
      if (turn.durableParts === 0) return "conflict";
      this.#answer(envelope, { kind: "error", error: conflictError(this.id) });
      return "answered";
    }
    if (end.kind === "error") {
      // An error that came of rows which were not so at any one time is no answer.
      if (turn.durableParts === 0 && !(await checksHold(this.store, turn.sharedChecks))) return "conflict";
      this.#answer(envelope, end);
      if (isBug(end.error)) this.#discard(end.error);
      return "answered";
    }
    const { invocation, task } = envelope;
    if (task.kind === "sent") turn.writeOwn(this.inbox!.consume(task.sent));
    if (turn.isUntouched && (invocation?.recordOnlyWrites ?? true)) {
      this.#answer(envelope, end);
      return "answered";
    }
    const part = await turn.seal(invocation && { invocation: invocation.id, outcome: invocationRecord(invocation.message, end.reply) });
    if (isEmpty(part)) {
      // One row was so when it was read; several must have been so at one time.
      if (part.checks.length > 1 && !(await checksHold(this.store, part.checks))) return "conflict";
      this.#answer(envelope, end);
      return "answered";
    }
    const batch = await this.#commit(part);
    if (task.kind === "sent") this.inbox!.handled(task.sent, batch);
    // Without a batch the activation has ended, and the caller been told.
    if (batch === undefined) return "answered";
    if (part.checks.length > 0 && (await ended(batch))?.kind === "conflict") {
      if (turn.durableParts === 0) return "conflict";
      this.#answer(envelope, { kind: "error", error: conflictError(this.id) });
      return "answered";
    }
    settleAfter(batch, envelope, end, { id: this.id, isPartly: turn.durableParts > 0 });
    return "answered";
  }

  /** A part with checks is a batch of its own, so that it alone fails when they do. */
  async #commit(part: Part): Promise<PendingBatch | undefined> {
    if (part.checks.length === 0) return await this.#pipeline.add(part);
    await this.#pipeline.drained();
    return this.#pipeline.addNow(part);
  }

  /** Answers after everything that the turn may have seen is durable, and the actor is claimed (L2, L3, L5). */
  #answer(envelope: Envelope, end: TurnEnd): void {
    const isPartly = (this.#turn?.durableParts ?? 0) > 0;
    const { task } = envelope;
    if (task.kind === "sent" && end.kind === "error") this.inbox!.putOff(task.sent, end.error, (part) => this.#pipeline.addNow(part));
    const batch = this.#pipeline.claims ? this.#pipeline.newest : this.#pipeline.addNow(emptyPart);
    if (batch !== undefined) settleAfter(batch, envelope, end, { id: this.id, isPartly });
    else if (this.#services.placement.holdsLease) {
      this.#services.environment.probe("actors.answeredByLease");
      settle(envelope, end);
    } else this.background(this.#answerIfValid(envelope, end, isPartly));
  }

  /** Had another activation committed before the turn ran, the header would say so now. */
  async #answerIfValid(envelope: Envelope, end: TurnEnd, isPartly: boolean): Promise<void> {
    this.#services.environment.probe("actors.validated");
    let isValid: boolean;
    try {
      isValid = await this.#pipeline.stillClaims();
    } catch (error) {
      envelope.reject(error);
      return;
    }
    if (isValid) {
      settle(envelope, end);
      return;
    }
    this.#services.environment.probe("actors.staleAnswer", "sometimes");
    const error = new ActivationLostError(`Another activation of ${describeActor(this.id)} has taken over: this one may not answer`, {
      tookNoEffect: true,
    });
    envelope.reject(isPartly ? partlyLostError(this.id, error) : error);
    this.end(error);
  }

  // Its end.

  /** Ends after what was begun is durable, without `deactivate`: the actor's fields are not to be trusted. */
  #discard(cause: unknown): void {
    this.#services.environment.probe("actors.discarded");
    this.#services.environment.log.write("warn", "An activation was discarded after a failed turn", {
      actor: describeActor(this.id),
      error: cause,
    });
    void this.#retire({ deactivate: false });
  }

  #retire(options: { readonly deactivate: boolean }): Promise<void> {
    return (this.#retirement ??= this.#leave(options));
  }

  async #leave(options: { readonly deactivate: boolean }): Promise<void> {
    await this.#pipeline.drained();
    if (options.deactivate && this.#lost === undefined) {
      try {
        await this.#actor?.deactivate?.();
      } catch (error) {
        this.#services.environment.log.write("error", "An actor failed to deactivate", { actor: describeActor(this.id), error });
      }
    }
    this.end(new ActivationLostError(`The activation of ${describeActor(this.id)} has left memory`));
  }

  /** Asks what runs to end, and resolves when nothing does. */
  async #finish(): Promise<void> {
    this.#isStopping = true;
    this.#controller?.abort(stopError(this.id));
    if (this.isBusy && this.#lost === undefined) await (this.#quiet ??= Promise.withResolvers<void>()).promise;
  }

  #drop(reason: unknown, kinds: readonly Task["kind"][]): void {
    for (const envelope of this.mailbox ?? []) if (kinds.includes(envelope.task.kind)) envelope.reject(reason);
  }

  #noteQuiet(): void {
    if (!this.isBusy) this.#quiet?.resolve();
  }
}
