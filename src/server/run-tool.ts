/** Runs a tool of an agent for a client, outside of any run. */
import { callTool } from "../agents/call-tool.ts";
import type { ConversationAddress } from "../agents/conversation.ts";
import type { Json } from "../base/json.ts";
import { transact } from "../storage/transaction.ts";
import type { ToolRecord } from "../tools/tool-record.ts";
import type { StateTool, StateToolContext, ToolResult } from "../tools/tool.ts";
import { validateArguments } from "../tools/validate-arguments.ts";
import type { Services } from "./services.ts";

export interface ToolRun {
  readonly project: string;
  readonly agentId: string;
  readonly record: ToolRecord;
  readonly args: { readonly [name: string]: Json };
  readonly secrets?: { readonly [name: string]: string };
}

/** Letta's ToolExecutionResult. What goes wrong is a result too. */
export async function runTool(services: Services, run: ToolRun, signal: AbortSignal): Promise<Record<string, unknown>> {
  const result = await execute(services, run, signal);
  return {
    status: result.status,
    func_return: result.text,
    stdout: linesOf(result.stdout),
    stderr: linesOf(result.stderr),
    agent_state: null,
    sandbox_config_fingerprint: null,
  };
}

/** Null: it is no code. */
function linesOf(written: string | undefined): readonly string[] | null {
  if (written === undefined) return null;
  return written === "" ? [] : [written];
}

async function execute(services: Services, run: ToolRun, signal: AbortSignal): Promise<ToolResult> {
  const { project, agentId, record, args } = run;
  const tool = services.tools.resolve(record);
  const address: ConversationAddress = { project, agentId, conversationId: "default" };
  if (tool.effect === "state") return await executeInTransaction(services, address, tool, args);
  const effectId = `effect-${services.environment.random.uuid()}`;
  const call = { tool_call_id: effectId, name: record.name, arguments: JSON.stringify(args) };
  const { result, written } = await callTool(
    { environment: services.environment, address },
    tool,
    { returnCharactersMax: record.return_char_limit, secrets: () => run.secrets ?? {} },
    { call, effectId },
    signal,
  );
  return { ...written, status: result.status, text: result.tool_return };
}

async function executeInTransaction(
  { store, environment }: Services,
  address: ConversationAddress,
  tool: StateTool,
  args: ToolRun["args"],
): Promise<ToolResult> {
  const parsed = validateArguments(JSON.stringify(args), tool.parameters);
  if (!parsed.ok) return { status: "error", text: parsed.error };
  // Only an actor's turn can send.
  const sendToAgent: StateToolContext["sendToAgent"] = async () => ({ refused: "An agent sends messages to others in its runs only." });
  return await transact(store, environment, (transaction) =>
    tool.execute(parsed.input, { ...address, transaction, store, environment, sendToAgent }),
  );
}
