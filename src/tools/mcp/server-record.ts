/** MCP servers as rows: what a project has, under Letta's fields. */
import type { Tuple } from "../../base/tuple.ts";
import type { Environment } from "../../environment/environment.ts";
import { quote } from "../../memory/memory.ts";
import { Collection, entityBytesMax, fitsOneRow, type Page } from "../../storage/collection.ts";
import type { Store } from "../../storage/store.ts";
import type { Transaction } from "../../storage/transaction.ts";
import { InvalidMcpServerError, type McpServerConfig, McpServerNameTakenError, McpServerNotFoundError } from "./mcp.ts";

export interface McpServerRecord {
  readonly id: string;
  readonly server_name: string;
  readonly config: McpServerConfig;
  readonly created_at: string;
  readonly updated_at: string;
}

const servers: Collection<McpServerRecord> = new Collection<McpServerRecord>("mcp_server", { created: (server) => [[server.created_at]] });

/** @throws {InvalidMcpServerError} @throws {McpServerNameTakenError} */
export async function createMcpServer(
  transaction: Transaction,
  environment: Environment,
  project: string,
  { server_name, config }: Pick<McpServerRecord, "server_name" | "config">,
): Promise<McpServerRecord> {
  const now = new Date(environment.clock.now()).toISOString();
  const id = `mcp_server-${environment.random.uuid()}`;
  const server = checked({ id, server_name, config, created_at: now, updated_at: now });
  await takeName(transaction, project, server);
  servers.insert(transaction, project, server);
  return server;
}

/** @throws {McpServerNotFoundError} @throws {InvalidMcpServerError} @throws {McpServerNameTakenError} */
export async function updateMcpServer(
  transaction: Transaction,
  environment: Environment,
  project: string,
  id: string,
  changes: Partial<Pick<McpServerRecord, "server_name" | "config">>,
): Promise<McpServerRecord> {
  const before = await getMcpServer(transaction, project, id);
  const server = checked({ ...before, ...changes, updated_at: new Date(environment.clock.now()).toISOString() });
  if (server.server_name !== before.server_name) {
    await takeName(transaction, project, server);
    transaction.delete(nameKey(project, before.server_name));
  }
  servers.replace(transaction, project, before, server);
  return server;
}

/** @throws {McpServerNotFoundError} */
export async function deleteMcpServer(transaction: Transaction, project: string, id: string): Promise<McpServerRecord> {
  const server = await getMcpServer(transaction, project, id);
  servers.delete(transaction, project, server);
  transaction.delete(nameKey(project, server.server_name));
  return server;
}

/** @throws {McpServerNotFoundError} */
export async function getMcpServer(transaction: Transaction, project: string, id: string): Promise<McpServerRecord> {
  const server = await servers.get(transaction, project, id);
  if (server === undefined) throw new McpServerNotFoundError(`The MCP server ${quote(id)} does not exist`);
  return server;
}

/** @throws {McpServerNotFoundError} */
export async function readMcpServer(store: Store, project: string, id: string): Promise<McpServerRecord> {
  const [server] = await servers.read(store, project, [id]);
  if (server === undefined) throw new McpServerNotFoundError(`The MCP server ${quote(id)} does not exist`);
  return server;
}

/** Those of the servers that exist. */
export async function readMcpServers(store: Store, project: string, ids: readonly string[]): Promise<McpServerRecord[]> {
  return (await servers.read(store, project, ids)).filter((server) => server !== undefined);
}

/** A page by time of creation. `undefined`: the cursor names no server. */
export async function listMcpServers(store: Store, project: string, page: Page): Promise<McpServerRecord[] | undefined> {
  return await servers.page(store, project, "created", [], page);
}

function checked(server: McpServerRecord): McpServerRecord {
  const { server_name, config } = server;
  if (!/^[a-zA-Z0-9][a-zA-Z0-9 ._-]{0,62}$/.test(server_name))
    throw new InvalidMcpServerError(
      `A name of an MCP server has 1 to 63 characters of a-z A-Z 0-9 . _ - and spaces, and begins with a letter or digit: not ${quote(server_name)}`,
    );
  if (config.mcp_server_type === "stdio") {
    if (config.command.trim() === "")
      throw new InvalidMcpServerError(`The MCP server ${server_name} needs a command: the program to start`);
    const texts = [config.command, ...config.args, ...Object.entries(config.env ?? {}).flat()];
    if (texts.some((text) => text.includes("\0")))
      throw new InvalidMcpServerError(`The command, arguments and variables of ${server_name} have no NUL character`);
  } else if (!/^https?:$/.test(URL.parse(config.server_url)?.protocol ?? "")) {
    throw new InvalidMcpServerError(
      `server_url of ${server_name} is an address that begins with http:// or https://, not ${quote(config.server_url)}`,
    );
  }
  if (!fitsOneRow(server))
    throw new InvalidMcpServerError(`The configuration of ${server_name} is too large: it has at most ${entityBytesMax} bytes`);
  return server;
}

async function takeName(transaction: Transaction, project: string, server: McpServerRecord): Promise<void> {
  const key = nameKey(project, server.server_name);
  const holder = await transaction.get<string>(key);
  if (holder !== undefined)
    throw new McpServerNameTakenError(
      `There is an MCP server with the name ${quote(server.server_name)} (${holder}): change it, or use another name`,
    );
  transaction.set(key, server.id);
}

function nameKey(project: string, name: string): Tuple {
  return [project, "mcp_server.by-name", name];
}
