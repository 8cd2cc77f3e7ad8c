/** What a command of `kelpie` is, and how its options are read and explained. */
import { parseArgs } from "node:util";
import { suggestion } from "../base/nearest.ts";
import type { Program } from "./program.ts";

export { exitCodes } from "./exit-codes.ts";

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What follows the name, such as `list | show <id>`. */
  readonly usage: string;
  readonly description: string;
  readonly options: readonly Option[];
  readonly examples: readonly string[];
  run(input: CommandInput, program: Program): Promise<number>;
}

export interface Option {
  /** Without dashes. */
  readonly name: string;
  readonly short?: string;
  /** The name of its value; absent: the option is on or off. */
  readonly value?: string;
  readonly meaning: string;
}

export interface CommandInput {
  readonly positionals: readonly string[];
  /** Options with a value. */
  readonly values: ReadonlyMap<string, string>;
  /** Options that are on. */
  readonly flags: ReadonlySet<string>;
}

/** The command line asks for something that does not exist or is malformed. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A command cannot do what it was asked; the message is all that a person needs. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

export const helpOption: Option = { name: "help", short: "h", meaning: "Explain the command" };
export const jsonOption: Option = { name: "json", meaning: "Print JSON, for scripts" };
export const serverOption: Option = {
  name: "server",
  value: "url",
  meaning: "The Kelpie to talk to (KELPIE_SERVER; LETTA_BASE_URL is read too); http://127.0.0.1:8283",
};

/** @throws {UsageError} */
export function parseOptions(command: Command, args: readonly string[]): CommandInput {
  const options = [...command.options, helpOption];
  const { tokens } = parseArgs({
    args: [...args],
    // What is unknown or malformed is told below, in words that help.
    strict: false,
    tokens: true,
    options: Object.fromEntries(options.map((option) => [option.name, optionConfig(option)])),
  });
  const positionals: string[] = [];
  const values = new Map<string, string>();
  const flags = new Set<string>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const option = options.find(({ name }) => name === token.name);
    if (option === undefined) {
      const names = options.map(({ name }) => `--${name}`);
      throw new UsageError(`kelpie ${command.name} has no option ${token.rawName}.${suggestion(token.rawName, names)}`);
    }
    if (option.value === undefined) {
      if (token.value !== undefined) throw new UsageError(`${token.rawName} takes no value, and got ${JSON.stringify(token.value)}`);
      flags.add(option.name);
      continue;
    }
    if (token.value === undefined || (!token.inlineValue && token.value.startsWith("-") && token.value !== "-"))
      throw new UsageError(`${token.rawName} needs a value: ${token.rawName} <${option.value}> (or ${token.rawName}=<${option.value}>)`);
    if (values.has(option.name)) throw new UsageError(`${token.rawName} was given twice`);
    values.set(option.name, token.value);
  }
  return { positionals, values, flags };
}

/** For a command that has options only. @throws {UsageError} */
export function refuseArguments(name: string, { positionals }: CommandInput): void {
  if (positionals.length > 0)
    throw new UsageError(`kelpie ${name} takes no argument, only options, and got ${JSON.stringify(positionals[0]!.slice(0, 60))}`);
}

function optionConfig(option: Option): { type: "string" | "boolean"; short?: string } {
  const type = option.value === undefined ? "boolean" : "string";
  return option.short === undefined ? { type } : { type, short: option.short };
}

export function helpText(command: Command): string {
  const options = [...command.options, helpOption];
  const names = options.map((option) => {
    const short = option.short === undefined ? "    " : `-${option.short}, `;
    return `${short}--${option.name}${option.value === undefined ? "" : ` <${option.value}>`}`;
  });
  return [
    `kelpie ${command.name}: ${command.description}`,
    "",
    `Usage: kelpie ${command.name} ${command.usage}`.trimEnd(),
    "",
    "Options:",
    ...columns(options.map((option, index) => [names[index]!, option.meaning])),
    "",
    "Examples:",
    ...command.examples.map((example) => `  ${example}`),
    "",
  ].join("\n");
}

/** Two columns, the first as wide as its widest cell, indented by two spaces. */
export function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(0, ...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`.trimEnd());
}
