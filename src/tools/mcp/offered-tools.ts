/** What a server offers to be called: its tools, and its resources and prompts as tools that read them. */
import type { CallToolResult, Client, ContentBlock, RequestOptions, Tool } from "@modelcontextprotocol/client";
import { mcpLimits, type McpToolInfo } from "./mcp.ts";
import { faultOfSchema } from "./schema-fault.ts";

export interface OfferedTool {
  readonly info: McpToolInfo;
  call(client: Client, request: ToolRequest, options: RequestOptions): Promise<CallToolResult>;
}

export type ToolRequest = Parameters<Client["callTool"]>[0];

/** `leaveOut` is told of tools that no agent can have. */
export async function offeredTools(client: Client, leaveOut: (tool: string, fault: string) => void): Promise<readonly OfferedTool[]> {
  const { tools } = await client.listTools(undefined, { timeout: mcpLimits.connectMilliseconds });
  if (tools.length > mcpLimits.toolsPerServer)
    throw new Error(`it has ${tools.length} tools, and at most ${mcpLimits.toolsPerServer} are taken`);
  const offered = new Map<string, OfferedTool>();
  for (const tool of tools) {
    const fault = offered.has(tool.name) ? "a second tool has its name" : faultOf(tool);
    if (fault === undefined) offered.set(tool.name, { info: toInfo(tool), call: callTool });
    else leaveOut(tool.name, fault);
  }
  const { resources, prompts } = client.getServerCapabilities() ?? {};
  const readers = [...(resources === undefined ? [] : resourceTools), ...(prompts === undefined ? [] : promptTools)];
  // A tool of the server's own that is called the same comes first.
  for (const reader of readers) if (!offered.has(reader.info.name)) offered.set(reader.info.name, reader);
  return [...offered.values()];
}

async function callTool(client: Client, request: ToolRequest, options: RequestOptions): Promise<CallToolResult> {
  return await client.callTool(request, options);
}

const resourceTools: readonly OfferedTool[] = [
  reader(
    "list_resources",
    "Lists what this server has to read, and the forms of addresses that it understands.",
    {},
    async (client, _, options) => {
      const [{ resources }, { resourceTemplates }] = [
        await client.listResources(undefined, options),
        await client.listResourceTemplates(undefined, options).catch(() => ({ resourceTemplates: [] })),
      ];
      return [
        ...resources.map(({ uri, name, description }) => text(`${uri} ${name}${suffix(description)}`)),
        ...resourceTemplates.map(({ uriTemplate, name, description }) => text(`${uriTemplate} ${name}${suffix(description)}`)),
      ];
    },
  ),
  reader(
    "read_resource",
    "Reads a resource of this server.",
    { uri: { type: "string", description: "Its address, as list_resources or a result of another tool gives it." } },
    async (client, input, options) => {
      const { contents } = await client.readResource({ uri: String(input["uri"]) }, options);
      return contents.map((resource) => ({ type: "resource", resource }));
    },
  ),
];

const promptTools: readonly OfferedTool[] = [
  reader("list_prompts", "Lists the prompts of this server: texts that it has prepared for tasks.", {}, async (client, _, options) => {
    const { prompts } = await client.listPrompts(undefined, options);
    return prompts.map(({ name, description, arguments: fields = [] }) =>
      text(`${name}(${fields.map((field) => (field.required === true ? field.name : `${field.name}?`)).join(", ")})${suffix(description)}`),
    );
  }),
  reader(
    "get_prompt",
    "Reads a prompt of this server.",
    {
      name: { type: "string", description: "Its name, as list_prompts gives it." },
      arguments: { type: "object", additionalProperties: { type: "string" }, description: "Its arguments, as texts. Leave out for none." },
    },
    async (client, input, options) => {
      const given = Object.entries((input["arguments"] ?? {}) as Record<string, unknown>).map(
        ([name, value]) => [name, String(value)] as const,
      );
      const { messages } = await client.getPrompt({ name: String(input["name"]), arguments: Object.fromEntries(given) }, options);
      return messages.flatMap(({ role, content }) => [text(`${role}:`), content]);
    },
  ),
];

/** A tool of Kelpie's own that asks the server by another method. Its first argument is required. */
function reader(
  name: string,
  description: string,
  properties: { readonly [name: string]: object },
  read: (client: Client, input: { readonly [name: string]: unknown }, options: RequestOptions) => Promise<ContentBlock[]>,
): OfferedTool {
  const required = Object.keys(properties).slice(0, 1);
  return {
    info: { name, description, inputSchema: { type: "object", properties, required }, annotations: { readOnlyHint: true } },
    async call(client, request, options) {
      const content = await read(client, request.arguments ?? {}, options);
      return { content: content.length === 0 ? [text("There is none.")] : content };
    },
  };
}

/** What makes a tool one that no agent can have. */
function faultOf({ name, inputSchema }: Tool): string | undefined {
  if (name === "" || name.length > mcpLimits.nameCharacters) return "its name is empty or too long";
  if ((inputSchema as { type?: unknown }).type !== "object") return "its parameters are no object";
  const bytes = Buffer.byteLength(JSON.stringify(inputSchema));
  if (bytes > mcpLimits.schemaBytes) return `its schema has ${bytes} bytes, and at most ${mcpLimits.schemaBytes} are taken`;
  return faultOfSchema(inputSchema);
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

function text(value: string): ContentBlock {
  return { type: "text", text: value };
}

function suffix(description: string | undefined): string {
  return description === undefined ? "" : `: ${description}`;
}
