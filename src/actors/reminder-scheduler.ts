/**
 * Delivers the reminders that are due, on this node.
 *
 * S1. A reminder is delivered again and again until a turn of its actor has deleted its row (A6). A delivery that
 *     fails is tried again later; what is in memory here only says how much later.
 * S2. Deliveries are bounded in number and rate, and rows are read page by page: a hundred thousand reminders that
 *     are due at once take their time, and little memory.
 * S3. Other nodes write reminders too, so the rows are looked through at least every `pollMilliseconds`.
 * S4. A scheduler that has just started delivers reminders marked early at once, if they are due within
 *     `earlyMilliseconds`: it is taken to be the restart after the crash that interrupted their work.
 * S5. Nodes may share the slots out among them. That two deliver one reminder, or for a while nobody, does no harm.
 */
import { bytesToMapKey, keyAfter } from "../base/bytes.ts";
import { decodeJson } from "../base/json.ts";
import { decodeTuple, encodeTuple, tupleRange } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import type { Entry, Query, Store } from "../storage/store.ts";
import { ActorElsewhereError, type ActorId } from "./actor.ts";
import { type DueRow, reminderSlots, slotPrefix } from "./actor-rows.ts";
import type { ActorLimits } from "./limits.ts";
import { TokenBucket } from "./token-bucket.ts";

/** A reminder that was set elsewhere is seen no later than this. */
export const pollMilliseconds = 10_000;
/** Between two passes, also where a reminder is set again and again for a time that is over. */
const passMillisecondsMin = 1;
const earlyMilliseconds = 600_000;
const pageRows = 32;
const backoffMillisecondsMin = 1_000;
const backoffMillisecondsMax = 300_000;
/** Failed deliveries whose backoff is remembered; one that is forgotten is only tried sooner. */
const backoffsMax = 100_000;

/** How nodes share the delivery of reminders (S5). */
export interface ReminderSharing {
  /** Whether this node delivers the reminders of a slot. */
  ownsSlot(slot: number): boolean;
  /** Brings a reminder to the node that has its actor. `isEarly`: it is not due yet, but marked early. */
  deliver(id: ActorId, reminder: { readonly name: string; readonly due: number; readonly isEarly: boolean }): Promise<void>;
  /** A reminder of another node's slot was set here. */
  setElsewhere(slot: number, due: number): void;
}

interface DueReminder {
  readonly name: string;
  readonly due: number;
  readonly id: ActorId;
  readonly isEarly: boolean;
  /** Stands for the row. */
  readonly row: string;
}

interface Backoff {
  readonly failures: number;
  /** Elapsed milliseconds. */
  readonly until: number;
  /** It was delivered before it was due. */
  readonly isEarly: boolean;
}

export class ReminderScheduler {
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #limits: ActorLimits;
  readonly #deliver: ReminderSharing["deliver"];
  readonly #ownsSlot: (slot: number) => boolean;
  readonly #bucket: TokenBucket;
  readonly #delivering = new Set<string>();
  readonly #backoffs = new Map<string, Backoff>();
  readonly #stop = new AbortController();
  #wake: AbortController | undefined;
  #onDelivered: (() => void) | undefined;
  /** Unix milliseconds at which the next pass must begin. */
  #nextPass = 0;
  /** The next pass, or the one that runs, also looks for reminders marked early (S4). */
  #wantsEarly = true;
  #isEarlyPass = false;
  #stopped: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly store: Store;
    readonly environment: Environment;
    readonly limits: ActorLimits;
    /** Rejects if the reminder was not delivered. Resolves also when it turned out not to be set any more. */
    readonly deliver: ReminderSharing["deliver"];
    readonly ownsSlot: (slot: number) => boolean;
  }) {
    this.#store = options.store;
    this.#environment = options.environment;
    this.#limits = options.limits;
    this.#deliver = options.deliver;
    this.#ownsSlot = options.ownsSlot;
    this.#bucket = new TokenBucket(options.environment.clock, options.limits.remindersPerSecond);
  }

  start(): void {
    this.#stopped = this.#run();
  }

  /** A reminder that is due at `due` was set on this node. */
  notify(due: number): void {
    if (due >= this.#nextPass) return;
    this.#nextPass = due;
    this.#wake?.abort();
  }

  /** The slots are shared out anew; `early`: a node has ended and left reminders marked early behind. */
  lookAgain(options: { readonly early: boolean }): void {
    this.#wantsEarly ||= options.early;
    this.notify(0);
  }

  stop(): void {
    this.#stop.abort();
    this.#wake?.abort();
    this.#onDelivered?.();
  }

  /** Resolves, after `stop`, when no delivery begins any more. */
  get stopped(): Promise<void> {
    return this.#stopped;
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#environment;
    for (;;) {
      this.#nextPass = clock.now() + pollMilliseconds;
      this.#isEarlyPass = this.#wantsEarly;
      this.#wantsEarly = false;
      try {
        await this.#pass();
      } catch (error) {
        this.#wantsEarly ||= this.#isEarlyPass;
        log.write("warn", "Reminders could not be read", { error });
        this.#nextPass = clock.now() + backoffMillisecondsMin;
      }
      if (this.#stop.signal.aborted) return;
      const wait = Math.min(this.#nextPass - clock.now(), pollMilliseconds);
      this.#wake = new AbortController();
      await clock.sleep(Math.max(wait, passMillisecondsMin), this.#wake.signal);
      this.#wake = undefined;
    }
  }

  /** Looks through all slots, and begins to deliver what is due. */
  async #pass(): Promise<void> {
    const now = this.#environment.clock.now();
    this.#forgetBackoffs();
    const isEarlyPass = this.#isEarlyPass || this.#backoffs.values().some((backoff) => backoff.isEarly);
    const until = now + (isEarlyPass ? earlyMilliseconds : pollMilliseconds) + 1;
    const owned = Array.from({ length: reminderSlots }, (_, slot) => slot).filter(this.#ownsSlot);
    let slots = owned.map((slot) => {
      const { begin } = tupleRange(slotPrefix(slot));
      return { begin, end: encodeTuple([...slotPrefix(slot), until]) };
    });
    while (slots.length > 0 && !this.#stop.signal.aborted) {
      const answers = await this.#store.read(slots.map((slot): Query => ({ ...slot, limit: pageRows })));
      const unfinished: typeof slots = [];
      for (const [index, rows] of answers.entries()) {
        let isOver = rows.length < pageRows;
        for (const row of rows) {
          const reminder = readDue(row);
          if (this.#isToDeliver(reminder, now)) await this.#begin(reminder, now);
          else if (reminder.due > now) {
            this.#nextPass = Math.min(this.#nextPass, reminder.due);
            if (isEarlyPass) continue;
            // What follows in the slot is due later still.
            isOver = true;
            break;
          }
        }
        if (!isOver) unfinished.push({ begin: keyAfter(rows.at(-1)!.key), end: slots[index]!.end });
      }
      slots = unfinished;
    }
  }

  /** A failed delivery that was not tried again although its time had come is of a row that is gone. */
  #forgetBackoffs(): void {
    const longAgo = this.#environment.clock.elapsed() - backoffMillisecondsMax;
    for (const [row, backoff] of this.#backoffs) if (backoff.until < longAgo) this.#backoffs.delete(row);
  }

  #isToDeliver(reminder: DueReminder, now: number): boolean {
    if (this.#delivering.has(reminder.row)) return false;
    const backoff = this.#backoffs.get(reminder.row);
    const isDue = reminder.due <= now || (reminder.isEarly && (this.#isEarlyPass || backoff?.isEarly === true));
    if (backoff === undefined || !isDue) return isDue;
    const { clock } = this.#environment;
    if (backoff.until <= clock.elapsed()) return true;
    this.#nextPass = Math.min(this.#nextPass, now + backoff.until - clock.elapsed());
    return false;
  }

  async #begin(reminder: DueReminder, now: number): Promise<void> {
    const { signal } = this.#stop;
    await this.#bucket.take(signal);
    while (this.#delivering.size >= this.#limits.reminderDeliveries && !signal.aborted)
      await new Promise<void>((resolve) => (this.#onDelivered = resolve));
    if (signal.aborted) return;
    this.#delivering.add(reminder.row);
    void this.#finish(reminder, reminder.due > now);
  }

  async #finish(reminder: DueReminder, isEarly: boolean): Promise<void> {
    const { clock, log } = this.#environment;
    const { row, id, name, due } = reminder;
    try {
      if (isEarly) this.#environment.probe("actors.reminderEarly");
      await this.#deliver(id, { name, due, isEarly });
      this.#backoffs.delete(row);
    } catch (error) {
      const failures = (this.#backoffs.get(row)?.failures ?? 0) + 1;
      const isElsewhere = error instanceof ActorElsewhereError;
      this.#environment.probe(isElsewhere ? "actors.reminderElsewhere" : "actors.reminderFailed");
      const backoff = isElsewhere ? pollMilliseconds : Math.min(backoffMillisecondsMin * 2 ** (failures - 1), backoffMillisecondsMax);
      const wait = backoff * (0.5 + this.#environment.random.fraction() / 2);
      // The node that has the actor delivers its reminders, also the early ones if it was the one that restarted.
      this.#backoffs.set(row, { failures, until: clock.elapsed() + wait, isEarly: isEarly && !isElsewhere });
      if (this.#backoffs.size > backoffsMax) this.#backoffs.delete(this.#backoffs.keys().next().value!);
      this.notify(clock.now() + wait);
      if (!isElsewhere && !this.#stop.signal.aborted)
        log.write("warn", "A reminder could not be delivered", {
          actor: `${id.type}/${id.key}`,
          project: id.project,
          name,
          failures,
          error,
        });
    } finally {
      this.#delivering.delete(row);
      this.#onDelivered?.();
    }
  }
}

function readDue(entry: Entry): DueReminder {
  const [, , , due, project, type, key, name] = decodeTuple(entry.key) as [string, string, number, number, string, string, string, string];
  return { due, name, id: { project, type, key }, isEarly: decodeJson<DueRow>(entry.value).early, row: bytesToMapKey(entry.key) };
}
