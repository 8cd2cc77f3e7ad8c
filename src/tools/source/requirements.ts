/** What packages a tool asks for, in the words of pip and npm: names of their registries with versions, no addresses, no options. */
import type { ToolRecord } from "../tool-record.ts";

export type Language = "python" | "typescript";

/** The packages of a tool are not to be had; the message says why. Nothing ran. */
export class PackageError extends Error {
  override readonly name = "PackageError";
}

const requirementsMax = 50;
const shownCharacters = 100;

/** @throws {PackageError} */
export function requirementsOf(
  { pip_requirements, npm_requirements }: Pick<ToolRecord, "pip_requirements" | "npm_requirements">,
  language: Language,
): readonly string[] {
  const list = language === "python" ? pip_requirements : npm_requirements;
  if (list === null) return [];
  if (!Array.isArray(list) || list.length > requirementsMax)
    throw new PackageError(`Its requirements are a list of at most ${requirementsMax} packages with name and version`);
  const { namePattern, versionPattern, written, sameName } = grammar[language];
  const names = new Set<string>();
  return list.map((each) => {
    const { name, version } = (typeof each === "object" && each !== null ? each : { name: each }) as { readonly [key: string]: unknown };
    if (typeof name !== "string" || !namePattern.test(name))
      throw new PackageError(`${shown(name)} is no name of a package: registries are asked by name only`);
    // npm would take the last of them, and pip neither.
    if (names.has(sameName(name))) throw new PackageError(`${name} is there twice: of a package there is one version`);
    names.add(sameName(name));
    if (version === undefined || version === null || version === "") return name;
    if (typeof version !== "string" || !versionPattern.test(version)) throw new PackageError(`${shown(version)} is no version of ${name}`);
    return written(name, version);
  });
}

const grammar = {
  python: {
    namePattern: /^[A-Za-z0-9]([A-Za-z0-9._-]{0,100}[A-Za-z0-9])?(\[[A-Za-z0-9._,-]{1,100}\])?$/,
    versionPattern: /^[<>=~!]?[A-Za-z0-9.*+!<>=~, ]{1,100}$/,
    written: (name: string, version: string): string => (/^[<>=~!]/.test(version) ? `${name}${version}` : `${name}==${version}`),
    sameName: (name: string): string =>
      name
        .replace(/\[.*/, "")
        .toLowerCase()
        .replaceAll(/[._-]+/g, "-"),
  },
  typescript: {
    // What ends in .tar or .tgz is a file to npm.
    namePattern: /^(?!.*\.(tgz|tar|gz)$)(@[a-z0-9~][a-z0-9._~-]{0,100}\/)?[a-zA-Z0-9][a-zA-Z0-9._~-]{0,100}$/,
    versionPattern: /^(?!.*\.(tgz|tar|gz)$)[\^~<>=]{0,2}[A-Za-z0-9.*+-]{1,100}$/,
    written: (name: string, version: string): string => `${name}@${version}`,
    sameName: (name: string): string => name.toLowerCase(),
  },
} as const;

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? "undefined").slice(0, shownCharacters);
}
