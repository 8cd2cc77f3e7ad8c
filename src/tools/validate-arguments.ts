/**
 * Checks what a model gave as the arguments of a tool call, with messages that the model can act on.
 *
 * The schema's keywords understood are type, required, properties, additionalProperties, items, enum, const, anyOf,
 * oneOf and allOf, to a depth of `depthMax`; others say nothing here. A tool checks the rest for itself.
 */
import type { Json } from "../base/json.ts";
import type { ToolInput } from "./tool.ts";

export type ArgumentsOutcome = { readonly ok: true; readonly input: ToolInput } | { readonly ok: false; readonly error: string };

/** UTF-16 units of the arguments of one call. */
export const argumentsLengthMax = 1_000_000;
/** Objects and lists inside each other. */
export const argumentsDepthMax = 64;

const depthMax = 16;
const problemsMax = 5;
const shownMax = 80;

type Schema = { readonly [keyword: string]: Json | undefined };

/** Parses and checks arguments. Text that is empty counts as `{}`, as some models write it for no arguments. */
export function validateArguments(argumentsText: string, parameters: Json): ArgumentsOutcome {
  if (argumentsText.length > argumentsLengthMax)
    return {
      ok: false,
      error: `The arguments have ${argumentsText.length} characters; at most ${argumentsLengthMax} are allowed. Send less at once.`,
    };
  const parsed = parseJson(argumentsText.trim() === "" ? "{}" : argumentsText);
  if (!parsed.ok) return parsed;
  const { value } = parsed;
  if (!isObject(value))
    return { ok: false, error: `The arguments must be a JSON object such as {"name": "value"}, not ${describe(value)}.` };
  if (deeperThan(value, argumentsDepthMax))
    return { ok: false, error: `The arguments are nested more than ${argumentsDepthMax} levels deep. Send them flatter.` };
  const problems = problemsOf(value, parameters, "", 0);
  if (problems.length === 0) return { ok: true, input: value };
  const more = problems.length > problemsMax ? ` (and ${problems.length - problemsMax} more)` : "";
  return {
    ok: false,
    error: `Invalid arguments: ${problems.slice(0, problemsMax).join("; ")}${more}. Call the tool again with arguments that match its schema.`,
  };
}

function parseJson(text: string): { readonly ok: true; readonly value: Json } | { readonly ok: false; readonly error: string } {
  try {
    // Only own properties are looked at from here on, so that "__proto__" is a name like any other.
    return { ok: true, value: JSON.parse(text) as Json };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    // The engine says where it is: by position, by the text around it, or that the text ends too early.
    return { ok: false, error: `The arguments are not valid JSON: ${error.message}. Call the tool again with a complete JSON object.` };
  }
}

function problemsOf(value: Json, schema: Json | undefined, path: string, depth: number): string[] {
  if (schema === false) return [`\`${path}\` is not allowed`];
  if (!isObject(schema) || depth > depthMax) return [];
  const { anyOf, oneOf, allOf } = schema;
  const alternatives = isList(anyOf) ? anyOf : isList(oneOf) ? oneOf : undefined;
  if (alternatives !== undefined && !alternatives.some((each) => problemsOf(value, each, path, depth + 1).length === 0))
    return [`${named(path)} must be ${alternatives.map(expectation).join(" or ")}, not ${describe(value)}`];
  const problems = isList(allOf) ? allOf.flatMap((each) => problemsOf(value, each, path, depth + 1)) : [];
  const types = typesOf(schema);
  if (types.length > 0 && !types.some((type) => hasType(value, type)))
    return [...problems, `${named(path)} must be ${expectation(schema)}, not ${describe(value)}`];
  if (isList(schema["enum"]) && !schema["enum"].some((each) => sameJson(each, value)))
    return [
      ...problems,
      `${named(path)} must be one of ${schema["enum"].map((each) => JSON.stringify(each)).join(", ")}, not ${describe(value)}`,
    ];
  if (schema["const"] !== undefined && !sameJson(schema["const"], value))
    return [...problems, `${named(path)} must be ${JSON.stringify(schema["const"])}, not ${describe(value)}`];
  if (isList(value))
    return [...problems, ...value.flatMap((each, index) => problemsOf(each, schema["items"], `${path}[${index}]`, depth + 1))];
  if (isObject(value)) return [...problems, ...objectProblems(value, schema, path, depth)];
  return problems;
}

function objectProblems(value: Schema, schema: Schema, path: string, depth: number): string[] {
  const properties = isObject(schema["properties"]) ? schema["properties"] : {};
  const problems: string[] = [];
  if (isList(schema["required"]))
    for (const name of schema["required"])
      if (typeof name === "string" && !Object.hasOwn(value, name)) problems.push(`\`${join(path, name)}\` is required`);
  for (const [name, each] of Object.entries(value)) {
    if (each === undefined) continue;
    // Models write null for an argument that they leave out.
    if (each === null && !isRequired(schema, name)) continue;
    if (Object.hasOwn(properties, name)) problems.push(...problemsOf(each, properties[name], join(path, name), depth + 1));
    else if (schema["additionalProperties"] === false)
      problems.push(`\`${join(path, name)}\` is not an argument; there are: ${Object.keys(properties).join(", ") || "none"}`);
    else problems.push(...problemsOf(each, schema["additionalProperties"], join(path, name), depth + 1));
  }
  return problems;
}

function isRequired(schema: Schema, name: string): boolean {
  return isList(schema["required"]) && schema["required"].includes(name);
}

function typesOf(schema: Schema): string[] {
  const { type } = schema;
  return typeof type === "string" ? [type] : isList(type) ? type.filter((each): each is string => typeof each === "string") : [];
}

function hasType(value: Json, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "boolean":
      return typeof value === "boolean";
    case "string":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "integer":
      return typeof value === "number" && Number.isInteger(value);
    case "array":
      return isList(value);
    case "object":
      return isObject(value);
    default:
      return true;
  }
}

function expectation(schema: Json | undefined): string {
  if (!isObject(schema)) return "allowed";
  const types = typesOf(schema);
  if (types.length > 0) return types.map((type) => typeNames[type] ?? type).join(" or ");
  if (isList(schema["enum"])) return `one of ${schema["enum"].map((each) => JSON.stringify(each)).join(", ")}`;
  return "a value that matches the schema";
}

const typeNames: { readonly [type: string]: string } = {
  null: "null",
  boolean: "a boolean",
  string: "a string",
  number: "a number",
  integer: "a whole number",
  array: "a list",
  object: "an object",
};

function describe(value: Json): string {
  const text = JSON.stringify(value);
  return text.length <= shownMax ? text : `${text.slice(0, shownMax - 3).toWellFormed()}...`;
}

/** Without recursion, so that no depth of nesting can exhaust the stack. */
function deeperThan(value: Json, most: number): boolean {
  let level: Json[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > most) return true;
    level = level.flatMap((each) =>
      isList(each) ? each : isObject(each) ? Object.values(each).filter((inner) => inner !== undefined) : [],
    );
  }
  return false;
}

function sameJson(left: Json, right: Json): boolean {
  return left === right || JSON.stringify(left) === JSON.stringify(right);
}

function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

function isObject(value: Json | undefined): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function named(path: string): string {
  return path === "" ? "The value" : `\`${path}\``;
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
