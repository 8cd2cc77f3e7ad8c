/** One connection to an MCP server, made when it is needed (P1). */
import {
  type CallToolResult,
  Client,
  type ElicitRequest,
  type ElicitResult,
  ProtocolError,
  SdkHttpError,
  SSEClientTransport,
  type Transport,
} from "@modelcontextprotocol/client";
import { SecretMask } from "../../base/secret-mask.ts";
import type { Cancel, Environment } from "../../environment/environment.ts";
import { OutcomeUnknownError } from "../tool.ts";
import { effectIdMeta, McpConnectionError, mcpLimits, type McpServerConfig, type McpToolInfo } from "./mcp.ts";
import { authorizationIn, describe, httpErrorIn, isLost, isUnknownToServer, isUnsent } from "./call-errors.ts";
import { HttpTransport } from "./http-transport.ts";
import { maskMessages } from "./masked-messages.ts";
import { mcpFetch } from "./mcp-fetch.ts";
import type { OAuthProvider } from "./oauth-provider.ts";
import { type OfferedTool, offeredTools } from "./offered-tools.ts";
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
  /** Answers what a server asks a person in the middle of a call. Absent: servers are told that nobody can be asked. */
  readonly elicit?: Elicit | undefined;
}

export type Elicit = (server: string, question: ElicitRequest["params"]) => Promise<ElicitResult>;

export interface McpCall {
  readonly tool: string;
  readonly arguments: { readonly [name: string]: unknown };
  readonly effectId: string;
  readonly signal: AbortSignal;
  /** Looks at the tool as the server offers it now, `undefined` if it does not: a text says why it is not called. */
  readonly refusal: (offered: McpToolInfo | undefined) => string | undefined;
}

interface Connected {
  readonly client: Client;
  readonly transport: Transport;
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
  #mask: SecretMask | undefined;
  #secretsMasked = 0;

  constructor(options: McpConnectionOptions) {
    this.#options = options;
    options.environment.log.hide(options.secrets);
    this.#mode = options.config.mcp_server_type === "streamable_http" ? "auto" : "legacy";
  }

  /** What the server offers now. @throws {McpConnectionError} */
  async tools(): Promise<readonly McpToolInfo[]> {
    return await this.#using(async (connected) => (await this.#offered(connected)).map(({ info }) => info));
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

  async #call(connected: Connected, { tool, arguments: input, effectId, signal, refusal }: McpCall): Promise<CallToolResult> {
    // Of this connection: a server that was started again may offer something else under the same name (P2).
    const offered = (await this.#offered(connected)).find(({ info }) => info.name === tool);
    const refused = refusal(offered?.info);
    if (refused !== undefined) return { isError: true, content: [{ type: "text", text: refused }] };
    try {
      return await offered!.call(
        connected.client,
        { name: tool, arguments: { ...input }, _meta: { [effectIdMeta]: effectId } },
        {
          signal,
          timeout: mcpLimits.callMilliseconds,
          maxTotalTimeout: mcpLimits.callMillisecondsMax,
          resetTimeoutOnProgress: true,
          onprogress: () => {},
        },
      );
    } catch (error) {
      signal.throwIfAborted();
      if (isUnsent(error)) throw new McpConnectionError(`${this.#title} cannot be reached: ${describe(error)}`, { cause: error });
      if (isLost(error)) throw new OutcomeUnknownError(`${this.#title} gave no answer to ${tool}: ${describe(error)}`, { cause: error });
      if (error instanceof SdkHttpError)
        throw new McpConnectionError(`${this.#title} refused the call: ${describe(error)}`, { cause: error });
      throw authorizationIn(error) ?? error;
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
    const { name, config, environment, authorization, elicit } = this.#options;
    const transport = openTransport(config, authorization);
    maskMessages(transport, () => this.mask);
    const client = new Client(
      { name: "kelpie", version: "1" },
      {
        versionNegotiation: { mode: this.#mode },
        capabilities: elicit === undefined ? {} : { elicitation: { form: { applyDefaults: true } } },
        // A server's schemas are not run on what it says: their patterns could take for ever, and a model reads texts.
        jsonSchemaValidator: { getValidator: () => (data) => ({ valid: true, data: data as never, errorMessage: undefined }) },
        listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => void (connected.tools = undefined) } },
      },
    );
    if (elicit !== undefined) client.setRequestHandler("elicitation/create", async ({ params }) => await elicit(name, params));
    const connected: Connected = { client, transport, tools: undefined, uses: 0 };
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
