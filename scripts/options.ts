/** The options of a test, a bench or another script that is run by hand. */
import { parseArgs, type ParseArgsConfig } from "node:util";

export interface Script<Options extends NonNullable<ParseArgsConfig["options"]>> {
  /** As it is typed, such as `npm run test:fuzz --`. */
  readonly command: string;
  readonly help: string;
  readonly options: Options;
  readonly allowPositionals?: boolean;
}

type Parsed<Options extends NonNullable<ParseArgsConfig["options"]>> = ReturnType<
  typeof parseArgs<{ options: Options; allowPositionals: true }>
>;

/** Ends the process after `--help`, with 0, and where something is not understood, with 2 and a line that says what. */
export function readOptions<Options extends NonNullable<ParseArgsConfig["options"]>>(script: Script<Options>): Parsed<Options> {
  const { command, help, options, allowPositionals = false } = script;
  const args = process.argv.slice(2);
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(help);
    process.exit(0);
  }
  try {
    return parseArgs({ args, options, allowPositionals }) as Parsed<Options>;
  } catch (error) {
    if (error instanceof TypeError) refuse(command, error.message);
    throw error;
  }
}

/** A whole number of at least 1. */
export function countOf(command: string, name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  return refuse(command, `--${name} is a whole number of at least 1, not ${JSON.stringify(text.slice(0, 50))}`);
}

function refuse(command: string, why: string): never {
  process.stderr.write(`${why}\nTry ${command} --help\n`);
  process.exit(2);
}
