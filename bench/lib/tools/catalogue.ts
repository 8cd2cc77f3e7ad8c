/** Tools that read like those of real servers, and what somebody would look for among them. The same ones in every run. */
import type { SearchableTool } from "../../../src/tools/tool-index.ts";
import { seededRandom } from "../statistics.ts";

const verbs = "get list create update delete search send read write move copy share export import start stop test sync merge review".split(
  " ",
);
const nouns =
  "issue message file event user order invoice page table row channel ticket branch image report contact deal task comment payment".split(
    " ",
  );
const common = "the a of and to in for with by one all from that is its given returns optional when only".split(" ");

export interface Catalogue {
  readonly tools: readonly SearchableTool[];
  readonly queries: readonly string[];
}

export function makeCatalogue(size: number, queryCount: number): Catalogue {
  const random = seededRandom(7);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  // Rare words, as every server has its own: the further down the list, the rarer.
  const rare = Array.from({ length: 5_000 }, () =>
    Array.from({ length: 3 }, () => pick(["ka", "lo", "mi", "ter", "pan", "ru", "sel", "vo"])).join(""),
  );
  const word = (): string => {
    const kind = random();
    if (kind < 0.4) return pick(common);
    if (kind < 0.7) return pick([...verbs, ...nouns]);
    return rare[Math.floor(random() ** 3 * rare.length)]!;
  };
  const words = (count: number): string => Array.from({ length: count }, word).join(" ");
  const tools = Array.from({ length: size }, (_, at): SearchableTool => {
    const properties = Object.fromEntries(
      Array.from({ length: 5 }, () => [`${pick(nouns)}_${word()}`, { type: "string", description: words(8) }]),
    );
    const name = `server${Math.floor(at / 50)}__${pick(verbs)}_${pick(nouns)}_${at}`;
    return { name, description: words(20 + Math.floor(random() * 60)), json_schema: { name, parameters: { type: "object", properties } } };
  });
  const queries = Array.from({ length: queryCount }, () => (random() < 0.1 ? pick(tools).name : words(2 + Math.floor(random() * 8))));
  return { tools, queries };
}
