/**
 * Packages that tools' code needs, from the registries of pip and npm: installed once for each set of requirements, in a
 * sandbox that reaches the registry's hosts only, and mounted read-only into the sandboxes of calls.
 *
 * K1. A set's folder is there whole or not at all: it is installed beside, and renamed.
 * K2. An installation is not given up with the call that asked for it: the next one finds it.
 * K3. Nothing of a package runs while it is installed: wheels only, and no scripts of npm.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Environment } from "../../environment/environment.ts";
import type { HostRule } from "../../sandbox/network-policy.ts";
import { removeFolder } from "../../sandbox/remove-folder.ts";
import { type CommandResult, runCommand } from "../../sandbox/run-command.ts";
import type { Bounds, Command, Mount } from "../../sandbox/sandbox.ts";
import { type Language, PackageError } from "./requirements.ts";
import { callBounds, describeExit, type SandboxNeeds, type ToolSandboxes } from "./tool-sandboxes.ts";

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

/** On a host. */
const setsMax = 200;
/** Sets that wait to be installed, one after another. */
const waitingMax = 20;
const given = { timeoutMilliseconds: 300_000, outputBytesMax: 4 * 2 ** 20 };
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

/** Packages for one version of a language may not fit another: what the sandbox's own program says of itself. */
const versions = {
  python: { program: "python3", arguments: ["-VV"] },
  typescript: { program: "node", arguments: ["-p", "process.arch + process.versions.modules"] },
} as const satisfies { readonly [language in Language]: Command };

/** Then follows the process that installs. */
const partialPrefix = "partial-";

export class Packages {
  readonly #options: PackagesOptions;
  readonly #versions = new Map<Language, string>();
  readonly #installing = new Map<string, Promise<void>>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: PackagesOptions) {
    this.#options = options;
  }

  /** What gives code these requirements; installs them if need be. May run twice. @throws {PackageError} Others as `ToolSandboxes.create`. */
  async mount(language: Language, requirements: readonly string[], signal: AbortSignal): Promise<Mount> {
    const parts = [language, await this.#version(language), requirements.toSorted()];
    const name = createHash("sha256").update(JSON.stringify(parts)).digest("hex");
    const { made, target } = places[language];
    const source = join(this.#options.folder, name, made);
    if (!(await exists(source))) await unlessAborted(this.#installOnce(name, language, requirements), signal);
    return { source, target };
  }

  async #version(language: Language): Promise<string> {
    const known = this.#versions.get(language);
    if (known !== undefined) return known;
    const command = versions[language];
    const { exit, stdout, stderr } = await this.#run({}, callBounds, command);
    const version = stdout.toString("utf8").trim();
    if (exit.reason !== "exited" || exit.code !== 0 || version === "")
      throw new PackageError(`${command.program} ${describeExit(exit, callBounds, given)}: ${endOf(stderr)}`);
    this.#versions.set(language, version);
    return version;
  }

  /** Whoever asks for a set meanwhile waits for the same installation; one that failed is tried again by the next call. */
  async #installOnce(name: string, language: Language, requirements: readonly string[]): Promise<void> {
    let installing = this.#installing.get(name);
    if (installing === undefined) {
      if (this.#installing.size >= waitingMax)
        throw new PackageError(`${waitingMax} sets of packages wait to be installed already: try again later`);
      installing = this.#last.then(() => this.#install(name, language, requirements)).finally(() => this.#installing.delete(name));
      this.#installing.set(name, installing);
      this.#last = installing.catch(() => undefined); // Its own callers are told.
    }
    await installing;
  }

  async #install(name: string, language: Language, requirements: readonly string[]): Promise<void> {
    const { environment, folder, registryOf } = this.#options;
    await mkdir(folder, { recursive: true });
    if ((await setsIn(folder)) >= setsMax)
      throw new PackageError(`There are ${setsMax} sets of packages already: remove what is not needed any more from ${folder}`);
    const registry = await registryOf(language);
    const partial = join(folder, `${partialPrefix}${process.pid}-${environment.random.uuid()}`);
    const { made } = places[language];
    await mkdir(partial);
    try {
      const command = installers[language](requirements, registry.url);
      const { exit, stdout, stderr } = await this.#run({ workspace: partial, allow: rulesOf(registry) }, bounds, command);
      if (exit.reason !== "exited" || exit.code !== 0)
        throw new PackageError(
          `Cannot install ${requirements.join(", ")}: ${command.program} ${describeExit(exit, bounds, given)}\n${endOf(Buffer.concat([stdout, stderr]))}`,
        );
      if (!(await exists(join(partial, made)))) throw new PackageError(`Installing ${requirements.join(", ")} gave no packages`);
      await rename(partial, join(folder, name)).catch(async (error: unknown) => {
        // Another process of this host was faster.
        if (!(await exists(join(folder, name, made)))) throw error;
      });
    } finally {
      await removeFolder(partial);
    }
  }

  async #run(needs: SandboxNeeds, within: Bounds, command: Command): Promise<CommandResult> {
    const sandbox = await this.#options.sandboxes.create(needs, within);
    try {
      if (!sandbox.info.capabilities.hidesHost)
        throw new PackageError("packages are installed in sandboxes only, and there is none on this host");
      return await runCommand(sandbox, { ...command, ...given });
    } finally {
      await sandbox.close();
    }
  }
}

/** Counts them, and removes what processes that were killed have left. */
async function setsIn(folder: string): Promise<number> {
  let count = 0;
  for (const name of await readdir(folder)) {
    if (!name.startsWith(partialPrefix)) count++;
    else if (!existsSync(`/proc/${Number.parseInt(name.slice(partialPrefix.length))}`)) await removeFolder(join(folder, name));
  }
  return count;
}

const certificates = "/etc/ssl/certs/ca-certificates.crt";

const installers = {
  python: (requirements: readonly string[], index: string): Command => ({
    program: "python3",
    arguments: [
      ..."-m pip install --no-input --quiet --no-cache-dir --only-binary :all: --target".split(" "),
      places.python.made,
      ...requirements,
    ],
    environment: {
      PIP_INDEX_URL: index,
      // Whoever has set up an address without TLS means it.
      ...(index.startsWith("http:") ? { PIP_TRUSTED_HOST: new URL(index).hostname } : {}),
      PIP_DISABLE_PIP_VERSION_CHECK: "1",
      PIP_ROOT_USER_ACTION: "ignore",
      ...(existsSync(certificates) ? { PIP_CERT: certificates } : {}),
    },
  }),
  typescript: (requirements: readonly string[], registry: string): Command => ({
    program: "npm",
    arguments: [
      ..."install --ignore-scripts --no-audit --no-fund --no-update-notifier --no-package-lock --loglevel=error".split(" "),
      ...requirements,
    ],
    environment: {
      npm_config_registry: registry,
      npm_config_cache: "/tmp/npm",
      ...(existsSync(certificates) ? { NODE_EXTRA_CA_CERTS: certificates } : {}),
    },
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

function endOf(bytes: Buffer): string {
  return bytes.toString("utf8").trim().slice(-problemCharactersShown).toWellFormed();
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

/** What `work` gives, which goes on when it is not waited for any more. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const give = (): void => reject(signal.reason);
  signal.addEventListener("abort", give);
  if (signal.aborted) give();
  try {
    return await Promise.race([promise, work]);
  } finally {
    signal.removeEventListener("abort", give);
  }
}
