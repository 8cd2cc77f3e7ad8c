import type { Page } from "../storage/collection.ts";
import { unprocessable } from "./http-error.ts";
import type { PageQuery } from "./schemas/common.ts";

/** The page that a list's parameters ask for. */
export function pageOf(query: PageQuery): Page {
  return {
    limit: query.limit,
    reverse: query.order === "desc",
    ...(query.after === undefined ? {} : { after: query.after }),
    ...(query.before === undefined ? {} : { before: query.before }),
  };
}

/** A page of the few things that one agent has, in the order in which they were attached. */
export function pageInMemory<T extends { readonly id: string }>(
  all: readonly T[],
  query: {
    readonly limit: number;
    readonly order: "asc" | "desc";
    readonly after?: string | undefined;
    readonly before?: string | undefined;
  },
): T[] {
  const ordered = query.order === "desc" ? all.toReversed() : all;
  const position = (id: string): number => {
    const index = ordered.findIndex((each) => each.id === id);
    if (index < 0)
      throw unprocessable(
        "query: the cursor (after or before) names nothing in this list: use an id from an earlier page of the same list",
      );
    return index;
  };
  const from = query.after === undefined ? 0 : position(query.after) + 1;
  const to = query.before === undefined ? ordered.length : position(query.before);
  return ordered.slice(from, Math.min(to, from + query.limit));
}
