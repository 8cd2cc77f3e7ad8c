/** An MCP server over stdio whose calls are counted by `World`, at the address in COUNTER, under the effect ids that they carry. */
import { McpServer, type Tool } from "@modelcontextprotocol/server";
import { StdioServerTransport } from "@modelcontextprotocol/server/stdio";
import { effectIdMeta } from "../../src/tools/mcp/mcp.ts";

const counter = process.env["COUNTER"]!;
const inputSchema: Tool["inputSchema"] = { type: "object", properties: { task: { type: "string" } }, required: ["task"] };
const tools: readonly Tool[] = [
  { name: "once", description: "Counts a call, and says nothing of itself", inputSchema },
  { name: "idempotent", description: "Counts a call", inputSchema, annotations: { idempotentHint: true } },
  { name: "checked", description: "Counts a call, and the next one says whether it did", inputSchema },
  {
    name: "counted",
    description: "Says whether the call with this effect id was counted",
    inputSchema: { type: "object", properties: { effect_id: { type: "string" } }, required: ["effect_id"] },
    annotations: { readOnlyHint: true },
  },
];

const { server } = new McpServer({ name: "counting", version: "1" }, { capabilities: { tools: {} } });
server.setRequestHandler("tools/list", () => ({ tools: [...tools] }));
server.setRequestHandler("tools/call", async ({ params }) => {
  if (params.name === "counted") {
    const answer = await fetch(`${counter}?${new URLSearchParams({ effect: String(params.arguments?.["effect_id"]) })}`);
    return { content: [{ type: "text", text: await answer.text() }] };
  }
  const headers = { "idempotency-key": String(params._meta?.[effectIdMeta]) };
  const body = JSON.stringify({ tool: `counting__${params.name}`, task: params.arguments?.["task"] });
  const answer = await fetch(counter, { method: "POST", headers, body });
  return { content: [{ type: "text", text: await answer.text() }] };
});
await server.connect(new StdioServerTransport());
