/** What the server does with conversations and runs: rows are read here, and what changes a conversation goes to its actor. */
import type { Actors, InvokeOptions } from "../actors/actor.ts";
import { decodeJson } from "../base/json.ts";
import { encodeTuple } from "../base/tuple.ts";
import type { FoundMessage, MessageSearch } from "../memory/conversation-search.ts";
import type { Page } from "../storage/collection.ts";
import { transact } from "../storage/transaction.ts";
import { agents, AgentNotFoundError, type CompactionSettings } from "./agent.ts";
import type { ChatBody, ChatMessage } from "./chat-message.ts";
import { compactionCut, planCompaction, summarise } from "./compaction.ts";
import {
  type ContextState,
  type ConversationAddress,
  conversationActivityKey,
  conversationActor,
  conversationDefaults,
  conversationKey,
  type ConversationRecord,
  conversations,
  readContext,
} from "./conversation.ts";
import type { ConversationMessage } from "./conversation-actor.ts";
import type { AgentEnvironment, ConversationEnvironment } from "./conversation-environment.ts";
import type { CancelOutcome, CompactOutcome, SendOutcome, SendRequest } from "./conversations.ts";
import { searchAgentMessages } from "./message-index.ts";
import { findMessage, type MessagePage, pageMessages, readMessages } from "./message-log.ts";
import {
  type EffectPage,
  type EffectRecord,
  effectRows,
  pageEffects,
  pageUnknownEffects,
  readEffect,
  type RunEffectPage,
  type Settlement,
  unknownRows,
} from "./effect-ledger.ts";
import { eventRows, followRun, type RunEvent } from "./run-events.ts";
import { isActive, type RunRecord, runs, type StepRecord, steps } from "./run.ts";
import type { EffectAddress, SettleOutcome } from "./settle-effect.ts";
import { readContextMessages, readSetting } from "./step-plan.ts";

/** There is no such conversation, run, step or message. */
export class NotFoundError extends Error {
  override readonly name = "NotFoundError";
}

/** A conversation cannot be compacted now, or there is nothing to take out of it. */
export class CompactionError extends Error {
  override readonly name = "CompactionError";
}

type Change = Partial<Omit<ConversationRecord, "id" | "agent_id" | "created_at" | "created_by_id">>;

const rowsPerDelete = 500;

export class ConversationService {
  readonly #agents: AgentEnvironment;
  readonly #actors: Actors;

  constructor(agentEnvironment: AgentEnvironment, actors: Actors) {
    this.#agents = agentEnvironment;
    this.#actors = actors;
  }

  /** The address for an API path: `default` needs the agent, a conversation's id names it. @throws {NotFoundError} @throws {AgentNotFoundError} */
  async address(project: string, conversationId: string, agentId?: string): Promise<ConversationAddress> {
    // Letta also takes an agent's id in the place of a conversation's.
    if (conversationId.startsWith("agent-")) return await this.address(project, "default", conversationId);
    if (conversationId !== "default") return { project, agentId: (await this.get(project, conversationId)).agent_id, conversationId };
    if (agentId === undefined)
      throw new NotFoundError("The conversation `default` needs an agent_id: name the agent whose default conversation it is");
    const [agent] = await agents.read(this.#agents.store, project, [agentId]);
    if (agent === undefined) throw new AgentNotFoundError(`Agent not found: ${agentId}`);
    return { project, agentId, conversationId: "default" };
  }

  async create(project: string, agentId: string, fields: Change = {}): Promise<ConversationRecord> {
    const { store, environment } = this.#agents;
    const now = new Date(environment.clock.now()).toISOString();
    const conversation: ConversationRecord = {
      id: `conv-${environment.random.uuid()}`,
      agent_id: agentId,
      created_at: now,
      updated_at: now,
      ...conversationDefaults,
      ...fields,
    };
    return await transact(store, environment, async (transaction) => {
      if ((await agents.get(transaction, project, agentId)) === undefined) throw new AgentNotFoundError(`Agent not found: ${agentId}`);
      conversations.insert(transaction, project, conversation);
      return conversation;
    });
  }

  /** @throws {NotFoundError} */
  async get(project: string, id: string): Promise<ConversationRecord> {
    const [conversation] = await conversations.read(this.#agents.store, project, [id]);
    if (conversation === undefined) throw new NotFoundError(`Conversation not found with id=${JSON.stringify(id)}`);
    return (await this.#withActivity(project, [conversation]))[0]!;
  }

  /** @throws {NotFoundError} */
  async update(project: string, id: string, change: Change): Promise<ConversationRecord> {
    const { store, environment } = this.#agents;
    return await transact(store, environment, async (transaction) => {
      const before = await conversations.get(transaction, project, id);
      if (before === undefined) throw new NotFoundError(`Conversation not found with id=${JSON.stringify(id)}`);
      const after = { ...before, ...change, updated_at: new Date(environment.clock.now()).toISOString() };
      conversations.replace(transaction, project, before, after);
      return after;
    });
  }

  /** A page of all conversations or an agent's; `undefined` for a cursor that names none of them. */
  async page(project: string, agentId: string | undefined, page: Page): Promise<ConversationRecord[] | undefined> {
    const { store } = this.#agents;
    const [index, prefix] = agentId === undefined ? (["created", []] as const) : (["agent", [agentId]] as const);
    const found = await conversations.page(store, project, index, prefix, page);
    return found && (await this.#withActivity(project, found));
  }

  /** The records with the time of their last message, which is a row of its own so that a message costs no conflict. */
  async #withActivity(project: string, found: readonly ConversationRecord[]): Promise<ConversationRecord[]> {
    if (found.length === 0) return [];
    const answers = await this.#agents.store.read(found.map(({ id }) => ({ key: encodeTuple(conversationActivityKey(project, id)) })));
    return found.map((conversation, at) => {
      const row = answers[at]![0];
      return row === undefined ? conversation : { ...conversation, last_message_at: decodeJson<string>(row.value) };
    });
  }

  /** A new conversation with the messages that the model sees in this one. */
  async fork(address: ConversationAddress, fields: Change = {}): Promise<ConversationRecord> {
    const context = await readContext(this.#agents.store, address);
    const { messages } = context === undefined ? { messages: [] } : await readContextMessages({ ...this.#agents, address }, context);
    const fork = await this.create(address.project, address.agentId, fields);
    if (messages.length > 0)
      await this.append(
        { ...address, conversationId: fork.id },
        messages.map((message) => message.body),
      );
    return fork;
  }

  async append(address: ConversationAddress, bodies: readonly ChatBody[]): Promise<void> {
    await this.#invoke(address, { kind: "append", address, bodies });
  }

  /** The ids of the messages that the model sees, the system message first. */
  async contextMessageIds(address: ConversationAddress): Promise<string[]> {
    const { messages, system } = await this.contextMessages(address);
    return [...(system === undefined ? [] : [system.id]), ...messages.map((message) => message.id)];
  }

  /** The messages that the model sees. */
  async contextMessages(
    address: ConversationAddress,
  ): Promise<{ readonly system: ChatMessage | undefined; readonly messages: readonly ChatMessage[] }> {
    const { store } = this.#agents;
    const context = await readContext(store, address);
    if (context === undefined) return { system: undefined, messages: [] };
    const [system] =
      context.system === null
        ? []
        : await readMessages(store, address.project, conversationKey(address), { from: context.system, to: context.system + 1 });
    return { system, messages: (await readContextMessages({ ...this.#agents, address }, context)).messages };
  }

  context(address: ConversationAddress): Promise<ContextState | undefined> {
    return readContext(this.#agents.store, address);
  }

  /** Accepts a request and starts its run; the run goes on whatever becomes of the caller. */
  async send(address: ConversationAddress, request: SendRequest, options: InvokeOptions = {}): Promise<SendOutcome> {
    return await this.#invoke<SendOutcome>(address, { kind: "send", address, request }, options);
  }

  async cancel(address: ConversationAddress, runIds: readonly string[] | null): Promise<CancelOutcome> {
    return await this.#invoke<CancelOutcome>(address, { kind: "cancel", address, runIds });
  }

  /** The calls of a run that left Kelpie, or were about to. @throws {NotFoundError} */
  async runEffects(project: string, runId: string, page: RunEffectPage): Promise<EffectRecord[]> {
    await this.run(project, runId);
    return await pageEffects(this.#agents.store, project, runId, page);
  }

  /** Calls of all runs whose outcome nobody knows. */
  async unknownEffects(project: string, page: EffectPage): Promise<EffectRecord[]> {
    return await pageUnknownEffects(this.#agents.store, project, page);
  }

  /** @throws {NotFoundError} */
  async effect(project: string, { runId, effectId }: EffectAddress): Promise<EffectRecord> {
    const effect = await readEffect(this.#agents.store, project, runId, effectId);
    if (effect === undefined) throw new NotFoundError(`Effect not found with id=${JSON.stringify(effectId.slice(0, 200))}`);
    return effect;
  }

  /** Says what became of a call whose outcome is unknown. May be repeated. @throws {NotFoundError} */
  async settleEffect(project: string, effect: EffectAddress, said: Omit<Settlement, "at">): Promise<SettleOutcome> {
    const { agent_id: agentId, conversation_id: conversationId } = await this.effect(project, effect);
    const address = { project, agentId, conversationId };
    return await this.#invoke<SettleOutcome>(address, { kind: "settle", address, effect, said });
  }

  async reset(address: ConversationAddress): Promise<void> {
    while ((await this.#invoke<number>(address, { kind: "reset", address })) > 0);
  }

  /** The system message as it is now; stored unless `dryRun`. */
  async recompile(address: ConversationAddress, dryRun: boolean): Promise<string> {
    return await this.#invoke<string>(address, { kind: "recompile", address, dryRun });
  }

  /** Puts a summary in the place of old messages. @throws {CompactionError} */
  async compact(address: ConversationAddress, settings: CompactionSettings | null, signal: AbortSignal): Promise<CompactOutcome> {
    const conversation: ConversationEnvironment = { ...this.#agents, address };
    const context = await readContext(this.#agents.store, address);
    if (context === undefined) throw new CompactionError("This conversation has no messages to compact");
    if (context.runId !== null)
      throw new CompactionError(`Another request (run_id=${context.runId}) is currently being processed for this conversation`);
    const setting = await readSetting(conversation, { overrideModel: null, clientTools: [] });
    const plan = await planCompaction(conversation, context, settings ?? setting.agent.compaction_settings ?? { mode: "all" });
    if (plan === undefined) throw new CompactionError("This conversation has too few messages to compact");
    const cut = compactionCut(context, setting.contextWindow, plan, await summarise(conversation, setting, plan, signal), "manual");
    if (!(await this.#invoke<boolean>(address, { kind: "compact", address, cut })))
      throw new CompactionError("The conversation went on while its summary was made: try again");
    return { summary: cut.summary, messagesBefore: cut.stats.messages_count_before, messagesAfter: cut.stats.messages_count_after };
  }

  /** A conversation's messages, or those of all conversations of an agent or the project; `undefined` for an unknown cursor. */
  async messages(
    project: string,
    scope: { readonly conversation: ConversationAddress } | { readonly agentId: string } | { readonly project: true },
    page: MessagePage,
  ): Promise<ChatMessage[] | undefined> {
    return await pageMessages(
      this.#agents.store,
      project,
      "conversation" in scope ? { conversation: conversationKey(scope.conversation) } : scope,
      page,
    );
  }

  /** Messages of an agent by their words, the best first; without a query the newest first. */
  async search(project: string, agentId: string, search: MessageSearch): Promise<FoundMessage[]> {
    return await searchAgentMessages(this.#agents, project, agentId, search);
  }

  /** @throws {NotFoundError} */
  async message(project: string, id: string): Promise<ChatMessage> {
    const found = await findMessage(this.#agents.store, project, id);
    if (found === undefined) throw new NotFoundError(`Message not found with id=${JSON.stringify(id)}`);
    return found.message;
  }

  /** @throws {NotFoundError} */
  async run(project: string, id: string): Promise<RunRecord> {
    const [run] = await runs.read(this.#agents.store, project, [id]);
    if (run === undefined) throw new NotFoundError(`Run not found with id=${JSON.stringify(id)}`);
    return run;
  }

  async runPage(
    project: string,
    by: { readonly agentId?: string; readonly conversationId?: string; readonly active?: boolean },
    page: Page,
  ): Promise<RunRecord[] | undefined> {
    const { store } = this.#agents;
    if (by.active === true && by.agentId === undefined) return await runs.page(store, project, "active", [], page);
    if (by.agentId === undefined) return await runs.page(store, project, "created", [], page);
    if (by.conversationId === undefined) return await runs.page(store, project, "agent", [by.agentId], page);
    return await runs.page(store, project, "conversation", [by.agentId, by.conversationId], page);
  }

  /** The messages of a run, with what the user sent. */
  async runMessages(project: string, run: RunRecord): Promise<ChatMessage[]> {
    const address: ConversationAddress = { project, agentId: run.agent_id, conversationId: run.conversation_id ?? "default" };
    const to = run.kelpie.endMessage ?? Number.MAX_SAFE_INTEGER;
    const messages = await readMessages(this.#agents.store, project, conversationKey(address), { from: run.kelpie.firstMessage, to });
    return messages.filter((message) => message.run_id === run.id);
  }

  /** Deletes a run's record, steps and events; its messages stay. */
  async deleteRun(project: string, id: string): Promise<void> {
    const run = await this.run(project, id);
    await this.#deleteRuns(project, [run]);
  }

  /** The run of a conversation that took the message with this otid. */
  async runOfOtid(address: ConversationAddress, otid: string): Promise<RunRecord | undefined> {
    const page = await this.runPage(
      address.project,
      { agentId: address.agentId, conversationId: address.conversationId },
      { limit: 50, reverse: true },
    );
    for (const run of page ?? []) {
      const messages = await this.runMessages(address.project, run);
      if (messages.some((message) => message.otid === otid)) return run;
    }
    return undefined;
  }

  /** @throws {NotFoundError} */
  async step(project: string, id: string): Promise<StepRecord> {
    const [step] = await steps.read(this.#agents.store, project, [id]);
    if (step === undefined) throw new NotFoundError(`Step not found with id=${JSON.stringify(id)}`);
    return step;
  }

  async stepPage(
    project: string,
    by: { readonly runId?: string; readonly agentId?: string },
    page: Page,
  ): Promise<StepRecord[] | undefined> {
    const { store } = this.#agents;
    if (by.runId !== undefined) return await steps.page(store, project, "run", [by.runId], page);
    if (by.agentId !== undefined) return await steps.page(store, project, "agent", [by.agentId], page);
    return await steps.page(store, project, "created", [], page);
  }

  async stepMessages(project: string, step: StepRecord): Promise<ChatMessage[]> {
    const run = await this.run(project, step.run_id);
    return (await this.runMessages(project, run)).filter((message) => message.step_id === step.id);
  }

  async rateStep(project: string, id: string, feedback: StepRecord["feedback"], tags: readonly string[]): Promise<StepRecord> {
    const { store, environment } = this.#agents;
    return await transact(store, environment, async (transaction) => {
      const before = await steps.get(transaction, project, id);
      if (before === undefined) throw new NotFoundError(`Step not found with id=${JSON.stringify(id)}`);
      const after = { ...before, feedback, tags };
      steps.replace(transaction, project, before, after);
      return after;
    });
  }

  /**
   * The events of a run after number `after`, and those to come until its last.
   *
   * @throws {NotFoundError}
   */
  async follow(project: string, runId: string, after: number, signal: AbortSignal): Promise<AsyncIterable<readonly RunEvent[]>> {
    await this.run(project, runId);
    const isOver = async (): Promise<boolean> => {
      const [run] = await runs.read(this.#agents.store, project, [runId]);
      return run === undefined || !isActive(run);
    };
    return followRun({ ...this.#agents, project, runId }, after, isOver, signal);
  }

  /** Deletes a conversation with its messages and runs. */
  async delete(project: string, id: string): Promise<void> {
    const conversation = await this.get(project, id);
    await this.#clear({ project, agentId: conversation.agent_id, conversationId: id });
    await transact(this.#agents.store, this.#agents.environment, async (transaction) => {
      const current = await conversations.get(transaction, project, id);
      if (current !== undefined) conversations.delete(transaction, project, current);
      transaction.delete(conversationActivityKey(project, id));
    });
  }

  /** Deletes every conversation of an agent. */
  async deleteAll(project: string, agentId: string): Promise<void> {
    for (;;) {
      const page = await this.page(project, agentId, { limit: 100 });
      if (page === undefined || page.length === 0) break;
      for (const conversation of page) await this.delete(project, conversation.id);
    }
    await this.#clear({ project, agentId, conversationId: "default" });
  }

  async #clear(address: ConversationAddress): Promise<void> {
    while ((await this.#invoke<number>(address, { kind: "delete", address })) > 0);
    for (;;) {
      const page = await this.runPage(address.project, { agentId: address.agentId, conversationId: address.conversationId }, { limit: 50 });
      if (page === undefined || page.length === 0) return;
      await this.#deleteRuns(address.project, page);
    }
  }

  async #deleteRuns(project: string, page: readonly RunRecord[]): Promise<void> {
    const { store, environment } = this.#agents;
    for (const run of page) {
      for (;;) {
        const found = (await steps.page(store, project, "run", [run.id], { limit: rowsPerDelete })) ?? [];
        await transact(store, environment, async (transaction) => {
          for (const step of found) steps.delete(transaction, project, step);
          if (found.length === rowsPerDelete) return;
          const current = await runs.get(transaction, project, run.id);
          if (current !== undefined) runs.delete(transaction, project, current);
          transaction.deleteAll(eventRows(project, run.id));
          transaction.deleteAll(effectRows(project, run.id));
          transaction.deleteAll([...unknownRows(project), run.id]);
        });
        if (found.length < rowsPerDelete) break;
      }
    }
  }

  async #invoke<Reply>(address: ConversationAddress, message: ConversationMessage, options: InvokeOptions = {}): Promise<Reply> {
    return await this.#actors.invoke<Reply>(conversationActor(address), message, options);
  }
}
