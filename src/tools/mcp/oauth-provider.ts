/**
 * The rows and decisions behind OAuth, which the SDK speaks (discovery, PKCE, registration, refresh, checks of the issuer).
 *
 * A server that answers 401 gets a token where there is one. Else a person has to agree: the connection fails with an
 * address for their browser, and once they have come back from there, with a code, the next one is made with a token.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type {
  FetchLike,
  OAuthClientInformationContext,
  OAuthClientMetadata,
  OAuthClientProvider,
  OAuthDiscoveryState,
  StoredOAuthClientInformation,
  StoredOAuthTokens,
} from "@modelcontextprotocol/client";
import { decodeJson } from "../../base/json.ts";
import { encodeTuple, type Tuple } from "../../base/tuple.ts";
import type { Environment } from "../../environment/environment.ts";
import type { SealingKey } from "../../storage/sealing-key.ts";
import type { Store } from "../../storage/store.ts";
import type { FindSealingKey } from "../../storage/stored-secret.ts";
import { transact } from "../../storage/transaction.ts";
import { callbackPath, clientPath, McpAuthorizationError, McpConnectionError, mcpLimits, type McpServerConfig } from "./mcp.ts";
import { mcpFetch } from "./mcp-fetch.ts";
import { Refreshes } from "./refreshes.ts";
import type { McpServerRecord } from "./server-record.ts";

export type HttpConfig = Exclude<McpServerConfig, { readonly mcp_server_type: "stdio" }>;

export interface AuthorizationSettings {
  readonly store: Store;
  readonly environment: Environment;
  /** Gives none: nothing can be kept, and servers that ask for OAuth cannot be used. */
  readonly sealingKey: FindSealingKey;
  /** The address at which browsers reach this Kelpie, without a slash at its end; undefined if nobody does. */
  readonly publicUrl?: () => string | undefined;
}

/** All that is kept for a server, sealed. */
interface Credentials {
  /** Another one since then has none of this (P4). */
  readonly server_url: string;
  readonly client?: StoredOAuthClientInformation | undefined;
  /** That the client is registered for. */
  readonly redirect_url?: string | undefined;
  readonly tokens?: StoredOAuthTokens | undefined;
  /** What a person is asked now. */
  readonly pending?: Pending | undefined;
}

interface Pending {
  /** Comes back with the person, and nobody else knows it. */
  readonly state: string;
  readonly verifier: string;
  readonly discovery: OAuthDiscoveryState | undefined;
  readonly url: string;
  readonly begun_at: number;
}

/** Whose credentials they are, and for which server. */
export interface CredentialsOwner {
  readonly project: string;
  readonly server: McpServerRecord;
  readonly config: HttpConfig;
  /** Undefined: the project's. */
  readonly agentId: string | undefined;
}

/** For one connection; several of one server share what is stored, also on other nodes. */
export class OAuthProvider implements OAuthClientProvider {
  /** Only under HTTPS, where an authorization server can trust what it reads there. */
  readonly clientMetadataUrl?: string;
  /** For all requests that are made with this provider. */
  readonly fetch: FetchLike;
  /** What this provider has proved itself with. */
  readonly secrets: Set<string> = new Set();
  readonly #refreshes: Refreshes;
  readonly #settings: AuthorizationSettings;
  readonly #project: string;
  readonly #server: McpServerRecord;
  readonly #config: HttpConfig;
  readonly #agentId: string | undefined;
  #discovery: OAuthDiscoveryState | undefined;
  /** By the challenge that says it in an address: several calls may find out at once that they need a person. */
  readonly #verifiers = new Map<string, string>();
  #resumed: Pending | undefined;

  constructor(settings: AuthorizationSettings, { project, server, config, agentId }: CredentialsOwner) {
    this.#settings = settings;
    this.#project = project;
    this.#server = server;
    this.#config = config;
    this.#agentId = agentId;
    this.#refreshes = new Refreshes(settings.environment);
    this.fetch = this.#refreshes.through(mcpFetch(config.server_url));
    const url = settings.publicUrl?.();
    if (url?.startsWith("https:") === true) this.clientMetadataUrl = url + clientPath;
  }

  /** Goes on with what a person was asked. Once: false the second time, and for a state that is not the one that they were given. */
  async resume(state: string): Promise<boolean> {
    let pending: Pending | undefined;
    await this.#change((stored) => {
      pending = isFresh(stored.pending, this.#now) && sameText(stored.pending.state, state) ? stored.pending : undefined;
      return pending === undefined ? stored : { ...stored, pending: undefined };
    });
    if (pending === undefined) return false;
    this.#resumed = pending;
    return true;
  }

  get redirectUrl(): string {
    const url = this.#settings.publicUrl?.();
    if (url === undefined)
      throw new McpConnectionError(
        `it asks for a person's authorization, and this Kelpie has no address that a browser could come back to`,
      );
    return url + callbackPath;
  }

  get clientMetadata(): OAuthClientMetadata {
    return clientMetadata(this.redirectUrl);
  }

  state(): string {
    const random = Buffer.from(this.#settings.environment.random.bytes(32)).toString("base64url");
    return [this.#server.id, ...this.#ofAgent, random].join(".");
  }

  async clientInformation(context?: OAuthClientInformationContext): Promise<StoredOAuthClientInformation | undefined> {
    const { oauth_client } = this.#config;
    if (oauth_client != null) {
      const { client_id, client_secret } = oauth_client;
      return { client_id, ...(client_secret == null ? {} : { client_secret }), ...context };
    }
    const { client, redirect_url, tokens } = await this.#read();
    // Refreshing needs the client that the tokens were given to; a new authorization one that is sent back to here.
    return tokens?.refresh_token !== undefined || redirect_url === this.redirectUrl ? client : undefined;
  }

  async saveClientInformation(client: StoredOAuthClientInformation): Promise<void> {
    if (this.#config.oauth_client == null) await this.#change((stored) => ({ ...stored, client, redirect_url: this.redirectUrl }));
  }

  async tokens(): Promise<StoredOAuthTokens | undefined> {
    return (await this.#read()).tokens;
  }

  async saveTokens(tokens: StoredOAuthTokens): Promise<void> {
    await this.#change((stored) => ({ ...stored, tokens }));
  }

  saveCodeVerifier(verifier: string): void {
    this.#verifiers.set(challengeOf(verifier), verifier);
  }

  codeVerifier(): string {
    return this.#resumed!.verifier;
  }

  saveDiscoveryState(discovery: OAuthDiscoveryState): void {
    this.#discovery = discovery;
  }

  /** Only on the way back: at the beginning of each authorization the server is asked anew. */
  discoveryState(): OAuthDiscoveryState | undefined {
    return this.#resumed?.discovery;
  }

  async invalidateCredentials(scope: "all" | "client" | "tokens" | "verifier" | "discovery"): Promise<void> {
    const [ofClient, ofTokens] = [scope === "all" || scope === "client", scope === "all" || scope === "tokens"];
    await this.#change((stored) => ({
      ...stored,
      ...(ofClient ? { client: undefined } : {}),
      // Another node may have refreshed them meanwhile, which is why this one was refused.
      ...(ofTokens && this.#refreshes.isRefused(stored.tokens?.refresh_token) ? { tokens: undefined } : {}),
    }));
  }

  /** @throws {McpAuthorizationError} Always: a person has to go there. Whoever asks meanwhile is given the same address. */
  async redirectToAuthorization(url: URL): Promise<never> {
    const [state, challenge] = [url.searchParams.get("state")!, url.searchParams.get("code_challenge")!];
    const verifier = this.#verifiers.get(challenge)!;
    this.#verifiers.delete(challenge);
    const wanted: Pending = {
      state,
      verifier,
      discovery: this.#discovery,
      url: url.href,
      begun_at: this.#now,
    };
    const { pending } = await this.#change((stored) =>
      isFresh(stored.pending, this.#now) && isSameQuestion(stored.pending.url, url) ? stored : { ...stored, pending: wanted },
    );
    throw new McpAuthorizationError(this.#server, { url: pending!.url, agentId: this.#agentId });
  }

  /** A token was refused that looked new: the next refusal asks for another. */
  doubt(): void {
    this.#refreshes.forget();
  }

  get #now(): number {
    return this.#settings.environment.clock.now();
  }

  async #read(): Promise<Credentials> {
    const [answer] = await this.#settings.store.read([{ key: encodeTuple(this.#row) }]);
    return this.#open(answer![0] && decodeJson<string>(answer![0].value));
  }

  async #change(change: (stored: Credentials) => Credentials): Promise<Credentials> {
    const { store, environment } = this.#settings;
    const row = this.#row;
    return await transact(store, environment, async (transaction) => {
      const stored = this.#open(await transaction.get<string>(row));
      const changed = change(stored);
      if (changed !== stored) transaction.set(row, this.#key.seal(JSON.stringify(changed), this.#name));
      return changed;
    });
  }

  #open(sealed: string | undefined): Credentials {
    const none = { server_url: this.#config.server_url };
    if (sealed === undefined) return none;
    const stored = JSON.parse(this.#key.open(sealed, this.#name)) as Credentials;
    const { tokens, client } = stored;
    for (const secret of [tokens?.access_token, tokens?.refresh_token, tokens?.id_token, client?.client_secret])
      if (typeof secret === "string") this.secrets.add(secret);
    this.#settings.environment.log.hide(this.secrets);
    return stored.server_url === this.#config.server_url ? stored : none;
  }

  get #key(): SealingKey {
    const sealingKey = this.#settings.sealingKey();
    if (sealingKey === undefined)
      throw new McpConnectionError("it asks for OAuth, and this Kelpie has no key to keep tokens under: set KELPIE_SEALING_KEY");
    return sealingKey;
  }

  get #name(): string {
    return [this.#project, "mcp_oauth", this.#server.id, ...this.#ofAgent].join("/");
  }

  get #row(): Tuple {
    return credentialsKey(this.#project, this.#server.id, this.#agentId);
  }

  get #ofAgent(): string[] {
    return this.#agentId === undefined ? [] : [this.#agentId];
  }
}

/** What Kelpie is called, and may do, at any authorization server. */
export function clientMetadata(redirectUrl: string): OAuthClientMetadata {
  return {
    client_name: "Kelpie",
    redirect_uris: [redirectUrl],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
  };
}

/** Where the credentials for a server are kept: the project's, or those of one of its agents. */
export function credentialsKey(project: string, serverId: string, agentId?: string): Tuple {
  return [project, "mcp_server.oauth", serverId, ...(agentId === undefined ? [] : [agentId])];
}

function isFresh(pending: Pending | undefined, now: number): pending is Pending {
  return pending !== undefined && now - pending.begun_at < mcpLimits.authorizationMilliseconds;
}

/** Whether a person would be asked the same, and come back to the same place. */
function isSameQuestion(pending: string, url: URL): boolean {
  const { searchParams } = new URL(pending);
  return ["client_id", "redirect_uri", "scope"].every((name) => searchParams.get(name) === url.searchParams.get(name));
}

function challengeOf(verifier: string): string {
  return createHash("sha256").update(verifier).digest("base64url");
}

function sameText(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}
