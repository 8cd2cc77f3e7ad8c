/** `open_skill`: the instructions of a skill that the context lists by name and description, and its other files. */
import type { Store } from "../../storage/store.ts";
import { objectSchema, optional, optionalInteger, optionalText, type Parameter, required, textArgument, ToolError } from "../state-tool.ts";
import type { OutsideTool, OutsideToolContext, ToolInput } from "../tool.ts";
import { textOf } from "../workspace/file-tools.ts";
import { excerpt } from "../workspace/reading-tools.ts";
import { skillsFolder } from "../workspace/workspace.ts";
import { readSkillFile, skillFile, SkillNotFoundError } from "./skills.ts";

export const openSkillName = "open_skill";
export const openSkillDescription: string =
  "Opens one of your skills, which are listed in available_skills: gives its instructions and the list of its files, or one of these files. " +
  `For run_command the files are in ${skillsFolder}/NAME.`;
export const openSkillParameters: { readonly [name: string]: Parameter } = {
  name: required({ type: "string", description: "The skill's name." }),
  path: optional({ type: "string", description: `A file of the skill. Defaults to ${skillFile}, its instructions.`, default: skillFile }),
  start_line: optional({ type: "integer", description: "The first line, from 1. Defaults to 1.", default: 1 }),
};

const linesMax = 2_000;

export function openSkillTool(store: Store): OutsideTool {
  return {
    name: openSkillName,
    description: openSkillDescription,
    parameters: objectSchema(openSkillParameters),
    effect: "readOnly",
    execute: async (input, context) => {
      try {
        return { status: "success", text: await open(store, input, context) };
      } catch (error) {
        if (!(error instanceof ToolError || error instanceof SkillNotFoundError)) throw error;
        return { status: "error", text: `${openSkillName}: ${error.message}` };
      }
    },
  };
}

async function open(store: Store, input: ToolInput, owner: OutsideToolContext): Promise<string> {
  const name = textArgument(input, "name");
  const path = optionalText(input, "path") ?? skillFile;
  const start = optionalInteger(input, "start_line", { least: 1, most: 1e9 }) ?? 1;
  const { bytes, paths } = await readSkillFile(store, owner, name, path);
  const text = excerpt(textOf(bytes, path), { path, start, count: linesMax });
  const others = paths.filter((each) => each !== skillFile);
  return path !== skillFile || others.length === 0 ? text : `${text}\n\n[other files of the skill: ${others.join(", ")}]`;
}
