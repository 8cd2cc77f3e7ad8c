/** A real `kelpie serve` in a process of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const main = join(import.meta.dirname, "..", "..", "src", "main.ts");
const startMillisecondsMax = 60_000;

export interface KelpieServer extends AsyncDisposable {
  readonly url: string;
  /** Of the server, also where a supervisor runs above it. */
  readonly pid: number;
  /** From the start of the process until it says that it is ready. */
  readonly readyMilliseconds: number;
}

/** `variables` are its settings beside those of this process. @throws {Error} It ended, or was not ready in time. */
export async function startServer(dataDirectory: string, variables: Readonly<Record<string, string>> = {}): Promise<KelpieServer> {
  const begin = performance.now();
  const parameters = [main, "serve", "--json", "--port", "0", "--data", dataDirectory];
  const child = spawn(process.execPath, parameters, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...variables } });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-2_000)));
  const ended = once(child, "exit");
  const timer = setTimeout(() => child.kill("SIGKILL"), startMillisecondsMax);
  const lines = createInterface({ input: child.stdout });
  const line = await Promise.race([once(lines, "line"), ended]);
  clearTimeout(timer);
  if (typeof line[0] !== "string" || child.exitCode !== null) throw new Error(`kelpie serve --data ${dataDirectory} did not start: ${log}`);
  const { url, pid } = JSON.parse(line[0]) as { readonly url: string; readonly pid: number };
  return {
    url: url.replace("localhost", "127.0.0.1"),
    pid,
    readyMilliseconds: performance.now() - begin,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null) child.kill("SIGTERM");
      await ended;
    },
  };
}
