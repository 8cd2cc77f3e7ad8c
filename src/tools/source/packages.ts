/**
 * Packages that tools' code needs, from the registries of pip and npm: installed once for each set of requirements, in a
 * sandbox that reaches the registry's hosts only, and mounted read-only into the sandboxes of calls.
 *
 * K1. A set's folder is there whole or not at all: it is installed beside, and renamed.
 * K2. An installation is not given up with the call that asked for it: the next one finds it.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Environment } from "../../environment/environment.ts";
import type { HostRule } from "../../sandbox/network-policy.ts";
import { runCommand } from "../../sandbox/run-command.ts";
import type { Bounds, Mount } from "../../sandbox/sandbox.ts";
import type { ToolRecord } from "../tool-record.ts";
import { describeExit, type ToolSandboxes } from "./tool-sandboxes.ts";

export type Language = "python" | "typescript";

/** Where packages come from, as this host's pip and npm are set up. */
export interface Registry {
  readonly url: string;
  /** Beside the registry's own: where it sends for files. */
  readonly hosts: readonly string[];
}

export interface PackagesOptions {
  readonly environment: Environment;
  readonly sandboxes: ToolSandboxes;
  /** Of the host; made when it is needed. */
  readonly folder: string;
  readonly registryOf: (language: Language) => Promise<Registry>;
}

/** The packages of a tool are not to be had; the message says why. Nothing ran. */
export class PackageError extends Error {
  override readonly name = "PackageError";
}

/** Sets of requirements on a host, and requirements in a set. */
const setsMax = 200;
const requirementsMax = 50;
const given = { timeoutMilliseconds: 600_000, outputBytesMax: 4 * 2 ** 20 };
const bounds: Bounds = {
  memoryBytes: 2 * 2 ** 30,
  processes: 256,
  processors: 2,
  diskBytes: 2 * 2 ** 30,
  diskEntries: 200_000,
  openFiles: 4_096,
};
const problemCharactersShown = 1_500;

/** What is left in the workspace, and where the code looks for it. */
const places = {
  python: { made: "packages", target: "/opt/kelpie/packages" },
  typescript: { made: "node_modules", target: "/node_modules" },
} as const;

export class Packages {
  readonly #options: PackagesOptions;
  readonly #installing = new Map<string, Promise<string>>();

  constructor(options: PackagesOptions) {
    this.#options = options;
  }

  /** What gives code these requirements; installs them if need be. @throws {PackageError} */
  async mount(language: Language, requirements: readonly string[], signal: AbortSignal): Promise<Mount> {
    const name = createHash("sha256")
      .update(JSON.stringify([language, [...requirements].toSorted()]))
      .digest("hex");
    let installing = this.#installing.get(name);
    if (installing === undefined) {
      installing = this.#install(name, language, requirements);
      this.#installing.set(name, installing);
      // A failure is tried again by the next call.
      installing.catch(() => this.#installing.delete(name));
    }
    return { source: await unlessAborted(installing, signal), target: places[language].target };
  }

  async #install(name: string, language: Language, requirements: readonly string[]): Promise<string> {
    const { environment, sandboxes, folder, registryOf } = this.#options;
    const made = join(folder, name, places[language].made);
    if (await exists(made)) return made;
    await mkdir(folder, { recursive: true });
    if ((await readdir(folder)).length >= setsMax)
      throw new PackageError(`There are ${setsMax} sets of packages already: remove what is not needed any more from ${folder}`);
    const registry = await registryOf(language);
    const partial = join(folder, `partial-${environment.random.uuid()}`);
    await mkdir(partial);
    try {
      const sandbox = await sandboxes.create({ workspace: partial, allow: rulesOf(registry) }, bounds);
      try {
        const command = installers[language](requirements, registry.url);
        const { exit, stdout, stderr } = await runCommand(sandbox, { ...command, ...given });
        if (exit.reason !== "exited" || exit.code !== 0) {
          const said = `${stdout.toString("utf8")}${stderr.toString("utf8")}`.trim().slice(-problemCharactersShown);
          throw new PackageError(
            `Cannot install ${requirements.join(", ")}: ${command.program} ${describeExit(exit, bounds, given)}\n${said}`,
          );
        }
      } finally {
        await sandbox.close();
      }
      if (!(await exists(join(partial, places[language].made))))
        throw new PackageError(`Installing ${requirements.join(", ")} gave no packages`);
      await rename(partial, join(folder, name)).catch(async (error: unknown) => {
        // Another process of this host was faster.
        if (!(await exists(made))) throw error;
      });
      return made;
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
  }
}

const installers = {
  python: (requirements: readonly string[], index: string) => ({
    program: "python3",
    arguments: ["-m", "pip", "install", "--no-input", "--quiet", "--no-cache-dir", "--target", places.python.made, ...requirements],
    environment: {
      PIP_INDEX_URL: index,
      PIP_DISABLE_PIP_VERSION_CHECK: "1",
      PIP_CERT: "/etc/ssl/certs/ca-certificates.crt",
      PIP_ROOT_USER_ACTION: "ignore",
    },
  }),
  typescript: (requirements: readonly string[], registry: string) => ({
    program: "npm",
    arguments: ["install", "--no-audit", "--no-fund", "--no-update-notifier", "--no-package-lock", "--loglevel=error", ...requirements],
    environment: { npm_config_registry: registry, npm_config_cache: "/tmp/npm", NODE_EXTRA_CA_CERTS: "/etc/ssl/certs/ca-certificates.crt" },
  }),
} as const;

/** Where its owner keeps packages, or a mirror that stands in for the usual place, may be in a private network. */
function rulesOf({ url, hosts }: Registry): readonly HostRule[] {
  const { hostname, port, protocol } = new URL(url);
  const own = port === "" ? (protocol === "http:" ? 80 : 443) : Number(port);
  return [{ host: hostname, ports: [own] }, ...hosts.map((host) => ({ host, ports: [443] }))].map((rule) => ({
    ...rule,
    privateAddresses: true,
  }));
}

/**
 * The requirements of a tool in the installer's words: names with versions, no addresses, no options.
 *
 * @throws {PackageError}
 */
export function requirementsOf({ pip_requirements, npm_requirements }: ToolRecord, language: Language): readonly string[] {
  const list = language === "python" ? pip_requirements : npm_requirements;
  if (list === null) return [];
  if (!Array.isArray(list) || list.length > requirementsMax)
    throw new PackageError(`Its requirements are a list of at most ${requirementsMax} packages with name and version`);
  return list.map((each) => {
    const { name, version } = (typeof each === "object" && each !== null ? each : { name: each }) as { readonly [key: string]: unknown };
    const { namePattern, versionPattern, written } = grammar[language];
    if (typeof name !== "string" || !namePattern.test(name))
      throw new PackageError(`${JSON.stringify(name)?.slice(0, 100)} is no name of a package: registries are asked by name only`);
    if (version === undefined || version === null || version === "") return name;
    if (typeof version !== "string" || !versionPattern.test(version))
      throw new PackageError(`${JSON.stringify(version).slice(0, 100)} is no version of ${name}`);
    return written(name, version);
  });
}

const grammar = {
  python: {
    namePattern: /^[A-Za-z0-9]([A-Za-z0-9._-]{0,100}[A-Za-z0-9])?(\[[A-Za-z0-9._,-]{1,100}\])?$/,
    versionPattern: /^[<>=~!]?[A-Za-z0-9.*+!<>=~, ]{1,100}$/,
    written: (name: string, version: string): string => (/^[<>=~!]/.test(version) ? `${name}${version}` : `${name}==${version}`),
  },
  typescript: {
    namePattern: /^(@[a-z0-9~][a-z0-9._~-]{0,100}\/)?[a-zA-Z0-9~][a-zA-Z0-9._~-]{0,100}$/,
    versionPattern: /^[\^~<>=]{0,2}[A-Za-z0-9.*+-]{1,100}$/,
    written: (name: string, version: string): string => `${name}@${version}`,
  },
} as const;

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const give = (): void => reject(signal.reason);
  signal.addEventListener("abort", give);
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", give);
  }
}
