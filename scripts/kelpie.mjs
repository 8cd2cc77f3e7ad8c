#!/usr/bin/env node
/** Runs src/main.ts with the project's own Node 24, whatever Node the host has. */
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import "./setup.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const node = join(root, "node_modules", ".bin", "node");
const args = [join(root, "src", "main.ts"), ...process.argv.slice(2)];

// Becoming the other process leaves nothing between it and its signals; Node has it since 22.15, and not on Windows.
if (typeof process.execve === "function" && process.platform !== "win32") process.execve(node, [node, ...args]);

const child = spawn(node, args, { stdio: "inherit" });
// A terminal sends SIGINT to both processes, so that one is only waited for.
process.on("SIGINT", () => {});
for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("error", (error) => {
  process.stderr.write(`kelpie: cannot start ${node}: ${error.message}\n`);
  process.exitCode = 1;
});
child.on("close", (code, signal) => {
  if (signal === null) process.exitCode = code ?? 1;
  else {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  }
});
