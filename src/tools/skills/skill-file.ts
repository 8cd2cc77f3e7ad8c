/**
 * SKILL.md of the open Agent Skills format (https://agentskills.io/specification): a head between two lines of `---`, and
 * instructions. Of the head, which is YAML, the name and the description are read, as one text each; the rest is the author's.
 */
import { characterCount } from "../../memory/memory.ts";

/** What the format allows. */
export const skillNameCharactersMax = 64;
export const skillDescriptionCharactersMax = 1_024;

export interface SkillHead {
  readonly name: string;
  readonly description: string;
}

/** What was given is no skill. The message says what is wrong with it. */
export class InvalidSkillError extends Error {
  override readonly name = "InvalidSkillError";
}

/** @throws {InvalidSkillError} */
export function readSkillHead(bytes: Uint8Array): SkillHead {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InvalidSkillError("SKILL.md is not UTF-8");
  }
  const lines = text.split(/\r?\n/);
  if (lines[0]?.trimEnd() !== "---")
    throw new InvalidSkillError("SKILL.md has to begin with a line of ---, and the name and description after it");
  const end = lines.findIndex((line, index) => index > 0 && line.trimEnd() === "---");
  if (end === -1) throw new InvalidSkillError("The head of SKILL.md is not ended by a line of ---");
  const fields = readFields(lines.slice(1, end));
  const name = fields.get("name") ?? "";
  const description = fields.get("description") ?? "";
  checkSkillName(name);
  if (description === "")
    throw new InvalidSkillError("The head of SKILL.md has no description: say what the skill does and when to use it");
  const length = characterCount(description);
  if (length > skillDescriptionCharactersMax)
    throw new InvalidSkillError(
      `The description in SKILL.md has ${length} characters, and at most ${skillDescriptionCharactersMax} may be`,
    );
  return { name, description };
}

/** @throws {InvalidSkillError} */
function checkSkillName(name: string): void {
  if (name === "") throw new InvalidSkillError("The head of SKILL.md has no name");
  if (name.length > skillNameCharactersMax || !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name))
    throw new InvalidSkillError(
      `${JSON.stringify(name.slice(0, 80))} is no name of a skill: 1 to ${skillNameCharactersMax} characters of a-z 0-9, with single - between them`,
    );
}

/** The fields on the first level that are texts. */
function readFields(lines: readonly string[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (let at = 0; at < lines.length;) {
    const line = lines[at++]!;
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, key, first = ""] = /^([A-Za-z_][\w-]*):(?:[ \t]+(.*))?$/.exec(line) ?? [];
    if (key === undefined)
      throw new InvalidSkillError(`The head of SKILL.md has a line that is no field: ${JSON.stringify(line.slice(0, 80))}`);
    if (fields.has(key)) throw new InvalidSkillError(`The head of SKILL.md has the field ${key} twice`);
    const more: string[] = [];
    while (at < lines.length && (/^[ \t]/.test(lines[at]!) || lines[at]!.trim() === "" || (first === "" && lines[at]!.startsWith("- "))))
      more.push(lines[at++]!);
    // What is a list or a table is its own affair, unless it stands where a text has to be.
    fields.set(key, key === "name" || key === "description" ? readText(key, first.trim(), more) : "");
  }
  return fields;
}

function readText(key: string, first: string, more: readonly string[]): string {
  const rest = more.map((line) => line.trim());
  const refuse = (why: string): never => {
    throw new InvalidSkillError(`The ${key} in SKILL.md ${why}`);
  };
  if (/^[>|][+-]?$/.test(first)) return (first.startsWith("|") ? rest.join("\n") : folded(rest)).trim();
  const whole = folded([first, ...rest]);
  if (whole.startsWith('"')) {
    const [, quoted] = /^("(?:[^"\\]|\\.)*")\s*(?:#.*)?$/.exec(whole) ?? refuse("has a quote that is not ended");
    try {
      return String(JSON.parse(quoted!)).trim();
    } catch {
      return refuse("has an escape that is none");
    }
  }
  if (whole.startsWith("'")) {
    const [, quoted] = /^'((?:[^']|'')*)'\s*(?:#.*)?$/.exec(whole) ?? refuse("has a quote that is not ended");
    return quoted!.replaceAll("''", "'").trim();
  }
  if (/^[[\]{}&*!|>%@`?,-](?:\s|$)|^[[{&*!|>%@`]/.test(whole)) refuse("is no plain text: put it in quotes");
  return whole.replace(/(^|\s)#.*$/, "").trim();
}

/** As YAML folds: lines by spaces, empty lines as line breaks. */
function folded(lines: readonly string[]): string {
  return lines
    .join("\n")
    .trim()
    .replace(/\n+/g, (breaks) => (breaks.length === 1 ? " " : breaks.slice(1)));
}
