/** The tools that look at files of the agent's workspace. They run in the order of the calls, after a command before them. */
import type { Environment } from "../../environment/environment.ts";
import type { Store } from "../../storage/store.ts";
import { objectSchema, optional, optionalInteger, optionalText, type Parameter, required, textArgument, ToolError } from "../state-tool.ts";
import type { OutsideTool, OutsideToolContext, ToolInput } from "../tool.ts";
import { pathParameter, textOf } from "./file-tools.ts";
import { FileTreeError } from "./file-tree.ts";
import { matchesGlob } from "./glob.ts";
import { workspaceOf, workspacePath } from "./workspace.ts";

const listedMax = 500;
const linesDefault = 1_000;
const shownCharactersMax = 40_000;
const matchesMax = 200;
const matchCharactersMax = 300;
const patternCharactersMax = 128;
/** A file that is searched is not sent to the model, but the thread waits for it. */
const searchedBytesMax = 8 * 2 ** 20;

const globParameter = optional({
  type: "string",
  description: "Only files whose path fits, such as **/*.py: * is any part of a name, ** any folders.",
});

/** What a reading tool does, with its definition: the code behind it needs the store of its process. */
interface Reading {
  readonly name: string;
  readonly description: string;
  readonly parameters: { readonly [name: string]: Parameter };
  readonly run: (
    input: ToolInput,
    context: OutsideToolContext & { readonly store: Store; readonly environment: Environment },
  ) => Promise<string>;
}

export const readings: readonly Reading[] = [
  {
    name: "list_files",
    description: "Lists the files of your workspace with their sizes in bytes.",
    parameters: { pattern: globParameter },
    run: async (input, { store, project, agentId }) => {
      const listing = await workspaceOf(project, agentId).read(store);
      const fits = filter(input);
      const found = [...listing].filter(([path]) => fits(path));
      if (found.length === 0) return listing.size === 0 ? "The workspace has no files" : "No file fits the pattern";
      const lines = found.slice(0, listedMax).map(([path, { bytes }]) => `${path} (${bytes})`);
      return [...lines, ...(found.length > listedMax ? [`and ${found.length - listedMax} more: give a pattern`] : [])].join("\n");
    },
  },
  {
    name: "read_file",
    description: "Reads a text file of your workspace, or lines of it.",
    parameters: {
      path: pathParameter,
      start_line: optional({ type: "integer", description: "The first line, from 1. Defaults to 1.", default: 1 }),
      line_count: optional({ type: "integer", description: `How many lines at most. Defaults to ${linesDefault}.`, default: linesDefault }),
    },
    run: async (input, { store, project, agentId }) => {
      const path = workspacePath(textArgument(input, "path"));
      const start = optionalInteger(input, "start_line", { least: 1, most: 1e9 }) ?? 1;
      const count = optionalInteger(input, "line_count", { least: 1, most: 100_000 }) ?? linesDefault;
      const tree = workspaceOf(project, agentId);
      const file = (await tree.read(store)).get(path);
      if (file === undefined) throw new ToolError(`There is no file ${path}: list_files shows those there are`);
      return excerpt(textOf(await tree.readContent(store, file), path), { path, start, count });
    },
  },
  {
    name: "search_files",
    description: "Finds the lines in text files of your workspace that contain a text, as path:line: text.",
    parameters: {
      text: required({ type: "string", description: "The text to look for, exactly as it stands: no pattern." }),
      pattern: globParameter,
      ignore_case: optional({ type: "boolean", description: "Whether A is a. Defaults to false.", default: false }),
    },
    run: async (input, { store, environment, project, agentId, signal }) => {
      const fold = (text: string): string => (input["ignore_case"] === true ? text.toLowerCase() : text);
      const wanted = fold(textArgument(input, "text"));
      if (wanted === "" || wanted.includes("\n")) throw new ToolError("text is empty or has several lines: give a part of one line");
      const tree = workspaceOf(project, agentId);
      const fits = filter(input);
      const found: string[] = [];
      for (const [path, file] of await tree.read(store)) {
        if (!fits(path) || file.bytes > searchedBytesMax) continue;
        const bytes = await tree.readContent(store, file);
        // The thread is others' too.
        await environment.clock.sleep(0, signal);
        if (bytes.includes(0)) continue;
        for (const [index, line] of bytes.toString("utf8").split("\n").entries()) {
          if (!fold(line).includes(wanted)) continue;
          if (found.length === matchesMax) return [...found, `and more: at most ${matchesMax} are shown`].join("\n");
          found.push(`${path}:${index + 1}: ${line.slice(0, matchCharactersMax)}`);
        }
      }
      return found.length === 0 ? "No line contains the text" : found.join("\n");
    },
  },
];

/** The tool of this name, in a process with this store. */
export function readingTool(name: string, store: Store, environment: Environment): OutsideTool | undefined {
  const reading = readings.find((each) => each.name === name);
  if (reading === undefined) return undefined;
  return {
    name,
    description: reading.description,
    parameters: objectSchema(reading.parameters),
    effect: "readOnly",
    execute: async (input, context) => {
      try {
        return { status: "success", text: await reading.run(input, { ...context, store, environment }) };
      } catch (error) {
        if (!(error instanceof ToolError || error instanceof FileTreeError)) throw error;
        return { status: "error", text: `${name}: ${error.message}` };
      }
    },
  };
}

/** Lines of a text, and which they are if they are not all. */
export function excerpt(
  text: string,
  { path, start, count }: { readonly path: string; readonly start: number; readonly count: number },
): string {
  const lines = text.split("\n");
  if (start > lines.length) throw new ToolError(`${path} has ${lines.length} lines, and none from ${start} on`);
  let shown = lines.slice(start - 1, start - 1 + count).join("\n");
  if (shown.length > shownCharactersMax) {
    const whole = shown.lastIndexOf("\n", shownCharactersMax);
    shown = shown.slice(0, whole === -1 ? shownCharactersMax : whole);
  }
  const end = start + shown.split("\n").length - 1;
  const isAll = start === 1 && shown.length === text.length;
  return isAll
    ? shown
    : `${shown}\n[lines ${start} to ${end} of ${lines.length} of ${path}${end < lines.length ? `; go on with start_line ${end + 1}` : ""}]`;
}

function filter(input: ToolInput): (path: string) => boolean {
  const pattern = optionalText(input, "pattern");
  if (pattern === undefined) return () => true;
  if (pattern.length > patternCharactersMax)
    throw new ToolError(`pattern has ${pattern.length} characters, and at most ${patternCharactersMax} may be`);
  // A name alone is looked for in all folders, as people mean it.
  const whole = pattern.includes("/") ? pattern.replace(/^\.?\//, "") : `**/${pattern}`;
  return (path) => matchesGlob(path, whole);
}
