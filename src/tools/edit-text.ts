/** Edits of a text by an agent: pure functions that give the new text or say why not. */
import { lineNumberWarning } from "../memory/render-memory.ts";
import { ToolError } from "./state-tool.ts";

/** In a patch the number stands after the sign of the line. */
const lineNumberPrefix = /^[+-]?[ \t]*\d+→/m;

/** The text with `old` replaced, which must be there exactly once. `names` are those of the model's arguments. */
export function replaceOnce(
  value: string,
  edit: { readonly old: string; readonly new: string; readonly label: string },
  names: { readonly old: string; readonly new: string },
): string {
  refuseLineNumbers(names.old, edit.old);
  refuseLineNumbers(names.new, edit.new);
  if (edit.old === "") throw new ToolError(`${names.old} is empty: give the text to replace, or use an insert to add text`);
  const parts = value.split(edit.old);
  if (parts.length === 1)
    throw new ToolError(
      `No replacement was performed, ${names.old} \`${edit.old}\` did not appear verbatim in memory block with label \`${edit.label}\`.`,
    );
  if (parts.length > 2) {
    const lines = occurrenceLines(parts, edit.old);
    throw new ToolError(
      `No replacement was performed. Multiple occurrences of ${names.old} \`${edit.old}\` in lines [${lines.join(", ")}]. Please ensure it is unique.`,
    );
  }
  return parts.join(edit.new);
}

/** The text with `added` after line `line`: 0 is before the first line, -1 after the last. */
export function insertAtLine(value: string, added: string, line: number, name: string): string {
  refuseLineNumbers(name, added);
  const lines = value.split("\n");
  if (line !== -1 && (line < 0 || line > lines.length))
    throw new ToolError(
      `Invalid \`insert_line\` parameter: ${line}. It should be within the range of lines of the memory block: [0, ${lines.length}], or -1 to append to the end of the memory block.`,
    );
  if (value === "") return added;
  return lines.toSpliced(line === -1 ? lines.length : line, 0, added).join("\n");
}

/** A new last line. */
export function appendLine(value: string, added: string): string {
  return value === "" ? added : `${value}\n${added}`;
}

/** Line numbers are shown to some models beside their blocks, and are no part of the text. */
export function refuseLineNumbers(name: string, text: string): void {
  if (lineNumberPrefix.test(text))
    throw new ToolError(
      `${name} contains a line number prefix, which is not allowed. Do not include line numbers when calling memory tools (line numbers are for display purposes only).`,
    );
  if (text.includes(lineNumberWarning))
    throw new ToolError(
      `${name} contains a line number warning, which is not allowed. Do not include line number information when calling memory tools (line numbers are for display purposes only).`,
    );
}

/** The lines, from 1, on which the occurrences between the parts begin. */
function occurrenceLines(parts: readonly string[], occurrence: string): number[] {
  const lines: number[] = [];
  let line = 1;
  for (const part of parts.slice(0, -1)) {
    line += countBreaks(part);
    lines.push(line);
    line += countBreaks(occurrence);
  }
  return lines;
}

function countBreaks(text: string): number {
  return text.split("\n").length - 1;
}
