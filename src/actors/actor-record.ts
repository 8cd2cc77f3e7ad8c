/** What the store holds of an actor, for people to see. */
import { decodeJson } from "../base/json.ts";
import { decodeTuple, encodeTuple, tupleRange } from "../base/tuple.ts";
import { readCounter } from "../storage/counter.ts";
import type { Store, Version } from "../storage/store.ts";
import type { ActorId } from "./actor.ts";
import { type Header, headerKey, inboxSizeKey, reminderPrefix, type ReminderRow } from "./actor-rows.ts";
import { type DeadLetter, listDeadLetters } from "./dead-letters.ts";

const remindersMax = 100;
const deadLettersMax = 100;

export interface ActorRecord {
  readonly header: Header;
  /** Of the header in the store. */
  readonly version: Version;
  /** The first hundred by name, the earliest first. `due` is Unix milliseconds. */
  readonly reminders: readonly { readonly name: string; readonly due: number }[];
  /** Messages that wait in the inbox. */
  readonly inbox: number;
  /** The first hundred. */
  readonly deadLetters: readonly DeadLetter[];
}

/** `undefined`: no batch of the actor was ever committed. */
export async function readActorRecord(store: Store, id: ActorId): Promise<ActorRecord | undefined> {
  const [headers, rows, sizes] = await store.read([
    { key: headerKey(id) },
    { ...tupleRange(reminderPrefix(id)), limit: remindersMax },
    { key: encodeTuple(inboxSizeKey(id)) },
  ]);
  const entry = headers![0];
  if (entry === undefined) return undefined;
  const reminders = rows!.map(({ key, value }) => ({ name: String(decodeTuple(key).at(-1)), due: decodeJson<ReminderRow>(value).due }));
  return {
    header: decodeJson<Header>(entry.value),
    version: entry.version,
    reminders: reminders.toSorted((left, right) => left.due - right.due),
    inbox: Number(readCounter(sizes![0]?.value)),
    deadLetters: await listDeadLetters(store, id, { limit: deadLettersMax }),
  };
}
