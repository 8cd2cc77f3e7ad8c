/**
 * Whether the schema of a tool's parameters is one, as far as a provider of models looks: one that refuses a tool refuses the
 * whole request, and the agent could say nothing more.
 */
const types = new Set<unknown>(["object", "array", "string", "number", "integer", "boolean", "null"]);

const ofSchema = new Set(["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"]);
const ofSchemas = new Set(["anyOf", "oneOf", "allOf", "prefixItems"]);
const ofNamedSchemas = new Set(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"]);
const ofNumber = new Set(["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "multipleOf"]);
const ofText = new Set(["$ref", "title", "description", "pattern", "format"]);

/** Schemas inside each other. */
const depthMax = 32;

/** What is wrong, and where in the schema. */
export function faultOfSchema(schema: unknown, place = "the schema", depth = 0): string | undefined {
  if (typeof schema === "boolean" && depth > 0) return undefined;
  if (!isObject(schema)) return `${place} is no schema`;
  if (depth > depthMax) return `the schema is nested more than ${depthMax} levels deep`;
  for (const [keyword, value] of Object.entries(schema)) {
    const at = `${place}.${keyword}`.slice(0, 200);
    const fault = faultOfKeyword(keyword, value, at, depth);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function faultOfKeyword(keyword: string, value: unknown, at: string, depth: number): string | undefined {
  const inner = (schema: unknown, name: string): string | undefined => faultOfSchema(schema, `${at}.${name}`, depth + 1);
  if (keyword === "type") {
    const all: readonly unknown[] = Array.isArray(value) && value.length > 0 ? value : [value];
    return all.every((type) => types.has(type)) ? undefined : `${at} is no type`;
  }
  if (keyword === "required")
    return Array.isArray(value) && value.every((name) => typeof name === "string") ? undefined : `${at} is no list of names`;
  if (keyword === "enum") return Array.isArray(value) && value.length > 0 ? undefined : `${at} is no list of values`;
  if (ofNumber.has(keyword)) return typeof value === "number" ? undefined : `${at} is no number`;
  if (ofText.has(keyword)) return typeof value === "string" ? undefined : `${at} is no text`;
  // Before 2020-12, `items` was also a list.
  if (ofSchema.has(keyword) && !(keyword === "items" && Array.isArray(value))) return faultOfSchema(value, at, depth + 1);
  if (ofSchemas.has(keyword) || keyword === "items")
    return Array.isArray(value) && value.length > 0 ? first(value.map((each, index) => inner(each, String(index)))) : `${at} is no list`;
  if (ofNamedSchemas.has(keyword))
    return isObject(value) ? first(Object.entries(value).map(([name, each]) => inner(each, name))) : `${at} is no object`;
  return undefined;
}

function first(faults: readonly (string | undefined)[]): string | undefined {
  return faults.find((fault) => fault !== undefined);
}

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
