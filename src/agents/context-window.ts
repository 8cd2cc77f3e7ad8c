/** What the model sees in a step, as one pure function of what was committed. */
import type { AssistantPart, ContentPart, ModelMessage, ModelRequest, ModelSettings, ToolDefinition } from "../models/model.ts";
import type { AnswerPart, ChatMessage, ToolCall } from "./chat-message.ts";

export interface ContextWindowInput {
  readonly system: string;
  /** The summary, if there is one, then the messages in their order; without the system message. */
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly ToolDefinition[];
  readonly toolChoice?: ModelRequest["toolChoice"];
  readonly settings: ModelSettings;
  readonly cacheKey: string;
}

export function contextWindow(input: ContextWindowInput): ModelRequest {
  const messages: ModelMessage[] = [{ role: "system", content: input.system }];
  // A model sees the images of results in the run in which they came: one that a provider refuses stops no later run.
  const asked = input.messages.findLastIndex(({ body }) => body.role === "user");
  for (const [at, message] of input.messages.entries()) appendMessage(messages, message, at > asked);
  return {
    messages,
    tools: input.tools,
    settings: input.settings,
    cacheKey: input.cacheKey,
    ...(input.toolChoice === undefined ? {} : { toolChoice: input.toolChoice }),
  };
}

function appendMessage(messages: ModelMessage[], { body, name, created_at }: ChatMessage, showsImages: boolean): void {
  switch (body.role) {
    case "system":
      messages.push(userText(JSON.stringify({ type: "system_alert", message: body.text, time: created_at })));
      return;
    case "summary":
      messages.push(
        userText(
          JSON.stringify({
            type: "system_alert",
            message: `Earlier messages were removed from this context. Their summary:\n${body.text}`,
            time: created_at,
          }),
        ),
      );
      return;
    case "user": {
      const content: readonly ContentPart[] = typeof body.content === "string" ? [{ type: "text", text: body.content }] : body.content;
      messages.push(name === undefined ? { role: "user", content } : { role: "user", content, name });
      return;
    }
    case "assistant":
    case "approval": {
      const parts = [...body.parts.map(assistantPart), ...body.calls.map(toolCallPart)];
      // The calls of one answer are stored apart when some wait for approval; the model made them together.
      const previous = messages.at(-1);
      if (body.role === "approval" && previous?.role === "assistant")
        messages[messages.length - 1] = { role: "assistant", content: [...previous.content, ...parts] };
      else messages.push({ role: "assistant", content: parts });
      return;
    }
    case "approvalResponse":
      // The decisions reach the model as the results of the calls.
      return;
    case "tool":
      for (const result of body.returns) {
        const content = JSON.stringify({
          status: result.status === "success" ? "OK" : "Failed",
          message: result.tool_return,
          time: created_at,
        });
        const images = showsImages && result.images !== undefined ? { images: result.images } : {};
        insertResult(messages, { role: "tool", toolCallId: result.tool_call_id, content, isError: result.status === "error", ...images });
      }
  }
}

/**
 * Puts a result right after its call and the results of the calls beside it: providers refuse anything between. What a
 * user adds to the answer to an approval is stored before the results of the calls that were approved.
 */
function insertResult(messages: ModelMessage[], result: ModelMessage & { readonly role: "tool" }): void {
  const isItsCall = (part: AssistantPart): boolean => part.type === "toolCall" && part.id === result.toolCallId;
  const call = messages.findLastIndex((message) => message.role === "assistant" && message.content.some(isItsCall));
  let place = call < 0 ? messages.length : call + 1;
  while (messages[place]?.role === "tool") place++;
  messages.splice(place, 0, result);
}

function userText(text: string): ModelMessage {
  return { role: "user", content: [{ type: "text", text }] };
}

function assistantPart(part: AnswerPart): AssistantPart {
  if (part.type === "text") return part;
  if (part.type === "redacted_reasoning") return { type: "redactedReasoning", data: part.data };
  return part.signature === undefined
    ? { type: "reasoning", text: part.reasoning }
    : { type: "reasoning", text: part.reasoning, signature: part.signature };
}

function toolCallPart(call: ToolCall): AssistantPart {
  return { type: "toolCall", id: call.tool_call_id, name: call.name, argumentsText: call.arguments };
}

/**
 * About how many tokens a request has: a token for every four characters, a thousand for an image.
 * An estimate for deciding when to compact; providers' own counts replace it after each step.
 */
export function estimateTokens(request: Pick<ModelRequest, "messages" | "tools">): number {
  let characters = 0;
  let images = 0;
  for (const message of request.messages) {
    characters += 16;
    if (message.role === "tool") images += message.images?.length ?? 0;
    if (typeof message.content === "string") characters += message.content.length;
    else {
      for (const part of message.content) {
        if (part.type === "image") images++;
        else if (part.type === "text" || part.type === "reasoning") characters += part.text.length;
        else if (part.type === "toolCall") characters += part.name.length + part.argumentsText.length;
        else characters += part.data.length;
      }
    }
  }
  if (request.tools.length > 0) characters += JSON.stringify(request.tools).length;
  return Math.ceil(characters / 4) + images * 1_000;
}
