/** Lists of stored messages as the API shows them: each fanned out into its variants, filtered by kind. */
import { type ChatMessage, type LettaMessage, toLettaMessages } from "../agents/chat-message.ts";
import { type MessagePage, pageMessages } from "../agents/message-log.ts";
import type { Store } from "../storage/store.ts";
import { type HttpError, unprocessable } from "./http-error.ts";

export type MessageScope = Parameters<typeof pageMessages>[2];

/** Stored messages that one filtered list looks at. */
const messagesLookedAtMax = 10_000;
const messagesPerRead = 200;

/**
 * A page of messages in the order asked for; the variants of one message keep their own order. `limit` counts stored
 * messages of which something is shown.
 *
 * @throws {HttpError} 422 for a cursor that names no message.
 */
export async function listMessages(
  store: Store,
  project: string,
  scope: MessageScope,
  page: MessagePage,
  types: readonly string[] | undefined,
): Promise<LettaMessage[][]> {
  const found: LettaMessage[][] = [];
  let after = page.after;
  for (let looked = 0; looked < messagesLookedAtMax && found.length < page.limit;) {
    const limit = types === undefined ? page.limit : messagesPerRead;
    const messages = await pageMessages(store, project, scope, { ...page, limit, ...(after === undefined ? {} : { after }) });
    if (messages === undefined) throw unknownCursor();
    for (const message of messages) {
      const shown = showMessage(message, types);
      if (shown.length > 0 && found.length < page.limit) found.push(shown);
    }
    if (messages.length < limit) break;
    looked += messages.length;
    after = messages.at(-1)!.id;
  }
  return found;
}

export function showMessage(message: ChatMessage, types: readonly string[] | undefined): LettaMessage[] {
  const variants = toLettaMessages(message);
  return types === undefined ? variants : variants.filter((variant) => types.includes(variant.message_type));
}

/** A page of messages that are all at hand, oldest first: those of a run or a step. */
export function pageOfMessages(messages: readonly ChatMessage[], page: MessagePage): LettaMessage[] {
  const ordered = page.reverse ? messages.toReversed() : messages;
  const from = page.after === undefined ? 0 : positionOf(ordered, page.after) + 1;
  const to = page.before === undefined ? ordered.length : positionOf(ordered, page.before);
  return ordered.slice(from, Math.min(to, from + page.limit)).flatMap(toLettaMessages);
}

function positionOf(messages: readonly ChatMessage[], id: string): number {
  const position = messages.findIndex((message) => message.id === id);
  if (position < 0) throw unknownCursor();
  return position;
}

function unknownCursor(): HttpError {
  return unprocessable("query: the cursor (after or before) names no message of this list: use the id of a message from an earlier page");
}
