/** How a turn ends, and what those who wait for it are told. */
import { InvariantError } from "../base/assert.ts";
import { ConflictError } from "../storage/transaction.ts";
import { ActivationLostError, type ActorId, ActorsStoppedError, InvocationIdReusedError, ReplyNotKeptError } from "./actor.ts";
import { describeActor } from "./actor-id.ts";
import type { InvocationRecord } from "./actor-rows.ts";
import type { Envelope, Invocation } from "./envelope.ts";
import type { PendingBatch } from "./pending-batch.ts";

export type TurnEnd = { readonly kind: "reply"; readonly reply: unknown } | { readonly kind: "error"; readonly error: unknown };

export function settle(envelope: Envelope, end: TurnEnd): void {
  if (end.kind === "reply") envelope.resolve(end.reply);
  else envelope.reject(end.error);
}

/**
 * Settles when `batch` has ended. `isPartly`: an earlier part of the turn is durable, so that its failure is not one that
 * left nothing.
 */
export function settleAfter(
  batch: PendingBatch,
  envelope: Envelope,
  end: TurnEnd,
  { id, isPartly }: { readonly id: ActorId; readonly isPartly: boolean },
): void {
  batch.whenEnded((batchEnd) => {
    if (batchEnd.kind === "durable") settle(envelope, end);
    else if (batchEnd.kind === "conflict") envelope.reject(conflictError(id));
    else envelope.reject(isPartly ? partlyLostError(id, batchEnd.error) : batchEnd.error);
  });
}

/** What no caller can have caused by what it asked for, as opposed to an error that an actor throws on purpose. */
export function isBug(error: unknown): boolean {
  return error instanceof InvariantError || error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError;
}

/** The end, once more, of an invocation that took effect before. */
export function repeatedEnd(id: ActorId, invocation: Invocation, record: InvocationRecord): TurnEnd {
  const what = `Invocation ${invocation.id} of ${describeActor(id)}`;
  if (record.message !== invocation.message)
    return {
      kind: "error",
      error: new InvocationIdReusedError(`${what} came before with a different message: give each its own id`),
    };
  if (record.droppedBytes !== undefined)
    return {
      kind: "error",
      error: new ReplyNotKeptError(`${what} took effect before; its reply of ${record.droppedBytes} bytes was not kept`),
    };
  return { kind: "reply", reply: record.reply === undefined ? undefined : (JSON.parse(record.reply) as unknown) };
}

export function lostError(id: ActorId, cause: Error): ActivationLostError {
  if (cause instanceof ActivationLostError) return cause;
  return new ActivationLostError(`The activation of ${describeActor(id)} has ended: ${cause.message}`, { cause });
}

/** Of a turn of which an earlier part is durable: that the rest took no effect says nothing about it. */
export function partlyLostError(id: ActorId, cause: Error): ActivationLostError {
  return new ActivationLostError(`Only a part of a turn of ${describeActor(id)} took effect: ${cause.message}`, { cause });
}

export function stopError(id: ActorId): ActorsStoppedError {
  return new ActorsStoppedError(`This activation of ${describeActor(id)} is stopping`);
}

export function conflictError(id: ActorId): ConflictError {
  return new ConflictError(`Rows that a turn of ${describeActor(id)} had read were changed by others, again and again`);
}
