/** The tools that change files of the agent's workspace, in the commit of their result: exactly once. */
import type { StateTool, StateToolContext, ToolInput } from "../tool.ts";
import { objectSchema, optional, type Parameter, required, textArgument, ToolError } from "../state-tool.ts";
import { FileTreeError } from "./file-tree.ts";
import { workspaceOf, workspacePath } from "./workspace.ts";

/** What a model writes in one call, so that it fits the batch of the call. */
export const writtenBytesMax: number = 1024 * 1024;

export const pathParameter: Parameter = required({
  type: "string",
  description: "The file's path from the root of your workspace, such as notes/today.md.",
});

export const writeFile: StateTool = changing(
  "write_file",
  "Writes a file of your workspace, a new one or in place of what was there. Folders are made as they are needed.",
  { path: pathParameter, content: required({ type: "string", description: "The whole text of the file." }) },
  async (input, context) => {
    const path = workspacePath(textArgument(input, "path"));
    const bytes = Buffer.from(textArgument(input, "content"));
    await put(context, path, bytes);
    return `Wrote ${path}, ${bytes.length} bytes`;
  },
);

export const editFile: StateTool = changing(
  "edit_file",
  "Replaces a text in a file of your workspace by another one. The old text must be there exactly as given, once unless replace_all is true.",
  {
    path: pathParameter,
    old_text: required({ type: "string", description: "The text to replace, with enough around it to be there only once." }),
    new_text: required({ type: "string", description: "What comes in its place." }),
    replace_all: optional({ type: "boolean", description: "Replaces it wherever it is. Defaults to false.", default: false }),
  },
  async (input, context) => {
    const path = workspacePath(textArgument(input, "path"));
    const [old, next] = [textArgument(input, "old_text"), textArgument(input, "new_text")];
    if (old === "") throw new ToolError("old_text is empty: give the text to replace, or write the whole file with write_file");
    const tree = workspaceOf(context.project, context.agentId);
    const file = (await tree.get(context.transaction)).get(path);
    if (file === undefined) throw new ToolError(`There is no file ${path}`);
    if (file.bytes > writtenBytesMax) throw new ToolError(`${path} has ${file.bytes} bytes, and at most ${writtenBytesMax} can be edited`);
    const parts = textOf(await tree.getContent(context.transaction, file), path).split(old);
    const count = parts.length - 1;
    if (count === 0) throw new ToolError(`old_text is not in ${path} as it was given: read the file and copy it exactly`);
    if (count > 1 && input["replace_all"] !== true)
      throw new ToolError(`old_text is ${count} times in ${path}: give more of what is around it, or set replace_all`);
    await put(context, path, Buffer.from(parts.join(next)));
    return `Replaced ${count === 1 ? "it once" : `it ${count} times`} in ${path}`;
  },
);

export const deleteFile: StateTool = changing(
  "delete_file",
  "Deletes a file of your workspace, or a folder with all that is in it.",
  { path: pathParameter },
  async (input, context) => {
    const path = workspacePath(textArgument(input, "path"));
    const tree = workspaceOf(context.project, context.agentId);
    const before = await tree.get(context.transaction);
    const gone = [...before.keys()].filter((each) => each === path || each.startsWith(`${path}/`));
    if (gone.length === 0) throw new ToolError(`There is no file or folder ${path}`);
    tree.change(context.transaction, before, new Map(gone.map((each) => [each, undefined])));
    return gone[0] === path ? `Deleted ${path}` : `Deleted the folder ${path} with ${gone.length} files`;
  },
);

/** The file's text. @throws {ToolError} It is none. */
export function textOf(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ToolError(`${path} is no text in UTF-8: it has ${bytes.length} bytes`);
  }
}

async function put({ transaction, environment, project, agentId }: StateToolContext, path: string, bytes: Buffer): Promise<void> {
  if (bytes.length > writtenBytesMax)
    throw new ToolError(`${path} would have ${bytes.length} bytes, and at most ${writtenBytesMax} can be written`);
  const tree = workspaceOf(project, agentId);
  const before = await tree.get(transaction);
  // Refused before anything is written: the turn goes on with what the transaction holds.
  tree.check(before, new Map([[path, { content: "", bytes: bytes.length }]]));
  tree.change(transaction, before, new Map([[path, tree.setContent(transaction, environment, bytes)]]));
}

function changing(
  name: string,
  description: string,
  parameters: { readonly [name: string]: Parameter },
  run: (input: ToolInput, context: StateToolContext) => Promise<string>,
): StateTool {
  return {
    name,
    description,
    parameters: objectSchema(parameters),
    effect: "state",
    execute: async (input, context) => {
      try {
        return { status: "success", text: await run(input, context) };
      } catch (error) {
        if (!(error instanceof ToolError || error instanceof FileTreeError)) throw error;
        return { status: "error", text: `${name}: ${error.message}` };
      }
    },
  };
}
