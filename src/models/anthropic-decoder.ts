/** What the stream of Anthropic's Messages API means. */
import type { EventSourceMessage } from "eventsource-parser";
import { type EndReason, ModelError, type ModelEvent } from "./model.ts";
import { streamError } from "./provider-error.ts";
import { asArray, asCount, asObject, asText, parseJson, shorten, type WireObject } from "./wire-json.ts";
import type { WireDecoder } from "./wire-reader.ts";

/** `end_turn`, `stop_sequence`, `pause_turn` and what may come later are `stop`. */
const reasons: { readonly [reason: string]: EndReason } = {
  max_tokens: "length",
  model_context_window_exceeded: "length",
  refusal: "refusal",
};

type OpenBlock =
  | { readonly type: "text" }
  | { readonly type: "thinking"; signature: string }
  | {
      readonly type: "toolUse";
      readonly index: number;
      readonly id: string;
      readonly name: string;
      readonly input: WireObject;
      argumentsText: string;
    };

export class AnthropicDecoder implements WireDecoder {
  readonly #makeCallId: () => string;
  readonly #blocks = new Map<number, OpenBlock>();
  #requestId: string | undefined;
  #callCount = 0;
  #stopReason: string | undefined;
  #isDone = false;
  #inputTokens = 0;
  #outputTokens = 0;
  #cacheReadTokens = 0;
  #cacheWriteTokens = 0;

  constructor(options: { readonly makeCallId: () => string; readonly requestId: string | undefined }) {
    this.#makeCallId = options.makeCallId;
    this.#requestId = options.requestId;
  }

  get isFinished(): boolean {
    return this.#stopReason !== undefined;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  read(message: EventSourceMessage): readonly ModelEvent[] {
    const event = asObject(parseJson(message.data));
    const type = asText(event?.["type"]) ?? message.event;
    if (type === "ping") return [];
    if (type === "error") throw streamError(message.data);
    if (event === undefined) throw new ModelError("invalidResponse", `sent an event that is not JSON: ${shorten(message.data, 80)}`);
    const index = asCount(event["index"]) ?? 0;
    switch (type) {
      case "message_start":
        this.#readMessage(asObject(event["message"]) ?? {});
        return [];
      case "content_block_start":
        return this.#startBlock(index, asObject(event["content_block"]) ?? {});
      case "content_block_delta":
        return this.#readDelta(index, asObject(event["delta"]) ?? {});
      case "content_block_stop":
        return this.#endBlock(index);
      case "message_delta":
        this.#readMessage({ ...asObject(event["delta"]), usage: event["usage"] });
        return [];
      case "message_stop":
        this.#isDone = true;
        return [];
      default:
        return []; // The protocol asks to ignore events that are not known.
    }
  }

  readWhole(body: unknown): readonly ModelEvent[] {
    const answer = asObject(body) ?? {};
    if (answer["type"] === "error" || Boolean(answer["error"])) throw streamError(JSON.stringify(answer));
    const events = asArray(answer["content"]).flatMap((block, index) => [
      ...this.#startBlock(index, asObject(block) ?? {}),
      ...this.#endBlock(index),
    ]);
    this.#readMessage(answer);
    return [...events, ...this.finish()];
  }

  finish(): readonly ModelEvent[] {
    if (this.#stopReason === undefined) throw new ModelError("invalidResponse", "ended its answer without a stop reason");
    const events = [...this.#blocks.keys()].flatMap((index) => this.#endBlock(index));
    const reason = reasons[this.#stopReason] ?? (this.#callCount > 0 ? "toolCalls" : "stop");
    const usage = {
      inputTokens: this.#inputTokens + this.#cacheReadTokens + this.#cacheWriteTokens,
      outputTokens: this.#outputTokens,
      cacheReadTokens: this.#cacheReadTokens,
      cacheWriteTokens: this.#cacheWriteTokens,
      reasoningTokens: 0, // Anthropic counts thinking as output and does not tell it apart.
    };
    const end = { type: "end", reason, usage } as const;
    return [...events, this.#requestId === undefined ? end : { ...end, requestId: this.#requestId }];
  }

  /** The numbers of usage are totals so far; later events repeat only some of them. */
  #readMessage(message: WireObject): void {
    this.#requestId ??= asText(message["id"]);
    this.#stopReason = asText(message["stop_reason"]) ?? this.#stopReason;
    const usage = asObject(message["usage"]) ?? {};
    this.#inputTokens = asCount(usage["input_tokens"]) ?? this.#inputTokens;
    this.#outputTokens = asCount(usage["output_tokens"]) ?? this.#outputTokens;
    this.#cacheReadTokens = asCount(usage["cache_read_input_tokens"]) ?? this.#cacheReadTokens;
    this.#cacheWriteTokens = asCount(usage["cache_creation_input_tokens"]) ?? this.#cacheWriteTokens;
  }

  #startBlock(index: number, block: WireObject): readonly ModelEvent[] {
    switch (block["type"]) {
      case "text": {
        this.#blocks.set(index, { type: "text" });
        return textEvents(block["text"]);
      }
      case "thinking": {
        this.#blocks.set(index, { type: "thinking", signature: asText(block["signature"]) ?? "" });
        const delta = asText(block["thinking"]);
        return delta === undefined ? [] : [{ type: "reasoning", delta }];
      }
      case "redacted_thinking": {
        const data = asText(block["data"]);
        return data === undefined ? [] : [{ type: "redactedReasoning", data }];
      }
      case "tool_use": {
        const name = asText(block["name"]);
        if (name === undefined) throw new ModelError("invalidResponse", "sent a tool call without a name");
        const call = {
          type: "toolUse",
          index: this.#callCount++,
          id: asText(block["id"]) ?? this.#makeCallId(),
          name,
          input: asObject(block["input"]) ?? {},
          argumentsText: "",
        } as const;
        this.#blocks.set(index, call);
        return [{ type: "toolCallStart", index: call.index, id: call.id, name }];
      }
      default:
        return []; // Blocks of the provider's own tools, which are never asked for.
    }
  }

  #readDelta(index: number, delta: WireObject): readonly ModelEvent[] {
    const block = this.#blocks.get(index);
    if (block?.type === "text") return textEvents(delta["text"]);
    if (block?.type === "thinking") {
      block.signature += asText(delta["signature"]) ?? "";
      const thinking = asText(delta["thinking"]);
      return thinking === undefined ? [] : [{ type: "reasoning", delta: thinking }];
    }
    if (block?.type === "toolUse") {
      const json = asText(delta["partial_json"]);
      if (json === undefined) return [];
      block.argumentsText += json;
      return [{ type: "toolCallDelta", index: block.index, delta: json }];
    }
    return [];
  }

  #endBlock(index: number): readonly ModelEvent[] {
    const block = this.#blocks.get(index);
    this.#blocks.delete(index);
    if (block?.type === "thinking")
      return [block.signature === "" ? { type: "reasoningEnd" } : { type: "reasoningEnd", signature: block.signature }];
    if (block?.type !== "toolUse") return [];
    if (block.argumentsText !== "")
      return [{ type: "toolCallEnd", index: block.index, id: block.id, name: block.name, argumentsText: block.argumentsText }];
    // The whole input at the start of the block, as in answers that are not streamed.
    const argumentsText = JSON.stringify(block.input);
    return [
      { type: "toolCallDelta", index: block.index, delta: argumentsText },
      { type: "toolCallEnd", index: block.index, id: block.id, name: block.name, argumentsText },
    ];
  }
}

function textEvents(text: unknown): readonly ModelEvent[] {
  const delta = asText(text);
  return delta === undefined ? [] : [{ type: "text", delta }];
}
