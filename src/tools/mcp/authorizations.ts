/** What MCP servers over HTTP have been allowed by their owner, from the first 401 to a person's way back. */
import { type OAuthClientMetadata, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { decodeTuple, encodeTuple, tupleRange } from "../../base/tuple.ts";
import { SecretMask } from "../../base/secret-mask.ts";
import { transact } from "../../storage/transaction.ts";
import { callbackPath, clientPath, McpConnectionError, UnknownAuthorizationError } from "./mcp.ts";
import {
  type AuthorizationSettings,
  clientMetadata,
  credentialsKey,
  type CredentialsOwner,
  type HttpConfig,
  OAuthProvider,
} from "./oauth-provider.ts";
import { type McpServerRecord, readMcpServer } from "./server-record.ts";
import { openConfig, secretsOf } from "./server-secrets.ts";

export interface Authorized {
  readonly server: McpServerRecord;
  /** Undefined: the project. */
  readonly agentId: string | undefined;
}

/** Rows that are deleted in one batch. */
const rowsAtOnce = 100;

export class McpAuthorizations {
  readonly #settings: AuthorizationSettings;

  constructor(settings: AuthorizationSettings) {
    this.#settings = settings;
  }

  /** What a connection to a server proves itself with. */
  provider(owner: CredentialsOwner): OAuthProvider {
    return new OAuthProvider(this.#settings, owner);
  }

  /**
   * Takes what a person's browser came back with from the authorization server, and gives the server that may now be used, and by which agent alone.
   *
   * @throws {UnknownAuthorizationError} @throws {McpConnectionError} The authorization server refused, or is not the one that was asked.
   */
  async finish(project: string, callback: URLSearchParams): Promise<Authorized> {
    const state = callback.get("state") ?? "";
    const [, serverId, agentId] = /^(mcp_server-[0-9a-f-]{36})\.(?:(agent-[0-9a-f-]{36})\.)?/.exec(state) ?? [];
    const unknown = new UnknownAuthorizationError("Nobody waits for this authorization any more: begin it again");
    if (serverId === undefined) throw unknown;
    const server = await readMcpServer(this.#settings.store, project, serverId).catch(() => undefined);
    if (server === undefined || server.config.mcp_server_type === "stdio") throw unknown;
    const config = openConfig(this.#settings.sealingKey, { project, id: serverId }, server.config) as HttpConfig;
    const provider = this.provider({ project, server, config, agentId });
    if (!(await provider.resume(state))) throw unknown;
    const url = config.server_url;
    try {
      await new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch }).finishAuth(callback);
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      const refusal = new McpConnectionError(`The MCP server ${server.server_name} was not authorized: ${said}`, { cause: error });
      throw new SecretMask([...secretsOf(config), ...provider.secrets, ...callback.getAll("code")]).applyToError(refusal);
    }
    return { server, agentId };
  }

  /** What authorization servers are told of this Kelpie, under an address that is its name there. Undefined: it has no public one. */
  clientDocument(): (OAuthClientMetadata & { readonly client_id: string }) | undefined {
    const url = this.#settings.publicUrl?.();
    return url === undefined ? undefined : { client_id: url + clientPath, ...clientMetadata(url + callbackPath) };
  }

  /** Nothing is kept for the server any more: neither the project's nor its agents'. */
  async forget(project: string, serverId: string): Promise<void> {
    const { store, environment } = this.#settings;
    const begin = encodeTuple(credentialsKey(project, serverId));
    const { end } = tupleRange(credentialsKey(project, serverId));
    for (;;) {
      const [rows] = await store.read([{ begin, end, limit: rowsAtOnce }]);
      if (rows!.length === 0) return;
      await transact(store, environment, async (transaction) => {
        for (const { key } of rows!) transaction.delete(decodeTuple(key));
      });
    }
  }

  /** Nothing is kept for the agent any more. */
  async forgetAgent(project: string, serverId: string, agentId: string): Promise<void> {
    const { store, environment } = this.#settings;
    await transact(store, environment, async (transaction) => transaction.delete(credentialsKey(project, serverId, agentId)));
  }
}
