/**
 * An inverted index as rows of the store, ranked by BM25.
 *
 * F1. A document's postings are written, and deleted, in one batch with the document.
 * F2. A search reads at most `queryTermsMax` ranges of `postingsPerTermMax` rows, however many documents there are.
 *     Of a term with more postings it sees the newest ones in the range of time asked for.
 * F3. A document is searchable by its first `termsMax` distinct terms; the caller names how many.
 *
 * Rows under the index's root: `(...root, "t", term, time, id)` holds `[occurrences, length]`, and the counters
 * `(...root, "documents")` and `(...root, "length")` hold the number of documents and of their terms.
 *
 * A search by meaning will stand beside this as a `VectorIndex` with the same shape: documents in, ranked ids out.
 * There is none yet, so everything that searches says "full text".
 */
import { decodeJson } from "../base/json.ts";
import { decodeTuple, encodeTuple, tupleRange, type Tuple, type TupleElement } from "../base/tuple.ts";
import type { Query, Store } from "../storage/store.ts";
import { compactId, expandId } from "./compact-id.ts";
import { readCounter } from "../storage/counter.ts";
import type { RowWriter } from "./row-writer.ts";

export const queryTermsMax = 16;
export const postingsPerTermMax = 1_000;
/** UTF-16 units of a word that are looked at; longer words are known by their beginning. */
const termLengthMax = 64;

/** Scripts that do not write spaces between words. */
const unspaced =
  "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";
const wordPattern = new RegExp(`[${unspaced}]\\p{M}*|(?:(?![${unspaced}])[\\p{L}\\p{N}\\p{M}])+`, "gu");

/** Short, as it is in a row for every word. */
const termPart = "t";
/** BM25's usual constants: how fast repeats stop counting, and how much a long document loses. */
const saturation = 1.2;
const lengthPenalty = 0.75;

export interface IndexedDocument {
  readonly id: string;
  /** Unix milliseconds. */
  readonly time: number;
  readonly text: string;
}

export interface RankedDocument {
  readonly id: string;
  readonly time: number;
  readonly score: number;
}

/** Adds a document that is not in the index; it stays there until `removeDocument` with the same text and limit. */
export function addDocument(writer: RowWriter, root: Tuple, document: IndexedDocument, termsMax: number): void {
  const { terms, length } = countTerms(document.text, termsMax);
  for (const [term, occurrences] of terms) writer.set(postingKey(root, term, document), [occurrences, length]);
  writer.add([...root, "documents"], 1);
  writer.add([...root, "length"], length);
}

export function removeDocument(writer: RowWriter, root: Tuple, document: IndexedDocument, termsMax: number): void {
  const { terms, length } = countTerms(document.text, termsMax);
  for (const term of terms.keys()) writer.delete(postingKey(root, term, document));
  writer.add([...root, "documents"], -1);
  writer.add([...root, "length"], -length);
}

export function removeAllDocuments(writer: RowWriter, root: Tuple): void {
  writer.deleteAll(root);
}

/** How many documents the index holds. */
export async function countDocuments(store: Store, root: Tuple): Promise<number> {
  const [answer] = await store.read([{ key: encodeTuple([...root, "documents"]) }]);
  return Number(readCounter(answer?.[0]?.value));
}

/** Documents with at least one term of the query, the best first, equal ones newest first. `from` and `to` are inclusive. */
export async function rankDocuments(
  store: Store,
  root: Tuple,
  query: string,
  range: { readonly from?: number | undefined; readonly to?: number | undefined } = {},
): Promise<RankedDocument[]> {
  const terms = [...countTerms(query, queryTermsMax).terms.keys()];
  if (terms.length === 0) return [];
  const counters: Query[] = [{ key: encodeTuple([...root, "documents"]) }, { key: encodeTuple([...root, "length"]) }];
  const answers = await store.read([...counters, ...terms.map((term) => postingsQuery([...root, termPart, term], range))]);
  const documents = Math.max(1, Number(readCounter(answers[0]![0]?.value)));
  const averageLength = Math.max(1, Number(readCounter(answers[1]![0]?.value)) / documents);
  const ranked = new Map<string, RankedDocument>();
  for (const postings of answers.slice(2)) {
    // A term with more postings than were read is common; how common is not known, so it counts as in every second document.
    const frequency = postings.length < postingsPerTermMax ? postings.length : Math.max(postings.length, documents / 2);
    const rarity = Math.log(1 + Math.max(0, documents - frequency + 0.5) / (frequency + 0.5));
    for (const entry of postings) {
      const [time, compact] = decodeTuple(entry.key).slice(-2) as [number, TupleElement];
      const id = expandId(compact);
      const [occurrences, length] = decodeJson<[number, number]>(entry.value);
      const norm = saturation * (1 - lengthPenalty + (lengthPenalty * length) / averageLength);
      const score = (rarity * occurrences * (saturation + 1)) / (occurrences + norm);
      ranked.set(id, { id, time, score: (ranked.get(id)?.score ?? 0) + score });
    }
  }
  return [...ranked.values()].sort((left, right) => right.score - left.score || right.time - left.time || (left.id < right.id ? -1 : 1));
}

/** The distinct terms of a text and how often each occurs, and how many terms there are in all. */
export function countTerms(text: string, termsMax: number): { readonly terms: ReadonlyMap<string, number>; readonly length: number } {
  const terms = new Map<string, number>();
  let length = 0;
  for (const term of tokenize(text)) {
    length++;
    const occurrences = terms.get(term);
    if (occurrences !== undefined) terms.set(term, occurrences + 1);
    else if (terms.size < termsMax) terms.set(term, 1);
  }
  return { terms, length };
}

/**
 * Words of letters and digits, in lower case and without diacritics. In scripts that do not write spaces between
 * words every character is a term. No stemming and no stop words: those are a language's, and the text's is unknown.
 */
export function* tokenize(text: string): Generator<string> {
  const folded = text
    .toWellFormed()
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .normalize("NFC")
    .toLowerCase();
  for (const [word] of folded.matchAll(wordPattern)) {
    yield word.length <= termLengthMax ? word : word.slice(0, termLengthMax).toWellFormed();
  }
}

function postingKey(root: Tuple, term: string, document: IndexedDocument): Tuple {
  return [...root, termPart, term, document.time, compactId(document.id)];
}

function postingsQuery(prefix: Tuple, range: { readonly from?: number | undefined; readonly to?: number | undefined }): Query {
  let { begin, end } = tupleRange(prefix);
  if (range.from !== undefined) begin = encodeTuple([...prefix, range.from]);
  if (range.to !== undefined) end = encodeTuple([...prefix, range.to + 1]);
  return { begin, end, limit: postingsPerTermMax, reverse: true };
}
