/**
 * The files of a workspace from outside, while hostile code may change them (X6).
 *
 * Every step of a path is taken from an open folder, by `/proc/self/fd/N/name`, and follows no link: so what is checked is
 * what is used, and a folder that becomes a link meanwhile leads nowhere. Links are read and their targets walked the same
 * way, from the workspace's root on.
 */
import { constants } from "node:fs";
import { chmod, type FileHandle, lstat, mkdir, open, opendir, readlink, rename, rmdir, unlink } from "node:fs/promises";
import { posix } from "node:path";
import type { Random } from "../environment/environment.ts";
import { shorten } from "./check-input.ts";
import type { DiskWatch } from "./disk-watch.ts";
import { type FileEntry, limits, SandboxFileError, type SandboxFiles } from "./sandbox.ts";

/** As Linux has it. */
const linksMax = 40;
const depthMax = 512;
const openFolder = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** O_PATH, which Node has no name for: a handle that needs no right to read, for a change of rights that meets no link. */
const openPathOnly = 0o10000000 | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Without waiting: an open of a pipe would wait for its other end. */
const openFile = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const createFile = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export interface WorkspaceFilesOptions {
  /** On the host. */
  readonly folder: string;
  /** As commands see it. */
  readonly workspace: string;
  readonly random: Random;
  /** Who is to own what is written, if not this process. */
  readonly owner?: { readonly user: number; readonly group: number } | undefined;
  /** Where there is no bound, none. */
  readonly disk?: DiskWatch | undefined;
}

/** Where a path ends: an open folder, and a name in it; no name for the root itself. */
interface Place {
  readonly folder: FileHandle;
  readonly name: string | undefined;
}

export class WorkspaceFiles implements SandboxFiles {
  readonly #options: WorkspaceFilesOptions;

  constructor(options: WorkspaceFilesOptions) {
    this.#options = options;
  }

  read(path: string, bytesMax: number = limits.fileReadBytes): Promise<Uint8Array> {
    return this.#at(path, "read", { follow: true }, async ({ folder, name }) => {
      if (name === undefined) throw new SandboxFileError("not-a-file", `Cannot read ${shorten(path)}: it is a folder`);
      await using file = await open(inFolder(folder, name), openFile);
      const stat = await file.stat();
      if (!stat.isFile()) throw new SandboxFileError("not-a-file", `Cannot read ${shorten(path)}: it is no plain file`);
      const most = Math.min(bytesMax, limits.fileReadBytes);
      if (stat.size > most) throw tooLarge("read", path, stat.size, most);
      // It may grow meanwhile.
      const bytes = Buffer.alloc(stat.size);
      let length = 0;
      while (length < bytes.length) {
        const { bytesRead } = await file.read(bytes, length, bytes.length - length, length);
        if (bytesRead === 0) break;
        length += bytesRead;
      }
      return bytes.subarray(0, length);
    });
  }

  async write(path: string, content: Uint8Array | string): Promise<void> {
    const bytes = Buffer.from(content);
    if (bytes.length > limits.fileWriteBytes) throw tooLarge("write", path, bytes.length, limits.fileWriteBytes);
    await this.#checkRoom(path, bytes.length);
    await this.#at(path, "write", { follow: true, create: true }, async ({ folder, name }) => {
      if (name === undefined) throw new SandboxFileError("not-a-file", `Cannot write ${shorten(path)}: it is a folder`);
      const temporary = `.kelpie-${Buffer.from(this.#options.random.bytes(9)).toString("hex")}`;
      const mode = await modeOf(inFolder(folder, name));
      await using file = await open(inFolder(folder, temporary), createFile, mode);
      try {
        await file.writeFile(bytes);
        await this.#own(file);
        await rename(inFolder(folder, temporary), inFolder(folder, name));
      } catch (error) {
        await unlink(inFolder(folder, temporary)).catch(() => undefined); // The first error says more.
        throw error;
      }
    });
  }

  list(path: string): Promise<readonly FileEntry[]> {
    return this.#at(path, "list", { follow: true }, async ({ folder, name }) => {
      if (name === undefined) return await this.#listOf(folder);
      await using inner = await open(inFolder(folder, name), openFolder);
      return await this.#listOf(inner);
    });
  }

  async stat(path: string): Promise<FileEntry | undefined> {
    try {
      return await this.#at(path, "look at", { follow: false }, ({ folder, name }) => entryOf(folder, name ?? "."));
    } catch (error) {
      if (error instanceof SandboxFileError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  async makeFolder(path: string): Promise<void> {
    await this.#checkRoom(path, 0);
    await this.#at(path, "make", { follow: true, create: true }, async ({ folder, name }) => {
      if (name !== undefined) await this.#makeFolder(folder, name);
    });
  }

  async remove(path: string): Promise<void> {
    try {
      await this.#at(path, "remove", { follow: false }, async ({ folder, name }) => {
        if (name === undefined) throw new SandboxFileError("failed", `Cannot remove ${shorten(path)}: it is the workspace itself`);
        await removeTree(folder, name, 0);
      });
    } catch (error) {
      if (!(error instanceof SandboxFileError && error.code === "not-found")) throw error;
    }
  }

  /** Walks to the folder that holds `path`, and does `work` there; what the system refuses becomes an error with the path. */
  async #at<T>(path: string, what: string, how: WalkOptions, work: (place: Place) => Promise<T>): Promise<T> {
    const opened: FileHandle[] = [];
    try {
      return await work(await this.#walk(path, how, opened));
    } catch (error) {
      throw error instanceof SandboxFileError ? error : fileError(error, what, path);
    } finally {
      for (const folder of opened) await folder.close();
    }
  }

  async #walk(path: string, { follow, create }: WalkOptions, opened: FileHandle[]): Promise<Place> {
    const outside = (): SandboxFileError => new SandboxFileError("outside", `${shorten(path)} leads out of the workspace`);
    if (path.includes("\0") || Buffer.byteLength(path) > limits.pathBytes)
      throw new SandboxFileError("failed", `${shorten(path)} is no path: at most ${limits.pathBytes} bytes, none of them zero`);
    /** Of a path or a link's target: where it starts, and its names. */
    const namesOf = (text: string): { readonly fromRoot: boolean; readonly names: string[] } => {
      const fromRoot = posix.isAbsolute(text);
      const { workspace } = this.#options;
      if (fromRoot && text !== workspace && !text.startsWith(`${workspace}/`)) throw outside();
      const rest = fromRoot ? text.slice(workspace.length) : text;
      return { fromRoot, names: rest.split("/").filter((name) => name !== "" && name !== ".") };
    };
    const root = await open(this.#options.folder, openFolder);
    opened.push(root);
    const folders = [root];
    const { names } = namesOf(path);
    for (let links = 0; names.length > 0;) {
      const name = names.shift()!;
      const folder = folders.at(-1)!;
      if (name === "..") {
        if (folders.length === 1) throw outside();
        folders.pop();
        continue;
      }
      const isLast = names.length === 0;
      const target = isLast && !follow ? undefined : await linkOf(folder, name);
      if (target !== undefined) {
        if (++links > linksMax) throw new SandboxFileError("failed", `${shorten(path)} goes through more than ${linksMax} links`);
        const { fromRoot, names: others } = namesOf(target);
        if (fromRoot) folders.length = 1;
        names.unshift(...others);
        continue;
      }
      if (isLast) return { folder, name };
      if (create) await this.#makeFolder(folder, name);
      if (opened.length > depthMax) throw new SandboxFileError("failed", `${shorten(path)} is deeper than ${depthMax} folders`);
      const next = await open(inFolder(folder, name), openFolder);
      opened.push(next);
      folders.push(next);
    }
    // The path ends at a folder that was gone through: "a/..", or the root.
    return { folder: folders.at(-1)!, name: undefined };
  }

  async #makeFolder(folder: FileHandle, name: string): Promise<void> {
    try {
      await mkdir(inFolder(folder, name), 0o755);
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
      return;
    }
    await using made = await open(inFolder(folder, name), openFolder);
    await this.#own(made);
  }

  /** Looks again before it refuses: files may be gone. */
  async #checkRoom(path: string, bytes: number): Promise<void> {
    const { disk } = this.#options;
    if (disk === undefined) return;
    if (!disk.hasRoom(bytes)) await disk.look();
    if (!disk.hasRoom(bytes)) throw new SandboxFileError("full", `Cannot write ${shorten(path)}: the disk of the sandbox is full`);
    disk.add(bytes);
  }

  async #own(file: FileHandle): Promise<void> {
    const { owner } = this.#options;
    if (owner !== undefined) await file.chown(owner.user, owner.group);
  }

  async #listOf(folder: FileHandle): Promise<readonly FileEntry[]> {
    const entries: FileEntry[] = [];
    await using names = await opendir(`/proc/self/fd/${folder.fd}`);
    for await (const { name } of names) {
      if (entries.length === limits.listEntries) break;
      try {
        entries.push(await entryOf(folder, name));
      } catch (error) {
        if (codeOf(error) !== "ENOENT") throw error;
      }
    }
    return entries.sort((left, right) => (left.name < right.name ? -1 : 1));
  }
}

interface WalkOptions {
  /** Whether the last name, if it is a link, stands for its target. */
  readonly follow: boolean;
  /** Whether folders on the way are made. */
  readonly create?: boolean;
}

function inFolder(folder: FileHandle, name: string): string {
  return `/proc/self/fd/${folder.fd}/${name}`;
}

async function linkOf(folder: FileHandle, name: string): Promise<string | undefined> {
  try {
    return await readlink(inFolder(folder, name));
  } catch (error) {
    // Not a link, or nothing: what comes next says so.
    if (codeOf(error) === "EINVAL" || codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function entryOf(folder: FileHandle, name: string): Promise<FileEntry> {
  const stat = await lstat(inFolder(folder, name));
  const kind = stat.isFile() ? "file" : stat.isDirectory() ? "folder" : stat.isSymbolicLink() ? "link" : "other";
  return { name: name === "." ? "" : name, kind, bytes: stat.size, modified: Math.floor(stat.mtimeMs) };
}

/** Of what is replaced, or a new file's; without the bits that give another's rights. */
async function modeOf(path: string): Promise<number> {
  try {
    const stat = await lstat(path);
    return stat.isFile() ? stat.mode & 0o777 : 0o644;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return 0o644;
    throw error;
  }
}

async function removeTree(folder: FileHandle, name: string, depth: number): Promise<void> {
  try {
    await unlink(inFolder(folder, name));
    return;
  } catch (error) {
    if (codeOf(error) !== "EISDIR" && codeOf(error) !== "EPERM") throw error;
  }
  if (depth > depthMax) throw new SandboxFileError("failed", `Cannot remove what is deeper than ${depthMax} folders`);
  {
    // Its own code may have made it unreadable.
    await using inner = await openAnyway(folder, name);
    await using names = await opendir(`/proc/self/fd/${inner.fd}`);
    for await (const entry of names) await removeTree(inner, entry.name, depth + 1);
  }
  await rmdir(inFolder(folder, name));
}

async function openAnyway(folder: FileHandle, name: string): Promise<FileHandle> {
  try {
    return await open(inFolder(folder, name), openFolder);
  } catch (error) {
    if (codeOf(error) !== "EACCES") throw error;
    await using same = await open(inFolder(folder, name), openPathOnly);
    await chmod(`/proc/self/fd/${same.fd}`, 0o700);
    return await open(inFolder(folder, name), openFolder);
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function tooLarge(what: string, path: string, bytes: number, bytesMax: number): SandboxFileError {
  return new SandboxFileError("too-large", `Cannot ${what} ${shorten(path)}: it has ${bytes} bytes, and at most ${bytesMax} are taken`);
}

/** Without the host's paths, which say more than the workspace's. */
function fileError(error: unknown, what: string, path: string): SandboxFileError {
  const cannot = `Cannot ${what} ${shorten(path)}`;
  switch (codeOf(error)) {
    case "ENOENT":
      return new SandboxFileError("not-found", `${cannot}: there is no such file`);
    case "ENOTDIR":
      return new SandboxFileError("not-a-folder", `${cannot}: what leads there is no folder`);
    case "ELOOP":
      return new SandboxFileError("outside", `${cannot}: a link took its place meanwhile`);
    case "ENOSPC":
    case "EDQUOT":
      return new SandboxFileError("full", `${cannot}: the disk is full`);
    default:
      return new SandboxFileError("failed", `${cannot}: ${codeOf(error) ?? String(error)}`, { cause: error });
  }
}
