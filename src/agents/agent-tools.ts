/** The tools that one agent has in one run, by name. */
import type { Json } from "../base/json.ts";
import type { ToolDefinition } from "../models/model.ts";
import { Transaction } from "../storage/transaction.ts";
import { readPolicies } from "../tools/policy-record.ts";
import { withReconcileTool } from "../tools/reconcile-tool.ts";
import { actionFor, type CallLimit, limitFor, mayAsk, type PolicyAction, strictest } from "../tools/tool-policy.ts";
import { findToolByName, isBuiltIn, returnCharactersDefault } from "../tools/tool-record.ts";
import { requiresApproval } from "../tools/tool-rules.ts";
import { searchToolsName, toolSearch } from "../tools/tool-search.ts";
import type { Tool, ToolInput } from "../tools/tool.ts";
import type { AgentRecord } from "./agent.ts";
import { openSecrets, type Secrets } from "./agent-secrets.ts";
import { toolIdentity } from "./approval.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";

/**
 * An agent with more tools is shown those that it searches for (shown-tools.ts). Models are known to choose worse from more than
 * 30 to 50; OpenAI refuses a request with more than 128.
 */
export const toolsShownMax = 50;

export interface AgentTool {
  readonly definition: ToolDefinition;
  /** Absent for a tool that the client executes. */
  readonly tool: Tool | undefined;
  /** Whether the model is shown it only after it was found or called. */
  readonly isFoundBySearch: boolean;
  /** What an approval of a call is bound to, beside its arguments. */
  identity(): string;
  /** Whether some calls wait for a person's decision, or for the client's result. */
  readonly mayAsk: boolean;
  /** What the policies say of a call. */
  action(input: ToolInput): PolicyAction;
  readonly limit: CallLimit | undefined;
  /** How long a call that was asked for may be approved. */
  readonly approvalMilliseconds: number;
  readonly returnCharactersMax: number;
  /** Of the agent, by the names of the variables that code has them in. @throws {SealError} */
  secrets(): Secrets;
}

export type AgentTools = ReadonlyMap<string, AgentTool>;

type Environment = Pick<ConversationEnvironment, "store" | "tools" | "address" | "sealingKey" | "environment">;

export async function readAgentTools(environment: Environment, agent: AgentRecord): Promise<AgentTools> {
  const { store, tools, address } = environment;
  const [records, policies] = await Promise.all([
    tools.read(store, address.project, agent.tool_ids),
    readPolicies(store, address.project, agent.id),
  ]);
  const lists = [policies.project.rules, policies.agent.rules];
  const approvalMilliseconds = policies.project.approval_seconds * 1_000;
  let opened: Secrets | undefined;
  const secrets = (): Secrets => (opened ??= openSecrets(environment, address.project, agent));
  const find = async (name: string): Promise<Tool | undefined> => {
    const record = await findToolByName(new Transaction(store), address.project, name);
    return record && tools.resolve(record);
  };
  const all = new Map<string, AgentTool>();
  // An agent that brings a tool of that name is shown all that it has.
  const hasSearch = records.length > toolsShownMax && !records.some(({ name }) => name === searchToolsName);
  for (const record of records) {
    const { name } = record;
    const always: PolicyAction = requiresApproval(agent.tool_rules, name) ? "ask" : "allow";
    const { parameters, strict } = record.json_schema as { readonly parameters?: Json; readonly strict?: Json };
    all.set(name, {
      definition: {
        name,
        description: record.description ?? "",
        parameters: parameters ?? { type: "object", properties: {} },
        ...(typeof strict === "boolean" ? { strict } : {}),
      },
      tool: withReconcileTool(record, tools.resolve(record), find),
      isFoundBySearch: hasSearch && !isBuiltIn(record),
      identity: () => toolIdentity(record),
      mayAsk: always === "ask" || mayAsk(lists, name),
      action: (input) => strictest([always, actionFor(lists, name, input)]),
      limit: limitFor(policies.project.limits, name),
      approvalMilliseconds,
      returnCharactersMax: record.return_char_limit,
      secrets,
    });
  }
  if (hasSearch) {
    const searchable = records.filter((record) => !isBuiltIn(record));
    const tool = toolSearch(
      searchable.map(({ name }) => name),
      () => tools.indexOf(searchable),
    );
    all.set(tool.name, searchEntry(tool));
  }
  return all;
}

/** It shows an agent what its owner gave it, so no policy is asked. */
function searchEntry(tool: Tool): AgentTool {
  const { name, description, parameters } = tool;
  return {
    definition: { name, description, parameters },
    tool,
    isFoundBySearch: false,
    identity: () => name,
    mayAsk: false,
    action: () => "allow",
    limit: undefined,
    approvalMilliseconds: Infinity,
    returnCharactersMax: returnCharactersDefault,
    secrets: () => ({}),
  };
}

/** Gives a run's client tools the precedence over the agent's own that Letta gives them. */
export function withClientTools(tools: AgentTools, clientTools: readonly ToolDefinition[]): AgentTools {
  if (clientTools.length === 0) return tools;
  const all = new Map(tools);
  for (const definition of clientTools)
    all.set(definition.name, {
      definition,
      tool: undefined,
      isFoundBySearch: false,
      identity: () => "client",
      mayAsk: true,
      action: () => "ask",
      limit: undefined,
      // A client's result is waited for as long as it takes.
      approvalMilliseconds: Infinity,
      returnCharactersMax: 0,
      secrets: () => ({}),
    });
  return all;
}
