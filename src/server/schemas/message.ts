/** Messages as they go out: the stored kinds, and those that only streams have. */
import { z } from "@hono/zod-openapi";
import { anyObject, idOf, nullable } from "./common.ts";

const envelope = {
  id: idOf("message"),
  date: z.string().openapi({ format: "date-time" }),
  name: nullable(z.string()),
  otid: nullable(z.string()),
  sender_id: nullable(z.string()),
  step_id: nullable(z.string()),
  is_err: nullable(z.boolean()),
  seq_id: nullable(z.int()),
  run_id: nullable(z.string()),
};

export const messageTypes = [
  "system_message",
  "user_message",
  "assistant_message",
  "reasoning_message",
  "hidden_reasoning_message",
  "tool_call_message",
  "tool_return_message",
  "approval_request_message",
  "approval_response_message",
  "summary_message",
  "event_message",
] as const;

const contentPart = z.object({ type: z.string() }).loose();
const content = z.union([z.string(), z.array(contentPart)]);
const toolCall = z.object({
  name: nullable(z.string()).optional(),
  arguments: nullable(z.string()).optional(),
  tool_call_id: nullable(z.string()).optional(),
});
const toolReturn = z
  .object({
    type: z.literal("tool"),
    tool_call_id: z.string(),
    status: z.enum(["success", "error"]),
    tool_return: z.union([z.string(), z.array(contentPart)]),
    stdout: nullable(z.array(z.string())),
    stderr: nullable(z.array(z.string())),
  })
  .openapi("ToolReturn");
const approval = z
  .object({ type: z.literal("approval"), tool_call_id: z.string(), approve: z.boolean(), reason: nullable(z.string()) })
  .openapi("ApprovalReturn");

function kind<Type extends string, Shape extends z.ZodRawShape>(type: Type, name: string, shape: Shape): z.ZodObject {
  return z.object({ ...envelope, message_type: z.literal(type), ...shape }).openapi(name);
}

const kinds: readonly [z.ZodObject, ...z.ZodObject[]] = [
  kind("system_message", "SystemMessage", { content: z.string() }),
  kind("user_message", "UserMessage", { content }),
  kind("assistant_message", "AssistantMessage", { content }),
  kind("reasoning_message", "ReasoningMessage", {
    source: z.enum(["reasoner_model", "non_reasoner_model"]),
    reasoning: z.string(),
    signature: nullable(z.string()),
  }),
  kind("hidden_reasoning_message", "HiddenReasoningMessage", {
    state: z.enum(["redacted", "omitted"]),
    hidden_reasoning: nullable(z.string()),
  }),
  kind("tool_call_message", "ToolCallMessage", { tool_call: toolCall, tool_calls: z.union([toolCall, z.array(toolCall)]) }),
  kind("tool_return_message", "ToolReturnMessage", {
    tool_return: z.string(),
    status: z.enum(["success", "error"]),
    tool_call_id: z.string(),
    stdout: nullable(z.array(z.string())),
    stderr: nullable(z.array(z.string())),
    tool_returns: z.array(toolReturn),
  }),
  kind("approval_request_message", "ApprovalRequestMessage", { tool_call: toolCall, tool_calls: z.union([toolCall, z.array(toolCall)]) }),
  kind("approval_response_message", "ApprovalResponseMessage", {
    approvals: nullable(z.array(z.union([approval, toolReturn]))),
    approve: nullable(z.boolean()),
    approval_request_id: nullable(z.string()),
    reason: nullable(z.string()),
  }),
  kind("summary_message", "SummaryMessage", { summary: z.string(), compaction_stats: nullable(anyObject) }),
  kind("event_message", "EventMessage", { event_type: z.literal("compaction"), event_data: anyObject }),
];

/** Letta's LettaMessageUnion. */
export const messageSchema: z.ZodType = z.discriminatedUnion("message_type", kinds).openapi("LettaMessageUnion");

export const stopReasons = [
  "end_turn",
  "error",
  "llm_api_error",
  "invalid_llm_response",
  "invalid_tool_call",
  "max_steps",
  "max_tokens_exceeded",
  "no_tool_call",
  "tool_rule",
  "cancelled",
  "insufficient_credits",
  "requires_approval",
  "context_window_overflow_in_system_prompt",
] as const;

export const usageSchema: z.ZodType = z
  .object({
    message_type: z.literal("usage_statistics"),
    completion_tokens: z.int(),
    prompt_tokens: z.int(),
    total_tokens: z.int(),
    step_count: z.int(),
    run_ids: nullable(z.array(z.string())),
    cached_input_tokens: nullable(z.int()),
    cache_write_tokens: nullable(z.int()),
    reasoning_tokens: nullable(z.int()),
    context_tokens: nullable(z.int()),
  })
  .openapi("LettaUsageStatistics");

export const lettaResponseSchema: z.ZodType = z
  .object({
    messages: z.array(messageSchema),
    stop_reason: z.object({ message_type: z.literal("stop_reason"), stop_reason: z.enum(stopReasons) }).openapi("LettaStopReason"),
    usage: usageSchema,
    logprobs: z.null(),
    turns: z.null(),
  })
  .openapi("LettaResponse");

export const messageListSchema: z.ZodType = z.array(messageSchema);

export const compactionSchema: z.ZodType = z
  .object({ summary: z.string(), num_messages_before: z.int(), num_messages_after: z.int() })
  .openapi("CompactionResponse");
