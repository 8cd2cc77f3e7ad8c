/** The tools of MCP servers as tools of a project: taken from their servers, pinned, and called there. */
import type { ElicitRequest, ElicitResult } from "@modelcontextprotocol/client";
import { decodeJson, type Json } from "../../base/json.ts";
import { type Tuple, tupleRange } from "../../base/tuple.ts";
import type { Environment } from "../../environment/environment.ts";
import type { Models } from "../../models/model.ts";
import type { Store } from "../../storage/store.ts";
import type { FindSealingKey } from "../../storage/stored-secret.ts";
import { transact, type Transaction } from "../../storage/transaction.ts";
import type { OutsideTool, ToolResult } from "../tool.ts";
import {
  deleteTool,
  getTool,
  insertTool,
  readTools,
  replaceTool,
  returnCharactersMax,
  ToolNotFoundError,
  type ToolRecord,
} from "../tool-record.ts";
import { type AuthorizationSettings } from "./oauth-provider.ts";
import { type Authorized, McpAuthorizations } from "./authorizations.ts";
import { type McpCall, McpConnection, type McpServerInfo } from "./connection.ts";
import { mcpLimits, type McpToolInfo } from "./mcp.ts";
import { McpQuestions } from "./questions.ts";
import { resultImages } from "./result-images.ts";
import { resultText } from "./result-text.ts";
import type { Ask } from "./server-requests.ts";
import { deleteMcpServer, listMcpServers, type McpServerRecord, readMcpServer, readMcpServers } from "./server-record.ts";
import { openConfig, secretsOf } from "./server-secrets.ts";
import { mcpToolName } from "./tool-name.ts";
import { type Origin, originOf, pinOf, toRecord } from "./tool-origin.ts";

/** What became of a project's tools when a server was asked for its own. By their names in the project. */
export interface McpChanges {
  readonly added: readonly string[];
  readonly updated: readonly string[];
  readonly deleted: readonly string[];
}

/** A tool as its server offers it now, beside what its project took. */
export interface McpOffer extends Pick<ToolRecord, "name" | "description" | "json_schema"> {
  readonly effect: Origin["effect"];
  /** `gone`: it was taken, and is offered no more. */
  readonly state: "new" | "taken" | "changed" | "gone";
}

/** What a server is, and what it offers, beside what was taken of it. */
export interface McpServerOffer extends McpServerInfo {
  /** Until it had said all this. */
  readonly milliseconds: number;
  readonly tools: readonly McpOffer[];
}

/** Answers what a server asks a person in the middle of a call, in the program that runs Kelpie. */
export type Elicit = (server: string, question: ElicitRequest["params"]) => Promise<ElicitResult>;

export interface McpSettings extends AuthorizationSettings {
  /** For samples. Absent: there are none. */
  readonly models?: Pick<Models, "open"> | undefined;
  /** For servers that may not ask people through the API. */
  readonly elicit?: Elicit | undefined;
}

/** As many as a list gives at once. */
const serversListedMax = 1_000;

export class McpTools implements AsyncDisposable {
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #models: Pick<Models, "open"> | undefined;
  readonly #elicit: Elicit | undefined;
  readonly #sealingKey: FindSealingKey;
  readonly authorizations: McpAuthorizations;
  readonly questions: McpQuestions;
  /** By server and agent, where each has its own authorization, with what they were made for, as the server's row has it. */
  readonly #connections = new Map<string, { readonly serverId: string; readonly stored: string; readonly connection: McpConnection }>();

  constructor({ models, elicit, ...settings }: McpSettings) {
    this.#store = settings.store;
    this.#environment = settings.environment;
    this.#models = models;
    this.#elicit = elicit;
    this.#sealingKey = settings.sealingKey;
    this.authorizations = new McpAuthorizations(settings);
    this.questions = new McpQuestions(settings.store, settings.environment);
  }

  /** The tool behind a record of type `external_mcp`. */
  tool(record: ToolRecord): OutsideTool | undefined {
    const origin = originOf(record);
    if (origin === undefined) return undefined;
    const parameters = (record.json_schema["parameters"] ?? { type: "object", properties: {} }) as Json;
    return {
      name: record.name,
      description: record.description ?? "",
      parameters,
      effect: origin.effect,
      timeoutMilliseconds: mcpLimits.callMillisecondsMax,
      execute: async (input, { effectId, signal, project, agentId }) =>
        await this.#call(project, record, origin, { agentId, arguments: input, effectId, signal }),
    };
  }

  /**
   * Asks a server for its tools and brings the project's up to date, with what it says of them now.
   *
   * `agentId`: with the agent's own authorization, where each has its own. What it is not offered stays, as others may be.
   *
   * @throws {McpServerNotFoundError} @throws {McpConnectionError}
   */
  async refresh(project: string, serverId: string, agentId?: string): Promise<McpChanges> {
    const server = await readMcpServer(this.#store, project, serverId);
    const offered = await this.#connection(project, server, agentId).tools();
    const changes = { added: new Array<string>(), updated: new Array<string>(), deleted: new Array<string>() };
    const names = new Set(offered.map(({ name }) => name));
    // One transaction for each tool: those of a server together could be more than a batch takes.
    for (const info of offered) {
      const [change, name] = await transact(this.#store, this.#environment, (transaction) =>
        this.#take(transaction, project, server, info),
      );
      if (change !== undefined) changes[change].push(name);
    }
    for (const taken of await this.#taken(project, serverId)) {
      if (names.has(taken.tool_name) || agentWithOwn(server, agentId) !== undefined) continue;
      changes.deleted.push(mcpToolName(server.server_name, taken.tool_name));
      await transact(this.#store, this.#environment, (transaction) => dropTool(transaction, project, serverId, taken));
    }
    return changes;
  }

  /** What a refresh would take. Changes nothing. @throws As `refresh`. */
  async offered(project: string, serverId: string, agentId?: string): Promise<McpServerOffer> {
    const server = await readMcpServer(this.#store, project, serverId);
    const { clock } = this.#environment;
    const [connection, begin] = [this.#connection(project, server, agentId), clock.elapsed()];
    const [info, infos] = [await connection.describe(), await connection.tools()];
    const milliseconds = Math.round(clock.elapsed() - begin);
    const wanted = infos.map((each) => toRecord(this.#environment, server, each));
    const left = new Map((await this.list(project, serverId)).map((record) => [originOf(record)!.tool_name, record]));
    const offers = wanted.map((record) => {
      const { tool_name } = originOf(record)!;
      const taken = left.get(tool_name);
      left.delete(tool_name);
      return toOffer(record, taken === undefined ? "new" : isSameTool(taken, record) ? "taken" : "changed");
    });
    return { ...info, milliseconds, tools: [...offers, ...[...left.values()].map((record) => toOffer(record, "gone"))] };
  }

  /** The tools that a project has of a server, in the order of their names. */
  async list(project: string, serverId: string): Promise<ToolRecord[]> {
    const taken = await this.#taken(project, serverId);
    return await readTools(
      this.#store,
      project,
      taken.map(({ tool_id }) => tool_id),
    );
  }

  /** The servers of which tools are. */
  async serversOf(project: string, toolIds: readonly string[]): Promise<McpServerRecord[]> {
    const origins = (await readTools(this.#store, project, toolIds)).map(originOf);
    return await readMcpServers(this.#store, project, [
      ...new Set(origins.flatMap((origin) => (origin === undefined ? [] : [origin.server_id]))),
    ]);
  }

  /** Takes the way back from a server's authorization: the next connection has a token. @throws As `McpAuthorizations.finish`. */
  async authorize(project: string, callback: URLSearchParams): Promise<Authorized> {
    const authorized = await this.authorizations.finish(project, callback);
    await this.#disconnect(connectionKey(authorized.server, authorized.agentId));
    return authorized;
  }

  /** Nothing is kept of an agent's own authorizations any more. */
  async forgetAgent(project: string, agentId: string): Promise<void> {
    const servers = (await listMcpServers(this.#store, project, { limit: serversListedMax })) ?? [];
    for (const server of servers.filter(({ authorization }) => authorization === "agent")) {
      await this.authorizations.forgetAgent(project, server.id, agentId);
      await this.#disconnect(connectionKey(server, agentId));
    }
  }

  /** Deletes a server and its tools, and ends its connection. @throws {McpServerNotFoundError} */
  async delete(project: string, serverId: string): Promise<void> {
    // Before its tools, so that nothing takes one meanwhile.
    await transact(this.#store, this.#environment, async (transaction) => {
      await deleteMcpServer(transaction, project, serverId);
    });
    for (const taken of await this.#taken(project, serverId))
      await transact(this.#store, this.#environment, (transaction) => dropTool(transaction, project, serverId, taken));
    const left = [...this.#connections].filter(([, connection]) => connection.serverId === serverId);
    await Promise.all(left.map(([key]) => this.#disconnect(key)));
    await this.authorizations.forget(project, serverId);
    await this.questions.forget(project, serverId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#connections.keys()].map((key) => this.#disconnect(key)));
  }

  async #call(
    project: string,
    record: ToolRecord,
    { server_id, tool_name, pin }: Origin,
    call: Pick<McpCall, "agentId" | "arguments" | "effectId" | "signal">,
  ): Promise<ToolResult> {
    const server = await readMcpServer(this.#store, project, server_id);
    const refusal = (offered: McpToolInfo | undefined): string | undefined => {
      if (offered === undefined) return `The MCP server ${server.server_name} has no tool ${tool_name} any more`;
      if (pinOf(offered) === pin) return undefined;
      return (
        `${record.name} is another tool than its owner took: the MCP server ${server.server_name} has changed what it says of it. ` +
        `Its owner can look at it (GET /v1/mcp-servers/${server.id}/offer) and take it again (PATCH /v1/mcp-servers/${server.id}/refresh)`
      );
    };
    const connection = this.#connection(project, server, call.agentId);
    const result = await connection.call({ tool: tool_name, refusal, ...call });
    const text = resultText(result, connection.mask, Math.min(record.return_char_limit, returnCharactersMax));
    const images = resultImages(result);
    return { status: result.isError === true ? "error" : "success", text, ...(images.length === 0 ? {} : { images }) };
  }

  /** The one for this configuration; one for an older one is closed (P1). */
  #connection(project: string, server: McpServerRecord, agent: string | undefined): McpConnection {
    const { roots = null, ...grants } = server.grants ?? {};
    const stored = JSON.stringify([server.config, grants, roots === null]);
    const agentId = agentWithOwn(server, agent);
    const key = connectionKey(server, agentId);
    const known = this.#connections.get(key);
    known?.connection.setRoots(roots ?? []);
    if (known?.stored === stored) return known.connection;
    if (known !== undefined) void known.connection.close();
    const config = openConfig(this.#sealingKey, { project, id: server.id }, server.config);
    const connection = new McpConnection({
      name: server.server_name,
      config,
      secrets: secretsOf(config),
      environment: this.#environment,
      grants: server.grants ?? {},
      models: this.#models,
      ask: this.#askFor(project, server),
      ...(config.mcp_server_type === "stdio" ? {} : { authorization: this.authorizations.provider({ project, server, config, agentId }) }),
    });
    if (this.#connections.size >= mcpLimits.connectionsKept)
      for (const [
        each,
        {
          connection: { isIdle },
        },
      ] of this.#connections)
        if (isIdle) this.#connections.delete(each);
    this.#connections.set(key, { serverId: server.id, stored, connection });
    return connection;
  }

  /** Who is asked what the server wants to know of a person. */
  #askFor(project: string, server: McpServerRecord): Ask | undefined {
    const elicit = this.#elicit;
    if (server.grants?.elicitation === true)
      return async (calls, question, signal) => await this.questions.ask({ project, server, calls, signal }, question);
    return elicit && (async (_, question) => await elicit(server.server_name, question));
  }

  async #disconnect(key: string): Promise<void> {
    const known = this.#connections.get(key);
    this.#connections.delete(key);
    await known?.connection.close();
  }

  async #take(
    transaction: Transaction,
    project: string,
    server: McpServerRecord,
    info: McpToolInfo,
  ): Promise<["added" | "updated" | undefined, string]> {
    const key = takenKey(project, server.id, info.name);
    const [taken, wanted] = [await transaction.get<Taken>(key), toRecord(this.#environment, server, info)];
    const before = taken && (await findTool(transaction, project, taken.tool_id));
    if (before === undefined) {
      await insertTool(transaction, project, wanted);
      transaction.set(key, { tool_name: info.name, tool_id: wanted.id } satisfies Taken);
      return ["added", wanted.name];
    }
    if (isSameTool(before, wanted)) return [undefined, before.name];
    const { name, description, json_schema, tags, updated_at } = wanted;
    // What its owner has said of it stays.
    const metadata_ = { ...before.metadata_, ...wanted.metadata_ };
    await replaceTool(transaction, project, before, { ...before, name, description, json_schema, metadata_, tags, updated_at });
    return ["updated", name];
  }

  async #taken(project: string, serverId: string): Promise<Taken[]> {
    const [answer] = await this.#store.read([
      { ...tupleRange(takenPrefix(project, serverId)), limit: Math.min(mcpLimits.toolsPerServer, this.#store.limits.rangeEntries) },
    ]);
    return answer!.map(({ value }) => decodeJson<Taken>(value));
  }
}

/** The agent whose own authorization is used; undefined: the project's is. */
function agentWithOwn({ authorization }: McpServerRecord, agentId: string | undefined): string | undefined {
  return authorization === "agent" && agentId ? agentId : undefined;
}

function connectionKey({ id }: McpServerRecord, agentId: string | undefined): string {
  return agentId === undefined ? id : `${id} ${agentId}`;
}

/** A tool that a project has of a server, by the server's own name for it. */
interface Taken {
  readonly tool_name: string;
  readonly tool_id: string;
}

function takenPrefix(project: string, serverId: string): Tuple {
  return [project, "mcp_server.tool", serverId];
}

function takenKey(project: string, serverId: string, toolName: string): Tuple {
  return [...takenPrefix(project, serverId), toolName];
}

function isSameTool(left: ToolRecord, right: ToolRecord): boolean {
  return originOf(left)?.pin === originOf(right)?.pin && left.name === right.name;
}

function toOffer(record: ToolRecord, state: McpOffer["state"]): McpOffer {
  const { name, description, json_schema } = record;
  return { name, description, json_schema, effect: originOf(record)!.effect, state };
}

async function findTool(transaction: Transaction, project: string, id: string): Promise<ToolRecord | undefined> {
  try {
    return await getTool(transaction, project, id);
  } catch (error) {
    if (error instanceof ToolNotFoundError) return undefined;
    throw error;
  }
}

async function dropTool(transaction: Transaction, project: string, serverId: string, { tool_name, tool_id }: Taken): Promise<void> {
  transaction.delete(takenKey(project, serverId, tool_name));
  // Its owner may have deleted it.
  if ((await findTool(transaction, project, tool_id)) !== undefined) await deleteTool(transaction, project, tool_id);
}
