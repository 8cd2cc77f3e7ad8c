/**
 * Remembers the ends of the pages that this node answered lately, so that a cursor still says where to go on when what
 * it names was deleted meanwhile: `for await (const agent of agents.list()) await agents.delete(agent.id)`.
 *
 * In memory and bounded: after a restart, or on another node, such a cursor is refused as one that names nothing.
 */
interface Row {
  readonly id: string;
}

/** Two for each page: enough for thousands of lists that are being read at one time. */
const rowsMax = 10_000;
/** Longer texts are no part of an index, and are not kept. */
const textLengthMax = 500;

export class PageMemory {
  readonly #rows = new Map<string, Row>();

  /** Notes the page and gives it back. */
  remember<T extends Row>(page: T[]): T[] {
    for (const row of [page[0], page.at(-1)]) {
      if (row === undefined) continue;
      this.#rows.delete(row.id);
      this.#rows.set(row.id, withoutLongTexts(row));
    }
    while (this.#rows.size > rowsMax) this.#rows.delete(this.#rows.keys().next().value!);
    return page;
  }

  /** As `Page.shownBefore`. */
  readonly shownBefore: (id: string) => unknown = (id) => this.#rows.get(id);
}

function withoutLongTexts(row: Row): Row {
  const fields = Object.entries(row).map(
    ([name, value]) => [name, typeof value === "string" && value.length > textLengthMax ? "" : (value as unknown)] as const,
  );
  return { ...Object.fromEntries(fields), id: row.id };
}
