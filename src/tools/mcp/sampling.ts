/** Samples: what a server asks a model, through Kelpie and at the cost of its owner, who names the model. */
import { type CreateMessageRequest, type CreateMessageResult, ProtocolError, ProtocolErrorCode } from "@modelcontextprotocol/client";
import { type ContentPart, type EndReason, type ModelMessage, ModelError, type Models, noUsage, type Usage } from "../../models/model.ts";
import { mcpLimits } from "./mcp.ts";

type SampleRequest = CreateMessageRequest["params"];
type SampleContent = SampleRequest["messages"][number]["content"];

/** What the protocol has for "a person, or whoever decides for them, says no". */
const refusedCode = -1;

export interface Sample {
  readonly result: CreateMessageResult;
  readonly usage: Usage;
}

/** @throws {ProtocolError} With what the server is told: the request is refused, or the model has failed. */
export async function sample(models: Pick<Models, "open">, handle: string, request: SampleRequest, signal: AbortSignal): Promise<Sample> {
  // Without tools a sample cannot lead to another call, so no server can have Kelpie call itself in a circle.
  if (request.tools !== undefined) throw refusal("Samples with tools are not answered");
  if (Buffer.byteLength(JSON.stringify(request)) > mcpLimits.sampleBytes)
    throw refusal(`A sample has at most ${mcpLimits.sampleBytes} bytes to read`);
  const messages = [
    ...(request.systemPrompt === undefined ? [] : [{ role: "system" as const, content: request.systemPrompt }]),
    ...request.messages.map(({ role, content }) => toMessage(role, partsOf(content))),
  ];
  const settings = {
    maxOutputTokens: Math.max(1, Math.min(request.maxTokens, mcpLimits.sampleTokens)),
    ...(request.temperature === undefined ? {} : { temperature: request.temperature }),
  };
  try {
    const model = await models.open(handle);
    let [text, usage, reason]: [string, Usage, EndReason] = ["", noUsage, "stop"];
    for await (const event of model.generate({ messages, tools: [], settings }, signal)) {
      if (event.type === "text") text += event.delta;
      else if (event.type === "end") ({ usage, reason } = event);
    }
    const stopReason = reason === "length" ? "maxTokens" : "endTurn";
    return { result: { role: "assistant", content: { type: "text", text }, model: model.handle, stopReason }, usage };
  } catch (error) {
    // What a provider says in an error is not the server's to read.
    const kind = error instanceof ModelError ? ` (${error.kind})` : "";
    throw Object.assign(new ProtocolError(ProtocolErrorCode.InternalError, `The model ${handle} gave no answer${kind}`), { cause: error });
  }
}

export function refusal(message: string): ProtocolError {
  return new ProtocolError(refusedCode, message);
}

function toMessage(role: "user" | "assistant", parts: readonly ContentPart[]): ModelMessage {
  if (role === "user") return { role, content: parts };
  const texts = parts.flatMap((part) => (part.type === "text" ? [part] : []));
  if (texts.length < parts.length) throw refusal("A sample has images in messages of the user only");
  return { role, content: texts };
}

function partsOf(content: SampleContent): ContentPart[] {
  return (Array.isArray(content) ? content : [content]).map((part) => {
    if (part.type === "text") return { type: "text", text: part.text };
    if (part.type === "image") return { type: "image", source: { mediaType: part.mimeType, base64: part.data } };
    throw refusal(`A sample has texts and images, not ${part.type}`);
  });
}
