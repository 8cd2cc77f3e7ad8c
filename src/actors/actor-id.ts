import { LimitError } from "../storage/store.ts";
import { type ActorId, ActorMessageError } from "./actor.ts";
import { timeoutMillisecondsMax } from "./limits.ts";

/** @throws {ActorMessageError} Says which part is wrong, and what would be right. */
export function validateActorId(id: ActorId): void {
  const { project, type, key } = id;
  if (!isText(project, 100) || project.includes("\0"))
    throw new ActorMessageError(`An actor's project has 1 to 100 characters, not ${shorten(project)}`);
  validateActorType(type);
  if (!isText(key, 500)) throw new ActorMessageError(`The key of a ${type} actor has 1 to 500 well-formed characters, not ${shorten(key)}`);
}

/** @throws {ActorMessageError} */
export function validateActorType(type: string): void {
  if (typeof type !== "string" || !/^[a-zA-Z0-9._-]{1,100}$/.test(type))
    throw new ActorMessageError(`An actor's type has 1 to 100 characters of a-z A-Z 0-9 . _ -, not ${shorten(type)}`);
}

/** @throws {ActorMessageError} `sender` cannot send to `id`. */
export function validateReceiver(id: ActorId, sender: ActorId): void {
  validateActorId(id);
  if (id.project !== sender.project)
    throw new ActorMessageError(`${describeActor(sender)} sends to actors of its own project only, not to ${describeActor(id)}`);
}

/** @throws {ActorMessageError} */
export function validateInvocationId(id: string): void {
  if (!isText(id, 200)) throw new ActorMessageError(`An invocation id has 1 to 200 well-formed characters, not ${shorten(id)}`);
}

/** @throws {ActorMessageError} */
export function validateTimeout(milliseconds: number): void {
  if (!(milliseconds > 0 && milliseconds <= timeoutMillisecondsMax))
    throw new ActorMessageError(`An invocation waits for more than 0 and at most ${timeoutMillisecondsMax} ms, not ${milliseconds}`);
}

/** @throws {LimitError} */
export function validateReminderName(name: string): void {
  if (!isText(name, 200)) throw new LimitError(`A reminder's name has 1 to 200 well-formed characters, not ${shorten(name)}`);
}

/** A text that stands for the id, for use as a map key: neither a project nor a type holds U+0000. */
export function actorName(id: ActorId): string {
  return `${id.project}\0${id.type}\0${id.key}`;
}

/** The id as people read it in messages and logs. */
export function describeActor(id: ActorId): string {
  return `${id.type}/${id.key.length > 100 ? `${id.key.slice(0, 100)}…` : id.key} of project ${id.project}`;
}

function isText(value: unknown, charactersMax: number): value is string {
  return typeof value === "string" && value.length >= 1 && value.length <= charactersMax && value.isWellFormed();
}

function shorten(value: unknown): string {
  const text = typeof value === "string" ? JSON.stringify(value) : `a value of type ${typeof value}`;
  return text.length > 60 ? `${text.slice(0, 60)}… (${text.length - 2} characters)` : text;
}
