/** The command line of a bench: `--json`, and numbers by name. */
import { parseArgs } from "node:util";

/** @throws {Error} An option is unknown, or not a whole number of at least 1. */
export function readArguments<Name extends string>(
  usage: string,
  defaults: { readonly [name in Name]: number },
): { readonly json: boolean; readonly numbers: { readonly [name in Name]: number } } {
  const names = Object.keys(defaults) as Name[];
  const options = Object.fromEntries(names.map((name) => [name, { type: "string" as const }]));
  const flags = { json: { type: "boolean" as const }, help: { type: "boolean" as const, short: "h" } };
  const { values } = parseArgs({ options: { ...options, ...flags } });
  if (values.help === true) {
    console.log(usage);
    process.exit(0);
  }
  const numbers = { ...defaults } as { [name in Name]: number };
  for (const name of names) {
    const text = (values as { readonly [option: string]: string | boolean | undefined })[name];
    if (text === undefined) continue;
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} is a whole number of at least 1, not ${JSON.stringify(text)}`);
    numbers[name] = value;
  }
  return { json: values.json === true, numbers };
}

/** Tells a person what is happening; the report itself goes to standard output. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}
