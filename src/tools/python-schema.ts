/**
 * The JSON Schema of a Python function, from its signature and its docstring in Google's style.
 *
 * A small parser of what tools look like, not of Python: types are str, int, float, bool, list, dict, Literal,
 * Optional and `| None`. What it does not know it refuses, and asks for a `json_schema` instead.
 */
import type { Json } from "../base/json.ts";

/** The source does not say enough for a schema. */
export class PythonSchemaError extends Error {
  override readonly name = "PythonSchemaError";
}

export interface FunctionSchema {
  readonly name: string;
  readonly description: string;
  readonly parameters: {
    readonly type: "object";
    readonly properties: { readonly [name: string]: Json };
    readonly required: readonly string[];
  };
}

/** Arguments that the server fills in, not the model. */
const injected: ReadonlySet<string> = new Set(["self", "agent_state", "client"]);
const advice = "pass json_schema with the tool's name, description and parameters";

/** The schema of the last function at the top level of `source`, as Letta takes it. @throws {PythonSchemaError} */
export function pythonSchema(source: string): FunctionSchema {
  const code = source.replaceAll("\r\n", "\n");
  const start = [...code.matchAll(/^(?:async[ \t]+)?def[ \t]+([A-Za-z_]\w*)[ \t]*\(/gm)].at(-1);
  if (start === undefined)
    throw new PythonSchemaError(`The source has no function at its top level (def name(...):): add one, or ${advice}`);
  const name = start[1]!;
  const open = start.index + start[0].length - 1;
  const close = closingParenthesis(code, open);
  if (close === undefined) throw new PythonSchemaError(`The parameters of ${name} have no closing parenthesis`);
  const header = /^\s*(?:->[^:\n]+)?:/.exec(code.slice(close + 1));
  if (header === null) throw new PythonSchemaError(`The definition of ${name} does not end with a colon`);
  const docstring = docstringOf(code.slice(close + 1 + header[0].length));
  const { description, parameters: texts } = parseDocstring(docstring);
  const properties: { [name: string]: Json } = {};
  const required: string[] = [];
  for (const parameter of splitTopLevel(withoutComments(code.slice(open + 1, close)), ",")) {
    const parsed = parseParameter(parameter.trim(), name);
    if (parsed === undefined) continue;
    const text = texts.get(parsed.name);
    properties[parsed.name] = { ...parsed.schema, ...(text === undefined ? {} : { description: text }) };
    if (parsed.required) required.push(parsed.name);
  }
  return { name, description: description === "" ? name : description, parameters: { type: "object", properties, required } };
}

function parseParameter(
  text: string,
  functionName: string,
): { readonly name: string; readonly schema: { readonly [key: string]: Json }; readonly required: boolean } | undefined {
  if (text === "" || text === "*" || text === "/") return undefined;
  if (text.startsWith("*"))
    throw new PythonSchemaError(`${functionName} takes ${text}, which has no schema: name every parameter, or ${advice}`);
  const [declared, ...defaults] = splitTopLevel(text, "=");
  const [name, ...annotation] = declared!.split(":");
  if (injected.has(name!.trim())) return undefined;
  const type = annotation.join(":").trim();
  if (type === "") throw new PythonSchemaError(`The parameter ${name!.trim()} of ${functionName} has no type: annotate it, or ${advice}`);
  const { schema, isOptional } = parseType(type, `the parameter ${name!.trim()} of ${functionName}`);
  return { name: name!.trim(), schema, required: defaults.length === 0 && !isOptional };
}

const simpleTypes: { readonly [type: string]: { readonly [key: string]: Json } } = {
  str: { type: "string" },
  int: { type: "integer" },
  float: { type: "number" },
  bool: { type: "boolean" },
  dict: { type: "object" },
  list: { type: "array", items: { type: "string" } },
};

function parseType(text: string, where: string): { readonly schema: { readonly [key: string]: Json }; readonly isOptional: boolean } {
  const type = text
    .trim()
    .replace(/^(['"])(.*)\1$/s, "$2")
    .replace(/^typing\./, "");
  const members = splitTopLevel(type, "|").map((member) => member.trim());
  if (members.length > 1) {
    const others = members.filter((member) => member !== "None");
    if (others.length === 1 && others.length < members.length) return { schema: parseType(others[0]!, where).schema, isOptional: true };
  } else {
    const simple = simpleTypes[type.toLowerCase()];
    if (simple !== undefined && Object.hasOwn(simpleTypes, type.toLowerCase())) return { schema: simple, isOptional: false };
    const generic = /^(\w+)\s*\[(.*)\]$/s.exec(type);
    const inner = generic === null ? [] : splitTopLevel(generic[2]!, ",").map((each) => each.trim());
    const outer = generic?.[1];
    if (outer === "Optional" && inner.length === 1) return { schema: parseType(inner[0]!, where).schema, isOptional: true };
    if ((outer === "List" || outer === "list") && inner.length === 1)
      return { schema: { type: "array", items: parseType(inner[0]!, where).schema }, isOptional: false };
    if ((outer === "Dict" || outer === "dict") && inner.length === 2) return { schema: { type: "object" }, isOptional: false };
    if (outer === "Literal" && inner.every((each) => /^(['"]).*\1$/s.test(each)))
      return { schema: { type: "string", enum: inner.map((each) => each.slice(1, -1)) }, isOptional: false };
  }
  throw new PythonSchemaError(
    `Cannot make a schema for the type ${text.trim().slice(0, 60)} of ${where}: use str, int, float, bool, list, dict, Literal or Optional, or ${advice}`,
  );
}

/** The first statement of a body if it is a string, without its indentation. */
function docstringOf(body: string): string {
  const match = /^(?:\s|#[^\n]*\n)*[rRuU]?("""|'''|"|')/.exec(body);
  if (match === null) return "";
  const quotes = match[1]!;
  const end = body.indexOf(quotes, match[0].length);
  if (end === -1) return "";
  const [first, ...rest] = body.slice(match[0].length, end).split("\n");
  const indents = rest.filter((line) => line.trim() !== "").map((line) => line.length - line.trimStart().length);
  const indent = indents.length === 0 ? 0 : Math.min(...indents);
  return [first!.trim(), ...rest.map((line) => line.slice(indent))].join("\n").trim();
}

/** The text before the first section, and the descriptions under `Args:`. */
function parseDocstring(docstring: string): { readonly description: string; readonly parameters: ReadonlyMap<string, string> } {
  const lines = docstring.split("\n");
  const isSection = (line: string): boolean => /^(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?):\s*$/.test(line);
  const firstSection = lines.findIndex(isSection);
  const description = (firstSection === -1 ? lines : lines.slice(0, firstSection)).join("\n").trim();
  const start = lines.findIndex((line) => /^(Args|Arguments|Parameters):\s*$/.test(line));
  const parameters = new Map<string, string>();
  if (start === -1) return { description, parameters };
  let indent: number | undefined;
  let current: string | undefined;
  for (const line of lines.slice(start + 1)) {
    if (line.trim() === "") continue;
    const depth = line.length - line.trimStart().length;
    // A line that is not indented begins the next section.
    if (depth === 0) break;
    indent ??= depth;
    const entry = depth === indent ? /^\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:\s*(.*)$/.exec(line.trim()) : null;
    if (entry !== null) {
      current = entry[1]!;
      parameters.set(current, entry[2]!);
    } else if (current !== undefined) parameters.set(current, `${parameters.get(current)!} ${line.trim()}`.trim());
  }
  return { description, parameters };
}

function closingParenthesis(code: string, open: number): number | undefined {
  let depth = 0;
  for (let at = open; at < code.length; at = nextPosition(code, at)) {
    if ("([{".includes(code[at]!)) depth++;
    else if (")]}".includes(code[at]!) && --depth === 0) return at;
  }
  return undefined;
}

/** The parts between separators that are not inside brackets or strings. */
function splitTopLevel(text: string, separator: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at = nextPosition(text, at)) {
    if ("([{".includes(text[at]!)) depth++;
    else if (")]}".includes(text[at]!)) depth--;
    else if (depth === 0 && text[at] === separator) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return [...parts, text.slice(start)];
}

function withoutComments(text: string): string {
  let result = "";
  for (let at = 0; at < text.length;) {
    const next = nextPosition(text, at);
    if (text[at] !== "#") result += text.slice(at, next);
    at = next;
  }
  return result;
}

/** The position after the character, the whole string or the whole comment that begins at `at`. */
function nextPosition(text: string, at: number): number {
  const character = text[at]!;
  if (character === "#") {
    const end = text.indexOf("\n", at);
    return end === -1 ? text.length : end;
  }
  if (character !== '"' && character !== "'") return at + 1;
  const quotes = text.startsWith(character.repeat(3), at) ? character.repeat(3) : character;
  for (let position = at + quotes.length; position < text.length; position++) {
    if (text[position] === "\\") position++;
    else if (text.startsWith(quotes, position)) return position + quotes.length;
  }
  return text.length;
}
