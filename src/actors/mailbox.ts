import { MailboxFullError } from "./actor.ts";
import type { Envelope } from "./envelope.ts";
import type { ActorLimits } from "./limits.ts";

const retryAfterMilliseconds = 100;

/**
 * What waits for one actor, in the order of arrival.
 *
 * M1. Messages that wait are never more than `mailboxMessages`, nor together over `mailboxBytes`.
 * M2. What was dropped (its time ran out, its caller left) takes no room.
 */
export class Mailbox {
  // Keeps the order of insertion, and gives up an element in the middle at no cost.
  readonly #waiting = new Set<Envelope>();
  #bytes = 0;

  get size(): number {
    return this.#waiting.size;
  }

  /** Estimated. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws {MailboxFullError} `describe` names the actor. */
  push(envelope: Envelope, limits: ActorLimits, describe: () => string): void {
    // An actor's own turns have as much room again: callers must not keep it from finishing what it has begun. Nor from
    // looking into its inbox.
    const { kind } = envelope.task;
    const messagesMax = kind === "own" || kind === "look" ? 2 * limits.mailboxMessages : limits.mailboxMessages;
    if (this.#waiting.size >= messagesMax)
      throw new MailboxFullError(`Cannot deliver to ${describe()}: ${this.#waiting.size} messages are waiting`, retryAfterMilliseconds);
    if (this.#bytes + envelope.bytes > limits.mailboxBytes)
      throw new MailboxFullError(
        `Cannot deliver to ${describe()}: the messages that wait have about ${this.#bytes} bytes, and at most ${limits.mailboxBytes} may`,
        retryAfterMilliseconds,
      );
    this.#waiting.add(envelope);
    this.#bytes += envelope.bytes;
    envelope.waitIn(this);
  }

  first(): Envelope | undefined {
    return this.#waiting.values().next().value;
  }

  /** In the order of arrival. */
  [Symbol.iterator](): IterableIterator<Envelope> {
    return this.#waiting.values();
  }

  remove(envelope: Envelope): void {
    if (!this.#waiting.delete(envelope)) return;
    this.#bytes -= envelope.bytes;
    envelope.waitIn(undefined);
  }
}
