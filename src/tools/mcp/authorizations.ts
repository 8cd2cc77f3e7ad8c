/** What MCP servers over HTTP have been allowed by their owner, from the first 401 to a person's way back. */
import { type OAuthClientMetadata, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { SecretMask } from "../../base/secret-mask.ts";
import type { Transaction } from "../../storage/transaction.ts";
import { callbackPath, clientPath, McpConnectionError, UnknownAuthorizationError } from "./mcp.ts";
import { type AuthorizationSettings, clientMetadata, credentialsKey, type HttpConfig, OAuthProvider } from "./oauth-provider.ts";
import { type McpServerRecord, readMcpServer } from "./server-record.ts";
import { openConfig, secretsOf } from "./server-secrets.ts";

export class McpAuthorizations {
  readonly #settings: AuthorizationSettings;

  constructor(settings: AuthorizationSettings) {
    this.#settings = settings;
  }

  /** What a connection to a server proves itself with. */
  provider(project: string, server: McpServerRecord, config: HttpConfig): OAuthProvider {
    return new OAuthProvider(this.#settings, project, server, config);
  }

  /**
   * Takes what a person's browser came back with from the authorization server, and gives the server that may now be used.
   *
   * @throws {UnknownAuthorizationError} @throws {McpConnectionError} The authorization server refused, or is not the one that was asked.
   */
  async finish(project: string, callback: URLSearchParams): Promise<McpServerRecord> {
    const state = callback.get("state") ?? "";
    const serverId = /^(mcp_server-[0-9a-f-]{36})\./.exec(state)?.[1];
    const unknown = new UnknownAuthorizationError("Nobody waits for this authorization any more: begin it again");
    if (serverId === undefined) throw unknown;
    const server = await readMcpServer(this.#settings.store, project, serverId).catch(() => undefined);
    if (server === undefined || server.config.mcp_server_type === "stdio") throw unknown;
    const config = openConfig(this.#settings.sealingKey, { project, id: serverId }, server.config) as HttpConfig;
    const provider = new OAuthProvider(this.#settings, project, server, config);
    if (!(await provider.resume(state))) throw unknown;
    const url = config.server_url;
    try {
      await new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch }).finishAuth(callback);
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      const refusal = new McpConnectionError(`The MCP server ${server.server_name} was not authorized: ${said}`, { cause: error });
      throw new SecretMask([...secretsOf(config), ...provider.secrets, ...callback.getAll("code")]).applyToError(refusal);
    }
    return server;
  }

  /** What authorization servers are told of this Kelpie, under an address that is its name there. Undefined: it has no public one. */
  clientDocument(): (OAuthClientMetadata & { readonly client_id: string }) | undefined {
    const url = this.#settings.publicUrl?.();
    return url === undefined ? undefined : { client_id: url + clientPath, ...clientMetadata(url + callbackPath) };
  }

  /** Nothing is kept for the server any more. */
  forget(transaction: Transaction, project: string, serverId: string): void {
    transaction.delete(credentialsKey(project, serverId));
  }
}
