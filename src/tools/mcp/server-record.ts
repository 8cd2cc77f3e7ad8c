/** MCP servers as rows: what a project has, under Letta's fields. */
import type { Tuple } from "../../base/tuple.ts";
import type { Environment } from "../../environment/environment.ts";
import { quote } from "../../memory/memory.ts";
import { Collection, entityBytesMax, fitsOneRow, type Page } from "../../storage/collection.ts";
import type { Store } from "../../storage/store.ts";
import type { FindSealingKey } from "../../storage/stored-secret.ts";
import type { Transaction } from "../../storage/transaction.ts";
import {
  InvalidMcpServerError,
  type McpAuthorizationOf,
  type McpGrants,
  mcpLimits,
  type McpServerConfig,
  McpServerNameTakenError,
  McpServerNotFoundError,
} from "./mcp.ts";
import { sealConfig, type StoredMcpConfig } from "./server-secrets.ts";

export interface McpServerRecord {
  readonly id: string;
  readonly server_name: string;
  /** With its secrets sealed (server-secrets.ts). */
  readonly config: StoredMcpConfig;
  /** Absent: none. */
  readonly grants?: McpGrants | undefined;
  /** Absent: the project's. */
  readonly authorization?: McpAuthorizationOf | undefined;
  readonly created_at: string;
  readonly updated_at: string;
}

const servers: Collection<McpServerRecord> = new Collection<McpServerRecord>("mcp_server", { created: (server) => [[server.created_at]] });

export interface McpServerFields {
  readonly server_name: string;
  readonly config: McpServerConfig;
  readonly grants?: McpGrants | undefined;
  readonly authorization?: McpAuthorizationOf | undefined;
}

interface Keeping {
  readonly environment: Environment;
  readonly sealingKey: FindSealingKey;
}

/** @throws {InvalidMcpServerError} @throws {McpServerNameTakenError} @throws {SealError} */
export async function createMcpServer(
  transaction: Transaction,
  { environment, sealingKey }: Keeping,
  project: string,
  { server_name, config, grants = {}, authorization = "project" }: McpServerFields,
): Promise<McpServerRecord> {
  const now = new Date(environment.clock.now()).toISOString();
  const id = `mcp_server-${environment.random.uuid()}`;
  checkName(server_name);
  checkConfig(server_name, config);
  checkGrants(server_name, grants);
  const server = {
    id,
    server_name,
    config: sealConfig(sealingKey, { project, id }, config),
    grants,
    authorization,
    created_at: now,
    updated_at: now,
  };
  checkSize(server);
  await takeName(transaction, project, server);
  servers.insert(transaction, project, server);
  return server;
}

/** @throws {McpServerNotFoundError} @throws {InvalidMcpServerError} @throws {McpServerNameTakenError} @throws {SealError} */
export async function updateMcpServer(
  transaction: Transaction,
  { environment, sealingKey }: Keeping,
  project: string,
  id: string,
  changes: Partial<McpServerFields>,
): Promise<McpServerRecord> {
  const before = await getMcpServer(transaction, project, id);
  const { server_name = before.server_name, grants = before.grants ?? {}, authorization = before.authorization ?? "project" } = changes;
  checkName(server_name);
  if (changes.config !== undefined) checkConfig(server_name, changes.config);
  checkGrants(server_name, grants);
  const config = sealConfig(sealingKey, { project, id }, changes.config ?? before.config);
  const server = { ...before, server_name, config, grants, authorization, updated_at: new Date(environment.clock.now()).toISOString() };
  checkSize(server);
  if (server_name !== before.server_name) {
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

function checkName(name: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9 ._-]{0,62}$/.test(name))
    throw new InvalidMcpServerError(
      `A name of an MCP server has 1 to 63 characters of a-z A-Z 0-9 . _ - and spaces, and begins with a letter or digit: not ${quote(name)}`,
    );
}

function checkConfig(name: string, config: McpServerConfig): void {
  if (config.mcp_server_type === "stdio") {
    if (config.command.trim() === "") throw new InvalidMcpServerError(`The MCP server ${name} needs a command: the program to start`);
    const texts = [config.command, ...config.args, ...Object.entries(config.env ?? {}).flat()];
    if (texts.some((text) => text.includes("\0")))
      throw new InvalidMcpServerError(`The command, arguments and variables of ${name} have no NUL character`);
  } else if (!/^https?:$/.test(URL.parse(config.server_url)?.protocol ?? "")) {
    throw new InvalidMcpServerError(`server_url of ${name} is an address that begins with http:// or https://`);
  }
}

function checkGrants(name: string, { roots }: McpGrants): void {
  const { rootsPerServer } = mcpLimits;
  if ((roots?.length ?? 0) > rootsPerServer) throw new InvalidMcpServerError(`${name} has at most ${rootsPerServer} roots`);
  for (const { uri } of roots ?? [])
    if (URL.parse(uri)?.protocol !== "file:")
      throw new InvalidMcpServerError(`A root of ${name} is an address that begins with file://, not ${quote(uri)}`);
}

function checkSize(server: McpServerRecord): void {
  if (!fitsOneRow(server))
    throw new InvalidMcpServerError(`The configuration of ${server.server_name} is too large: it has at most ${entityBytesMax} bytes`);
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
