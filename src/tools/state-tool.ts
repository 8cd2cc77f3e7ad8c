/** What the built-in tools that change only the store have in common. */
import type { Json } from "../base/json.ts";
import { MemoryError } from "../memory/memory.ts";
import type { StateTool, StateToolContext, ToolInput } from "./tool.ts";

/** A call that cannot be done, said so that the model can do better. A tool that throws it has written nothing. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}

/** A parameter in the JSON Schema of a tool. */
export interface Parameter {
  readonly schema: { readonly [key: string]: Json };
  readonly required: boolean;
}

/** The JSON Schema of an object with these parameters. */
export function objectSchema(parameters: { readonly [name: string]: Parameter }): Json {
  const entries = Object.entries(parameters);
  return {
    type: "object",
    properties: Object.fromEntries(entries.map(([name, { schema }]) => [name, schema])),
    required: entries.filter(([, { required }]) => required).map(([name]) => name),
  };
}

export function required(schema: { readonly [key: string]: Json }): Parameter {
  return { schema, required: true };
}

export function optional(schema: { readonly [key: string]: Json }): Parameter {
  return { schema, required: false };
}

/**
 * A tool of which `run` gives the result's text. What it throws for the model, and what memory refuses, becomes an
 * error result; anything else, such as a store that is down, is not the model's business and is thrown on.
 */
export function stateTool(
  definition: { readonly name: string; readonly description: string; readonly parameters: { readonly [name: string]: Parameter } },
  run: (input: ToolInput, context: StateToolContext) => Promise<string>,
): StateTool {
  return {
    name: definition.name,
    description: definition.description,
    parameters: objectSchema(definition.parameters),
    effect: "state",
    async execute(input, context) {
      try {
        return { status: "success", text: await run(input, context) };
      } catch (error) {
        if (!(error instanceof ToolError || error instanceof MemoryError)) throw error;
        return { status: "error", text: `Error executing function ${definition.name}: ${error.message}` };
      }
    },
  };
}

/** A text argument. Arguments were validated against the schema; a missing one is the model's mistake all the same. */
export function textArgument(input: ToolInput, name: string): string {
  const value = input[name];
  if (typeof value !== "string") throw new ToolError(`The argument \`${name}\` is required and must be a string`);
  return value;
}

export function optionalText(input: ToolInput, name: string): string | undefined {
  const value = input[name] ?? undefined;
  if (value !== undefined && typeof value !== "string") throw new ToolError(`The argument \`${name}\` must be a string`);
  return value;
}

export function optionalInteger(
  input: ToolInput,
  name: string,
  range: { readonly least: number; readonly most: number },
): number | undefined {
  const value = input[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isInteger(value) || value < range.least || value > range.most)
    throw new ToolError(`The argument \`${name}\` must be a whole number from ${range.least} to ${range.most}`);
  return value;
}

export function optionalTexts(input: ToolInput, name: string): readonly string[] | undefined {
  const value = input[name] ?? undefined;
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((each): each is string => typeof each === "string"))
    throw new ToolError(`The argument \`${name}\` must be a list of strings`);
  return value;
}
