/** Patches of memory blocks in the form that coding models know: hunks of ` `, `-` and `+` lines under `***` headers. */
import type { CoreMemory } from "./core-memory.ts";
import { ToolError } from "./state-tool.ts";

const header = /^\*\*\* (Add Block|Delete Block|Update Block|Move to):(.*)$/;

/**
 * Applies a patch to blocks in memory, unsaved. Without headers it changes the block `label`, and gives `undefined`;
 * with headers it gives what was done, a line for each.
 */
export function applyPatch(memory: CoreMemory, label: string, patch: string): string[] | undefined {
  const lines = patch.split(/\r?\n/);
  if (!lines.some((line) => header.test(line))) {
    memory.edit(label, (value) => applyHunks(value, lines));
    return undefined;
  }
  const done: string[] = [];
  let last: string | undefined;
  for (const [at, line] of lines.entries()) {
    const match = header.exec(line);
    if (match === null) continue;
    const [operation, target] = [match[1], match[2]!.trim()];
    if (target === "") throw new ToolError(`\`*** ${operation}:\` must name a block`);
    const body = bodyAfter(lines, at);
    if (operation === "Move to") {
      if (last === undefined) throw new ToolError("`*** Move to:` must come after an Add Block or Update Block header");
      memory.rename(last, target);
      done.push(`Renamed memory block '${last}' to '${target}'`);
    } else if (operation === "Add Block") {
      memory.create(target, addedText(body), descriptionIn(body));
      done.push(`Created memory block '${target}'`);
    } else if (operation === "Delete Block") {
      memory.detach(target);
      done.push(`Deleted memory block '${target}'`);
    } else if (!(body.every((each) => each.trim() === "") && isMoved(lines, at))) {
      memory.edit(target, (value) => applyHunks(value, body));
      done.push(`Updated memory block '${target}'`);
    }
    last = operation === "Delete Block" ? undefined : target;
  }
  return done;
}

/** The lines up to the next header. */
function bodyAfter(lines: readonly string[], at: number): string[] {
  const rest = lines.slice(at + 1);
  const next = rest.findIndex((line) => header.test(line));
  return next === -1 ? rest : rest.slice(0, next);
}

/** An Update header may have no hunks if all it does is to name the block for a Move. */
function isMoved(lines: readonly string[], at: number): boolean {
  const next = lines.slice(at + 1).find((line) => header.test(line));
  return next?.startsWith("*** Move to:") ?? false;
}

function addedText(body: readonly string[]): string {
  const lines = body.filter((line) => line.startsWith("+") || line.trim() === "").map((line) => line.slice(1));
  return lines.join("\n").replace(/\n+$/, "");
}

function descriptionIn(body: readonly string[]): string | null {
  const [first] = body;
  return first?.startsWith("Description:") === true ? first.slice("Description:".length).trim() : null;
}

function applyHunks(value: string, lines: readonly string[]): string {
  const hunks = splitHunks(lines);
  if (hunks.length === 0) throw new ToolError("No applicable hunks found in patch. Ensure lines start with ' ', '-', or '+'.");
  return hunks.reduce(applyHunk, value);
}

function applyHunk(value: string, hunk: readonly string[]): string {
  const expected = hunk.filter((line) => !line.startsWith("+")).map((line) => line.slice(1));
  const replacement = hunk.filter((line) => !line.startsWith("-")).map((line) => line.slice(1));
  const current = value.split("\n");
  if (expected.length === 0) return value === "" ? replacement.join("\n") : [...current, ...replacement].join("\n");
  const places = placesOf(current, expected);
  if (places.length === 0)
    throw new ToolError(
      `Failed to apply patch: expected hunk context not found in the memory block. Verify the target lines exist and try providing more context. Expected start:\n${expected.slice(0, 4).join("\n")}`,
    );
  if (places.length > 1)
    throw new ToolError(
      "Failed to apply patch: hunk context matched multiple places in the memory block. Please add more unique surrounding context to disambiguate.",
    );
  return current.toSpliced(places[0]!, expected.length, ...replacement).join("\n");
}

function splitHunks(lines: readonly string[]): string[][] {
  const hunks: string[][] = [[]];
  for (const [at, line] of lines.entries()) {
    if (line.startsWith("@@")) hunks.push([]);
    else if (line === "" || (/^[ +-]/.test(line) && !isFileHeader(lines, at))) hunks.at(-1)!.push(line);
  }
  // A blank line around a hunk is layout, one inside it an empty line of the block.
  return hunks
    .map(trimBlank)
    .filter((hunk) => hunk.length > 0)
    .map((hunk) => hunk.map((line) => (line === "" ? " " : line)));
}

function trimBlank(lines: readonly string[]): readonly string[] {
  const first = lines.findIndex((line) => line !== "");
  return first === -1 ? [] : lines.slice(first, lines.findLastIndex((line) => line !== "") + 1);
}

/** `--- a` and then `+++ b` name files in a unified diff; alone they are a deleted and an added line. */
function isFileHeader(lines: readonly string[], at: number): boolean {
  if (lines[at]!.startsWith("--- ")) return lines[at + 1]?.startsWith("+++ ") ?? false;
  return lines[at]!.startsWith("+++ ") && (lines[at - 1]?.startsWith("--- ") ?? false);
}

function placesOf(lines: readonly string[], wanted: readonly string[]): number[] {
  const places: number[] = [];
  for (let at = 0; at + wanted.length <= lines.length; at++)
    if (wanted.every((line, offset) => lines[at + offset] === line)) places.push(at);
  return places;
}
