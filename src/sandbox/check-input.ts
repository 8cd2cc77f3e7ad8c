/** Checks of what callers give, and what they get by default. */
import { posix } from "node:path";
import { type Bounds, type Command, defaultBounds, limits, type Mount, SandboxInputError } from "./sandbox.ts";

/** A command with nothing left open. */
export interface CheckedCommand {
  /** The program and its arguments. */
  readonly argv: readonly [string, ...string[]];
  readonly environment: Readonly<Record<string, string>>;
  /** Absolute, as the command sees it. */
  readonly folder: string;
  readonly timeoutMilliseconds: number;
  readonly outputBytesMax: number;
}

/** @throws {SandboxInputError} */
export function checkCommand(
  command: Command,
  given: { readonly workspace: string; readonly environment: Record<string, string> },
): CheckedCommand {
  const { program, timeoutMilliseconds = limits.timeoutMilliseconds, outputBytesMax = limits.outputBytes } = command;
  const argv: [string, ...string[]] = [program, ...(command.arguments ?? [])];
  const environment = { ...given.environment, ...command.environment };
  const refuse = (what: string): never => {
    throw new SandboxInputError(`Cannot start ${shorten(program)}: ${what}`);
  };
  // With an equals sign, env(1) would take it for a variable.
  if (program === "" || program.includes("=")) refuse("a program has a name, without an equals sign");
  if (argv.length > limits.arguments) refuse(`it has ${argv.length} arguments, and at most ${limits.arguments} are taken`);
  let size = 0;
  for (const text of [...argv, ...Object.entries(environment).map(([name, value]) => `${name}=${value}`)]) {
    const bytes = Buffer.byteLength(text);
    size += bytes + 1;
    if (text.includes("\0")) refuse(`${shorten(text)} holds a zero byte`);
    if (bytes > limits.argumentBytes)
      refuse(`${shorten(text)} has ${bytes} bytes, and at most ${limits.argumentBytes} are taken; use standard input or a file`);
  }
  if (size > limits.commandBytes)
    refuse(`its arguments and variables have ${size} bytes, and at most ${limits.commandBytes} are taken; use standard input or a file`);
  for (const name of Object.keys(environment))
    if (!/^[A-Za-z_]\w*$/.test(name)) refuse(`${shorten(name)} is no name of a variable: letters, digits and "_"`);
  if (!(timeoutMilliseconds >= 1 && timeoutMilliseconds <= limits.timeoutMillisecondsMax))
    refuse(`its timeout is ${timeoutMilliseconds} ms, and may be 1 to ${limits.timeoutMillisecondsMax}`);
  if (!(Number.isSafeInteger(outputBytesMax) && outputBytesMax >= 0 && outputBytesMax <= limits.outputBytesMax))
    refuse(`its output is bounded at ${outputBytesMax} bytes, and may be at 0 to ${limits.outputBytesMax}`);
  const folder = posix.resolve(given.workspace, command.folder ?? ".");
  if (Buffer.byteLength(folder) > limits.pathBytes || folder.includes("\0")) refuse(`${shorten(folder)} is no folder`);
  return { argv, environment, folder, timeoutMilliseconds, outputBytesMax };
}

/** @throws {SandboxInputError} */
export function checkBounds(given: Partial<Bounds> = {}): Bounds {
  const bounds = { ...defaultBounds, ...given };
  const ranges: Readonly<Record<keyof Bounds, readonly [min: number, max: number]>> = {
    memoryBytes: [16 * 2 ** 20, 2 ** 44],
    processes: [4, 100_000],
    processors: [0.01, 1_024],
    diskBytes: [2 ** 20, 2 ** 44],
    diskEntries: [100, 100_000_000],
    openFiles: [32, 1_000_000],
  };
  for (const [name, [min, max]] of Object.entries(ranges)) {
    const value = bounds[name as keyof Bounds];
    const isWhole = name === "processors" || Number.isInteger(value);
    if (!(isWhole && value >= min && value <= max))
      throw new SandboxInputError(`Cannot bound a sandbox by ${name} ${value}: it may be ${min} to ${max}`);
  }
  return bounds;
}

/** @throws {SandboxInputError} */
export function checkMounts(mounts: readonly Mount[] = [], reserved: readonly string[] = []): readonly Mount[] {
  if (mounts.length > limits.mounts) throw new SandboxInputError(`Cannot mount ${mounts.length} folders: at most ${limits.mounts} may be`);
  for (const { source, target } of mounts) {
    for (const path of [source, target])
      if (!posix.isAbsolute(path) || posix.normalize(path) !== path || path === "/" || path.includes("\0"))
        throw new SandboxInputError(
          `Cannot mount ${shorten(source)} at ${shorten(target)}: both are absolute paths in their shortest form`,
        );
    const taken = reserved.find((folder) => target === folder || target.startsWith(`${folder}/`) || folder.startsWith(`${target}/`));
    if (taken !== undefined)
      throw new SandboxInputError(`Cannot mount ${shorten(source)} at ${shorten(target)}: ${taken} is the sandbox's own`);
  }
  return mounts;
}

export function shorten(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
