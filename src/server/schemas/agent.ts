import { z } from "@hono/zod-openapi";
import { blockSchema } from "./block.ts";
import { anyObject, idOf, nullable } from "./common.ts";
import { messageSchema, stopReasons } from "./message.ts";
import { embeddingConfigSchema, llmConfigSchema } from "./model.ts";
import { toolSchema } from "./tool.ts";

export const agentTypes = [
  "memgpt_agent",
  "memgpt_v2_agent",
  "letta_v1_agent",
  "react_agent",
  "workflow_agent",
  "split_thread_agent",
  "sleeptime_agent",
  "voice_convo_agent",
  "voice_sleeptime_agent",
] as const;

export const toolRuleTypes = [
  "run_first",
  "exit_loop",
  "continue_loop",
  "constrain_child_tools",
  "parent_last_tool",
  "conditional",
  "required_before_exit",
  "max_count_per_step",
  "requires_approval",
] as const;

const secretSchema = z
  .object({
    agent_id: idOf("agent"),
    key: z.string(),
    value: z.string(),
    description: nullable(z.string()),
    value_enc: nullable(z.string()),
    created_at: nullable(z.string()),
    updated_at: nullable(z.string()),
    created_by_id: nullable(z.string()),
    last_updated_by_id: nullable(z.string()),
  })
  .openapi("AgentEnvironmentVariable");

/** Letta's AgentState, with the deprecated fields that the SDK's types require. */
export const agentSchema: z.ZodType = z
  .object({
    id: idOf("agent"),
    name: z.string(),
    agent_type: z.enum(agentTypes),
    system: z.string(),
    description: nullable(z.string()),
    metadata: nullable(anyObject),
    tags: z.array(z.string()),
    model: nullable(z.string()),
    model_settings: nullable(anyObject),
    embedding: nullable(z.string()),
    llm_config: llmConfigSchema,
    embedding_config: nullable(embeddingConfigSchema),
    compaction_settings: nullable(anyObject),
    context_window_limit: nullable(z.int()),
    response_format: nullable(anyObject),
    message_ids: nullable(z.array(idOf("message"))),
    tool_rules: nullable(z.array(z.looseObject({ type: z.enum(toolRuleTypes), tool_name: z.string() }))),
    memory: z.object({
      agent_type: nullable(z.string()),
      git_enabled: z.boolean(),
      blocks: z.array(blockSchema),
      file_blocks: z.array(anyObject),
      prompt_template: z.string(),
    }),
    blocks: z.array(blockSchema),
    tools: z.array(toolSchema),
    sources: z.array(anyObject),
    secrets: z.array(secretSchema),
    tool_exec_environment_variables: z.array(secretSchema),
    identities: z.array(anyObject),
    identity_ids: z.array(z.string()),
    pending_approval: nullable(messageSchema),
    managed_group: nullable(anyObject),
    multi_agent_group: nullable(anyObject),
    message_buffer_autoclear: z.boolean(),
    enable_sleeptime: nullable(z.boolean()),
    last_run_completion: nullable(z.string()),
    last_run_duration_ms: nullable(z.int()),
    last_stop_reason: nullable(z.enum(stopReasons)),
    timezone: nullable(z.string()),
    max_files_open: nullable(z.int()),
    per_file_view_window_char_limit: nullable(z.int()),
    hidden: nullable(z.boolean()),
    project_id: nullable(z.string()),
    template_id: nullable(z.string()),
    base_template_id: nullable(z.string()),
    deployment_id: nullable(z.string()),
    entity_id: nullable(z.string()),
    created_at: nullable(z.string()),
    updated_at: nullable(z.string()),
    created_by_id: nullable(z.string()),
    last_updated_by_id: nullable(z.string()),
  })
  .openapi("AgentState");

/** Letta's ContextWindowOverview. */
export const contextOverviewSchema: z.ZodType = z
  .object({
    context_window_size_max: z.int(),
    context_window_size_current: z.int(),
    num_messages: z.int(),
    num_archival_memory: z.int(),
    num_recall_memory: z.int(),
    num_tokens_external_memory_summary: z.int(),
    external_memory_summary: z.string(),
    num_tokens_system: z.int(),
    system_prompt: z.string(),
    num_tokens_core_memory: z.int(),
    core_memory: z.string(),
    num_tokens_memory_filesystem: z.int(),
    memory_filesystem: nullable(z.string()),
    num_tokens_tool_usage_rules: z.int(),
    tool_usage_rules: nullable(z.string()),
    num_tokens_directories: z.int(),
    directories: nullable(z.string()),
    num_tokens_summary_memory: z.int(),
    summary_memory: nullable(z.string()),
    num_tokens_functions_definitions: z.int(),
    functions_definitions: nullable(z.array(anyObject)),
    num_tokens_messages: z.int(),
    messages: z.array(anyObject),
  })
  .openapi("ContextWindowOverview");
