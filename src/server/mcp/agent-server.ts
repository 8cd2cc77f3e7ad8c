/** Kelpie's agents as a server of the Model Context Protocol: its tools and its resources. */
import { z } from "@hono/zod-openapi";
import { type CallToolResult, McpServer, ProtocolError, ProtocolErrorCode, type ServerContext } from "@modelcontextprotocol/server";
import { effectIdMeta } from "../../tools/mcp/mcp.ts";
import { errorAnswer } from "../error-answer.ts";
import { show } from "../http-error.ts";
import type { Services } from "../services.ts";
import { unprocessableIssues } from "../validation.ts";
import { listResources, readResource, resourceTemplates } from "./agent-resources.ts";
import { type AgentTool, type ToolCaller, type ToolOutput, ToolRefusal } from "./agent-tool.ts";
import { agentTools } from "./agent-tools.ts";
import { mcpEndpoint } from "./mcp-endpoint.ts";
import { sendMessage } from "./send-message.ts";

const effectIdCharactersMax = 200;
/** What does not change while the server runs. */
const listMilliseconds = 300_000;

const instructions =
  "Agents that remember: each has memory blocks, an archive and one long conversation. Find one with list_agents, and talk to it with send_message; it knows what it was told before.";

/** `/mcp`: makes the answer to each request. `closing` aborts when the process stops. */
export function agentsEndpoint(services: Services, project: string, closing: AbortSignal): (request: Request) => Promise<Response> {
  const longTools = new Set([sendMessage.name]);
  return mcpEndpoint(agentServer(services, project, closing), { environment: services.environment, closing, longTools });
}

/** Makes a server for one request. */
function agentServer(services: Services, project: string, closing: AbortSignal): () => McpServer {
  const { environment } = services;
  const tools = [...agentTools.values()].map(({ name, title, description, input, output, annotations }) => ({
    name,
    title,
    description,
    inputSchema: jsonSchema(input),
    ...(output === undefined ? {} : { outputSchema: jsonSchema(output) }),
    annotations,
  }));

  function server(): McpServer {
    const mcp = new McpServer(
      { name: "kelpie", title: "Kelpie", version: "1" },
      {
        instructions,
        // Tools never change, and whoever wants to see new agents lists them again.
        capabilities: { tools: { listChanged: false }, resources: { listChanged: false } },
        cacheHints: { "tools/list": { ttlMs: listMilliseconds }, "resources/templates/list": { ttlMs: listMilliseconds } },
      },
    );
    const on = mcp.server;
    on.setRequestHandler("tools/list", () => ({ tools }));
    on.setRequestHandler("tools/call", async ({ params }, context) => {
      const tool = agentTools.get(params.name);
      if (tool === undefined)
        throw new ProtocolError(
          ProtocolErrorCode.InvalidParams,
          `There is no tool ${show(params.name)}: there are ${[...agentTools.keys()].join(", ")}`,
        );
      try {
        return resultOf(await call(tool, params.arguments ?? {}, callerOf(context, params._meta?.[effectIdMeta])));
      } catch (error) {
        return { isError: true, content: [{ type: "text", text: explain(error) }] };
      }
    });
    on.setRequestHandler("resources/list", async ({ params }) => await listResources(services, project, params?.cursor));
    on.setRequestHandler("resources/templates/list", () => resourceTemplates);
    on.setRequestHandler("resources/read", async ({ params }) => await readResource(services, project, params.uri));
    return mcp;
  }

  async function call(tool: AgentTool, input: object, caller: ToolCaller): Promise<ToolOutput> {
    const checked = tool.input.safeParse(input);
    if (!checked.success) throw unprocessableIssues(checked.error.issues, input, "arguments");
    return await tool.run(services, checked.data as never, caller);
  }

  function callerOf(context: ServerContext, effectId: unknown): ToolCaller {
    const { signal, _meta, notify } = context.mcpReq;
    const progressToken = _meta?.progressToken;
    const request = context.http?.req?.signal;
    let progress = 0;
    return {
      project,
      effectId: typeof effectId === "string" && effectId.length <= effectIdCharactersMax ? effectId : undefined,
      signal: AbortSignal.any([signal, closing, ...(request === undefined ? [] : [request])]),
      progress: async (message) => {
        if (progressToken === undefined) return;
        // Who does not hear it is gone, which `signal` tells.
        await notify({ method: "notifications/progress", params: { progressToken, progress: ++progress, message } }).catch(() => {});
      },
    };
  }

  /** What went wrong, for a model to read. */
  function explain(error: unknown): string {
    if (error instanceof ToolRefusal) return error.message;
    const { status, body } = errorAnswer(error, environment, { method: "POST", url: "/mcp" });
    const {
      detail,
      error: inner,
      trace_id,
    } = JSON.parse(body) as {
      readonly detail?: string;
      readonly error?: { readonly message?: string };
      readonly trace_id?: string;
    };
    return `${detail ?? inner?.message ?? "It failed"}${status === 500 && trace_id !== undefined ? ` (trace ${trace_id})` : ""}`;
  }

  return server;
}

/** What has fields is given twice: for programs, and as text for hosts that know of text alone. */
function resultOf(output: ToolOutput): CallToolResult {
  if (typeof output === "string") return { content: [{ type: "text", text: output }] };
  return { content: [{ type: "text", text: JSON.stringify(output, null, 1) }], structuredContent: { ...output } };
}

function jsonSchema(schema: z.ZodObject): { type: "object" } {
  return z.toJSONSchema(schema, { io: "input" }) as { type: "object" };
}
