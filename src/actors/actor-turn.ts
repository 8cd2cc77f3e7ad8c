import { assert } from "../base/assert.ts";
import { encodeJson } from "../base/json.ts";
import type { Tuple } from "../base/tuple.ts";
import { type Check, LimitError, type Store, type Write, writeSize } from "../storage/store.ts";
import { Transaction } from "../storage/transaction.ts";
import { ActivationLostError, type ActorId, type Origin, type Reminder, type ScopedStore, type Turn } from "./actor.ts";
import { describeActor, validateReminderName } from "./actor-id.ts";
import { dueKey, type DueRow, type InvocationRecord, type ReminderRow } from "./actor-rows.ts";
import type { Abortable } from "./envelope.ts";
import { batchReserveBytes, reminderPayloadBytesMax, sentPerTurnMax } from "./limits.ts";
import { assertRoom, type Outgoing, outgoing } from "./outgoing.ts";
import { type OwnRows, reminderRowName, stateRowName } from "./own-rows.ts";
import type { Part } from "./pending-batch.ts";

/** What a turn needs of its activation. */
export interface TurnHost {
  readonly id: ActorId;
  readonly store: Store;
  readonly rows: OwnRows;
  /** Makes a part durable, and everything before it. @throws {ConflictError} */
  makeDurable(turn: ActorTurn, part: Part): Promise<void>;
  /** Whether the actor's behaviour can be reminded. */
  readonly hasRemind: boolean;
  readonly inboxMessages: number;
  /** @throws {UnknownActorTypeError} @throws {ActorMessageError} */
  assertReceives(id: ActorId): void;
}

type ReminderChange = { readonly due: number; readonly early: boolean; readonly payload: unknown } | undefined;

/** Buffers what one run of one turn does, until the turn ends or asks for `durable`. */
export class ActorTurn implements Turn, Abortable {
  readonly #host: TurnHost;
  // Each is made when first needed: most turns need few of them.
  #state: TurnState | undefined;
  #shared: Transaction | undefined;
  #writes: Write[] = [];
  #writeBytes = 0;
  #reminders: Map<string, ReminderChange> | undefined;
  #sent: Outgoing[] | undefined;
  #controller: AbortController | undefined;
  #abortReason: Error | undefined;
  #closed: string | undefined;
  /** Parts that are durable: such a turn is not run again. */
  durableParts = 0;
  /** A shared row had changed when a part of it was to become durable. */
  isConflicted = false;

  readonly origin: Origin | undefined;

  constructor(host: TurnHost, origin?: Origin) {
    this.#host = host;
    this.origin = origin;
  }

  get state(): ScopedStore {
    return (this.#state ??= new TurnState(this, this.#host));
  }

  get shared(): Transaction {
    this.assertOpen();
    return (this.#shared ??= new Transaction(this.#host.store));
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    return this.#controller.signal;
  }

  /** What the turn has read of shared rows since its last durable part. */
  get sharedChecks(): readonly Check[] {
    return this.#shared?.checks ?? [];
  }

  /** Whether the turn has done nothing that would have to be sealed. */
  get isUntouched(): boolean {
    return (
      this.#shared === undefined &&
      this.#writes.length === 0 &&
      this.#reminders === undefined &&
      this.#sent === undefined &&
      (this.#state?.isUnchanged ?? true)
    );
  }

  write(...writes: readonly Write[]): void {
    this.assertOpen();
    for (const write of writes) {
      // A write that no batch can hold fails the turn here; in the batch it would end the activation.
      this.#writeBytes += writeSize(write, this.#host.store.limits);
      this.#writes.push(write);
    }
    this.limitBytes(this.#writeBytes + (this.#state?.bytes ?? 0));
  }

  remind(
    name: string,
    reminder: { readonly due: number; readonly payload?: unknown; readonly earlyAfterRestart?: boolean } | undefined,
  ): void {
    this.assertOpen();
    validateReminderName(name);
    this.#reminders ??= new Map();
    if (reminder === undefined) {
      this.#reminders.set(name, undefined);
      return;
    }
    const { due, payload, earlyAfterRestart } = reminder;
    assert(this.#host.hasRemind, `An actor that sets reminders has a remind method, unlike ${describeActor(this.#host.id)}`);
    if (!Number.isSafeInteger(due) || due < 0) throw new LimitError(`A reminder is due at a time in Unix milliseconds, not at ${due}`);
    if (payload !== undefined) {
      const { length } = encodeJson(payload);
      if (length > reminderPayloadBytesMax)
        throw new LimitError(`The payload of reminder ${name} has at most ${reminderPayloadBytesMax} bytes of JSON, not ${length}`);
    }
    this.#reminders.set(name, { due, early: earlyAfterRestart ?? false, payload });
  }

  send(id: ActorId, message: unknown): void {
    this.assertOpen();
    this.#host.assertReceives(id);
    this.#sent ??= [];
    if (this.#sent.length >= sentPerTurnMax)
      throw new LimitError(`A turn of ${describeActor(this.#host.id)} sends at most ${sentPerTurnMax} messages`);
    const sent = outgoing(this.#host.id, id, message);
    this.limitBytes(this.#writeBytes + sent.bytes + (this.#state?.bytes ?? 0));
    this.#writeBytes += sent.bytes;
    this.#sent.push(sent);
  }

  async durable(): Promise<void> {
    this.assertOpen();
    const part = await this.seal();
    await this.#host.makeDurable(this, part);
    this.durableParts++;
  }

  abort(reason: Error): void {
    this.#abortReason ??= reason;
    this.#controller?.abort(reason);
  }

  /** The turn is over, or can come to nothing any more: `reason` is what code that still uses it is told. */
  close(reason: string): void {
    this.#closed ??= reason;
  }

  assertOpen(): void {
    if (this.#closed !== undefined)
      throw new ActivationLostError(`A turn of ${describeActor(this.#host.id)} was used after its end: ${this.#closed}`);
  }

  /** The reminder `name` as it is set now, before this turn's changes. */
  async readReminder(name: string): Promise<ReminderRow | undefined> {
    const text = await this.#host.rows.get(reminderRowName(name));
    return text === null ? undefined : (JSON.parse(text) as ReminderRow);
  }

  /** Forgets a reminder that was delivered, unless the turn has set it again. */
  delivered(reminder: Reminder): void {
    this.#reminders ??= new Map();
    if (!this.#reminders.has(reminder.name)) this.#reminders.set(reminder.name, undefined);
  }

  /** Writes of the runtime itself that belong to the turn. */
  writeOwn(writes: readonly Write[]): void {
    this.#writes.push(...writes);
  }

  /** Deletes the row in the order of time of a reminder that is not set for that time any more. */
  forgetDue(name: string, due: number): void {
    this.#writes.push({ kind: "delete", key: dueKey(this.#host.id, name, due) });
  }

  /** @throws {LimitError} The turn writes more than one batch can hold. */
  limitBytes(bytes: number): void {
    const most = this.#host.store.limits.batchBytes - batchReserveBytes;
    if (bytes > most) throw new LimitError(`A turn of ${describeActor(this.#host.id)} writes at most ${most} bytes, not ${bytes}`);
  }

  /** The bytes of what `write` and `send` were given so far. */
  get writeBytes(): number {
    return this.#writeBytes;
  }

  /**
   * Takes the writes since the last part, as one part of a batch; the turn goes on with none.
   *
   * @throws {LimitError} They are more than one batch can hold. @throws {MailboxFullError} A receiver's inbox is full.
   */
  async seal(record?: { readonly invocation: string; readonly outcome: InvocationRecord }): Promise<Part> {
    // The reminders as they are set are read first: nothing is awaited between taking the writes and giving them out,
    // so a turn that does several things at once cannot lose one of them.
    const before = new Map<string, ReminderRow | undefined>();
    for (const name of this.#reminders?.keys() ?? []) before.set(name, await this.readReminder(name));
    if (this.#sent !== undefined) await assertRoom(this.#host.store, this.#sent, this.#host.inboxMessages);

    const rows = this.#state?.take() ?? new Map<string, string | null>();
    const shared = this.#shared;
    const writes = [...this.#writes, ...(shared?.writes ?? [])];
    const checks = shared?.checks ?? [];
    const sent = this.#sent;
    this.#sent = undefined;
    this.#writes = [];
    this.#writeBytes = 0;
    this.#shared = undefined;
    // What is in memory would go stale if a turn wrote its actor's rows beside `state`.
    if (writes.length > 0) this.#host.rows.refuse(writes);
    const dues = this.#sealReminders(before, rows, writes);

    let bytes = (record?.outcome.reply?.length ?? 0) + (record === undefined ? 0 : 1_000);
    for (const [name, text] of rows) bytes += this.#host.rows.prefixBytes + name.length + (text === null ? 0 : Buffer.byteLength(text));
    for (const write of writes) bytes += writeSize(write, this.#host.store.limits);
    for (const check of checks) bytes += check.key.length;
    for (const message of sent ?? []) bytes += message.bytes;
    this.limitBytes(bytes);
    return { rows, writes, checks, dues, sent, bytes, ...(record === undefined ? {} : { record }) };
  }

  #sealReminders(before: ReadonlyMap<string, ReminderRow | undefined>, rows: Map<string, string | null>, writes: Write[]): number[] {
    const dues: number[] = [];
    for (const [name, change] of this.#reminders ?? []) {
      const old = before.get(name);
      // Before the new row is set, which may have the same key.
      if (old !== undefined) writes.push({ kind: "delete", key: dueKey(this.#host.id, name, old.due) });
      rows.set(reminderRowName(name), change === undefined ? null : JSON.stringify(change satisfies ReminderRow));
      if (change === undefined) continue;
      const row: DueRow = { early: change.early };
      writes.push({ kind: "set", key: dueKey(this.#host.id, name, change.due), value: encodeJson(row) });
      dues.push(change.due);
    }
    this.#reminders = undefined;
    return dues;
  }
}

/** The rows that one turn has changed, over those of its activation. */
class TurnState implements ScopedStore {
  readonly #turn: ActorTurn;
  readonly #host: TurnHost;
  #rows = new Map<string, string | null>();
  bytes = 0;

  constructor(turn: ActorTurn, host: TurnHost) {
    this.#turn = turn;
    this.#host = host;
  }

  async get<T>(key: Tuple): Promise<T | undefined> {
    this.#turn.assertOpen();
    const text = await this.#host.rows.get(stateRowName(key), this.#rows);
    return text === null ? undefined : (JSON.parse(text) as T);
  }

  set(key: Tuple, value: unknown): void {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) throw new TypeError(`A row of ${describeActor(this.#host.id)} holds JSON, not ${typeof value}: use delete`);
    this.#change(key, text);
  }

  delete(key: Tuple): void {
    this.#change(key, null);
  }

  async list<T>(
    prefix: Tuple,
    options: { readonly limit: number; readonly reverse?: boolean; readonly after?: Tuple },
  ): Promise<{ readonly key: Tuple; readonly value: T }[]> {
    this.#turn.assertOpen();
    return await this.#host.rows.list<T>(prefix, options, this.#rows);
  }

  get isUnchanged(): boolean {
    return this.#rows.size === 0;
  }

  take(): Map<string, string | null> {
    const rows = this.#rows;
    this.#rows = new Map();
    this.bytes = 0;
    return rows;
  }

  #change(key: Tuple, text: string | null): void {
    this.#turn.assertOpen();
    const { keyBytes, valueBytes } = this.#host.store.limits;
    const name = stateRowName(key);
    const keyLength = this.#host.rows.prefixBytes + name.length;
    if (keyLength > keyBytes)
      throw new LimitError(`A key of ${describeActor(this.#host.id)} has at most ${keyBytes} bytes, not ${keyLength}`);
    const length = text === null ? 0 : Buffer.byteLength(text);
    if (length > valueBytes)
      throw new LimitError(
        `A row of ${describeActor(this.#host.id)} has at most ${valueBytes} bytes of JSON, not ${length}: ${shortKey(key)}`,
      );
    const before = this.#rows.get(name);
    const bytes =
      this.bytes + keyLength + length - (before === undefined ? 0 : keyLength + (before === null ? 0 : Buffer.byteLength(before)));
    this.#turn.limitBytes(this.#turn.writeBytes + bytes);
    this.#rows.set(name, text);
    this.bytes = bytes;
  }
}

function shortKey(key: Tuple): string {
  const text = JSON.stringify(key);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
