/**
 * Takes old messages out of a conversation's context and puts a summary in their place. The messages stay in the log.
 *
 * Compaction is a step like any other: the summary is made outside a turn and committed in one, which does nothing if
 * the context has changed meanwhile.
 */
import type { Activation, Turn } from "../actors/actor.ts";
import { ModelError, ModelNotFoundError, type ModelRequest } from "../models/model.ts";
import type { AgentRecord, CompactionSettings } from "./agent.ts";
import { type ChatMessage, type LettaMessage, toLettaMessages } from "./chat-message.ts";
import { contextWindow, estimateTokens } from "./context-window.ts";
import { type ContextState, stateKeys } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import { EventLog } from "./event-log.ts";
import { append, readJournal } from "./run-journal.ts";
import type { RunEvent } from "./run-events.ts";
import { compiledMetadata, compileSystem, readContextMessages, type RunSetting } from "./step-plan.ts";
import { writeContext } from "./waiting-approval.ts";
import { setWide } from "./wide-row.ts";

/** Letta's default share of the context that a sliding window gives up. */
const slidingShareDefault = 0.3;
const summaryCharactersMaxDefault = 50_000;
/** Characters of one message that a summary without a model quotes. */
const excerptCharacters = 160;
const excerptsMax = 40;

const summaryPrompt =
  "You keep the memory of a long conversation. Write a summary of the messages below for the assistant that will go on with it and will not see them: what the user wants, what was decided and done, facts and names that matter, what is still open. Write plainly, without a preamble, in at most 500 words.";

interface CompactionOptions {
  readonly setting: RunSetting;
  readonly runId: string;
  readonly seq: () => number;
  readonly trigger: string;
  readonly signal: AbortSignal;
}

/** Compacts the conversation of a run in progress. Undefined: there is nothing to take out, or the run has moved on. */
export async function compact(
  conversation: ConversationEnvironment,
  activation: Activation,
  options: CompactionOptions,
): Promise<{ readonly events: readonly RunEvent[] } | undefined> {
  const { setting, runId } = options;
  const state = await activation.turn(readJournal);
  if (state === undefined || state.run.id !== runId) return undefined;
  const plan = await planCompaction(conversation, state.context, setting.agent.compaction_settings);
  if (plan === undefined) return undefined;
  const cut = compactionCut(
    state.context,
    setting.contextWindow,
    plan,
    await summarise(conversation, setting, plan, options.signal),
    options.trigger,
  );
  return await activation.turn(async (turn) => {
    const now = await readJournal(turn);
    if (now === undefined || now.run.id !== runId) return undefined;
    const message = await commitCompaction(conversation, turn, now.context, setting.agent, cut);
    if (message === undefined) return undefined;
    const log = new EventLog(options.seq(), [], now.run);
    if (now.run.includeCompactionMessages) {
      log.add({
        message_type: "event_message",
        id: message.id,
        event_type: "compaction",
        event_data: { trigger: options.trigger },
        ...dateOf(message),
      });
      log.messages([message]);
    }
    await setWide(turn.state, stateKeys.progress, { ...now.progress, contextTokens: 0 });
    return { events: log.write(conversation.address.project, turn) };
  });
}

function dateOf(message: ChatMessage): Pick<LettaMessage, "date"> {
  return { date: toLettaMessages(message)[0]!["date"] };
}

export interface CompactionPlan {
  /** Messages that the summary replaces, an earlier summary first. */
  readonly summarised: readonly ChatMessage[];
  readonly kept: readonly ChatMessage[];
  readonly settings: CompactionSettings;
}

/** Undefined: no message could be taken out. */
export async function planCompaction(
  conversation: ConversationEnvironment,
  context: ContextState,
  settings: CompactionSettings | null,
): Promise<CompactionPlan | undefined> {
  const { messages } = await readContextMessages(conversation, context);
  const mode = settings?.mode ?? "sliding_window";
  const isAll = mode === "all" || mode === "self_compact_all";
  const share = Math.min(1, Math.max(0.05, settings?.sliding_window_percentage ?? slidingShareDefault));
  // An earlier summary alone is not worth another one.
  const least = messages[0]?.body.role === "summary" ? 2 : 1;
  const wanted = isAll ? messages.length : Math.max(least, Math.ceil(messages.length * share));
  const cut = cutAtTurn(messages, wanted);
  if (cut < least) return undefined;
  return { summarised: messages.slice(0, cut), kept: messages.slice(cut), settings: settings ?? {} };
}

/**
 * The first place at or after `wanted` where the kept part may begin: never between calls and their results, and never
 * past the last message of a user, which the next step has to answer. When there is none after, the last one before.
 */
function cutAtTurn(messages: readonly ChatMessage[], wanted: number): number {
  const starts = messages.flatMap((message, index) =>
    message.body.role === "user" || (message.body.role === "assistant" && index > 0) ? [index] : [],
  );
  const last = messages.findLastIndex((message) => message.body.role === "user");
  const allowed = starts.filter(
    (index) => last < 0 || index <= last || messages.slice(last, index).some((message) => message.body.role === "tool"),
  );
  return allowed.find((index) => index >= wanted) ?? allowed.at(-1) ?? 0;
}

/** The text of the summary: the model's, or excerpts if no model can make one. */
export async function summarise(
  conversation: ConversationEnvironment,
  setting: RunSetting,
  plan: CompactionPlan,
  signal: AbortSignal,
): Promise<string> {
  const clip = plan.settings.clip_chars ?? summaryCharactersMaxDefault;
  try {
    const text = await askForSummary(conversation, setting, plan, signal);
    if (text !== "") return clipped(text, clip);
  } catch (error) {
    if (signal.aborted || !(error instanceof ModelError || error instanceof ModelNotFoundError)) throw error;
    conversation.environment.log.write("warn", "No model could summarise a conversation; keeping excerpts instead", {
      agent: conversation.address.agentId,
      error: error.message,
    });
  }
  return clipped(excerpts(plan.summarised), clip);
}

async function askForSummary(
  conversation: ConversationEnvironment,
  setting: RunSetting,
  plan: CompactionPlan,
  signal: AbortSignal,
): Promise<string> {
  const wanted = plan.settings.model;
  const model = wanted == null || wanted.startsWith("letta/") ? setting.model : await conversation.models.open(wanted);
  // The demo model is no language model: it cannot summarise.
  if (model.handle === "kelpie/demo") return "";
  const messages = fitting(plan.summarised, setting.contextWindow * 0.8);
  if (messages.length === 0) return "";
  const request: ModelRequest = contextWindow({
    system: plan.settings.prompt ?? summaryPrompt,
    messages,
    tools: [],
    settings: {},
    cacheKey: "",
  });
  const ask: ModelRequest = {
    ...request,
    messages: [...request.messages, { role: "user", content: [{ type: "text", text: "Now write the summary." }] }],
  };
  let text = "";
  for await (const event of model.generate(ask, signal)) if (event.type === "text") text += event.delta;
  return text.trim();
}

/** The newest of the messages that fit into `tokens`; the oldest are the first to go. */
function fitting(messages: readonly ChatMessage[], tokens: number): readonly ChatMessage[] {
  let from = 0;
  while (
    from < messages.length &&
    estimateTokens(contextWindow({ system: "", messages: messages.slice(from), tools: [], settings: {}, cacheKey: "" })) > tokens
  )
    from++;
  return messages.slice(from);
}

function excerpts(messages: readonly ChatMessage[]): string {
  const lines = messages.flatMap(({ body }): string[] => {
    if (body.role === "user")
      return [
        `User: ${excerpt(typeof body.content === "string" ? body.content : body.content.map((part) => (part.type === "text" ? part.text : "[image]")).join(" "))}`,
      ];
    if (body.role === "assistant" || body.role === "approval") {
      const text = body.parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join(" ");
      return [...(text === "" ? [] : [`Assistant: ${excerpt(text)}`]), ...body.calls.map((call) => `Assistant called ${call.name}`)];
    }
    return body.role === "summary" ? [body.text] : [];
  });
  const shown = lines.slice(-excerptsMax);
  return `${messages.length} earlier messages are no longer shown. Excerpts of the last ${shown.length} entries:\n${shown.join("\n")}`;
}

function excerpt(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > excerptCharacters ? `${line.slice(0, excerptCharacters)}…` : line;
}

function clipped(text: string, characters: number): string {
  return text.length <= characters
    ? text
    : `${text.slice(0, characters)}\n[The summary was longer than ${characters} characters and ends here]`;
}

/** Where a context is cut, as values that can travel to the conversation's actor. */
export interface CompactionCut {
  readonly summary: string;
  /** The context must still begin here. */
  readonly tailFrom: number;
  /** The first message that stays; `null`: none does. */
  readonly keptFrom: number | null;
  readonly stats: {
    readonly trigger: string;
    readonly context_tokens_before: number;
    readonly context_tokens_after: number;
    readonly context_window: number;
    readonly messages_count_before: number;
    readonly messages_count_after: number;
  };
}

export function compactionCut(
  context: ContextState,
  contextWindowTokens: number,
  plan: CompactionPlan,
  summary: string,
  trigger: string,
): CompactionCut {
  const tokens = (messages: readonly ChatMessage[]): number =>
    estimateTokens(contextWindow({ system: "", messages, tools: [], settings: {}, cacheKey: "" }));
  return {
    summary,
    tailFrom: context.tailFrom,
    keptFrom: plan.kept[0]?.n ?? null,
    stats: {
      trigger,
      context_tokens_before: tokens([...plan.summarised, ...plan.kept]),
      context_tokens_after: tokens(plan.kept) + Math.ceil(summary.length / 4),
      context_window: contextWindowTokens,
      // With the system message, and after the cut with the summary.
      messages_count_before: plan.summarised.length + plan.kept.length + 1,
      messages_count_after: plan.kept.length + 2,
    },
  };
}

/**
 * Puts the summary in the place of what it summarises; the system message shows the memory as it is now.
 * Undefined: the context has changed since the cut was planned, and nothing was written.
 */
export async function commitCompaction(
  conversation: ConversationEnvironment,
  turn: Turn,
  context: ContextState,
  agent: AgentRecord,
  cut: CompactionCut,
): Promise<ChatMessage | undefined> {
  if (context.tailFrom !== cut.tailFrom) return undefined;
  const compiled = await compileSystem(conversation, turn, agent, context, {
    metadata: await compiledMetadata(conversation, agent, context),
  });
  const appended = await append(conversation, turn, compiled, [{ body: { role: "summary", text: cut.summary, stats: cut.stats } }]);
  const message = appended.messages[0]!;
  await writeContext(conversation, turn, { ...appended.context, summary: message.n, tailFrom: cut.keptFrom ?? message.n + 1 });
  conversation.environment.probe("agents.compacted");
  return message;
}
