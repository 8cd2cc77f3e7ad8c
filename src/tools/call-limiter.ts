/**
 * How often tools are called, and how many of their calls are under way, counted at this node for each tool of a project.
 *
 * - The rate is a bucket of `calls` tokens that fills in `seconds`. A call without a token is refused, with when there is one.
 * - A call over `concurrency` waits. Agents take turns, so that one with many calls does not keep the others waiting.
 */
import { assert } from "../base/assert.ts";
import type { Environment } from "../environment/environment.ts";
import type { CallLimit } from "./tool-policy.ts";

/** Calls of one tool that may wait. */
export const waitingCallsMax = 1_000;

/** Whoever may call gives its place back by `leave`. */
export type Admission =
  | { readonly ok: true; leave(): void }
  | { readonly ok: false; readonly reason: "rate"; readonly afterMilliseconds: number }
  | { readonly ok: false; readonly reason: "full" };

export interface CallOfTool {
  readonly project: string;
  readonly tool: string;
  readonly agentId: string;
}

export class CallLimiter {
  readonly #environment: Environment;
  readonly #buckets = new Map<string, Bucket>();
  readonly #queues = new Map<string, Queue>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Waits for a place. Rejects with the signal's reason. */
  async enter(call: CallOfTool, limit: CallLimit | undefined, signal: AbortSignal): Promise<Admission> {
    if (limit === undefined) return { ok: true, leave: () => undefined };
    const name = `${call.project}/${call.tool}`;
    // The token is taken last: a call that waits in vain takes none.
    const queue = limit.concurrency === undefined ? undefined : this.#queue(name, limit.concurrency);
    if (queue !== undefined && !(await queue.enter(call.agentId, signal))) return { ok: false, reason: "full" };
    const leave = (): void => {
      if (queue?.leave() === true) this.#queues.delete(name);
    };
    const afterMilliseconds = this.#takeToken(name, limit);
    if (afterMilliseconds === 0) return { ok: true, leave };
    leave();
    return { ok: false, reason: "rate", afterMilliseconds };
  }

  /** How long until there is one; 0: it was taken. */
  #takeToken(name: string, { calls, seconds = 1 }: CallLimit): number {
    if (calls === undefined) return 0;
    const now = this.#environment.clock.elapsed();
    const bucket = this.#buckets.get(name) ?? { tokens: calls, at: now };
    const perMillisecond = calls / (seconds * 1_000);
    bucket.tokens = Math.min(calls, bucket.tokens + (now - bucket.at) * perMillisecond);
    bucket.at = now;
    this.#buckets.set(name, bucket);
    // Sums of fractions fall a little short of the whole.
    if (bucket.tokens < 1 - 1e-9) return Math.ceil((1 - bucket.tokens) / perMillisecond);
    bucket.tokens -= 1;
    return 0;
  }

  #queue(name: string, places: number): Queue {
    let queue = this.#queues.get(name);
    if (queue === undefined) this.#queues.set(name, (queue = new Queue()));
    queue.places = places;
    return queue;
  }
}

interface Bucket {
  tokens: number;
  at: number;
}

/** The calls of one tool: those under way, and by agent those that wait. */
class Queue {
  places = 1;
  #inside = 0;
  #waitingCount = 0;
  /** Whose turn is next comes first. */
  readonly #waiting = new Map<string, (() => void)[]>();

  /** False: too many wait already. */
  async enter(agentId: string, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    if (this.#inside < this.places && this.#waitingCount === 0) {
      this.#inside++;
      return true;
    }
    if (this.#waitingCount >= waitingCallsMax) return false;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const mine = this.#waiting.get(agentId) ?? [];
    this.#waiting.set(agentId, mine);
    mine.push(resolve);
    this.#waitingCount++;
    const giveUp = (): void => {
      if (!mine.includes(resolve)) return;
      mine.splice(mine.indexOf(resolve), 1);
      this.#waitingCount--;
      if (mine.length === 0) this.#waiting.delete(agentId);
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
    return true;
  }

  /** True: nobody is here any more. */
  leave(): boolean {
    this.#inside--;
    assert(this.#inside >= 0, "Whoever leaves was inside");
    while (this.#inside < this.places && this.#waitingCount > 0) {
      const [agentId, mine] = this.#waiting.entries().next().value!;
      this.#waiting.delete(agentId);
      const next = mine.shift()!;
      if (mine.length > 0) this.#waiting.set(agentId, mine);
      this.#waitingCount--;
      this.#inside++;
      next();
    }
    return this.#inside === 0;
  }
}
