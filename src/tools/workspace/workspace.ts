/**
 * The folder of files that each agent has: rows of the store, so that it is there on whichever node the agent is.
 *
 * `.skills` in it is where commands see the agent's skills; no file of the workspace is there.
 */
import type { Transaction } from "../../storage/transaction.ts";
import { checkPath, FileTree, FileTreeError, type TreeLimits } from "./file-tree.ts";

export const workspaceLimits: TreeLimits = { files: 2_000, fileBytes: 8 * 2 ** 20, totalBytes: 32 * 2 ** 20 };
export const skillsFolder = ".skills";

export function workspaceOf(project: string, agentId: string): FileTree {
  return new FileTree([project, "workspace", agentId], workspaceLimits);
}

/** Also what is remembered of commands. */
export function deleteWorkspace(transaction: Transaction, project: string, agentId: string): void {
  transaction.deleteAll([project, "workspace", agentId]);
}

/** `checkPath`, for a file that is the workspace's own. @throws {FileTreeError} */
export function workspacePath(given: string): string {
  const path = checkPath(given.replace(/^\/workspace\//, ""));
  if (path === skillsFolder || path.startsWith(`${skillsFolder}/`))
    throw new FileTreeError(`${skillsFolder} holds the skills, which are read with open_skill and cannot be changed`);
  return path;
}
