/**
 * `/mcp`: Kelpie's agents for hosts that speak the Model Context Protocol, over streamable HTTP, in both of its eras.
 *
 * Nothing is kept between requests, so any node answers any of them.
 */
import { z } from "@hono/zod-openapi";
import { createMcpHandler, McpServer, ProtocolError, ProtocolErrorCode, type ServerContext } from "@modelcontextprotocol/server";
import { effectIdMeta } from "../../tools/mcp/mcp.ts";
import { defaultProject, isOwnPage } from "../authentication.ts";
import { errorAnswer, errorResponse } from "../error-answer.ts";
import { forbidden, show } from "../http-error.ts";
import type { Services } from "../services.ts";
import { unprocessableIssues } from "../validation.ts";
import { listResources, readResource, resourceTemplates } from "./agent-resources.ts";
import { type AgentTool, type ToolCaller, ToolRefusal } from "./agent-tool.ts";
import { agentTools } from "./agent-tools.ts";

/** Room for the longest message in the longest encoding. */
const bodyBytesMax = 8 * 1024 * 1024;
const effectIdCharactersMax = 200;
/** What does not change while the server runs. */
const listMilliseconds = 300_000;

const instructions =
  "Agents that remember: each has memory blocks, an archive and one long conversation. Find one with list_agents, and talk to it with send_message; it knows what it was told before.";

/** Makes the answer to each request. `closing` aborts when the server stops. */
export function mcpEndpoint(services: Services, closing: AbortSignal): (request: Request) => Promise<Response> {
  const { environment } = services;
  const project = defaultProject;
  const tools = [...agentTools.values()].map(({ name, title, description, input, annotations }) => ({
    name,
    title,
    description,
    inputSchema: z.toJSONSchema(input, { io: "input" }) as { type: "object" },
    annotations,
  }));

  function server(): McpServer {
    const mcp = new McpServer(
      { name: "kelpie", title: "Kelpie", version: "1" },
      {
        instructions,
        capabilities: { tools: {}, resources: {} },
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
        const text = await call(tool, params.arguments ?? {}, callerOf(context, params._meta?.[effectIdMeta]));
        return { content: [{ type: "text", text }] };
      } catch (error) {
        return { isError: true, content: [{ type: "text", text: explain(error) }] };
      }
    });
    on.setRequestHandler("resources/list", async ({ params }) => await listResources(services, project, params?.cursor));
    on.setRequestHandler("resources/templates/list", () => resourceTemplates);
    on.setRequestHandler("resources/read", async ({ params }) => await readResource(services, project, params.uri));
    return mcp;
  }

  async function call(tool: AgentTool, input: object, caller: ToolCaller): Promise<string> {
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

  // Always as a stream: its pings keep clients and proxies from giving up on an agent that takes long.
  const handler = createMcpHandler(server, { maxRequestBodySize: bodyBytesMax, responseMode: "sse" });
  closing.addEventListener("abort", () => void handler.close(), { once: true });
  return async (request) => {
    const origin = request.headers.get("origin");
    if (origin !== null && !isOwnPage(origin, request.url))
      return errorResponse(forbidden("Pages of other sites may not use this server's agents"), environment, request);
    return await handler.fetch(request);
  };
}
