/** For `kelpie doctor`: whether untrusted code can run here, shown by running some. */
import type { Environment } from "../environment/environment.ts";
import { BubblewrapBackend } from "./bubblewrap-backend.ts";
import { runCommand } from "./run-command.ts";
import { SandboxUnavailableError } from "./sandbox.ts";

export interface SandboxDiagnosis {
  /** Code runs isolated. */
  readonly isReady: boolean;
  /** What runs it and how fast, with what is weaker here than elsewhere; or why it does not run, and what to do. */
  readonly detail: string;
}

export async function diagnoseSandbox(environment: Environment): Promise<SandboxDiagnosis> {
  const { clock } = environment;
  const begin = clock.elapsed();
  let backend: BubblewrapBackend;
  try {
    backend = await BubblewrapBackend.open({ environment });
  } catch (error) {
    if (error instanceof SandboxUnavailableError) return { isReady: false, detail: error.message };
    throw error;
  }
  try {
    const sandbox = await backend.create({ isolation: "process" });
    const created = clock.elapsed();
    const { exit } = await runCommand(sandbox, { program: "true" });
    const ended = clock.elapsed();
    const { info } = backend;
    const name = `${info.name} (${info.version})`;
    if (exit.reason !== "exited" || exit.code !== 0)
      return { isReady: false, detail: `${name} starts, but true ends with ${JSON.stringify(exit)}` };
    const times = `found and started in ${Math.round(created - begin)} ms, ran a command in ${Math.round(ended - created)} ms`;
    return { isReady: true, detail: [`${name} ${times}`, ...info.weaknesses].join("; ") };
  } catch (error) {
    if (error instanceof SandboxUnavailableError) return { isReady: false, detail: error.message };
    throw error;
  } finally {
    await backend.close();
  }
}
