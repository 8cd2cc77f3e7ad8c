/**
 * Actors: addressable state with behaviour, alive in memory while used.
 *
 * A1. At most one activation of an actor can commit: every batch checks and writes the actor's header (its epoch).
 * A2. Turns of one actor run one at a time, in the order in which their envelopes were accepted.
 * A3. A turn's writes are one part of one batch: all or none. A turn that throws leaves no writes. (`turn.durable()`
 *     ends a part: what a turn wrote before it stays.)
 * A4. A reply leaves after the batch with the writes of its turn, and of every turn before it, is durable.
 * A5. An envelope with an invocation id takes effect at most once, as long as its deduplication record lives.
 * A6. A reminder is delivered at least once after it is due, also after a restart; its turn deletes it.
 * A7. A message that a turn sends is handled exactly once if the turn's writes became durable, and never otherwise:
 *     after those that the same actor sent before to the same receiver. The turn that handles it takes it out of the
 *     receiver's inbox in its own batch. One over which turns throw again and again is kept as a dead letter.
 */
import type { Tuple } from "../base/tuple.ts";
import type { Write } from "../storage/store.ts";
import type { Transaction } from "../storage/transaction.ts";

export interface ActorId {
  /** 1 to 100 characters, well-formed, without U+0000. */
  readonly project: string;
  /** 1 to 100 characters of `a-z A-Z 0-9 . _ -`. */
  readonly type: string;
  /** 1 to 500 characters, well-formed. */
  readonly key: string;
}

/**
 * The behaviour of one actor. Its fields are a cache: what must survive is in `turn.state`.
 *
 * A turn that throws leaves no writes, so it must leave the fields as they were too. A bug is taken to have spoilt
 * them: an `InvariantError`, `TypeError`, `ReferenceError` or `RangeError` out of a turn discards the activation, and
 * the next message starts a fresh one. On one node messages and replies are passed as they are: whoever passes an
 * object on does not change it afterwards.
 */
export interface Actor<Message = unknown, Reply = unknown> {
  /** Runs before the first turn of an activation; may read, must not write. */
  activate?(): Promise<void>;
  receive(message: Message, turn: Turn): Promise<Reply>;
  /** A reminder that this actor set is due. Runs as a turn. */
  remind?(reminder: Reminder, turn: Turn): Promise<void>;
  /** Runs when the activation leaves memory in good order: not after a crash, and not to save anything. */
  deactivate?(): Promise<void>;
  /**
   * The actor is to move to another node: resolves when what it does in the background has come to a good point, from
   * which its next activation goes on. Not a turn; messages are handled meanwhile. After 30 s it moves all the same,
   * and what still runs then is ended as on a stop.
   */
  prepareToMove?(): Promise<void>;
  /**
   * Runs before `deactivate` when the actor moves to another node: gives what its next activation may have as
   * `activation.handedOver`, at most 1 MB of JSON. A convenience: it is lost when the move fails.
   */
  handOver?(): unknown;
}

/** A kind of actor: how to make the behaviour for one id. */
export interface ActorType<Message = unknown, Reply = unknown> {
  readonly type: string;
  create(activation: Activation): Actor<Message, Reply>;
  /** Checks a message that comes over HTTP and gives the message for `receive`; throws an `ActorMessageError`. Absent: not callable over HTTP. */
  parse?(method: string, body: unknown): Message;
}

/** What an actor's behaviour may use between turns, for work that is longer than a turn. */
export interface Activation {
  readonly id: ActorId;
  /**
   * Aborts when the activation ends for any reason. On a graceful stop it aborts first, and `turn` still works for
   * as long as the node waits for background work to come to a good end (10 s by default).
   */
  readonly signal: AbortSignal;
  /**
   * The version in which rows are written now. Grows while the actor lives, when the last node of an older Kelpie has
   * gone: until then what only newer ones can read must not be written.
   */
  readonly schema: number;
  /** What the activation before this one, on another node, has handed over. Usually `undefined`. */
  readonly handedOver: unknown;
  /** Reads own rows outside a turn, for `activate`. */
  readonly state: Pick<ScopedStore, "get" | "list">;
  /**
   * Runs `work` as a turn of this actor, after those already in the mailbox, and resolves when it is durable.
   *
   * @throws {ActivationLostError} This activation cannot commit any more.
   */
  turn<T>(work: (turn: Turn) => Promise<T>): Promise<T>;
  /** Keeps the activation in memory until `work` settles. A rejection is logged. */
  background(work: Promise<void>): void;
}

/** One message being handled. Usable until `receive` returns. May run several times when it uses `shared`: its fields must not remember an earlier run. */
export interface Turn {
  readonly state: ScopedStore;
  /**
   * Rows that belong to no single actor, by absolute keys: what it read is checked when the turn commits, and the turn
   * runs again from the start on a conflict, up to 16 times (then a `ConflictError`). Such a turn commits alone.
   */
  readonly shared: Transaction;
  /** Aborts at the deadline, on `cancel`, and when the activation ends. */
  readonly signal: AbortSignal;
  /** Of a message that another actor's turn has sent. Absent: somebody waits for the reply, or it is no message. */
  readonly origin: Origin | undefined;
  /** Adds writes of rows that only this actor writes, such as index rows, to the turn's batch. Not of its own state. */
  write(...writes: readonly Write[]): void;
  /**
   * Sets, moves or (with `undefined`) cancels the reminder called `name` (1 to 200 characters). `due` is Unix
   * milliseconds, also in the past or years away. `earlyAfterRestart`: a node that starts delivers it at once if it is
   * due within the next ten minutes, which is how work interrupted by a crash goes on right after it.
   */
  remind(
    name: string,
    reminder: { readonly due: number; readonly payload?: unknown; readonly earlyAfterRestart?: boolean } | undefined,
  ): void;
  /**
   * Sends a message to an actor of the same project, which may be this one: a part of the turn's writes. The receiver
   * handles it exactly once, wherever it is and whatever crashes, after what this actor sent to it before. Nobody gets
   * its reply. When the receiver's turn throws, the message stays first of this sender's and is tried again after 1 s,
   * then after twice as long, up to a minute; after 8 attempts it becomes a dead letter (`listDeadLetters`). A turn that
   * throws a `MailboxFullError` says "not now": that counts as no attempt.
   *
   * A message is JSON of at most 64,000 bytes; a turn sends at most 1,000. A receiver whose inbox is full (10,000
   * messages, about) makes the turn fail with a `MailboxFullError`.
   *
   * @throws {UnknownActorTypeError} This node has no such actors. @throws {ActorMessageError} @throws {LimitError}
   */
  send(id: ActorId, message: unknown): void;
  /**
   * Resolves when the writes of the turns before this one, and those made so far in this one, are durable: what a
   * turn awaits before it lets anything leave the actor.
   *
   * @throws {ActivationLostError} @throws {ConflictError} `shared` rows have changed; the turn runs again.
   */
  durable(): Promise<void>;
}

/** Where a message comes from that a turn has sent. */
export interface Origin {
  readonly sender: ActorId;
  /** Unlike that of every other message in the project, and the same for every attempt: for effects outside. */
  readonly id: string;
  /** When it was sent, Unix milliseconds. */
  readonly at: number;
  /** 1 at first; grows with each turn that threw. */
  readonly attempt: number;
}

/** An actor's own rows. What was read or written stays in memory: the epoch protects it. Keys are relative to the actor. */
export interface ScopedStore {
  /** A fresh copy of the value each time. */
  get<T>(key: Tuple): Promise<T | undefined>;
  set(key: Tuple, value: unknown): void;
  delete(key: Tuple): void;
  /** Rows under `prefix` with this actor's uncommitted changes, in the order of their keys. */
  list<T>(
    prefix: Tuple,
    options: { readonly limit: number; readonly reverse?: boolean; readonly after?: Tuple },
  ): Promise<{ readonly key: Tuple; readonly value: T }[]>;
}

export interface Reminder {
  readonly name: string;
  /** Unix milliseconds. */
  readonly due: number;
  readonly payload: unknown;
}

export interface InvokeOptions {
  /**
   * Chosen by the outermost caller, the same for every retry: makes the invocation take effect at most once. 1 to 200
   * characters. The outcome is kept for at least 15 minutes after it took effect: retry no later than that after the
   * first attempt. An invocation that threw is run again by a retry: it has left nothing, except what its turn had made
   * `durable`. Needs a message and a reply
   * that are JSON; a repeat is answered with the reply as JSON gives it back.
   */
  readonly invocationId?: string;
  /**
   * Makes nothing of a turn that writes nothing, so that it costs no commit: a repeat runs again, and may write then.
   * For a caller who shows only one of the answers to anybody.
   */
  readonly recordOnlyWrites?: boolean;
  /** How long the caller waits. 60,000 by default, at most a day. */
  readonly timeoutMilliseconds?: number;
  readonly signal?: AbortSignal;
}

/** The actors of this node, and the way to any of them. */
export interface Actors extends AsyncDisposable {
  register<Message, Reply>(type: ActorType<Message, Reply>): void;
  /**
   * Delivers a message and resolves with the reply, after it is durable.
   *
   * @throws What the actor's turn threw, one of the errors below, or a `StoreUnavailableError`: it took no effect.
   */
  invoke<Reply>(id: ActorId, message: unknown, options?: InvokeOptions): Promise<Reply>;
  /**
   * Aborts the signal of the running turn and drops the messages that wait, without waiting for the mailbox. The
   * actor's own turns (`activation.turn`) and reminders still run. False: not active here.
   */
  cancel(id: ActorId, reason: string): boolean;
  /** Where the actor is, and what waits for it there. `undefined`: no living node has it. */
  inspect(id: ActorId): Promise<ActorSight | undefined>;
  /** Activations in memory. */
  readonly live: number;
}

/** An actor, seen from outside. */
export interface ActorSight {
  /** The living node that has the actor. */
  readonly node: string;
  /** Whether that node could be asked: what is in its memory is not known otherwise. */
  readonly answers: boolean;
  /** Absent: the actor is not in memory. */
  readonly live?: LiveActor;
}

/** What is in memory of an actor. */
export interface LiveActor {
  /** A turn, a commit or work in the background is under way, or messages wait. */
  readonly isBusy: boolean;
  /** Messages that wait, their estimated bytes, and how many of both may. */
  readonly messages: number;
  readonly messagesMax: number;
  readonly bytes: number;
  readonly bytesMax: number;
}

/** Too many messages wait for an actor. Not delivered; try again after `retryAfterMilliseconds`. */
export class MailboxFullError extends Error {
  override readonly name = "MailboxFullError";
  readonly retryAfterMilliseconds: number;

  constructor(message: string, retryAfterMilliseconds: number) {
    super(message);
    this.retryAfterMilliseconds = retryAfterMilliseconds;
  }
}

/** The time for an invocation ran out. `started: false`: its turn never ran; `true`: it may still take effect. */
export class DeadlineExceededError extends Error {
  override readonly name = "DeadlineExceededError";
  readonly started: boolean;

  constructor(message: string, started: boolean) {
    super(message);
    this.started = started;
  }
}

/**
 * The activation ended under the invocation. Unless `tookNoEffect`, whether it took effect is unknown without an
 * invocation id: retry with one.
 */
export class ActivationLostError extends Error {
  override readonly name = "ActivationLostError";
  /** It is certain that nothing was written. */
  readonly tookNoEffect: boolean;

  constructor(message: string, options: { readonly cause?: unknown; readonly tookNoEffect?: boolean } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.tookNoEffect = options.tookNoEffect ?? false;
  }
}

/** Another node that is alive holds the actor, and this node cannot forward. Not delivered. */
export class ActorElsewhereError extends Error {
  override readonly name = "ActorElsewhereError";
  /** The node to ask; absent where nobody can say. */
  readonly owner: string | undefined;

  constructor(message: string, owner?: string, options?: ErrorOptions) {
    super(message, options);
    this.owner = owner;
  }
}

/** This node is stopping. The message was not delivered: send it again, to another node or after the restart. */
export class ActorsStoppedError extends Error {
  override readonly name = "ActorsStoppedError";
}

/** An invocation id came again with a different message. Nothing ran. */
export class InvocationIdReusedError extends Error {
  override readonly name = "InvocationIdReusedError";
}

/** The invocation took effect before, once; its reply was too large to be kept for a repeat. */
export class ReplyNotKeptError extends Error {
  override readonly name = "ReplyNotKeptError";
}

export class UnknownActorTypeError extends Error {
  override readonly name = "UnknownActorTypeError";
}

/** A message that the actor cannot accept. Says what would be right. */
export class ActorMessageError extends Error {
  override readonly name = "ActorMessageError";
}

/** The invocation was cancelled. */
export class CancelledError extends Error {
  override readonly name = "CancelledError";
}
