/** MCP servers: which a project has, and their tools. */
import { z } from "@hono/zod-openapi";
import { secretMask } from "../../base/secret-mask.ts";
import { transact } from "../../storage/transaction.ts";
import { callbackPath, clientPath, McpConnectionError, type McpGrants, type McpServerConfig } from "../../tools/mcp/mcp.ts";
import { hideSecrets, openConfig } from "../../tools/mcp/server-secrets.ts";
import {
  createMcpServer,
  getMcpServer,
  listMcpServers,
  type McpServerRecord,
  readMcpServer,
  updateMcpServer,
} from "../../tools/mcp/server-record.ts";
import type { ToolRecord } from "../../tools/tool-record.ts";
import { type Endpoint, endpoint } from "../endpoint.ts";
import { notFound, unprocessable } from "../http-error.ts";
import { pageOf } from "../paging.ts";
import { runTool } from "../run-tool.ts";
import { anyObject, idOf, nullable, optional, pageQuery } from "../schemas/common.ts";
import { toolResultSchema, toolRunBody, toolSchema } from "../schemas/tool.ts";
import type { Services } from "../services.ts";

const params = z.object({ mcp_server_id: idOf("mcp_server") });
const toolParams = params.extend({ tool_id: idOf("tool") });

/** With whose authorization, where each agent has its own. */
const ofAgent = z.object({ agent_id: idOf("agent").optional() });

const texts = z.record(z.string(), z.string());
const stdio = { mcp_server_type: z.literal("stdio"), command: z.string(), args: z.array(z.string()), env: optional(texts) };
const remote = {
  server_url: z.string(),
  auth_header: optional(z.string()),
  auth_token: optional(z.string()),
  custom_headers: optional(texts),
  oauth_client: optional(z.object({ client_id: z.string(), client_secret: optional(z.string()) })),
};
const sse = { mcp_server_type: z.literal("sse"), ...remote };
const streamable = { mcp_server_type: z.literal("streamable_http"), ...remote };

const config: z.ZodType<McpServerConfig> = z.discriminatedUnion("mcp_server_type", [
  z.object(stdio).openapi("CreateStdioMCPServer"),
  z.object(sse).openapi("CreateSSEMCPServer"),
  z.object(streamable).openapi("CreateStreamableHTTPMCPServer"),
]);
/** Kelpie's own; `null` takes all of them away. */
const grants = optional(
  z
    .object({
      sampling_model: optional(z.string()),
      elicitation: optional(z.boolean()),
      roots: optional(z.array(z.object({ uri: z.string(), name: optional(z.string()) }))),
    })
    .openapi("MCPGrants"),
);
/** Kelpie's own: whose authorization a server that asks for OAuth gets. */
const authorization = optional(z.enum(["project", "agent"]));
const createBody = z.object({ server_name: z.string(), config, grants, authorization }).openapi("CreateMCPServerRequest");
const updateBody = z
  .object({ server_name: optional(z.string()), config: optional(config), grants, authorization })
  .openapi("UpdateMCPServerRequest");

const named = { id: idOf("mcp_server"), server_name: z.string(), grants, authorization };
const serverSchema = z
  .discriminatedUnion("mcp_server_type", [
    z.object({ ...stdio, ...named }).openapi("StdioMCPServer"),
    z.object({ ...sse, ...named }).openapi("SSEMCPServer"),
    z.object({ ...streamable, ...named }).openapi("StreamableHTTPMCPServer"),
  ])
  .openapi("MCPServer");

const changesSchema = z
  .object({ added: z.array(z.string()), updated: z.array(z.string()), deleted: z.array(z.string()) })
  .openapi("MCPServerResyncResult");

const offeredToolSchema = z
  .object({
    name: z.string(),
    description: nullable(z.string()),
    json_schema: anyObject,
    effect: z.enum(["readOnly", "idempotent", "once"]),
    state: z.enum(["new", "taken", "changed", "gone"]),
  })
  .openapi("MCPToolOffer");
const offerSchema = z
  .object({
    protocol_version: z.string(),
    server: z.object({ name: z.string(), version: z.string(), title: z.string().optional() }),
    capabilities: anyObject,
    milliseconds: z.number(),
    tools: z.array(offeredToolSchema),
  })
  .openapi("MCPServerOffer");

/** What an authorization server sends a browser back with. */
const callbackFields = ["state", "code", "iss", "error", "error_description", "error_uri"] as const;

export function mcpServerRoutes(services: Services): Endpoint[] {
  const { store, environment, agents, models, mcp, sealingKey } = services;
  const tag = "mcp-servers";
  const viewIn =
    (project: string) =>
    (server: McpServerRecord): Record<string, unknown> =>
      serverView(server, hideSecrets(sealingKey, { project, id: server.id }, server.config));

  async function toolOf(project: string, serverId: string, toolId: string): Promise<ToolRecord> {
    await readMcpServer(store, project, serverId);
    const tool = (await mcp.list(project, serverId)).find(({ id }) => id === toolId);
    if (tool === undefined) throw notFound("tool", toolId);
    return tool;
  }

  /** @throws {ModelNotFoundError} */
  async function checkModel(given: McpGrants | null | undefined): Promise<void> {
    if (given?.sampling_model != null) await models.describe(given.sampling_model);
  }

  /** A server that cannot be reached now is kept: a refresh asks it again. */
  async function refreshIfReachable(project: string, server: McpServerRecord, agentId?: string): Promise<void> {
    try {
      await mcp.refresh(project, server.id, agentId);
    } catch (error) {
      if (!(error instanceof McpConnectionError)) throw error;
      environment.log.write("warn", "The tools of an MCP server could not be read", { server: server.server_name, error });
    }
  }

  return [
    endpoint(
      {
        method: "get",
        path: "/v1/mcp-servers",
        summary: "Lists MCP servers",
        tag,
        query: pageQuery("mcp_server", { limit: 50, order: "desc" }),
        response: z.array(serverSchema),
      },
      async ({ query, project }) => {
        const found = await listMcpServers(store, project, pageOf(query));
        if (found === undefined) throw unprocessable("query: the cursor (after or before) names no MCP server");
        return found.map(viewIn(project));
      },
    ),
    endpoint(
      {
        method: "post",
        path: "/v1/mcp-servers",
        summary: "Adds an MCP server, and takes its tools if it can be reached",
        tag,
        body: createBody,
        response: serverSchema,
        audit: "mcp_server.create",
      },
      async ({ body: { grants, authorization, ...body }, project }) => {
        await checkModel(grants);
        const fields = { ...body, grants: grants ?? {}, authorization: authorization ?? "project" };
        const server = await transact(store, environment, (transaction) => createMcpServer(transaction, services, project, fields));
        await refreshIfReachable(project, server);
        return viewIn(project)(server);
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/agents/{agent_id}/mcp-servers",
        summary: "Lists the MCP servers of which an agent has tools",
        tag,
        params: z.object({ agent_id: idOf("agent") }),
        response: z.array(serverSchema),
      },
      async ({ params: { agent_id }, project }) => {
        const { tool_ids } = await agents.get(project, agent_id);
        return (await mcp.serversOf(project, tool_ids)).map(viewIn(project));
      },
    ),
    endpoint(
      { method: "get", path: "/v1/mcp-servers/{mcp_server_id}", summary: "Reads an MCP server", tag, params, response: serverSchema },
      async ({ params: { mcp_server_id }, project }) => viewIn(project)(await readMcpServer(store, project, mcp_server_id)),
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/mcp-servers/{mcp_server_id}",
        summary: "Changes an MCP server",
        tag,
        params,
        body: updateBody,
        response: serverSchema,
        audit: "mcp_server.update",
      },
      async ({ params: { mcp_server_id }, body, project }) => {
        await checkModel(body.grants);
        const server = await transact(store, environment, async (transaction) => {
          const { config: stored } = await getMcpServer(transaction, project, mcp_server_id);
          const owner = { project, id: mcp_server_id };
          const withStored = (given: McpServerConfig): McpServerConfig =>
            JSON.stringify(given).includes(secretMask)
              ? unhidden(given, openConfig(sealingKey, owner, stored), hideSecrets(sealingKey, owner, stored))
              : given;
          const changes = {
            ...(body.server_name == null ? {} : { server_name: body.server_name }),
            ...(body.config == null ? {} : { config: withStored(body.config) }),
            ...(body.grants === undefined ? {} : { grants: body.grants ?? {} }),
            ...(body.authorization == null ? {} : { authorization: body.authorization }),
          };
          return await updateMcpServer(transaction, services, project, mcp_server_id, changes);
        });
        await refreshIfReachable(project, server);
        return viewIn(project)(server);
      },
    ),
    endpoint(
      {
        method: "delete",
        path: "/v1/mcp-servers/{mcp_server_id}",
        summary: "Removes an MCP server and its tools",
        tag,
        params,
        status: 204,
        audit: "mcp_server.delete",
      },
      async ({ params: { mcp_server_id }, project }) => {
        await mcp.delete(project, mcp_server_id);
      },
    ),
    endpoint(
      {
        method: "patch",
        path: "/v1/mcp-servers/{mcp_server_id}/refresh",
        summary: "Takes the tools of an MCP server as they are now",
        tag,
        params,
        query: ofAgent,
        response: changesSchema,
        audit: "mcp_server.refresh",
      },
      async ({ params: { mcp_server_id }, query: { agent_id }, project }) => {
        if (agent_id !== undefined) await agents.get(project, agent_id);
        return await mcp.refresh(project, mcp_server_id, agent_id);
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/mcp-servers/{mcp_server_id}/offer",
        summary: "Asks an MCP server what it is, and for its tools as they are now, and takes none. Kelpie's own",
        tag,
        params,
        query: ofAgent,
        response: offerSchema,
      },
      async ({ params: { mcp_server_id }, query: { agent_id }, project }) => {
        if (agent_id !== undefined) await agents.get(project, agent_id);
        return await mcp.offered(project, mcp_server_id, agent_id);
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/mcp-servers/{mcp_server_id}/tools",
        summary: "Lists the tools that were taken of an MCP server",
        tag,
        params,
        response: z.array(toolSchema),
      },
      async ({ params: { mcp_server_id }, project }) => {
        await readMcpServer(store, project, mcp_server_id);
        return await mcp.list(project, mcp_server_id);
      },
    ),
    endpoint(
      {
        method: "get",
        path: "/v1/mcp-servers/{mcp_server_id}/tools/{tool_id}",
        summary: "Reads a tool of an MCP server",
        tag,
        params: toolParams,
        response: toolSchema,
      },
      async ({ params: { mcp_server_id, tool_id }, project }) => await toolOf(project, mcp_server_id, tool_id),
    ),
    endpoint(
      {
        method: "get",
        path: callbackPath,
        summary: "Takes a browser back from where a person has authorized Kelpie at an MCP server",
        tag,
        query: z.object(Object.fromEntries(callbackFields.map((field) => [field, optional(z.string())]))),
        response: z.object({ message: z.string() }),
        audit: "mcp_server.authorize",
      },
      async ({ query, project }) => {
        const given = Object.entries(query).filter((entry): entry is [string, string] => typeof entry[1] === "string");
        const { server, agentId } = await mcp.authorize(project, new URLSearchParams(given));
        await refreshIfReachable(project, server, agentId);
        const who = agentId === undefined ? "Kelpie" : `The agent ${agentId}`;
        return { message: `${who} may now use the MCP server ${server.server_name}. You can close this page.` };
      },
    ),
    endpoint({ method: "get", path: clientPath, summary: "Says to authorization servers who this Kelpie is", tag }, async () => {
      const document = mcp.authorizations.clientDocument();
      if (document === undefined) throw notFound("public address", "");
      return document;
    }),
    endpoint(
      {
        method: "post",
        path: "/v1/mcp-servers/{mcp_server_id}/tools/{tool_id}/run",
        summary: "Calls a tool of an MCP server",
        tag,
        params: toolParams,
        body: toolRunBody,
        response: toolResultSchema,
      },
      async ({ params: { mcp_server_id, tool_id }, body, project, signal }) => {
        const record = await toolOf(project, mcp_server_id, tool_id);
        return await runTool(services, { project, agentId: "", record, args: body.args ?? {} }, signal);
      },
    ),
  ];
}

/** What a client was shown and sends back is what is stored; for another place it has to be given again. */
function unhidden(given: McpServerConfig, stored: McpServerConfig, shown: McpServerConfig): McpServerConfig {
  if (![placeOf(shown), placeOf(stored)].includes(placeOf(given)))
    throw unprocessable("body.config: what is hidden here goes to no other program or address: give its values again");
  const config = unmasked(given, stored);
  return config.mcp_server_type === "stdio" ? config : { ...config, server_url: placeOf(stored) };
}

function placeOf(config: McpServerConfig): string {
  return config.mcp_server_type === "stdio" ? JSON.stringify([config.command, config.args]) : config.server_url;
}

function unmasked<T>(given: T, stored: unknown): T {
  if (given === secretMask) return (typeof stored === "string" ? stored : given) as T;
  if (typeof given !== "object" || given === null || Array.isArray(given)) return given;
  const values = (stored ?? {}) as { readonly [name: string]: unknown };
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, unmasked(value, values[name])])) as T;
}

/** `config`: with its token and the values of its variables and headers hidden. */
function serverView(
  { id, server_name, grants, authorization = "project" }: McpServerRecord,
  config: McpServerConfig,
): Record<string, unknown> {
  const { sampling_model = null, elicitation = null, roots = null } = grants ?? {};
  const named = { id, server_name, grants: { sampling_model, elicitation, roots }, authorization };
  if (config.mcp_server_type === "stdio") return { ...config, env: config.env ?? null, ...named };
  const { auth_header = null, auth_token = null, custom_headers = null, oauth_client = null } = config;
  const client = oauth_client && { ...oauth_client, client_secret: oauth_client.client_secret ?? null };
  return { ...config, auth_header, auth_token, custom_headers, oauth_client: client, ...named };
}
