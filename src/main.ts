/** The process: arguments and variables in, an exit code out. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runCommandLine } from "./cli/cli.ts";
import type { Option } from "./cli/command.ts";
import type { Program } from "./cli/program.ts";
import { hasColors, Terminal } from "./cli/terminal.ts";
import { type Config, loadConfig, type Setting, settings } from "./config.ts";
import { takeSupervisor } from "./supervision.ts";

const supervisor = takeSupervisor();
const program: Program = {
  version: (JSON.parse(readFileSync(join(import.meta.dirname, "..", "package.json"), "utf8")) as { version: string }).version,
  terminal: new Terminal({ out: process.stdout, error: process.stderr, hasColors: hasColors(process.stdout, process.env) }),
  input: process.stdin,
  variables: process.env,
  onSignal: (listener) => {
    process.on("SIGINT", listener).on("SIGTERM", listener);
    return () => void process.off("SIGINT", listener).off("SIGTERM", listener);
  },
  onHangUp: (listener) => {
    process.on("SIGHUP", listener).on("disconnect", listener);
    // It may be gone since before anybody listened.
    if (supervisor !== undefined && !process.connected) setImmediate(listener);
    return () => void process.off("SIGHUP", listener).off("disconnect", listener);
  },
  serveOptions: Object.values<Setting<unknown>>(settings).flatMap(settingOption),
  // Loaded only when needed: a command that talks to a server elsewhere starts without one of its own.
  serve: async (options) => {
    if (supervisor === undefined) superviseIfAsked(options);
    return await (await import("./serve.ts")).serve(options, process.env, supervisor);
  },
  diagnose: async (options) => await (await import("./diagnose.ts")).diagnose(options, process.env),
};

// A reader that closes the pipe early (`kelpie agents list | head`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") process.stderr.write(`error: Cannot write to standard output: ${error.message}\n`);
  // oxlint-disable-next-line unicorn/no-process-exit -- the process's entry
  process.exit(error.code === "EPIPE" ? 0 : 1);
});
// Nobody reads the log any more: that is no reason for a server to end.
process.stderr.on("error", () => {});
// After this nothing may keep the process: an answer that was cancelled, a connection that is kept alive.
// oxlint-disable-next-line unicorn/no-process-exit -- the process's entry
process.exit(await runCommandLine(process.argv.slice(2), program));

function settingOption({ flag, type, variables, meaning, default: fallback }: Setting<unknown>): readonly Option[] {
  if (flag === undefined) return [];
  const shown = typeof fallback === "boolean" ? (fallback ? "yes" : "no") : (fallback as string | number | undefined);
  return [
    {
      name: flag,
      value: /^[a-z]+$/.test(type) ? type : "value",
      meaning: `${meaning} (${variables[0]})${shown === undefined ? "" : `; ${shown}`}`,
    },
  ];
}

/** Becomes the supervisor of a server with these settings, in this very process, if they ask for one. Returns if not. */
function superviseIfAsked(options: ReadonlyMap<string, string>): void {
  let config: Config;
  try {
    ({ config } = loadConfig(options, process.env));
  } catch {
    // The server says what is wrong with its settings.
    return;
  }
  // A server that is alone has nobody to tell of its end.
  if (!config.supervisor || (config.nodeName === undefined && config.join === undefined)) return;
  const { execPath, execArgv, argv } = process;
  const path = (file: string): string => join(import.meta.dirname, file);
  // Another program in the same process, so that nothing of this one stays in memory. Windows cannot do it.
  if (process.platform !== "win32")
    process.execve?.(execPath, [execPath, path("supervisor.ts"), ...execArgv, path("main.ts"), ...argv.slice(2)]);
}
