/**
 * What the official conformance suite runs against as the server under test: Kelpie's own way to listen, to check who asks, and
 * to answer MCP, with the tools, resources and prompts of the suite in place of agents. Prints its address.
 */
import { McpServer, ResourceNotFoundError } from "@modelcontextprotocol/server";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { accessCheck } from "../../src/server/authentication.ts";
import { errorResponse } from "../../src/server/error-answer.ts";
import { listen } from "../../src/server/listen.ts";
import { mcpEndpoint } from "../../src/server/mcp/mcp-endpoint.ts";
import { prompts, resources, states, tools } from "./conformance-tools.ts";

function server(): McpServer {
  const capabilities = { tools: {}, resources: {}, prompts: {}, completions: {}, logging: {} };
  const mcp = new McpServer({ name: "kelpie-conformance", version: "1" }, { capabilities, requestState: { verify: states.verify } });
  const on = mcp.server;
  on.setRequestHandler("tools/list", () => ({
    tools: Object.entries(tools).map(([name, { inputSchema }]) => ({
      name,
      description: `The suite's ${name}`,
      inputSchema: { ...(inputSchema ?? { properties: {} }), type: "object" as const },
    })),
  }));
  on.setRequestHandler("tools/call", async ({ params }, context) => {
    const tool = tools[params.name];
    if (tool === undefined) throw new Error(`There is no tool ${params.name}`);
    return await tool.call(context);
  });
  on.setRequestHandler("resources/list", () => ({
    resources: Object.entries(resources).map(([uri, { mimeType }]) => ({ uri, name: uri.slice("test://".length), mimeType })),
  }));
  on.setRequestHandler("resources/templates/list", () => ({
    resourceTemplates: [{ name: "template", uriTemplate: "test://template/{id}/data", mimeType: "application/json" }],
  }));
  on.setRequestHandler("resources/read", ({ params: { uri } }) => {
    const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
    if (id !== undefined) return { contents: [{ uri, mimeType: "application/json", text: JSON.stringify({ id, templateTest: true }) }] };
    const content = resources[uri];
    if (content === undefined) throw new ResourceNotFoundError(uri);
    return { contents: [{ uri, ...content }] };
  });
  on.setRequestHandler("prompts/list", () => ({
    prompts: Object.entries(prompts).map(([name, each]) => ({
      name,
      description: `The suite's ${name}`,
      arguments: (each.arguments ?? []).map((argument) => ({ name: argument, required: true })),
    })),
  }));
  on.setRequestHandler("prompts/get", ({ params }, context) => {
    const prompt = prompts[params.name];
    if (prompt === undefined) throw new Error(`There is no prompt ${params.name}`);
    return prompt.get(params.arguments ?? {}, context);
  });
  on.setRequestHandler("completion/complete", ({ params }) => {
    const values = ["test-value-1", "test-value-2"].filter((value) => value.startsWith(params.argument.value));
    return { completion: { values, total: values.length, hasMore: false } };
  });
  return mcp;
}

const environment = new RealEnvironment({ level: "error" });
const closing = new AbortController();
const answer = mcpEndpoint(server, { environment, closing: closing.signal });
const refuses = accessCheck({ loopbackOnly: true });
const fetch = async (request: Request): Promise<Response> => {
  const refusal = refuses(request, new URL(request.url).pathname);
  return refusal === undefined ? await answer(request) : errorResponse(refusal, environment, request);
};
const app = { fetch, callActor: () => undefined, request: async (path: string) => await fetch(new Request(path)), endpoints: [] };
const listening = await listen(app, { host: "127.0.0.1", port: 0, hasKey: false, environment, close: () => closing.abort() });
process.stdout.write(`${listening.url}/mcp\n`);
process.once("SIGTERM", () => void listening.close(1_000));
