/** The tools with which an agent edits one of its memory blocks, under the names and arguments of Letta V1. */
import { CoreMemory } from "./core-memory.ts";
import { appendLine, insertAtLine, refuseLineNumbers, replaceOnce } from "./edit-text.ts";
import { applyPatch } from "./memory-patch.ts";
import { optional, optionalInteger, optionalText, required, stateTool, textArgument, ToolError } from "./state-tool.ts";
import type { StateTool, StateToolContext } from "./tool.ts";

const label = required({ type: "string", description: "The label of the memory block to edit." });
const anyLine = { least: -1, most: Number.MAX_SAFE_INTEGER };

export const memoryInsert: StateTool = stateTool(
  {
    name: "memory_insert",
    description:
      "Adds text to one of your memory blocks, at a line of your choice or at the end. Use it to remember something new without touching what is already there.",
    parameters: {
      label,
      new_string: required({ type: "string", description: "The text to add, without line numbers." }),
      insert_line: optional({
        type: "integer",
        description: "The line after which the text goes: 0 for the beginning, -1 for the end. Defaults to -1.",
        default: -1,
      }),
    },
  },
  async (input, context) => {
    const [added, line] = [textArgument(input, "new_string"), optionalInteger(input, "insert_line", anyLine) ?? -1];
    return await editBlock(context, textArgument(input, "label"), (value) => insertAtLine(value, added, line, "new_string"));
  },
);

export const memoryReplace: StateTool = stateTool(
  {
    name: "memory_replace",
    description:
      "Replaces a piece of text in one of your memory blocks with another. The old text must be in the block exactly once, character for character. An empty new text deletes it.",
    parameters: {
      label,
      old_string: required({ type: "string", description: "The text to replace, exactly as it is in the block, without line numbers." }),
      new_string: required({ type: "string", description: "The text that takes its place, without line numbers." }),
    },
  },
  async (input, context) => {
    const target = textArgument(input, "label");
    const edit = { old: textArgument(input, "old_string"), new: textArgument(input, "new_string"), label: target };
    return await editBlock(context, target, (value) => replaceOnce(value, edit, { old: "old_string", new: "new_string" }));
  },
);

export const memoryRethink: StateTool = stateTool(
  {
    name: "memory_rethink",
    description:
      "Rewrites one of your memory blocks as a whole. Use it to reorganize or condense a block, and for changes too large for memory_replace; what the new text leaves out is forgotten.",
    parameters: { label, new_memory: required({ type: "string", description: "The new text of the whole block, without line numbers." }) },
  },
  async (input, context) => {
    const text = textArgument(input, "new_memory");
    refuseLineNumbers("new_memory", text);
    return await editBlock(context, textArgument(input, "label"), () => text);
  },
);

export const rethinkMemory: StateTool = stateTool(
  {
    name: "rethink_memory",
    description:
      "Rewrites a memory block as a whole: everything in it that is still true, together with what is new, in good order. Creates the block if you have none with that label.",
    parameters: {
      new_memory: required({ type: "string", description: "The new text of the whole block." }),
      target_block_label: required({ type: "string", description: "The label of the memory block to write." }),
    },
  },
  async (input, context) => {
    const [text, target] = [textArgument(input, "new_memory"), textArgument(input, "target_block_label")];
    refuseLineNumbers("new_memory", text);
    const memory = await CoreMemory.load(context);
    if (memory.has(target)) memory.edit(target, () => text);
    else memory.create(target, text, null);
    await memory.save();
    return editedText(target);
  },
);

export const memoryFinishEdits: StateTool = stateTool(
  { name: "memory_finish_edits", description: "Call this when you are done with editing memory.", parameters: {} },
  async () => "Memory edits are finished.",
);

export const memoryApplyPatch: StateTool = stateTool(
  {
    name: "memory_apply_patch",
    description:
      "Applies a patch to memory blocks: lines that begin with a space stay, with - go, with + are added, and @@ separates places. Without headers it changes the block named by label. " +
      "With headers one patch can change several blocks: `*** Add Block: <label>`, `*** Update Block: <label>`, `*** Delete Block: <label>`, and `*** Move to: <label>` to rename the block before it.",
    parameters: { label, patch: required({ type: "string", description: "The patch, without line numbers." }) },
  },
  async (input, context) => {
    const [target, patch] = [textArgument(input, "label"), textArgument(input, "patch")];
    refuseLineNumbers("patch", patch);
    const memory = await CoreMemory.load(context);
    const done = applyPatch(memory, target, patch);
    await memory.save();
    return done === undefined
      ? editedText(target)
      : `Successfully applied memory patch operations.\n\nOperations completed:\n- ${done.join("\n- ")}`;
  },
);

export const coreMemoryAppend: StateTool = stateTool(
  {
    name: "core_memory_append",
    description: "Adds a line at the end of one of your memory blocks.",
    parameters: { label, content: required({ type: "string", description: "The text to add." }) },
  },
  async (input, context) => {
    const content = textArgument(input, "content");
    return await editBlock(context, textArgument(input, "label"), (value) => appendLine(value, content));
  },
);

export const coreMemoryReplace: StateTool = stateTool(
  {
    name: "core_memory_replace",
    description: "Replaces text in one of your memory blocks, wherever it occurs. An empty new text deletes it.",
    parameters: {
      label,
      old_content: required({ type: "string", description: "The text to replace, exactly as it is in the block." }),
      new_content: required({ type: "string", description: "The text that takes its place." }),
    },
  },
  async (input, context) => {
    const [target, old, by] = [textArgument(input, "label"), textArgument(input, "old_content"), textArgument(input, "new_content")];
    if (old === "") throw new ToolError("old_content is empty: give the text to replace, or use core_memory_append to add text");
    return await editBlock(context, target, (value) => {
      if (!value.includes(old)) throw new ToolError(`Old content '${old}' not found in memory block '${target}'`);
      return value.split(old).join(by);
    });
  },
);

/** One tool with a command for everything that can be done to blocks; a block's path is `/memories/<label>`. */
export const memory: StateTool = stateTool(
  {
    name: "memory",
    description:
      "Manages your memory blocks like files. A block with the label `notes` has the path `/memories/notes`. Commands: create (path, description, file_text), str_replace (path, old_string, new_string), " +
      "insert (path, insert_line, insert_text), delete (path), rename (old_path, new_path; or path and description to change what a block is for).",
    parameters: {
      command: required({ type: "string", enum: ["create", "str_replace", "insert", "delete", "rename"], description: "What to do." }),
      path: optional({ type: "string", description: "The path of the memory block." }),
      file_text: optional({ type: "string", description: "The text of a new block (create)." }),
      description: optional({ type: "string", description: "What the block is for (create, rename)." }),
      old_string: optional({ type: "string", description: "The text to replace; in the block exactly once (str_replace)." }),
      new_string: optional({ type: "string", description: "The text that takes its place (str_replace)." }),
      insert_line: optional({
        type: "integer",
        description: "The line after which the text goes: 0 for the beginning, -1 for the end, which is the default (insert).",
      }),
      insert_text: optional({ type: "string", description: "The text to add (insert)." }),
      old_path: optional({ type: "string", description: "The path to rename (rename)." }),
      new_path: optional({ type: "string", description: "The path that it gets (rename)." }),
    },
  },
  async (input, context) => {
    const blocks = await CoreMemory.load(context);
    const command = textArgument(input, "command");
    if (command === "create") {
      const target = pathArgument(input["path"], "path");
      const text = optionalText(input, "file_text") ?? "";
      refuseLineNumbers("file_text", text);
      blocks.create(target, text, optionalText(input, "description") ?? null);
      await blocks.save();
      return `Successfully created memory block '${target}'.`;
    }
    if (command === "str_replace") {
      const target = pathArgument(input["path"], "path");
      const edit = { old: textArgument(input, "old_string"), new: optionalText(input, "new_string") ?? "", label: target };
      blocks.edit(target, (value) => replaceOnce(value, edit, { old: "old_string", new: "new_string" }));
      await blocks.save();
      return editedText(target);
    }
    if (command === "insert") {
      const target = pathArgument(input["path"], "path");
      const [added, line] = [textArgument(input, "insert_text"), optionalInteger(input, "insert_line", anyLine) ?? -1];
      blocks.edit(target, (value) => insertAtLine(value, added, line, "insert_text"));
      await blocks.save();
      return editedText(target);
    }
    if (command === "delete") {
      const target = pathArgument(input["path"], "path");
      blocks.detach(target);
      await blocks.save();
      return `Successfully deleted memory block '${target}'.`;
    }
    if (command === "rename") {
      const description = optionalText(input, "description");
      if (input["old_path"] === undefined && input["new_path"] === undefined && description !== undefined) {
        const target = pathArgument(input["path"], "path");
        blocks.describe(target, description);
        await blocks.save();
        return `Successfully updated description of memory block '${target}'.`;
      }
      const [from, to] = [pathArgument(input["old_path"] ?? input["path"], "old_path"), pathArgument(input["new_path"], "new_path")];
      blocks.rename(from, to);
      if (description !== undefined) blocks.describe(to, description);
      await blocks.save();
      return `Successfully renamed memory block '${from}' to '${to}'.`;
    }
    throw new ToolError(`Unknown command \`${command}\`: use create, str_replace, insert, delete or rename`);
  },
);

async function editBlock(context: StateToolContext, target: string, edit: (value: string) => string): Promise<string> {
  const blocks = await CoreMemory.load(context);
  blocks.edit(target, edit);
  await blocks.save();
  return editedText(target);
}

function editedText(target: string): string {
  return `The core memory block with label \`${target}\` has been successfully edited. Review the changes and make sure they are as expected (correct indentation, no duplicate lines, etc). Edit the memory block again if necessary.`;
}

/** The label in a path such as `/memories/notes`; a bare label is one too. */
function pathArgument(value: unknown, name: string): string {
  if (typeof value !== "string") throw new ToolError(`The argument \`${name}\` is required for this command and must be a string`);
  const target = value.replace(/^\/memories\//, "").replace(/^\//, "");
  if (target === "") throw new ToolError(`The argument \`${name}\` names no memory block: give a path such as /memories/notes`);
  return target;
}
