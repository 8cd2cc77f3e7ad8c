/** Sends messages to a conversation and answers with its run: as a stream, as one response, or at once. */
import type { ConversationAddress } from "../agents/conversation.ts";
import type { InputMessage, SendOutcome } from "../agents/conversations.ts";
import type { ChatMessage } from "../agents/chat-message.ts";
import type { RunError, RunRecord } from "../agents/run.ts";
import type { EventStream } from "./event-stream.ts";
import { conflict, HttpError, invalidArgument } from "./http-error.ts";
import { showMessage } from "./message-list.ts";
import { waitForRun, streamRun } from "./run-stream.ts";
import type { LegacyApproval, Send } from "./schemas/message-input.ts";
import type { Services } from "./services.ts";

/** Starts the run, or finds the one that these messages started before. @throws {HttpError} 400, 409 */
export async function startRun(services: Services, address: ConversationAddress, send: Send): Promise<string> {
  const approval = send.legacyApproval === undefined ? [] : [await approvalOf(services, address, send.legacyApproval)];
  const outcome = await services.conversations.send(address, { ...send, messages: [...approval, ...send.messages] });
  if (outcome.ok) return outcome.runId;
  throw refusal(outcome);
}

/** A stream of the run, or its response once it has ended; the run goes on whatever becomes of the client. */
export async function sendAndAnswer(
  services: Services,
  address: ConversationAddress,
  send: Send,
  signal: AbortSignal,
): Promise<EventStream | Record<string, unknown>> {
  const runId = await startRun(services, address, send);
  if (send.streaming)
    return streamRun(services, { project: address.project, runId, after: 0, includePings: send.includePings, types: send.messageTypes });
  await waitForRun(services, address.project, runId, signal);
  const run = await services.conversations.run(address.project, runId);
  const error = run.metadata?.error;
  if (error !== undefined) throw runErrorAnswer(error, runId);
  return lettaResponse(run, await services.conversations.runMessages(address.project, run), send);
}

/** What a client sent is not shown back to it. */
const inputRoles: ReadonlySet<ChatMessage["body"]["role"]> = new Set(["system", "user", "approvalResponse"]);

function lettaResponse(run: RunRecord, messages: readonly ChatMessage[], send: Send): Record<string, unknown> {
  const shown = messages.filter(({ body }) => !inputRoles.has(body.role) && (body.role !== "summary" || send.includeCompactionMessages));
  const { usage, steps, contextTokens } = run.kelpie;
  return {
    messages: shown.flatMap((message) => showMessage(message, send.messageTypes)),
    stop_reason: { message_type: "stop_reason", stop_reason: run.stop_reason ?? "end_turn" },
    usage: {
      message_type: "usage_statistics",
      completion_tokens: usage.completion_tokens,
      prompt_tokens: usage.prompt_tokens,
      total_tokens: usage.completion_tokens + usage.prompt_tokens,
      step_count: steps,
      run_ids: [run.id],
      cached_input_tokens: usage.cached_input_tokens,
      cache_write_tokens: usage.cache_write_tokens,
      reasoning_tokens: usage.reasoning_tokens,
      context_tokens: contextTokens,
    },
    logprobs: null,
    turns: null,
  };
}

function refusal(outcome: Extract<SendOutcome, { ok: false }>): HttpError {
  const cannot = "Cannot send a new message";
  // letta-code reads these texts, and the run's id out of them.
  switch (outcome.reason) {
    case "busy":
      return conflict(
        `${cannot}: Another request (run_id=${outcome.runId}) is currently being processed for this conversation. Please wait for it to complete.`,
        { run_id: outcome.runId },
      );
    case "pendingApproval":
      return conflict(
        `${cannot}: The agent is waiting for approval on a tool call. Please approve or deny the pending request before continuing.`,
      );
    case "noPendingApproval":
      return invalidArgument("Cannot process approval response: No tool call is currently awaiting approval.");
    case "otherApproval":
      return invalidArgument(`Invalid approval request ID. Expected '${outcome.expected}', received '${outcome.given.slice(0, 100)}'`);
    case "invalidToolCallIds":
      return invalidArgument(`Invalid tool call IDs. Expected ${listed(outcome.expected)}, received ${listed(outcome.given)}`);
    case "approvalExpired":
      return conflict(
        `The approval came too late: the request for it expired at ${outcome.expiredAt}. Deny it, or send a new message, which counts as that; the agent can ask again.`,
      );
    case "approvalOutdated":
      return conflict(
        `The approval is for something else: since it was asked for, these tools have changed: ${listed(outcome.tools)}. Deny their calls; the agent can ask again.`,
      );
  }
}

function listed(ids: readonly string[]): string {
  return `[${ids.map((id) => `'${id.slice(0, 100)}'`).join(", ")}]`;
}

/** V1's first form of an answer decides over all calls of the request at once. */
async function approvalOf(services: Services, address: ConversationAddress, answer: LegacyApproval): Promise<InputMessage> {
  const pending = (await services.conversations.context(address))?.pending;
  if (pending == null) throw refusal({ ok: false, reason: "noPendingApproval" });
  const reason = answer.reason === undefined ? {} : { reason: answer.reason };
  return {
    type: "approval",
    // What waits may be another request by the time that this one arrives.
    requestId: answer.requestId ?? pending.messageId,
    decisions: pending.calls
      .filter(({ gated }) => gated)
      .map(({ call }) => ({ tool_call_id: call.tool_call_id, approve: answer.approve, ...reason })),
    ...(answer.otid === undefined ? {} : { otid: answer.otid }),
  };
}

const statusOfError: Readonly<Record<string, number>> = {
  llm_authentication: 401,
  llm_insufficient_credits: 402,
  llm_rate_limit: 429,
  llm_bad_request: 400,
  llm_timeout: 504,
};

/** The request is in the history although its run failed, so sending it again would put it there twice. */
function runErrorAnswer(error: RunError, runId: string): HttpError {
  return new HttpError(
    statusOfError[error.error_type] ?? 500,
    { error: { type: error.error_type, message: error.message, detail: error.detail }, run_id: runId },
    { "x-should-retry": "false" },
  );
}
