/** The tags in use, each once, read by skipping from one tag to the next in the indexes of agents and blocks. */
import { compareBytes } from "../base/bytes.ts";
import { decodeTuple, encodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import type { Query, Store } from "../storage/store.ts";

export interface TagPage {
  readonly limit: number;
  readonly reverse: boolean;
  /** Tags themselves are the cursors; they need not exist any more. */
  readonly after?: string | undefined;
  readonly before?: string | undefined;
  /** Only tags that hold this text, in any case. */
  readonly search?: string | undefined;
}

/** Tags that one call looks at. */
const tagsLookedAtMax = 10_000;

export async function listTags(store: Store, project: string, page: TagPage): Promise<string[]> {
  const search = page.search?.toLowerCase();
  const found: string[] = [];
  let cursor = page.after;
  for (let looked = 0; looked < tagsLookedAtMax && found.length < page.limit; looked++) {
    const tag = await nextTag(store, project, cursor, page.reverse);
    if (tag === undefined || (page.before !== undefined && !comesBefore(tag, page.before, page.reverse))) break;
    if (search === undefined || tag.toLowerCase().includes(search)) found.push(tag);
    cursor = tag;
  }
  return found;
}

/** The first tag after `cursor`, in one round trip for both indexes. */
async function nextTag(store: Store, project: string, cursor: string | undefined, reverse: boolean): Promise<string | undefined> {
  const prefixes: Tuple[] = [
    [project, "agent.tag"],
    [project, "block.tag"],
  ];
  const answers = await store.read(prefixes.map((prefix) => firstRow(prefix, cursor, reverse)));
  const tags = answers.flatMap((answer, at) => answer.map((entry) => String(decodeTuple(entry.key)[prefixes[at]!.length])));
  return tags.sort((left, right) => (comesBefore(left, right, reverse) ? -1 : 1))[0];
}

function firstRow(prefix: Tuple, cursor: string | undefined, reverse: boolean): Query {
  const { begin, end } = tupleRange(prefix);
  if (cursor === undefined) return { begin, end, limit: 1, reverse };
  const ofCursor = tupleRange([...prefix, cursor]);
  return reverse ? { begin, end: ofCursor.begin, limit: 1, reverse } : { begin: ofCursor.end, end, limit: 1, reverse };
}

function comesBefore(left: string, right: string, reverse: boolean): boolean {
  const order = compareBytes(encodeTuple([left]), encodeTuple([right]));
  return reverse ? order > 0 : order < 0;
}
