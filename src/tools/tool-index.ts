/**
 * Finds tools by words: an inverted index in memory over their names, parameters and descriptions, ranked by BM25.
 *
 * Of 10,000 tools an index is made in about a second and asked in less than a millisecond (`npm run bench:tools`).
 */
import type { Json } from "../base/json.ts";
import { tokenize } from "../memory/full-text-index.ts";
import type { ToolRecord } from "./tool-record.ts";

export type SearchableTool = Pick<ToolRecord, "name" | "description" | "json_schema">;

export interface IndexedTool {
  readonly name: string;
  /** Its beginning. */
  readonly description: string;
}

/** UTF-16 units of a description that are looked at, and that are kept to be shown. */
const descriptionSearchedMax = 4_000;
const descriptionShownMax = 400;
/** Of one tool's schema. */
const parametersMax = 200;
const parameterDepthMax = 5;
export const queryCharactersMax = 1_000;
const queryTermsMax = 32;

/** How much more a word says in a tool's name, or in the name of a parameter, than in its description. */
const nameWeight = 4;
const parameterWeight = 2;
/** BM25's usual constants: how fast repeats stop counting, and how much a long text loses. */
const saturation = 1.2;
const lengthPenalty = 0.75;

export class ToolIndex {
  readonly #tools: readonly IndexedTool[];
  readonly #byName = new Map<string, number>();
  /** For each term the tools that have it and how much it weighs there, by turns. */
  readonly #postings = new Map<string, number[]>();
  /** BM25's denominator of each tool, without the term's own weight. */
  readonly #norms: Float64Array;
  /** Of each tool in the search at work: one array for all searches, as a new one for each would be most of what they cost. */
  readonly #scores: Float64Array;

  constructor(tools: readonly SearchableTool[]) {
    this.#scores = new Float64Array(tools.length);
    this.#tools = tools.map(({ name, description }) => ({ name, description: beginning(description ?? "", descriptionShownMax) }));
    const lengths = tools.map((tool, at) => {
      this.#byName.set(tool.name, at);
      return this.#add(tool, at);
    });
    const average = Math.max(1, lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, lengths.length));
    this.#norms = Float64Array.from(lengths, (length) => saturation * (1 - lengthPenalty + (lengthPenalty * length) / average));
  }

  get size(): number {
    return this.#tools.length;
  }

  /** At most `limit` tools: those that the query names, in its order, then the best matches. Equal ones keep the order they were given in. */
  search(query: string, limit: number): readonly IndexedTool[] {
    const text = beginning(query, queryCharactersMax);
    const named = new Set<number>();
    for (const word of text.split(/[^a-zA-Z0-9_-]+/)) {
      const at = this.#byName.get(word);
      if (at !== undefined) named.add(at);
    }
    const found = [...named, ...this.#ranked(text, named, limit)];
    return found.slice(0, limit).map((at) => this.#tools[at]!);
  }

  #add({ name, description, json_schema }: SearchableTool, at: number): number {
    const weights = new Map<string, number>();
    let length = 0;
    const count = (text: string, weight: number): void => {
      for (const term of termsOf(text)) {
        weights.set(term, (weights.get(term) ?? 0) + weight);
        length++;
      }
    };
    count(name, nameWeight);
    count(parameterNames(json_schema["parameters"]).join(" "), parameterWeight);
    count(beginning(description ?? "", descriptionSearchedMax), 1);
    for (const [term, weight] of weights) {
      const postings = this.#postings.get(term);
      if (postings === undefined) this.#postings.set(term, [at, weight]);
      else postings.push(at, weight);
    }
    return length;
  }

  #ranked(text: string, without: ReadonlySet<number>, limit: number): readonly number[] {
    const scores = this.#scores.fill(0);
    const terms = new Set<string>();
    for (const term of termsOf(text)) if (terms.size < queryTermsMax) terms.add(term);
    for (const term of terms) {
      const postings = this.#postings.get(term) ?? [];
      const frequency = postings.length / 2;
      const rarity = Math.log(1 + (this.#tools.length - frequency + 0.5) / (frequency + 0.5));
      for (let place = 0; place < postings.length; place += 2) {
        const [at, weight] = [postings[place]!, postings[place + 1]!];
        scores[at]! += (rarity * weight * (saturation + 1)) / (weight + this.#norms[at]!);
      }
    }
    return best(scores, without, limit);
  }
}

/** The positions of the highest scores above zero, the highest first. */
function best(scores: Float64Array, without: ReadonlySet<number>, limit: number): readonly number[] {
  const top: number[] = [];
  for (let at = 0; at < scores.length; at++) {
    const score = scores[at]!;
    if (score === 0 || without.has(at)) continue;
    if (top.length === limit && score <= scores[top.at(-1)!]!) continue;
    let place = top.length;
    while (place > 0 && scores[top[place - 1]!]! < score) place--;
    top.splice(place, 0, at);
    if (top.length > limit) top.pop();
  }
  return top;
}

/** Words, and the parts of words in camel case. A plural counts as its singular, as far as that is seen from its end in English. */
function* termsOf(text: string): Generator<string> {
  for (const term of tokenize(text)) yield singular(term);
  if (!/\p{Ll}\p{Lu}/u.test(text)) return;
  for (const [word] of text.matchAll(/[\p{L}\p{N}]+/gu)) {
    const parts = word.split(/(?<=[\p{Ll}\p{N}])(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})/u);
    if (parts.length > 1) for (const term of tokenize(parts.join(" "))) yield singular(term);
  }
}

function singular(term: string): string {
  if (term.length > 4 && term.endsWith("ies")) return `${term.slice(0, -3)}y`;
  return term.length > 3 && term.endsWith("s") && !term.endsWith("ss") ? term.slice(0, -1) : term;
}

/** The names of a schema's properties, and of theirs. */
function parameterNames(schema: Json | undefined): readonly string[] {
  const names: string[] = [];
  const visit = (node: Json | undefined, depth: number): void => {
    if (typeof node !== "object" || node === null || Array.isArray(node) || depth > parameterDepthMax) return;
    const { properties, items } = node as { readonly [key: string]: Json };
    if (typeof properties === "object" && properties !== null && !Array.isArray(properties))
      for (const [name, property] of Object.entries(properties)) {
        if (names.length === parametersMax) return;
        names.push(name);
        visit(property, depth + 1);
      }
    visit(items, depth + 1);
  };
  visit(schema, 0);
  return names;
}

function beginning(text: string, units: number): string {
  return text.length <= units ? text : text.slice(0, units).toWellFormed();
}
