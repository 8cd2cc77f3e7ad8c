/** What the stream of OpenAI's Chat Completions means, also as the many servers write it that only resemble it. */
import type { EventSourceMessage } from "eventsource-parser";
import { type EndReason, ModelError, type ModelEvent, noUsage, type Usage } from "./model.ts";
import { streamError } from "./provider-error.ts";
import { asArray, asCount, asObject, asText, parseJson, shorten, type WireObject } from "./wire-json.ts";
import type { WireDecoder } from "./wire-reader.ts";

/** A name of a reason that is not here stands for `stop`: servers have their own words for an ordinary end. */
const reasons: { readonly [reason: string]: EndReason } = {
  length: "length",
  max_tokens: "length",
  model_length: "length",
  tool_calls: "toolCalls",
  function_call: "toolCalls",
  content_filter: "contentFilter",
  sensitive: "contentFilter",
};

/** DeepSeek, OpenRouter, Zhipu, vLLM: the provider failed, whatever was sent before. */
const failedReasons: ReadonlySet<string> = new Set(["error", "insufficient_system_resource", "network_error", "abort"]);

interface OpenCall {
  id: string | undefined;
  name: string | undefined;
  argumentsText: string;
}

export class OpenAIChatDecoder implements WireDecoder {
  readonly #makeCallId: () => string;
  readonly #calls: OpenCall[] = [];
  /** Where the server's indexes point: into `#calls`. */
  readonly #callByIndex = new Map<number, OpenCall>();
  #requestId: string | undefined;
  #usage: Usage = noUsage;
  #isReasoning = false;
  #hasRefused = false;
  #finishReason: string | undefined;
  #isDone = false;

  /** `makeCallId` is for servers that leave ids out. */
  constructor(options: { readonly makeCallId: () => string; readonly requestId: string | undefined }) {
    this.#makeCallId = options.makeCallId;
    this.#requestId = options.requestId;
  }

  get isFinished(): boolean {
    return this.#finishReason !== undefined;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  read(message: EventSourceMessage): readonly ModelEvent[] {
    const data = message.data.trim();
    if (data === "") return [];
    if (data === "[DONE]") {
      this.#isDone = true;
      return [];
    }
    const body = asObject(parseJson(data));
    if (message.event === "error" || hasError(body)) throw streamError(data);
    if (body === undefined) throw new ModelError("invalidResponse", `sent an event that is not JSON: ${shorten(data, 80)}`);
    return this.#readBody(body, "delta");
  }

  readWhole(body: unknown): readonly ModelEvent[] {
    const answer = asObject(body) ?? {};
    if (hasError(answer)) throw streamError(JSON.stringify(answer));
    return [...this.#readBody(answer, "message"), ...this.finish()];
  }

  finish(): readonly ModelEvent[] {
    if (this.#finishReason === undefined) throw new ModelError("invalidResponse", "ended its answer without a finish reason");
    const events: ModelEvent[] = this.#endReasoning();
    for (const [index, call] of this.#calls.entries()) {
      const { id, name } = call;
      if (id === undefined || name === undefined) throw new ModelError("invalidResponse", "sent a tool call without a name");
      events.push({ type: "toolCallEnd", index, id, name, argumentsText: call.argumentsText === "" ? "{}" : call.argumentsText });
    }
    const end = { type: "end", reason: this.#endReason(this.#finishReason), usage: this.#usage } as const;
    events.push(this.#requestId === undefined ? end : { ...end, requestId: this.#requestId });
    return events;
  }

  #endReason(finishReason: string): EndReason {
    if (failedReasons.has(finishReason)) throw new ModelError("providerDown", `gave up its answer (${finishReason})`);
    const reason = reasons[finishReason] ?? "stop";
    if (reason === "length" || reason === "contentFilter") return reason;
    // The calls decide: many servers say `stop` after them, and some say `tool_calls` without any.
    if (this.#calls.length > 0) return "toolCalls";
    return this.#hasRefused ? "refusal" : "stop";
  }

  #readBody(body: WireObject, part: "delta" | "message"): ModelEvent[] {
    this.#requestId ??= asText(body["id"]);
    const usage = asObject(body["usage"]) ?? asObject(asObject(body["x_groq"])?.["usage"]);
    if (usage !== undefined) this.#usage = readUsage(usage);
    const choice = asArray(body["choices"])
      .map(asObject)
      .find((candidate) => (candidate?.["index"] ?? 0) === 0);
    if (choice === undefined) return [];
    if (hasError(choice)) throw streamError(JSON.stringify(choice));
    const events = this.#readDelta(asObject(choice[part]) ?? {});
    this.#finishReason ??= asText(choice["finish_reason"]);
    return events;
  }

  #readDelta(delta: WireObject): ModelEvent[] {
    const events: ModelEvent[] = [];
    // Some servers send the same reasoning under both names.
    this.#addReasoning(events, asText(delta["reasoning_content"]) ?? asText(delta["reasoning"]));
    this.#addText(events, asText(delta["content"]));
    // Mistral sends parts.
    for (const part of asArray(delta["content"]).map(asObject)) {
      for (const thought of asArray(part?.["thinking"]).map(asObject)) this.#addReasoning(events, asText(thought?.["text"]));
      if (part?.["type"] !== "thinking") this.#addText(events, asText(part?.["text"]));
    }
    const refusal = asText(delta["refusal"]);
    if (refusal !== undefined) this.#hasRefused = true;
    this.#addText(events, refusal);
    for (const entry of asArray(delta["tool_calls"]).map(asObject)) if (entry !== undefined) this.#addCall(events, entry);
    return events;
  }

  #addReasoning(events: ModelEvent[], delta: string | undefined): void {
    if (delta === undefined) return;
    this.#isReasoning = true;
    events.push({ type: "reasoning", delta });
  }

  #addText(events: ModelEvent[], delta: string | undefined): void {
    if (delta !== undefined) events.push(...this.#endReasoning(), { type: "text", delta });
  }

  #endReasoning(): ModelEvent[] {
    if (!this.#isReasoning) return [];
    this.#isReasoning = false;
    return [{ type: "reasoningEnd" }];
  }

  #addCall(events: ModelEvent[], entry: WireObject): void {
    const parts = asObject(entry["function"]) ?? {};
    const id = asText(entry["id"]);
    const name = asText(parts["name"]);
    // Some servers send an object instead of its text.
    const delta = asText(parts["arguments"]) ?? (asObject(parts["arguments"]) === undefined ? "" : JSON.stringify(parts["arguments"]));
    const index = asCount(entry["index"]);
    let call = this.#findCall(index, id, name);
    if (call === undefined) {
      call = { id: undefined, name: undefined, argumentsText: "" };
      this.#calls.push(call);
    }
    if (index !== undefined) this.#callByIndex.set(index, call);
    const position = this.#calls.indexOf(call);
    const isNamed = call.name === undefined && name !== undefined;
    call.id ??= id;
    call.argumentsText += delta;
    if (isNamed) {
      call.name = name;
      call.id ??= this.#makeCallId();
      events.push(...this.#endReasoning(), { type: "toolCallStart", index: position, id: call.id, name });
    }
    // What came before the name is sent with it.
    const visible = isNamed ? call.argumentsText : call.name === undefined ? "" : delta;
    if (visible !== "") events.push({ type: "toolCallDelta", index: position, delta: visible });
  }

  /** The call that an entry goes on with, or `undefined` where it begins a new one. */
  #findCall(index: number | undefined, id: string | undefined, name: string | undefined): OpenCall | undefined {
    const call =
      index === undefined
        ? (this.#calls.find((other) => id !== undefined && other.id === id) ?? this.#calls.at(-1))
        : this.#callByIndex.get(index);
    if (call === undefined || name === undefined || call.name === undefined) return call;
    // A second name where a call is open. Some servers repeat name and id in each piece; others repeat index 0, or
    // send no index, for calls that differ.
    if (id !== undefined && call.id !== undefined && id !== call.id) return undefined;
    if (id !== undefined || name === call.name)
      return id === undefined && asObject(parseJson(call.argumentsText)) !== undefined ? undefined : call;
    return undefined;
  }
}

function hasError(body: WireObject | undefined): boolean {
  return Boolean(body?.["error"]);
}

function readUsage(usage: WireObject): Usage {
  const inputDetails = asObject(usage["prompt_tokens_details"]) ?? {};
  const reasoningTokens = asCount(asObject(usage["completion_tokens_details"])?.["reasoning_tokens"]) ?? 0;
  const completionTokens = asCount(usage["completion_tokens"]) ?? 0;
  return {
    inputTokens: asCount(usage["prompt_tokens"]) ?? 0,
    // xAI counts reasoning beside the completion, all others as a part of it.
    outputTokens: reasoningTokens > completionTokens ? completionTokens + reasoningTokens : completionTokens,
    cacheReadTokens: asCount(inputDetails["cached_tokens"]) ?? asCount(usage["prompt_cache_hit_tokens"]) ?? 0,
    cacheWriteTokens: asCount(inputDetails["cache_write_tokens"]) ?? 0,
    reasoningTokens,
  };
}
