/**
 * `send_message`: a message to an agent, and its answer.
 *
 * The run belongs to the agent: a caller that goes away, or that stops waiting, does not end it. In this protocol a lost
 * connection and a cancelled call look the same, and a run must survive the first. `stop_agent` is how to end one.
 */
import { z } from "@hono/zod-openapi";
import type { AgentRecord } from "../../agents/agent.ts";
import type { ChatMessage } from "../../agents/chat-message.ts";
import type { SendOutcome } from "../../agents/conversations.ts";
import type { RunRecord } from "../../agents/run.ts";
import { show } from "../http-error.ts";
import { streamRun } from "../run-stream.ts";
import { sendSchema } from "../schemas/message-input.ts";
import type { Services } from "../services.ts";
import { type AgentTool, agentTool, cut, findAgent, type ToolCaller, ToolRefusal } from "./agent-tool.ts";
import { agentInput } from "./inputs.ts";

const textCharactersMax = 1_000_000;
const answerCharactersMax = 100_000;
/** Callers that hear nothing for a minute commonly give up. */
const progressMillisecondsMax = 10_000;

const sendRequest = sendSchema("McpSendRequest", "never");

export const sendMessage: AgentTool = agentTool({
  name: "send_message",
  title: "Send a message to an agent",
  description:
    "Sends a message to an agent and waits for its answer, which is the result. The agent remembers the whole conversation. It may use its own tools, which can take minutes; if you stop waiting it works on, and list_messages shows the answer later.",
  input: z.object({
    agent: agentInput,
    text: z.string().min(1).max(textCharactersMax).describe("What to tell the agent, or ask it"),
  }),
  annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
  async run(services, { agent: idOrName, text }, caller) {
    const { project } = caller;
    const agent = await findAgent(services, project, idOrName);
    const otid = caller.effectId === undefined ? {} : { otid: caller.effectId };
    const send = sendRequest.parse({ messages: [{ role: "user", content: text, ...otid }] });
    const address = { project, agentId: agent.id, conversationId: "default" };
    const outcome = await services.conversations.send(address, send);
    if (!outcome.ok) throw refusal(agent, outcome);
    await untilEnd(services, outcome.runId, agent, caller);
    const run = await services.conversations.run(project, outcome.runId);
    return answerOf(agent, run, await services.conversations.runMessages(project, run));
  },
});

async function untilEnd(services: Services, runId: string, agent: AgentRecord, { project, signal, progress }: ToolCaller): Promise<void> {
  const { clock } = services.environment;
  const over = new AbortController();
  const tellNow = async (): Promise<void> => {
    const ended = AbortSignal.any([signal, over.signal]);
    while (!ended.aborted) {
      await clock.sleep(progressMillisecondsMax, ended);
      if (!ended.aborted) await progress(`${agent.name} is at work`);
    }
  };
  const telling = tellNow();
  try {
    const { follow } = streamRun(services, { project, runId, after: 0, includePings: false });
    for await (const events of follow(signal))
      for (const { message } of events) {
        const doing = progressOf[message.message_type];
        if (doing !== undefined) await progress(`${agent.name} ${doing}`);
      }
  } finally {
    over.abort();
    await telling;
  }
  if (signal.aborted) throw new ToolRefusal(`${agent.name} works on, and nobody waits for its answer any more: list_messages will show it`);
}

const progressOf: Readonly<Record<string, string>> = {
  reasoning_message: "has thought",
  tool_call_message: "calls a tool",
  tool_return_message: "has the result of a tool",
  assistant_message: "has answered",
};

function answerOf(agent: AgentRecord, run: RunRecord, messages: readonly ChatMessage[]): string {
  const error = run.metadata?.error;
  if (error !== undefined)
    throw new ToolRefusal(`${agent.name} could not answer: ${error.message}. Your message is in its history: do not send it again at once`);
  const texts = messages.flatMap(({ body }) =>
    body.role === "assistant" || body.role === "approval" ? body.parts.flatMap((part) => (part.type === "text" ? [part.text] : [])) : [],
  );
  const calls = messages.flatMap(({ body }) => (body.role === "approval" ? body.calls.map(({ name }) => show(name)) : []));
  const ending =
    run.status === "cancelled"
      ? "(The agent was stopped before it had answered)"
      : run.stop_reason === "requires_approval"
        ? `(The agent waits for its owner to allow a call of ${calls.at(-1) ?? "a tool"})`
        : run.stop_reason === "max_steps"
          ? "(The agent was stopped after its greatest number of steps: send a message to let it go on)"
          : undefined;
  const answer = [...texts, ...(ending === undefined ? [] : [ending])].join("\n\n");
  return cut(answer === "" ? "(The agent has said nothing)" : answer, answerCharactersMax, `read kelpie://agents/${agent.id}/messages`);
}

function refusal(agent: AgentRecord, outcome: Extract<SendOutcome, { ok: false }>): ToolRefusal {
  if (outcome.reason === "busy")
    return new ToolRefusal(
      `${agent.name} is at work on an earlier message, and takes yours when that is done: list_messages shows how far it is, and stop_agent stops it`,
    );
  return new ToolRefusal(`${agent.name} waits for its owner to allow a call of a tool, and takes no message before`);
}
