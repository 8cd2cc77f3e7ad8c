/** The tools of the workspace that need a store or a sandbox of their process, by name. */
import type { OutsideTool } from "../tool.ts";
import { readingTool } from "./reading-tools.ts";
import { runCommandName, type RunCommandOptions, runCommandTool } from "./run-command.ts";

export function workspaceTool(name: string, options: RunCommandOptions): OutsideTool | undefined {
  return name === runCommandName ? runCommandTool(options) : readingTool(name, options.store, options.environment);
}
