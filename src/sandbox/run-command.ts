/** Runs a command to its end and keeps its output, for callers that need no stream. */
import type { Command, Exit, Sandbox } from "./sandbox.ts";

export interface CommandResult {
  readonly exit: Exit;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/**
 * Gives the command `input` and takes all its output, which `command.outputBytesMax` bounds. An abort of `signal` kills it.
 * Errors as `Sandbox.start`.
 */
export async function runCommand(
  sandbox: Sandbox,
  command: Command & { readonly input?: Uint8Array | string },
  signal?: AbortSignal,
): Promise<CommandResult> {
  const process = await sandbox.start(command);
  const kill = (): void => process.kill();
  if (signal?.aborted) kill();
  signal?.addEventListener("abort", kill);
  try {
    if (command.input !== undefined) void process.write(Buffer.from(command.input)).then(() => process.endInput());
    else process.endInput();
    const chunks = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
    for await (const { stream, bytes } of process.output) chunks[stream].push(bytes);
    return { exit: await process.exit, stdout: Buffer.concat(chunks.stdout), stderr: Buffer.concat(chunks.stderr) };
  } finally {
    signal?.removeEventListener("abort", kill);
  }
}
