/**
 * The commits of a run: each function is one part of a turn of the conversation's actor.
 *
 * R1. A run in progress has its rows (`run`, `progress`), its conversation names it, and a reminder lies ahead of it.
 * R2. The model's answer, the intents of its calls, and the effects and results of its state tools are one batch.
 * R3. An outside call is marked `started` by a batch before it leaves; one that was started and has no result is never
 *     repeated unless its tool may be (ARCHITECTURE I5).
 * R4. A step is written once: a commit for a step that is no longer the current one does nothing.
 * R5. Every call of a stored answer gets a result in a stored tool message, also when the run ends early.
 */
import { encodeJson } from "../base/json.ts";
import { encodeTuple } from "../base/tuple.ts";
import type { Turn } from "../actors/actor.ts";
import type { Environment } from "../environment/environment.ts";
import { Transaction } from "../storage/transaction.ts";
import { activityKey, type AgentActivity } from "./agent.ts";
import type { Answer } from "./answer.ts";
import type { ChatBody, ChatMessage, ToolCall, ToolReturn } from "./chat-message.ts";
import {
  type ActiveRun,
  type CallState,
  type ContextState,
  conversationActivityKey,
  conversationKey,
  type PendingApproval,
  type PendingCall,
  type RunProgress,
  stateKeys,
  type StepIds,
} from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import { writeEffect, writeIntents } from "./effect-ledger.ts";
import { EventLog } from "./event-log.ts";
import { messageWrites, nextMessageTime } from "./message-log.ts";
import { addTokens, noTokens, type RunError, type RunStatus, runs, steps, type StopReason } from "./run.ts";
import { remindCallback } from "./run-callback.ts";
import type { RunEvent } from "./run-events.ts";
import type { RunSetting } from "./step-plan.ts";
import { answerTokens, type StepFacts, stepRecord } from "./step-record.ts";
import { stopAfterCalls, stopAfterText } from "./stop-rules.ts";
import { writeContext } from "./waiting-approval.ts";
import { deleteWide, getWide, setWide } from "./wide-row.ts";

/** Wakes the conversation when its node died in the middle of a run. */
export const runReminder = "run";
const runReminderMilliseconds = 30_000;

/** What the journal needs of its conversation. */
export type JournalContext = Pick<ConversationEnvironment, "store" | "environment" | "address">;

/** What a commit made, to show once it is durable. */
export interface Committed {
  readonly events: readonly RunEvent[];
  readonly over: boolean;
  /** Whether calls of the step still have no result. */
  readonly hasOpenCalls: boolean;
  readonly contextTokens: number;
}

export interface JournalState {
  readonly context: ContextState;
  readonly run: ActiveRun;
  readonly progress: RunProgress;
}

/** The state of the run in progress, or undefined when there is none. */
export async function readJournal(turn: Pick<Turn, "state">): Promise<JournalState | undefined> {
  const context = await getWide<ContextState>(turn.state, stateKeys.context);
  if (context === undefined || context.runId === null) return undefined;
  const [run, progress] = [await getWide<ActiveRun>(turn.state, stateKeys.run), await getWide<RunProgress>(turn.state, stateKeys.progress)];
  return run === undefined || progress === undefined ? undefined : { context, run, progress };
}

export function stepIds(environment: Environment): StepIds {
  const { random } = environment;
  return {
    id: `step-${random.uuid()}`,
    messageId: `message-${random.uuid()}`,
    approvalMessageId: `message-${random.uuid()}`,
    toolMessageId: `message-${random.uuid()}`,
  };
}

/** Starts a run with messages that are appended before it. */
export async function startRun(
  journal: JournalContext,
  turn: Turn,
  context: ContextState,
  options: {
    readonly run: ActiveRun;
    readonly bodies: readonly NewMessage[];
    readonly calls: readonly CallState[];
    readonly step: StepIds;
  },
): Promise<void> {
  const { project, conversationId } = journal.address;
  const appended = await append(journal, turn, context, options.bodies);
  await writeContext(journal, turn, { ...appended.context, runId: options.run.id });
  await setWide(turn.state, stateKeys.run, options.run);
  const progress: RunProgress = {
    steps: 0,
    step: options.step,
    calls: options.calls,
    usage: noTokens,
    contextTokens: 0,
    toolsUsed: [],
    seq: 0,
    firstTokenMilliseconds: null,
    resumes: 0,
    history: [],
  };
  await setWide(turn.state, stateKeys.progress, progress);
  writeRows(journal, turn, (rows) => {
    runs.insert(rows, project, options.run.record);
    if (conversationId !== "default") rows.set(conversationActivityKey(project, conversationId), options.run.record.created_at);
  });
  armReminder(journal, turn);
}

export function armReminder(journal: JournalContext, turn: Turn): void {
  turn.remind(runReminder, { due: journal.environment.clock.now() + runReminderMilliseconds, earlyAfterRestart: true });
}

export interface NewMessage {
  readonly id?: string;
  readonly body: ChatBody;
  readonly otid?: string | undefined;
  readonly name?: string | undefined;
  readonly sender_id?: string | undefined;
  readonly runId?: string | undefined;
  readonly stepId?: string | undefined;
}

/** Appends messages to the conversation and gives the context that counts them; the caller sets it. */
export async function append(
  journal: JournalContext,
  turn: Turn,
  context: ContextState,
  news: readonly NewMessage[],
): Promise<{ readonly context: ContextState; readonly messages: readonly ChatMessage[] }> {
  const { environment, store, address } = journal;
  const created_at = nextMessageTime(context.newestAt, environment);
  const messages = news.map((each, index): ChatMessage => ({
    id: each.id ?? `message-${environment.random.uuid()}`,
    n: context.next + index,
    agent_id: address.agentId,
    conversation_id: address.conversationId,
    created_at,
    ...(each.runId === undefined ? {} : { run_id: each.runId }),
    ...(each.stepId === undefined ? {} : { step_id: each.stepId }),
    ...(each.name === undefined ? {} : { name: each.name }),
    ...(each.sender_id === undefined ? {} : { sender_id: each.sender_id }),
    ...(each.otid === undefined ? {} : { otid: each.otid }),
    body: each.body,
  }));
  turn.write(...(await messageWrites(store, environment, address.project, conversationKey(address), messages)));
  return { context: { ...context, next: context.next + news.length, newestAt: created_at }, messages };
}

/** What to do with each call of an answer. */
export interface CallPlan {
  /** With the arguments that rules give it. */
  readonly call: ToolCall;
  /** It waits for a person's decision, or for the client's result. */
  readonly gated: boolean;
  readonly client: boolean;
  readonly effect: CallState["effect"];
  /** What an approval is bound to, and how long it may be given (approval.ts). */
  readonly approvable?: { readonly hash: string; readonly milliseconds: number };
  /** For a call that needs nothing outside: its result, made in the turn. */
  readonly resultInTurn?: (turn: Turn) => Promise<ToolReturn>;
}

/**
 * Commits a model's answer (R2). `pendingEvents` are token events not yet durable, `numbers` those of the last token of
 * each message by its otid, if tokens were streamed (run-events.ts E3).
 */
export async function commitAnswer(
  journal: JournalContext,
  turn: Turn,
  options: {
    readonly runId: string;
    readonly facts: StepFacts;
    readonly answer: Answer;
    readonly plan: readonly CallPlan[];
    readonly setting: RunSetting;
    readonly pendingEvents: readonly RunEvent[];
    readonly seq: number;
    readonly numbers: ReadonlyMap<unknown, number> | undefined;
  },
): Promise<Committed | undefined> {
  const state = await readJournal(turn);
  const { facts, answer, plan } = options;
  if (state === undefined || state.run.id !== options.runId || state.progress.step.id !== facts.ids.id) return undefined;
  const { run } = state;
  const tokens = answerTokens(answer);
  const label = { runId: run.id, stepId: facts.ids.id };
  const isGated = plan.some((call) => call.gated);
  const gated = plan.filter((call) => call.gated).map(({ call }) => call);
  const free = answer.calls.filter((_, index) => !plan[index]!.gated);
  const news: NewMessage[] = [];
  const model = facts.setting.info.handle;
  if (!isGated || free.length > 0)
    news.push({ ...label, id: answer.messageId, body: { role: "assistant", parts: answer.parts, calls: free, model } });
  if (isGated) {
    const id = free.length > 0 ? facts.ids.approvalMessageId : answer.messageId;
    news.push({ ...label, id, body: { role: "approval", parts: free.length > 0 ? [] : answer.parts, calls: gated, model } });
  }
  const appended = await append(journal, turn, state.context, news);
  const log = new EventLog(options.seq, options.pendingEvents, run);
  const isHidden = (call: ToolCall): boolean => options.setting.tools.get(call.name)?.mayAsk === true;
  log.answer(appended.messages, options.numbers, isHidden);

  const isLength = answer.reason === "length" && answer.calls.length === 0;
  const progress: RunProgress = {
    ...state.progress,
    usage: addTokens(state.progress.usage, tokens),
    contextTokens: tokens.prompt_tokens + tokens.completion_tokens,
    toolsUsed: [...new Set([...state.progress.toolsUsed, ...answer.calls.map((call) => call.name)])],
    firstTokenMilliseconds: state.progress.firstTokenMilliseconds ?? facts.firstTokenMilliseconds,
    resumes: 0,
  };
  const record = stepRecord(journal, facts, run, answer, tokens, state.context.next, appended.context.next);
  const next: JournalState = { context: appended.context, run, progress };

  if (isGated) {
    const pending = pendingApproval(plan, { messageId: news.at(-1)!.id!, runId: run.id, stepId: facts.ids.id }, journal.environment);
    writeRows(journal, turn, (rows) => steps.insert(rows, journal.address.project, record));
    return await endRun(
      journal,
      turn,
      { ...next, context: { ...appended.context, pending }, progress: { ...progress, steps: progress.steps + 1 } },
      "requires_approval",
      null,
      log,
    );
  }
  writeRows(journal, turn, (rows) => steps.insert(rows, journal.address.project, record));
  if (answer.calls.length === 0) {
    const done = { ...next, progress: { ...progress, steps: progress.steps + 1, step: stepIds(journal.environment) } };
    const stop = isLength ? "max_tokens_exceeded" : stopAfterText(options.setting, progress.history);
    if (stop !== undefined) return await endRun(journal, turn, done, stop, null, log);
    return continueRun(journal, turn, done, log);
  }
  const calls: CallState[] = [];
  for (const { call, effect, resultInTurn } of plan) {
    const effectId = `${run.id}:${facts.ids.id}:${call.tool_call_id}`;
    if (resultInTurn === undefined) calls.push({ call, effect, effectId, state: "intended" });
    else calls.push({ call, effect, effectId, state: "done", result: await resultInTurn(turn) });
  }
  writeIntents(journal, turn, run.id, calls);
  const startedCalls = startNextCalls(journal, turn, run.id, calls);
  return await settleCalls(journal, turn, { ...next, progress: { ...progress, calls: startedCalls } }, options.setting, log);
}

function pendingApproval(
  plan: readonly CallPlan[],
  ids: Pick<PendingApproval, "messageId" | "runId" | "stepId">,
  { clock }: Environment,
): PendingApproval {
  const calls = plan.map(({ call, gated, client, approvable }): PendingCall => {
    return { call, gated, client, ...(approvable === undefined ? {} : { hash: approvable.hash }) };
  });
  const [milliseconds] = plan.flatMap(({ approvable }) => approvable?.milliseconds ?? []).sort((left, right) => left - right);
  const askedAt = clock.now();
  return { ...ids, calls, askedAt, ...(milliseconds === undefined ? {} : { expiresAt: askedAt + milliseconds }) };
}

/** Commits the result of one outside call, and marks the next ones as started (R3). */
export async function commitResult(
  journal: JournalContext,
  turn: Turn,
  options: {
    readonly runId: string;
    readonly effectId: string;
    readonly result: (turn: Turn) => Promise<ToolReturn>;
    readonly isUnknown: boolean;
    readonly setting: RunSetting;
    readonly seq: number;
  },
): Promise<Committed | undefined> {
  const state = await readJournal(turn);
  if (state === undefined || state.run.id !== options.runId) return undefined;
  const index = state.progress.calls.findIndex((call) => call.effectId === options.effectId && call.state !== "done");
  if (index < 0) return undefined;
  const result = withImagesThatFit(state.progress.calls, await options.result(turn));
  const calls = state.progress.calls.with(index, { ...state.progress.calls[index]!, state: "done", result });
  if (calls[index]!.effect !== "state")
    writeEffect(
      journal,
      turn,
      state.run.id,
      calls[index]!,
      options.isUnknown ? "unknown" : result.status === "success" ? "succeeded" : "failed",
    );
  const started = startNextCalls(journal, turn, state.run.id, calls);
  return await settleCalls(
    journal,
    turn,
    { ...state, progress: { ...state.progress, calls: started } },
    options.setting,
    new EventLog(options.seq, [], state.run),
  );
}

/** Without its images, if those of the step's other results leave no room. Its text names them. */
function withImagesThatFit(calls: readonly CallState[], result: ToolReturn): ToolReturn {
  const characters = [...calls.map((call) => call.result), result]
    .flatMap((each) => each?.images ?? [])
    .reduce((sum, { base64 }) => sum + base64.length, 0);
  if (characters <= imageCharactersPerStepMax) return result;
  const { images: _, ...rest } = result;
  return rest;
}

/** Marks the calls that may leave now as started, for a run that begins with calls that were approved. */
export async function commitStart(
  journal: JournalContext,
  turn: Turn,
  options: { readonly runId: string; readonly setting: RunSetting; readonly seq: number },
): Promise<Committed | undefined> {
  const state = await readJournal(turn);
  if (state === undefined || state.run.id !== options.runId) return undefined;
  const calls = startNextCalls(journal, turn, options.runId, state.progress.calls);
  return await settleCalls(
    journal,
    turn,
    { ...state, progress: { ...state.progress, calls } },
    options.setting,
    new EventLog(options.seq, [], state.run),
  );
}

/** When every call has its result: appends the tool message, and ends the run or goes on to the next step. */
async function settleCalls(
  journal: JournalContext,
  turn: Turn,
  state: JournalState,
  setting: RunSetting,
  log: EventLog,
): Promise<Committed> {
  const { calls } = state.progress;
  if (calls.some((call) => call.state !== "done")) return continueRun(journal, turn, state, log);
  const appended = await append(journal, turn, state.context, [
    toolMessage(
      state,
      calls.map((call) => call.result!),
    ),
  ]);
  log.messages(appended.messages);
  const history = [
    ...state.progress.history,
    ...calls.map((call) => ({ name: call.call.name, output: call.result!.tool_return.slice(0, pastOutputCharactersMax) })),
  ];
  const progress: RunProgress = {
    ...state.progress,
    calls: [],
    steps: state.progress.steps + 1,
    step: stepIds(journal.environment),
    history,
  };
  const next = { ...state, context: appended.context, progress };
  const stop = stopAfterCalls(setting, history) ?? (progress.steps >= state.run.stepsMax ? "max_steps" : undefined);
  if (stop !== undefined) return await endRun(journal, turn, next, stop, null, log);
  return continueRun(journal, turn, next, log);
}

/** In base64, of all results of a step: they are in one batch. */
const imageCharactersPerStepMax = 3_000_000;

/** The conditional tool rules compare an output with the keys of a mapping; longer ones match none. */
const pastOutputCharactersMax = 1_000;

async function continueRun(journal: JournalContext, turn: Turn, state: JournalState, log: EventLog): Promise<Committed> {
  const events = log.write(journal.address.project, turn);
  await writeContext(journal, turn, state.context);
  await setWide(turn.state, stateKeys.progress, { ...state.progress, seq: log.seq });
  return { events, over: false, hasOpenCalls: state.progress.calls.length > 0, contextTokens: state.progress.contextTokens };
}

/** Ends the run: nothing of it is left but its records and events. */
export async function endRun(
  journal: JournalContext,
  turn: Turn,
  state: JournalState,
  stop: StopReason,
  error: RunError | null,
  log: EventLog,
): Promise<Committed> {
  const { environment, address } = journal;
  const settled = await closeOpenCalls(journal, turn, state, log);
  const { run, progress } = settled;
  const now = environment.clock.now();
  const status: RunStatus = stop === "cancelled" ? "cancelled" : error === null ? "completed" : "failed";
  const duration = Math.max(0, now - run.startedAt);
  log.end(progress, stop, error);
  const events = log.write(journal.address.project, turn);
  await writeContext(journal, turn, contextAfter(run, settled.context));
  await deleteWide(turn.state, stateKeys.run);
  await deleteWide(turn.state, stateKeys.progress);
  turn.remind(runReminder, undefined);
  if (run.record.callback_url !== null) remindCallback(turn, run.id, now);
  const before = run.record;
  writeRows(journal, turn, (rows) =>
    runs.replace(rows, address.project, before, {
      ...before,
      status,
      stop_reason: stop,
      completed_at: new Date(now).toISOString(),
      ttft_ns: progress.firstTokenMilliseconds === null ? null : Math.round(progress.firstTokenMilliseconds * 1e6),
      total_duration_ns: duration * 1_000_000,
      metadata: error === null ? before.metadata : { ...before.metadata, error },
      kelpie: {
        ...before.kelpie,
        endMessage: settled.context.next,
        steps: progress.steps,
        usage: progress.usage,
        contextTokens: progress.contextTokens,
        toolsUsed: progress.toolsUsed,
      },
    }),
  );
  const activity: AgentActivity = {
    last_run_completion: new Date(now).toISOString(),
    last_run_duration_ms: duration,
    last_stop_reason: stop,
  };
  turn.write({ kind: "set", key: encodeTuple(activityKey(address.project, address.agentId)), value: encodeJson(activity) });
  return { events, over: true, hasOpenCalls: false, contextTokens: progress.contextTokens };
}

/** The messages of a context that is emptied stay in the log. One that waits for an answer is emptied by the run that has it. */
function contextAfter(run: ActiveRun, context: ContextState): ContextState {
  if (!run.clearsContext || context.pending !== null) return { ...context, runId: null };
  return { ...context, runId: null, summary: null, tailFrom: context.next };
}

/** Gives every call that has no result one that says why (R5). */
async function closeOpenCalls(journal: JournalContext, turn: Turn, state: JournalState, log: EventLog): Promise<JournalState> {
  const { calls } = state.progress;
  if (calls.length === 0) return state;
  const returns = calls.map((call): ToolReturn => {
    if (call.result !== undefined) return call.result;
    // A state tool's effect and its result are one batch: without a result there is no effect.
    const started = call.state === "started" && call.effect !== "state";
    if (started) writeEffect(journal, turn, state.run.id, call, "unknown");
    const text = started
      ? "The run was ended while this call was in progress: whether it took effect is unknown"
      : "The run was ended before this call was made";
    return { tool_call_id: call.call.tool_call_id, status: "error", tool_return: text };
  });
  const appended = await append(journal, turn, state.context, [toolMessage(state, returns)]);
  log.messages(appended.messages);
  return { ...state, context: appended.context, progress: { ...state.progress, calls: [] } };
}

/** The results of a step's calls, in one message; that of a single call has the tool's name, as in Letta. */
function toolMessage({ run, progress }: JournalState, returns: readonly ToolReturn[]): NewMessage {
  const { step, calls } = progress;
  const name = calls.length === 1 ? calls[0]!.call.name : undefined;
  return { runId: run.id, stepId: step.id, id: step.toolMessageId, name, body: { role: "tool", returns } };
}

/**
 * Of the calls that have not left, marks those that may leave now: the first one alone, or all from the first on that
 * need no order because their tools have no effect or may be repeated.
 */
function startNextCalls(journal: JournalContext, turn: Turn, runId: string, calls: readonly CallState[]): CallState[] {
  if (calls.some((call) => call.state === "started")) return [...calls];
  const result: CallState[] = [];
  let open = true;
  let some = false;
  for (const call of calls) {
    const isFree = call.effect === "readOnly" || call.effect === "idempotent";
    const starts = call.state === "intended" && open && (isFree || !some);
    if (call.state === "intended") {
      if (!isFree) open = false;
      if (starts) some = true;
    }
    if (starts && call.effect !== "state") writeEffect(journal, turn, runId, call, "started");
    result.push(starts ? { ...call, state: "started" } : call);
  }
  return result;
}

/** Writes rows of collections that only this conversation writes: without their checks, as the actor's epoch protects them. */
export function writeRows(journal: JournalContext, turn: Turn, write: (rows: Transaction) => void): void {
  const rows = new Transaction(journal.store);
  write(rows);
  turn.write(...rows.writes);
}
