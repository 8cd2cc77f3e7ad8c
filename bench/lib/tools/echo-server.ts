/**
 * An MCP server of the SDK's own parts with one tool, which gives back its text after the id of the server's process.
 *
 *     node echo-server.ts stdio
 *     node echo-server.ts http      # writes its port
 */
import { serve } from "@hono/node-server";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { StdioServerTransport } from "@modelcontextprotocol/server/stdio";
import { EventEmitter } from "node:events";
import type { AddressInfo } from "node:net";

// The SDK's stdio transport listens once for each write that waits, and Node would warn of a thousand.
EventEmitter.defaultMaxListeners = 0;

const inputSchema = { type: "object" as const, properties: { text: { type: "string" } }, required: ["text"] };

function echoServer(): McpServer {
  const mcp = new McpServer({ name: "echo", version: "1" }, { capabilities: { tools: {} } });
  mcp.server.setRequestHandler("tools/list", () => ({ tools: [{ name: "echo", description: "Gives the text back", inputSchema }] }));
  mcp.server.setRequestHandler("tools/call", ({ params }) => ({
    content: [{ type: "text" as const, text: `${process.pid} ${String(params.arguments?.["text"])}` }],
  }));
  return mcp;
}

if (process.argv[2] === "stdio") {
  await echoServer().connect(new StdioServerTransport());
} else {
  const handler = createMcpHandler(echoServer);
  const server = serve({ fetch: (request) => handler.fetch(request), port: 0, hostname: "127.0.0.1" });
  server.once("listening", () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
  // Whoever has started it holds its input open.
  process.stdin.resume().once("end", () => process.exit(0));
}
