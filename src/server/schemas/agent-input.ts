/** What a client sends to make or change an agent, in V1's fields, the deprecated ones included. */
import { z } from "@hono/zod-openapi";
import type { AgentCreate, AgentUpdate } from "../../agents/agent-directory.ts";
import type { ChatBody } from "../../agents/chat-message.ts";
import type { CompactionSettings } from "../../agents/agent.ts";
import type { Json } from "../../base/json.ts";
import { agentTypes, toolRuleTypes } from "./agent.ts";
import { createBlockSchema } from "./block.ts";
import { idOf, jsonObject, nameText, optional } from "./common.ts";
import { initialMessageSchema } from "./message-input.ts";

const toolRule = z.looseObject({ type: z.enum(toolRuleTypes), tool_name: z.string() }).openapi("ToolRule");

export const compactionSettingsSchema: z.ZodType<CompactionSettings> = z
  .object({
    model: optional(z.string()),
    model_settings: optional(jsonObject),
    prompt: optional(z.string()),
    prompt_acknowledgement: optional(z.boolean()),
    clip_chars: optional(z.int().min(1)),
    mode: optional(z.enum(["all", "sliding_window", "self_compact_all", "self_compact_sliding_window"])),
    sliding_window_percentage: optional(z.number().gt(0).max(1)),
  })
  .openapi("CompactionSettings")
  .transform((settings) => present(settings) as CompactionSettings);

/** Of V1's `llm_config` what decides how the model is called. */
const llmConfig = z.looseObject({
  handle: optional(z.string()),
  model: optional(z.string()),
  provider_name: optional(z.string()),
  model_endpoint_type: optional(z.string()),
  context_window: optional(z.int()),
  temperature: optional(z.number()),
  max_tokens: optional(z.int()),
  reasoning_effort: optional(z.string()),
  parallel_tool_calls: optional(z.boolean()),
});

const embeddingConfig = z.looseObject({ handle: optional(z.string()) });

const shared = {
  name: optional(nameText),
  description: optional(z.string()),
  system: optional(z.string()),
  metadata: optional(jsonObject),
  tags: optional(z.array(nameText)),
  model: optional(z.string()),
  model_settings: optional(jsonObject),
  llm_config: optional(llmConfig),
  embedding: optional(z.string()),
  embedding_config: optional(embeddingConfig),
  compaction_settings: optional(compactionSettingsSchema),
  context_window_limit: optional(z.int()),
  response_format: optional(jsonObject),
  max_tokens: optional(z.int().min(1)),
  parallel_tool_calls: optional(z.boolean()),
  reasoning: optional(z.boolean()),
  block_ids: optional(z.array(idOf("block"))),
  tool_ids: optional(z.array(idOf("tool"))),
  tool_rules: optional(z.array(toolRule)),
  secrets: optional(z.record(z.string(), z.string())),
  tool_exec_environment_variables: optional(z.record(z.string(), z.string())),
  identity_ids: optional(z.array(z.string())),
  source_ids: optional(z.array(z.string())),
  folder_ids: optional(z.array(z.string())),
  message_buffer_autoclear: optional(z.boolean()),
  enable_sleeptime: optional(z.boolean()),
  timezone: optional(z.string().refine(isTimezone, { message: "expected an IANA time zone such as Europe/Berlin" })),
  max_files_open: optional(z.int()),
  per_file_view_window_char_limit: optional(z.int()),
  hidden: optional(z.boolean()),
  project_id: optional(z.string()),
  template_id: optional(z.string()),
  base_template_id: optional(z.string()),
};

const createShape = z.object({
  ...shared,
  agent_type: optional(z.enum(agentTypes)),
  memory_blocks: optional(z.array(createBlockSchema)),
  tools: optional(z.array(z.string())),
  include_base_tools: optional(z.boolean()),
  include_multi_agent_tools: optional(z.boolean()),
  include_base_tool_rules: optional(z.boolean()),
  include_default_source: optional(z.boolean()),
  initial_message_sequence: optional(z.array(initialMessageSchema)),
  embedding_chunk_size: optional(z.int()),
  max_reasoning_tokens: optional(z.int()),
  enable_reasoner: optional(z.boolean()),
  /** Kelpie's addition: the bytes that all blocks together may have. */
  core_bytes_max: optional(z.int().min(1)),
});

/** A new agent, and what its default conversation begins with. */
export interface AgentInput {
  readonly create: AgentCreate;
  readonly initialMessages: readonly ChatBody[];
}

export const createAgentSchema: z.ZodType<AgentInput> = createShape.openapi("CreateAgentRequest").transform((body): AgentInput => {
  const { tools, include_base_tools, include_multi_agent_tools, include_base_tool_rules, memory_blocks, agent_type, tool_rules } = body;
  const own = present({
    tools,
    include_base_tools,
    include_multi_agent_tools,
    include_base_tool_rules,
    memory_blocks,
    agent_type,
    tool_rules,
  });
  return {
    create: { ...toFields(body), ...own, core_bytes_max: body.core_bytes_max ?? null } as AgentCreate,
    initialMessages: body.initial_message_sequence ?? [],
  };
});

/** `null` leaves a field as it is, as in V1. */
export const updateAgentSchema: z.ZodType<AgentUpdate> = z
  .object(shared)
  .openapi("UpdateAgent")
  .transform((body): AgentUpdate => ({ ...toFields(body), ...(body.tool_rules == null ? {} : { tool_rules: body.tool_rules }) }));

type Shared = z.output<z.ZodObject<typeof shared>>;

/** The agent's own fields, with those that V1 deprecated in the places that replaced them. */
function toFields(body: Shared): AgentUpdate {
  const {
    llm_config,
    embedding_config,
    max_tokens,
    parallel_tool_calls,
    tool_exec_environment_variables,
    folder_ids,
    tool_rules: _rules,
    reasoning: _reasoning,
    ...rest
  } = body;
  const handle =
    llm_config == null
      ? undefined
      : (llm_config.handle ?? handleOf(llm_config.provider_name ?? llm_config.model_endpoint_type, llm_config.model));
  const settings = present({
    temperature: llm_config?.temperature,
    max_output_tokens: max_tokens ?? llm_config?.max_tokens,
    parallel_tool_calls: parallel_tool_calls ?? llm_config?.parallel_tool_calls,
    reasoning_effort: llm_config?.reasoning_effort,
  }) as { readonly [name: string]: Json };
  const model_settings = { ...settings, ...rest.model_settings };
  return present({
    ...rest,
    model: rest.model ?? handle,
    context_window_limit: rest.context_window_limit ?? llm_config?.context_window,
    embedding: rest.embedding ?? embedding_config?.handle,
    model_settings: Object.keys(model_settings).length === 0 ? undefined : model_settings,
    secrets: rest.secrets ?? tool_exec_environment_variables,
    source_ids: rest.source_ids ?? folder_ids,
  });
}

function handleOf(provider: string | null | undefined, model: string | null | undefined): string | undefined {
  return provider == null || model == null ? undefined : `${provider}/${model}`;
}

/** Without the fields that were left out, by absence or by `null`. */
function present(fields: object): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en-US", { timeZone: name }).format(0);
    return true;
  } catch {
    // The only way to ask whether a zone exists is to use it.
    return false;
  }
}
