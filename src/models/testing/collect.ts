import type { Model, ModelEvent, ModelRequest } from "../model.ts";

/** A small request: one message of the user. */
export function userRequest(text: string, fields: Partial<ModelRequest> = {}): ModelRequest {
  return { messages: [{ role: "user", content: [{ type: "text", text }] }], tools: [], settings: {}, ...fields };
}

/** All events of an answer, and the error that ended it, if one did. */
export async function collect(
  model: Model,
  request: ModelRequest,
  signal: AbortSignal = new AbortController().signal,
): Promise<{ readonly events: readonly ModelEvent[]; readonly error: unknown }> {
  const events: ModelEvent[] = [];
  try {
    for await (const event of model.generate(request, signal)) events.push(event);
    return { events, error: undefined };
  } catch (error) {
    return { events, error };
  }
}

/** What the events say, put together. */
export function summarize(events: readonly ModelEvent[]): {
  readonly text: string;
  readonly reasoning: string;
  readonly calls: readonly { id: string; name: string; argumentsText: string }[];
  readonly end: Extract<ModelEvent, { type: "end" }> | undefined;
} {
  return {
    text: events.map((event) => (event.type === "text" ? event.delta : "")).join(""),
    reasoning: events.map((event) => (event.type === "reasoning" ? event.delta : "")).join(""),
    calls: events.flatMap((event) =>
      event.type === "toolCallEnd" ? [{ id: event.id, name: event.name, argumentsText: event.argumentsText }] : [],
    ),
    end: events.find((event) => event.type === "end"),
  };
}
