/** One connection to an MCP server, made when it is needed (P1). */
import {
  type CallToolResult,
  Client,
  type Implementation,
  ProtocolError,
  SdkHttpError,
  type ServerCapabilities,
  SSEClientTransport,
  type Transport,
} from "@modelcontextprotocol/client";
import { SecretMask } from "../../base/secret-mask.ts";
import type { Cancel, Clock, Environment } from "../../environment/environment.ts";
import type { Models } from "../../models/model.ts";
import { OutcomeUnknownError } from "../tool.ts";
import {
  effectIdMeta,
  McpConnectionError,
  type McpGrants,
  mcpLimits,
  type McpRoot,
  type McpServerConfig,
  type McpToolInfo,
} from "./mcp.ts";
import { authorizationIn, describe, httpErrorIn, isLost, isUnknownToServer, isUnsent } from "./call-errors.ts";
import { HttpTransport } from "./http-transport.ts";
import { maskMessages } from "./masked-messages.ts";
import { mcpFetch } from "./mcp-fetch.ts";
import type { OAuthProvider } from "./oauth-provider.ts";
import { type OfferedTool, offeredTools } from "./offered-tools.ts";
import { type Ask, ServerRequests } from "./server-requests.ts";
import { StdioTransport } from "./stdio-transport.ts";

export interface McpConnectionOptions {
  /** What people call the server. */
  readonly name: string;
  readonly config: McpServerConfig;
  /** Of `config`. */
  readonly secrets: readonly string[];
  readonly environment: Environment;
  /** For a server that asks for OAuth. */
  readonly authorization?: OAuthProvider | undefined;
  readonly grants: McpGrants;
  readonly models?: Pick<Models, "open"> | undefined;
  /** Absent: the server is told that nobody can be asked. */
  readonly ask?: Ask | undefined;
}

/** What a server says of itself when a connection is made. */
export interface McpServerInfo {
  /** Of the revision of the protocol that both sides speak. */
  readonly protocol_version: string;
  readonly server: Pick<Implementation, "name" | "version" | "title">;
  readonly capabilities: ServerCapabilities;
}

export interface McpCall {
  readonly tool: string;
  readonly agentId: string;
  readonly arguments: { readonly [name: string]: unknown };
  readonly effectId: string;
  readonly signal: AbortSignal;
  /** Looks at the tool as the server offers it now, `undefined` if it does not: a text says why it is not called. */
  readonly refusal: (offered: McpToolInfo | undefined) => string | undefined;
}

interface Connected {
  readonly client: Client;
  readonly transport: Transport;
  readonly requests: ServerRequests;
  /** What is offered, until the server says that it has changed. */
  tools: Promise<readonly OfferedTool[]> | undefined;
  uses: number;
}

export class McpConnection {
  readonly #options: McpConnectionOptions;
  #connected: Promise<Connected> | undefined;
  #current: Connected | undefined;
  #stopIdling: Cancel = () => {};
  /** Connections that could not be made or broke, since the last thing that went well. */
  #failures = 0;
  #lastFailure = "";
  #retryAt = 0;
  #isClosed = false;
  /** Which versions are tried. A program may never answer to what it does not know, so the older ones come first there. */
  #mode: "legacy" | "auto";
  #roots: readonly McpRoot[];
  #mask: SecretMask | undefined;
  #secretsMasked = 0;

  constructor(options: McpConnectionOptions) {
    this.#options = options;
    options.environment.log.hide(options.secrets);
    this.#roots = options.grants.roots ?? [];
    this.#mode = options.config.mcp_server_type === "streamable_http" ? "auto" : "legacy";
  }

  /** What the server offers now: it is asked anew, as not every server says when that changes. @throws {McpConnectionError} */
  async tools(): Promise<readonly McpToolInfo[]> {
    return await this.#using(async (connected) => {
      connected.tools = undefined;
      return (await this.#offered(connected)).map(({ info }) => info);
    });
  }

  /** Whether it is not connected, and nobody is about to use it. */
  get isIdle(): boolean {
    return this.#connected === undefined;
  }

  /** What the server says of itself. @throws {McpConnectionError} */
  async describe(): Promise<McpServerInfo> {
    return await this.#using(async ({ client }) => {
      const { name = "", version = "", title } = client.getServerVersion() ?? {};
      const server = { name, version, ...(title === undefined ? {} : { title }) };
      const protocol_version = client.getNegotiatedProtocolVersion() ?? "";
      const info = { protocol_version, server, capabilities: client.getServerCapabilities() ?? {} };
      if (Buffer.byteLength(JSON.stringify(info)) > mcpLimits.schemaBytes)
        throw new McpConnectionError(`${this.#title} says more than ${mcpLimits.schemaBytes} bytes of itself`);
      return info;
    });
  }

  /** Tells a server that is connected now, if its roots are others than they were. */
  setRoots(roots: readonly McpRoot[]): void {
    if (JSON.stringify(roots) === JSON.stringify(this.#roots)) return;
    this.#roots = roots;
    const { name, environment } = this.#options;
    // A server of the newer protocol is not told: it asks anew in each call.
    void this.#current?.client
      .sendRootsListChanged()
      .catch((error: unknown) => environment.log.write("debug", "An MCP server was not told of its new roots", { server: name, error }));
  }

  /** For what the server says, which may be what it was given (P5). All of it is masked already, but each text by itself. */
  get mask(): SecretMask {
    const { secrets, authorization } = this.#options;
    const count = secrets.length + (authorization?.secrets.size ?? 0);
    if (this.#mask !== undefined && this.#secretsMasked === count) return this.#mask;
    this.#secretsMasked = count;
    return (this.#mask = new SecretMask([...secrets, ...(authorization?.secrets ?? [])]));
  }

  /** @throws {McpConnectionError} Certainly without effect. @throws {OutcomeUnknownError} @throws The reason of the signal. */
  async call(call: McpCall): Promise<CallToolResult> {
    return await this.#using((connected) => this.#call(connected, call));
  }

  /** Ends the connection, and what it started. Later calls are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopIdling();
    const connected = await this.#connected?.catch(() => undefined);
    if (connected === undefined) return;
    this.#leave(connected);
    await this.#end(connected);
  }

  get #title(): string {
    return `The MCP server ${this.#options.name}`;
  }

  async #call(connected: Connected, { tool, agentId, arguments: input, effectId, signal, refusal }: McpCall): Promise<CallToolResult> {
    // Of this connection: a server that was started again may offer something else under the same name (P2).
    const offered = (await this.#offered(connected)).find(({ info }) => info.name === tool);
    const refused = refusal(offered?.info);
    if (refused !== undefined) return { isError: true, content: [{ type: "text", text: refused }] };
    const silence = new Silence(this.#options.environment.clock, connected.requests);
    const end = connected.requests.begin({ agent_id: agentId, tool });
    try {
      return await offered!.call(
        connected.client,
        { name: tool, arguments: { ...input }, _meta: { [effectIdMeta]: effectId } },
        {
          signal: AbortSignal.any([signal, silence.signal]),
          timeout: mcpLimits.callMillisecondsMax,
          onprogress: () => silence.begin(),
        },
      );
    } catch (error) {
      signal.throwIfAborted();
      if (silence.signal.aborted)
        throw new OutcomeUnknownError(`${this.#title} gave no answer to ${tool} in ${mcpLimits.callMilliseconds / 1_000} s`, {
          cause: error,
        });
      if (isUnsent(error)) throw new McpConnectionError(`${this.#title} cannot be reached: ${describe(error)}`, { cause: error });
      if (isLost(error)) throw new OutcomeUnknownError(`${this.#title} gave no answer to ${tool}: ${describe(error)}`, { cause: error });
      if (error instanceof SdkHttpError)
        throw new McpConnectionError(`${this.#title} refused the call: ${describe(error)}`, { cause: error });
      throw authorizationIn(error) ?? error;
    } finally {
      silence.end();
      end();
    }
  }

  async #offered(connected: Connected): Promise<readonly OfferedTool[]> {
    const { name, environment } = this.#options;
    const leaveOut = (tool: string, fault: string): void =>
      environment.log.write("warn", "A tool of an MCP server is left out", { server: name, tool: tool.slice(0, 100), fault });
    const tools = (connected.tools ??= offeredTools(connected.client, leaveOut));
    try {
      return await tools;
    } catch (error) {
      if (connected.tools === tools) connected.tools = undefined;
      throw authorizationIn(error) ?? new McpConnectionError(`${this.#title} did not list its tools: ${describe(error)}`, { cause: error });
    }
  }

  async #using<T>(work: (connected: Connected) => Promise<T>): Promise<T> {
    try {
      return await this.#usingTwice(work);
    } catch (error) {
      throw this.mask.applyToError(error);
    }
  }

  async #usingTwice<T>(work: (connected: Connected) => Promise<T>): Promise<T> {
    try {
      return await this.#usingOnce(work);
    } catch (error) {
      if (!isUnknownToServer(error)) throw error;
      this.#options.authorization?.doubt();
      return await this.#usingOnce(work);
    }
  }

  async #usingOnce<T>(work: (connected: Connected) => Promise<T>): Promise<T> {
    this.#stopIdling();
    const connected = await (this.#connected ??= this.#connect());
    connected.uses++;
    try {
      const result = await work(connected);
      this.#failures = 0;
      return result;
    } catch (error) {
      // What is wrong may be the session's: the next call begins a new one.
      if (httpErrorIn(error) !== undefined) this.#leave(connected);
      throw error;
    } finally {
      connected.uses--;
      this.#whenUnused(connected);
    }
  }

  #whenUnused(connected: Connected): void {
    if (connected.uses > 0) return;
    if (this.#current !== connected) void this.#end(connected);
    else this.#stopIdling = this.#options.environment.clock.schedule(mcpLimits.idleMilliseconds, () => this.#leave(connected));
  }

  /** Later calls make a new connection; this one ends with the last call that uses it. False: it was left before. */
  #leave(connected: Connected): boolean {
    if (this.#current !== connected) return false;
    this.#current = undefined;
    this.#connected = undefined;
    if (connected.uses === 0) void this.#end(connected);
    return true;
  }

  async #end({ client, transport }: Connected): Promise<void> {
    const { clock } = this.#options.environment;
    if (transport instanceof HttpTransport && transport.sessionId !== undefined)
      await Promise.race([transport.terminateSession().catch(() => {}), clock.sleep(mcpLimits.graceMilliseconds)]);
    await client.close().catch(() => {});
  }

  async #connect(): Promise<Connected> {
    const { clock } = this.#options.environment;
    try {
      if (this.#isClosed) throw new McpConnectionError(`${this.#title} is not used any more`);
      const wait = this.#retryAt - clock.elapsed();
      if (wait > mcpLimits.patienceMilliseconds)
        throw new McpConnectionError(
          `${this.#title} has failed ${this.#failures} times and is tried again in ${Math.ceil(wait / 1_000)} s: ${this.#lastFailure}`,
        );
      if (wait > 0) await clock.sleep(wait);
    } catch (error) {
      this.#connected = undefined;
      throw error;
    }
    try {
      return (this.#current = await this.#openInEitherEra());
    } catch (error) {
      this.#connected = undefined;
      const authorization = authorizationIn(error);
      if (authorization !== undefined) throw authorization;
      this.#failed(describe(error));
      throw new McpConnectionError(`${this.#title} cannot be reached (${describePlace(this.#options.config)}): ${this.#lastFailure}`, {
        cause: error,
      });
    }
  }

  /** The first failure costs no wait; from the second one on they double. */
  #failed(reason: string): void {
    const { retryMillisecondsFirst: first, retryMillisecondsMost: most } = mcpLimits;
    this.#lastFailure = reason;
    this.#retryAt =
      this.#options.environment.clock.elapsed() + (this.#failures === 0 ? 0 : Math.min(most, first * 2 ** (this.#failures - 1)));
    this.#failures++;
  }

  /** A program of the newer protocol alone refuses the older one's first message; it is started again, and that remembered. */
  async #openInEitherEra(): Promise<Connected> {
    try {
      return await this.#open();
    } catch (error) {
      if (this.#mode === "auto" || !(error instanceof ProtocolError)) throw error;
      this.#mode = "auto";
      return await this.#open();
    }
  }

  async #open(): Promise<Connected> {
    const { name, config, grants, environment, authorization, models, ask } = this.#options;
    const transport = openTransport(config, authorization);
    maskMessages(transport, () => this.mask);
    const requests = new ServerRequests({ name, grants, roots: () => this.#roots, environment, models, ask });
    const client = new Client(
      { name: "kelpie", version: "1" },
      {
        versionNegotiation: { mode: this.#mode },
        capabilities: requests.capabilities,
        // A server's schemas are not run on what it says: their patterns could take for ever, and a model reads texts.
        jsonSchemaValidator: { getValidator: () => (data) => ({ valid: true, data: data as never, errorMessage: undefined }) },
        listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => void (connected.tools = undefined) } },
      },
    );
    requests.listen(client);
    const connected: Connected = { client, transport, requests, tools: undefined, uses: 0 };
    Object.assign(client, {
      onclose: () => {
        if (this.#leave(connected)) this.#failed("the connection broke");
      },
      onerror: (error: Error) => {
        environment.log.write("debug", "An MCP connection had an error", { server: name, error });
        // A stream that broke is opened again by itself, to a server that knows nothing of the session.
        if (config.mcp_server_type === "sse") this.#leave(connected);
      },
    });
    try {
      await client.connect(transport, { timeout: mcpLimits.connectMilliseconds });
      return connected;
    } catch (error) {
      await client.close().catch(() => {});
      await transport.close().catch(() => {});
      const stderr = transport instanceof StdioTransport ? transport.stderr.slice(-1_000) : "";
      if (stderr === "") throw error;
      const said = `${describe(error)}. It wrote: ${stderr}`;
      throw error instanceof ProtocolError ? new ProtocolError(error.code, said) : new McpConnectionError(said, { cause: error });
    }
  }
}

/** How long a call has been without a word of progress, while its server did not wait for Kelpie. */
class Silence {
  readonly #clock: Clock;
  readonly #requests: ServerRequests;
  readonly #controller = new AbortController();
  #cancel: Cancel = () => {};

  constructor(clock: Clock, requests: ServerRequests) {
    this.#clock = clock;
    this.#requests = requests;
    this.begin();
  }

  /** Aborts when it has been too long. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  begin(): void {
    this.#cancel();
    const since = this.#clock.elapsed();
    this.#cancel = this.#clock.schedule(mcpLimits.callMilliseconds, () => {
      if (this.#requests.wasWaiting(since)) this.begin();
      else this.#controller.abort();
    });
  }

  end(): void {
    this.#cancel();
  }
}

function openTransport(config: McpServerConfig, authorization: OAuthProvider | undefined): Transport {
  if (config.mcp_server_type === "stdio") return new StdioTransport(config);
  const { auth_header, auth_token, custom_headers } = config;
  const headers: Record<string, string> = { ...custom_headers };
  if (auth_token) headers[auth_header || "Authorization"] = auth_header ? auth_token : `Bearer ${auth_token.replace(/^Bearer /i, "")}`;
  const url = new URL(config.server_url);
  const options = {
    requestInit: { headers },
    // Who has a token of its owner's needs no other.
    ...(authorization === undefined || auth_token
      ? { fetch: mcpFetch(config.server_url) }
      : { fetch: authorization.fetch, authProvider: authorization }),
  };
  return config.mcp_server_type === "sse" ? new SSEClientTransport(url, options) : new HttpTransport(url, options);
}

function describePlace(config: McpServerConfig): string {
  return config.mcp_server_type === "stdio" ? `the program ${config.command}` : config.server_url;
}
