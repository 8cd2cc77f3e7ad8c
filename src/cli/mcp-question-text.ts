/** What an MCP server asks a person, and what a person types as the answer. */
import { UsageError } from "./command.ts";
import { printable } from "./terminal.ts";

export interface McpQuestion {
  readonly id: string;
  readonly server_id: string;
  readonly server_name: string;
  readonly calls: readonly { readonly agent_id: string; readonly tool: string }[];
  readonly expires_at: string;
  readonly message: string;
  readonly requested_schema: { readonly properties?: { readonly [name: string]: Field }; readonly required?: readonly string[] } | null;
  readonly url: string | null;
}

interface Field {
  readonly type?: string;
  readonly title?: string;
  readonly description?: string;
}

/** Lines for a terminal. They name the server first: what follows are its words. */
export function questionText({ id, server_name, calls, expires_at, message, requested_schema, url }: McpQuestion): string[] {
  const callers = calls.map(({ agent_id, tool }) => `${agent_id === "" ? "the API" : agent_id} (${tool})`).join(", ");
  const required = requested_schema?.required ?? [];
  const fields = Object.entries(requested_schema?.properties ?? {}).map(([name, field]) => {
    const { type = "string", title, description } = field;
    const said = [title, description].filter((text) => text !== undefined).join(": ");
    return `  ${printable(name)}${required.includes(name) ? "" : "?"} ${printable(type)}${said === "" ? "" : `  ${printable(said)}`}`;
  });
  return [
    id,
    `The MCP server ${printable(server_name)} asks, until ${expires_at}, in a call of ${printable(callers)}:`,
    ...printable(message)
      .split("\n")
      .map((line) => `  > ${line}`),
    ...(url === null ? fields : [`  It is answered at ${printable(url)}. Open it only if you know whose it is`]),
    "  What you answer goes to that server: give it no password and no key",
    "",
  ];
}

/** `fields`: texts such as `count=3`. @throws {UsageError} */
export function answerTo({ requested_schema }: McpQuestion, fields: readonly string[]): { action: string; content?: object } {
  if (requested_schema === null) {
    if (fields.length > 0) throw new UsageError("This question is answered at its address: answer takes no fields for it");
    return { action: "accept" };
  }
  const content = fields.map((field) => {
    const end = field.indexOf("=");
    if (end < 1) throw new UsageError(`A field is given as name=value, not ${JSON.stringify(field)}`);
    const [name, value] = [field.slice(0, end), field.slice(end + 1)];
    return [name, valueOf(requested_schema.properties?.[name]?.type, value)] as const;
  });
  return { action: "accept", content: Object.fromEntries(content) };
}

/** The server says what is wrong with a value that is none of its type. */
function valueOf(type: string | undefined, text: string): unknown {
  if (type === "boolean") return text === "true" ? true : text === "false" ? false : text;
  if (type === "integer" || type === "number") return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
  return type === "array" ? text.split(",").filter((part) => part !== "") : text;
}
