/** The tools that one agent has in one run, by name. */
import type { Json } from "../base/json.ts";
import type { ToolDefinition } from "../models/model.ts";
import { readPolicies } from "../tools/policy-record.ts";
import { actionFor, type CallLimit, limitFor, mayAsk, type PolicyAction, strictest } from "../tools/tool-policy.ts";
import { readTools } from "../tools/tool-record.ts";
import { requiresApproval } from "../tools/tool-rules.ts";
import type { Tool, ToolInput } from "../tools/tool.ts";
import type { AgentRecord } from "./agent.ts";
import { openSecrets, type Secrets } from "./agent-secrets.ts";
import { toolIdentity } from "./approval.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";

export interface AgentTool {
  readonly definition: ToolDefinition;
  /** Absent for a tool that the client executes. */
  readonly tool: Tool | undefined;
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
    readTools(store, address.project, agent.tool_ids),
    readPolicies(store, address.project, agent.id),
  ]);
  const lists = [policies.project.rules, policies.agent.rules];
  const approvalMilliseconds = policies.project.approval_seconds * 1_000;
  let opened: Secrets | undefined;
  const secrets = (): Secrets => (opened ??= openSecrets(environment, address.project, agent));
  const all = new Map<string, AgentTool>();
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
      tool: tools.resolve(record),
      identity: () => toolIdentity(record),
      mayAsk: always === "ask" || mayAsk(lists, name),
      action: (input) => strictest([always, actionFor(lists, name, input)]),
      limit: limitFor(policies.project.limits, name),
      approvalMilliseconds,
      returnCharactersMax: record.return_char_limit,
      secrets,
    });
  }
  return all;
}

/** Gives a run's client tools the precedence over the agent's own that Letta gives them. */
export function withClientTools(tools: AgentTools, clientTools: readonly ToolDefinition[]): AgentTools {
  if (clientTools.length === 0) return tools;
  const all = new Map(tools);
  for (const definition of clientTools)
    all.set(definition.name, {
      definition,
      tool: undefined,
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
