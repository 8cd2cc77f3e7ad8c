/** What a client sends to an agent: messages, approvals and tool results, and how it wants the answer. */
import { z } from "@hono/zod-openapi";
import type { InputMessage, SendRequest } from "../../agents/conversations.ts";
import type { ApprovalDecision, ChatBody, ToolReturn } from "../../agents/chat-message.ts";
import type { ContentPart } from "../../models/model.ts";
import { idOf, jsonObject, optional } from "./common.ts";
import { messageTypes } from "./message.ts";

/** A request to send messages, as the agents take it, and how the answer is wanted. */
export interface Send extends SendRequest {
  readonly streaming: boolean;
  readonly includePings: boolean;
  /** Only these kinds of messages come back; all of them if absent. */
  readonly messageTypes: readonly string[] | undefined;
  /** For the default conversation, on a path that does not name the agent. */
  readonly agentId: string | undefined;
  /** An answer in V1's first form, which names the request message instead of its calls. */
  readonly legacyApproval: LegacyApproval | undefined;
}

export interface LegacyApproval {
  readonly approve: boolean;
  readonly requestId: string | undefined;
  readonly reason: string | undefined;
  readonly otid: string | undefined;
}

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

/** A message that a new agent's conversation begins with. */
export const initialMessageSchema: z.ZodType<ChatBody> = messageInput.transform(({ role, content }): ChatBody => {
  if (role === "user") return { role, content: typeof content === "string" ? content : toParts(content) };
  const text =
    typeof content === "string"
      ? content
      : toParts(content)
          .map((part) => (part.type === "text" ? part.text : ""))
          .join("\n");
  return role === "system" ? { role, text } : { role, parts: [{ type: "text", text }], calls: [] };
});

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

const sendShape = z.object({
  messages: optional(z.array(anyInput)),
  input: optional(z.union([z.string(), z.array(userPart)])),
  max_steps: optional(z.int().min(1).max(stepsMaxMax)).openapi({ default: stepsMaxDefault }),
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
  streaming: optional(z.boolean()),
  stream_tokens: optional(z.boolean()),
  include_pings: optional(z.boolean()),
  background: optional(z.boolean()),
  callback_url: optional(z.url()),
  agent_id: optional(idOf("agent")),
});

/**
 * The body of a request to send. `streaming`: what leaving that field out means on this path; `always`: the path
 * streams whatever the body says; `never`: it does not know the field.
 */
export function sendSchema(name: string, streaming: boolean | "always" | "never"): z.ZodType<Send> {
  return sendShape
    .superRefine((body, context) => {
      const refuse = (path: PropertyKey[], message: string): void => context.addIssue({ code: "custom", path, message });
      const given = (body.messages?.length ?? 0) + (body.input === undefined || body.input === null ? 0 : 1);
      if (given === 0) refuse(["messages"], "expected at least one message, or text in input");
      if (given > (body.messages?.length ?? 0) && body.messages !== undefined && body.messages !== null)
        refuse(["input"], "expected either messages or input, not both");
      if (streaming === false && body.streaming !== true) {
        for (const option of ["stream_tokens", "background"] as const)
          if (body[option] === true) refuse([option], "expected streaming to be true with this option");
      }
    })
    .transform((body) => toSend(body, streaming))
    .openapi(name);
}

type SendBody = z.output<typeof sendShape>;

function toSend(body: SendBody, streaming: boolean | "always" | "never"): Send {
  const messages: InputMessage[] = [];
  let legacyApproval: LegacyApproval | undefined;
  for (const message of body.messages ?? []) {
    if (message.type === "approval" && (message.approvals ?? []).length === 0) legacyApproval = toLegacyApproval(message);
    else messages.push(toInputMessage(message));
  }
  if (body.input !== undefined && body.input !== null)
    messages.push({ type: "message", role: "user", content: typeof body.input === "string" ? body.input : toParts(body.input) });
  return {
    messages,
    legacyApproval,
    stepsMax: body.max_steps ?? stepsMaxDefault,
    background: body.background ?? false,
    streamTokens: body.stream_tokens ?? false,
    clientTools: (body.client_tools ?? []).map((tool) => ({
      name: tool.name,
      description: tool.description ?? "",
      parameters: tool.parameters ?? { type: "object", properties: {} },
    })),
    clientSkills: body.client_skills ?? [],
    overrideModel: body.override_model ?? null,
    overrideSystem: body.override_system ?? null,
    includeCompactionMessages: body.include_compaction_messages ?? false,
    requestConfig: {
      use_assistant_message: body.use_assistant_message ?? true,
      assistant_message_tool_name: body.assistant_message_tool_name ?? "send_message",
      assistant_message_tool_kwarg: body.assistant_message_tool_kwarg ?? "message",
      include_return_message_types: body.include_return_message_types ?? null,
    },
    callbackUrl: body.callback_url ?? null,
    streaming: streaming === "always" || (streaming !== "never" && (body.streaming ?? streaming)),
    includePings: body.include_pings ?? true,
    messageTypes: body.include_return_message_types ?? undefined,
    agentId: body.agent_id ?? undefined,
  };
}

function toInputMessage(message: z.output<typeof anyInput>): InputMessage {
  const otid = message.otid === undefined || message.otid === null ? {} : { otid: message.otid };
  if (message.type === "approval")
    return {
      type: "approval",
      decisions: (message.approvals ?? []).map((each) => (each.type === "approval" ? toDecision(each) : toToolReturn(each))),
      ...(message.approval_request_id == null ? {} : { requestId: message.approval_request_id }),
      ...otid,
    };
  if (message.type === "tool_return") return { type: "approval", decisions: message.tool_returns.map(toToolReturn), ...otid };
  return {
    type: "message",
    role: message.role,
    content: typeof message.content === "string" ? message.content : toParts(message.content),
    ...otid,
    ...(message.name === undefined || message.name === null ? {} : { name: message.name }),
    ...(message.sender_id === undefined || message.sender_id === null ? {} : { sender_id: message.sender_id }),
  };
}

function toLegacyApproval(message: z.output<typeof approvalInput>): LegacyApproval {
  return {
    approve: message.approve ?? false,
    requestId: message.approval_request_id ?? undefined,
    reason: message.reason ?? undefined,
    otid: message.otid ?? undefined,
  };
}

function toDecision(decision: z.output<typeof approvalDecision>): ApprovalDecision {
  const reason = decision.reason ?? undefined;
  return { tool_call_id: decision.tool_call_id, approve: decision.approve, ...(reason === undefined ? {} : { reason }) };
}

function toToolReturn(result: Omit<z.output<typeof toolResult>, "type">): ToolReturn {
  return {
    tool_call_id: result.tool_call_id,
    status: result.status,
    tool_return:
      typeof result.tool_return === "string"
        ? result.tool_return
        : result.tool_return.map((part) => (part.type === "text" ? part.text : "[image]")).join("\n"),
    ...(result.stdout === undefined || result.stdout === null ? {} : { stdout: result.stdout }),
    ...(result.stderr === undefined || result.stderr === null ? {} : { stderr: result.stderr }),
  };
}

function toParts(parts: readonly (z.output<typeof userPart> | z.output<typeof foreignPart>)[]): ContentPart[] {
  return parts.flatMap((part): ContentPart[] => {
    if (isUserPart(part))
      return [part.type === "text" ? { type: "text", text: part.text } : { type: "image", source: toImageSource(part.source) }];
    return [];
  });
}

function isUserPart(part: z.output<typeof userPart> | z.output<typeof foreignPart>): part is z.output<typeof userPart> {
  return part.type === "text" || part.type === "image";
}

function toImageSource(source: z.output<typeof imagePart>["source"]): Extract<ContentPart, { type: "image" }>["source"] {
  return source.type === "url" ? { url: source.url } : { mediaType: source.media_type, base64: source.data };
}
