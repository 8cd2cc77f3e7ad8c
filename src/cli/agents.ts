/** `kelpie agents`: list, show, create and delete them. */
import { suggestion } from "../base/nearest.ts";
import { coreBytesDefault } from "../memory/memory.ts";
import type { ApiClient } from "./api-client.ts";
import { type Command, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import type { Program } from "./program.ts";
import { type AgentSummary, clientFor, findAgent, onePositional } from "./remote.ts";
import { printable } from "./terminal.ts";
import { shorten, table } from "./text.ts";

interface AgentDetail extends AgentSummary {
  readonly blocks?: readonly { readonly label: string; readonly value: string; readonly limit: number }[];
  readonly tools?: readonly { readonly name: string }[];
}

const verbs: Readonly<Record<string, (client: ApiClient, input: CommandInput, program: Program) => Promise<void>>> = {
  list,
  show,
  create,
  delete: remove,
};
const listLimitDefault = "50";

export const agentsCommand: Command = {
  name: "agents",
  summary: "List, show, create and delete agents",
  usage: "list | show <agent> | create | delete <agent>   (an agent is named by its id or its name)",
  description: "the agents of a running Kelpie",
  options: [
    { name: "name", value: "text", meaning: "create: what the agent is called" },
    { name: "model", value: "handle", meaning: "create: its model, such as openai/gpt-5-mini; the server's default if left out" },
    { name: "persona", value: "text", meaning: "create: its persona block" },
    { name: "human", value: "text", meaning: "create: what it knows about the person it talks to" },
    { name: "limit", value: "count", meaning: `list: how many at most; ${listLimitDefault}` },
    serverOption,
    jsonOption,
  ],
  examples: [
    "kelpie agents list",
    'kelpie agents create --name Ada --persona "I am a patient teacher."',
    "kelpie agents show Ada --json",
    "kelpie agents delete Ada",
  ],
  async run(input, program) {
    const verb = input.positionals[0] ?? "list";
    const action = verbs[verb];
    if (action === undefined)
      throw new UsageError(
        `kelpie agents cannot ${JSON.stringify(verb)}: it can list, show, create and delete.${suggestion(verb, Object.keys(verbs))}`,
      );
    await action(clientFor(input, program), input, program);
    return exitCodes.ok;
  },
};

/** Makes an agent with the two blocks that every conversation needs. */
export async function createAgent(
  client: ApiClient,
  options: {
    readonly name?: string;
    readonly model?: string;
    readonly persona?: string;
    readonly human?: string;
    readonly tags?: readonly string[];
  },
): Promise<AgentSummary> {
  const body = {
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.model === undefined ? {} : { model: options.model }),
    ...(options.tags === undefined ? {} : { tags: options.tags }),
    memory_blocks: [
      {
        label: "persona",
        value: options.persona ?? "I am a helpful assistant. I keep what matters about the person I talk to in my memory.",
      },
      { label: "human", value: options.human ?? "" },
    ],
    tools: ["archival_memory_insert", "archival_memory_search"],
    core_bytes_max: coreBytesDefault,
  };
  return await client.request<AgentSummary>("POST", "/v1/agents", { body });
}

async function list(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const limit = input.values.get("limit") ?? listLimitDefault;
  if (!/^[1-9]\d{0,3}$/.test(limit)) throw new UsageError(`--limit is a number from 1 to 9999, not ${JSON.stringify(limit)}`);
  const agents = await client.request<AgentSummary[]>("GET", "/v1/agents", { query: { limit } });
  if (input.flags.has("json")) return terminal.line(JSON.stringify(agents, null, 2));
  if (agents.length === 0) return terminal.line("No agents yet. kelpie chat makes one and talks to it.");
  const rows = agents.map((agent) => [
    agent.id,
    shorten(printable(agent.name), 40),
    agent.model ?? "",
    (agent.created_at ?? "").slice(0, 16).replace("T", " "),
  ]);
  for (const line of table([["ID", "NAME", "MODEL", "CREATED"], ...rows])) terminal.line(line);
}

async function show(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const { id } = await findAgent(client, onePositional(input, "agent"));
  const include = "include=agent.blocks&include=agent.tools&include=agent.tags";
  const agent = await client.request<AgentDetail>("GET", `/v1/agents/${id}?${include}`);
  if (input.flags.has("json")) return terminal.line(JSON.stringify(agent, null, 2));
  terminal.line(`${terminal.style("bold", printable(agent.name))}  ${agent.id}`);
  terminal.line(`model   ${agent.model ?? ""}`);
  terminal.line(`made    ${agent.created_at ?? ""}`);
  if ((agent.tags ?? []).length > 0) terminal.line(`tags    ${agent.tags!.map(printable).join(", ")}`);
  terminal.line(`tools   ${(agent.tools ?? []).map((tool) => tool.name).join(", ") || "none"}`);
  for (const block of agent.blocks ?? []) {
    terminal.line(`\n${terminal.style("bold", `block ${printable(block.label)}`)} (${block.value.length} of ${block.limit} characters)`);
    terminal.line(printable(block.value));
  }
}

async function create(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  if (input.positionals.length > 1)
    throw new UsageError(`create takes no argument: kelpie agents create --name ${JSON.stringify(input.positionals[1])}`);
  const agent = await createAgent(
    client,
    Object.fromEntries(
      ["name", "model", "persona", "human"].flatMap((name) => (input.values.has(name) ? [[name, input.values.get(name)!]] : [])),
    ),
  );
  if (input.flags.has("json")) return terminal.line(JSON.stringify(agent, null, 2));
  terminal.line(agent.id);
  terminal.note(`Created ${printable(agent.name)}. Talk to it: kelpie chat --agent ${agent.id}`);
}

async function remove(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const { id, name } = await findAgent(client, onePositional(input, "agent"));
  await client.request("DELETE", `/v1/agents/${id}`);
  if (input.flags.has("json")) terminal.line(JSON.stringify({ id, deleted: true }));
  else terminal.note(`Deleted ${printable(name)} (${id})`);
}
