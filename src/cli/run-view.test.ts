import assert from "node:assert/strict";
import { test } from "node:test";
import type { ApiMessage } from "./api-client.ts";
import { memoryEdit, RunView } from "./run-view.ts";
import { testProgram } from "./testing.ts";

function shown(...messages: readonly ApiMessage[]): { readonly text: string; readonly view: RunView } {
  const program = testProgram();
  const view = new RunView(program.terminal);
  for (const message of messages) view.show(message);
  view.end();
  return { text: program.output(), view };
}

const ended = (reason: string): ApiMessage => ({ message_type: "stop_reason", stop_reason: reason });

test("Text appears token by token on one line, reasoning before it on its own", () => {
  const { text, view } = shown(
    { message_type: "reasoning_message", reasoning: "Hm" },
    { message_type: "reasoning_message", reasoning: "m." },
    { message_type: "assistant_message", content: "Hel" },
    { message_type: "assistant_message", content: [{ type: "text", text: "lo" }] },
    ended("end_turn"),
  );
  assert.equal(text, "Hmm.\nHello\n");
  assert.equal(view.failed, false);
});

test("A call whose arguments come in pieces is one line with its result", () => {
  const { text } = shown(
    { message_type: "tool_call_message", tool_call: { tool_call_id: "c1", name: "search", arguments: '{"que' } },
    { message_type: "tool_call_message", tool_call: { tool_call_id: "c1", arguments: 'ry":"x"}' } },
    { message_type: "tool_return_message", tool_call_id: "c1", status: "success", tool_return: "two\nresults" },
    ended("end_turn"),
  );
  assert.equal(text, '⚙ search({"query":"x"}) → two results\n');
});

test("A memory edit shows the block and what changed", () => {
  const { text } = shown(
    {
      message_type: "tool_call_message",
      tool_calls: [
        {
          tool_call_id: "c1",
          name: "memory_replace",
          arguments: JSON.stringify({ label: "human", old_string: "Name: ?", new_string: "Name: Ada\nLikes: maths" }),
        },
      ],
    },
    { message_type: "tool_return_message", tool_returns: [{ tool_call_id: "c1", status: "success", tool_return: "ok" }] },
  );
  assert.equal(text, "✎ memory block human\n  - Name: ?\n  + Name: Ada\n  + Likes: maths\n");
});

test("An edit that failed is shown as a failed call", () => {
  const { text } = shown(
    { message_type: "tool_call_message", tool_calls: [{ tool_call_id: "c1", name: "memory_insert", arguments: '{"label":"nope"}' }] },
    { message_type: "tool_return_message", tool_call_id: "c1", status: "error", tool_return: "There is no block nope" },
  );
  assert.match(text, /^⚙ memory_insert\(.*\) failed: There is no block nope\n$/);
});

for (const [reason, failed, line] of [
  ["end_turn", false, ""],
  ["cancelled", false, "(cancelled)\n"],
  ["max_steps", true, "(stopped: max steps)\n"],
  ["llm_api_error", true, "(stopped: llm api error)\n"],
] as const)
  test(`A run that ended by ${reason} ${failed ? "failed" : "did not fail"}`, () => {
    const { text, view } = shown(ended(reason));
    assert.deepEqual([text, view.failed], [line, failed]);
  });

test("The error of a run is shown with its detail", () => {
  const { text, view } = shown(
    { message_type: "error_message", message: "The model failed", detail: "no such key" },
    ended("llm_api_error"),
  );
  assert.equal(text, "✖ The model failed: no such key\n");
  assert.equal(view.failed, true);
});

test("What a model writes cannot steer the terminal", () => {
  const { text } = shown({ message_type: "assistant_message", content: "a\u001b[2Jb\u0007\u009b31mc\r\n" });
  assert.equal(text, "a␛[2Jb␇\ufffd31mc\n\n");
});

test("Calls that wait for approval are gathered once each", () => {
  const long = "x".repeat(1_000);
  const call = { tool_call_id: "c1", name: "delete_all", arguments: `{"path":"${long}"}` };
  const { view } = shown(
    { message_type: "approval_request_message", id: "message-1", tool_call: call, tool_calls: [call] },
    ended("requires_approval"),
  );
  assert.equal(view.approvalRequestId, "message-1");
  assert.deepEqual(view.pendingApprovals, ["c1"]);
  assert.equal(view.describeCall("c1"), `delete_all({"path":"${long}"})`, "nothing of what is approved is hidden");
});

for (const [name, input, expected] of [
  ["core_memory_append", { label: "human", content: "a" }, { label: "human", removed: [], added: ["a"] }],
  ["core_memory_replace", { label: "human", old_content: "a", new_content: "b" }, { label: "human", removed: ["a"], added: ["b"] }],
  ["memory_insert", { label: "human", new_string: "a" }, { label: "human", removed: [], added: ["a"] }],
  ["memory_rethink", { label: "human", new_memory: "a" }, { label: "human", removed: [], added: ["a"] }],
  [
    "memory",
    { command: "str_replace", path: "/memories/human", old_string: "a", new_string: "b" },
    { label: "human", removed: ["a"], added: ["b"] },
  ],
  ["memory", { command: "create", path: "/memories/plans", file_text: "a" }, { label: "plans", removed: [], added: ["a"] }],
  ["memory", { command: "delete", path: "/memories/plans" }, { label: "plans", removed: [], added: ["(deleted)"] }],
  ["send_mail", { to: "ada" }, undefined],
] as const)
  test(`${name}(${JSON.stringify(input)}) ${expected === undefined ? "is no memory edit" : `edits ${expected.label}`}`, () =>
    assert.deepEqual(memoryEdit({ name, arguments: JSON.stringify(input) }), expected));

test("Arguments that are not JSON do not break the view", () => {
  assert.deepEqual(memoryEdit({ name: "memory_insert", arguments: '{"label":' }), { label: "", removed: [], added: [] });
});
