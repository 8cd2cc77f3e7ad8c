/** What a client sends to an agent: messages, approvals and tool results, and how it wants the answer. */
import { z } from "@hono/zod-openapi";
import { anyObject, idOf, jsonObject, optional } from "./common.ts";
import { messageTypes } from "./message.ts";

const textPart = z.object({ type: z.literal("text"), text: z.string(), signature: optional(z.string()) }).openapi("TextContent");
const imagePart = z
  .object({
    type: z.literal("image"),
    source: z.discriminatedUnion("type", [
      z.object({ type: z.literal("url"), url: z.url() }),
      z.object({
        type: z.literal("base64"),
        media_type: z.string().regex(/^image\//, "expected a media type such as image/png"),
        data: z.base64(),
        detail: optional(z.string()),
      }),
    ]),
  })
  .openapi("ImageContent");
const userPart = z.discriminatedUnion("type", [textPart, imagePart]);
/** What other clients send back from a history: kept where the model can use it, otherwise passed over. */
const foreignPart = z.looseObject({
  type: z.enum(["reasoning", "redacted_reasoning", "omitted_reasoning", "summarized_reasoning", "tool_call", "tool_return"]),
});
const content = z.union([z.string(), z.array(z.union([userPart, foreignPart]))]);

const messageInput = z
  .object({
    type: z.literal("message").nullish(),
    role: z.enum(["user", "system", "assistant"]),
    content,
    otid: optional(z.string().max(200)),
    name: optional(z.string()),
    sender_id: optional(z.string()),
    group_id: optional(z.string()),
    batch_item_id: optional(z.string()),
  })
  .openapi("MessageCreate");

const toolResult = z.object({
  type: z.literal("tool"),
  tool_call_id: z.string(),
  tool_return: z.union([z.string(), z.array(userPart)]),
  status: z.enum(["success", "error"]),
  stdout: optional(z.array(z.string())),
  stderr: optional(z.array(z.string())),
});

const approvalDecision = z.object({
  type: z.literal("approval"),
  tool_call_id: z.string(),
  approve: z.boolean(),
  reason: optional(z.string()),
});

const approvalInput = z
  .object({
    type: z.literal("approval"),
    approvals: optional(z.array(z.discriminatedUnion("type", [approvalDecision, toolResult]))),
    approve: optional(z.boolean()),
    approval_request_id: optional(z.string()),
    reason: optional(z.string()),
    otid: optional(z.string().max(200)),
    group_id: optional(z.string()),
  })
  .openapi("ApprovalCreate");

const toolReturnInput = z
  .object({
    type: z.literal("tool_return"),
    tool_returns: z.array(toolResult.partial({ type: true })),
    otid: optional(z.string().max(200)),
    group_id: optional(z.string()),
  })
  .openapi("ToolReturnCreate");

/** By `type`, which a plain message may leave out. */
const anyInput = z.union([approvalInput, toolReturnInput, messageInput]);

const clientTool = z
  .object({ name: z.string().min(1).max(128), description: optional(z.string()), parameters: optional(jsonObject) })
  .openapi("ClientToolSchema");
const clientSkill = z.object({ name: z.string(), description: z.string(), location: z.string() }).openapi("ClientSkillSchema");

export const stepsMaxDefault = 50;
const stepsMaxMax = 1_000;

const request = {
  messages: optional(z.array(anyInput)),
  input: optional(z.union([z.string(), z.array(userPart)])),
  max_steps: z.int().min(1).max(stepsMaxMax).nullish(),
  use_assistant_message: optional(z.boolean()),
  assistant_message_tool_name: optional(z.string()),
  assistant_message_tool_kwarg: optional(z.string()),
  include_return_message_types: optional(z.array(z.enum(messageTypes))),
  enable_thinking: optional(z.union([z.string(), z.boolean()])),
  client_tools: optional(z.array(clientTool)),
  client_skills: optional(z.array(clientSkill)),
  override_model: optional(z.string()),
  override_system: optional(z.string()),
  include_compaction_messages: optional(z.boolean()),
  return_logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int()),
  return_token_ids: optional(z.boolean()),
};

const streaming = {
  streaming: optional(z.boolean()),
  stream_tokens: optional(z.boolean()),
  include_pings: optional(z.boolean()),
  background: optional(z.boolean()),
};
