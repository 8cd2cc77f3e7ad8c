/**
 * Where code runs that nobody vouches for: one contract, several backends.
 *
 * X1. Code never runs with weaker isolation than was asked for; where that is not to be had, the call fails (I8).
 * X2. When a command ends, by itself or not, everything it started has ended.
 * X3. Everything a command can use up has a bound: memory, processes, disk, time, output.
 * X4. A command sees a system it cannot write, its workspace, a `/tmp` of its sandbox and the environment it was given;
 *     of the host nothing else.
 * X5. A command reaches no network but the hosts that the policy names, through the egress proxy.
 * X6. No path given to `files` leads out of the workspace, whatever a command makes there meanwhile.
 *
 * A backend keeps X1 and X6 always, and of the others what its capabilities say.
 */
import type { NetworkPolicy } from "./network-policy.ts";

/** From the weakest: a plain process of the host; namespaces and a filter of system calls; a kernel in user space; a machine. */
export const isolations = ["none", "process", "syscall", "vm"] as const;
export type Isolation = (typeof isolations)[number];

export interface Capabilities {
  readonly isolation: Isolation;
  /** X2 holds also for what left its process group and its parent. */
  readonly endsEverything: boolean;
  /** All processes of a sandbox together, each one of them, or not at all. */
  readonly memoryBound: "sandbox" | "process" | "none";
  readonly processBound: boolean;
  /** By the kernel; by looking again and again while a command runs, so that a fast writer gets past it a little; not at all. */
  readonly diskBound: "kernel" | "measured" | "none";
  /** X4 holds. */
  readonly hidesHost: boolean;
  /** X5 holds. */
  readonly networkPolicy: boolean;
  readonly freeze: boolean;
  readonly memorySnapshot: boolean;
  readonly fileSnapshot: boolean;
  readonly fork: boolean;
  readonly hardwareAccelerated: boolean;
}

/** What really runs a sandbox; every record of one names it. */
export interface BackendInfo {
  readonly name: string;
  readonly version: string;
  readonly capabilities: Capabilities;
  /** What this host lacks, and so what a bound or a promise is weaker for; for people. */
  readonly weaknesses: readonly string[];
}

export interface SandboxBackend {
  readonly info: BackendInfo;
  /**
   * @throws {IsolationError} This backend is weaker than `spec.isolation`.
   * @throws {SandboxInputError} The specification asks for what cannot be.
   * @throws {SandboxUnavailableError} The host does not let it start.
   */
  create(spec: SandboxSpec): Promise<Sandbox>;
  /** Ends every sandbox that is left. */
  close(): Promise<void>;
}

export interface SandboxSpec {
  /** The weakest isolation that will do. `none` only where the code is trusted as the owner's own shell is. */
  readonly isolation: Isolation;
  /** A folder of the host, absolute, that stays; by default a new one that goes with the sandbox. One sandbox at a time. */
  readonly workspace?: string;
  readonly mounts?: readonly Mount[];
  readonly bounds?: Partial<Bounds>;
  /** By default no network. */
  readonly network?: NetworkPolicy;
}

/** A file or folder of the host, seen at `target`, an absolute path outside the workspace and `/proc`. */
export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly writable?: boolean;
}

/** Of a sandbox, all its commands together. */
export interface Bounds {
  readonly memoryBytes: number;
  readonly processes: number;
  /** Processors' worth of time, such as 0.5. */
  readonly processors: number;
  /** Of the workspace and `/tmp` together. */
  readonly diskBytes: number;
  readonly diskEntries: number;
  /** Open files of one process. */
  readonly openFiles: number;
}

export interface Sandbox {
  readonly id: string;
  readonly info: BackendInfo;
  /** The workspace's path as commands see it; the folder they start in, and their home. */
  readonly workspace: string;
  readonly files: SandboxFiles;
  /**
   * Starts a command. Its output must be read: a command whose output nobody takes waits, until its time is up.
   *
   * @throws {SandboxInputError} The command cannot be, as it stands.
   * @throws {SandboxLimitError} Too many commands run, or the disk is full.
   * @throws {SandboxClosedError}
   */
  start(command: Command): Promise<SandboxProcess>;
  /**
   * What the network policy says from now on; tunnels to hosts that it no longer names are cut.
   *
   * @throws {SandboxInputError} The sandbox was made without a network.
   */
  setNetwork(policy: NetworkPolicy): void;
  /** Ends every command. Removes the workspace if it is the sandbox's own. May be called again. */
  close(): Promise<void>;
}

export interface Command {
  /** A name to be looked for on the PATH, or a path. No shell is in between. */
  readonly program: string;
  readonly arguments?: readonly string[];
  /** Beside PATH, HOME, USER and LANG, and what leads to the egress proxy; these may be given anew. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Where it starts: a path in the workspace, absolute or from there. */
  readonly folder?: string;
  readonly timeoutMilliseconds?: number;
  /** Of both streams together. */
  readonly outputBytesMax?: number;
}

export interface SandboxProcess {
  /** What the command writes, as it comes. For one reader; ends when both streams have. */
  readonly output: AsyncIterable<OutputChunk>;
  /** Resolves once nothing of the command runs any more, read or not. Never rejects. */
  readonly exit: Promise<Exit>;
  /** To its standard input. Resolves when it may be written to again; what an ended command does not read is dropped. */
  write(bytes: Uint8Array): Promise<void>;
  endInput(): void;
  /** Ends it and everything it started, at once. May be called again. */
  kill(): void;
}

export interface OutputChunk {
  readonly stream: "stdout" | "stderr";
  readonly bytes: Uint8Array;
}

/** By itself, with a code (128 and the signal's number, if a signal ended it); or what ended it. */
export type Exit =
  | { readonly reason: "exited"; readonly code: number }
  | { readonly reason: "killed" | "timeout" | "output-limit" | "disk-limit" | "memory-limit" };

/**
 * Paths are in the workspace: from there, or absolute as commands see them. Links are followed as long as they stay in it.
 * Any of these may run twice.
 *
 * @throws {SandboxFileError} The path leads out of the workspace, or the operation fails, and why.
 */
export interface SandboxFiles {
  /** @throws {SandboxFileError} Also if it has more than `bytesMax` (by default and at most `limits.fileReadBytes`). */
  read(path: string, bytesMax?: number): Promise<Uint8Array>;
  /** Makes the folders that lead there. A reader sees the old file or the new one. */
  write(path: string, content: Uint8Array | string): Promise<void>;
  /** At most `limits.listEntries`, in the order of their names. */
  list(path: string): Promise<readonly FileEntry[]>;
  stat(path: string): Promise<FileEntry | undefined>;
  makeFolder(path: string): Promise<void>;
  /** A folder goes with what is in it; what is not there is gone already. */
  remove(path: string): Promise<void>;
}

export interface FileEntry {
  readonly name: string;
  readonly kind: "file" | "folder" | "link" | "other";
  readonly bytes: number;
  /** Unix milliseconds. */
  readonly modified: number;
}

export const defaultBounds: Bounds = {
  memoryBytes: 1024 * 2 ** 20,
  processes: 256,
  processors: 2,
  diskBytes: 2048 * 2 ** 20,
  diskEntries: 200_000,
  openFiles: 1_024,
};

type LimitName =
  | "commands"
  | "timeoutMilliseconds"
  | "timeoutMillisecondsMax"
  | "outputBytes"
  | "outputBytesMax"
  | "arguments"
  | "argumentBytes"
  | "commandBytes"
  | "pathBytes"
  | "fileReadBytes"
  | "fileWriteBytes"
  | "listEntries"
  | "mounts";

export const limits: Readonly<Record<LimitName, number>> = {
  /** Commands of one sandbox that run at one time. */
  commands: 32,
  timeoutMilliseconds: 60_000,
  timeoutMillisecondsMax: 24 * 3_600_000,
  outputBytes: 10 * 2 ** 20,
  outputBytesMax: 2 ** 30,
  arguments: 4_096,
  /** What Linux takes of one argument, and of one variable. */
  argumentBytes: 128 * 1024 - 1,
  /** Of arguments and variables together; past this a program is given its input by a file or standard input. */
  commandBytes: 1024 * 1024,
  pathBytes: 4_095,
  fileReadBytes: 64 * 2 ** 20,
  fileWriteBytes: 64 * 2 ** 20,
  listEntries: 10_000,
  mounts: 64,
};

/** The isolation that was asked for is not to be had here (I8). Nothing ran. */
export class IsolationError extends Error {
  override readonly name = "IsolationError";
}

/** The host does not let a sandbox start. Nothing ran; the message says what to do about it. */
export class SandboxUnavailableError extends Error {
  override readonly name = "SandboxUnavailableError";
}

/** What was asked cannot be, now or later. */
export class SandboxInputError extends Error {
  override readonly name = "SandboxInputError";
}

/** A bound of the sandbox does not let a command start; it may when others have ended, or files are gone. */
export class SandboxLimitError extends Error {
  override readonly name = "SandboxLimitError";
}

export class SandboxClosedError extends Error {
  override readonly name = "SandboxClosedError";
}

export class SandboxFileError extends Error {
  override readonly name = "SandboxFileError";
  readonly code: "not-found" | "outside" | "too-large" | "not-a-file" | "not-a-folder" | "full" | "failed";

  constructor(code: SandboxFileError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Whether code that asked for `asked` may run behind `offered`. */
export function isAtLeast(offered: Isolation, asked: Isolation): boolean {
  return isolations.indexOf(offered) >= isolations.indexOf(asked);
}

/** @throws {IsolationError} */
export function requireIsolation(info: BackendInfo, asked: Isolation): void {
  const { isolation } = info.capabilities;
  if (!isAtLeast(isolation, asked))
    throw new IsolationError(
      `Cannot run code that asks for the isolation "${asked}" in the sandbox "${info.name}", whose isolation is "${isolation}"`,
    );
}
