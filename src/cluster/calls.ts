/** What nodes ask of each other, and what the bodies of their calls hold. */
import { type ActorId, ActorMessageError } from "../actors/actor.ts";
import { validateActorId } from "../actors/actor-id.ts";
import type { Wire } from "./transport.ts";

export const invokeMethod = "invoke";
export const remindMethod = "remind";
export const cancelMethod = "cancel";
export const reminderSetMethod = "reminder-set";
export const admitMethod = "admit";
export const takeOverMethod = "take-over";
export const inspectMethod = "inspect";
export const lookMethod = "look-into-inbox";

export interface InvokeCall {
  readonly id: ActorId;
  readonly message: unknown;
  readonly invocationId: string;
  readonly recordOnlyWrites: boolean;
}

export interface RemindCall {
  readonly id: ActorId;
  readonly name: string;
  readonly due: number;
}

export interface CancelCall {
  readonly id: ActorId;
  readonly reason: string;
}

export interface TakeOverCall {
  readonly id: ActorId;
  /** Of the header that gives the actor away. */
  readonly ver: number;
  readonly value: unknown;
}

/**
 * The fields of a call's body, as its sender must have written them.
 *
 * @throws {ActorMessageError}
 */
export class Body {
  readonly #fields: { readonly [field: string]: unknown };

  constructor(body: Wire) {
    if (typeof body !== "object" || body === null || Array.isArray(body)) throw new ActorMessageError("The body of a call is an object");
    this.#fields = body as { readonly [field: string]: unknown };
  }

  text(field: string): string {
    const value = this.#fields[field];
    if (typeof value !== "string") throw new ActorMessageError(`The ${field} of a call is a text`);
    return value;
  }

  integer(field: string): number {
    const value = this.#fields[field];
    if (!Number.isSafeInteger(value)) throw new ActorMessageError(`The ${field} of a call is an integer`);
    return value as number;
  }

  flag(field: string): boolean {
    return this.#fields[field] === true;
  }

  any(field: string): unknown {
    return this.#fields[field];
  }

  get id(): ActorId {
    const fields = new Body(this.#fields["id"]);
    const id: ActorId = { project: fields.text("project"), type: fields.text("type"), key: fields.text("key") };
    validateActorId(id);
    return id;
  }
}
