/**
 * Language models of a simulated world.
 *
 * M1. An answer is a function of the seed and the conversation alone, so a step that runs again after a crash gets
 *     the same answer, and a checker can say what every conversation had to become.
 * M2. Failures (errors before and in the middle of an answer, a stream that hangs) come from the seed and not from
 *     the conversation, so that a retry can get through.
 */
import { encodeJson } from "../src/base/json.ts";
import type { Json } from "../src/base/json.ts";
import {
  type EndReason,
  type Model,
  ModelError,
  type ModelErrorKind,
  type ModelEvent,
  type ModelInfo,
  ModelNotFoundError,
  type ModelRequest,
  type Models,
  noUsage,
  type ToolDefinition,
} from "../src/models/model.ts";
import { type Incarnation, never } from "./process.ts";
import { hashText, KeyedRandom, type RandomStream } from "./random.ts";

/** What a script says in one answer: the model turns it into deltas. */
export type ScriptedPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "reasoning"; readonly text: string }
  | { readonly type: "toolCall"; readonly name: string; readonly arguments: { readonly [name: string]: Json } };

export interface ScriptedAnswer {
  readonly parts: readonly ScriptedPart[];
  /** By default `toolCalls` where a tool is called, else `stop`. */
  readonly reason?: EndReason;
}

/** Must depend on its request only (M1). */
export type Script = (request: ModelRequest) => ScriptedAnswer;

/** Chances, each from 0 to 1, of what can happen to one call. */
export interface ModelFaults {
  /** An error before anything was emitted. */
  readonly refused: number;
  /** The connection breaks in the middle of the answer. */
  readonly truncated: number;
  /** Nothing more comes until the caller gives up. */
  readonly hangs: number;
}

export const noModelFaults: ModelFaults = { refused: 0, truncated: 0, hangs: 0 };

export interface ScriptedModelOptions {
  readonly incarnation: Incarnation;
  readonly random: RandomStream;
  readonly script: Script;
  readonly faults: ModelFaults;
  readonly faultsUntil?: number;
  /** Between two events of an answer, at most. */
  readonly delayMilliseconds: number;
  /** An answer that hangs fails after so long, as the adapters of providers see to; by default it hangs until the caller gives up. */
  readonly hangMilliseconds?: number;
  /** Asked about each fault that was drawn: whether it happens. By default all do. */
  readonly happens?: (kind: string) => boolean;
}

export const scriptedHandle = "kelpie/scripted";

const info: ModelInfo = {
  handle: scriptedHandle,
  name: "scripted",
  displayName: "Scripted",
  providerType: "kelpie",
  providerName: "kelpie",
  endpointType: "kelpie",
  endpoint: undefined,
  contextWindow: 32_000,
  maxOutputTokens: undefined,
};

/** The one scripted model, as the catalogue that the code above asks. */
export class ScriptedModels implements Models {
  readonly defaultHandle: string = scriptedHandle;
  readonly #options: ScriptedModelOptions;

  constructor(options: ScriptedModelOptions) {
    this.#options = options;
  }

  async list(): Promise<readonly ModelInfo[]> {
    return [info];
  }

  async describe(handle: string): Promise<ModelInfo> {
    if (handle !== scriptedHandle) throw new ModelNotFoundError(`There is no model ${handle} in a simulated world: only ${scriptedHandle}`);
    return info;
  }

  async open(handle: string): Promise<Model> {
    await this.describe(handle);
    return new ScriptedModel(this.#options);
  }
}

export class ScriptedModel implements Model {
  readonly handle: string = scriptedHandle;
  readonly #options: ScriptedModelOptions;

  constructor(options: ScriptedModelOptions) {
    this.#options = options;
  }

  async *generate(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelEvent> {
    const { random, faults } = this.#options;
    const events = eventsOf(this.#options.script(request), request);
    const refuses = this.#fails(faults.refused, "model refused");
    const truncatesAt = this.#fails(faults.truncated, "model truncated") ? random.below(events.length) : undefined;
    const hangsAt = this.#fails(faults.hangs, "model hangs") ? random.below(events.length) : undefined;
    await this.#wait(signal);
    if (refuses) throw new ModelError(random.pick<ModelErrorKind>(["rateLimit", "providerDown", "timeout"]), "The scripted model refused");
    for (const [at, event] of events.entries()) {
      await this.#wait(signal);
      if (at === hangsAt) await this.#hang(signal);
      if (at === truncatesAt) throw new ModelError("invalidResponse", "The scripted model's answer broke off");
      yield event;
    }
  }

  async #hang(signal: AbortSignal): Promise<never> {
    const { incarnation, hangMilliseconds } = this.#options;
    if (hangMilliseconds === undefined) return await aborted(signal);
    await incarnation.environment.clock.sleep(hangMilliseconds, signal);
    signal.throwIfAborted();
    throw new ModelError("timeout", "The scripted model said nothing more");
  }

  async #wait(signal: AbortSignal): Promise<void> {
    const { incarnation, random, delayMilliseconds } = this.#options;
    signal.throwIfAborted();
    await incarnation.environment.clock.sleep(random.fraction() * delayMilliseconds, signal);
    if (!incarnation.cross("model")) await never();
    signal.throwIfAborted();
  }

  #fails(chance: number, kind: string): boolean {
    const { incarnation, random, faultsUntil, happens } = this.#options;
    if (!random.chance(chance) || incarnation.kernel.now >= (faultsUntil ?? Infinity)) return false;
    return happens?.(kind) ?? true;
  }
}

/** A script that talks, thinks and calls the request's tools, several at once, for at most `roundsMax` answers in a row. */
export function talkativeScript(
  seed: number,
  argumentsFor: (tool: ToolDefinition, random: RandomStream) => { readonly [name: string]: Json },
  roundsMax = 3,
): Script {
  return (request) => {
    const random = new KeyedRandom(seed).stream(conversationKey(request));
    const parts: ScriptedPart[] = [];
    if (random.chance(0.3)) parts.push({ type: "reasoning", text: `thinking about ${random.below(1_000)}` });
    const rounds = request.messages.length - 1 - request.messages.findLastIndex((message) => message.role === "user");
    const isCalling = request.tools.length > 0 && request.toolChoice !== "none" && rounds < roundsMax * 2 && random.chance(0.7);
    if (!isCalling || random.chance(0.3)) parts.push({ type: "text", text: `answer ${random.below(1_000_000)}` });
    if (isCalling) {
      for (let call = random.between(1, 3); call > 0; call--) {
        const tool = random.pick(request.tools);
        parts.push({ type: "toolCall", name: tool.name, arguments: argumentsFor(tool, random) });
      }
    }
    return { parts };
  };
}

/** What a conversation looks like to a script: the last user message and all that followed it. */
function conversationKey(request: ModelRequest): string {
  return JSON.stringify(request.messages.slice(request.messages.findLastIndex((message) => message.role === "user")));
}

function eventsOf(answer: ScriptedAnswer, request: ModelRequest): ModelEvent[] {
  const events: ModelEvent[] = [];
  const key = hashText(conversationKey(request), 0x811c9dc5).toString(16);
  let calls = 0;
  for (const part of answer.parts) {
    if (part.type === "text") {
      for (const delta of part.text.split(/(?<= )/u)) events.push({ type: "text", delta });
    } else if (part.type === "reasoning") {
      events.push({ type: "reasoning", delta: part.text }, { type: "reasoningEnd" });
    } else {
      const index = calls++;
      const call = { index, id: `call_${key}_${index}`, name: part.name };
      const argumentsText = JSON.stringify(part.arguments);
      events.push(
        { type: "toolCallStart", ...call },
        { type: "toolCallDelta", index, delta: argumentsText },
        { type: "toolCallEnd", ...call, argumentsText },
      );
    }
  }
  const usage = { ...noUsage, inputTokens: Math.ceil(encodeJson(request.messages).length / 4), outputTokens: events.length };
  events.push({ type: "end", reason: answer.reason ?? (calls > 0 ? "toolCalls" : "stop"), usage });
  return events;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = (): void => reject(signal.reason as Error);
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true });
  });
}
