/** Where this host's pip and npm get packages: what they say of themselves, run as Kelpie's own user. */
import { execFile } from "node:child_process";
import type { Registry } from "./packages.ts";
import { type Language, PackageError } from "./requirements.ts";

const timeoutMilliseconds = 20_000;

interface Asked {
  readonly command: readonly [string, ...string[]];
  /** Where it gets them if it says nothing. */
  readonly usual?: string;
  readonly hosts: readonly string[];
}

const asked: Readonly<Record<Language, Asked>> = {
  // Its answer has a line for every setting, from files and from variables.
  python: { command: ["python3", "-m", "pip", "config", "list"], usual: "https://pypi.org/simple", hosts: ["files.pythonhosted.org"] },
  typescript: { command: ["npm", "config", "get", "registry"], hosts: [] },
};

/** @throws {PackageError} What they say is no address that sandboxes may be sent to. */
export async function registryOf(language: Language): Promise<Registry> {
  const { command, usual, hosts } = asked[language];
  const [program] = command;
  const said = await output(command);
  const url = language === "python" ? /^\S*\.index-url='([^']+)'$/m.exec(said)?.[1] : said.trim().split("\n").at(-1);
  const address = url === undefined || url === "" ? usual : url;
  if (address === undefined) throw new PackageError(`${program} does not say where it gets packages: is it installed on this host?`);
  const parsed = URL.parse(address);
  if (parsed === null || !/^https?:$/.test(parsed.protocol))
    throw new PackageError(`${program} is set up for a registry that is no address`);
  // Code that is installed must not learn of it.
  if (parsed.username !== "" || parsed.password !== "")
    throw new PackageError(
      `The registry that ${program} is set up for, at ${parsed.host}, asks for a password, and sandboxes are given none`,
    );
  return { url: parsed.href, hosts };
}

/** Empty where the program is not there. */
async function output([program, ...words]: readonly [string, ...string[]]): Promise<string> {
  return await new Promise((resolve) => {
    execFile(program, words, { timeout: timeoutMilliseconds }, (error, stdout) => resolve(error === null ? stdout : ""));
  });
}
