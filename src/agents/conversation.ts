/** Conversations as rows, and the state that a conversation's actor keeps about itself. */
import type { Json } from "../base/json.ts";
import type { Tuple } from "../base/tuple.ts";
import type { ActorId } from "../actors/actor.ts";
import type { MemoryView } from "../memory/render-memory.ts";
import type { ToolDefinition } from "../models/model.ts";
import { Collection } from "../storage/collection.ts";
import type { Store } from "../storage/store.ts";
import type { EffectClass } from "../tools/tool.ts";
import type { PastCall } from "../tools/tool-rules.ts";
import type { Approval } from "./approval.ts";
import type { ToolCall, ToolReturn } from "./chat-message.ts";
import type { RunRecord, TokenCounts } from "./run.ts";
import { readWide } from "./wide-row.ts";

/** A conversation, in Letta's fields. An agent's default conversation has no row: it is the agent itself. */
export interface ConversationRecord {
  readonly id: string;
  readonly agent_id: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly created_by_id: string | null;
  readonly last_updated_by_id: string | null;
  readonly summary: string | null;
  readonly description: string | null;
  readonly isolated_block_ids: readonly string[];
  readonly model: string | null;
  readonly model_settings: Json;
  readonly context_window_limit: number | null;
  readonly last_message_at: string | null;
  readonly archived: boolean;
  readonly archived_at: string | null;
  readonly hidden: boolean | null;
}

/** What a conversation has that was given nothing. */
export const conversationDefaults: Omit<ConversationRecord, "id" | "agent_id" | "created_at" | "updated_at"> = {
  created_by_id: null,
  last_updated_by_id: null,
  summary: null,
  description: null,
  isolated_block_ids: [],
  model: null,
  model_settings: null,
  context_window_limit: null,
  last_message_at: null,
  archived: false,
  archived_at: null,
  hidden: null,
};

export const conversations: Collection<ConversationRecord> = new Collection<ConversationRecord>("conversation", {
  created: (conversation) => [[conversation.created_at]],
  agent: (conversation) => [[conversation.agent_id, conversation.created_at]],
});

/** When the conversation got its last message: an ISO text. Only its actor writes it. */
export function conversationActivityKey(project: string, id: string): Tuple {
  return [project, "conversation.activity", id];
}

/** Which conversation: `conversationId` is `default` for the agent's own. */
export interface ConversationAddress {
  readonly project: string;
  readonly agentId: string;
  readonly conversationId: string;
}

export const conversationActorType = "conversation";

/** The default conversation's actor has the agent's id as its key. */
export function conversationKey(address: ConversationAddress): string {
  return address.conversationId === "default" ? address.agentId : address.conversationId;
}

export function conversationActor(address: ConversationAddress): ActorId {
  return { project: address.project, type: conversationActorType, key: conversationKey(address) };
}

/** What the model sees of a conversation: the system message, a summary, and every message from `tailFrom` on. */
export interface ContextState {
  readonly agentId: string;
  readonly conversationId: string;
  /** The position of the next message. */
  readonly next: number;
  /** When the newest message was made. Absent in a conversation without one, or whose last one is of before this field. */
  readonly newestAt?: string;
  readonly system: number | null;
  readonly summary: number | null;
  readonly tailFrom: number;
  /** What the system message says of the moment when it was compiled. */
  readonly compiled: CompiledMetadata | null;
  /** The run in progress. */
  readonly runId: string | null;
  readonly pending: PendingApproval | null;
  /** What became of calls whose outcome was unknown: for the agent, when no calls are open. */
  readonly settlements?: readonly string[];
}

export type CompiledMetadata = Pick<MemoryView, "compiledAt" | "previousMessages" | "archivalPassages" | "archivalTags">;

/** Tool calls that wait for a person's decision or a client's result. */
export interface PendingApproval {
  readonly messageId: string;
  readonly runId: string;
  readonly stepId: string;
  /** All calls of the step; those without `gated` run when the answer arrives. */
  readonly calls: readonly PendingCall[];
  /** Unix milliseconds. Absent in rows of before. */
  readonly askedAt?: number;
  /** Unix milliseconds, after which calls are only denied (approval.ts A3). Absent: a client's result is waited for. */
  readonly expiresAt?: number;
}

export interface PendingCall {
  readonly call: ToolCall;
  readonly gated: boolean;
  /** Whether the client executes it. */
  readonly client: boolean;
  /** What an approval of it is bound to (approval.ts A1). Absent where none is needed, and in rows of before. */
  readonly hash?: string;
}

/** What was asked of a run: constant while it lasts. */
export interface ActiveRun {
  readonly id: string;
  /** Its record as it was written when the run began. */
  readonly record: RunRecord;
  /** Unix milliseconds. */
  readonly startedAt: number;
  readonly background: boolean;
  readonly streamTokens: boolean;
  readonly stepsMax: number;
  readonly clientTools: readonly ToolDefinition[];
  readonly clientSkills: readonly { readonly name: string; readonly description: string; readonly location: string }[];
  readonly overrideModel: string | null;
  readonly overrideSystem: string | null;
  readonly includeCompactionMessages: boolean;
  /** The context is emptied when the run ends, as its agent's `message_buffer_autoclear` says. */
  readonly clearsContext: boolean;
}

/** How far a run has come: rewritten by each of its commits. */
export interface RunProgress {
  /** Steps whose model answer is committed. */
  readonly steps: number;
  /** Ids for the step at work, chosen before it begins so that a repeat after a crash has the same. */
  readonly step: StepIds;
  /** The calls of the last committed answer, until all have results. */
  readonly calls: readonly CallState[];
  readonly usage: TokenCounts;
  readonly contextTokens: number;
  readonly toolsUsed: readonly string[];
  /** The number of the last event that was committed with the progress; token events of a background run come after it. */
  readonly seq: number;
  readonly firstTokenMilliseconds: number | null;
  /** How often an activation took this step up again without finishing it. */
  readonly resumes: number;
  /** Calls that this run has finished, for the tool rules. */
  readonly history: readonly PastCall[];
}

export interface StepIds {
  readonly id: string;
  readonly messageId: string;
  /** For gated calls beside others. */
  readonly approvalMessageId: string;
  readonly toolMessageId: string;
}

/**
 * One tool call of a step. `intended`: durable, has not left; `started`: may have left; `done`: has its result.
 */
export interface CallState {
  readonly call: ToolCall;
  readonly effect: EffectClass;
  readonly effectId: string;
  readonly state: "intended" | "started" | "done";
  readonly result?: ToolReturn;
  /** Of a call that was asked for. */
  readonly approval?: Approval;
}

/** The keys of the actor's own rows; those of the context, the run and its progress are of wide rows (wide-row.ts). */
export const stateKeys = {
  context: ["context"] as Tuple,
  run: ["run"] as Tuple,
  progress: ["progress"] as Tuple,
  /** The run that took a client's message, by its otid. */
  otid: (otid: string): Tuple => ["otid", otid],
};

/** Reads a conversation's context from outside its actor: as it was at the last commit. */
export async function readContext(store: Store, address: ConversationAddress): Promise<ContextState | undefined> {
  const actor = conversationActor(address);
  return await readWide<ContextState>(store, [actor.project, "state", actor.type, actor.key, ...stateKeys.context]);
}
