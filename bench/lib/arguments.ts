/** The command line of a bench: `--json`, and numbers by name. */
import { countOf, readOptions } from "../../scripts/options.ts";

/** `usage` begins with `Usage: `, the command and ` -- `. */
export function readArguments<Name extends string>(
  usage: string,
  defaults: { readonly [name in Name]: number },
): { readonly json: boolean; readonly numbers: { readonly [name in Name]: number } } {
  const names = Object.keys(defaults) as Name[];
  const command = usage.slice("Usage: ".length, usage.indexOf(" -- ") + 3);
  const options = Object.fromEntries(names.map((name) => [name, { type: "string" as const }]));
  const { values } = readOptions({ command, help: `${usage}\n`, options: { ...options, json: { type: "boolean" as const } } });
  const numbers = { ...defaults } as { [name in Name]: number };
  for (const name of names) {
    const text = (values as { readonly [option: string]: string | boolean | undefined })[name];
    if (typeof text === "string") numbers[name] = countOf(command, name, text);
  }
  return { json: values.json === true, numbers };
}

/** Tells a person what is happening; the report itself goes to standard output. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}
