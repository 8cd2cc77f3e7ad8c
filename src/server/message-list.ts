/** Lists of stored messages as the API shows them: each fanned out into its variants, filtered by kind. */
import { type ChatMessage, type LettaMessage, toLettaMessages } from "../agents/chat-message.ts";
import { findMessage, type MessagePage, pageMessages, readMessages } from "../agents/message-log.ts";
import type { Store } from "../storage/store.ts";
import { unprocessable } from "./http-error.ts";

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
    if (messages === undefined)
      throw unprocessable(
        "query: the cursor (after or before) names no message of this list: use the id of a message from an earlier page",
      );
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

/** The messages of a run or a step: those of its conversation at positions `[from, to)`. */
export async function listRange(
  store: Store,
  project: string,
  conversation: string,
  range: { readonly from: number; readonly to: number },
  page: MessagePage,
): Promise<LettaMessage[]> {
  let { from, to } = range;
  for (const [id, isAfter] of [
    [page.after, true],
    [page.before, false],
  ] as const) {
    if (id === undefined) continue;
    const cursor = await findMessage(store, project, id);
    if (cursor?.conversation !== conversation)
      throw unprocessable(
        "query: the cursor (after or before) names no message of this list: use the id of a message from an earlier page",
      );
    if (isAfter !== page.reverse) from = Math.max(from, cursor.message.n + 1);
    else to = Math.min(to, cursor.message.n);
  }
  if (from >= to) return [];
  return (await readMessages(store, project, conversation, { from, to, limit: page.limit, reverse: page.reverse })).flatMap(
    toLettaMessages,
  );
}
