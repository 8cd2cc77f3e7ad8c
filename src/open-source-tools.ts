/** What runs the code of tools in this process: bubblewrap, loaded when the first of them is called. */
import type { Environment } from "./environment/environment.ts";
import { SourceTools } from "./tools/source/source-tools.ts";

export function openSourceTools(environment: Environment): SourceTools {
  return new SourceTools({
    environment,
    openBackend: async () => await (await import("./sandbox/bubblewrap-backend.ts")).BubblewrapBackend.open({ environment }),
    nodeProgram: process.execPath,
  });
}
