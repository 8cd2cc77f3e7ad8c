/** What is kept of a tool that was taken of an MCP server: whose it is, and what its owner saw of it (P2). */
import { createHash } from "node:crypto";
import type { Json } from "../../base/json.ts";
import type { Environment } from "../../environment/environment.ts";
import type { EffectClass } from "../tool.ts";
import { newTool, type ToolRecord } from "../tool-record.ts";
import type { McpToolInfo } from "./mcp.ts";
import type { McpServerRecord } from "./server-record.ts";
import { mcpToolName } from "./tool-name.ts";

/** Whose tool a record is, in its `metadata_`. */
export interface Origin {
  readonly server_id: string;
  readonly server_name: string;
  /** The server's own name for it. */
  readonly tool_name: string;
  /** Of what its owner took (P2). */
  readonly pin: string;
  readonly effect: Exclude<EffectClass, "state">;
}

/** The record of a tool as its server describes it. */
export function toRecord(environment: Environment, server: McpServerRecord, info: McpToolInfo): ToolRecord {
  const name = mcpToolName(server.server_name, info.name);
  const { readOnlyHint, idempotentHint } = info.annotations;
  const effect = readOnlyHint === true ? "readOnly" : idempotentHint === true ? "idempotent" : "once";
  const origin: Origin = { server_id: server.id, server_name: server.server_name, tool_name: info.name, pin: pinOf(info), effect };
  const json_schema = { name, description: info.description, parameters: info.inputSchema as Json };
  return {
    ...newTool(environment, { json_schema, source_type: "json", tags: [`mcp:${server.server_name}`] }),
    tool_type: "external_mcp",
    source_type: null,
    metadata_: { mcp: { ...origin } },
  };
}

/** Undefined for tools of another kind. */
export function originOf(record: ToolRecord): Origin | undefined {
  return record.tool_type === "external_mcp" ? (record.metadata_["mcp"] as Origin | undefined) : undefined;
}

/** Of all that a model and an owner are told of a tool. */
export function pinOf({ name, description, inputSchema, annotations }: McpToolInfo): string {
  return createHash("sha256")
    .update(JSON.stringify([name, description, inputSchema, annotations]))
    .digest("hex");
}
