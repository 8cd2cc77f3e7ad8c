/** `kelpie mcp`: the MCP servers of a running Kelpie. */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { parseEnv } from "node:util";
import { suggestion } from "../base/nearest.ts";
import { type ApiClient, ApiError } from "./api-client.ts";
import { type Command, CommandError, type CommandInput, exitCodes, jsonOption, serverOption, UsageError } from "./command.ts";
import { answerTo, type McpQuestion, questionText } from "./mcp-question-text.ts";
import { type McpTool, toolText } from "./mcp-tool-text.ts";
import type { Program } from "./program.ts";
import { clientFor, findAgent, onePositional } from "./remote.ts";
import { printable } from "./terminal.ts";
import { shorten, table } from "./text.ts";

interface McpServer {
  readonly id: string;
  readonly server_name: string;
  readonly mcp_server_type: "stdio" | "sse" | "streamable_http";
  readonly command?: string;
  readonly args?: readonly string[];
  readonly server_url?: string;
}

interface Changes {
  readonly added: readonly string[];
  readonly updated: readonly string[];
  readonly deleted: readonly string[];
}

type TakenTool = Omit<McpTool, "effect"> & { readonly id: string; readonly metadata_: { readonly mcp: { readonly effect: string } } };

interface Offer {
  readonly protocol_version: string;
  readonly server: { readonly name: string; readonly version: string; readonly title?: string };
  readonly capabilities: object;
  readonly milliseconds: number;
  readonly tools: readonly (McpTool & { readonly state: string })[];
}

/** Of tools that a server offers now. */
const notes: Readonly<Record<string, string>> = {
  new: "new, not taken",
  changed: "not what was taken, and refused until it is taken again",
  gone: "taken, and offered no more",
};

const verbs: Readonly<Record<string, (client: ApiClient, input: CommandInput, program: Program) => Promise<void>>> = {
  list,
  add,
  tools,
  test,
  refresh,
  remove,
  questions,
  answer,
  serve,
};
/** As many as the API lists at once. */
const listMax = 1_000;

export const mcpCommand: Command = {
  name: "mcp",
  summary: "List, add, refresh and remove MCP servers; be one",
  usage:
    "list | add <name> <url> | add <name> -- <program> [arguments] | tools <server> | test <server> | refresh <server> | remove <server> | questions [server] | answer <question> [field=value …] | serve   (a server is named by its id or its name)",
  description:
    "the MCP servers of a running Kelpie. Their tools are taken when they are added, and again by refresh: what they say of themselves is shown then, as agents are told it. test asks a server and shows it without taking anything. questions shows what servers ask a person in the middle of a call, if they were added with --questions. serve is for the other direction: an MCP host starts it, and has the agents of a running Kelpie as its tools",
  options: [
    // Node takes --env-file for its own.
    { name: "variables", value: "path", meaning: "add: a file with variables of the program, as lines NAME=value" },
    { name: "token-file", value: "path", meaning: "add: a file with what is sent to the address as its bearer token" },
    { name: "headers", value: "path", meaning: "add: a file with what else is sent to the address, as lines Name: value" },
    { name: "model", value: "handle", meaning: "add: the model that answers what the server asks of one; without it, none does" },
    { name: "root", value: "path[,path…]", meaning: "add: folders that the server is told to work in" },
    { name: "questions", meaning: "add: what the server asks a person waits for kelpie mcp answer" },
    { name: "decline", meaning: "answer: the server gets no answer, and is told so" },
    { name: "agent", value: "id|name", meaning: "refresh, test: with this agent's own authorization" },
    { name: "each-agent", meaning: "add: where the address asks for OAuth, each agent has an authorization of its own" },
    { name: "sse", meaning: "add: the address speaks the older HTTP with SSE" },
    serverOption,
    jsonOption,
  ],
  examples: [
    "kelpie mcp add files -- npx -y @modelcontextprotocol/server-filesystem /srv/files",
    "kelpie mcp add issues https://mcp.example.com/mcp",
    "kelpie mcp tools files",
    "kelpie mcp test issues",
    "kelpie mcp refresh issues",
    "kelpie mcp remove files",
    "kelpie mcp answer mcp_question-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed count=3",
    "kelpie mcp serve",
  ],
  async run(input, program) {
    const verb = input.positionals[0] ?? "list";
    const action = verbs[verb];
    if (action === undefined)
      throw new UsageError(
        `kelpie mcp cannot ${JSON.stringify(verb)}: it can list, add, test, refresh and remove servers, list their tools, show and answer their questions, and serve.${suggestion(verb, Object.keys(verbs))}`,
      );
    await action(clientFor(input, program), input, program);
    return exitCodes.ok;
  },
};

async function list(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const servers = await allServers(client);
  if (input.flags.has("json")) return terminal.line(JSON.stringify(servers, null, 2));
  if (servers.length === 0) return terminal.line("No MCP servers yet. kelpie mcp add adds one.");
  const rows = servers.map((server) => [
    printable(server.server_name),
    server.mcp_server_type,
    shorten(printable(server.server_url ?? [server.command, ...(server.args ?? [])].join(" ")), 80),
    server.id,
  ]);
  for (const line of table([["NAME", "KIND", "WHERE", "ID"], ...rows])) terminal.line(line);
}

async function add(client: ApiClient, input: CommandInput, program: Program): Promise<void> {
  const [, server_name, place, ...args] = input.positionals;
  if (server_name === undefined || place === undefined)
    throw new UsageError("add needs a name and an address, or a name, -- and a program: kelpie mcp add files -- npx -y some-server");
  const server = await client.request<McpServer>("POST", "/v1/mcp-servers", {
    body: {
      server_name,
      config: configOf(place, args, input),
      grants: grantsOf(input),
      authorization: input.flags.has("each-agent") ? "agent" : "project",
    },
  });
  if (!input.flags.has("json")) program.terminal.note(`Added ${printable(server_name)} (${server.id})`);
  await takeTools(client, server, input, program);
}

function configOf(place: string, args: readonly string[], { values, flags }: CommandInput): object {
  const [variables, token, headers] = ["variables", "token-file", "headers"].map((name) => values.get(name));
  if (/^https?:\/\//.test(place)) {
    if (args.length > 0 || variables !== undefined)
      throw new UsageError("An address takes no arguments and no variables: those are a program's");
    return {
      mcp_server_type: flags.has("sse") ? "sse" : "streamable_http",
      server_url: place,
      ...(token === undefined ? {} : { auth_token: read(token).trim() }),
      ...(headers === undefined ? {} : { custom_headers: headersIn(headers) }),
    };
  }
  if (token !== undefined || headers !== undefined || flags.has("sse"))
    throw new UsageError("--token-file, --headers and --sse are for an address that begins with http");
  return { mcp_server_type: "stdio", command: place, args, ...(variables === undefined ? {} : { env: parseEnv(read(variables)) }) };
}

function grantsOf({ values, flags }: CommandInput): object {
  const [model, root] = [values.get("model"), values.get("root")];
  return {
    ...(model === undefined ? {} : { sampling_model: model }),
    ...(root === undefined ? {} : { roots: root.split(",").map((path) => ({ uri: pathToFileURL(path).href })) }),
    ...(flags.has("questions") ? { elicitation: true } : {}),
  };
}

function headersIn(path: string): Record<string, string> {
  const lines = read(path)
    .split("\n")
    .map((line) => line.trim());
  const headers = lines.filter((line) => line !== "").map((line) => /^([^\s:]+):(.*)$/.exec(line));
  // What is wrong is not shown: it may be a secret.
  if (headers.includes(null)) throw new CommandError(`A line of ${path} is no header: each is written as Name: value`);
  return Object.fromEntries(headers.map((header) => [header![1]!, header![2]!.trim()]));
}

async function tools(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const found = await toolsOf(client, await findServer(client, onePositional(input, "server")));
  if (input.flags.has("json")) return terminal.line(JSON.stringify(found, null, 2));
  const rows = found.map((tool) => [tool.name, tool.id, tool.metadata_.mcp.effect, shorten(printable(tool.description ?? ""), 80)]);
  for (const line of table([["NAME", "ID", "EFFECT", "SAYS"], ...rows])) terminal.line(line);
}

async function test(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const server = await findServer(client, onePositional(input, "server"));
  const query = await agentQuery(client, input);
  const offer = await inWords(client.request<Offer>("GET", `/v1/mcp-servers/${server.id}/offer`, { query }));
  if (input.flags.has("json")) return terminal.line(JSON.stringify(offer, null, 2));
  const { tools: offered, milliseconds } = offer;
  const count = offered.filter(({ state }) => state !== "gone").length;
  terminal.line(`${printable(server.server_name)} answered in ${milliseconds} ms, and offers ${count} tools`);
  for (const line of table([
    ["program", printable([offer.server.title, offer.server.name, offer.server.version].filter(Boolean).join(" "))],
    ["protocol", printable(offer.protocol_version)],
    ["capabilities", printable(Object.keys(offer.capabilities).join(", "))],
  ]))
    terminal.line(line);
  for (const tool of offered) for (const line of toolText(tool, notes[tool.state])) terminal.line(line);
  if (offered.some(({ state }) => state !== "taken")) terminal.note(`kelpie mcp refresh ${printable(server.server_name)} takes them so`);
}

async function refresh(client: ApiClient, input: CommandInput, program: Program): Promise<void> {
  await takeTools(client, await findServer(client, onePositional(input, "server")), input, program);
}

async function takeTools(client: ApiClient, server: McpServer, input: CommandInput, { terminal }: Program): Promise<void> {
  const query = await agentQuery(client, input);
  const changes = await inWords(client.request<Changes>("PATCH", `/v1/mcp-servers/${server.id}/refresh`, { query }));
  const found = await toolsOf(client, server);
  if (input.flags.has("json")) return terminal.line(JSON.stringify({ ...server, tools: found.length, ...changes }, null, 2));
  terminal.line(`${printable(server.server_name)} has ${found.length} tools`);
  for (const name of changes.deleted) terminal.line(`gone: ${printable(name)}`);
  const isAdded = input.positionals[0] === "add";
  for (const tool of found) {
    const note = changes.updated.includes(tool.name) ? "changed" : changes.added.includes(tool.name) ? "new" : undefined;
    if (!isAdded && note === undefined) continue;
    for (const line of toolText({ ...tool, effect: tool.metadata_.mcp.effect }, isAdded ? undefined : note)) terminal.line(line);
  }
}

async function agentQuery(client: ApiClient, { values }: CommandInput): Promise<{ readonly agent_id?: string }> {
  const named = values.get("agent");
  return named === undefined ? {} : { agent_id: (await findAgent(client, named)).id };
}

/** The server is there; what it needs is said in words. */
async function inWords<T>(asking: Promise<T>): Promise<T> {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 409 || error.status === 502))
      throw new CommandError(error.message, { cause: error });
    throw error;
  }
}

async function toolsOf(client: ApiClient, { id }: McpServer): Promise<readonly TakenTool[]> {
  return await client.request<TakenTool[]>("GET", `/v1/mcp-servers/${id}/tools`);
}

async function remove(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const { id, server_name } = await findServer(client, onePositional(input, "server"));
  await client.request("DELETE", `/v1/mcp-servers/${id}`);
  if (input.flags.has("json")) terminal.line(JSON.stringify({ id, deleted: true }));
  else terminal.note(`Removed ${printable(server_name)} and its tools (${id})`);
}

async function questions(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const [, named] = input.positionals;
  const waiting = await questionsOf(client, named === undefined ? await allServers(client) : [await findServer(client, named)]);
  if (input.flags.has("json")) return terminal.line(JSON.stringify(waiting, null, 2));
  if (waiting.length === 0) return terminal.line("No MCP server asks anything now.");
  for (const question of waiting) for (const line of questionText(question)) terminal.line(line);
}

async function answer(client: ApiClient, input: CommandInput, { terminal }: Program): Promise<void> {
  const [, id, ...fields] = input.positionals;
  if (id === undefined) throw new UsageError("answer needs the id of a question: kelpie mcp questions shows those there are");
  const question = (await questionsOf(client, await allServers(client))).find((each) => each.id === id);
  if (question === undefined)
    throw new CommandError(`No question ${JSON.stringify(id)} waits at ${client.url}. kelpie mcp questions shows those that do`);
  const body = input.flags.has("decline") ? { action: "decline" } : answerTo(question, fields);
  await client.request("POST", `/v1/mcp-servers/${question.server_id}/questions/${id}`, { body });
  if (input.flags.has("json")) terminal.line(JSON.stringify({ id, ...body }));
  else terminal.note(`${printable(question.server_name)} is told: ${body.action}`);
}

async function questionsOf(client: ApiClient, servers: readonly McpServer[]): Promise<readonly McpQuestion[]> {
  const all = servers.map(({ id }) => client.request<McpQuestion[]>("GET", `/v1/mcp-servers/${id}/questions`));
  return (await Promise.all(all)).flat();
}

async function serve(client: ApiClient, input: CommandInput, program: Program): Promise<void> {
  if (input.positionals.length > 1) throw new UsageError(`serve takes no argument, and got ${JSON.stringify(input.positionals[1])}`);
  // Loaded only when needed: no other command speaks the protocol itself.
  const { bridgeMcp } = await import("./mcp-bridge.ts");
  await bridgeMcp(client, program);
}

async function allServers(client: ApiClient): Promise<readonly McpServer[]> {
  return await client.request<McpServer[]>("GET", "/v1/mcp-servers", { query: { limit: listMax, order: "asc" } });
}

async function findServer(client: ApiClient, nameOrId: string): Promise<McpServer> {
  const server = (await allServers(client)).find(({ id, server_name }) => id === nameOrId || server_name === nameOrId);
  if (server === undefined)
    throw new CommandError(`There is no MCP server ${JSON.stringify(nameOrId)} at ${client.url}. kelpie mcp list shows those there are`);
  return server;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new CommandError(`The file ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
