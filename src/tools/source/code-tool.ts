/** What tools that run code have in common. */
import type { Json } from "../../base/json.ts";
import type { CommandResult } from "../../sandbox/run-command.ts";
import type { OutsideTool, OutsideToolContext, ToolResult } from "../tool.ts";
import type { ToolRecord } from "../tool-record.ts";

/** Of each stream, for whoever runs a tool over the API. */
const outputCharactersKept = 10_000;

/** A tool whose owner's word on its effect comes first. */
export function toolOf(record: ToolRecord, effect: OutsideTool["effect"], execute: OutsideTool["execute"]): OutsideTool {
  const declared = record.metadata_["effect"];
  const known = declared === "readOnly" || declared === "idempotent" || declared === "once" ? declared : undefined;
  const { name, description } = record;
  return { name, description: description ?? "", parameters: parametersOf(record), effect: known ?? effect, execute };
}

export function parametersOf(record: ToolRecord): Json {
  return (record.json_schema["parameters"] ?? { type: "object", properties: {} }) as Json;
}

export function outputOf({ stdout, stderr }: Pick<CommandResult, "stdout" | "stderr">): Pick<ToolResult, "stdout" | "stderr"> {
  return { stdout: endOf(stdout), stderr: endOf(stderr) };
}

function endOf(bytes: Buffer): string {
  return bytes.toString("utf8").slice(-outputCharactersKept).toWellFormed();
}

/** What code has in its environment: the agent's secrets, and what the call is, also by Letta's names. */
export function variablesOf({ id }: ToolRecord, { effectId, agentId, secrets }: OutsideToolContext): Readonly<Record<string, string>> {
  return { ...secrets, KELPIE_EFFECT_ID: effectId, KELPIE_AGENT_ID: agentId, LETTA_AGENT_ID: agentId, LETTA_TOOL_ID: id };
}
