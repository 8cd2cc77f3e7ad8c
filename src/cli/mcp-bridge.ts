/**
 * `kelpie mcp serve`: standard input and output as a way to the `/mcp` of a running Kelpie, for MCP hosts that start programs.
 *
 * Each message goes on as it is, so both eras of the protocol pass. The bridge keeps nothing but which requests have no answer
 * yet: each of them gets one, also when the server is away, and the next request finds out whether it is back.
 */
import {
  isInitializeRequest,
  isJSONRPCErrorResponse,
  isJSONRPCNotification,
  isJSONRPCRequest,
  isJSONRPCResultResponse,
  type JSONRPCMessage,
  type JSONRPCRequest,
  type RequestId,
  SdkHttpError,
  StreamableHTTPClientTransport,
} from "@modelcontextprotocol/client";
import { StdioServerTransport } from "@modelcontextprotocol/server/stdio";
import { type ApiClient, refusalText, unreachable } from "./api-client.ts";
import type { Program } from "./program.ts";

/** More than the server takes. */
const messageBytesMax = 10 * 1024 * 1024;
const openRequestsMax = 1_000;
/** JSON-RPC leaves these codes to servers for errors of their own. */
const serverError = -32_000;

/** Resolves when the host closes standard input, or a signal comes. */
export async function bridgeMcp(client: ApiClient, program: Program): Promise<void> {
  const { terminal, input } = program;
  if (input.isTTY === true) terminal.note("This speaks MCP with the program that starts it, and has nothing to say to you. Ctrl-D ends it");
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const host = new StdioServerTransport(input, terminal.output, { maxBufferSize: messageBytesMax });
  // An answer that cannot be written has nobody to read it.
  const answer = (message: JSONRPCMessage): void => void host.send(message).catch(() => end());
  const bridge = new Bridge(client, { answer, note: (text) => terminal.note(text) });
  Object.assign(host, {
    onmessage: (message: JSONRPCMessage) => void bridge.forward(message),
    onerror: (error: Error) => terminal.note(`What the MCP host wrote is no message: ${error.message.slice(0, 300)}`),
    onclose: end,
  });
  const offSignal = program.onSignal(() => end());
  await bridge.start();
  await host.start();
  await ended;
  offSignal();
  await bridge.close();
}

class Bridge {
  readonly #client: ApiClient;
  readonly #answer: (message: JSONRPCMessage) => void;
  /** For whoever reads the host's log: hosts do not show every error. */
  readonly #note: (text: string) => void;
  readonly #server: StreamableHTTPClientTransport;
  readonly #open = new Map<RequestId, AbortController>();
  #initialize: RequestId | undefined;

  constructor(client: ApiClient, to: { readonly answer: (message: JSONRPCMessage) => void; readonly note: (text: string) => void }) {
    this.#client = client;
    this.#answer = to.answer;
    this.#note = to.note;
    this.#server = new StreamableHTTPClientTransport(new URL(`${client.url}/mcp`), { requestInit: { headers: client.authorization } });
    Object.assign(this.#server, { onmessage: (message: JSONRPCMessage) => this.#receive(message) });
  }

  async start(): Promise<void> {
    await this.#server.start();
  }

  async close(): Promise<void> {
    for (const request of this.#open.values()) request.abort();
    await this.#server.close();
  }

  /** Never throws: what goes wrong is the answer. */
  async forward(message: JSONRPCMessage): Promise<void> {
    if (isJSONRPCRequest(message)) return await this.#request(message);
    if (isJSONRPCNotification(message) && message.method === "notifications/cancelled")
      return this.#cancel(message.params?.["requestId"] as RequestId | undefined);
    // To the rest there is no answer, not even an error.
    await this.#server.send(message).catch(() => {});
  }

  async #request(request: JSONRPCRequest): Promise<void> {
    if (this.#open.has(request.id)) return this.#fail(request.id, "Another request with this id has no answer yet");
    if (this.#open.size >= openRequestsMax) return this.#fail(request.id, `${openRequestsMax} requests have no answer yet: wait for some`);
    if (isInitializeRequest(request)) this.#initialize = request.id;
    const cancelled = new AbortController();
    this.#open.set(request.id, cancelled);
    try {
      await this.#server.send(request, {
        requestSignal: cancelled.signal,
        onRequestStreamEnd: () => this.#lost(request.id, `The connection to ${this.#client.url} broke before the answer was there`),
      });
    } catch (error) {
      const answer = answerIn(error, request.id);
      if (answer !== undefined) this.#receive(answer);
      else this.#lost(request.id, reasonOf(error, this.#client.url));
    }
  }

  /** In the server's other eras a request is cancelled by its connection, so what a host says of it ends here. */
  #cancel(id: RequestId | undefined): void {
    if (id === undefined) return;
    this.#open.get(id)?.abort();
    this.#open.delete(id);
  }

  #receive(message: JSONRPCMessage): void {
    if (isJSONRPCResultResponse(message) || isJSONRPCErrorResponse(message)) {
      if (message.id === undefined || !this.#open.delete(message.id)) return;
      if (message.id === this.#initialize && isJSONRPCResultResponse(message))
        this.#server.setProtocolVersion(String(message.result["protocolVersion"]));
    }
    this.#answer(message);
  }

  #lost(id: RequestId, reason: string): void {
    if (!this.#open.delete(id)) return;
    this.#note(reason);
    this.#fail(id, reason);
  }

  #fail(id: RequestId, message: string): void {
    this.#answer({ jsonrpc: "2.0", id, error: { code: serverError, message } });
  }
}

/** Some errors of the protocol come with an HTTP status of their own. */
function answerIn(error: unknown, id: RequestId): JSONRPCMessage | undefined {
  if (!(error instanceof SdkHttpError)) return undefined;
  try {
    const message = JSON.parse(bodyOf(error)) as JSONRPCMessage;
    return isJSONRPCErrorResponse(message) ? { ...message, id } : undefined;
  } catch {
    return undefined;
  }
}

function bodyOf({ data }: SdkHttpError): string {
  return typeof data["text"] === "string" ? data["text"] : "";
}

function reasonOf(error: unknown, url: string): string {
  if (error instanceof SdkHttpError && error.status !== undefined) return refusalText(error.status, bodyOf(error)) || error.message;
  return `${unreachable(url, error)}. Start it with npm start, or name another with --server`;
}
