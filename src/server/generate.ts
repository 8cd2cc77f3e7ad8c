/** One answer of a model, without an agent, its memory or its tools. */
import type { ModelMessage, Usage } from "../models/model.ts";
import { noUsage } from "../models/model.ts";
import type { Services } from "./services.ts";

/** Letta's GenerateResponse. @throws {ModelError} @throws {ModelNotFoundError} */
export async function generateText(
  { models }: Pick<Services, "models">,
  request: { readonly handle: string; readonly system: string | undefined; readonly prompt: string },
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const model = await models.open(request.handle);
  const messages: ModelMessage[] = [
    ...(request.system === undefined ? [] : [{ role: "system" as const, content: request.system }]),
    { role: "user", content: [{ type: "text", text: request.prompt }] },
  ];
  let content = "";
  let usage: Usage = noUsage;
  for await (const event of model.generate({ messages, tools: [], settings: {} }, signal)) {
    if (event.type === "text") content += event.delta;
    else if (event.type === "end") usage = event.usage;
  }
  return {
    content,
    model: model.handle,
    usage: {
      message_type: "usage_statistics",
      completion_tokens: usage.outputTokens,
      prompt_tokens: usage.inputTokens,
      total_tokens: usage.inputTokens + usage.outputTokens,
      step_count: 1,
      run_ids: null,
      cached_input_tokens: usage.cacheReadTokens,
      cache_write_tokens: usage.cacheWriteTokens,
      reasoning_tokens: usage.reasoningTokens,
      context_tokens: usage.inputTokens,
    },
  };
}
