/** Turns what a schema found wrong into one line per mistake: the field, what it should be, and what it is. */
import type { z } from "@hono/zod-openapi";
import { secretMask } from "../base/secret-mask.ts";
import type { HttpError } from "./http-error.ts";
import { show, unprocessable } from "./http-error.ts";

const mistakesShownMax = 5;
/** Fields whose values no error shows, whatever they are: somebody may keep it. */
const secretFields: ReadonlySet<PropertyKey> = new Set([
  "secrets",
  "tool_exec_environment_variables",
  "env",
  "auth_token",
  "custom_headers",
  "client_secret",
  "api_key",
  "access_key",
]);

/** @throws {HttpError} 422 naming each wrong field, or the value that the schema makes of `input`. */
export function validate<Schema extends z.ZodType>(schema: Schema, input: unknown, place: "body" | "query" | "path"): z.output<Schema> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  throw unprocessableIssues(result.error.issues, input, place);
}

export function unprocessableIssues(issues: readonly z.core.$ZodIssue[], input: unknown, place: string): HttpError {
  const lines = issues.flatMap(deepest).map((issue) => describe(issue, input, place));
  const shown = lines.slice(0, mistakesShownMax).join("; ");
  const rest = lines.length - mistakesShownMax;
  return unprocessable(rest > 0 ? `${shown}; and ${rest} more` : shown, examples(issues));
}

/** For a union that fits nowhere: what is wrong with the member that was meant. */
function deepest(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return [issue];
  const all = issue.errors.map((branch) => branch.flatMap((inner) => deepest({ ...inner, path: [...issue.path, ...inner.path] })));
  // The member whose `type` the value names was meant, if there is one.
  const named = all.filter(
    (branch) =>
      !branch.some((each) => each.code === "invalid_value" && each.path.length === issue.path.length + 1 && each.path.at(-1) === "type"),
  );
  const branches = named.length > 0 ? named : all;
  const reach = (branch: readonly z.core.$ZodIssue[]): number => Math.max(0, ...branch.map((each) => each.path.length));
  const furthest = Math.max(...branches.map(reach));
  // Several members that fail at the union itself are one mistake: the value is none of the kinds allowed.
  if (furthest <= issue.path.length) return [issue];
  return branches.filter((branch) => reach(branch) === furthest).sort((left, right) => left.length - right.length)[0]!;
}

function describe(issue: z.core.$ZodIssue, input: unknown, place: string): string {
  const value = issue.path.reduce<unknown>(
    (parent, key) => (typeof parent === "object" && parent !== null ? (parent as Record<PropertyKey, unknown>)[key] : undefined),
    input,
  );
  const path = issue.path.reduce<string>((text, key) => (typeof key === "number" ? `${text}[${key}]` : `${text}.${String(key)}`), place);
  return value === undefined && issue.code !== "custom"
    ? `${path}: required, ${expectation(issue)}`
    : `${path}: ${expectation(issue)}, received ${issue.path.some((key) => secretFields.has(key)) ? "a secret" : show(withoutSecrets(value))}`;
}

function withoutSecrets(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  return JSON.parse(JSON.stringify(value, (name, inner: unknown) => (secretFields.has(name) ? secretMask : inner)));
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${issue.expected}`;
    case "invalid_value":
      return `expected ${issue.values.length === 1 ? "" : "one of "}${issue.values.map((value) => JSON.stringify(value)).join(", ")}`;
    case "too_small":
      return `expected ${issue.inclusive === true || issue.exact === true ? "at least" : "more than"} ${issue.minimum}${unit(issue.origin)}`;
    case "too_big":
      return `expected ${issue.inclusive === true || issue.exact === true ? "at most" : "less than"} ${issue.maximum}${unit(issue.origin)}`;
    case "invalid_union":
      return issue.errors.length === 0
        ? `expected a known ${issue.discriminator ?? "kind"}`
        : `expected ${[...new Set(issue.errors.flat().map((inner) => expectation(inner).replace(/^expected /, "")))].join(" or ")}`;
    default:
      return issue.message.charAt(0).toLowerCase() + issue.message.slice(1);
  }
}

function unit(origin: string): string {
  return origin === "string" ? " characters" : origin === "array" ? " items" : "";
}

/** An id of the wrong shape is answered with one of the right shape, as V1 does. */
function examples(issues: readonly z.core.$ZodIssue[]): string[] | undefined {
  const found = issues.flatMap((issue) =>
    issue.code === "custom" && typeof issue.params?.["example"] === "string" ? [issue.params["example"]] : [],
  );
  return found.length === 0 ? undefined : found;
}
