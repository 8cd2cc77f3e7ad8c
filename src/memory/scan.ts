import type { Page } from "../storage/collection.ts";
import { InvalidMemoryError, pageLimitMax, ScanLimitError, scanRowsMax, UnknownCursorError } from "./memory.ts";

const rowsPerRead = 200;

/**
 * A page of the entities that match, read through an index a few at a time: at most `scanRowsMax` of them.
 * A page may be shorter than asked for although more would match; the next one goes on after its last entity.
 *
 * @throws {ScanLimitError} So many rows, and none matched.
 * @throws {UnknownCursorError}
 */
export async function scan<T extends { readonly id: string }>(
  page: Page,
  readPage: (page: Page) => Promise<T[] | undefined>,
  filter?: (entities: readonly T[]) => T[] | Promise<T[]>,
): Promise<T[]> {
  checkPage(page);
  if (filter === undefined) return known(await readPage(page));
  const found: T[] = [];
  let after = page.after;
  for (let looked = 0; looked < scanRowsMax;) {
    const entities = known(await readPage({ ...page, limit: rowsPerRead, ...(after === undefined ? {} : { after }) }));
    if (entities.length === 0) return found;
    found.push(...(await filter(entities)));
    if (found.length >= page.limit) return found.slice(0, page.limit);
    looked += entities.length;
    after = entities.at(-1)!.id;
  }
  if (found.length === 0) throw new ScanLimitError();
  return found;
}

/** @throws {InvalidMemoryError} */
export function checkPage(page: Page): void {
  if (!Number.isInteger(page.limit) || page.limit < 1 || page.limit > pageLimitMax)
    throw new InvalidMemoryError("limit", `limit is 1 to ${pageLimitMax}, not ${page.limit}`);
}

function known<T>(entities: T[] | undefined): T[] {
  if (entities === undefined) throw new UnknownCursorError();
  return entities;
}
