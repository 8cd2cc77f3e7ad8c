import { z } from "@hono/zod-openapi";
import type { Json } from "../../base/json.ts";
import { anyObject, idOf, jsonObject, nullable, optional } from "./common.ts";

export const toolTypes = [
  "custom",
  "letta_core",
  "letta_memory_core",
  "letta_multi_agent_core",
  "letta_sleeptime_core",
  "letta_voice_sleeptime_core",
  "letta_builtin",
  "letta_files_core",
  "external_langchain",
  "external_composio",
  "external_mcp",
] as const;

/** Letta's Tool. */
export const toolSchema: z.ZodType = z
  .object({
    id: idOf("tool"),
    tool_type: z.enum(toolTypes),
    name: nullable(z.string()),
    description: nullable(z.string()),
    source_type: nullable(z.string()),
    source_code: nullable(z.string()),
    json_schema: nullable(anyObject),
    args_json_schema: nullable(anyObject),
    tags: z.array(z.string()),
    return_char_limit: z.int(),
    pip_requirements: nullable(z.array(z.object({ name: z.string(), version: nullable(z.string()).optional() }))),
    npm_requirements: nullable(z.array(z.object({ name: z.string(), version: nullable(z.string()).optional() }))),
    default_requires_approval: nullable(z.boolean()),
    enable_parallel_execution: nullable(z.boolean()),
    metadata_: nullable(anyObject),
    project_id: nullable(z.string()),
    created_by_id: nullable(z.string()),
    last_updated_by_id: nullable(z.string()),
  })
  .openapi("Tool");

export const toolRunBody: z.ZodType<{ readonly args?: { readonly [name: string]: Json } | null | undefined }> = z
  .object({ args: optional(jsonObject) })
  .openapi("ToolExecuteRequest");

export const toolResultSchema: z.ZodType = z
  .object({
    status: z.enum(["success", "error"]),
    func_return: z.unknown(),
    stdout: nullable(z.array(z.string())),
    stderr: nullable(z.array(z.string())),
    agent_state: z.null(),
    sandbox_config_fingerprint: nullable(z.string()),
  })
  .openapi("ToolExecutionResult");
