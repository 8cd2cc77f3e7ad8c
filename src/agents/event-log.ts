import type { Turn } from "../actors/actor.ts";
import { callFields, type ChatMessage, type LettaMessage, type ToolCall, toLettaMessages } from "./chat-message.ts";
import type { ActiveRun, RunProgress } from "./conversation.ts";
import { eventWrites, type RunEvent } from "./run-events.ts";
import type { RunError, StopReason } from "./run.ts";

/** The events of one commit, numbered as it goes. */
export class EventLog {
  #seq: number;
  readonly #events: RunEvent[];
  readonly #run: ActiveRun;

  constructor(seq: number, pending: readonly RunEvent[], run: ActiveRun) {
    this.#seq = seq;
    this.#events = [...pending];
    this.#run = run;
  }

  get seq(): number {
    return this.#seq;
  }

  /**
   * An answer whose tokens were streamed is logged whole only in a foreground run, each message under the number of its
   * last token: `numbers` has it by the message's otid. Undefined: no tokens were streamed. Calls that are `isHidden` were
   * not streamed, as somebody might have had to be asked first.
   */
  answer(messages: readonly ChatMessage[], numbers: ReadonlyMap<unknown, number> | undefined, isHidden: (call: ToolCall) => boolean): void {
    for (const message of messages) {
      for (const each of toLettaMessages(message)) {
        const isWhole = each.message_type === "approval_request_message" || each.message_type === "hidden_reasoning_message";
        if (numbers === undefined || isWhole) this.#add(each);
        else if (each.message_type === "tool_call_message") this.#addCalls(each, numbers, isHidden);
        else this.#addStreamed(each, numbers);
      }
    }
    // Tokens of calls may have come before the last ones of a text.
    this.#events.sort((left, right) => left.seq - right.seq);
  }

  #addCalls(message: LettaMessage, numbers: ReadonlyMap<unknown, number>, isHidden: (call: ToolCall) => boolean): void {
    const calls = message["tool_calls"] as readonly ToolCall[];
    const streamed = calls.filter((call) => !isHidden(call));
    const hidden = calls.filter(isHidden);
    if (streamed.length > 0) this.#addStreamed({ ...message, ...callFields(streamed) }, numbers);
    if (hidden.length > 0) this.#add({ ...message, ...callFields(hidden) });
  }

  #addStreamed(message: LettaMessage, numbers: ReadonlyMap<unknown, number>): void {
    if (!this.#run.background) this.#events.push({ seq: numbers.get(message["otid"])!, message: withoutSeq(message) });
  }

  messages(messages: readonly ChatMessage[]): void {
    for (const message of messages) for (const each of toLettaMessages(message)) this.#add(each);
  }

  add(message: RunEvent["message"]): void {
    this.#add(message);
  }

  end(progress: RunProgress, stop: StopReason, error: RunError | null): void {
    this.#add({ message_type: "stop_reason", stop_reason: stop });
    if (error !== null) {
      this.#add({
        message_type: "error_message",
        run_id: this.#run.id,
        error_type: error.error_type,
        message: error.message,
        detail: error.detail ?? "",
      });
    } else {
      const { usage } = progress;
      this.#add({
        message_type: "usage_statistics",
        completion_tokens: usage.completion_tokens,
        prompt_tokens: usage.prompt_tokens,
        total_tokens: usage.prompt_tokens + usage.completion_tokens,
        step_count: progress.steps,
        run_ids: null,
        cached_input_tokens: usage.cached_input_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        context_tokens: progress.contextTokens,
      });
    }
    this.#events.push({ ...this.#events.pop()!, last: true });
  }

  /** Adds the events to the turn's batch and gives them. */
  write(project: string, turn: Turn): readonly RunEvent[] {
    turn.write(...eventWrites(project, this.#run.id, this.#events));
    return this.#events;
  }

  #add(message: RunEvent["message"]): void {
    this.#events.push({ seq: ++this.#seq, message: withoutSeq(message) });
  }
}

function withoutSeq(message: RunEvent["message"]): RunEvent["message"] {
  const { seq_id: _, ...rest } = message;
  return rest;
}
