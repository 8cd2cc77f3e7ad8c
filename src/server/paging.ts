import type { Page } from "../storage/collection.ts";
import { type HttpError, unprocessable } from "./http-error.ts";
import type { PageMemory } from "./page-memory.ts";
import type { PageQuery } from "./schemas/common.ts";

/** The page that a list's parameters ask for. */
export function pageOf(query: PageQuery, memory?: PageMemory): Page {
  return {
    limit: query.limit,
    reverse: query.order === "desc",
    ...(query.after === undefined ? {} : { after: query.after }),
    ...(query.before === undefined ? {} : { before: query.before }),
    ...(memory === undefined ? {} : { shownBefore: memory.shownBefore }),
  };
}

/** A page of entities that are all at hand, sorted downwards. @throws {HttpError} 422 for a cursor that names nothing. */
export function pageOfSorted<T extends { readonly id: string }>(descending: readonly T[], query: PageQuery): T[] {
  const ordered = query.order === "desc" ? descending : descending.toReversed();
  const position = (id: string): number => {
    const index = ordered.findIndex((each) => each.id === id);
    if (index < 0) throw unknownCursor();
    return index;
  };
  const from = query.after === undefined ? 0 : position(query.after) + 1;
  const to = query.before === undefined ? ordered.length : position(query.before);
  return ordered.slice(from, Math.min(to, from + query.limit));
}

interface Dated {
  readonly id: string;
  readonly created_at: string;
}

/**
 * A page of the few things that one agent has, by time of creation. A cursor may name one that the agent no longer
 * has: `read` finds it.
 *
 * @throws {HttpError} 422 for a cursor that names nothing.
 */
export async function pageOfAttached<T extends Dated>(
  all: readonly T[],
  query: PageQuery,
  read: (ids: readonly string[]) => Promise<T[]>,
): Promise<T[]> {
  const sign = query.order === "desc" ? -1 : 1;
  const compare = (left: Dated, right: Dated): number => sign * (order(left.created_at, right.created_at) || order(left.id, right.id));
  const cursorOf = async (id: string | undefined): Promise<T | undefined> => {
    if (id === undefined) return undefined;
    const cursor = all.find((each) => each.id === id) ?? (await read([id]))[0];
    if (cursor === undefined) throw unknownCursor();
    return cursor;
  };
  const [after, before] = await Promise.all([cursorOf(query.after), cursorOf(query.before)]);
  return all
    .filter((each) => (after === undefined || compare(each, after) > 0) && (before === undefined || compare(each, before) < 0))
    .sort(compare)
    .slice(0, query.limit);
}

function unknownCursor(): HttpError {
  return unprocessable("query: the cursor (after or before) names nothing in this list: use an id from an earlier page of the same list");
}

function order(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
