/** A conversation as an actor: accepts requests one at a time, and has a driver work on the run in progress. */
import type { Activation, Actor, ActorType, Reminder, Turn } from "../actors/actor.ts";
import { agents, AgentNotFoundError, type AgentRecord } from "./agent.ts";
import { refusedLater } from "./agent-message.ts";
import type { ChatBody, ChatMessage } from "./chat-message.ts";
import { commitCompaction, type CompactionCut } from "./compaction.ts";
import {
  type ActiveRun,
  type ContextState,
  type ConversationAddress,
  conversationActorType,
  type PendingApproval,
  stateKeys,
} from "./conversation.ts";
import type { AgentEnvironment, ConversationEnvironment } from "./conversation-environment.ts";
import { EventLog } from "./event-log.ts";
import type { ApprovalMessage, CancelOutcome, InputMessage, SendOutcome, SendRequest } from "./conversations.ts";
import { unindexMessages } from "./message-index.ts";
import { messageDeletes, readMessages } from "./message-log.ts";
import { decidedCalls, decisionsOf, deniedResult, isApproved, isExpired, outdatedTools } from "./decided-calls.ts";
import { append, armReminder, endRun, type NewMessage, readJournal, runReminder, startRun, stepIds } from "./run-journal.ts";
import { noTokens, type RunRecord } from "./run.ts";
import { handleCallback } from "./run-callback.ts";
import { newestSeq } from "./run-events.ts";
import { RunDriver } from "./run-driver.ts";
import type { Settlement } from "./effect-ledger.ts";
import { type EffectAddress, settleEffect, settlementMessages } from "./settle-effect.ts";
import { compiledMetadata, compileSystem, readSetting, renderSystem } from "./step-plan.ts";
import { writeContext } from "./waiting-approval.ts";
import { getWide } from "./wide-row.ts";

export type ConversationMessage =
  | { readonly kind: "send"; readonly address: ConversationAddress; readonly request: SendRequest }
  | { readonly kind: "cancel"; readonly address: ConversationAddress; readonly runIds: readonly string[] | null }
  | { readonly kind: "reset"; readonly address: ConversationAddress }
  | { readonly kind: "recompile"; readonly address: ConversationAddress; readonly dryRun: boolean }
  | { readonly kind: "compact"; readonly address: ConversationAddress; readonly cut: CompactionCut }
  | { readonly kind: "append"; readonly address: ConversationAddress; readonly bodies: readonly ChatBody[] }
  | {
      readonly kind: "settle";
      readonly address: ConversationAddress;
      readonly effect: EffectAddress;
      readonly said: Omit<Settlement, "at">;
    }
  | { readonly kind: "delete"; readonly address: ConversationAddress };

/** Messages that one turn deletes, with their places in the index. */
const deletedPerTurn = 100;

export function conversationActorDefinition(agentEnvironment: AgentEnvironment): ActorType<ConversationMessage, unknown> {
  return { type: conversationActorType, create: (activation) => new ConversationActor(agentEnvironment, activation) };
}

class ConversationActor implements Actor<ConversationMessage, unknown> {
  readonly #agents: AgentEnvironment;
  readonly #activation: Activation;
  #driver: RunDriver | undefined;
  #driving: Promise<void> = Promise.resolve();

  constructor(agentEnvironment: AgentEnvironment, activation: Activation) {
    this.#agents = agentEnvironment;
    this.#activation = activation;
  }

  /** Goes on with a run that a crash or a deploy interrupted. */
  async activate(): Promise<void> {
    const context = await getWide<ContextState>(this.#activation.state, stateKeys.context);
    if (context !== undefined && context.runId !== null) this.#drive(this.#conversation(context), context.runId, true);
  }

  /** The step of the run in progress is finished here, so that no call is made twice or cut off. */
  async prepareToMove(): Promise<void> {
    this.#driver?.leave();
    await this.#driving;
  }

  async receive(message: ConversationMessage, turn: Turn): Promise<unknown> {
    const conversation: ConversationEnvironment = { ...this.#agents, address: message.address };
    switch (message.kind) {
      case "send":
        return await this.#receive(conversation, message.request, turn);
      case "cancel":
        return await this.#cancel(conversation, message.runIds, turn);
      case "reset":
        return await this.#reset(conversation, turn);
      case "recompile":
        return await this.#recompile(conversation, message.dryRun, turn);
      case "compact":
        return await this.#compact(conversation, message.cut, turn);
      case "append":
        return await this.#append(conversation, message.bodies, turn);
      case "settle": {
        const context = await getWide<ContextState>(turn.state, stateKeys.context);
        return await settleEffect(conversation, turn, context, message.effect, message.said);
      }
      case "delete":
        return await this.#delete(conversation, turn);
    }
  }

  /** The run's reminder is due: either the run is worked on here, or this activation has just taken it up. */
  async remind(reminder: Reminder, turn: Turn): Promise<void> {
    const context = await getWide<ContextState>(turn.state, stateKeys.context);
    if (context === undefined) return;
    const conversation = this.#conversation(context);
    if (handleCallback(conversation, this.#activation, reminder, turn)) return;
    const state = await readJournal(turn);
    if (state === undefined || reminder.name !== runReminder) return;
    if (this.#driver?.runId !== state.run.id) this.#drive(conversation, state.run.id, true);
    armReminder(conversation, turn);
  }

  /** What another agent has sent waits for its time: nobody would hear of a refusal. */
  async #receive(conversation: ConversationEnvironment, request: SendRequest, turn: Turn): Promise<SendOutcome> {
    const outcome = await this.#send(conversation, request, turn);
    if (turn.origin !== undefined && !outcome.ok) throw refusedLater(conversation.address, outcome);
    return outcome;
  }

  async #send(conversation: ConversationEnvironment, request: SendRequest, turn: Turn): Promise<SendOutcome> {
    const agent = await this.#agent(conversation);
    const repeated = await this.#runOfOtids(request.messages, turn);
    if (repeated !== undefined) {
      conversation.environment.probe("agents.send.attached");
      return { ok: true, runId: repeated, attached: true };
    }
    let context = (await getWide<ContextState>(turn.state, stateKeys.context)) ?? firstContext(conversation.address);
    if (context.runId !== null) {
      // Its driver may have failed without ending it: the reminder that is ahead need not be waited for.
      if (this.#driver === undefined && !this.#agents.work.isStopping) this.#drive(conversation, context.runId, true);
      return { ok: false, reason: "busy", runId: context.runId };
    }
    const answers = request.messages.filter((message) => message.type === "approval");
    const now = conversation.environment.clock.now();
    // Nobody has said anything in time, which is a no, so that the conversation can go on.
    if (answers.length === 0 && context.pending !== null && isExpired(context.pending, now)) {
      conversation.environment.probe("agents.approval.expired");
      context = await this.#denyPending(conversation, context, context.pending, "No decision was made in time", turn);
    }
    const refusal = refuse(context.pending, answers, request.messages, now);
    if (refusal !== undefined) return refusal;

    const runId = `run-${conversation.environment.random.uuid()}`;
    const setting = context.pending === null ? undefined : await readSetting(conversation, request);
    const outdated = setting === undefined ? [] : outdatedTools(setting.tools, context.pending!, decisionsOf(answers));
    if (outdated.length > 0) return { ok: false, reason: "approvalOutdated", tools: outdated };
    const compiled = await compileSystem(conversation, turn, agent, context);
    const run: ActiveRun = {
      id: runId,
      record: runRecord(conversation, runId, request, compiled.next),
      startedAt: conversation.environment.clock.now(),
      background: request.background,
      streamTokens: request.streamTokens,
      stepsMax: request.stepsMax,
      clientTools: request.clientTools,
      clientSkills: request.clientSkills,
      overrideModel: request.overrideModel,
      overrideSystem: request.overrideSystem,
      includeCompactionMessages: request.includeCompactionMessages,
      clearsContext: agent.message_buffer_autoclear,
    };
    const ids = stepIds(conversation.environment);
    const pending = { run, calls: context.pending?.calls ?? [], stepId: ids.id, now };
    const calls = setting === undefined ? [] : decidedCalls(conversation, setting, pending, decisionsOf(answers));
    // An answer to a request for approval comes right after it.
    const settled = context.pending === null ? settlementMessages(context) : [];
    const bodies = [...settled, ...request.messages.map((message) => newMessage(message, runId))];
    const { settlements, ...rest } = compiled;
    const told = settled.length > 0 || settlements === undefined ? rest : { ...rest, settlements };
    await startRun(conversation, turn, { ...told, pending: null }, { run, bodies, calls, step: ids });
    for (const message of request.messages) if (message.otid !== undefined) turn.state.set(stateKeys.otid(message.otid), runId);
    this.#drive(conversation, runId, false);
    return { ok: true, runId, attached: false };
  }

  /** The run that took these very messages before: all of their otids are known, and of one run. */
  async #runOfOtids(messages: readonly InputMessage[], turn: Turn): Promise<string | undefined> {
    const known = new Set<string | undefined>();
    for (const { otid } of messages) {
      if (otid !== undefined) known.add(await turn.state.get<string>(stateKeys.otid(otid)));
    }
    return known.size === 1 ? [...known][0] : undefined;
  }

  async #cancel(conversation: ConversationEnvironment, runIds: readonly string[] | null, turn: Turn): Promise<CancelOutcome> {
    const state = await readJournal(turn);
    if (state === undefined || (runIds !== null && !runIds.includes(state.run.id))) {
      const context = await getWide<ContextState>(turn.state, stateKeys.context);
      if (context?.pending == null || (runIds !== null && !runIds.includes(context.pending.runId)))
        return { ok: false, reason: "noActiveRun" };
      const { runId } = context.pending;
      const closed = await this.#denyPending(conversation, context, context.pending, "The request was cancelled", turn);
      await writeContext(conversation, turn, closed);
      return { ok: true, runId };
    }
    const { run, progress } = state;
    const { store, address } = conversation;
    const newest = this.#driver?.runId === run.id ? await this.#driver.stop(state) : await newestSeq(store, address.project, run, progress);
    await endRun(conversation, turn, state, "cancelled", null, new EventLog(newest, [], run));
    conversation.environment.probe("agents.run.cancelled");
    return { ok: true, runId: state.run.id };
  }

  /** Denies calls that wait for an approval, so that the conversation can go on. */
  async #denyPending(
    conversation: ConversationEnvironment,
    context: ContextState,
    pending: PendingApproval,
    reason: string,
    turn: Turn,
  ): Promise<ContextState> {
    const label = { runId: pending.runId, stepId: pending.stepId };
    const decisions = pending.calls
      .filter((call) => call.gated)
      .map(({ call }) => ({ tool_call_id: call.tool_call_id, approve: false, reason }));
    const returns = pending.calls.map(({ call }) => deniedResult(call.tool_call_id, reason));
    const news: NewMessage[] = [
      { ...label, body: { role: "approvalResponse", decisions } },
      { ...label, body: { role: "tool", returns } },
    ];
    return (await append(conversation, turn, { ...context, pending: null }, news)).context;
  }

  /** Empties the context and deletes messages, the system message apart; a run in progress is cancelled. Answers how many it deleted. */
  async #reset(conversation: ConversationEnvironment, turn: Turn): Promise<number> {
    await this.#cancel(conversation, null, turn);
    const agent = await this.#agent(conversation);
    const before = (await getWide<ContextState>(turn.state, stateKeys.context)) ?? firstContext(conversation.address);
    const compiled = await compileSystem(conversation, turn, agent, before, {
      metadata: await compiledMetadata(conversation, agent, before),
    });
    await writeContext(conversation, turn, { ...compiled, summary: null, tailFrom: compiled.next, pending: null });
    const messages = await this.#oldest(conversation, compiled);
    await this.#deleteMessages(conversation, turn, messages, false);
    return messages.length;
  }

  /** Takes the conversation away, some messages at a time. Answers how many it deleted: 0 when nothing is left. */
  async #delete(conversation: ConversationEnvironment, turn: Turn): Promise<number> {
    await this.#cancel(conversation, null, turn);
    const context = await getWide<ContextState>(turn.state, stateKeys.context);
    if (context === undefined) return 0;
    const messages = await this.#oldest(conversation, { ...context, system: null });
    await this.#deleteMessages(conversation, turn, messages, messages.length === 0);
    if (messages.length === 0) await writeContext(conversation, turn, undefined);
    return messages.length;
  }

  /** The oldest messages, the system message apart. */
  async #oldest({ store, address }: ConversationEnvironment, context: ContextState): Promise<readonly ChatMessage[]> {
    const messages = await readMessages(store, address.project, this.#activation.id.key, {
      from: 0,
      to: context.next,
      limit: deletedPerTurn + 1,
    });
    return messages.filter((message) => message.n !== context.system).slice(0, deletedPerTurn);
  }

  async #deleteMessages(
    { address }: ConversationEnvironment,
    turn: Turn,
    messages: readonly ChatMessage[],
    isLast: boolean,
  ): Promise<void> {
    turn.write(...messageDeletes(address.project, this.#activation.id.key, messages));
    for (const message of messages) if (message.otid !== undefined) turn.state.delete(stateKeys.otid(message.otid));
    await unindexMessages(turn.shared, address, messages, { isLast });
  }

  async #recompile(conversation: ConversationEnvironment, dryRun: boolean, turn: Turn): Promise<string> {
    const agent = await this.#agent(conversation);
    const context = (await getWide<ContextState>(turn.state, stateKeys.context)) ?? firstContext(conversation.address);
    const metadata = await compiledMetadata(conversation, agent, context);
    if (!dryRun) await writeContext(conversation, turn, await compileSystem(conversation, turn, agent, context, { metadata }));
    return await renderSystem(conversation, agent, context, metadata);
  }

  /** Commits a compaction that was prepared outside; false: the conversation has moved on meanwhile. */
  async #compact(conversation: ConversationEnvironment, cut: CompactionCut, turn: Turn): Promise<boolean> {
    const context = await getWide<ContextState>(turn.state, stateKeys.context);
    if (context === undefined || context.runId !== null) return false;
    return (await commitCompaction(conversation, turn, context, await this.#agent(conversation), cut)) !== undefined;
  }

  /** Adds messages that were made elsewhere: an agent's first ones, a fork's. */
  async #append(conversation: ConversationEnvironment, bodies: readonly ChatBody[], turn: Turn): Promise<null> {
    const agent = await this.#agent(conversation);
    const before = (await getWide<ContextState>(turn.state, stateKeys.context)) ?? firstContext(conversation.address);
    const compiled = await compileSystem(conversation, turn, agent, before);
    const appended = await append(
      conversation,
      turn,
      compiled,
      bodies.map((body) => ({ body })),
    );
    await writeContext(conversation, turn, appended.context);
    return null;
  }

  #drive(conversation: ConversationEnvironment, runId: string, isResumed: boolean): void {
    const driver = new RunDriver(conversation, this.#activation, runId, isResumed);
    this.#driver = driver;
    const work = driver.work().finally(() => {
      if (this.#driver === driver) this.#driver = undefined;
    });
    this.#driving = work;
    this.#agents.work.track(work);
    this.#activation.background(work);
  }

  #conversation(context: ContextState): ConversationEnvironment {
    return {
      ...this.#agents,
      address: { project: this.#activation.id.project, agentId: context.agentId, conversationId: context.conversationId },
    };
  }

  /** @throws {AgentNotFoundError} */
  async #agent({ store, address }: ConversationEnvironment): Promise<AgentRecord> {
    const [agent] = await agents.read(store, address.project, [address.agentId]);
    if (agent === undefined) throw new AgentNotFoundError(`Agent not found: ${address.agentId}`);
    return agent;
  }
}

function firstContext(address: ConversationAddress): ContextState {
  return {
    agentId: address.agentId,
    conversationId: address.conversationId,
    next: 0,
    system: null,
    summary: null,
    tailFrom: 0,
    compiled: null,
    runId: null,
    pending: null,
  };
}

/** Why a request cannot start a run, or undefined if it can. */
function refuse(
  pending: PendingApproval | null,
  answers: readonly ApprovalMessage[],
  messages: readonly InputMessage[],
  now: number,
): SendOutcome | undefined {
  if (pending === null) return answers.length === 0 ? undefined : { ok: false, reason: "noPendingApproval" };
  if (answers.length === 0 || messages[0]?.type !== "approval") return { ok: false, reason: "pendingApproval" };
  // The ids of calls do not tell requests apart: some providers count them from 0 in each answer.
  const other = answers.find((answer) => (answer.requestId ?? pending.messageId) !== pending.messageId);
  if (other !== undefined) return { ok: false, reason: "otherApproval", expected: pending.messageId, given: other.requestId! };
  const expected = pending.calls.filter((call) => call.gated).map(({ call }) => call.tool_call_id);
  const given = answers.flatMap(({ decisions }) => decisions.map((decision) => decision.tool_call_id));
  const isExact = given.length === expected.length && expected.every((id) => given.includes(id));
  if (!isExact) return { ok: false, reason: "invalidToolCallIds", expected, given };
  const decisions = decisionsOf(answers);
  const hasApproval = pending.calls.some(({ call, hash }) => hash !== undefined && isApproved(decisions.get(call.tool_call_id)));
  if (!hasApproval || !isExpired(pending, now)) return undefined;
  return { ok: false, reason: "approvalExpired", expiredAt: new Date(pending.expiresAt!).toISOString() };
}

function newMessage(message: InputMessage, runId: string): NewMessage {
  if (message.type === "approval") return { runId, otid: message.otid, body: { role: "approvalResponse", decisions: message.decisions } };
  const { role, content } = message;
  const head = { runId, otid: message.otid, name: message.name, sender_id: message.sender_id };
  if (role === "user") return { ...head, body: { role: "user", content } };
  const text = typeof content === "string" ? content : content.map((part) => (part.type === "text" ? part.text : "")).join("\n");
  if (role === "system") return { ...head, body: { role: "system", text } };
  return { ...head, body: { role: "assistant", parts: [{ type: "text", text }], calls: [] } };
}

function runRecord(conversation: ConversationEnvironment, id: string, request: SendRequest, firstMessage: number): RunRecord {
  const { address, environment } = conversation;
  return {
    id,
    status: "running",
    created_at: new Date(environment.clock.now()).toISOString(),
    completed_at: null,
    agent_id: address.agentId,
    conversation_id: address.conversationId === "default" ? null : address.conversationId,
    background: request.background,
    metadata: null,
    request_config: request.requestConfig,
    stop_reason: null,
    callback_url: request.callbackUrl,
    callback_sent_at: null,
    callback_status_code: null,
    callback_error: null,
    ttft_ns: null,
    total_duration_ns: null,
    kelpie: { firstMessage, steps: 0, usage: noTokens, contextTokens: 0, toolsUsed: [] },
  };
}
