import type { Page } from "../storage/collection.ts";
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
