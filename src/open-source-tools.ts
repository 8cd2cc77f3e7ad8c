/** What runs the code and commands of tools in this process, bubblewrap, loaded at the first call; and the built-in tools beside it. */
import { join } from "node:path";
import type { Environment } from "./environment/environment.ts";
import { SandboxUnavailableError, type SandboxBackend } from "./sandbox/sandbox.ts";
import type { Store } from "./storage/store.ts";
import { openSkillName, openSkillTool } from "./tools/skills/open-skill.ts";
import { readSkillFiles } from "./tools/skills/skills.ts";
import { Packages } from "./tools/source/packages.ts";
import { registryOf } from "./tools/source/registries.ts";
import { SourceTools } from "./tools/source/source-tools.ts";
import { ToolSandboxes } from "./tools/source/tool-sandboxes.ts";
import type { OutsideTool } from "./tools/tool.ts";
import type { ToolSource } from "./tools/tool-registry.ts";
import { fetchWebpageName, fetchWebpageTool } from "./tools/web/fetch-webpage.ts";
import type { RunCommandOptions } from "./tools/workspace/run-command.ts";
import { skillsFolder } from "./tools/workspace/workspace.ts";
import { workspaceTool } from "./tools/workspace/workspace-tools.ts";

export interface SourceToolsSettings {
  readonly store: Store;
  readonly environment: Environment;
  /** For packages and sandboxes, on this host. */
  readonly folder: string;
  readonly unisolatedAllowed: boolean;
}

export interface OpenSourceTools extends AsyncDisposable {
  readonly source: ToolSource;
}

export function openSourceTools({ store, environment, folder, unisolatedAllowed }: SourceToolsSettings): OpenSourceTools {
  const sandboxes = new ToolSandboxes({
    environment,
    unisolatedAllowed,
    openBackend: () => openBackend(environment, join(folder, "sandboxes"), unisolatedAllowed),
  });
  const packages = new Packages({ environment, sandboxes, folder: join(folder, "packages"), registryOf });
  const sourceTools = new SourceTools({ store, environment, sandboxes, packages });
  const skillFiles: RunCommandOptions["skillFiles"] = (project, agentId) => readSkillFiles(store, { project, agentId }, skillsFolder);
  const builtIn = (name: string): OutsideTool | undefined => {
    if (name === fetchWebpageName) return fetchWebpageTool({});
    if (name === openSkillName) return openSkillTool(store);
    return workspaceTool(name, { store, environment, sandboxes, skillFiles });
  };
  return {
    source: (record) => (record.tool_type === "letta_builtin" ? builtIn(record.name) : undefined) ?? sourceTools.tool(record),
    [Symbol.asyncDispose]: () => sandboxes[Symbol.asyncDispose](),
  };
}

/** @throws {SandboxUnavailableError} */
async function openBackend(environment: Environment, folder: string, unisolatedAllowed: boolean): Promise<SandboxBackend> {
  try {
    return await (await import("./sandbox/bubblewrap-backend.ts")).BubblewrapBackend.open({ environment, folder });
  } catch (error) {
    if (!(error instanceof SandboxUnavailableError)) throw error;
    if (!unisolatedAllowed) throw new SandboxUnavailableError(`${error.message}; see kelpie doctor`, { cause: error });
    environment.log.write("warn", "The code of tools runs without isolation, as KELPIE_UNISOLATED_TOOLS allows", { reason: error.message });
    return new (await import("./sandbox/unisolated-backend.ts")).UnisolatedBackend({ environment });
  }
}
