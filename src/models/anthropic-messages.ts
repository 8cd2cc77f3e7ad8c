/** Anthropic's Messages API. */
import { AnthropicDecoder } from "./anthropic-decoder.ts";
import { runModelCall } from "./http-model-call.ts";
import type { HttpPort } from "./http-port.ts";
import {
  type AssistantPart,
  type ContentPart,
  type Model,
  ModelError,
  type ModelEvent,
  type ModelMessage,
  type ModelRequest,
  type ModelSettings,
} from "./model.ts";
import type { Provider } from "./provider.ts";
import { takesImages } from "./takes-images.ts";
import { argumentsObject, type WireObject } from "./wire-json.ts";

export class AnthropicModel implements Model {
  readonly handle: string;
  readonly #name: string;
  readonly #provider: Provider;
  readonly #port: HttpPort;
  readonly #maxOutputTokens: number;

  /** `maxOutputTokens` is what a request without a limit gets: this API insists on one. */
  constructor(options: {
    readonly handle: string;
    readonly name: string;
    readonly provider: Provider;
    readonly port: HttpPort;
    readonly maxOutputTokens: number;
  }) {
    this.handle = options.handle;
    this.#name = options.name;
    this.#provider = options.provider;
    this.#port = options.port;
    this.#maxOutputTokens = options.maxOutputTokens;
  }

  generate(request: ModelRequest, signal: AbortSignal): AsyncIterable<ModelEvent> {
    const { random } = this.#port.environment;
    if (request.settings.responseFormat?.type === "json_object")
      throw new ModelError("invalidRequest", `Cannot ask ${this.handle} for a json_object: Anthropic's API has only json_schema`);
    const body = JSON.stringify(anthropicBody(request, { name: this.#name, maxOutputTokens: this.#maxOutputTokens }));
    const makeCallId = (): string => `toolu_${random.uuid().replaceAll("-", "")}`;
    return runModelCall(
      {
        provider: this.#provider,
        handle: this.handle,
        path: "/messages",
        body,
        makeDecoder: (requestId) => new AnthropicDecoder({ makeCallId, requestId }),
      },
      this.#port,
      signal,
    );
  }
}

const cached = { cache_control: { type: "ephemeral" } };
const thinkingTokensMin = 1024;

export function anthropicBody(request: ModelRequest, model: { readonly name: string; readonly maxOutputTokens: number }): WireObject {
  const { settings } = request;
  const { system, messages } = anthropicMessages(request.messages, takesImages(model.name));
  const maxTokens = settings.maxOutputTokens ?? model.maxOutputTokens;
  const thinking = anthropicThinking(request, model.name, maxTokens);
  const isNewest = modelVersion(model.name) >= 4.7;
  const format =
    settings.responseFormat?.type === "json_schema" ? { format: { type: "json_schema", schema: settings.responseFormat.schema } } : {};
  const outputConfig = { ...format, ...thinking.outputConfig };
  return {
    model: model.name,
    max_tokens: maxTokens,
    stream: true,
    ...(system.length > 0 ? { system: withCacheOnLast(system) } : {}),
    messages: withCacheOnLastMessage(messages),
    ...(request.tools.length > 0 ? anthropicTools(request) : {}),
    ...(thinking.thinking !== undefined ? { thinking: thinking.thinking } : {}),
    ...(Object.keys(outputConfig).length > 0 ? { output_config: outputConfig } : {}),
    // Rejected beside thinking, and by the newest models altogether; this API's scale ends at 1.
    ...(settings.temperature !== undefined && thinking.thinking === undefined && !isNewest
      ? { temperature: Math.min(settings.temperature, 1) }
      : {}),
  };
}

function anthropicTools(request: ModelRequest): WireObject {
  const { settings, toolChoice } = request;
  const tools = request.tools.map((tool) => ({
    name: tool.name,
    description: tool.description,
    input_schema: tool.parameters,
    ...(tool.strict === true ? { strict: true } : {}),
  }));
  const one = settings.parallelToolCalls === false && toolChoice !== "none" ? { disable_parallel_tool_use: true } : {};
  const type = toolChoice === "required" ? "any" : (toolChoice ?? "auto");
  const choice = typeof type === "object" ? { type: "tool", name: type.name, ...one } : { type, ...one };
  return { tools: withCacheOnLast(tools), tool_choice: choice };
}

interface Thinking {
  readonly thinking?: WireObject;
  readonly outputConfig?: WireObject;
}

/**
 * Up to version 4.5 a model thinks within a budget of tokens; from 4.6 it decides by an effort, and from 4.7 it
 * rejects a budget. https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
 */
function anthropicThinking(request: ModelRequest, name: string, maxTokens: number): Thinking {
  const { reasoningBudgetTokens, reasoningEffort } = request.settings;
  const isWanted = (reasoningBudgetTokens ?? 0) > 0 || (reasoningEffort !== undefined && reasoningEffort !== "none");
  const isForced = request.toolChoice === "required" || typeof request.toolChoice === "object";
  // Thinking is rejected with a forced tool, and in the middle of tool calls that were made without it.
  if (!isWanted || reasoningEffort === "none" || isForced || continuesUnthinking(request.messages)) return {};
  const version = modelVersion(name);
  if (version >= 4.6) {
    const thinking = { type: "adaptive", ...(version >= 4.7 ? { display: "summarized" } : {}) };
    if (reasoningEffort === undefined) return { thinking };
    const effort = reasoningEffort === "minimal" ? "low" : reasoningEffort === "xhigh" && version < 4.7 ? "max" : reasoningEffort;
    return { thinking, outputConfig: { effort } };
  }
  if (version < 3.7) return {};
  const budget = Math.min(reasoningBudgetTokens ?? effortBudgets[reasoningEffort ?? "medium"], maxTokens - 1);
  return budget < thinkingTokensMin ? {} : { thinking: { type: "enabled", budget_tokens: budget } };
}

const effortBudgets: { readonly [effort in NonNullable<ModelSettings["reasoningEffort"]>]: number } = {
  none: 0,
  minimal: 1024,
  low: 1024,
  medium: 4096,
  high: 16384,
  xhigh: 32768,
  max: 32768,
};

/** `claude-opus-4-7` is 4.7, `claude-3-7-sonnet-20250219` is 3.7, `claude-sonnet-5` is 5; another name is not Claude and gets 3.7's wire. */
function modelVersion(name: string): number {
  const match = /claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d))?(?!\d)/.exec(name);
  return match === null ? 3.7 : Number(`${match[1]}.${match[2] ?? 0}`);
}

function continuesUnthinking(messages: readonly ModelMessage[]): boolean {
  const last = messages.at(-1);
  if (last?.role !== "tool") return false;
  const calling = messages.findLast((message) => message.role === "assistant");
  return (
    calling?.role === "assistant" &&
    !calling.content.some((part) => part.type === "redactedReasoning" || (part.type === "reasoning" && part.signature !== undefined))
  );
}

interface WireMessage {
  readonly role: "user" | "assistant";
  readonly content: WireObject[];
}

/** The system prompt apart, roles that alternate, tool results in the user's message right after their calls. */
export function anthropicMessages(
  messages: readonly ModelMessage[],
  showsImages: boolean,
): { readonly system: WireObject[]; readonly messages: WireMessage[] } {
  const system: WireObject[] = [];
  const converted: WireMessage[] = [];
  const add = (role: "user" | "assistant", content: readonly WireObject[]): void => {
    if (content.length === 0) return;
    const last = converted.at(-1);
    if (last?.role === role) last.content.push(...content);
    else converted.push({ role, content: [...content] });
  };
  for (const message of messages) {
    if (message.role === "system" && converted.length === 0) system.push(...textBlocks(message.content));
    // A system message between others stays where it is: moved, it would break the cached prefix, and its order.
    else if (message.role === "system") add("user", textBlocks(message.content === "" ? "" : `<system>\n${message.content}\n</system>`));
    else if (message.role === "user") add("user", message.content.flatMap(userBlocks));
    else if (message.role === "assistant") add("assistant", message.content.flatMap(assistantBlocks));
    else
      add("user", [
        {
          type: "tool_result",
          tool_use_id: callId(message.toolCallId),
          ...resultContent(message, showsImages),
          ...(message.isError ? { is_error: true } : {}),
        },
      ]);
  }
  if (converted[0]?.role === "assistant") converted.unshift({ role: "user", content: textBlocks("(The conversation began earlier.)") });
  return { system, messages: converted };
}

function resultContent({ content, images = [] }: ModelMessage & { readonly role: "tool" }, showsImages: boolean): WireObject {
  if (!showsImages || images.length === 0) return content === "" ? {} : { content };
  return { content: [...textBlocks(content), ...images.flatMap((source) => userBlocks({ type: "image", source }))] };
}

/** The API rejects a text without a visible character. */
function textBlocks(text: string): WireObject[] {
  return text.trim() === "" ? [] : [{ type: "text", text }];
}

function userBlocks(part: ContentPart): WireObject[] {
  if (part.type === "text") return textBlocks(part.text);
  const { source } = part;
  return [
    {
      type: "image",
      source: "url" in source ? { type: "url", url: source.url } : { type: "base64", media_type: source.mediaType, data: source.base64 },
    },
  ];
}

function assistantBlocks(part: AssistantPart): WireObject[] {
  switch (part.type) {
    case "text":
      return textBlocks(part.text);
    case "reasoning":
      return part.signature === undefined ? [] : [{ type: "thinking", thinking: part.text, signature: part.signature }];
    case "redactedReasoning":
      return [{ type: "redacted_thinking", data: part.data }];
    case "toolCall":
      return [{ type: "tool_use", id: callId(part.id), name: part.name, input: argumentsObject(part.argumentsText) }];
  }
}

/** Ids that other providers made may have characters that this one rejects. */
function callId(id: string): string {
  return id.replaceAll(/[^a-zA-Z0-9_-]/g, "_");
}

function withCacheOnLast(blocks: readonly WireObject[]): readonly WireObject[] {
  return blocks.map((block, index) => (index === blocks.length - 1 ? { ...block, ...cached } : block));
}

/** Thinking cannot carry the mark, so it goes on the last block that can. */
function withCacheOnLastMessage(messages: readonly WireMessage[]): readonly WireMessage[] {
  const last = messages.at(-1);
  const at = last?.content.findLastIndex((block) => block["type"] !== "thinking" && block["type"] !== "redacted_thinking") ?? -1;
  if (last === undefined || at < 0) return messages;
  return [
    ...messages.slice(0, -1),
    { role: last.role, content: last.content.map((block, index) => (index === at ? { ...block, ...cached } : block)) },
  ];
}
