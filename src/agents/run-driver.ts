/**
 * Works on one run: asks the model, makes the calls, and commits each step, until the run is over.
 *
 * The driver keeps nothing that must survive: it looks at the journal, does what comes next, and commits it. After a
 * crash another driver goes on from the same rows. A driver that finds its step taken or its run ended stops (R4).
 */
import { type Activation, ActivationLostError, MailboxFullError, type Turn } from "../actors/actor.ts";
import { ModelError, type ModelErrorKind, ModelNotFoundError } from "../models/model.ts";
import { CommitUnknownError, StoreUnavailableError } from "../storage/store.ts";
import { ConflictError } from "../storage/transaction.ts";
import { type Answer, AnswerCollector, AnswerTooLongError, type Shown, shownOf } from "./answer.ts";
import { callWithinLimit, type MadeCall, planApprovedCall, planCall, reconcileCall } from "./call-tool.ts";
import type { ToolReturn } from "./chat-message.ts";
import { compact } from "./compaction.ts";
import { type CallState, type RunProgress, stateKeys } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import { EventLog } from "./event-log.ts";
import { commitAnswer, commitResult, commitStart, type Committed, endRun, type JournalState, readJournal } from "./run-journal.ts";
import { innerCalls, startedInnerCalls, writeUnknown } from "./inner-calls.ts";
import { indexAgentMessages } from "./message-index.ts";
import { RunEmitter } from "./run-emitter.ts";
import { lastSeq, newestSeq, readEvents, type RunFeed, seqAfterCrash } from "./run-events.ts";
import type { RunError, StopReason } from "./run.ts";
import { prepareRequest, type RunSetting, readSetting } from "./step-plan.ts";
import type { StepFacts } from "./step-record.ts";
import { setWide } from "./wide-row.ts";

/** How often a step asks the model again after an answer that broke off. */
const answerAttemptsMax = 3;
const answerRetryMilliseconds = 200;
/** How often a run may be taken up again in one step before it is given up: what crashes every node must end. */
const resumesMax = 20;
/** The share of the context window above which a step is followed by compaction, as in Letta V1. */
const compactionThreshold = 0.9;

/** How long a run waits when the store has failed it: at first, and at most. */
const storePauseMillisecondsMin = 200;
const storePauseMillisecondsMax = 30_000;

type Streamed = { readonly message: { readonly [field: string]: unknown } };

/** What readers have seen of a step's answer. */
interface ShownStep {
  readonly stepId: string;
  readonly streamed: Streamed[];
  /** The number of the last token of each message, by its otid. */
  readonly numbers: Map<unknown, number>;
}

interface Answered {
  readonly answer: Answer;
  readonly facts: StepFacts;
  /** Undefined where tokens are not streamed. */
  readonly numbers: ShownStep["numbers"] | undefined;
}

export class RunDriver {
  readonly runId: string;
  readonly #conversation: ConversationEnvironment;
  readonly #activation: Activation;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  /** Whether an earlier attempt may have shown and called what the journal does not say. */
  #isResumed: boolean;
  /** Calls that an earlier driver had started: this one cannot know what became of them (R3). */
  readonly #startedBefore = new Set<string>();
  /** Begins no further step: the run goes on at another node. */
  #isLeaving = false;
  #shown: ShownStep | undefined;
  #feed: RunFeed | undefined;
  #emitter: RunEmitter | undefined;

  constructor(conversation: ConversationEnvironment, activation: Activation, runId: string, isResumed: boolean) {
    this.#conversation = conversation;
    this.#activation = activation;
    this.runId = runId;
    this.#isResumed = isResumed;
    this.#signal = AbortSignal.any([this.#abort.signal, activation.signal]);
    // Open from the start, so that whoever sent the request waits on the feed and does not poll the store.
    if (!isResumed) this.#feed = conversation.feeds.open(runId, 0);
  }

  /** Lets the step in progress be the last one here. */
  leave(): void {
    this.#isLeaving = true;
  }

  /** Ends the model call or tool call in progress, for a turn that ends the run. Gives the number of the newest event. */
  async stop(state: JournalState): Promise<number> {
    this.#abort.abort();
    return await this.#newestSeq(state);
  }

  async #newestSeq({ run, progress }: JournalState): Promise<number> {
    // A commit whose events are not shown yet, because it is still on its way, has taken numbers too.
    if (this.#emitter !== undefined) return Math.max(this.#emitter.seq, progress.seq);
    const { store, address } = this.#conversation;
    return this.#isResumed ? await newestSeq(store, address.project, run, progress) : progress.seq;
  }

  /** Resolves when the run is over, or when this activation can do nothing more for it. */
  async work(): Promise<void> {
    const { feeds, environment } = this.#conversation;
    try {
      for (let pause = storePauseMillisecondsMin; ; pause = Math.min(2 * pause, storePauseMillisecondsMax)) {
        try {
          return await this.#workOn();
        } catch (error) {
          if (!isStoreTrouble(error) || this.#signal.aborted) throw error;
          environment.probe("agents.run.storeTrouble");
          environment.log.write("warn", "The store failed a run; going on from its journal", { run: this.runId, error });
        }
        // Nothing is lost: what was not committed is done again, as after a crash.
        await this.#emitter?.take();
        this.#isResumed = true;
        await environment.clock.sleep(pause, this.#signal);
      }
    } catch (error) {
      if (error instanceof ActivationLostError || this.#signal.aborted) return;
      environment.log.write("error", "A run failed", { run: this.runId, error });
      await this.#end("error", internalError("The run failed inside Kelpie", error));
    } finally {
      if (this.#feed !== undefined) feeds.close(this.runId, this.#feed);
    }
  }

  async #workOn(): Promise<void> {
    const { feeds, environment, store, address } = this.#conversation;
    // The run was accepted in a turn before this one: whatever leaves now waits until that is durable.
    const state = await this.#turn((turn) => this.#takeUp(turn));
    if (state === undefined) return;
    const { run, progress } = state;
    if (this.#emitter === undefined) {
      const durable = this.#isResumed ? await lastSeq(store, address.project, this.runId) : 0;
      const seq = this.#isResumed ? seqAfterCrash(run, durable, progress.resumes) : durable;
      const feed = (this.#feed ??= feeds.open(this.runId, durable));
      this.#emitter = new RunEmitter({
        activation: this.#activation,
        environment,
        runId: this.runId,
        feed,
        isDurable: run.background,
        seq,
      });
    }
    environment.probe(this.#isResumed ? "agents.run.resumed" : "agents.run.started");
    if (progress.resumes >= resumesMax) {
      environment.probe("agents.run.givenUp", "sometimes");
      await this.#end("error", internalError(`The run was interrupted ${resumesMax} times in one step and was given up`));
    } else while (!this.#signal.aborted && !this.#isLeaving && !this.#conversation.work.isStopping && (await this.#next()));
  }

  async #takeUp(turn: Turn): Promise<JournalState | undefined> {
    const state = await readJournal(turn);
    if (state === undefined || state.run.id !== this.runId) return undefined;
    if (!this.#isResumed) return state;
    for (const call of state.progress.calls) if (call.state === "started") this.#startedBefore.add(call.effectId);
    const progress: RunProgress = { ...state.progress, resumes: state.progress.resumes + 1 };
    await setWide(turn.state, stateKeys.progress, progress);
    return { ...state, progress };
  }

  /** Does the next thing that the journal asks for. False: the run is over. */
  async #next(): Promise<boolean> {
    const state = await this.#turn(readJournal);
    if (state === undefined || state.run.id !== this.runId) return false;
    this.#conversation.environment.probe("agents.step");
    let setting: RunSetting;
    try {
      setting = await readSetting(this.#conversation, state.run);
    } catch (error) {
      if (error instanceof ModelNotFoundError)
        return await this.#end("llm_api_error", { error_type: "llm_bad_request", message: error.message, detail: null });
      throw error;
    }
    return state.progress.calls.length > 0 ? await this.#makeCalls(state, setting) : await this.#askModel(state, setting);
  }

  async #askModel(state: JournalState, setting: RunSetting): Promise<boolean> {
    try {
      const prepared = await prepareRequest(this.#conversation, this.#activation, state, setting);
      if (prepared.tokens > setting.contextWindow * compactionThreshold && (await this.#compact(setting, "context_window_exceeded")))
        return true;
      const shown = await this.#shownOfStep(state);
      return await this.#commitAnswer(setting, state, await this.#answer(setting, prepared.request, state, shown));
    } catch (error) {
      if (this.#signal.aborted) return false;
      if (error instanceof AnswerTooLongError)
        return await this.#end("invalid_llm_response", { error_type: "llm_error", message: error.message, detail: null });
      if (!(error instanceof ModelError)) throw error;
      if (error.kind !== "contextOverflow") return await this.#end(stopReasonOf(error.kind), modelRunError(error));
      if (await this.#compact(setting, "context_window_exceeded")) return true;
      return await this.#end("context_window_overflow_in_system_prompt", modelRunError(error));
    }
  }

  /** Asks until an answer is whole, at most `answerAttemptsMax` times. */
  async #answer(
    setting: RunSetting,
    request: Parameters<RunSetting["model"]["generate"]>[0],
    state: JournalState,
    { streamed, numbers }: ShownStep,
  ): Promise<Answered> {
    const { environment } = this.#conversation;
    const startedAt = environment.clock.now();
    const startedElapsed = environment.clock.elapsed();
    let { messageId } = state.progress.step;
    for (let attempt = 1; ; attempt++) {
      // What was shown of a broken answer stays shown: the next one goes on from it or takes its place.
      const collector = this.#collector(setting, state, messageId, startedAt, shownOf(messageId, streamed));
      let firstTokenMilliseconds: number | null = null;
      try {
        for await (const event of setting.model.generate(request, this.#signal)) {
          if (this.#signal.aborted) throw new ActivationLostError("The run was stopped");
          firstTokenMilliseconds ??= environment.clock.elapsed() - startedElapsed;
          for (const message of collector.accept(event)) {
            if (!state.run.streamTokens) continue;
            numbers.set(message["otid"], this.#emitter!.emit(message));
            streamed.push({ message });
          }
        }
        const answer = wholeAnswer(collector, setting.info.handle);
        const modelMilliseconds = environment.clock.elapsed() - startedElapsed;
        return {
          answer,
          numbers: state.run.streamTokens ? numbers : undefined,
          facts: { ids: state.progress.step, setting, startedAt, startedElapsed, modelMilliseconds, firstTokenMilliseconds },
        };
      } catch (error) {
        const isWorthwhile = isBroken(error, firstTokenMilliseconds !== null);
        if (!isWorthwhile || attempt === answerAttemptsMax || this.#signal.aborted) throw error;
        environment.probe("agents.answer.retried");
        environment.log.write("warn", "A model's answer broke off; asking again", {
          run: this.runId,
          model: setting.info.handle,
          kind: error.kind,
          attempt,
        });
        messageId = collector.messageId;
        await environment.clock.sleep(answerRetryMilliseconds * 2 ** attempt, this.#signal);
      }
    }
  }

  #collector(setting: RunSetting, state: JournalState, messageId: string, startedAt: number, shown: Shown): AnswerCollector {
    const { address, environment } = this.#conversation;
    const head = {
      id: messageId,
      agent_id: address.agentId,
      conversation_id: address.conversationId,
      created_at: new Date(startedAt).toISOString(),
      run_id: this.runId,
      step_id: state.progress.step.id,
    };
    return new AnswerCollector({
      head,
      shown,
      freshId: () => `message-${environment.random.uuid()}`,
      isGated: (name) => setting.tools.get(name)?.mayAsk ?? false,
    });
  }

  async #commitAnswer(setting: RunSetting, state: JournalState, { answer, facts, numbers }: Answered): Promise<boolean> {
    const plan = answer.calls.map((call) => planCall(this.#conversation, setting, state.progress.history, call));
    // The search finds what is in the index; the index is brought up to date outside the turn.
    if (answer.calls.some((call) => call.name === "conversation_search"))
      await indexAgentMessages(this.#conversation, this.#conversation.address.project, this.#conversation.address.agentId);
    const pendingEvents = await this.#emitter!.take();
    const committed = await this.#turn((turn) =>
      commitAnswer(this.#conversation, turn, {
        runId: this.runId,
        facts,
        answer,
        plan,
        setting,
        pendingEvents,
        seq: this.#emitter!.seq,
        numbers,
      }),
    );
    return await this.#show(committed, setting);
  }

  async #makeCalls(state: JournalState, setting: RunSetting): Promise<boolean> {
    const started = state.progress.calls.filter((call) => call.state === "started");
    if (started.length === 0) {
      const committed = await this.#turn((turn) =>
        commitStart(this.#conversation, turn, { runId: this.runId, setting, seq: this.#emitter!.seq }),
      );
      return await this.#show(committed, setting);
    }
    const goesOn = await Promise.all(started.map((call) => this.#makeCall(state, setting, call)));
    return goesOn.every(Boolean);
  }

  /** Makes one call that the journal says has started, and commits its result. */
  async #makeCall({ progress }: JournalState, setting: RunSetting, call: CallState): Promise<boolean> {
    // Whoever ends the run settles its open calls (R5): one that has not left yet stays.
    if (this.#signal.aborted) return false;
    const { resultInTurn } = planApprovedCall(this.#conversation, setting, call.call, call.approval);
    const made = await this.#makeOutside(setting, progress.history, call, resultInTurn !== undefined);
    if (this.#signal.aborted) return false;
    const isUnknown = made?.isUnknown ?? false;
    const inside = isUnknown ? await startedInnerCalls(this.#conversation, this.runId, call) : [];
    const result = made === undefined ? resultInTurn! : () => Promise.resolve(made.result);
    const committed = await this.#turn((turn) => {
      writeUnknown(this.#conversation, turn, inside);
      return commitResult(this.#conversation, turn, {
        runId: this.runId,
        effectId: call.effectId,
        result,
        isUnknown,
        setting,
        seq: this.#emitter!.seq,
      });
    });
    return await this.#show(committed, setting);
  }

  /** What came of a call outside. Undefined: nothing is to be done there, and the turn makes the result. */
  async #makeOutside(setting: RunSetting, past: RunProgress["history"], call: CallState, isInTurn: boolean): Promise<MadeCall | undefined> {
    const conversation = this.#conversation;
    const { environment } = conversation;
    const found = setting.tools.get(call.call.name);
    const wasStarted = this.#startedBefore.has(call.effectId);
    // Also a call that would be refused by now may have left before the crash.
    if (wasStarted && (call.effect === "once" || (call.effect === "idempotent" && isInTurn))) {
      const seen = await reconcileCall(this.#conversation, found, call, this.#signal);
      if (seen === "unknown") {
        environment.probe("agents.effect.unknown");
        return { result: unknownResult(call), isUnknown: true };
      }
      environment.probe("agents.effect.reconciled");
      if (seen !== "didNotHappen") return { result: seen, isUnknown: false };
    } else if (wasStarted && !isInTurn) environment.probe("agents.effect.repeated");
    if (isInTurn) return undefined;
    const inner = innerCalls({ conversation, runId: this.runId, setting, past, call, turn: (work) => this.#turn(work) });
    // What is made again has been counted before; a refusal would say of a call that may have left that it was not made.
    const { limit } = found!;
    const repeatLimit = limit?.concurrency === undefined ? undefined : { tool: limit.tool, concurrency: limit.concurrency };
    return await callWithinLimit(
      { ...conversation, callTool: inner },
      wasStarted ? { ...found!, limit: repeatLimit } : found!,
      call,
      this.#signal,
    );
  }

  async #show(committed: Committed | undefined, setting: RunSetting): Promise<boolean> {
    if (committed === undefined) return false;
    this.#emitter!.committed(committed.events);
    if (committed.over) return false;
    if (!committed.hasOpenCalls && committed.contextTokens > setting.contextWindow * compactionThreshold)
      await this.#compact(setting, "context_window_exceeded");
    return true;
  }

  /** False: there was nothing left to take out of the context. */
  async #compact(setting: RunSetting, trigger: string): Promise<boolean> {
    const outcome = await compact(this.#conversation, this.#activation, {
      setting,
      runId: this.runId,
      seq: () => this.#emitter!.seq,
      trigger,
      signal: this.#signal,
    });
    if (outcome === undefined) return false;
    this.#emitter!.committed(outcome.events);
    return true;
  }

  /** Ends the run with `stop`, unless it is already over. Always false. */
  async #end(stop: StopReason, error: RunError | null): Promise<boolean> {
    const pending = (await this.#emitter?.take()) ?? [];
    const committed = await this.#turn(async (turn) => {
      const state = await readJournal(turn);
      if (state === undefined || state.run.id !== this.runId) return undefined;
      const newest = await this.#newestSeq(state);
      return await endRun(this.#conversation, turn, state, stop, error, new EventLog(newest, pending, state.run));
    });
    if (committed !== undefined) this.#emitter?.committed(committed.events);
    return false;
  }

  /** Of a foreground run only what this driver has shown is known, of a background run what is durable. */
  async #shownOfStep({ run, progress }: JournalState): Promise<ShownStep> {
    const stepId = progress.step.id;
    if (run.background && this.#isResumed) this.#shown = { stepId, streamed: await this.#allEvents(), numbers: new Map() };
    else if (this.#shown?.stepId !== stepId) this.#shown = { stepId, streamed: [], numbers: new Map() };
    return this.#shown;
  }

  async #allEvents(): Promise<Streamed[]> {
    const { store, address } = this.#conversation;
    const all: Streamed[] = [];
    for (let seen = 0; ;) {
      const events = await readEvents(store, address.project, this.runId, seen);
      if (events.length === 0) return all;
      all.push(...events);
      seen = events.at(-1)!.seq;
    }
  }

  /** Runs a turn of the conversation, also where its mailbox is full of requests: what was begun is finished first. */
  async #turn<T>(work: (turn: Turn) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await this.#activation.turn(work);
      } catch (error) {
        if (!(error instanceof MailboxFullError) || this.#signal.aborted) throw error;
        await this.#conversation.environment.clock.sleep(error.retryAfterMilliseconds, this.#signal);
      }
    }
  }
}

/** @throws {ModelError} The model ended without a finish, or said nothing. */
function wholeAnswer(collector: AnswerCollector, handle: string): Answer {
  const answer = collector.answer();
  if (answer === undefined) throw new ModelError("invalidResponse", `The answer of ${handle} ended without a finish`);
  if (answer.parts.length === 0 && answer.calls.length === 0 && answer.reason !== "length")
    throw new ModelError("invalidResponse", `${handle} answered with neither text nor a tool call`);
  return answer;
}

/** As long as nothing has come, the model's adapter has itself tried again what may help. */
function isBroken(error: unknown, hasBegun: boolean): error is ModelError {
  if (!(error instanceof ModelError)) return false;
  return error.kind === "invalidResponse" || (hasBegun && (error.kind === "providerDown" || error.kind === "timeout"));
}

/** The store could not do what was asked: it can be asked again. */
function isStoreTrouble(error: unknown): boolean {
  return error instanceof StoreUnavailableError || error instanceof CommitUnknownError || error instanceof ConflictError;
}

function unknownResult(call: CallState): ToolReturn {
  const text = `The outcome of ${call.call.name} is unknown: Kelpie was interrupted while the call was in progress. It may or may not have taken effect, and it was not repeated. Check before you call it again.`;
  return { tool_call_id: call.call.tool_call_id, status: "error", tool_return: text };
}

function stopReasonOf(kind: ModelErrorKind): StopReason {
  if (kind === "invalidResponse") return "invalid_llm_response";
  if (kind === "insufficientCredits") return "insufficient_credits";
  return "llm_api_error";
}

const errorTypeOfKind: { readonly [kind in ModelErrorKind]: string } = {
  authentication: "llm_authentication",
  insufficientCredits: "llm_insufficient_credits",
  rateLimit: "llm_rate_limit",
  contextOverflow: "llm_bad_request",
  invalidRequest: "llm_bad_request",
  providerDown: "llm_error",
  timeout: "llm_timeout",
  contentFilter: "llm_bad_request",
  invalidResponse: "llm_error",
};

/** The error of a run in Letta's words, from which the server makes the HTTP error of a request without a stream. */
function modelRunError(error: ModelError): RunError {
  return {
    error_type: errorTypeOfKind[error.kind],
    message: error.message,
    detail: error.cause instanceof Error ? error.cause.message : null,
  };
}

function internalError(message: string, cause?: unknown): RunError {
  return { error_type: "internal_error", message, detail: cause instanceof Error ? cause.message : null };
}
