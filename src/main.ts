/** The process: arguments and variables in, an exit code out. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runCommandLine } from "./cli/cli.ts";
import type { Option } from "./cli/command.ts";
import type { Program } from "./cli/program.ts";
import { hasColors, Terminal } from "./cli/terminal.ts";
import { type Setting, settings } from "./config.ts";

const program: Program = {
  version: (JSON.parse(readFileSync(join(import.meta.dirname, "..", "package.json"), "utf8")) as { version: string }).version,
  terminal: new Terminal({ out: process.stdout, error: process.stderr, hasColors: hasColors(process.stdout, process.env) }),
  input: process.stdin,
  variables: process.env,
  onSignal: (listener) => {
    const [onInterrupt, onTerminate] = [() => listener("SIGINT"), () => listener("SIGTERM")];
    process.on("SIGINT", onInterrupt).on("SIGTERM", onTerminate);
    return () => void process.off("SIGINT", onInterrupt).off("SIGTERM", onTerminate);
  },
  serveOptions: Object.values<Setting<unknown>>(settings).flatMap(settingOption),
  // Loaded only when needed: a command that talks to a server elsewhere starts without one of its own.
  serve: async (options) => await (await import("./serve.ts")).serve(options, process.env),
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
