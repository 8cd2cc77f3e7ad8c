import type { Cancel, Environment } from "../environment/environment.ts";
import { CancelledError, DeadlineExceededError, type Turn } from "./actor.ts";
import type { Sent } from "./inbox.ts";
import type { Mailbox } from "./mailbox.ts";

/** What a turn is to do. */
export type Task =
  | { readonly kind: "message"; readonly message: unknown }
  | { readonly kind: "reminder"; readonly name: string; readonly due: number }
  /** Something has come into the inbox. */
  | { readonly kind: "look" }
  /** A message out of the inbox. */
  | { readonly kind: "sent"; readonly sent: Sent }
  /** Work of the activation itself: it ends with it. */
  | { readonly kind: "own"; readonly work: (turn: Turn) => Promise<unknown> };

/** A named invocation: `message` is the fingerprint of its message. */
export interface Invocation {
  readonly id: string;
  readonly message: number;
  readonly recordOnlyWrites: boolean;
}

export interface Abortable {
  abort(reason: Error): void;
}

/**
 * A task on its way through one actor, and the promise of its outcome.
 *
 * It waits, then it may start, and at some time it is settled, once. Settling does not end a turn that has started:
 * that is asked to end through its signal.
 */
export class Envelope {
  readonly task: Task;
  readonly bytes: number;
  readonly invocation: Invocation | undefined;
  readonly outcome: Promise<unknown>;
  #resolve!: (reply: unknown) => void;
  #reject!: (error: unknown) => void;
  #settled = false;
  #started = false;
  #mailbox: Mailbox | undefined;
  #turn: Abortable | undefined;
  #abortReason: Error | undefined;
  #cancelDeadline: Cancel | undefined;
  #unlisten: (() => void) | undefined;

  constructor(task: Task, options: { readonly bytes?: number; readonly invocation?: Invocation | undefined } = {}) {
    this.task = task;
    this.bytes = options.bytes ?? 0;
    this.invocation = options.invocation;
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Why the turn should end early: it was cancelled, its time ran out, or its activation ended. */
  get abortReason(): Error | undefined {
    return this.#abortReason;
  }

  get isSettled(): boolean {
    return this.#settled;
  }

  /** From now on the outcome is there after `milliseconds` at the latest. `describe` names the actor for the error. */
  limitTime(environment: Environment, milliseconds: number, describe: () => string): void {
    if (this.#settled) return;
    this.#cancelDeadline = environment.clock.schedule(milliseconds, () => {
      environment.probe(this.#started ? "actors.turnTooLate" : "actors.expired");
      const state = this.#started ? "its turn had started and may still take effect" : "its turn had not started";
      this.#giveUp(new DeadlineExceededError(`No reply of ${describe()} within ${milliseconds} ms: ${state}`, this.#started), true);
    });
  }

  /** The caller's own signal: drops the task while it waits; a turn that has started is asked to end, and its outcome stays the answer. */
  follow(signal: AbortSignal): void {
    if (this.#settled) return;
    const listener = (): void => this.cancel(new CancelledError("The caller gave the invocation up", { cause: signal.reason }));
    signal.addEventListener("abort", listener);
    this.#unlisten = () => signal.removeEventListener("abort", listener);
  }

  cancel(reason: Error): void {
    this.#giveUp(reason, !this.#started);
  }

  /** While the task waits: the mailbox it waits in. */
  waitIn(mailbox: Mailbox | undefined): void {
    this.#mailbox = mailbox;
  }

  /** Takes the task out of its mailbox for good. False: it was dropped before. */
  start(): boolean {
    if (this.#settled) return false;
    this.#started = true;
    this.#mailbox?.remove(this);
    return true;
  }

  /** The turn that is being run for the task, which is told when to end early. */
  runs(turn: Abortable): void {
    this.#turn = turn;
    if (this.#abortReason !== undefined) turn.abort(this.#abortReason);
  }

  abort(reason: Error): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#turn?.abort(reason);
  }

  resolve(reply: unknown): void {
    this.#settle();
    this.#resolve(reply);
  }

  reject(error: unknown): void {
    this.#settle();
    this.#reject(error);
  }

  #giveUp(reason: Error, settle: boolean): void {
    if (this.#started) this.abort(reason);
    if (settle) this.reject(reason);
  }

  #settle(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#mailbox?.remove(this);
    this.#cancelDeadline?.();
    this.#unlisten?.();
  }
}
