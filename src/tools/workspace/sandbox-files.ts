/** Puts a workspace's files into a sandbox, and takes out what a command has made of them. */
import { runCommand } from "../../sandbox/run-command.ts";
import { type Sandbox, SandboxFileError } from "../../sandbox/sandbox.ts";
import { checkListing, checkPath, FileTreeError } from "./file-tree.ts";
import { skillsFolder, workspaceLimits } from "./workspace.ts";

export interface Collected {
  readonly changed: ReadonlyMap<string, Uint8Array>;
  readonly gone: readonly string[];
  /** What is not kept, for the model. */
  readonly notes: readonly string[];
}

const foldersMax = 5_000;
const namesShown = 5;
const argumentsAtOnce = 1_000;

/** Files that begin as scripts do can be run by their paths. */
export async function placeFiles(sandbox: Sandbox, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const scripts: string[] = [];
  for (const [path, bytes] of files) {
    await sandbox.files.write(path, bytes);
    if (bytes[0] === 0x23 && bytes[1] === 0x21) scripts.push(path);
  }
  for (let at = 0; at < scripts.length; at += argumentsAtOnce)
    await runCommand(sandbox, { program: "chmod", arguments: ["u+x", "--", ...scripts.slice(at, at + argumentsAtOnce)] });
}

/**
 * What is different from `before`. Sizes are looked at before anything is read.
 *
 * @throws {FileTreeError} The workspace cannot hold what the command left.
 */
export async function collectFiles(sandbox: Sandbox, before: ReadonlyMap<string, Buffer>): Promise<Collected> {
  const { files, skipped } = await listFiles(sandbox);
  checkListing(files, workspaceLimits);
  const changed = new Map<string, Uint8Array>();
  for (const path of files.keys()) {
    const bytes = await readFile(sandbox, path);
    if (before.get(path)?.equals(bytes) !== true) changed.set(path, bytes);
  }
  const gone = [...before.keys()].filter((path) => !files.has(path));
  return { changed, gone, notes: skipped.length === 0 ? [] : [`[not kept, as they are no plain files: ${namesOf(skipped)}]`] };
}

function namesOf(paths: readonly string[]): string {
  const names = paths.slice(0, namesShown).map((path) => JSON.stringify(path.slice(0, 100)));
  return `${names.join(", ")}${paths.length > namesShown ? ` and ${paths.length - namesShown} more` : ""}`;
}

async function listFiles(
  sandbox: Sandbox,
): Promise<{ readonly files: Map<string, { readonly bytes: number }>; readonly skipped: string[] }> {
  const files = new Map<string, { readonly bytes: number }>();
  const skipped: string[] = [];
  const folders = ["."];
  for (let at = 0; at < folders.length; at++) {
    if (folders.length > foldersMax) throw new FileTreeError(`there are more than ${foldersMax} folders`);
    for (const { name, kind, bytes } of await listFolder(sandbox, folders[at]!)) {
      const path = at === 0 ? name : `${folders[at]}/${name}`;
      if (path === skillsFolder) continue;
      if (kind === "folder") folders.push(path);
      else if (kind !== "file") skipped.push(path);
      else {
        checkPath(path);
        files.set(path, { bytes });
        if (files.size > workspaceLimits.files) throw new FileTreeError(`there are more than ${workspaceLimits.files} files`);
      }
    }
  }
  return { files, skipped };
}

async function listFolder(sandbox: Sandbox, path: string): ReturnType<Sandbox["files"]["list"]> {
  return await asTreeError(() => sandbox.files.list(path));
}

async function readFile(sandbox: Sandbox, path: string): Promise<Uint8Array> {
  return await asTreeError(() => sandbox.files.read(path, workspaceLimits.fileBytes));
}

async function asTreeError<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SandboxFileError) throw new FileTreeError(error.message, { cause: error });
    throw error;
  }
}
