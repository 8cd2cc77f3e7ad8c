/**
 * A small OAuth 2.1 authorization server, and a gate that lets only its tokens through to a server behind it: real HTTP, PKCE,
 * dynamic registration, refresh tokens that are used once. Its people agree to everything at once.
 */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

interface Grant {
  readonly clientId: string;
  readonly redirectUri: string;
  readonly challenge: string;
  readonly resource: string;
}

export class AuthorizationServer implements AsyncDisposable {
  readonly url: string;
  readonly #http: Server;
  readonly #clients = new Map<string, readonly string[]>();
  readonly #codes = new Map<string, Grant>();
  readonly #refreshes = new Map<string, Grant>();
  readonly #tokens = new Map<string, Grant>();
  /** Every token and code that was ever given. */
  readonly given: string[] = [];
  /** Clients whose tokens have opened something. */
  readonly clientsUsed: Set<string> = new Set();
  /** What comes back as the issuer, in place of the truth. */
  issuerClaimed: string | undefined;

  private constructor(http: Server) {
    this.#http = http;
    this.url = urlOf(http);
  }

  static async start(): Promise<AuthorizationServer> {
    const http = createServer((asked, answer) => void server.#handle(asked, answer));
    await once(http.listen(0, "127.0.0.1"), "listening");
    const server = new AuthorizationServer(http);
    return server;
  }

  /** Tokens that were given until now open nothing more; refresh tokens still give new ones. */
  expireTokens(): void {
    this.#tokens.clear();
  }

  /** Nothing opens anything any more. */
  revokeAll(): void {
    this.#tokens.clear();
    this.#refreshes.clear();
  }

  opens(token: string, resource: string): boolean {
    const grant = this.#tokens.get(token);
    if (grant?.resource !== resource) return false;
    this.clientsUsed.add(grant.clientId);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await closed(this.#http);
  }

  async #handle(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(asked.url!, this.url);
    const body = await textOf(asked);
    if (pathname === "/.well-known/oauth-authorization-server") return json(answer, 200, this.#metadata());
    if (pathname === "/register") {
      const { redirect_uris } = JSON.parse(body) as { readonly redirect_uris: readonly string[] };
      const client_id = this.#secret();
      this.#clients.set(client_id, redirect_uris);
      return json(answer, 201, { client_id, redirect_uris, token_endpoint_auth_method: "none" });
    }
    if (pathname === "/authorize") return this.#authorize(searchParams, answer);
    if (pathname === "/token") return this.#token(new URLSearchParams(body), answer);
    json(answer, 404, {});
  }

  #metadata(): object {
    return {
      issuer: this.url,
      authorization_endpoint: `${this.url}/authorize`,
      token_endpoint: `${this.url}/token`,
      registration_endpoint: `${this.url}/register`,
      response_types_supported: ["code"],
      grant_types_supported: ["authorization_code", "refresh_token"],
      code_challenge_methods_supported: ["S256"],
      token_endpoint_auth_methods_supported: ["none"],
      authorization_response_iss_parameter_supported: true,
    };
  }

  #authorize(asked: URLSearchParams, answer: ServerResponse): void {
    const redirectUri = asked.get("redirect_uri") ?? "";
    const clientId = asked.get("client_id") ?? "";
    const challenge = asked.get("code_challenge") ?? "";
    const isRight = this.#clients.get(clientId)?.includes(redirectUri) === true && asked.get("code_challenge_method") === "S256";
    if (!isRight || challenge === "") return json(answer, 400, { error: "invalid_request" });
    const code = this.#secret();
    this.#codes.set(code, { clientId, redirectUri, challenge, resource: asked.get("resource") ?? "" });
    const back = new URL(redirectUri);
    back.search = new URLSearchParams({ code, state: asked.get("state") ?? "", iss: this.issuerClaimed ?? this.url }).toString();
    answer.writeHead(302, { location: back.href }).end();
  }

  #token(asked: URLSearchParams, answer: ServerResponse): void {
    const isRefresh = asked.get("grant_type") === "refresh_token";
    const [grants, key] = isRefresh ? [this.#refreshes, asked.get("refresh_token")] : [this.#codes, asked.get("code")];
    const grant = grants.get(key ?? "");
    // Each is used once.
    grants.delete(key ?? "");
    const proof = createHash("sha256")
      .update(asked.get("code_verifier") ?? "")
      .digest("base64url");
    const isRight = grant?.clientId === asked.get("client_id") && (isRefresh || grant?.challenge === proof);
    if (grant === undefined || !isRight) return json(answer, 400, { error: "invalid_grant" });
    const [access_token, refresh_token] = [this.#secret(), this.#secret()];
    this.#tokens.set(access_token, grant);
    this.#refreshes.set(refresh_token, grant);
    json(answer, 200, { access_token, refresh_token, token_type: "Bearer", expires_in: 3_600 });
  }

  #secret(): string {
    const secret = randomBytes(24).toString("base64url");
    this.given.push(secret);
    return secret;
  }
}

/** Passes requests with a token that `opens` says yes to on to `target`, and tells all others where tokens are given. */
export async function startGate(authorization: AuthorizationServer, target: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const http = createServer((asked, answer) => {
    const resource = `${urlOf(http)}/mcp`;
    if (asked.url!.startsWith("/.well-known/oauth-protected-resource"))
      return json(answer, 200, { resource, authorization_servers: [authorization.url] });
    const token = /^Bearer (.+)$/.exec(asked.headers.authorization ?? "")?.[1] ?? "";
    if (!authorization.opens(token, resource)) {
      const metadata = `${urlOf(http)}/.well-known/oauth-protected-resource/mcp`;
      return void answer.writeHead(401, { "www-authenticate": `Bearer resource_metadata="${metadata}"` }).end();
    }
    const { host: _, authorization: __, ...headers } = asked.headers;
    const passed = request(new URL(asked.url!, target), { method: asked.method!, headers }, (response) => {
      answer.writeHead(response.statusCode!, response.headers);
      response.pipe(answer);
    });
    passed.on("error", () => answer.destroy());
    answer.on("close", () => passed.destroy());
    asked.pipe(passed);
  });
  await once(http.listen(0, "127.0.0.1"), "listening");
  return { url: `${urlOf(http)}/mcp`, [Symbol.asyncDispose]: () => closed(http) };
}

function urlOf(http: Server): string {
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

async function textOf(asked: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of asked) parts.push(part as Buffer);
  return Buffer.concat(parts).toString("utf8");
}

function json(answer: ServerResponse, status: number, body: object): void {
  answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function closed(http: Server): Promise<void> {
  http.closeAllConnections();
  http.close();
  await once(http, "close");
}
