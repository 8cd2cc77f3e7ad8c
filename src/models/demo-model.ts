/** `kelpie/demo`: lets the product be tried and tested without a key. What it says is in `demo-script.ts`. */
import type { Environment } from "../environment/environment.ts";
import { type DemoAnswer, demoAnswer } from "./demo-script.ts";
import { type Model, ModelError, type ModelEvent, type ModelInfo, type ModelRequest, type Usage } from "./model.ts";
import { shortHash } from "./short-hash.ts";

export const demoModelInfo: ModelInfo = {
  handle: "kelpie/demo",
  name: "demo",
  displayName: "Kelpie demo (not a language model)",
  providerType: "kelpie",
  providerName: "kelpie",
  endpointType: "kelpie",
  endpoint: undefined,
  contextWindow: 128_000,
  maxOutputTokens: 8_192,
};

/** The same request has the same events, also their ids. */
export class DemoModel implements Model {
  readonly handle: string = demoModelInfo.handle;
  readonly #environment: Environment;
  readonly #tokenMilliseconds: number;

  /** `tokenMilliseconds` between two events; 0 does not wait at all. */
  constructor(options: { readonly environment: Environment; readonly tokenMilliseconds: number }) {
    this.#environment = options.environment;
    this.#tokenMilliseconds = options.tokenMilliseconds;
  }

  async *generate(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelEvent> {
    signal.throwIfAborted();
    // A picture costs a model what it shows, not what its bytes are; this one sees none.
    const prompt = JSON.stringify([request.messages, request.tools], (name, value: unknown) => (name === "base64" ? "" : value));
    const inputTokens = approximateTokens(prompt);
    if (inputTokens > demoModelInfo.contextWindow)
      throw new ModelError(
        "contextOverflow",
        `Cannot get an answer of ${this.handle}: about ${inputTokens} tokens exceed its context window of ${demoModelInfo.contextWindow}`,
      );
    const limit = request.settings.maxOutputTokens ?? demoModelInfo.maxOutputTokens ?? Infinity;
    let outputTokens = 0;
    let isCut = false;
    const answer = demoAnswer(request);
    for (const event of eventsOf(answer, shortHash(JSON.stringify(request.messages)))) {
      if ("delta" in event) {
        const tokens = approximateTokens(event.delta);
        // Only text is cut: half of a tool call would be of no use to anybody.
        if (event.type === "text" && outputTokens + tokens > limit) {
          isCut = true;
          break;
        }
        outputTokens += tokens;
        if (this.#tokenMilliseconds > 0) await this.#environment.clock.sleep(this.#tokenMilliseconds, signal);
      }
      signal.throwIfAborted();
      yield event;
    }
    const usage: Usage = { inputTokens, outputTokens, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };
    yield { type: "end", reason: isCut ? "length" : answer.calls.length > 0 ? "toolCalls" : "stop", usage };
  }
}

/** A token is taken to be four bytes of UTF-8, as Letta does where it has no tokenizer. */
function approximateTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / 4);
}

function* eventsOf(answer: DemoAnswer, seed: string): Generator<Exclude<ModelEvent, { type: "end" }>> {
  for (const delta of words(answer.text)) yield { type: "text", delta };
  for (const [index, call] of answer.calls.entries()) {
    // The conversation is longer at the next step, so its calls have other ids.
    const id = `call_${seed}_${index}`;
    const argumentsText = JSON.stringify(call.input);
    yield { type: "toolCallStart", index, id, name: call.name };
    for (const delta of words(argumentsText)) yield { type: "toolCallDelta", index, delta };
    yield { type: "toolCallEnd", index, id, name: call.name, argumentsText };
  }
}

/** Words with the white space before them; all together are the text. */
function words(text: string): readonly string[] {
  return text.match(/\s*\S+|\s+$/g) ?? [];
}
