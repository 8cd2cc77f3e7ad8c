/**
 * Tells actors that something is in their inboxes, so that they look.
 *
 * K1. What is told is a hint: an inbox is looked into at least every `pollMilliseconds` as long as something is in it,
 *     by the node that has its slot, so that nothing that was sent depends on who lives.
 * K2. Empty inboxes cost nothing, and actors that nobody sends to are never looked for.
 */
import { decodeTuple, tupleRange } from "../base/tuple.ts";
import type { Cancel, Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import type { ActorId } from "./actor.ts";
import { actorName, describeActor } from "./actor-id.ts";
import { inboxesPrefix, inboxPrefix, inboxSlotPrefix, reminderSlots } from "./actor-rows.ts";
import { pollMilliseconds } from "./reminder-scheduler.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Actors that are being told at one moment, and those that wait for it: one that finds no room is found by a search. */
const tellingMax = 256;
const waitingMax = 100_000;
/** How many actors a search tells in a second: after a crash there may be many. */
const foundPerSecond = 1_000;
const backoffMillisecondsMin = 1_000;
const backoffMillisecondsMax = 300_000;
/** Actors that could not be told and are tried again; one that is forgotten is found by a search. */
const failedMax = 10_000;

interface Failed {
  readonly failures: number;
  readonly cancel: Cancel;
}

export class Courier {
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #ownsSlot: (slot: number) => boolean;
  readonly #tell: (id: ActorId) => Promise<void>;
  readonly #bucket: TokenBucket;
  readonly #waiting = new Map<string, ActorId>();
  readonly #telling = new Set<string>();
  readonly #failed = new Map<string, Failed>();
  readonly #stop = new AbortController();
  #wake: AbortController | undefined;
  #wantsSearch = false;
  #onRoom: (() => void) | undefined;
  #stopped: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly store: Store;
    readonly environment: Environment;
    readonly ownsSlot: (slot: number) => boolean;
    /** Makes an actor look, wherever it is. Rejects if that is not certain. */
    readonly tell: (id: ActorId) => Promise<void>;
  }) {
    this.#store = options.store;
    this.#environment = options.environment;
    this.#ownsSlot = options.ownsSlot;
    this.#tell = options.tell;
    this.#bucket = new TokenBucket(options.environment.clock, foundPerSecond);
  }

  start(): void {
    this.#stopped = this.#run();
  }

  /** Something has come into the inbox of `id`, or is left in it. */
  tell(id: ActorId): void {
    const name = actorName(id);
    if (this.#stop.signal.aborted || this.#isPutOff(name) || this.#waiting.size >= waitingMax) return;
    this.#waiting.set(name, id);
    this.#begin();
  }

  /** The slots are shared out anew. */
  lookAgain(): void {
    this.#wantsSearch = true;
    this.#wake?.abort();
  }

  stop(): void {
    this.#stop.abort();
    this.#wake?.abort();
    this.#onRoom?.();
    this.#waiting.clear();
    for (const { cancel } of this.#failed.values()) cancel();
  }

  /** Resolves, after `stop`, when nobody is told any more. */
  get stopped(): Promise<void> {
    return this.#stopped;
  }

  #begin(): void {
    for (const [name, id] of this.#waiting) {
      if (this.#telling.size >= tellingMax) return;
      // Told once more when it has been: it may have looked before what came last was there.
      if (this.#telling.has(name)) continue;
      this.#waiting.delete(name);
      this.#telling.add(name);
      void this.#tellOne(id, name);
    }
  }

  async #tellOne(id: ActorId, name: string): Promise<void> {
    try {
      await this.#tell(id);
      this.#failed.delete(name);
    } catch (error) {
      this.#putOff(id, name, error);
    }
    this.#telling.delete(name);
    this.#begin();
    this.#onRoom?.();
  }

  #isPutOff(name: string): boolean {
    return this.#failed.has(name) && !this.#telling.has(name);
  }

  #putOff(id: ActorId, name: string, error: unknown): void {
    if (this.#stop.signal.aborted) return;
    const { clock, random, log } = this.#environment;
    const failures = (this.#failed.get(name)?.failures ?? 0) + 1;
    const backoff = Math.min(backoffMillisecondsMin * 2 ** (failures - 1), backoffMillisecondsMax);
    log.write("warn", "An actor could not be told of what was sent to it", { actor: describeActor(id), failures, error });
    const cancel = clock.schedule(backoff * (0.5 + random.fraction() / 2), () => {
      this.#waiting.set(name, id);
      this.#begin();
    });
    this.#failed.delete(name);
    this.#failed.set(name, { failures, cancel });
    if (this.#failed.size <= failedMax) return;
    const [oldest, forgotten] = this.#failed.entries().next().value!;
    forgotten.cancel();
    this.#failed.delete(oldest);
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#environment;
    for (;;) {
      this.#wantsSearch = false;
      try {
        await this.#search();
      } catch (error) {
        log.write("warn", "Inboxes could not be read", { error });
      }
      if (this.#stop.signal.aborted) return;
      if (this.#wantsSearch) continue;
      this.#wake = new AbortController();
      await clock.sleep(pollMilliseconds, this.#wake.signal);
      this.#wake = undefined;
    }
  }

  /** Tells every actor of this node's slots in whose inbox something is. */
  async #search(): Promise<void> {
    const { signal } = this.#stop;
    const [first] = await this.#store.read([{ ...tupleRange(inboxesPrefix), limit: 1 }]);
    if (first?.length === 0) return;
    let ranges = Array.from({ length: reminderSlots }, (_, slot) => slot)
      .filter(this.#ownsSlot)
      .map((slot) => tupleRange(inboxSlotPrefix(slot)));
    while (ranges.length > 0 && !signal.aborted) {
      const answers = await this.#store.read(ranges.map((range) => ({ ...range, limit: 1 })));
      const unfinished: typeof ranges = [];
      for (const [index, rows] of answers.entries()) {
        if (rows.length === 0) continue;
        const [, , , project, type, key] = decodeTuple(rows[0]!.key) as [string, string, number, string, string, string];
        const id: ActorId = { project, type, key };
        await this.#bucket.take(signal);
        while (this.#waiting.size >= tellingMax && !signal.aborted) await new Promise<void>((resolve) => (this.#onRoom = resolve));
        this.tell(id);
        // Behind everything that this actor was sent.
        unfinished.push({ begin: tupleRange(inboxPrefix(id)).end, end: ranges[index]!.end });
      }
      ranges = unfinished;
    }
  }
}
