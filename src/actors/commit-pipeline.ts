/**
 * Makes the turns of one activation durable, in order, while later turns go on in memory.
 *
 * P1. Every batch checks the header at the version that this activation read or wrote last, and writes it. So a batch
 *     of an activation that another one has replaced is never applied (A1).
 * P2. One batch is on its way at a time; what comes meanwhile gathers into the next one.
 * P3. The first batch claims the actor: it writes this node as the owner, with the next epoch. Rows that were read
 *     after the header and before that are still true then, because every change to them changes the header.
 * P4. A batch whose outcome is unknown is committed again, the very same, until it is known. Nothing follows before.
 * P5. When a batch fails for good, so does everything after it, and the activation ends.
 */
import { encodeJson, decodeJson } from "../base/json.ts";
import { assert } from "../base/assert.ts";
import {
  type Batch,
  type CommitOutcome,
  CommitUnknownError,
  LimitError,
  StoreUnavailableError,
  type Version,
  type Write,
} from "../storage/store.ts";
import { type ActorId, ActivationLostError } from "./actor.ts";
import { describeActor } from "./actor-id.ts";
import { type BucketSpan, type Header, headerKey, type InvocationRecord } from "./actor-rows.ts";
import { recordInvocations } from "./deduplication.ts";
import { gatheredBytesMax, gatheredTurnsMax } from "./limits.ts";
import { inboxWrites, receivers } from "./outgoing.ts";
import { OwnRows, type PendingRows, type RowTexts } from "./own-rows.ts";
import { type BatchEnd, ended, type Part, PendingBatch } from "./pending-batch.ts";
import type { ActorServices } from "./services.ts";

/** With the waits between them, attempts take about 20 seconds. */
const attemptsMax = 12;

const nothingPending: readonly RowTexts[] = [];

export class CommitPipeline implements PendingRows {
  readonly rows: OwnRows;
  readonly #id: ActorId;
  readonly #services: ActorServices;
  readonly #activation: { end(error: Error): void };
  #epoch = 0;
  #ver = 0;
  #schema = 1;
  #dedup: BucketSpan | undefined;
  #version: Version | null = null;
  #isClaimed = false;
  #gathering: PendingBatch | undefined;
  #onItsWay: PendingBatch | undefined;
  #failure: Error | undefined;

  /** `activation` is ended when nothing can be committed any more. */
  constructor(id: ActorId, services: ActorServices, activation: { end(error: Error): void }) {
    this.#id = id;
    this.#services = services;
    this.#activation = activation;
    this.rows = new OwnRows(id, services.store, services.limits, this);
  }

  /** Reads who may commit now: one round trip. What is read after it is protected by the claim (P3). */
  async open(): Promise<Header | undefined> {
    const [answer] = await this.#services.store.read([{ key: headerKey(this.#id) }]);
    const entry = answer?.[0];
    this.#version = entry?.version ?? null;
    if (entry === undefined) return undefined;
    const header = decodeJson<Header>(entry.value);
    this.#keep(header);
    return header;
  }

  /** The version in which rows are written: it never goes back, also where this node has not seen yet that it has grown. */
  get schema(): number {
    return Math.max(this.#schema, this.#services.placement.schema.writable);
  }

  /** Whether the actor is claimed, or will be by a batch that was made (P3). */
  get claims(): boolean {
    return this.#isClaimed || this.newest !== undefined;
  }

  /** Whether this activation, which has claimed the actor, still has it: asked of the store. */
  async stillClaims(): Promise<boolean> {
    const [answer] = await this.#services.store.read([{ key: headerKey(this.#id) }]);
    const header = answer?.[0] && decodeJson<Header>(answer[0].value);
    return header?.owner === this.#services.placement.node && header.epoch === this.#epoch;
  }

  /** The newest batch that is not durable yet: what a reply must wait for. */
  get newest(): PendingBatch | undefined {
    return this.#gathering ?? this.#onItsWay;
  }

  /** The time buckets with records of earlier batches. */
  get dedup(): BucketSpan | undefined {
    return this.#dedup;
  }

  get pendingRows(): readonly RowTexts[] {
    if (this.#gathering !== undefined)
      return this.#onItsWay === undefined ? [this.#gathering.rows] : [this.#onItsWay.rows, this.#gathering.rows];
    return this.#onItsWay === undefined ? nothingPending : [this.#onItsWay.rows];
  }

  /** The record of an invocation in a batch that is not durable yet. */
  pendingRecord(invocation: string): InvocationRecord | undefined {
    return this.#gathering?.records.get(invocation) ?? this.#onItsWay?.records.get(invocation);
  }

  /**
   * Adds a turn to the next batch. Waits first if that is full: a batch is small, or it is one turn.
   *
   * @returns `undefined` if the pipeline has failed meanwhile.
   */
  async add(part: Part): Promise<PendingBatch | undefined> {
    // A batch gathers only while another one is on its way.
    while (!this.#hasRoomFor(part)) await ended(this.#onItsWay);
    return this.addNow(part);
  }

  /** Adds a turn that is known to fit. */
  addNow(part: Part): PendingBatch | undefined {
    if (this.#failure !== undefined) return undefined;
    const batch = (this.#gathering ??= new PendingBatch());
    batch.add(part);
    if (this.#onItsWay === undefined) this.#sendNext();
    return batch;
  }

  /** Resolves when everything that was added has ended. */
  async drained(): Promise<void> {
    for (let batch = this.newest; batch !== undefined; batch = this.newest) await ended(batch);
  }

  /** Ends everything that has not ended: nothing is committed any more. */
  abandon(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    const batches = [this.#onItsWay, this.#gathering];
    this.#onItsWay = undefined;
    this.#gathering = undefined;
    for (const batch of batches) batch?.end({ kind: "failed", error });
  }

  #hasRoomFor(part: Part): boolean {
    const batch = this.#gathering;
    return batch === undefined || (batch.turns < gatheredTurnsMax && batch.bytes + part.bytes <= gatheredBytesMax);
  }

  #sendNext(): void {
    const batch = this.#gathering;
    if (batch === undefined || this.#failure !== undefined) return;
    this.#gathering = undefined;
    this.#onItsWay = batch;
    void this.#send(batch);
  }

  async #send(pending: PendingBatch): Promise<void> {
    const { environment, placement } = this.#services;
    const isClaim = !this.#isClaimed;
    const at = environment.clock.now();
    const { writes, span } = recordInvocations(this.#id, this.#dedup, pending.records, {
      now: at,
      elapsed: environment.clock.elapsed(),
    });
    const header: Header = {
      owner: placement.node,
      epoch: this.#epoch + (isClaim ? 1 : 0),
      ver: this.#ver + 1,
      lastBatch: environment.random.uuid(),
      schema: this.schema,
      at,
      ...(span === undefined ? {} : { dedup: span }),
    };
    const key = headerKey(this.#id);
    const { sent } = pending;
    const batch: Batch = {
      id: header.lastBatch,
      checks: [{ key, version: this.#version }, ...pending.checks],
      writes: [
        { kind: "set", key, value: encodeJson(header) },
        ...this.#rowWrites(pending),
        ...pending.writes,
        ...writes,
        ...(sent === undefined ? [] : inboxWrites(this.#id, sent, header.ver, at)),
      ],
    };
    let end: BatchEnd;
    try {
      const { outcome, wasUnknown } = await this.#settle(batch);
      end = this.#endOf(outcome, header, wasUnknown);
    } catch (error) {
      this.#fail(this.#describe(error));
      return;
    }
    if (this.#failure !== undefined) return;
    if (end.kind === "failed") {
      this.#fail(end.error);
      return;
    }
    if (end.kind === "durable") {
      if (isClaim) environment.probe("actors.claimed");
      this.rows.committed(pending.rows);
    }
    this.#onItsWay = undefined;
    this.#sendNext();
    if (end.kind === "durable") {
      for (const due of pending.dues) this.#services.reminderSet(this.#id, due);
      if (sent !== undefined) for (const { id } of receivers(sent).values()) this.#services.messageSent(id);
    }
    pending.end(end);
  }

  #endOf(outcome: CommitOutcome, header: Header, wasUnknown: boolean): BatchEnd {
    if (outcome.ok) {
      assert(this.#version === null || outcome.version > this.#version, "S3: the version of a header grows");
      this.#version = outcome.version;
      this.#keep(header);
      this.#isClaimed = true;
      return { kind: "durable" };
    }
    if (outcome.failedCheck > 0) return { kind: "conflict" };
    this.#services.environment.probe(this.#isClaimed ? "actors.fenced" : "actors.claimRaced");
    return {
      kind: "failed",
      error: new ActivationLostError(`Another activation of ${describeActor(this.#id)} has taken over: this one cannot commit`, {
        // Where an answer was lost, the batch may have been applied before the header changed again.
        tookNoEffect: !wasUnknown,
      }),
    };
  }

  /** Of a header only what the next one is made of: there are many activations at rest. */
  #keep(header: Header): void {
    this.#epoch = header.epoch;
    this.#ver = header.ver;
    this.#schema = header.schema;
    const { placement, environment } = this.#services;
    // Time that another node has counted says nothing here.
    this.#dedup =
      header.owner === placement.node || header.dedup === undefined
        ? header.dedup
        : { ...header.dedup, since: environment.clock.elapsed() };
  }

  #rowWrites(pending: PendingBatch): Write[] {
    const writes: Write[] = [];
    for (const [name, text] of pending.rows) {
      const key = this.rows.key(name);
      writes.push(text === null ? { kind: "delete", key } : { kind: "set", key, value: Buffer.from(text, "utf8") });
    }
    return writes;
  }

  /** Commits `batch` until it is known whether it was applied. */
  async #settle(batch: Batch): Promise<{ readonly outcome: CommitOutcome; readonly wasUnknown: boolean }> {
    const { environment, store } = this.#services;
    let unknown = false;
    for (let attempt = 1; ; attempt++) {
      try {
        const outcome = await store.commit(batch);
        if (!unknown) return { outcome, wasUnknown: false };
        environment.probe("actors.unknownSettled");
        const isSettled = outcome.ok || outcome.failedCheck > 0;
        return { outcome: isSettled ? outcome : await this.#settleByHeader(batch, outcome), wasUnknown: true };
      } catch (error) {
        if (error instanceof CommitUnknownError) unknown = true;
        else if (!(error instanceof StoreUnavailableError)) throw error;
        environment.probe(unknown ? "actors.commitUnknown" : "actors.storeUnavailable");
        // Once an outcome was unknown, a refusal of a later attempt says nothing about the first one.
        if (attempt === attemptsMax || this.#failure !== undefined)
          throw unknown ? new CommitUnknownError("The outcome of a commit stayed unknown", { cause: error }) : error;
      }
      await environment.clock.sleep(Math.min(10 * 2 ** attempt, 5_000) * (0.5 + environment.random.fraction() / 2));
    }
  }

  /** A store that has forgotten the batch answers from its checks; the header then says whether it had been applied. */
  async #settleByHeader(batch: Batch, outcome: CommitOutcome): Promise<CommitOutcome> {
    const [answer] = await this.#services.store.read([{ key: headerKey(this.#id) }]);
    const entry = answer?.[0];
    if (entry === undefined || decodeJson<Header>(entry.value).lastBatch !== batch.id) return outcome;
    this.#services.environment.probe("actors.settledByHeader", "sometimes");
    return { ok: true, version: entry.version };
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.abandon(error);
    this.#activation.end(error);
  }

  /** What those who wait for a batch are told when it could not be committed. */
  #describe(error: unknown): Error {
    const actor = describeActor(this.#id);
    if (error instanceof StoreUnavailableError)
      return new StoreUnavailableError(`Nothing of the turn of ${actor} was written: ${error.message}`, { cause: error });
    if (error instanceof LimitError) return error;
    if (!(error instanceof CommitUnknownError))
      this.#services.environment.log.write("error", "A commit failed in an unexpected way", { actor, error });
    return new ActivationLostError(`Whether the turn of ${actor} took effect is unknown`, { cause: error });
  }
}
