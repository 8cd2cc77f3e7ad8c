/** Whether a person's answer is one that a server asked for. Its schemas have plain fields only, as the protocol wants. */
import { quote } from "../../memory/memory.ts";
import { mcpLimits } from "./mcp.ts";

interface Answer {
  readonly action: "accept" | "decline" | "cancel";
  readonly content?: { readonly [name: string]: unknown } | undefined;
}

/** A field of a question, in every form that the protocol has had for it. */
interface Field {
  readonly type?: unknown;
  readonly default?: unknown;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly enum?: readonly unknown[];
  readonly oneOf?: readonly { readonly const?: unknown }[];
  readonly anyOf?: readonly { readonly const?: unknown }[];
  readonly items?: Field;
}

/** What is wrong with it, in words for whoever answers. `schema` null: the question is answered elsewhere. */
export function faultOfAnswer(schema: { readonly [key: string]: unknown } | null, { action, content }: Answer): string | undefined {
  if (action !== "accept" || schema === null)
    return content === undefined ? undefined : `An answer has content only if it accepts a question that asks for fields`;
  if (Buffer.byteLength(JSON.stringify(content ?? {})) > mcpLimits.answerBytes)
    return `An answer has at most ${mcpLimits.answerBytes} bytes`;
  const fields = (schema["properties"] ?? {}) as { readonly [name: string]: Field };
  const required = Array.isArray(schema["required"]) ? (schema["required"] as readonly string[]) : [];
  const given = new Map(Object.entries(content ?? {}));
  for (const name of given.keys())
    if (!Object.hasOwn(fields, name))
      return `There is no field ${quote(name)}: the fields are ${Object.keys(fields).map(quote).join(", ")}`;
  for (const [name, field] of Object.entries(fields)) {
    const value = given.get(name);
    if (value === undefined) {
      if (required.includes(name) && field.default === undefined) return `The field ${quote(name)} is required`;
      continue;
    }
    const wanted = faultOfValue(field, value);
    if (wanted !== undefined) return `The field ${quote(name)} has to be ${wanted}`;
  }
  return undefined;
}

/** What it has to be instead. */
function faultOfValue(field: Field, value: unknown): string | undefined {
  const choices = field.enum ?? (field.oneOf ?? field.anyOf)?.map((choice) => choice.const);
  if (choices !== undefined)
    return choices.includes(value) ? undefined : `one of ${choices.map((choice) => quote(String(choice))).join(", ")}`;
  switch (field.type) {
    case "boolean":
      return typeof value === "boolean" ? undefined : "true or false";
    case "integer":
    case "number": {
      const { minimum = -Infinity, maximum = Infinity } = field;
      const isNumber = typeof value === "number" && Number.isFinite(value) && (field.type === "number" || Number.isInteger(value));
      const what = field.type === "integer" ? "a whole number" : "a number";
      return isNumber && value >= minimum && value <= maximum ? undefined : `${what}${between(minimum, maximum)}`;
    }
    case "array": {
      const { minItems = -Infinity, maxItems = Infinity, items = {} } = field;
      if (!Array.isArray(value) || value.length < minItems || value.length > maxItems) return `a list${between(minItems, maxItems)}`;
      const wrong = value.map((item) => faultOfValue(items, item)).find((fault) => fault !== undefined);
      return wrong === undefined ? undefined : `a list of which each is ${wrong}`;
    }
    default: {
      const { minLength = -Infinity, maxLength = Infinity } = field;
      const isText = typeof value === "string" && value.length >= minLength && value.length <= maxLength;
      const length = between(minLength, maxLength);
      return isText ? undefined : `a text${length === "" ? "" : `${length} characters`}`;
    }
  }
}

function between(least: number, most: number): string {
  const bounds = [...(Number.isFinite(least) ? [`at least ${least}`] : []), ...(Number.isFinite(most) ? [`at most ${most}`] : [])];
  return bounds.length === 0 ? "" : ` of ${bounds.join(" and ")}`;
}
