/** Archival memory: texts that are searched for, not shown. A passage never changes; it is inserted and deleted. */
import type { Json } from "../base/json.ts";
import type { Tuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import type { Page } from "../storage/collection.ts";
import type { Store } from "../storage/store.ts";
import type { Transaction } from "../storage/transaction.ts";
import { compactId } from "./compact-id.ts";
import { addDocument, countTerms, rankDocuments, removeDocument } from "./full-text-index.ts";
import { parseTime } from "./local-time.ts";
import {
  characterCount,
  checkTags,
  checkText,
  InvalidMemoryError,
  MemoryNotFoundError,
  pageLimitMax,
  passageCharactersMax,
  passagesPerInsertMax,
  termsPerInsertMax,
} from "./memory.ts";
import { scan } from "./scan.ts";
import { TextCollection } from "./text-collection.ts";

/** Letta's Passage. */
export interface PassageRecord {
  readonly id: string;
  readonly archive_id: string;
  readonly text: string;
  readonly tags: readonly string[];
  readonly metadata: { readonly [key: string]: Json };
  /** Found by full text only. */
  readonly embedding: null;
  readonly embedding_config: null;
  readonly source_id: null;
  readonly file_id: null;
  readonly file_name: null;
  readonly is_deleted: false;
  readonly created_at: string;
  readonly updated_at: string;
  readonly created_by_id: string | null;
  readonly last_updated_by_id: string | null;
}

export interface PassageCreate {
  readonly text: string;
  readonly tags?: readonly string[] | null | undefined;
  readonly metadata?: { readonly [key: string]: Json } | null | undefined;
  /** ISO 8601; now by default. */
  readonly created_at?: string | null | undefined;
}

export interface PassageSearch {
  /** Absent or without a word: the newest passages that pass the other filters, with the score 0. */
  readonly query?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly tag_match_mode?: "any" | "all" | undefined;
  /** 1 to 1,000. */
  readonly limit: number;
  /** Unix milliseconds, inclusive. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

export interface FoundPassage {
  readonly passage: PassageRecord;
  readonly score: number;
}

/** Distinct terms by which a passage is found (F3). */
export const passageTermsMax = 4_000;
const rowsPerRead = 100;

const passages: TextCollection<"text", PassageRecord> = new TextCollection("passage", "text", {
  archive: (passage) => [[passage.archive_id, passage.created_at]],
  tag: (passage) => passage.tags.map((tag) => [passage.archive_id, tag, passage.created_at]),
});

/**
 * Inserts passages into an archive that the caller has read in this transaction.
 *
 * @throws {InvalidMemoryError} One of them, or all together, cannot be accepted; nothing was written.
 */
export function insertPassages(
  transaction: Transaction,
  environment: Environment,
  project: string,
  archiveId: string,
  creates: readonly PassageCreate[],
  userId: string | null = null,
): PassageRecord[] {
  if (creates.length > passagesPerInsertMax)
    throw new InvalidMemoryError("passages", `One call inserts at most ${passagesPerInsertMax} passages, not ${creates.length}`);
  const now = environment.clock.now();
  const records = creates.map((create) => toRecord(environment, archiveId, create, now, userId));
  const terms = records.reduce((sum, { text }) => sum + countTerms(text, passageTermsMax).terms.size, 0);
  if (terms > termsPerInsertMax)
    throw new InvalidMemoryError(
      "passages",
      `The passages of one call have at most ${termsPerInsertMax} different words together, not ${terms}: insert them in several calls`,
    );
  for (const passage of records) {
    passages.insert(transaction, environment, project, passage);
    addDocument(transaction, archiveTextRoot(project, archiveId), toDocument(passage), passageTermsMax);
    for (const tag of passage.tags) transaction.add(tagKey(project, archiveId, tag), 1);
  }
  return records;
}

/** @throws {InvalidMemoryError} The text or the tags cannot be accepted. */
export function checkPassage(create: Pick<PassageCreate, "text" | "tags">): void {
  checkText("text", create.text);
  if (create.text.trim() === "") throw new InvalidMemoryError("text", "text is empty: a passage needs at least one character");
  const length = characterCount(create.text);
  if (length > passageCharactersMax)
    throw new InvalidMemoryError("text", `The text of a passage has at most ${passageCharactersMax} characters, not ${length}: split it`);
  checkTags(create.tags ?? []);
}

/** @throws {MemoryNotFoundError} */
export async function deletePassage(transaction: Transaction, project: string, id: string): Promise<PassageRecord> {
  const passage = await passages.get(transaction, project, id);
  if (passage === undefined) throw new MemoryNotFoundError("passage", id);
  await passages.delete(transaction, project, id);
  removeDocument(transaction, archiveTextRoot(project, passage.archive_id), toDocument(passage), passageTermsMax);
  for (const tag of passage.tags) transaction.add(tagKey(project, passage.archive_id, tag), -1);
  return passage;
}

/** Those of the passages that exist, in the order of `ids`. */
export async function readPassages(store: Store, project: string, ids: readonly string[]): Promise<PassageRecord[]> {
  return (await passages.read(store, project, ids)).filter((passage) => passage !== undefined);
}

/**
 * A page of an archive's passages by time; with `search` those whose text contains it, in any case.
 *
 * @throws {UnknownCursorError} @throws {ScanLimitError}
 */
export async function listPassages(
  store: Store,
  project: string,
  archiveId: string,
  filter: { readonly search?: string | undefined },
  page: Page,
): Promise<PassageRecord[]> {
  const readPage = (each: Page): Promise<PassageRecord[] | undefined> => passages.page(store, project, "archive", [archiveId], each);
  const search = filter.search?.toLowerCase();
  if (search === undefined || search === "") return await scan(page, readPage);
  return await scan(page, readPage, (candidates) => candidates.filter((passage) => passage.text.toLowerCase().includes(search)));
}

/** Passages that match, the best first. @throws {ScanLimitError} @throws {InvalidMemoryError} */
export async function searchPassages(store: Store, project: string, archiveId: string, search: PassageSearch): Promise<FoundPassage[]> {
  if (!Number.isInteger(search.limit) || search.limit < 1 || search.limit > pageLimitMax)
    throw new InvalidMemoryError("limit", `limit is 1 to ${pageLimitMax}, not ${search.limit}`);
  if (search.query === undefined || search.query.trim() === "") return await newestPassages(store, project, archiveId, search);
  const ranked = await rankDocuments(store, archiveTextRoot(project, archiveId), search.query, search);
  const found: FoundPassage[] = [];
  for (let start = 0; start < ranked.length && found.length < search.limit; start += rowsPerRead) {
    const part = ranked.slice(start, start + rowsPerRead);
    const read = await passages.read(
      store,
      project,
      part.map(({ id }) => id),
    );
    // A passage deleted since its posting was read is not a result.
    for (const [at, passage] of read.entries())
      if (passage !== undefined && hasTags(passage, search)) found.push({ passage, score: part[at]!.score });
  }
  return found.slice(0, search.limit);
}

/** Everything that is indexed of an archive is under this prefix. */
export function archiveTextRoot(project: string, archiveId: string): Tuple {
  return [project, "archive.text", compactId(archiveId)];
}

async function newestPassages(store: Store, project: string, archiveId: string, search: PassageSearch): Promise<FoundPassage[]> {
  const tags = search.tags ?? [];
  const byTag = tags.length === 1 || (tags.length > 1 && search.tag_match_mode === "all");
  const [index, prefix] = byTag ? ["tag", [archiveId, tags[0]!]] : ["archive", [archiveId]];
  const found = await scan(
    { limit: search.limit, reverse: true },
    (page) => passages.page(store, project, index, prefix, page),
    (candidates) => candidates.filter((passage) => hasTags(passage, search) && isWithin(passage, search)),
  );
  return found.map((passage) => ({ passage, score: 0 }));
}

function hasTags(passage: PassageRecord, search: PassageSearch): boolean {
  const tags = search.tags ?? [];
  if (tags.length === 0) return true;
  return search.tag_match_mode === "all" ? tags.every((tag) => passage.tags.includes(tag)) : tags.some((tag) => passage.tags.includes(tag));
}

function isWithin(passage: PassageRecord, search: PassageSearch): boolean {
  const time = Date.parse(passage.created_at);
  return (search.from === undefined || time >= search.from) && (search.to === undefined || time <= search.to);
}

function toRecord(environment: Environment, archiveId: string, create: PassageCreate, now: number, userId: string | null): PassageRecord {
  checkPassage(create);
  const created = create.created_at === undefined || create.created_at === null ? now : parseTime("created_at", create.created_at, "UTC");
  return {
    id: `passage-${environment.random.uuid()}`,
    archive_id: archiveId,
    text: create.text,
    tags: checkTags(create.tags ?? []),
    metadata: create.metadata ?? {},
    embedding: null,
    embedding_config: null,
    source_id: null,
    file_id: null,
    file_name: null,
    is_deleted: false,
    created_at: new Date(created).toISOString(),
    updated_at: new Date(now).toISOString(),
    created_by_id: userId,
    last_updated_by_id: userId,
  };
}

function toDocument(passage: PassageRecord): { readonly id: string; readonly time: number; readonly text: string } {
  return { id: passage.id, time: Date.parse(passage.created_at), text: passage.text };
}

function tagKey(project: string, archiveId: string, tag: string): Tuple {
  return [project, "archive.tag", archiveId, tag];
}
