/**
 * Gathers a model's events into an answer, and turns them into stream messages on the way.
 *
 * After a crash a step asks the model again. What the readers of a background run have already seen of the step is
 * compared with the new answer: as long as it is the same text it is not shown again; where it differs, the new answer
 * is shown whole under a new message id, and the old one is never stored.
 */
import type { EndReason, ModelEvent, Usage } from "../models/model.ts";
import { noUsage } from "../models/model.ts";
import { type AnswerPart, type ChatMessage, deltaMessage, type LettaMessage, type ToolCall } from "./chat-message.ts";

export interface Answer {
  readonly messageId: string;
  readonly parts: readonly AnswerPart[];
  readonly calls: readonly ToolCall[];
  readonly reason: EndReason;
  readonly usage: Usage;
  readonly requestId: string | null;
}

/** What readers have seen of a step, by the place of each piece in the answer. */
export type Shown = Map<string, string>;

type Head = Omit<ChatMessage, "body" | "n">;

/** Texts of one answer over this many characters in total end the step with an error: all of it is committed in one batch. */
export const answerCharactersMax = 1_000_000;

/** Tool calls of one answer; more end the step with an error. */
export const answerCallsMax = 128;

/** Of what a model calls a tool, and a call. */
const nameCharactersMax = 128;
const idCharactersMax = 200;

export class AnswerTooLongError extends Error {
  override readonly name = "AnswerTooLongError";
}

export class AnswerCollector {
  #head: Head;
  #shown: Shown;
  readonly #freshId: () => string;
  readonly #isGated: (toolName: string) => boolean;
  readonly #parts: { kind: "text" | "reasoning" | "redacted"; text: string; signature?: string }[] = [];
  readonly #calls = new Map<number, { id: string; name: string; text: string }>();
  #characters = 0;
  #end: Extract<ModelEvent, { type: "end" }> | undefined;

  constructor(options: {
    readonly head: Head;
    readonly shown: Shown;
    readonly freshId: () => string;
    readonly isGated: (toolName: string) => boolean;
  }) {
    this.#head = options.head;
    this.#shown = options.shown;
    this.#freshId = options.freshId;
    this.#isGated = options.isGated;
  }

  /** Takes one event and gives the stream messages that show it. @throws {AnswerTooLongError} */
  accept(event: ModelEvent): LettaMessage[] {
    switch (event.type) {
      case "text":
      case "reasoning":
        return this.#appendText(event.type, event.delta);
      case "reasoningEnd": {
        const part = this.#parts.findLast((each) => each.kind === "reasoning");
        if (part !== undefined && event.signature !== undefined) part.signature = event.signature;
        return [];
      }
      case "redactedReasoning":
        this.#count(event.data.length);
        this.#parts.push({ kind: "redacted", text: event.data });
        return [];
      case "toolCallStart":
        if (this.#calls.size >= answerCallsMax)
          throw new AnswerTooLongError(`The model made more than ${answerCallsMax} tool calls in one answer`);
        this.#addCall(event, "");
        return this.#showCall(event.index, "", true);
      case "toolCallDelta": {
        const call = this.#calls.get(event.index);
        if (call === undefined) return [];
        this.#count(event.delta.length);
        call.text += event.delta;
        return this.#showCall(event.index, event.delta, false);
      }
      case "toolCallEnd": {
        const call = this.#calls.get(event.index);
        if (call === undefined) {
          this.#count(event.argumentsText.length);
          this.#addCall(event, event.argumentsText);
          return [...this.#showCall(event.index, "", true), ...this.#showCall(event.index, event.argumentsText, false)];
        }
        call.text = event.argumentsText;
        return [];
      }
      case "end":
        this.#end = event;
        return this.#hasShownMore() ? this.#restart() : [];
    }
  }

  /** The id that the answer is shown under. */
  get messageId(): string {
    return this.#head.id;
  }

  /** The whole answer. Undefined before the model's `end`. */
  answer(): Answer | undefined {
    if (this.#end === undefined) return undefined;
    return {
      messageId: this.#head.id,
      parts: this.#parts.flatMap((part): AnswerPart[] => {
        if (part.kind === "redacted") return [{ type: "redacted_reasoning", data: part.text }];
        const text = part.text.toWellFormed();
        if (part.kind === "text") return text === "" ? [] : [{ type: "text", text }];
        return [
          part.signature === undefined
            ? { type: "reasoning", reasoning: text }
            : { type: "reasoning", reasoning: text, signature: part.signature },
        ];
      }),
      calls: [...this.#calls.entries()]
        .toSorted(([left], [right]) => left - right)
        .map(([, call]) => ({ tool_call_id: call.id, name: call.name, arguments: call.text.toWellFormed() })),
      reason: this.#end.reason,
      usage: this.#end.usage ?? noUsage,
      requestId: this.#end.requestId ?? null,
    };
  }

  #appendText(kind: "text" | "reasoning", delta: string): LettaMessage[] {
    if (delta === "") return [];
    this.#count(delta.length);
    let part = this.#parts.at(-1);
    if (part?.kind !== kind || part.signature !== undefined) this.#parts.push((part = { kind, text: "" }));
    part.text += delta;
    const position = this.#parts.length - 1;
    return this.#show(`part ${position}`, { text: part.text, delta }, (text) => deltaMessage(this.#head, { kind, position, text }));
  }

  /** Ids are unique in their answer and fit a header, and names can go back to a provider, whatever the model wrote. */
  #addCall({ index, id, name }: { readonly index: number; readonly id: string; readonly name: string }, text: string): void {
    let own = id.replaceAll(/[^\x21-\x7e]/g, "_").slice(0, idCharactersMax);
    while ([...this.#calls.values()].some((call) => call.id === own)) own += `-${index}`;
    this.#calls.set(index, { id: own, name: name.replaceAll(/[^\p{L}\p{N}_.:/ -]/gu, "_").slice(0, nameCharactersMax), text });
  }

  #showCall(index: number, delta: string, isStart: boolean): LettaMessage[] {
    const call = this.#calls.get(index)!;
    // A gated call is shown whole when it is committed: the client must see one complete request.
    if (this.#isGated(call.name)) return [];
    if (isStart && !this.#shown.has(`call ${call.id}`)) {
      // A call that follows those that were shown is news; one in the place of a shown call is another answer.
      const calls = [...this.#calls.values()].filter(({ name }) => !this.#isGated(name)).length;
      if (this.#shownCalls() >= calls) return this.#restart();
      return [deltaMessage(this.#head, { kind: "toolCall", call: { name: call.name, arguments: "", tool_call_id: call.id } })];
    }
    return this.#show(`call ${call.id}`, { text: call.text, delta }, (text) =>
      deltaMessage(this.#head, { kind: "toolCall", call: { name: call.name, arguments: text, tool_call_id: call.id } }),
    );
  }

  /** Whether readers have seen something that is not in this answer, which is shorter then. */
  #hasShownMore(): boolean {
    return this.#shown.entries().some(([place, text]) => this.#textAt(place)?.startsWith(text) !== true);
  }

  #textAt(place: string): string | undefined {
    const call = [...this.#calls.values()].find(({ id }) => place === `call ${id}`);
    return call?.text ?? this.#parts.find((_, position) => place === `part ${position}`)?.text;
  }

  #shownCalls(): number {
    return [...this.#shown.keys()].filter((place) => place.startsWith("call ")).length;
  }

  readonly #shownLengths = new Map<string, number>();

  /** Shows what of `text`, which ends with `delta`, is new at `place`, unless the readers have seen it before the crash. */
  #show(
    place: string,
    { text, delta }: { readonly text: string; readonly delta: string },
    message: (text: string) => LettaMessage,
  ): LettaMessage[] {
    const before = this.#shown.get(place);
    const shown = this.#shownLengths.get(place) ?? 0;
    if (before !== undefined) {
      const same = before.startsWith(text) || text.startsWith(before);
      if (!same) return this.#restart();
      if (text.length <= before.length) return [];
      if (shown < before.length) this.#shownLengths.set(place, before.length);
    }
    const from = this.#shownLengths.get(place) ?? 0;
    // Half of a character waits for its other half.
    const to = text.length - (/[\ud800-\udbff]$/.test(delta) ? 1 : 0);
    if (from >= to) return [];
    this.#shownLengths.set(place, to);
    // Nearly always the delta is what is new. A slice of the text would copy all of it, for each token.
    return [message(to - from === delta.length ? delta : text.slice(from, to))];
  }

  /** The answer differs from what was seen: shows all of it under a new id. */
  #restart(): LettaMessage[] {
    this.#head = { ...this.#head, id: this.#freshId() };
    this.#shown = new Map();
    this.#shownLengths.clear();
    const texts = this.#parts.flatMap((part, position) => {
      if (part.kind === "redacted" || part.text === "") return [];
      const { text, kind } = part;
      return this.#show(`part ${position}`, { text, delta: text }, (shown) => deltaMessage(this.#head, { kind, position, text: shown }));
    });
    const calls = [...this.#calls.entries()].flatMap(([index, call]) => [
      ...this.#showCall(index, "", true),
      ...(call.text === "" ? [] : this.#showCall(index, call.text, false)),
    ]);
    return [...texts, ...calls];
  }

  #count(characters: number): void {
    this.#characters += characters;
    if (this.#characters > answerCharactersMax)
      throw new AnswerTooLongError(`The model's answer has more than ${answerCharactersMax} characters`);
  }
}

/** What the events of a run's log show of the message `messageId`. */
export function shownOf(messageId: string, events: readonly { readonly message: { readonly [field: string]: unknown } }[]): Shown {
  const shown: Shown = new Map();
  for (const { message } of events) {
    if (message["id"] !== messageId) continue;
    const call = message["tool_call"] as Partial<ToolCall> | undefined;
    const text = (message["content"] ?? message["reasoning"]) as string | undefined;
    if (call?.tool_call_id !== undefined) append(shown, `call ${call.tool_call_id}`, call.arguments ?? "");
    else if (typeof text === "string" && typeof message["otid"] === "string")
      append(shown, `part ${Number.parseInt(message["otid"].slice(-2), 16) & 0x7f}`, text);
  }
  return shown;
}

function append(shown: Shown, place: string, text: string): void {
  shown.set(place, (shown.get(place) ?? "") + text);
}
