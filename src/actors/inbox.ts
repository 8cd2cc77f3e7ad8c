/**
 * What was sent to one actor and waits in the store, as its activation works through it.
 *
 * X1. A message is a row that its sender's batch has made, under a key that no other message ever has. From then on
 *     only activations of its receiver change or delete it, in batches that prove their epoch (A1). So a row that was
 *     read is there until this activation deletes it, and the turn that handles it deletes it in its own batch: no
 *     record of what was handled is needed, and none can be forgotten too early (A7).
 * X2. The rows of one sender are in the order in which it sent them, and are handled in that order: one whose turn
 *     throws holds up those behind it until a later turn handles it, or it is given up. Other senders' are not held up.
 * X3. Whoever is told to look goes through the whole inbox after that.
 */
import { bytesToMapKey, compareBytes, keyAfter } from "../base/bytes.ts";
import { decodeJson, encodeJson } from "../base/json.ts";
import { decodeTuple, encodeTuple, type Tuple, tupleRange } from "../base/tuple.ts";
import type { Cancel } from "../environment/environment.ts";
import { type Entry, StoreUnavailableError, type Write } from "../storage/store.ts";
import { type ActorId, MailboxFullError, type Origin } from "./actor.ts";
import { describeActor } from "./actor-id.ts";
import { deadLetterPrefix, type DeadLetterRow, inboxPrefix, inboxSizeKey, type SentRow } from "./actor-rows.ts";
import { sentAttemptsMax, sentBackoffMillisecondsMax, sentBackoffMillisecondsMin } from "./limits.ts";
import { emptyPart, type Part, type PendingBatch } from "./pending-batch.ts";
import type { ActorServices } from "./services.ts";

const pageRows = 32;
const errorCharactersMax = 1_000;

/** A message out of the inbox. */
export interface Sent {
  readonly key: Uint8Array;
  /** Stands for the key, and for the sender. */
  readonly name: string;
  readonly from: string;
  readonly origin: Origin;
  readonly row: SentRow;
  /** What the key ends with: the sender's type and key, ver, n. */
  readonly path: Tuple;
}

export class Inbox {
  readonly #id: ActorId;
  readonly #services: ActorServices;
  /** Called when there may be something to handle again. */
  readonly #onWanted: () => void;
  #isWanted = false;
  /** Where the pass through the inbox that is under way goes on; absent: none is. */
  #begin: Uint8Array | undefined;
  #page: Sent[] = [];
  /** Messages that were given out and whose turn is not durable. */
  readonly #open = new Set<string>();
  /** Senders whose first message waits to be tried again. */
  readonly #held = new Map<string, Cancel>();

  constructor(id: ActorId, services: ActorServices, onWanted: () => void) {
    this.#id = id;
    this.#services = services;
    this.#onWanted = onWanted;
  }

  /** Something may have come: the inbox is gone through once more (X3). */
  want(): void {
    this.#isWanted = true;
    this.#onWanted();
  }

  /** Whether `next` may have something to give. */
  get hasMore(): boolean {
    return this.#isWanted || this.#begin !== undefined || this.#page.length > 0;
  }

  /** Whether messages may be left that nobody else knows of. */
  get isUnfinished(): boolean {
    return this.hasMore || this.#open.size > 0 || this.#held.size > 0;
  }

  /** The next message to be handled, or `undefined`: there is none now. */
  async next(): Promise<Sent | undefined> {
    while (this.hasMore) {
      const sent = this.#page.shift();
      if (sent === undefined) await this.#readPage();
      else if (this.#isHeld(sent)) this.#skipSender(sent);
      else {
        this.#open.add(sent.name);
        return sent;
      }
    }
    return undefined;
  }

  /** The writes of the turn that has handled `sent`. */
  consume({ key }: Sent): Write[] {
    return [
      { kind: "delete", key },
      { kind: "add", key: encodeTuple(inboxSizeKey(this.#id)), amount: -1n },
    ];
  }

  /**
   * The turn over `sent` threw: what that makes of its row is committed. It is tried again later, or given up. What the
   * sender has sent after it waits until then, also what was read already.
   */
  putOff(sent: Sent, error: unknown, commit: (part: Part) => PendingBatch | undefined): void {
    const { from, name, row } = sent;
    this.#skipSender(sent);
    if (error instanceof StoreUnavailableError || error instanceof MailboxFullError) {
      // Not the message's fault: no attempt of it is used up.
      this.#open.delete(name);
      this.#hold(from, error instanceof MailboxFullError ? error.retryAfterMilliseconds : sentBackoffMillisecondsMin);
      return;
    }
    const { clock, log, probe } = this.#services.environment;
    const failures = (row.failures ?? 0) + 1;
    const isDead = failures >= sentAttemptsMax;
    const backoff = isDead ? 0 : Math.min(sentBackoffMillisecondsMin * 2 ** (failures - 1), sentBackoffMillisecondsMax);
    probe.call(this.#services.environment, isDead ? "actors.deadLetter" : "actors.sentPutOff");
    const fields = { actor: describeActor(this.#id), from, failures, error };
    if (isDead) log.write("error", "A message was given up", fields);
    else log.write("warn", "A message is tried again later", fields);
    const later: SentRow = { ...row, failures, after: clock.now() + backoff };
    const writes = isDead ? this.#bury(sent, failures, error) : [{ kind: "set", key: sent.key, value: encodeJson(later) } as const];
    this.#held.set(from, () => undefined);
    commit({ ...emptyPart, writes })?.whenEnded((end) => {
      if (end.kind !== "durable") return;
      this.#open.delete(name);
      this.#hold(from, backoff);
    });
  }

  /** The turn that has handled `sent` is in `batch`. */
  handled({ name }: Sent, batch: PendingBatch | undefined): void {
    batch?.whenEnded((end) => {
      if (end.kind === "durable") this.#open.delete(name);
    });
  }

  /** The activation ends. */
  close(): void {
    for (const cancel of this.#held.values()) cancel();
  }

  async #readPage(): Promise<void> {
    const range = tupleRange(inboxPrefix(this.#id));
    if (this.#begin === undefined) {
      this.#isWanted = false;
      this.#begin = range.begin;
    }
    // As it is now, whatever happens before the answer is here: it may have been made before that.
    const open = new Set(this.#open);
    const held = new Set(this.#held.keys());
    try {
      const [rows = []] = await this.#services.store.read([{ begin: this.#begin, end: range.end, limit: pageRows }]);
      this.#begin = rows.length < pageRows ? undefined : keyAfter(rows.at(-1)!.key);
      const page = rows.map((entry) => this.#parse(entry)).filter(({ name }) => !open.has(name));
      this.#page = page;
      for (const sent of page) if (held.has(sent.from)) this.#skipSender(sent);
    } catch (error) {
      this.#services.environment.log.write("warn", "An inbox could not be read", { actor: describeActor(this.#id), error });
      this.#begin = undefined;
      // Under no sender's name: no type is empty.
      this.#hold("", sentBackoffMillisecondsMin);
    }
  }

  /** The writes that make a dead letter of `sent`. */
  #bury(sent: Sent, failures: number, error: unknown): Write[] {
    const { project, type, key } = this.#id;
    const text = (error instanceof Error ? `${error.name}: ${error.message}` : String(error)).slice(0, errorCharactersMax).toWellFormed();
    const { at, message } = sent.row;
    const letter: DeadLetterRow = { at, message, failures, error: text, died: this.#services.environment.clock.now() };
    const path = encodeTuple([...deadLetterPrefix(project, type, key), ...sent.path]);
    return [{ kind: "set", key: path, value: encodeJson(letter) }, ...this.consume(sent)];
  }

  #isHeld({ from, row }: Sent): boolean {
    if (this.#held.has(from)) return true;
    // Put off by an activation before this one, on a node whose clock may be wrong.
    const wait = Math.min((row.after ?? 0) - this.#services.environment.clock.now(), sentBackoffMillisecondsMax);
    if (wait <= 0) return false;
    this.#hold(from, wait);
    return true;
  }

  #hold(from: string, milliseconds: number): void {
    this.#held.get(from)?.();
    const release = this.#services.environment.clock.schedule(milliseconds, () => {
      this.#held.delete(from);
      this.want();
    });
    this.#held.set(from, release);
  }

  /** Goes on behind the messages of the sender of `sent`. */
  #skipSender({ from, origin }: Sent): void {
    this.#page = this.#page.filter((other) => other.from !== from);
    const { end } = tupleRange(inboxPrefix(this.#id, origin.sender));
    if (this.#begin !== undefined && compareBytes(this.#begin, end) < 0) this.#begin = end;
  }

  #parse({ key, value }: Entry): Sent {
    const path = decodeTuple(key).slice(-4) as [type: string, key: string, ver: number, n: number];
    const [type, senderKey, ver, n] = path;
    const sender: ActorId = { project: this.#id.project, type, key: senderKey };
    const row = decodeJson<SentRow>(value);
    return {
      key,
      name: bytesToMapKey(key),
      from: `${type}/${senderKey}`,
      origin: { sender, id: `${type}/${senderKey}/${ver}/${n}`, at: row.at, attempt: (row.failures ?? 0) + 1 },
      row,
      path,
    };
  }
}
