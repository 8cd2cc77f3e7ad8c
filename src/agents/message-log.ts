/**
 * The messages of a conversation as rows.
 *
 * `(project, "message", conversation, n)` holds a message; `(project, "message.id", id)` says where it is;
 * `(project, "message.agent", agent, created, conversation, n)` and `(project, "message.created", created, …)` order the
 * messages of all conversations of an agent and of the project. Only the conversation's actor writes them.
 */
import { decodeJson, encodeJson } from "../base/json.ts";
import { encodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import { keyAfter } from "../base/bytes.ts";
import { readBlob, writeBlob, type BlobPointer } from "../storage/blob.ts";
import type { Environment } from "../environment/environment.ts";
import type { Query, Store, Write } from "../storage/store.ts";
import type { ChatMessage } from "./chat-message.ts";

/** A message over this many bytes is kept as a blob, and its row points there. */
const inlineBytesMax = 64_000;

type Place = readonly [conversation: string, n: number];
type MessageRow = ChatMessage | { readonly blob: BlobPointer };

export function messageKey(project: string, conversation: string, n: number): Tuple {
  return [project, "message", conversation, n];
}

/** When a message is made that comes next: wall clocks jump, and messages of a conversation stay in the order of time. */
export function nextMessageTime(newestAt: string | undefined, environment: Environment): string {
  const now = new Date(environment.clock.now()).toISOString();
  return newestAt !== undefined && newestAt > now ? newestAt : now;
}

/** The writes that add or replace messages, after large ones are stored as blobs. */
export async function messageWrites(
  store: Store,
  environment: Environment,
  project: string,
  conversation: string,
  messages: readonly ChatMessage[],
): Promise<Write[]> {
  const writes: Write[] = [];
  for (const message of messages) {
    let value = encodeJson(message);
    if (value.length > inlineBytesMax) value = encodeJson({ blob: await writeBlob(store, environment, project, value) });
    writes.push({ kind: "set", key: encodeTuple(messageKey(project, conversation, message.n)), value });
    const place = encodeJson([conversation, message.n]);
    for (const key of indexKeys(project, conversation, message)) writes.push({ kind: "set", key: encodeTuple(key), value: place });
  }
  return writes;
}

export function messageDeletes(project: string, conversation: string, messages: readonly ChatMessage[]): Write[] {
  return messages.flatMap((message) =>
    [messageKey(project, conversation, message.n), ...indexKeys(project, conversation, message)].map((key): Write => ({
      kind: "delete",
      key: encodeTuple(key),
    })),
  );
}

function indexKeys(project: string, conversation: string, message: ChatMessage): Tuple[] {
  return [
    [project, "message.id", message.id],
    [project, "message.agent", message.agent_id, message.created_at, conversation, message.n],
    [project, "message.created", message.created_at, conversation, message.n],
  ];
}

/** Messages of one conversation at positions `[from, to)`. */
export async function readMessages(
  store: Store,
  project: string,
  conversation: string,
  range: { readonly from: number; readonly to: number; readonly limit?: number; readonly reverse?: boolean },
): Promise<ChatMessage[]> {
  const limit = range.limit ?? store.limits.rangeEntries;
  const [answer] = await store.read([
    {
      begin: encodeTuple(messageKey(project, conversation, range.from)),
      end: encodeTuple(messageKey(project, conversation, range.to)),
      limit,
      reverse: range.reverse ?? false,
    },
  ]);
  return await Promise.all(answer!.map((entry) => unpack(store, project, decodeJson<MessageRow>(entry.value))));
}

/** The message with this id, from the conversation that has it. */
export async function findMessage(
  store: Store,
  project: string,
  id: string,
): Promise<{ readonly conversation: string; readonly message: ChatMessage } | undefined> {
  const place = await findPlace(store, project, id);
  if (place === undefined) return undefined;
  const [message] = await readMessages(store, project, place[0], { from: place[1], to: place[1] + 1 });
  return message && { conversation: place[0], message };
}

export interface MessagePage {
  readonly limit: number;
  readonly reverse: boolean;
  /** Message ids: start after the one, end before the other, in the order asked for. */
  readonly after?: string;
  readonly before?: string;
}

/**
 * A page of messages: of one conversation by position, or of all conversations of an agent or the project by time.
 * A cursor that names no message gives `undefined`.
 */
export async function pageMessages(
  store: Store,
  project: string,
  scope: { readonly conversation: string } | { readonly agentId: string } | { readonly project: true },
  page: MessagePage,
): Promise<ChatMessage[] | undefined> {
  const prefix: Tuple =
    "conversation" in scope
      ? [project, "message", scope.conversation]
      : "agentId" in scope
        ? [project, "message.agent", scope.agentId]
        : [project, "message.created"];
  let { begin, end } = tupleRange(prefix);
  for (const [id, isAfter] of [
    [page.after, true],
    [page.before, false],
  ] as const) {
    if (id === undefined) continue;
    const found = await findMessage(store, project, id);
    if (found === undefined) return undefined;
    const { conversation, message } = found;
    const key = encodeTuple("conversation" in scope ? [...prefix, message.n] : [...prefix, message.created_at, conversation, message.n]);
    if (isAfter !== page.reverse) begin = keyAfter(key);
    else end = key;
  }
  const [answer] = await store.read([{ begin, end, limit: page.limit, reverse: page.reverse }]);
  if ("conversation" in scope)
    return await Promise.all(answer!.map((entry) => unpack(store, project, decodeJson<MessageRow>(entry.value))));
  const places = answer!.map((entry) => decodeJson<Place>(entry.value));
  const queries: Query[] = places.map(([conversation, n]) => ({ key: encodeTuple(messageKey(project, conversation, n)) }));
  const rows = queries.length === 0 ? [] : await store.read(queries);
  return await Promise.all(rows.flatMap((row) => row.map((entry) => unpack(store, project, decodeJson<MessageRow>(entry.value)))));
}

async function findPlace(store: Store, project: string, id: string): Promise<Place | undefined> {
  const [answer] = await store.read([{ key: encodeTuple([project, "message.id", id]) }]);
  return answer![0] === undefined ? undefined : decodeJson<Place>(answer![0].value);
}

async function unpack(store: Store, project: string, row: MessageRow): Promise<ChatMessage> {
  if (!("blob" in row)) return row;
  return decodeJson<ChatMessage>(await readBlob(store, project, row.blob));
}
