/** The tools that one agent has in one run, by name. */
import type { Json } from "../base/json.ts";
import type { ToolDefinition } from "../models/model.ts";
import { readTools } from "../tools/tool-record.ts";
import type { Tool } from "../tools/tool.ts";
import type { AgentRecord } from "./agent.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";

export interface AgentTool {
  readonly definition: ToolDefinition;
  /** Absent for a tool that the client executes. */
  readonly tool: Tool | undefined;
  /** Each call waits: for a person's decision, or for the client's result. */
  readonly needsApproval: boolean;
  readonly returnCharactersMax: number;
  /** Of the agent, by the names of the variables that code has them in. */
  readonly secrets: { readonly [name: string]: string };
}

export type AgentTools = ReadonlyMap<string, AgentTool>;

export async function readAgentTools(
  { store, tools, address }: Pick<ConversationEnvironment, "store" | "tools" | "address">,
  agent: AgentRecord,
): Promise<AgentTools> {
  const all = new Map<string, AgentTool>();
  for (const record of await readTools(store, address.project, agent.tool_ids)) {
    const isRuled = agent.tool_rules.some((rule) => rule.type === "requires_approval" && rule.tool_name === record.name);
    const { parameters, strict } = record.json_schema as { readonly parameters?: Json; readonly strict?: Json };
    all.set(record.name, {
      definition: {
        name: record.name,
        description: record.description ?? "",
        parameters: parameters ?? { type: "object", properties: {} },
        ...(typeof strict === "boolean" ? { strict } : {}),
      },
      tool: tools.resolve(record),
      needsApproval: isRuled,
      returnCharactersMax: record.return_char_limit,
      secrets: agent.secrets,
    });
  }
  return all;
}

/** Gives a run's client tools the precedence over the agent's own that Letta gives them. */
export function withClientTools(tools: AgentTools, clientTools: readonly ToolDefinition[]): AgentTools {
  if (clientTools.length === 0) return tools;
  const all = new Map(tools);
  for (const definition of clientTools)
    all.set(definition.name, { definition, tool: undefined, needsApproval: true, returnCharactersMax: 0, secrets: {} });
  return all;
}
