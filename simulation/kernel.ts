/**
 * The heart of the simulation: one heap of events, one virtual clock, one thread.
 *
 * K1. Events run in the order of (virtual time, the order in which they were scheduled).
 * K2. All microtasks that an event made ready run before the next event, so what happens inside an event is fixed
 *     and interleavings differ only by event times, which the seed decides.
 * K3. An event of an owner that is no longer alive never runs; one of a paused owner waits.
 * K4. Every event enters the trace: two runs of one seed have the same trace, or the code is not deterministic.
 */
import { assert } from "../src/base/assert.ts";
import type { Cancel } from "../src/environment/environment.ts";
import { guardGlobals } from "./globals.ts";
import { drainMicrotasks, inMacrotask, nextMacrotask } from "./microtasks.ts";
import { Trace } from "./trace.ts";

/** Whose event it is: the incarnation of a process. Events without an owner are the world's own. */
export interface Owner {
  readonly label: string;
  readonly alive: boolean;
  readonly paused: boolean;
  /** Called with an event that is due while the owner is paused; the owner hands it back with `reschedule`. */
  hold(event: KernelEvent): void;
}

export interface KernelEvent {
  readonly kind: string;
  readonly details: string;
  readonly owner: Owner | undefined;
  readonly run: () => void;
  time: number;
  sequence: number;
  isCancelled: boolean;
}

export interface EventOptions {
  readonly kind: string;
  readonly owner?: Owner;
  readonly details?: string;
}

export interface KernelLimits {
  readonly eventsMax: number;
  readonly virtualMillisecondsMax: number;
}

/** `stopped`: somebody called `stop`; `idle`: nothing is left to happen; the others: a limit was reached. */
export type RunEnd = "stopped" | "idle" | "eventsMax" | "virtualMillisecondsMax";

export class Kernel {
  readonly trace: Trace;
  readonly limits: KernelLimits;
  readonly #guard: () => () => void;
  readonly #drain: (() => void) | undefined;
  readonly #heap = new EventHeap();
  #now = 0;
  #sequence = 0;
  #events = 0;
  #isStopped = false;

  /**
   * `guardsGlobals: false` is for code that lives in real time beside the simulation, such as a contract suite;
   * `drain: undefined` waits at a boundary of macrotasks instead of asking V8.
   */
  constructor(
    options: {
      readonly trace?: Trace;
      readonly limits?: Partial<KernelLimits>;
      readonly guardsGlobals?: boolean;
      readonly drain?: (() => void) | undefined;
    } = {},
  ) {
    this.#drain = "drain" in options ? options.drain : drainMicrotasks;
    this.#guard = options.guardsGlobals === false ? () => () => {} : guardGlobals;
    this.trace = options.trace ?? new Trace();
    this.limits = { eventsMax: 2_000_000, virtualMillisecondsMax: 24 * 3_600_000, ...options.limits };
  }

  /** Virtual milliseconds since the start of the run, in whole microseconds. */
  get now(): number {
    return this.#now;
  }

  /** Events that ran. */
  get events(): number {
    return this.#events;
  }

  schedule(milliseconds: number, options: EventOptions, run: () => void): Cancel {
    assert(milliseconds >= 0, "K1: nothing is scheduled in the past");
    const event: KernelEvent = {
      kind: options.kind,
      details: options.details ?? "",
      owner: options.owner,
      run,
      time: Math.round((this.#now + milliseconds) * 1_000) / 1_000,
      sequence: this.#sequence++,
      isCancelled: false,
    };
    this.#heap.push(event);
    return () => {
      event.isCancelled = true;
    };
  }

  /** Makes a held event due now, after those that are already. */
  reschedule(event: KernelEvent): void {
    event.time = this.#now;
    event.sequence = this.#sequence++;
    this.#heap.push(event);
  }

  /** Enters something that is not an event of its own into the trace. */
  note(kind: string, who: string, details: string): void {
    this.trace.add(this.#now, kind, who, details);
  }

  /** Ends the run after the event that is running. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Runs events until nothing is left, a limit is reached, or `stop` is called. */
  async run(): Promise<RunEnd> {
    this.#isStopped = false;
    const drain = this.#drain;
    // With the native drain nothing else of this thread can run meanwhile: the guards hit simulated code only.
    if (drain !== undefined) return await inMacrotask(() => this.#runGuarded(drain));
    for (;;) {
      // Others may run at the boundary, so only the event itself is guarded here.
      const restore = this.#guard();
      let end: RunEnd | undefined;
      try {
        end = this.#step();
      } finally {
        restore();
      }
      if (end !== undefined) return end;
      await nextMacrotask();
    }
  }

  #runGuarded(drain: () => void): RunEnd {
    const restore = this.#guard();
    try {
      for (;;) {
        const end = this.#step();
        if (end !== undefined) return end;
        drain();
      }
    } finally {
      restore();
    }
  }

  #step(): RunEnd | undefined {
    if (this.#isStopped) return "stopped";
    const event = this.#nextEvent();
    if (event === undefined) return "idle";
    if (event.time > this.limits.virtualMillisecondsMax) return "virtualMillisecondsMax";
    if (this.#events >= this.limits.eventsMax) return "eventsMax";
    assert(event.time >= this.#now, "K1: time never goes back");
    this.#now = event.time;
    this.#events++;
    this.trace.add(this.#now, event.kind, event.owner?.label ?? "world", event.details);
    event.run();
    return undefined;
  }

  #nextEvent(): KernelEvent | undefined {
    for (;;) {
      const event = this.#heap.pop();
      if (event === undefined) return undefined;
      if (event.isCancelled || event.owner?.alive === false) continue;
      if (event.owner?.paused !== true) return event;
      event.owner.hold(event);
    }
  }
}

/** A binary heap: the event with the least (time, sequence) first. */
class EventHeap {
  readonly #events: KernelEvent[] = [];

  push(event: KernelEvent): void {
    const events = this.#events;
    let at = events.length;
    events.push(event);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (isBefore(events[parent]!, event)) break;
      events[at] = events[parent]!;
      at = parent;
    }
    events[at] = event;
  }

  pop(): KernelEvent | undefined {
    const events = this.#events;
    const first = events[0];
    const last = events.pop();
    if (first === undefined || last === undefined || events.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= events.length) break;
      if (child + 1 < events.length && isBefore(events[child + 1]!, events[child]!)) child++;
      if (isBefore(last, events[child]!)) break;
      events[at] = events[child]!;
      at = child;
    }
    events[at] = last;
    return first;
  }
}

function isBefore(left: KernelEvent, right: KernelEvent): boolean {
  return left.time < right.time || (left.time === right.time && left.sequence < right.sequence);
}
