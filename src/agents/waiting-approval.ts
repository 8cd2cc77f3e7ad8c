/**
 * Conversations that wait for a person's decision, as rows that lists find (A4 in approval.ts).
 *
 * The row follows from the conversation's context. Both are written by one function, so no path can forget the row.
 */
import type { Turn } from "../actors/actor.ts";
import { Collection, type Page } from "../storage/collection.ts";
import type { Store } from "../storage/store.ts";
import { Transaction } from "../storage/transaction.ts";
import { type ContextState, type ConversationAddress, type PendingApproval, readContext, stateKeys } from "./conversation.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import { deleteWide, getWide, setWide } from "./wide-row.ts";

export interface WaitingApproval {
  /** That of the message that asks. */
  readonly id: string;
  readonly agent_id: string;
  /** `default` for the agent's own. */
  readonly conversation_id: string;
  readonly created_at: string;
}

export const waitingApprovals: Collection<WaitingApproval> = new Collection<WaitingApproval>("approval", {
  created: (approval) => [[approval.created_at]],
  agent: (approval) => [[approval.agent_id, approval.created_at]],
});

/** Writes a conversation's context, and what lists show of it. Undefined: the conversation is deleted. */
export async function writeContext(
  { store, address }: Pick<ConversationEnvironment, "store" | "address">,
  turn: Turn,
  context: ContextState | undefined,
): Promise<void> {
  const before = waitingApproval(address, (await getWide<ContextState>(turn.state, stateKeys.context))?.pending);
  const after = waitingApproval(address, context?.pending);
  if (before?.id !== after?.id) {
    // Without checks: only this conversation writes these rows, and its epoch protects them.
    const rows = new Transaction(store);
    if (before !== undefined) waitingApprovals.delete(rows, address.project, before);
    if (after !== undefined) waitingApprovals.insert(rows, address.project, after);
    turn.write(...rows.writes);
  }
  if (context === undefined) await deleteWide(turn.state, stateKeys.context);
  else await setWide(turn.state, stateKeys.context, context);
}

/** Undefined: nothing waits, or only results of the client's own tools are waited for. */
export function waitingApproval(address: ConversationAddress, pending: PendingApproval | null | undefined): WaitingApproval | undefined {
  if (pending == null || pending.askedAt === undefined || pending.calls.every(({ hash }) => hash === undefined)) return undefined;
  const { agentId, conversationId } = address;
  return { id: pending.messageId, agent_id: agentId, conversation_id: conversationId, created_at: new Date(pending.askedAt).toISOString() };
}

/** A request for approval with its calls. */
export interface ApprovalRequest extends WaitingApproval {
  readonly pending: PendingApproval;
}

/** Those of an agent or of a project that wait; `undefined` for a cursor that names none of them. */
export async function pageApprovals(
  store: Store,
  project: string,
  agentId: string | undefined,
  page: Page,
): Promise<ApprovalRequest[] | undefined> {
  const [index, prefix] = agentId === undefined ? (["created", []] as const) : (["agent", [agentId]] as const);
  const found = await waitingApprovals.page(store, project, index, prefix, page);
  if (found === undefined) return undefined;
  const requests: ApprovalRequest[] = [];
  // One after the other: a context may have many large calls.
  for (const waiting of found) {
    const request = await withCalls(store, project, waiting);
    if (request !== undefined) requests.push(request);
  }
  return requests;
}

/** Undefined: there is none, or it waits no more. */
export async function findApproval(store: Store, project: string, id: string): Promise<ApprovalRequest | undefined> {
  const [waiting] = await waitingApprovals.read(store, project, [id]);
  return waiting && (await withCalls(store, project, waiting));
}

/** Undefined: it was decided meanwhile. */
async function withCalls(store: Store, project: string, waiting: WaitingApproval): Promise<ApprovalRequest | undefined> {
  const address: ConversationAddress = { project, agentId: waiting.agent_id, conversationId: waiting.conversation_id };
  const pending = (await readContext(store, address))?.pending;
  return pending?.messageId === waiting.id ? { ...waiting, pending } : undefined;
}
