/** Real MCP servers from the package registry, installed beside this file when something asks for them. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const folder = import.meta.dirname;
const marker = join(folder, "node_modules", ".package-lock.json");
const lock = join(folder, "node_modules.lock");
const installMillisecondsMax = 180_000;

/** The path of a file of one of the packages. */
export async function installed(path: string): Promise<string> {
  while (!isCurrent()) if (!(await install())) await sleep(200);
  return join(folder, "node_modules", path);
}

function isCurrent(): boolean {
  return existsSync(marker) && statSync(marker).mtimeMs >= statSync(join(folder, "package-lock.json")).mtimeMs;
}

/** False: another process is at it. */
async function install(): Promise<boolean> {
  try {
    mkdirSync(lock);
  } catch {
    // One that was killed has left it.
    if (Date.now() - statSync(lock, { throwIfNoEntry: false })!.mtimeMs > installMillisecondsMax)
      rmSync(lock, { recursive: true, force: true });
    return false;
  }
  try {
    if (!isCurrent())
      await promisify(execFile)("npm", ["ci", "--ignore-scripts", "--loglevel=error"], { cwd: folder, timeout: installMillisecondsMax });
    return true;
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}
