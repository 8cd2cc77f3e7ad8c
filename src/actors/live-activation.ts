/**
 * One activation: takes what waits for its actor, one turn at a time, and answers when the writes are durable.
 *
 * L1. A task starts only after the one before it has ended, in the order of the mailbox (A2).
 * L2. An answer, also an error, waits for every batch whose writes its turn may have seen (A4).
 * L3. The first turn's batch claims the actor, so nothing is answered by an activation that another has replaced.
 * L4. When the activation ends, a task that has not started waits for the next activation; one that has is lost.
 */
import { InvariantError } from "../base/assert.ts";
import type { Tuple } from "../base/tuple.ts";
import type { Check, Store } from "../storage/store.ts";
import { ConflictError } from "../storage/transaction.ts";
import {
  type Activation,
  ActivationLostError,
  type Actor,
  ActorElsewhereError,
  type ActorId,
  ActorsStoppedError,
  type ActorType,
  InvocationIdReusedError,
  type Reminder,
  ReplyNotKeptError,
  type ScopedStore,
  type Turn,
} from "./actor.ts";
import { describeActor } from "./actor-id.ts";
import { ActorTurn, type TurnHost } from "./actor-turn.ts";
import { headerSchema, type InvocationRecord } from "./actor-rows.ts";
import { CommitPipeline } from "./commit-pipeline.ts";
import { invocationRecord } from "./deduplication.ts";
import { Envelope, type Invocation, type Task } from "./envelope.ts";
import { InvocationLookup } from "./invocation-lookup.ts";
import { turnAttemptsMax } from "./limits.ts";
import { Mailbox } from "./mailbox.ts";
import { type OwnRows, stateRowName } from "./own-rows.ts";
import { type BatchEnd, emptyPart, type Part, type PendingBatch } from "./pending-batch.ts";
import type { ActorServices } from "./services.ts";

type TurnEnd = { readonly kind: "reply"; readonly reply: unknown } | { readonly kind: "error"; readonly error: unknown };

/** Who has made an activation, and is told of its end. */
export interface ActivationOwner {
  activationEnded(activation: LiveActivation): void;
}

export class LiveActivation implements Activation, TurnHost {
  readonly id: ActorId;
  readonly name: string;
  readonly type: ActorType;
  readonly #services: ActorServices;
  readonly #owner: ActivationOwner;
  readonly #pipeline: CommitPipeline;
  #actor: Actor | undefined;
  #mailbox: Mailbox | undefined;
  #current: Envelope | undefined;
  #turn: ActorTurn | undefined;
  #controller: AbortController | undefined;
  #isWorking = false;
  /** Takes nothing more from the mailbox: what it has begun comes to its end first. */
  #isRetiring = false;
  #lost: Error | undefined;
  #backgroundWork = 0;
  #isStopping = false;
  #onQuiet: (() => void) | undefined;
  #lookup: InvocationLookup | undefined;
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
    },
  ) {
    this.id = id;
    this.name = options.name;
    this.type = options.type;
    this.#services = options.services;
    this.#owner = options.owner;
    this.#pipeline = new CommitPipeline(id, options.services, this);
  }

  // What the actor's behaviour uses.

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#isStopping || this.#lost !== undefined) this.#controller.abort(this.#lost ?? this.#stopReason());
    return this.#controller.signal;
  }

  get state(): Pick<ScopedStore, "get" | "list"> {
    const { rows } = this;
    return {
      get: async <T>(key: Tuple): Promise<T | undefined> => {
        const text = await rows.get(stateRowName(key));
        return text === null ? undefined : (JSON.parse(text) as T);
      },
      list: async <T>(prefix: Tuple, options: Parameters<ScopedStore["list"]>[1]) => await rows.list<T>(prefix, options),
    };
  }

  async turn<T>(work: (turn: Turn) => Promise<T>): Promise<T> {
    if (this.#lost !== undefined) throw this.#lostError();
    if (this.#isRetiring) throw new ActivationLostError(`This activation of ${describeActor(this.id)} is ending`);
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
    this.#mailbox ??= new Mailbox();
    this.#mailbox.push(envelope, this.#services.limits, () => describeActor(this.id));
    this.#work();
  }

  /** Gives out what has not started, in its order, when the activation has ended. */
  takeWaiting(): Envelope[] {
    const waiting = [...(this.#mailbox ?? [])];
    for (const envelope of waiting) this.#mailbox?.remove(envelope);
    return waiting;
  }

  get isBusy(): boolean {
    return this.#isWorking || this.#backgroundWork > 0 || this.#pipeline.newest !== undefined || (this.#mailbox?.size ?? 0) > 0;
  }

  /** Asks the running turn to end, and drops the messages that wait. */
  cancel(reason: Error): void {
    this.#current?.cancel(reason);
    this.#drop(reason, ["message"]);
  }

  /** Leaves memory in good order, if it is not busy. False: it is, or it is leaving already. */
  evict(): boolean {
    if (this.isBusy || this.#isRetiring || this.#lost !== undefined) return false;
    void this.#retire({ deactivate: true });
    return true;
  }

  /**
   * Ends in good order: the running turn, background work and its turns come to their end first. Messages that wait
   * are refused with `reason`.
   */
  async stop(reason: Error): Promise<void> {
    this.#drop(reason, ["message", "reminder"]);
    this.#isStopping = true;
    this.#controller?.abort(this.#stopReason());
    if (this.isBusy && this.#lost === undefined) await new Promise<void>((resolve) => (this.#onQuiet = resolve));
    await this.#retire({ deactivate: true });
  }

  /** Ends at once; `error` says why to those whose turn had started. */
  end(error: Error): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    const lost = this.#lostError();
    this.#pipeline.abandon(error);
    this.#turn?.close(error.message);
    this.#current?.abort(lost);
    this.#current?.reject((this.#turn?.durableParts ?? 0) > 0 ? lost : error);
    this.#drop(lost, ["own"]);
    this.#controller?.abort(lost);
    this.#owner.activationEnded(this);
    this.#onQuiet?.();
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

  async makeDurable(turn: ActorTurn, part: Part): Promise<void> {
    const end = await this.#ended(isEmpty(part) && this.#pipeline.claims ? this.#pipeline.newest : await this.#commit(part));
    if (this.#lost !== undefined) throw this.#lostError();
    if (end?.kind === "failed") throw end.error;
    if (end?.kind !== "conflict") return;
    turn.isConflicted = true;
    const conflict = this.#conflictError();
    turn.close(conflict.message);
    throw conflict;
  }

  // The loop.

  #work(): void {
    if (this.#isWorking || this.#isRetiring || this.#lost !== undefined) return;
    this.#isWorking = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    try {
      if (this.#actor === undefined) await this.#activate();
      while (this.#lost === undefined && !this.#isRetiring) {
        const envelope = this.#mailbox?.first();
        if (envelope === undefined) break;
        await this.#handle(envelope);
      }
    } catch (error) {
      this.#drop(error, ["message", "reminder", "own"]);
      this.end(new ActivationLostError(`${describeActor(this.id)} could not be activated`, { cause: error }));
    }
    this.#isWorking = false;
    this.#lookup = undefined;
    // A mailbox in which messages wait while the activation ends is for the next one.
    if (this.#mailbox?.size === 0) this.#mailbox = undefined;
    const { newest } = this.#pipeline;
    if (newest === undefined) this.#noteQuiet();
    else newest.whenEnded(() => this.#noteQuiet());
  }

  async #activate(): Promise<void> {
    const { placement, environment } = this.#services;
    const header = await this.#pipeline.open();
    if (header !== undefined && header.schema > headerSchema)
      throw new ActorElsewhereError(`${describeActor(this.id)} was written by a newer Kelpie (schema ${header.schema}): update this node`);
    if (header !== undefined && header.owner !== placement.node) {
      if (await placement.isAlive(header.owner))
        throw new ActorElsewhereError(
          `${describeActor(this.id)} is held by node ${header.owner}, which is alive: ask that node, or stop it`,
        );
      environment.probe("actors.takenOver");
    }
    const actor = this.type.create(this);
    await actor.activate?.();
    this.#actor = actor;
  }

  async #handle(envelope: Envelope): Promise<void> {
    if (envelope.invocation !== undefined) {
      let record: InvocationRecord | undefined;
      try {
        this.#lookup ??= new InvocationLookup(this.id, this.#services.store, this.#pipeline);
        record = await this.#lookup.find(envelope.invocation.id, this.#mailbox!);
      } catch (error) {
        envelope.reject(error);
        return;
      }
      if (this.#lost !== undefined) return;
      if (record !== undefined) {
        if (envelope.start()) this.#answerAgain(envelope, envelope.invocation, record);
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
      const turn = new ActorTurn(this);
      this.#turn = turn;
      envelope.runs(turn);
      const end = await this.#runTurn(envelope.task, turn);
      if (this.#lost !== undefined) return;
      turn.close("it has ended");
      try {
        if ((await this.#conclude(envelope, turn, end)) === "answered") return;
        if (envelope.abortReason !== undefined) throw envelope.abortReason;
        if (attempt === turnAttemptsMax) throw this.#conflictError();
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

  async #runTurn(task: Task, turn: ActorTurn): Promise<TurnEnd> {
    try {
      const actor = this.#actor!;
      if (task.kind === "message") return { kind: "reply", reply: await actor.receive(task.message, turn) };
      if (task.kind === "own") return { kind: "reply", reply: await task.work(turn) };
      return { kind: "reply", reply: await this.#remind(actor, task, turn) };
    } catch (error) {
      return { kind: "error", error };
    }
  }

  async #remind(actor: Actor, due: { readonly name: string; readonly due: number }, turn: ActorTurn): Promise<void> {
    const row = await turn.readReminder(due.name);
    if (row?.due !== due.due) {
      turn.forgetDue(due.name, due.due);
      return;
    }
    if (actor.remind === undefined) throw new Error(`${describeActor(this.id)} has no remind method, and its reminder ${due.name} is due`);
    const reminder: Reminder = { name: due.name, due: row.due, payload: row.payload };
    await actor.remind(reminder, turn);
    turn.delivered(reminder);
    this.#services.environment.probe("actors.reminderDelivered");
  }

  /** Commits what the turn has written, and sees to it that its caller is answered then. */
  async #conclude(envelope: Envelope, turn: ActorTurn, end: TurnEnd): Promise<"answered" | "conflict"> {
    if (turn.isConflicted) {
      if (turn.durableParts === 0) return "conflict";
      this.#answer(envelope, { kind: "error", error: this.#conflictError() });
      return "answered";
    }
    if (end.kind === "error") {
      // An error that came of rows which were not so at any one time is no answer.
      if (turn.durableParts === 0 && !(await this.#holds(turn.sharedChecks))) return "conflict";
      this.#answer(envelope, end);
      if (isBug(end.error)) this.#discard(end.error);
      return "answered";
    }
    if (turn.isUntouched && envelope.invocation === undefined) {
      this.#answer(envelope, end);
      return "answered";
    }
    const { invocation } = envelope;
    const part = await turn.seal(invocation && { invocation: invocation.id, outcome: invocationRecord(invocation.message, end.reply) });
    if (isEmpty(part)) {
      // One row was so when it was read; several must have been so at one time.
      if (part.checks.length > 1 && !(await this.#holds(part.checks))) return "conflict";
      this.#answer(envelope, end);
      return "answered";
    }
    const batch = await this.#commit(part);
    // Without a batch the activation has ended, and the caller been told.
    if (batch === undefined) return "answered";
    if (part.checks.length > 0 && (await this.#ended(batch))?.kind === "conflict") {
      if (turn.durableParts === 0) return "conflict";
      this.#answer(envelope, { kind: "error", error: this.#conflictError() });
      return "answered";
    }
    this.#answerAfter(batch, envelope, end, turn.durableParts > 0);
    return "answered";
  }

  /** A part with checks is a batch of its own, so that it alone fails when they do. */
  async #commit(part: Part): Promise<PendingBatch | undefined> {
    if (part.checks.length === 0) return await this.#pipeline.add(part);
    await this.#pipeline.drained();
    return this.#pipeline.addNow(part);
  }

  /** Whether the rows are still as they were read, all at one time. */
  async #holds(checks: readonly Check[]): Promise<boolean> {
    if (checks.length === 0) return true;
    const answers = await this.#services.store.read(checks.map(({ key }) => ({ key })));
    return checks.every((check, index) => (answers[index]?.[0]?.version ?? null) === check.version);
  }

  /** Answers after everything that the turn may have seen is durable, and the actor is claimed (L2, L3). */
  #answer(envelope: Envelope, end: TurnEnd): void {
    const batch = this.#pipeline.claims ? this.#pipeline.newest : this.#pipeline.addNow(emptyPart);
    if (batch === undefined) settle(envelope, end);
    else this.#answerAfter(batch, envelope, end);
  }

  /** `isPartly`: an earlier part of the turn is durable, so that its failure is not one that left nothing. */
  #answerAfter(batch: PendingBatch, envelope: Envelope, end: TurnEnd, isPartly = false): void {
    batch.whenEnded((batchEnd) => {
      if (batchEnd.kind === "durable") settle(envelope, end);
      else if (batchEnd.kind === "conflict") envelope.reject(this.#conflictError());
      else envelope.reject(isPartly ? this.#lostError(batchEnd.error) : batchEnd.error);
    });
  }

  // Invocations that were named.

  #answerAgain(envelope: Envelope, invocation: Invocation, record: InvocationRecord): void {
    this.#services.environment.probe("actors.duplicate");
    const what = `Invocation ${invocation.id} of ${describeActor(this.id)}`;
    if (record.message !== invocation.message)
      this.#answer(envelope, {
        kind: "error",
        error: new InvocationIdReusedError(`${what} came before with a different message: give each its own id`),
      });
    else if (record.droppedBytes !== undefined)
      this.#answer(envelope, {
        kind: "error",
        error: new ReplyNotKeptError(`${what} took effect before; its reply of ${record.droppedBytes} bytes was not kept`),
      });
    else this.#answer(envelope, { kind: "reply", reply: record.reply === undefined ? undefined : (JSON.parse(record.reply) as unknown) });
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

  async #retire(options: { readonly deactivate: boolean }): Promise<void> {
    this.#isRetiring = true;
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

  #drop(reason: unknown, kinds: readonly Task["kind"][]): void {
    for (const envelope of this.#mailbox ?? []) if (kinds.includes(envelope.task.kind)) envelope.reject(reason);
  }

  #noteQuiet(): void {
    if (!this.isBusy) this.#onQuiet?.();
  }

  async #ended(batch: PendingBatch | undefined): Promise<BatchEnd | undefined> {
    return batch && (await new Promise((resolve) => batch.whenEnded(resolve)));
  }

  #lostError(cause = this.#lost): ActivationLostError {
    if (cause instanceof ActivationLostError) return cause;
    return new ActivationLostError(`The activation of ${describeActor(this.id)} has ended: ${cause?.message}`, { cause });
  }

  #stopReason(): ActorsStoppedError {
    return new ActorsStoppedError(`The node of ${describeActor(this.id)} is stopping`);
  }

  #conflictError(): ConflictError {
    return new ConflictError(`Rows that a turn of ${describeActor(this.id)} had read were changed by others, again and again`);
  }
}

/** Whether a part writes nothing. */
function isEmpty(part: Part): boolean {
  return part.rows.size === 0 && part.writes.length === 0 && part.record === undefined;
}

function settle(envelope: Envelope, end: TurnEnd): void {
  if (end.kind === "reply") envelope.resolve(end.reply);
  else envelope.reject(end.error);
}

/** What no caller can have caused by what it asked for, as opposed to an error that an actor throws on purpose. */
function isBug(error: unknown): boolean {
  return error instanceof InvariantError || error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError;
}
