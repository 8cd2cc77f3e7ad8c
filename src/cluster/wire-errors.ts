/** Errors of another node as what they were: callers tell errors apart by their classes. */
import {
  ActivationLostError,
  ActorElsewhereError,
  ActorMessageError,
  ActorsStoppedError,
  CancelledError,
  DeadlineExceededError,
  InvocationIdReusedError,
  MailboxFullError,
  ReplyNotKeptError,
  UnknownActorTypeError,
} from "../actors/actor.ts";
import { InvariantError } from "../base/assert.ts";
import { CommitUnknownError, LimitError, StoreUnavailableError } from "../storage/store.ts";
import { ConflictError } from "../storage/transaction.ts";
import type { RemoteError } from "./transport.ts";

/** A class of errors whose objects hold nothing but a message and plain fields. */
export type ErrorClass = abstract new (...parameters: never) => Error;

const known: readonly ErrorClass[] = [
  Error,
  TypeError,
  RangeError,
  InvariantError,
  ActivationLostError,
  ActorElsewhereError,
  ActorMessageError,
  ActorsStoppedError,
  CancelledError,
  DeadlineExceededError,
  InvocationIdReusedError,
  MailboxFullError,
  ReplyNotKeptError,
  UnknownActorTypeError,
  CommitUnknownError,
  LimitError,
  StoreUnavailableError,
  ConflictError,
];

export class WireErrors {
  readonly #classes = new Map<string, ErrorClass>();

  /** `classes`: those that actors of this program throw, beside the ones that all have. */
  constructor(classes: readonly ErrorClass[] = []) {
    for (const each of [...known, ...classes]) this.#classes.set(each.name, each);
  }

  /** The error as its own class, with the other node's as its cause; one of an unknown class stays a `RemoteError`. */
  rebuild(error: RemoteError): Error {
    const { remoteName, message, fields } = error;
    const errorClass = this.#classes.get(remoteName);
    if (errorClass === undefined) return error;
    // Not through the constructor, whose parameters are each class's own: the fields are what it would have set.
    const rebuilt = new Error(message, { cause: error });
    Object.setPrototypeOf(rebuilt, errorClass.prototype as object);
    return Object.assign(rebuilt, fields, { name: remoteName });
  }
}
