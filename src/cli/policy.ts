/** `kelpie policy`: which calls of tools are allowed, asked for, and denied. */
import { readFileSync } from "node:fs";
import { text as textOf } from "node:stream/consumers";
import type { ToolPolicy } from "../tools/tool-policy.ts";
import { suggestion } from "../base/nearest.ts";
import type { ApiClient } from "./api-client.ts";
import { type Command, CommandError, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import type { Program } from "./program.ts";
import { clientFor, findAgent, onePositional } from "./remote.ts";
import { printable } from "./terminal.ts";
import { table } from "./text.ts";

/** That of an agent has its rules only. */
type ShownPolicy = Pick<ToolPolicy, "version" | "rules"> & Partial<ToolPolicy>;

const verbs: Readonly<Record<string, (client: ApiClient, input: CommandInput, program: Program) => Promise<void>>> = { show, set };

export const policyCommand: Command = {
  name: "policy",
  summary: "Show and set which calls of tools are allowed, asked for, and denied",
  usage: "show | set <file>   (- is the standard input)",
  description:
    "the policy for tools of a running Kelpie, or of one of its agents. What set reads is what show --json prints; the version in it, if there is one, is the one that is replaced",
  options: [
    { name: "agent", value: "id|name", meaning: "The agent's own policy; absent: that of all agents" },
    serverOption,
    { ...jsonOption, meaning: "Print the policy as JSON, as set reads it" },
  ],
  examples: ["kelpie policy show", "kelpie policy show --agent Ada --json > ada.json", "kelpie policy set ada.json --agent Ada"],
  async run(input, program) {
    const verb = input.positionals[0] ?? "show";
    const action = verbs[verb];
    if (action === undefined)
      throw new UsageError(`kelpie policy cannot ${JSON.stringify(verb)}: it can show and set.${suggestion(verb, Object.keys(verbs))}`);
    await action(clientFor(input, program), input, program);
    return exitCodes.ok;
  },
};

async function show(client: ApiClient, input: CommandInput, program: Program): Promise<void> {
  if (input.positionals.length > 1) throw new UsageError(`show takes no argument, and got ${JSON.stringify(input.positionals[1])}`);
  print(await client.request<ShownPolicy>("GET", await pathFor(client, input)), input, program);
}

async function set(client: ApiClient, input: CommandInput, program: Program): Promise<void> {
  const file = onePositional(input, "file");
  const body = parsed(file, file === "-" ? await textOf(program.input) : read(file));
  print(await client.request<ShownPolicy>("PUT", await pathFor(client, input), { body }), input, program);
}

async function pathFor(client: ApiClient, input: CommandInput): Promise<string> {
  const agent = input.values.get("agent");
  return agent === undefined ? "/v1/tool-policy" : `/v1/agents/${(await findAgent(client, agent)).id}/tool-policy`;
}

function print(policy: ShownPolicy, input: CommandInput, { terminal }: Program): void {
  if (input.flags.has("json")) return terminal.line(JSON.stringify(policy, null, 2));
  terminal.line(`Version ${policy.version}. The first rule that fits a call counts; where none fits, it is allowed.`);
  const rules = policy.rules.map((rule) => [
    rule.action,
    printable(rule.tool),
    printable(
      Object.entries(rule.arguments ?? {})
        .map(([pointer, pattern]) => `${pointer}: ${pattern}`)
        .join(", "),
    ),
  ]);
  for (const line of table([["ACTION", "TOOL", "ARGUMENTS"], ...rules])) terminal.line(line);
  if (policy.approval_seconds !== undefined) terminal.line(`An approval can be given for ${policy.approval_seconds} s.`);
  for (const { tool, calls, seconds, concurrency } of policy.limits ?? []) {
    const parts = [
      ...(calls === undefined ? [] : [`${calls} calls in ${seconds} s`]),
      ...(concurrency === undefined ? [] : [`${concurrency} at a time`]),
    ];
    terminal.line(`${printable(tool)}: ${parts.join(", ")}, at each node.`);
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new CommandError(`The file ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function parsed(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CommandError(`${file} is not JSON: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
