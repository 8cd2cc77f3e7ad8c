/** Messages that agents send to each other. */
import { MailboxFullError, type Turn } from "../actors/actor.ts";
import { inboxSize } from "../actors/outgoing.ts";
import { LimitError } from "../storage/store.ts";
import { agents } from "./agent.ts";
import { conversationActor, type ConversationAddress } from "./conversation.ts";
import type { ConversationMessage } from "./conversation-actor.ts";
import type { ConversationEnvironment } from "./conversation-environment.ts";
import type { SendOutcome, SendRequest } from "./conversations.ts";

/** Messages that may wait for one agent: fewer than may wait for an actor, so that no step fails because of it. */
const waitingMax = 1_000;
const stepsMax = 50;
/** While an agent works on a run, what came for it meanwhile is tried again after this long. */
const busyMilliseconds = 2_000;

/** Sends `text` to the default conversation of another agent, as a part of `turn`. */
export async function sendToAgent(
  { store, address }: ConversationEnvironment,
  turn: Turn,
  agentId: string,
  text: string,
): Promise<{ readonly refused?: string }> {
  const to: ConversationAddress = { project: address.project, agentId, conversationId: "default" };
  const [agent] = await agents.read(store, address.project, [agentId]);
  if (agent === undefined) return { refused: `There is no agent with the id ${agentId.slice(0, 100)}.` };
  const waiting = await inboxSize(store, conversationActor(to));
  if (waiting >= waitingMax) return { refused: `${waiting} messages wait for the agent ${agentId} already: try again later.` };
  const message: ConversationMessage = { kind: "send", address: to, request: request(address.agentId, text) };
  try {
    turn.send(conversationActor(to), message);
  } catch (error) {
    if (error instanceof LimitError) return { refused: `The message cannot be sent: ${error.message}.` };
    throw error;
  }
  return {};
}

/** What becomes of a message of another agent that did not start a run: it is tried again. */
export function refusedLater({ agentId }: ConversationAddress, outcome: SendOutcome & { readonly ok: false }): Error {
  if (outcome.reason === "busy") return new MailboxFullError(`Agent ${agentId} works on run ${outcome.runId}`, busyMilliseconds);
  return new Error(`Agent ${agentId} takes no message now: ${outcome.reason}`);
}

/** As Letta has it: a system message that names the sender. */
function request(senderId: string, text: string): SendRequest {
  const content = `A message from the agent with the id ${senderId}. It can be answered with send_message_to_agent_async.\n\n${text}`;
  return {
    messages: [{ type: "message", role: "system", content, sender_id: senderId }],
    stepsMax,
    background: true,
    streamTokens: false,
    clientTools: [],
    clientSkills: [],
    overrideModel: null,
    overrideSystem: null,
    includeCompactionMessages: false,
    requestConfig: {
      use_assistant_message: true,
      assistant_message_tool_name: "send_message",
      assistant_message_tool_kwarg: "message",
      include_return_message_types: null,
    },
    callbackUrl: null,
  };
}
