/**
 * Search over the messages of an agent, in all its conversations.
 *
 * Rows: `(project, "recall", agentId, "message", time, messageId)` holds what a result shows, and the full-text index
 * is under `(project, "recall", agentId, "text")`.
 */
import { decodeJson } from "../base/json.ts";
import { decodeTuple, encodeTuple, tupleRange, type Tuple, type TupleElement } from "../base/tuple.ts";
import type { Store } from "../storage/store.ts";
import { compactId, expandId } from "./compact-id.ts";
import { addDocument, rankDocuments, removeDocument } from "./full-text-index.ts";
import { InvalidMemoryError, pageLimitMax, scanRowsMax } from "./memory.ts";
import type { RowWriter } from "./row-writer.ts";

/** Characters (UTF-16 units) of a message that a search result shows; the message itself is whole. */
export const excerptLengthMax = 4_000;
/** Distinct terms by which a message is found. */
export const messageTermsMax = 400;

const rowsPerRead = 200;

export type SearchableRole = "user" | "assistant" | "tool" | "system";

export interface SearchableMessage {
  readonly messageId: string;
  /** `default`, or the conversation's id. */
  readonly conversationId: string;
  readonly role: SearchableRole;
  readonly text: string;
  /** Unix milliseconds. */
  readonly time: number;
}

export interface FoundMessage extends SearchableMessage {
  /** `text` is only the beginning of the message. */
  readonly isExcerpt: boolean;
  /** 0 where there was no query. */
  readonly score: number;
}

export interface MessageSearch {
  /** Absent or without a word: the newest messages that pass the other filters. */
  readonly query?: string | undefined;
  readonly roles?: readonly SearchableRole[] | undefined;
  /** 1 to 1,000. */
  readonly limit: number;
  /** Unix milliseconds, inclusive. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly conversationId?: string | undefined;
}

type RecallRow = Omit<FoundMessage, "score" | "messageId" | "time">;

/** Makes a message findable; in the batch that writes the message. The id is new to the agent. */
export function indexMessage(writer: RowWriter, project: string, agentId: string, message: SearchableMessage): void {
  const isExcerpt = message.text.length > excerptLengthMax;
  const text = isExcerpt ? message.text.slice(0, excerptLengthMax).toWellFormed() : message.text;
  const row: RecallRow = { conversationId: message.conversationId, role: message.role, text, isExcerpt };
  writer.set(messageKey(project, agentId, message), row);
  addDocument(writer, textRoot(project, agentId), document(message), messageTermsMax);
}

/** Takes a message out; `message` is as it was when it was indexed. */
export function unindexMessage(writer: RowWriter, project: string, agentId: string, message: SearchableMessage): void {
  writer.delete(messageKey(project, agentId, message));
  removeDocument(writer, textRoot(project, agentId), document(message), messageTermsMax);
}

/** Takes all messages of an agent out. */
export function forgetMessages(writer: RowWriter, project: string, agentId: string): void {
  writer.deleteAll(recallRoot(project, agentId));
}

/** Messages that match, the best first; without a query the newest first. Looks at no more than `scanRowsMax` rows. */
export async function searchMessages(store: Store, project: string, agentId: string, search: MessageSearch): Promise<FoundMessage[]> {
  if (!Number.isInteger(search.limit) || search.limit < 1 || search.limit > pageLimitMax)
    throw new InvalidMemoryError("limit", `limit is 1 to ${pageLimitMax}, not ${search.limit}`);
  const query = search.query?.trim() ?? "";
  const source = query === "" ? newest(store, project, agentId, search) : ranked(store, project, agentId, query, search);
  const found: FoundMessage[] = [];
  for await (const message of source) {
    if (search.roles !== undefined && !search.roles.includes(message.role)) continue;
    if (search.conversationId !== undefined && message.conversationId !== search.conversationId) continue;
    found.push(message);
    if (found.length === search.limit) break;
  }
  return found;
}

async function* ranked(store: Store, project: string, agentId: string, query: string, search: MessageSearch): AsyncGenerator<FoundMessage> {
  const documents = await rankDocuments(store, textRoot(project, agentId), query, search);
  for (let start = 0; start < documents.length; start += rowsPerRead) {
    const part = documents.slice(start, start + rowsPerRead);
    const answers = await store.read(
      part.map(({ id, time }) => ({ key: encodeTuple(messageKey(project, agentId, { messageId: id, time })) })),
    );
    for (const [at, answer] of answers.entries()) {
      const { id, time, score } = part[at]!;
      // A message deleted since its posting was read is not a result.
      if (answer[0] !== undefined) yield { ...decodeJson<RecallRow>(answer[0].value), messageId: id, time, score };
    }
  }
}

async function* newest(store: Store, project: string, agentId: string, search: MessageSearch): AsyncGenerator<FoundMessage> {
  const prefix: Tuple = [...recallRoot(project, agentId), "message"];
  let { begin, end } = tupleRange(prefix);
  if (search.from !== undefined) begin = encodeTuple([...prefix, search.from]);
  if (search.to !== undefined) end = encodeTuple([...prefix, search.to + 1]);
  for (let looked = 0; looked < scanRowsMax; looked += rowsPerRead) {
    const [entries] = await store.read([{ begin, end, limit: rowsPerRead, reverse: true }]);
    for (const entry of entries!) {
      const [time, id] = decodeTuple(entry.key).slice(-2) as [number, TupleElement];
      yield { ...decodeJson<RecallRow>(entry.value), messageId: expandId(id), time, score: 0 };
    }
    if (entries!.length < rowsPerRead) return;
    end = entries!.at(-1)!.key;
  }
}

function messageKey(project: string, agentId: string, message: Pick<SearchableMessage, "messageId" | "time">): Tuple {
  return [...recallRoot(project, agentId), "message", message.time, compactId(message.messageId)];
}

function textRoot(project: string, agentId: string): Tuple {
  return [...recallRoot(project, agentId), "text"];
}

function recallRoot(project: string, agentId: string): Tuple {
  return [project, "recall", compactId(agentId)];
}

function document(message: SearchableMessage): { readonly id: string; readonly time: number; readonly text: string } {
  return { id: message.messageId, time: message.time, text: message.text };
}
