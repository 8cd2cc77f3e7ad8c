/** An MCP server over HTTP in the process of a test: it counts calls, and can hold them. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface CountedCall {
  readonly tool: string;
  readonly input: Readonly<Record<string, unknown>>;
}

interface Message {
  readonly id?: number | string;
  readonly method: string;
  readonly params?: { readonly name: string; readonly arguments: CountedCall["input"] };
}

const properties = { to: { type: "string" }, amount: { type: "number" } };

export class CountedMcpServer implements AsyncDisposable {
  readonly calls: CountedCall[] = [];
  /** What the tool says of itself. */
  description = "Pays somebody.";
  /** Each call is answered when this lets it. */
  gate: (call: CountedCall) => Promise<void> = async () => {};
  readonly #server = createServer((request, response) => void this.#handle(request, response));

  static async start(): Promise<CountedMcpServer> {
    const counted = new CountedMcpServer();
    await once(counted.#server.listen(0, "127.0.0.1"), "listening");
    return counted;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/mcp`;
  }

  /** To whom was paid. */
  paid(to?: string): string[] {
    return this.calls.map(({ input }) => String(input["to"])).filter((each) => to === undefined || each === to);
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== "POST") return void response.writeHead(405).end();
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const message = JSON.parse(Buffer.concat(parts).toString("utf8")) as Message;
    if (message.id === undefined) return void response.writeHead(202).end();
    const answer = await this.#answer(message);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...answer }));
  }

  async #answer({ method, params }: Message): Promise<object> {
    switch (method) {
      case "initialize":
        return {
          result: { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "counted", version: "1" } },
        };
      case "tools/list": {
        const inputSchema = { type: "object", properties, required: ["to"] };
        const tool = { description: this.description, inputSchema };
        return {
          result: {
            tools: [
              { ...tool, name: "pay", annotations: { destructiveHint: true } },
              { ...tool, name: "look_up", annotations: { readOnlyHint: true } },
            ],
          },
        };
      }
      case "tools/call": {
        const call: CountedCall = { tool: params!.name, input: params!.arguments };
        this.calls.push(call);
        await this.gate(call);
        return { result: { content: [{ type: "text", text: `paid ${String(call.input["to"])}` }] } };
      }
      default:
        return { error: { code: -32601, message: `No such method: ${method}` } };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}
