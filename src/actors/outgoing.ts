/** What a turn sends to other actors: rows of its own batch, in the inboxes of the receivers. */
import { encodeTuple } from "../base/tuple.ts";
import { LimitError, type Store, type Write } from "../storage/store.ts";
import { readCounter } from "../storage/counter.ts";
import { type ActorId, MailboxFullError } from "./actor.ts";
import { actorName, describeActor } from "./actor-id.ts";
import { inboxPrefix, inboxSizeKey } from "./actor-rows.ts";
import { sentBytesMax } from "./limits.ts";

const retryAfterMilliseconds = 1_000;
/** What the key of a message adds to the names of its actors, and its row to its text. */
const rowBytes = 100;

/** A message on its way out of a turn. */
export interface Outgoing {
  readonly to: ActorId;
  /** JSON. */
  readonly text: string;
  /** What its row takes in a batch, at most. */
  readonly bytes: number;
}

/** @throws {TypeError} `message` is not JSON. @throws {LimitError} */
export function outgoing(from: ActorId, to: ActorId, message: unknown): Outgoing {
  const text = JSON.stringify(message) as string | undefined;
  if (text === undefined) throw new TypeError(`A message to ${describeActor(to)} is JSON, not ${typeof message}`);
  const length = Buffer.byteLength(text);
  if (length > sentBytesMax)
    throw new LimitError(`A message to ${describeActor(to)} has at most ${sentBytesMax} bytes of JSON, not ${length}`);
  const receiver = { project: to.project, type: to.type, key: to.key };
  return {
    to: receiver,
    text,
    bytes: length + encodeTuple(inboxPrefix(to, from)).length + encodeTuple(inboxSizeKey(to)).length + rowBytes,
  };
}

/** The receivers of `sent`, and how many messages each gets. */
export function receivers(sent: readonly Outgoing[]): Map<string, { readonly id: ActorId; count: number }> {
  const found = new Map<string, { readonly id: ActorId; count: number }>();
  for (const { to } of sent) {
    const receiver = found.get(actorName(to));
    if (receiver === undefined) found.set(actorName(to), { id: to, count: 1 });
    else receiver.count++;
  }
  return found;
}

/** How many messages wait in the inbox of an actor. */
export async function inboxSize(store: Store, id: ActorId): Promise<number> {
  const [answer] = await store.read([{ key: encodeTuple(inboxSizeKey(id)) }]);
  return Number(readCounter(answer?.[0]?.value));
}

/** @throws {MailboxFullError} A receiver has too many messages waiting already. */
export async function assertRoom(store: Store, sent: readonly Outgoing[], inboxMessages: number): Promise<void> {
  const all = [...receivers(sent).values()];
  const answers = await store.read(all.map(({ id }) => ({ key: encodeTuple(inboxSizeKey(id)) })));
  for (const [index, { id, count }] of all.entries()) {
    const waiting = Number(readCounter(answers[index]?.[0]?.value));
    if (waiting + count > inboxMessages)
      throw new MailboxFullError(
        `Cannot send to ${describeActor(id)}: ${waiting} messages wait in its inbox, and at most ${inboxMessages} may`,
        retryAfterMilliseconds,
      );
  }
}

/** The writes that put `sent` into the inboxes, in the batch `ver` of their sender, at the time `at`. */
export function inboxWrites(from: ActorId, sent: readonly Outgoing[], ver: number, at: number): Write[] {
  const writes: Write[] = sent.map(({ to, text }, n) => ({
    kind: "set",
    key: encodeTuple([...inboxPrefix(to, from), ver, n]),
    value: Buffer.from(`{"at":${at},"message":${text}}`, "utf8"),
  }));
  for (const { id, count } of receivers(sent).values())
    writes.push({ kind: "add", key: encodeTuple(inboxSizeKey(id)), amount: BigInt(count) });
  return writes;
}
