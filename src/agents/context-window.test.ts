import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChatBody, ChatMessage, ToolReturn } from "./chat-message.ts";
import { contextWindow } from "./context-window.ts";

/** Role, and ids of the calls that it makes or answers, of each message that the model sees after the system prompt. */
function seen(...bodies: readonly ChatBody[]): readonly string[] {
  const messages = bodies.map((body, n): ChatMessage => ({
    n,
    id: `message-${n}`,
    created_at: "2026-01-01T00:00:00.000Z",
    agent_id: "agent-1",
    conversation_id: "default",
    body,
  }));
  const request = contextWindow({ system: "", messages, tools: [], settings: {}, cacheKey: "" });
  return request.messages.slice(1).map((message) => {
    if (message.role === "tool") return `tool ${message.toolCallId}`;
    const calls = message.role === "assistant" ? message.content.flatMap((part) => (part.type === "toolCall" ? [part.id] : [])) : [];
    return [message.role, ...calls].join(" ");
  });
}

const user: ChatBody = { role: "user", content: "x" };
const say: ChatBody = { role: "assistant", parts: [{ type: "text", text: "x" }], calls: [] };
const ask = (...ids: readonly string[]): ChatBody => ({
  role: "approval",
  parts: [],
  calls: ids.map((id) => ({ tool_call_id: id, name: "f", arguments: "{}" })),
});
const results = (...ids: readonly string[]): ChatBody => ({
  role: "tool",
  returns: ids.map((id): ToolReturn => ({ tool_call_id: id, status: "success", tool_return: "x" })),
});

for (const [name, bodies, expected] of [
  ["results after their calls", [user, ask("a", "b"), results("a", "b"), say], ["user", "assistant a b", "tool a", "tool b", "assistant"]],
  [
    "what came between the calls and their results, after the results",
    [user, ask("a", "b"), user, user, results("a", "b"), say],
    ["user", "assistant a b", "tool a", "tool b", "user", "user", "assistant"],
  ],
  [
    "results that are stored one by one, each with its own calls",
    [ask("a"), user, results("a"), ask("b", "c"), user, results("b"), results("c"), say],
    ["assistant a", "tool a", "user", "assistant b c", "tool b", "tool c", "user", "assistant"],
  ],
  [
    "a call's id that was used before, with the newest call",
    [ask("a"), results("a"), ask("a"), user, results("a")],
    ["assistant a", "tool a", "assistant a", "tool a", "user"],
  ],
  [
    "calls that are free and calls that were approved as one answer",
    [{ role: "assistant", parts: [], calls: [{ tool_call_id: "a", name: "f", arguments: "{}" }] }, ask("b"), user, results("a", "b")],
    ["assistant a b", "tool a", "tool b", "user"],
  ],
] as const)
  test(`The model sees ${name}`, () => assert.deepEqual(seen(...bodies), expected));
