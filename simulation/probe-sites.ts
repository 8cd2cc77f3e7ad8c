/** The probes that stand in the code, read from its text: what a simulation has to come to. */
import { readdirSync, readFileSync } from "node:fs";

const source = new URL("../src/", import.meta.url);

export interface ProbeSite {
  readonly name: string;
  /** From `src/` on, with the line. */
  readonly at: string;
  /** Has to be reached often; the others have to be reached at all. */
  readonly isCritical: boolean;
}

/** Every probe of `src/`, by name. */
export function probeSites(): readonly ProbeSite[] {
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((name) => /^(?!.*\.test\.)[\w/-]+\.ts$/u.test(name));
  const sites = files.flatMap((file) => probesIn(readFileSync(new URL(file, source), "utf8"), file));
  return sites.toSorted((left, right) => (left.name < right.name ? -1 : 1));
}

/** The probes in a text: `probe("name")`, or several names of which a condition chooses one. */
export function probesIn(text: string, file: string): ProbeSite[] {
  return [...text.matchAll(/\bprobe\(([^;]*?)\);/gu)].flatMap((call) => {
    const texts = [...call[1]!.matchAll(/"([^"]+)"/gu)].map(([, each]) => each!);
    const names = texts.filter((each) => each !== "sometimes");
    const at = `${file}:${text.slice(0, call.index).split("\n").length}`;
    return names.map((name) => ({ name, at, isCritical: names.length === texts.length }));
  });
}
