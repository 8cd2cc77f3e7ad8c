/** Query strings as the values that a schema asks for: everything arrives as text, and lists as repeated names. */
import { z } from "@hono/zod-openapi";

type Reader = (texts: readonly string[]) => unknown;

/** Makes, once for a schema, the function that reads a query string for it. Text that fits no reading stays text, and the schema refuses it. */
export function queryReader(schema: z.ZodType): (search: URLSearchParams) => Record<string, unknown> {
  const readers =
    schema instanceof z.ZodObject
      ? Object.entries(schema.shape as Record<string, z.ZodType>).map(([name, field]) => [name, readerOf(field)] as const)
      : [];
  return (search) => {
    const values: Record<string, unknown> = {};
    for (const [name, read] of readers) {
      // An empty parameter, `?after=`, means that it was left out.
      const texts = search.getAll(name).filter((text) => text !== "");
      if (texts.length > 0) values[name] = read(texts);
    }
    return values;
  };
}

function readerOf(schema: z.ZodType): Reader {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodArray) {
    const readItem = readerOf(inner.element as z.ZodType);
    return (texts) => texts.map((text) => readItem([text]));
  }
  if (inner instanceof z.ZodBoolean) return (texts) => booleanOf(texts.at(-1)!);
  if (inner instanceof z.ZodNumber) return (texts) => numberOf(texts.at(-1)!);
  return (texts) => texts.at(-1);
}

function unwrap(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodDefault)
    return unwrap(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodPipe) return unwrap(schema.in as z.ZodType);
  return schema;
}

function booleanOf(text: string): boolean | string {
  const lower = text.toLowerCase();
  if (["true", "1", "yes", "on"].includes(lower)) return true;
  if (["false", "0", "no", "off"].includes(lower)) return false;
  return text;
}

function numberOf(text: string): number | string {
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}
