/** `kelpie skills`: the skills of an agent, folders of the Agent Skills format. */
import { lstat, readdir, readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { suggestion } from "../base/nearest.ts";
import { readSkillHead } from "../tools/skills/skill-file.ts";
import { skillFile, skillLimits } from "../tools/skills/skills.ts";
import type { ApiClient } from "./api-client.ts";
import { type Command, CommandError, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import type { Program } from "./program.ts";
import { clientFor, findAgent } from "./remote.ts";
import { printable } from "./terminal.ts";
import { shorten, table } from "./text.ts";

interface Skill {
  readonly name: string;
  readonly description: string;
  readonly files: number;
  readonly bytes: number;
}

interface UploadedFile {
  readonly path: string;
  readonly content: string;
  readonly encoding: "base64";
}

const verbs: Readonly<Record<string, (client: ApiClient, input: CommandInput, program: Program) => Promise<void>>> = { list, add, remove };

export const skillsCommand: Command = {
  name: "skills",
  summary: "List, add and remove the skills of an agent",
  usage: "list <agent> | add <agent> <folder> | remove <agent> <skill>",
  description: "the skills of an agent: folders with a SKILL.md, which it sees by name and description and opens when it needs them",
  options: [serverOption, jsonOption],
  examples: ["kelpie skills add ada ./skills/pdf-forms", "kelpie skills list ada", "kelpie skills remove ada pdf-forms"],
  async run(input, program) {
    const [verb = ""] = input.positionals;
    const action = verbs[verb];
    if (action === undefined)
      throw new UsageError(`kelpie skills can list, add and remove, not ${JSON.stringify(verb)}.${suggestion(verb, Object.keys(verbs))}`);
    await action(clientFor(input, program), input, program);
    return exitCodes.ok;
  },
};

async function list(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const [nameOrId] = argumentsOf(input, ["an agent"]);
  const agent = await findAgent(client, nameOrId!);
  const skills = await client.request<Skill[]>("GET", `/v1/agents/${agent.id}/skills`);
  if (input.flags.has("json")) return terminal.line(JSON.stringify(skills, null, 2));
  if (skills.length === 0) return terminal.line(`${printable(agent.name)} has no skills`);
  const rows = skills.map(({ name, description, files, bytes }) => [
    name,
    String(files),
    String(bytes),
    shorten(printable(description), 80),
  ]);
  for (const line of table([["NAME", "FILES", "BYTES", "DESCRIPTION"], ...rows])) terminal.line(line);
}

async function add(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const [nameOrId, folder] = argumentsOf(input, ["an agent", "a folder"]);
  const files = await readFolder(resolve(folder!));
  const agent = await findAgent(client, nameOrId!);
  const skill = await client.request<Skill>("POST", `/v1/agents/${agent.id}/skills`, { body: { files } });
  if (input.flags.has("json")) return terminal.line(JSON.stringify(skill, null, 2));
  terminal.line(`${printable(agent.name)} has the skill ${skill.name}: ${skill.files} files, ${skill.bytes} bytes`);
}

async function remove(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const [nameOrId, name] = argumentsOf(input, ["an agent", "a skill"]);
  const agent = await findAgent(client, nameOrId!);
  await client.request("DELETE", `/v1/agents/${agent.id}/skills/${encodeURIComponent(name!)}`);
  terminal.line(`${printable(agent.name)} has the skill ${printable(name!)} no more`);
}

/** All files of the folder but hidden ones. A link might lead to what is not meant to be given away. */
async function readFolder(folder: string): Promise<UploadedFile[]> {
  const files: UploadedFile[] = [];
  let bytes = 0;
  const walk = async (inside: string): Promise<void> => {
    for (const { name } of await readdir(join(folder, inside), { withFileTypes: true })) {
      if (name.startsWith(".")) continue;
      const path = inside === "" ? name : `${inside}/${name}`;
      const stat = await lstat(join(folder, path));
      if (stat.isDirectory()) await walk(path);
      else if (!stat.isFile()) throw new CommandError(`${path} in ${folder} is a link or a device: a skill has plain files only`);
      else {
        bytes += stat.size;
        if (bytes > skillLimits.totalBytes || files.length === skillLimits.files)
          throw new CommandError(`${folder} is more than a skill may be: ${skillLimits.files} files, ${skillLimits.totalBytes} bytes`);
        files.push({ path, content: (await readFile(join(folder, path))).toString("base64"), encoding: "base64" });
      }
    }
  };
  try {
    await walk("");
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(`Cannot read the folder ${folder}: ${(error as Error).message}`, { cause: error });
  }
  checkFolder(folder, files);
  return files;
}

/** What the server cannot know: that the folder has the skill's name. */
function checkFolder(folder: string, files: readonly UploadedFile[]): void {
  const head = files.find(({ path }) => path === skillFile);
  if (head === undefined) throw new CommandError(`${folder} has no file ${skillFile}`);
  let name: string;
  try {
    ({ name } = readSkillHead(Buffer.from(head.content, "base64")));
  } catch (error) {
    throw new CommandError((error as Error).message, { cause: error });
  }
  if (name !== basename(folder)) throw new CommandError(`The skill is called ${name}, and its folder ${basename(folder)}: name them alike`);
}

function argumentsOf(input: CommandInput, wanted: readonly string[]): readonly string[] {
  const [verb, ...given] = input.positionals;
  if (given.length !== wanted.length)
    throw new UsageError(`kelpie skills ${verb} takes ${wanted.join(" and ")}, and got ${given.length} arguments`);
  return given;
}
