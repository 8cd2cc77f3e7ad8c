/** OpenAI's Chat Completions, and everything that speaks them. */
import { runModelCall } from "./http-model-call.ts";
import type { HttpPort } from "./http-port.ts";
import type { AssistantPart, ContentPart, Model, ModelEvent, ModelMessage, ModelRequest, ResultImage } from "./model.ts";
import { OpenAIChatDecoder } from "./openai-chat-decoder.ts";
import type { OpenAIChatQuirks, Provider } from "./provider.ts";
import { shortHash } from "./short-hash.ts";
import { takesImages } from "./takes-images.ts";
import { asObject, parseJson, type WireObject } from "./wire-json.ts";

export class OpenAIChatModel implements Model {
  readonly handle: string;
  readonly #name: string;
  readonly #provider: Provider;
  readonly #port: HttpPort;

  /** `name` is the provider's name for the model. */
  constructor(options: { readonly handle: string; readonly name: string; readonly provider: Provider; readonly port: HttpPort }) {
    this.handle = options.handle;
    this.#name = options.name;
    this.#provider = options.provider;
    this.#port = options.port;
  }

  generate(request: ModelRequest, signal: AbortSignal): AsyncIterable<ModelEvent> {
    const { random } = this.#port.environment;
    const body = JSON.stringify(openAIChatBody(request, this.#name, this.#provider));
    const makeCallId = (): string => `call_${random.uuid().replaceAll("-", "")}`;
    return runModelCall(
      {
        provider: this.#provider,
        handle: this.handle,
        path: "/chat/completions",
        body,
        makeDecoder: (requestId) => new OpenAIChatDecoder({ makeCallId, requestId }),
      },
      this.#port,
      signal,
    );
  }
}

export function openAIChatBody(request: ModelRequest, name: string, provider: Provider): WireObject {
  const { settings, tools } = request;
  const { quirks } = provider;
  // OpenAI's reasoning models reject these two with status 400, and its others reject an effort.
  const isOpenAI = provider.type === "openai";
  const isReasoner = /^(?:o\d|gpt-5(?!-chat)|gpt-[6-9])/.test(name);
  const takesEffort = quirks.reasoningField !== undefined && settings.reasoningEffort !== undefined && (!isOpenAI || isReasoner);
  const takesTemperature = settings.temperature !== undefined && !(isOpenAI && isReasoner);
  const stream = quirks.streamsTools || tools.length === 0;
  return {
    model: name,
    messages: openAIMessages(request.messages, quirks, takesImages(name)),
    stream,
    ...(stream && quirks.takesStreamOptions ? { stream_options: { include_usage: true } } : {}),
    ...(tools.length > 0 ? openAITools(request, quirks, isOpenAI && /^o\d/.test(name)) : {}),
    ...(settings.maxOutputTokens !== undefined ? { [quirks.outputLimitField]: settings.maxOutputTokens } : {}),
    ...(takesTemperature ? { temperature: settings.temperature } : {}),
    ...(takesEffort
      ? quirks.reasoningField === "reasoning"
        ? { reasoning: { effort: settings.reasoningEffort } }
        : { reasoning_effort: settings.reasoningEffort }
      : {}),
    ...(settings.responseFormat !== undefined ? { response_format: responseFormat(settings.responseFormat, quirks) } : {}),
    ...(quirks.takesPromptCacheKey && request.cacheKey !== undefined ? { prompt_cache_key: request.cacheKey } : {}),
  };
}

function openAITools(request: ModelRequest, quirks: OpenAIChatQuirks, isOSeries: boolean): WireObject {
  const { settings, toolChoice } = request;
  const tools = request.tools.map((tool) => ({
    type: "function",
    function: {
      name: tool.name,
      description: tool.description,
      parameters: tool.parameters,
      ...(quirks.takesStrict && tool.strict === true ? { strict: true } : {}),
    },
  }));
  const choice =
    typeof toolChoice === "object"
      ? { type: "function", function: { name: toolChoice.name } }
      : toolChoice === "required"
        ? quirks.requiredToolChoice
        : toolChoice;
  return {
    tools,
    ...(choice !== undefined && choice !== "auto" ? { tool_choice: choice } : {}),
    ...(settings.parallelToolCalls !== undefined && quirks.takesParallelToolCalls && !isOSeries
      ? { parallel_tool_calls: settings.parallelToolCalls }
      : {}),
  };
}

function responseFormat(format: NonNullable<ModelRequest["settings"]["responseFormat"]>, quirks: OpenAIChatQuirks): WireObject {
  if (format.type !== "json_schema") return { type: format.type };
  return { type: "json_schema", json_schema: { name: "answer", schema: format.schema, ...(quirks.takesStrict ? { strict: true } : {}) } };
}

/** Results have no images in this protocol: the user shows them, after the last result of an answer's calls. */
function openAIMessages(messages: readonly ModelMessage[], quirks: OpenAIChatQuirks, showsImages: boolean): readonly WireObject[] {
  let images: ResultImage[] = [];
  return messages.flatMap((message, at) => {
    const converted = openAIMessage(message, quirks);
    if (message.role !== "tool" || !showsImages) return converted;
    images.push(...(message.images ?? []));
    if (images.length === 0 || messages[at + 1]?.role === "tool") return converted;
    const parts = images.map((source): ContentPart => ({ type: "image", source }));
    images = [];
    const text = "Images of the results above:";
    return [...converted, ...openAIMessage({ role: "user", content: [{ type: "text", text }, ...parts] }, quirks)];
  });
}

function openAIMessage(message: ModelMessage, quirks: OpenAIChatQuirks): readonly WireObject[] {
  switch (message.role) {
    case "system":
      return [{ role: "system", content: message.content }];
    case "user": {
      const onlyText = message.content.length === 1 && message.content[0]?.type === "text" ? message.content[0].text : undefined;
      const name = message.name !== undefined && /^[\w-]{1,64}$/.test(message.name) ? { name: message.name } : {};
      return [{ role: "user", content: onlyText ?? message.content.map(contentPart), ...name }];
    }
    case "assistant":
      return assistantMessage(message.content, quirks);
    case "tool":
      return [{ role: "tool", tool_call_id: callId(message.toolCallId, quirks), content: message.content }];
  }
}

function assistantMessage(parts: readonly AssistantPart[], quirks: OpenAIChatQuirks): readonly WireObject[] {
  const text = parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  const reasoning = parts.map((part) => (part.type === "reasoning" ? part.text : "")).join("");
  const calls = parts.filter((part) => part.type === "toolCall");
  if (text === "" && calls.length === 0) return []; // Only reasoning: servers reject a message without content.
  return [
    {
      role: "assistant",
      content: text === "" ? null : text,
      ...(quirks.returnsReasoning && calls.length > 0 && reasoning !== "" ? { reasoning_content: reasoning } : {}),
      ...(calls.length > 0
        ? {
            tool_calls: calls.map((call) => ({
              id: callId(call.id, quirks),
              type: "function",
              function: { name: call.name, arguments: validArguments(call.argumentsText) },
            })),
          }
        : {}),
    },
  ];
}

/** Compatible servers parse the arguments of past calls, and fail where a model once wrote broken JSON. */
function validArguments(argumentsText: string): string {
  if (argumentsText.trim() === "") return "{}";
  return asObject(parseJson(argumentsText)) !== undefined ? argumentsText : JSON.stringify({ invalid_json: argumentsText });
}

function callId(id: string, quirks: OpenAIChatQuirks): string {
  return !quirks.shortToolCallIds || /^[a-zA-Z0-9]{9}$/.test(id) ? id : shortHash(id).slice(-9);
}

function contentPart(part: ContentPart): WireObject {
  if (part.type === "text") return { type: "text", text: part.text };
  const url = "url" in part.source ? part.source.url : `data:${part.source.mediaType};base64,${part.source.base64}`;
  return { type: "image_url", image_url: { url } };
}
