/**
 * Brings a message to the node that has its actor, wherever that is by now (C5).
 *
 * R1. What certainly took no effect is tried again; what may have is tried again only if a repeat does no harm, which
 *     an invocation id sees to. Everything else is the caller's to decide.
 * R2. Who is told where the actor is goes there at once, `hopsMax` times; then it waits and looks again, at once when the
 *     members have changed.
 * R3. A caller waits no longer than its deadline, nor much longer than it takes until a dead node is known to be dead.
 */
import {
  ActivationLostError,
  ActorElsewhereError,
  type ActorId,
  ActorsStoppedError,
  CancelledError,
  DeadlineExceededError,
  MailboxFullError,
} from "../actors/actor.ts";
import { actorName, describeActor, validateActorId } from "../actors/actor-id.ts";
import type { ActorRuntime } from "../actors/actor-runtime.ts";
import type { Environment } from "../environment/environment.ts";
import { StoreUnavailableError } from "../storage/store.ts";
import { type ClusterTimings, evictionMilliseconds, hopsMax, type Member } from "./cluster.ts";
import type { MemberPlacement } from "./cluster-placement.ts";
import type { ActorLocator } from "./locator.ts";
import {
  type CallOptions,
  HandshakeError,
  type NodeAddress,
  NodeUnreachableError,
  OverloadedError,
  RemoteError,
  ReplyLostError,
} from "./transport.ts";
import type { WireErrors } from "./wire-errors.ts";

/** Errors of an attempt that did nothing. Every other one is the outcome of a turn, which knows what was there before it. */
const refusals = [StoreUnavailableError, MailboxFullError, ActorsStoppedError, ActorElsewhereError] as const;
/** Messages of this node that wait to be tried again. */
const waitingMax = 10_000;
const pauseMillisecondsMin = 10;
const pauseMillisecondsMax = 500;
const retryAfterMilliseconds = 1_000;

/** One message, as it is delivered here or sent to another node. */
export interface Delivery<T> {
  readonly id: ActorId;
  readonly timeoutMilliseconds: number;
  readonly signal?: AbortSignal | undefined;
  /** Whether delivering it twice does no harm, as it is now: sending it may have given it an invocation id. */
  isRepeatable(): boolean;
  here(timeoutMilliseconds: number): Promise<T>;
  there(address: NodeAddress, options: CallOptions): Promise<T>;
}

/** What is to be done after a failure. */
type Next =
  | { readonly kind: "throw"; readonly error: Error }
  | { readonly kind: "follow"; readonly owner: string }
  | { readonly kind: "again" };

/** What one delivery has been through. */
interface Attempts {
  readonly startedAt: number;
  /** When the first of the failures in a row was. */
  failingSince: number | undefined;
  redirects: number;
  failures: number;
  /** It may have taken effect. */
  isDoubtful: boolean;
}

export class Router {
  readonly #environment: Environment;
  readonly #runtime: ActorRuntime;
  readonly #placement: MemberPlacement;
  readonly #locator: ActorLocator;
  readonly #errors: WireErrors;
  readonly #patience: number;
  #waiting = 0;
  /** Aborts when the members have changed. */
  #change = new AbortController();
  /** Messages on their way, by node: what ends the wait for its answer. */
  readonly #sent = new Map<string, Set<(error: Error) => void>>();

  constructor(options: {
    readonly environment: Environment;
    readonly runtime: ActorRuntime;
    readonly placement: MemberPlacement;
    readonly locator: ActorLocator;
    readonly errors: WireErrors;
    readonly timings: ClusterTimings;
  }) {
    this.#environment = options.environment;
    this.#runtime = options.runtime;
    this.#placement = options.placement;
    this.#locator = options.locator;
    this.#errors = options.errors;
    this.#patience = 3 * evictionMilliseconds(options.timings);
  }

  /** The members have changed: who waits for a node looks again, and the dead are not waited for. */
  membersChanged(died: readonly Member[]): void {
    for (const { node } of died)
      for (const giveUp of this.#sent.get(node) ?? []) giveUp(new ReplyLostError(`Node ${node} has died before it answered`));
    if (this.#waiting === 0) return;
    this.#change.abort("The members have changed");
    this.#change = new AbortController();
  }

  async deliver<T>(delivery: Delivery<T>): Promise<T> {
    const { id } = delivery;
    const { clock } = this.#environment;
    const name = actorName(id);
    if (!this.#runtime.has(id)) validateActorId(id);
    const attempts: Attempts = { startedAt: clock.elapsed(), failingSince: undefined, redirects: 0, failures: 0, isDoubtful: false };
    let redirect: string | undefined;
    for (;;) {
      const left = delivery.timeoutMilliseconds - (clock.elapsed() - attempts.startedAt);
      if (left <= 0) throw lateError(delivery, attempts);
      let node: string | undefined;
      let next: Next;
      try {
        node = this.#runtime.has(id) ? this.#placement.node : (redirect ?? (await this.#locator.find(id, name)));
        if (node === this.#placement.node) return await delivery.here(left);
        const reply = await this.#send(delivery, node, left, attempts);
        this.#locator.remember(name, node);
        return reply;
      } catch (error) {
        next = this.#judge(error as Error, node, delivery, attempts);
      }
      redirect = undefined;
      if (next.kind === "throw") throw next.error;
      if (next.kind === "follow" && attempts.redirects < hopsMax) {
        attempts.redirects++;
        redirect = next.owner;
        this.#locator.remember(name, next.owner);
        this.#environment.probe("cluster.redirected");
      } else {
        if (next.kind === "follow") this.#environment.probe("cluster.hopLimit", "sometimes");
        this.#locator.forget(name);
        attempts.redirects = 0;
        await this.#pause(delivery, attempts);
      }
    }
  }

  async #send<T>(delivery: Delivery<T>, node: string, left: number, attempts: Attempts): Promise<T> {
    const member = await this.#placement.find(node);
    if (member?.address == null) throw new NodeUnreachableError(`Node ${node} is gone`);
    this.#environment.probe("cluster.forwarded");
    const { signal } = delivery;
    try {
      const answer = delivery.there(member.address, {
        timeoutMilliseconds: Math.max(1, Math.floor(left)),
        hops: attempts.redirects,
        ...(signal === undefined ? {} : { signal }),
      });
      return await this.#unlessDead(node, answer);
    } catch (error) {
      throw error instanceof RemoteError ? this.#errors.rebuild(error) : (error as Error);
    }
  }

  /** The answer of a node. A connection to one that is cut off may be tried for seconds after it is known to be dead. */
  async #unlessDead<T>(node: string, answer: Promise<T>): Promise<T> {
    const death = Promise.withResolvers<never>();
    const sent = this.#sent.get(node) ?? new Set();
    this.#sent.set(node, sent.add(death.reject));
    try {
      return await Promise.race([answer, death.promise]);
    } finally {
      sent.delete(death.reject);
      if (sent.size === 0) this.#sent.delete(node);
    }
  }

  #judge(error: Error, node: string | undefined, delivery: Delivery<unknown>, attempts: Attempts): Next {
    const isHere = node === this.#placement.node;
    if (!isHere && delivery.signal?.aborted === true)
      return { kind: "throw", error: new CancelledError("The caller gave the invocation up", { cause: delivery.signal.reason }) };
    if (error instanceof ActorElsewhereError && error.owner !== undefined && error.owner !== node)
      return { kind: "follow", owner: error.owner };
    if (error instanceof OverloadedError) {
      const full = new MailboxFullError(`Cannot deliver to ${describeActor(delivery.id)}: ${error.message}`, error.retryAfterMilliseconds);
      return { kind: "throw", error: overAllAttempts(full, delivery, attempts) };
    }
    const isCertain =
      error instanceof NodeUnreachableError ||
      error instanceof HandshakeError ||
      (error instanceof ActorElsewhereError && node !== undefined) ||
      (error instanceof ActorsStoppedError && !isHere) ||
      (error instanceof ActivationLostError && error.tookNoEffect);
    const isLost = error instanceof ReplyLostError || error instanceof ActivationLostError;
    if (!isCertain && !isLost) return { kind: "throw", error: overAllAttempts(error, delivery, attempts) };
    if (!isCertain) attempts.isDoubtful = true;
    const now = this.#environment.clock.elapsed();
    if (now - attempts.startedAt >= delivery.timeoutMilliseconds) return { kind: "throw", error: lateError(delivery, attempts) };
    if (!isCertain && !delivery.isRepeatable())
      return {
        kind: "throw",
        error:
          error instanceof ActivationLostError
            ? error
            : new ActivationLostError(`Whether ${describeActor(delivery.id)} was reached is unknown: ${error.message}`, { cause: error }),
      };
    attempts.failingSince ??= now;
    if (now - attempts.failingSince < this.#patience) return { kind: "again" };
    return { kind: "throw", error: lostError(delivery.id, node, attempts, error) };
  }

  /** Waits before the next attempt. @throws {MailboxFullError} Too many wait already. */
  async #pause(delivery: Delivery<unknown>, attempts: Attempts): Promise<void> {
    const { clock, random } = this.#environment;
    if (this.#waiting >= waitingMax)
      throw attempts.isDoubtful
        ? new ActivationLostError(
            `Whether ${describeActor(delivery.id)} was reached is unknown, and ${this.#waiting} messages wait to be tried again`,
          )
        : new MailboxFullError(
            `Cannot deliver to ${describeActor(delivery.id)}: ${this.#waiting} messages wait for a node`,
            retryAfterMilliseconds,
          );
    this.#environment.probe("cluster.retried");
    const pause = Math.min(pauseMillisecondsMin * 2 ** attempts.failures++, pauseMillisecondsMax);
    const left = delivery.timeoutMilliseconds - (clock.elapsed() - attempts.startedAt);
    this.#waiting++;
    try {
      const { signal } = this.#change;
      const until = delivery.signal === undefined ? signal : AbortSignal.any([signal, delivery.signal]);
      await clock.sleep(Math.min(pause * (0.5 + random.fraction() / 2), left), until);
    } finally {
      this.#waiting--;
    }
    if (delivery.signal?.aborted === true) throw new CancelledError("The caller gave the invocation up", { cause: delivery.signal.reason });
  }
}

/** What the caller is told when an attempt has failed for good: that it took no effect says nothing of those before it (R1). */
function overAllAttempts(error: Error, delivery: Delivery<unknown>, attempts: Attempts): Error {
  if (!attempts.isDoubtful) return error;
  if (error instanceof DeadlineExceededError) return lateError(delivery, attempts);
  return refusals.some((refusal) => error instanceof refusal) ? lostError(delivery.id, undefined, attempts, error) : error;
}

function lateError({ id, timeoutMilliseconds }: Delivery<unknown>, { isDoubtful }: Attempts): DeadlineExceededError {
  const state = isDoubtful ? "its turn may have started, and may still take effect" : "its turn had not started";
  return new DeadlineExceededError(`No reply of ${describeActor(id)} within ${timeoutMilliseconds} ms: ${state}`, isDoubtful);
}

function lostError(id: ActorId, node: string | undefined, { isDoubtful }: Attempts, cause: Error): Error {
  if (isDoubtful)
    return new ActivationLostError(`Whether a message for ${describeActor(id)} took effect is unknown: ${cause.message}`, { cause });
  return new ActorElsewhereError(`${describeActor(id)} is held by node ${node}, which cannot be reached: ${cause.message}`, node, {
    cause,
  });
}
