/** What followers saw, held against the durable events and the stored messages (J6, J7). */
import type { ChatMessage, ToolCall } from "../../src/agents/chat-message.ts";
import type { RunEvent } from "../../src/agents/run-events.ts";
import type { RunRecord } from "../../src/agents/run.ts";
import type { World } from "../world.ts";
import type { Leg, Note } from "./agent-client.ts";
import type { FinalState } from "./final-state.ts";

export function checkStreams(world: World, notes: readonly Note[], state: FinalState): void {
  for (const [runId, events] of state.events) checkLog(world, runId, events);
  for (const { address, legs } of notes) {
    for (const leg of legs) {
      const run = state.runs.get(leg.runId ?? "");
      if (run === undefined || !leg.isFinished) continue;
      const messages = state.messages.get(address)!.filter((message) => message.run_id === run.id && isShown(message, run));
      if (leg.background) checkBackground(world, leg, state.events.get(run.id)!);
      checkShown(world, leg, run, messages);
    }
  }
}

/** Numbers of durable events grow, and the last event is the last one, once. */
function checkLog(world: World, runId: string, events: readonly RunEvent[]): void {
  for (const [at, event] of events.entries()) {
    if (event.seq <= (events[at - 1]?.seq ?? 0))
      world.violation(`J7: the log of ${runId} has event ${event.seq} after ${events[at - 1]?.seq ?? 0}`);
  }
  const ends = events.filter((event) => event.last === true).length;
  if (ends !== 1 || events.at(-1)?.last !== true) world.violation(`J7: ${ends} events of ${runId} are the last one`);
}

/** In a background run every follower sees the log, event for event. */
function checkBackground(world: World, leg: Leg, log: readonly RunEvent[]): void {
  const [seen, stored] = [leg.events, log].map((events) => events.map((event) => JSON.stringify(event)));
  const at = seen!.findIndex((event, index) => event !== stored![index]);
  if (at >= 0 || seen!.length !== stored!.length)
    world.violation(
      `J6: a follower of ${leg.runId} saw ${seen![at] ?? "nothing"} where the log has ${stored![at < 0 ? seen!.length : at]}`,
    );
}

/** A tool message that a cancel added after the run, when it waited for an approval, is in no stream of that run. */
function isShown(message: ChatMessage, run: RunRecord): boolean {
  return message.n < (run.kelpie.endMessage ?? Infinity) && message.body.role !== "user" && message.body.role !== "approvalResponse";
}

/** What a follower put together is what is stored: every piece of every message, and nothing else but what was given up. */
function checkShown(world: World, leg: Leg, run: RunRecord, messages: readonly ChatMessage[]): void {
  const shown = putTogether(leg.events);
  // Tokens of a foreground run that its activation took away with it come again, under higher numbers by far. A reader
  // that came back may get whole what it has seen in part. In both cases a text is whole at its end.
  const wasTakenUp = leg.events.at(-1)!.seq > 1_000_000;
  const isExact = leg.background || (leg.connections === 1 && !wasTakenUp);
  const stored = new Map(messages.flatMap((message) => [...storedPieces(message)]));
  for (const [place, text] of stored) {
    const seen = shown.get(place);
    if (seen === text || (!isExact && seen?.endsWith(text) === true)) continue;
    world.violation(`J6: a follower of ${run.id} put together ${JSON.stringify(seen)} at ${place}, which is ${JSON.stringify(text)}`);
  }
  // Only the answer that a run was in when it ended early may have been shown and not stored.
  const isEarly = run.status !== "completed";
  const strangers = new Set([...shown.keys()].filter((place) => !stored.has(place)).map((place) => place.split(" ")[0]));
  if (strangers.size > (isEarly ? 1 : 0))
    world.violation(`J6: a follower of ${run.id} (${run.stop_reason}) was shown what is not stored: ${[...strangers].join(", ")}`);
}

/** Texts by message and place, as a client of the stream puts them together. */
function putTogether(events: readonly RunEvent[]): Map<string, string> {
  const pieces = new Map<string, string>();
  const add = (place: string, text: string): void => void pieces.set(place, (pieces.get(place) ?? "") + text);
  for (const { message } of events) {
    const id = String(message["id"]);
    if (message.message_type === "assistant_message") add(`${id} text`, String(message["content"]));
    else if (message.message_type === "reasoning_message") add(`${id} reasoning`, String(message["reasoning"]));
    else if (message.message_type === "tool_call_message" || message.message_type === "approval_request_message")
      for (const call of [message["tool_calls"]].flat() as ToolCall[]) add(`${id} ${call.tool_call_id}`, call.arguments);
    else if (message.message_type === "tool_return_message") add(`${id} results`, JSON.stringify(resultsOf(message["tool_returns"])));
  }
  return pieces;
}

function* storedPieces({ id, body }: ChatMessage): Iterable<[place: string, text: string]> {
  if (body.role === "tool") yield [`${id} results`, JSON.stringify(resultsOf(body.returns))];
  if (body.role !== "assistant" && body.role !== "approval") return;
  for (const part of body.parts) {
    if (part.type === "text") yield [`${id} text`, part.text];
    else if (part.type === "reasoning") yield [`${id} reasoning`, part.reasoning];
  }
  for (const call of body.calls) yield [`${id} ${call.tool_call_id}`, call.arguments];
}

function resultsOf(returns: unknown): string[] {
  return (returns as { readonly tool_call_id: string; readonly tool_return: string }[]).map(
    (each) => `${each.tool_call_id} ${each.tool_return}`,
  );
}
