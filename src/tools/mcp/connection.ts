/** One connection to an MCP server, made when it is needed (P1). */
import {
  type CallToolResult,
  Client,
  SdkError,
  SdkErrorCode,
  SdkHttpError,
  SSEClientTransport,
  StreamableHTTPClientTransport,
  type Tool,
  type Transport,
} from "@modelcontextprotocol/client";
import type { Cancel, Environment } from "../../environment/environment.ts";
import { OutcomeUnknownError } from "../tool.ts";
import { effectIdMeta, McpConnectionError, mcpLimits, type McpServerConfig, type McpToolInfo } from "./mcp.ts";
import { StdioTransport } from "./stdio-transport.ts";

export interface McpCall {
  readonly tool: string;
  readonly arguments: { readonly [name: string]: unknown };
  readonly effectId: string;
  readonly signal: AbortSignal;
}

interface Connected {
  readonly client: Client;
  readonly transport: Transport;
  /** Of the tools, until the server says that they have changed. */
  tools: Promise<readonly McpToolInfo[]> | undefined;
  uses: number;
}

export class McpConnection {
  readonly #name: string;
  readonly #config: McpServerConfig;
  readonly #environment: Environment;
  #connected: Promise<Connected> | undefined;
  #current: Connected | undefined;
  #stopIdling: Cancel = () => {};
  #failures = 0;
  #retryAt = 0;
  #isClosed = false;
  /** Which versions are tried. A program may never answer to what it does not know, so the older ones come first there. */
  readonly #mode: "legacy" | "auto";

  /** `name` is what people call the server. */
  constructor(name: string, config: McpServerConfig, environment: Environment) {
    this.#name = name;
    this.#config = config;
    this.#environment = environment;
    this.#mode = config.mcp_server_type === "streamable_http" ? "auto" : "legacy";
  }

  /** What the server offers now. @throws {McpConnectionError} */
  async tools(): Promise<readonly McpToolInfo[]> {
    return await this.#using(async (connected) => {
      connected.tools ??= this.#list(connected.client);
      try {
        return await connected.tools;
      } catch (error) {
        connected.tools = undefined;
        throw new McpConnectionError(`${this.#title} did not list its tools: ${describe(error)}`, { cause: error });
      }
    });
  }

  /** @throws {McpConnectionError} Certainly without effect. @throws {OutcomeUnknownError} @throws The reason of the signal. */
  async call({ tool, arguments: input, effectId, signal }: McpCall): Promise<CallToolResult> {
    return await this.#using(async ({ client }) => {
      try {
        return await client.callTool(
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
        if (isLost(error)) throw new OutcomeUnknownError(`${this.#title} gave no answer to ${tool}: ${describe(error)}`, { cause: error });
        throw error;
      }
    });
  }

  /** Ends the connection, and what it started. Later calls are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopIdling();
    const connected = await this.#connected?.catch(() => undefined);
    this.#leave(connected);
    await connected?.client.close().catch(() => {});
  }

  get #title(): string {
    return `The MCP server ${this.#name}`;
  }

  async #using<T>(work: (connected: Connected) => Promise<T>): Promise<T> {
    this.#stopIdling();
    const connected = await (this.#connected ??= this.#connect());
    connected.uses++;
    try {
      return await work(connected);
    } catch (error) {
      // A server that was started again knows nothing of the session: the next call begins a new one.
      if (error instanceof SdkHttpError) this.#leave(connected);
      throw error;
    } finally {
      connected.uses--;
      this.#whenUnused(connected);
    }
  }

  #whenUnused(connected: Connected): void {
    if (connected.uses > 0) return;
    if (this.#current !== connected) void connected.client.close().catch(() => {});
    else this.#stopIdling = this.#environment.clock.schedule(mcpLimits.idleMilliseconds, () => this.#leave(connected));
  }

  /** Later calls make a new connection; this one ends with the last call that uses it. */
  #leave(connected: Connected | undefined): void {
    if (connected === undefined || this.#current !== connected) return;
    this.#current = undefined;
    this.#connected = undefined;
    if (connected.uses === 0) void connected.client.close().catch(() => {});
  }

  async #connect(): Promise<Connected> {
    const { clock } = this.#environment;
    try {
      if (this.#isClosed) throw new McpConnectionError(`${this.#title} is not used any more`);
      await clock.sleep(Math.max(0, this.#retryAt - clock.elapsed()));
      const connected = await this.#open();
      this.#failures = 0;
      this.#current = connected;
      return connected;
    } catch (error) {
      const { retryMillisecondsFirst: first, retryMillisecondsMost: most } = mcpLimits;
      this.#retryAt = clock.elapsed() + Math.min(most, first * 2 ** this.#failures++);
      this.#connected = undefined;
      throw error;
    }
  }

  async #open(): Promise<Connected> {
    const transport = openTransport(this.#config);
    const client = new Client(
      { name: "kelpie", version: "1" },
      {
        versionNegotiation: { mode: this.#mode },
        listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => void (connected.tools = undefined) } },
      },
    );
    const connected: Connected = { client, transport, tools: undefined, uses: 0 };
    Object.assign(client, {
      onclose: () => this.#leave(connected),
      onerror: (error: Error) => {
        this.#environment.log.write("debug", "An MCP connection had an error", { server: this.#name, error });
        // A stream that broke is opened again by itself, to a server that knows nothing of the session.
        if (this.#config.mcp_server_type === "sse") this.#leave(connected);
      },
    });
    try {
      await client.connect(transport, { timeout: mcpLimits.connectMilliseconds });
      return connected;
    } catch (error) {
      await client.close().catch(() => {});
      await transport.close().catch(() => {});
      const said = transport instanceof StdioTransport && transport.stderr !== "" ? `. It wrote: ${transport.stderr.slice(-1_000)}` : "";
      throw new McpConnectionError(`${this.#title} cannot be reached (${describePlace(this.#config)}): ${describe(error)}${said}`, {
        cause: error,
      });
    }
  }

  async #list(client: Client): Promise<readonly McpToolInfo[]> {
    const { tools } = await client.listTools(undefined, { timeout: mcpLimits.connectMilliseconds });
    if (tools.length > mcpLimits.toolsPerServer)
      throw new McpConnectionError(`it has ${tools.length} tools, and at most ${mcpLimits.toolsPerServer} are taken`);
    const names = new Set<string>();
    return tools.flatMap((tool) => {
      const fault = names.has(tool.name) ? "a second tool has its name" : faultOf(tool);
      names.add(tool.name);
      if (fault === undefined) return [toInfo(tool)];
      this.#environment.log.write("warn", "A tool of an MCP server is left out", {
        server: this.#name,
        tool: tool.name.slice(0, 100),
        fault,
      });
      return [];
    });
  }
}

function openTransport(config: McpServerConfig): Transport {
  if (config.mcp_server_type === "stdio") return new StdioTransport(config);
  const { auth_header, auth_token, custom_headers } = config;
  const headers: Record<string, string> = { ...custom_headers };
  if (auth_token) headers[auth_header || "Authorization"] = auth_header ? auth_token : `Bearer ${auth_token.replace(/^Bearer /i, "")}`;
  const url = new URL(config.server_url);
  return config.mcp_server_type === "sse"
    ? new SSEClientTransport(url, { requestInit: { headers } })
    : new StreamableHTTPClientTransport(url, { requestInit: { headers } });
}

/** What makes a tool one that no agent can have. */
function faultOf({ name, inputSchema }: Tool): string | undefined {
  if (name === "" || name.length > 1_000) return "its name is empty or too long";
  if ((inputSchema as { type?: unknown }).type !== "object") return "its parameters are no object";
  const bytes = Buffer.byteLength(JSON.stringify(inputSchema));
  return bytes > mcpLimits.schemaBytes ? `its schema has ${bytes} bytes, and at most ${mcpLimits.schemaBytes} are taken` : undefined;
}

function toInfo({ name, description = "", inputSchema, annotations }: Tool): McpToolInfo {
  const { readOnlyHint, idempotentHint } = annotations ?? {};
  return {
    name,
    description: description.slice(0, mcpLimits.descriptionCharacters).toWellFormed(),
    inputSchema,
    annotations: { ...(readOnlyHint === undefined ? {} : { readOnlyHint }), ...(idempotentHint === undefined ? {} : { idempotentHint }) },
  };
}

/** Whether the request may have arrived without an answer coming back. */
function isLost(error: unknown): boolean {
  if (!(error instanceof SdkError)) return error instanceof TypeError || (error as { code?: unknown }).code === "ECONNRESET";
  return [SdkErrorCode.RequestTimeout, SdkErrorCode.ConnectionClosed].includes(error.code as SdkErrorCode);
}

function describePlace(config: McpServerConfig): string {
  return config.mcp_server_type === "stdio" ? `the program ${config.command}` : config.server_url;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return `${error.message}${cause}`.slice(0, 500);
}
