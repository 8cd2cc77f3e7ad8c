/** Shapes that many resources share. */
import { z } from "@hono/zod-openapi";
import { idPattern } from "../../base/ids.ts";
import type { Json } from "../../base/json.ts";

const exampleUuid = "123e4567-e89b-42d3-8a56-426614174000";

/** An id such as `agent-6f1c…`; one of another kind or shape is refused with an example of the right one. */
export function idOf(prefix: string): z.ZodString {
  const pattern = idPattern(prefix);
  const example = `${prefix}-${exampleUuid}`;
  return z
    .string()
    .superRefine((value, context) => {
      if (!pattern.test(value)) context.addIssue({ code: "custom", message: `expected an id like ${example}`, params: { example } });
    })
    .openapi({ pattern: pattern.source, example });
}

/** Optional, and `null` means the same as leaving it out. */
export function optional<Schema extends z.ZodType>(schema: Schema): z.ZodOptional<z.ZodNullable<Schema>> {
  return schema.nullish();
}

/** A field that answers always carry and that may be `null`. */
export function nullable<Schema extends z.ZodType>(schema: Schema): z.ZodNullable<Schema> {
  return schema.nullable();
}

/** Text that becomes part of a key: no NUL, which tools that read exports and logs trip over. */
export const nameText: z.ZodType<string> = z
  .string()
  .refine((value) => !value.includes("\0"), { message: "expected text without the NUL character" });

/** A time as ISO 8601 with or without an offset (UTC then), or as a date alone; becomes ISO 8601 in UTC. */
export const time: z.ZodType<string> = z
  .string()
  .refine(
    (value) =>
      /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$/.test(value) &&
      !Number.isNaN(Date.parse(withOffset(value))),
    {
      message: "expected a time such as 2026-01-31T12:00:00Z",
    },
  )
  .openapi({ format: "date-time" });

/** Unix milliseconds of a `time`. */
export function millisecondsOf(value: string): number {
  return Date.parse(withOffset(value));
}

function withOffset(value: string): string {
  const full = value.replace(" ", "T");
  return /(Z|[+-]\d{2}:?\d{2})$/.test(full) || !full.includes("T") ? full : `${full}Z`;
}

/** An object whose fields are the caller's own. */
export const anyObject: z.ZodRecord<z.ZodString, z.ZodUnknown> = z.record(z.string(), z.unknown());

/** Any JSON value, stored as it came: the body is JSON already, so what zod calls unknown is `Json`. */
export const jsonValue: z.ZodType<Json> = z.unknown() as unknown as z.ZodType<Json>;

export const jsonObject: z.ZodType<{ readonly [field: string]: Json }> = z.record(z.string(), jsonValue);

/** Where a page begins and ends, and how many entries it has. Cursors are ids from an earlier page. */
export interface PageQuery {
  readonly before?: string | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
  readonly order: "asc" | "desc";
}

/** A page has at most this many entries: what one range read of the store is sure to give. */
export const pageEntriesMax = 1_000;

/** The paging parameters of a list, with its own defaults. Longer pages than `pageEntriesMax` are cut to it, as clients read on until a page is empty. */
export function pageQuery(prefix: string, defaults: { readonly limit: number; readonly order: "asc" | "desc" }): z.ZodObject<PageShape> {
  return z.object({ ...pageShape(prefix, defaults) });
}

type PageShape = {
  before: z.ZodOptional<z.ZodString>;
  after: z.ZodOptional<z.ZodString>;
  limit: z.ZodType<number>;
  order: z.ZodDefault<z.ZodEnum<{ asc: "asc"; desc: "desc" }>>;
  order_by: z.ZodOptional<z.ZodString>;
};

function pageShape(prefix: string, defaults: { readonly limit: number; readonly order: "asc" | "desc" }): PageShape {
  return {
    before: idOf(prefix).optional().openapi({ description: "Ends before this id, in the order asked for" }),
    after: idOf(prefix).optional().openapi({ description: "Starts after this id, in the order asked for" }),
    limit: pageLimit(defaults.limit),
    order: z.enum(["asc", "desc"]).default(defaults.order),
    order_by: z.string().optional(),
  };
}

export function pageLimit(preset: number): z.ZodType<number> {
  return z
    .int()
    .min(1)
    .transform((limit) => Math.min(limit, pageEntriesMax))
    .default(preset)
    .openapi({ type: "integer", minimum: 1, default: preset, description: `At most ${pageEntriesMax}; a larger number means that` });
}
