/** Puts released clients into a folder, from the package registries that this machine's npm and pip are set up for. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
const outputBytesMax = 10_000_000;

/**
 * The path of `letta.js` of this version of `@letta-ai/letta-code`.
 *
 * Releases after 0.25 depend on packages that not every registry has, none of which a turn needs: their published
 * bundle is unpacked and given the rest of what it depends on.
 */
export async function installLettaCode(folder: string, version: string): Promise<string> {
  const name = `@letta-ai/letta-code@${version}`;
  const place = join(folder, `letta-code-${version}`);
  const isWhole = version.startsWith("0.25.");
  const bundle = join(place, ...(isWhole ? ["node_modules", "@letta-ai", "letta-code"] : ["package"]), "letta.js");
  if (existsSync(join(place, "ready"))) return bundle;
  mkdirSync(place, { recursive: true });
  if (isWhole) await run("npm", ["install", ...quiet, "--prefix", place, name], { maxBuffer: outputBytesMax });
  else await installBundle(place, name);
  writeFileSync(join(place, "ready"), "");
  return bundle;
}

async function installBundle(place: string, name: string): Promise<void> {
  await run("npm", ["pack", "--silent", name], { cwd: place });
  const archive = readdirSync(place).find((file) => file.endsWith(".tgz"))!;
  await run("tar", ["-xzf", archive], { cwd: place });
  const folder = join(place, "package");
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { dependencies: Record<string, string> };
  for (const missing of ["@letta-ai/trajectory", "@letta-ai/letta-agent-sdk", "@janhapke/sharp-electron"])
    delete manifest.dependencies[missing];
  writeFileSync(join(folder, "package.json"), JSON.stringify({ dependencies: manifest.dependencies, type: "module" }));
  await run("npm", ["install", ...quiet, "--legacy-peer-deps"], { cwd: folder, maxBuffer: outputBytesMax });
}

/** The Python of an environment that has this version of `letta-client`; undefined without a Python on this machine. */
export async function installPythonClient(folder: string, version: string): Promise<string | undefined> {
  const place = join(folder, `letta-client-${version}`);
  const python = join(place, "bin", "python");
  if (existsSync(join(place, "ready"))) return python;
  try {
    await run("python3", ["-m", "venv", place]);
  } catch {
    // No python3, or one without venv: the caller says that the case was left out.
    return undefined;
  }
  await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", `letta-client==${version}`]);
  writeFileSync(join(place, "ready"), "");
  return python;
}
