/**
 * From the bytes of an HTTP answer to model events.
 *
 * W1. The events do not depend on how the bytes are split.
 * W2. An answer without the provider's finish is an error, never a short answer.
 */
import { createParser, type EventSourceMessage, type EventSourceParser } from "eventsource-parser";
import { ModelError, type ModelEvent } from "./model.ts";
import { parseJson, shorten } from "./wire-json.ts";

/** What one protocol means. A decoder serves one answer; it throws `ModelError`s that do not yet name the provider. */
export interface WireDecoder {
  /** The events of one server-sent event. */
  read(message: EventSourceMessage): readonly ModelEvent[];
  /** The events of an answer that came as one JSON text instead of a stream, up to its `end`. */
  readWhole(body: unknown): readonly ModelEvent[];
  /** The provider said why it stopped: whatever happens to the connection now, the answer is whole. */
  readonly isFinished: boolean;
  /** Nothing more is to come. */
  readonly isDone: boolean;
  /** The last events, ending with `end`. @throws {ModelError} There was no finish. */
  finish(): readonly ModelEvent[];
}

export class WireReader {
  readonly #decoder: WireDecoder;
  readonly #bytesMax: number;
  readonly #textDecoder = new TextDecoder();
  readonly #parser: EventSourceParser;
  #events: ModelEvent[] = [];
  #byteCount = 0;
  /** Unknown until the first character that is not white space. */
  #format: "unknown" | "eventStream" | "json" = "unknown";
  readonly #jsonParts: string[] = [];
  #failure: Error | undefined;

  constructor(decoder: WireDecoder, limits: { readonly responseBytesMax: number; readonly eventCharactersMax: number }) {
    this.#decoder = decoder;
    this.#bytesMax = limits.responseBytesMax;
    this.#parser = createParser({
      maxBufferSize: limits.eventCharactersMax,
      onEvent: (message) => {
        if (!decoder.isDone) this.#events.push(...decoder.read(message));
      },
      onError: (error) => {
        // Other complaints are about fields that the standard says to ignore.
        if (error.type === "max-buffer-size-exceeded")
          throw new ModelError("invalidResponse", `sent an event longer than ${limits.eventCharactersMax} characters`);
      },
    });
  }

  get isFinished(): boolean {
    return this.#decoder.isFinished;
  }

  get isDone(): boolean {
    return this.#decoder.isDone;
  }

  /** What ends the answer, once the events before it are read: thrown away they would make W1 untrue. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  read(bytes: Uint8Array): readonly ModelEvent[] {
    this.#attempt(() => {
      this.#byteCount += bytes.length;
      if (this.#byteCount > this.#bytesMax)
        throw new ModelError("invalidResponse", `did not end its answer within ${this.#bytesMax} bytes`);
      this.#feed(this.#textDecoder.decode(bytes, { stream: true }));
    });
    return this.#takeEvents();
  }

  /** The body has ended cleanly. */
  end(): readonly ModelEvent[] {
    this.#attempt(() => {
      this.#feed(this.#textDecoder.decode());
      // Some servers leave out the blank line after their last event.
      if (this.#format === "eventStream") this.#parser.feed("\n\n");
      if (this.#format === "json") this.#events.push(...this.#decoder.readWhole(parseWhole(this.#jsonParts.join(""))));
      else this.#events.push(...this.#decoder.finish());
    });
    return this.#takeEvents();
  }

  /** After the connection broke, for an answer that `isFinished`. */
  finish(): readonly ModelEvent[] {
    this.#attempt(() => this.#events.push(...this.#decoder.finish()));
    return this.#takeEvents();
  }

  #attempt(work: () => void): void {
    if (this.#failure !== undefined) return;
    try {
      work();
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
    }
  }

  #feed(text: string): void {
    if (this.#format === "unknown") {
      // White space before the answer is a keep-alive.
      text = text.trimStart();
      if (text === "") return;
      // What the answer is shows in its first character; its content type is often wrong. No event stream begins so.
      if (text[0] === "<") throw new ModelError("invalidResponse", "sent a web page instead of an answer");
      this.#format = text[0] === "{" || text[0] === "[" ? "json" : "eventStream";
    }
    if (this.#format === "json") this.#jsonParts.push(text);
    else this.#parser.feed(text);
  }

  #takeEvents(): readonly ModelEvent[] {
    const events = this.#events;
    if (events.length > 0) this.#events = [];
    return events;
  }
}

function parseWhole(text: string): unknown {
  const body = parseJson(text);
  if (body === undefined) throw new ModelError("invalidResponse", `sent JSON that is broken or cut off: ${shorten(text.trim(), 80)}`);
  return body;
}
