/** What an MCP server says of its tools, for the person who lets agents have them: whole, as agents are told it. */
import { printable } from "./terminal.ts";

export interface McpTool {
  readonly name: string;
  readonly description: string | null;
  readonly json_schema: { readonly parameters?: unknown } | null;
  readonly effect: string;
}

const effects: Readonly<Record<string, string>> = {
  readOnly: "says that it only reads",
  idempotent: "says that it may be repeated",
  once: "is never repeated",
};

/** Lines for a terminal. `note` says what is to be known of the tool beside what it says itself. */
export function toolText({ name, description, json_schema, effect }: McpTool, note?: string): string[] {
  const title = `${printable(name)}: ${effects[effect] ?? printable(effect)}${note === undefined ? "" : `; ${note}`}`;
  const told = (description ?? "").trim() === "" ? [] : printable(description!.trim()).split("\n");
  return ["", title, ...told.map((line) => `  ${line}`), `  parameters: ${printable(JSON.stringify(json_schema?.parameters ?? {}))}`];
}
