import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { renderSystemPrompt, type RenderedBlock } from "../memory/render-memory.ts";
import { baseTools } from "../tools/base-tools.ts";
import { validateArguments } from "../tools/validate-arguments.ts";
import { readBlocks } from "./demo-memory.ts";
import { DemoModel } from "./demo-model.ts";
import { type AssistantPart, ModelError, type ModelMessage, type ModelRequest, type ToolDefinition } from "./model.ts";
import { collect, summarize } from "./testing/collect.ts";
import { ManualEnvironment } from "./testing/manual-environment.ts";
import type { WireObject } from "./wire-json.ts";

const persona = block("persona", "My name is Kelpie");

function block(label: string, value: string, readOnly = false): RenderedBlock {
  return { label, value, limit: 5_000, description: `About ${label}`, read_only: readOnly };
}

function system(blocks: readonly RenderedBlock[], variant: "standard" | "lineNumbered" = "standard"): ModelMessage {
  const view = { blocks, variant, agentId: "agent-1", conversationId: "default", compiledAt: 0, previousMessages: 3, archivalPassages: 0 };
  return { role: "system", content: renderSystemPrompt("You are helpful. Use <memory_blocks> well.", view) };
}

function user(text: string): ModelMessage {
  return { role: "user", content: [{ type: "text", text }] };
}

const toolFields: { readonly [name: string]: readonly string[] } = {
  memory_insert: ["label", "new_string", "insert_line"],
  memory_replace: ["label", "old_string", "new_string"],
  memory_rethink: ["label", "new_memory"],
  rethink_memory: ["new_memory", "target_block_label"],
  core_memory_append: ["label", "content"],
  core_memory_replace: ["label", "old_content", "new_content"],
  memory: ["command"],
  archival_memory_insert: ["content"],
  archival_memory_search: ["query"],
  conversation_search: ["query"],
  send_message: ["message"],
  roll_dice: ["sides"],
};

function tool(name: string, alsoRequired: readonly string[] = []): ToolDefinition {
  const properties = Object.fromEntries(
    [...toolFields[name]!, ...alsoRequired].map((field) => [field, { type: field === "request_heartbeat" ? "boolean" : "string" }]),
  );
  return { name, description: name, parameters: { type: "object", properties, required: [...toolFields[name]!, ...alsoRequired] } };
}

async function ask(
  messages: readonly ModelMessage[],
  tools: readonly ToolDefinition[] = [],
  fields: Partial<ModelRequest> = {},
): Promise<{
  readonly text: string;
  readonly calls: readonly { id: string; name: string; input: WireObject }[];
  readonly reason: string | undefined;
}> {
  const model = new DemoModel({ environment: new ManualEnvironment(), tokenMilliseconds: 0 });
  const { events, error } = await collect(model, { messages, tools, settings: {}, ...fields });
  assert.equal(error, undefined);
  const { text, calls, end } = summarize(events);
  return {
    text,
    calls: calls.map(({ id, name, argumentsText }) => ({ id, name, input: JSON.parse(argumentsText) as WireObject })),
    reason: end?.reason,
  };
}

function called(id: string, name: string, input: WireObject): ModelMessage {
  return { role: "assistant", content: [{ type: "toolCall", id, name, argumentsText: JSON.stringify(input) } satisfies AssistantPart] };
}

function result(id: string, content: string, isError = false): ModelMessage {
  return { role: "tool", toolCallId: id, content, isError };
}

const edits: readonly (readonly [tools: readonly string[], value: string, name: string, input: WireObject])[] = [
  [["memory_insert", "memory_replace"], "", "memory_insert", { label: "human", new_string: "The user's name is Ada", insert_line: -1 }],
  [
    ["memory_insert", "memory_replace"],
    "Likes tea",
    "memory_insert",
    { label: "human", new_string: "The user's name is Ada", insert_line: -1 },
  ],
  [
    ["memory_insert", "memory_replace"],
    "Likes tea\nName: Bob",
    "memory_replace",
    { label: "human", old_string: "Name: Bob", new_string: "The user's name is Ada" },
  ],
  [["core_memory_append", "core_memory_replace"], "", "core_memory_append", { label: "human", content: "The user's name is Ada" }],
  [
    ["core_memory_append", "core_memory_replace"],
    "The user's name is Bob",
    "core_memory_replace",
    { label: "human", old_content: "The user's name is Bob", new_content: "The user's name is Ada" },
  ],
  [["memory"], "", "memory", { command: "insert", path: "/memories/human", insert_line: -1, insert_text: "The user's name is Ada" }],
  [
    ["memory"],
    "Name: Bob",
    "memory",
    { command: "str_replace", path: "/memories/human", old_string: "Name: Bob", new_string: "The user's name is Ada" },
  ],
  [
    ["memory_replace"],
    "Likes tea",
    "memory_replace",
    { label: "human", old_string: "Likes tea", new_string: "Likes tea\nThe user's name is Ada" },
  ],
  [["rethink_memory"], "", "rethink_memory", { target_block_label: "human", new_memory: "The user's name is Ada" }],
  [["memory_rethink"], "Likes tea", "memory_rethink", { label: "human", new_memory: "Likes tea\nThe user's name is Ada" }],
];
for (const [tools, value, name, input] of edits) {
  test(`"Remember that my name is Ada" with ${tools.join(", ")} and the block ${JSON.stringify(value)} calls ${name}`, async () => {
    for (const variant of ["standard", "lineNumbered"] as const) {
      const { calls, text, reason } = await ask(
        [system([persona, block("human", value)], variant), user("Remember that my name is Ada.")],
        tools.map((toolName) => tool(toolName)),
      );
      assert.deepEqual(
        calls.map((call) => [call.name, call.input]),
        [[name, input]],
      );
      assert.deepEqual([text, reason], ["", "toolCalls"]);
    }
  });
}

const askings = ["Remember that my name is Ada", "Search for tea", "Archive: tea is green", "Hello"];
for (const { tool: kelpieTool } of baseTools.filter((base) => !base.isMissing)) {
  test(`What it gives to Kelpie's own ${kelpieTool.name} is valid for its schema`, async () => {
    for (const text of askings) {
      const { calls } = await ask([system([block("human", "Likes tea")]), user(text)], [kelpieTool]);
      for (const call of calls) {
        assert.equal(call.name, kelpieTool.name);
        assert.deepEqual(validateArguments(JSON.stringify(call.input), kelpieTool.parameters), { ok: true, input: call.input });
      }
    }
  });
}

test("After the edit it confirms, and a failed edit is told as such", async () => {
  const messages = [
    system([persona, block("human", "")]),
    user("Remember that my name is Ada"),
    called("a", "memory_insert", { label: "human", new_string: "The user's name is Ada", insert_line: -1 }),
  ];
  const tools = [tool("memory_insert")];
  assert.match(
    (await ask([...messages, result("a", "The core memory block has been edited")], tools)).text,
    /now in my core memory, in the block human/,
  );
  for (const failed of [
    result("a", "The block is read-only", true),
    result("a", '{"status":"Failed","message":"The block is read-only","time":"now"}'),
  ]) {
    const { text, calls } = await ask([...messages, failed], tools);
    assert.match(text, /did not work: the tool memory_insert says: The block is read-only$/);
    assert.deepEqual(calls, [], "D2");
  }
});

test("A name is answered from the block as Letta renders it", async () => {
  for (const variant of ["standard", "lineNumbered"] as const)
    for (const value of ["The user's name is Ada", "Name: Ada", "Likes tea\nFirst name: Ada\nLives in Oslo", "My name is Ada."])
      assert.match((await ask([system([persona, block("human", value)], variant), user("What is my name?")])).text, /^Your name is Ada\./);
  assert.match((await ask([system([persona, block("human", "Likes tea")]), user("What's my name?")])).text, /My memory does not say/);
});

test("What was written in this conversation counts before the prompt is rendered again, unless it failed", async () => {
  const history = (isError: boolean): readonly ModelMessage[] => [
    system([block("human", "The user's name is Bob")]),
    user("Remember that my name is Ada"),
    called("a", "memory_replace", { label: "human", old_string: "The user's name is Bob", new_string: "The user's name is Ada" }),
    result("a", "ok", isError),
    { role: "assistant", content: [{ type: "text", text: "Yes" }] },
    user("Who am I?"),
  ];
  assert.match((await ask(history(false))).text, /Ada/);
  assert.match((await ask(history(true))).text, /Bob/);
});

test("What is known of the user is told line by line, and an empty block is called empty", async () => {
  assert.match(
    (await ask([system([block("human", "Name: Ada\nLikes tea")]), user("What do you know about me?")])).text,
    /- Name: Ada\n- Likes tea$/,
  );
  assert.match((await ask([system([block("human", "")]), user("What do you remember?")])).text, /My block human is empty/);
});

test("What is already known is not written twice", async () => {
  const { text, calls } = await ask(
    [system([block("human", "The user said: I like tea")]), user("Remember that I like tea")],
    [tool("memory_insert")],
  );
  assert.deepEqual(calls, []);
  assert.match(text, /already/);
});

test("Without a block, or without a tool to edit it, it says so", async () => {
  assert.match((await ask([system([persona]), user("Remember that I like tea")], [tool("memory_insert")])).text, /no block/);
  assert.match((await ask([system([block("human", "")]), user("Remember that I like tea")])).text, /no tool that edits it/);
  assert.match(
    (await ask([system([block("human", "")]), user("Remember that I like tea")], [tool("memory_insert")], { toolChoice: "none" })).text,
    /no tool that edits it/,
  );
});

test("What else a tool's schema insists on is filled in", async () => {
  const { calls } = await ask(
    [system([block("human", "")]), user("Remember that I like tea")],
    [tool("core_memory_append", ["request_heartbeat", "reason"])],
  );
  assert.deepEqual(calls[0]?.input, {
    label: "human",
    content: "The user said: I like tea",
    request_heartbeat: true,
    reason: "The user asked for it",
  });
});

const lookups: readonly (readonly [text: string, tools: readonly string[], name: string, input: WireObject])[] = [
  ["Search for lighthouse", ["archival_memory_search", "conversation_search"], "archival_memory_search", { query: "lighthouse" }],
  ["search your archive for 'the lighthouse'?", ["archival_memory_search"], "archival_memory_search", { query: "the lighthouse" }],
  ["Please look for tea", ["conversation_search"], "conversation_search", { query: "tea" }],
  ["Find the keys", ["conversation_search"], "conversation_search", { query: "the keys" }],
  [
    "Archive: the lighthouse opens at nine",
    ["archival_memory_insert"],
    "archival_memory_insert",
    { content: "the lighthouse opens at nine" },
  ],
  ["Save to your archive: tea is green", ["archival_memory_insert"], "archival_memory_insert", { content: "tea is green" }],
  ["Add this to the archival memory: tea", ["archival_memory_insert"], "archival_memory_insert", { content: "tea" }],
  ['call roll_dice {"sides": 6}', ["roll_dice"], "roll_dice", { sides: 6 }],
  ["Call roll_dice", ["roll_dice"], "roll_dice", {}],
];
for (const [text, tools, name, input] of lookups) {
  test(`"${text}" calls ${name}`, async () => {
    const { calls } = await ask(
      [user(text)],
      tools.map((toolName) => tool(toolName)),
    );
    assert.deepEqual(
      calls.map((call) => [call.name, call.input]),
      [[name, input]],
    );
    assert.match((await ask([user(text)])).text, /not offered/);
  });
}

const reports: readonly (readonly [name: string, input: WireObject, content: string, expected: RegExp])[] = [
  [
    "archival_memory_search",
    { query: "tea" },
    JSON.stringify({ message: "Showing 2 results:", results: [{ id: "passage-1", content: "Tea is green" }, { content: "Tea\nis hot" }] }),
    /^I searched my archive for "tea" and found:\n- Tea is green\n- Tea is hot$/,
  ],
  ["archival_memory_search", { query: "tea" }, "Tea is green", /found:\n- Tea is green$/],
  ["archival_memory_search", { query: "tea" }, "[]", /^I found nothing for "tea" in my archive\.$/],
  [
    "conversation_search",
    { query: "tea" },
    '{"message":"No results found.","results":[]}',
    /^I found nothing for "tea" in our conversation\.$/,
  ],
  ["archival_memory_insert", { content: "Tea is green" }, "ok", /^It is in my archive now: Tea is green$/],
  ["roll_dice", { sides: 6 }, '{"status":"OK","message":"4","time":"now"}', /^The tool roll_dice answered: 4$/],
  ["roll_dice", { sides: 6 }, "", /has run and answered nothing/],
];
for (const [name, input, content, expected] of reports) {
  test(`The result ${JSON.stringify(content)} of ${name} is reported`, async () => {
    assert.match((await ask([user("…"), called("a", name, input), result("a", content)], [tool(name)])).text, expected);
  });
}

test("Several lines of calls are parallel calls, and all their results are reported", async () => {
  const text = 'call roll_dice {"sides": 6}\ncall conversation_search {"query": "tea"}';
  const { calls } = await ask([user(text)], [tool("roll_dice"), tool("conversation_search")]);
  assert.deepEqual(
    calls.map(({ name }) => name),
    ["roll_dice", "conversation_search"],
  );
  assert.equal(new Set(calls.map(({ id }) => id)).size, 2);
  const answered: readonly ModelMessage[] = [
    user(text),
    {
      role: "assistant",
      content: calls.map(({ id, name, input }) => ({ type: "toolCall", id, name, argumentsText: JSON.stringify(input) })),
    },
    ...calls.map(({ id, name }) => result(id, `from ${name}`)),
  ];
  assert.match((await ask(answered, [tool("roll_dice")])).text, /from roll_dice[\s\S]*from conversation_search/);
});

test("What it cannot do it says plainly, with what it can", async () => {
  for (const text of ["What is the capital of Norway?", "help", "hello", ""]) {
    const answer = await ask([user(text)]);
    assert.match(answer.text, /not a language model/);
    assert.match(answer.text, /Remember that my name is Ada/);
    assert.equal(answer.reason, "stop");
  }
});

test("It talks long enough to be interrupted", async () => {
  assert.ok((await ask([user("Tell me a story")])).text.split(" ").length > 300);
  assert.match((await ask([user("Count to 120")])).text, /^1 2 3 .* 119 120$/);
  assert.match((await ask([user("count to 999999")])).text, / 1000\nI stop here/);
});

test("Clients' reminders and Letta's packaging are not the user's words", async () => {
  const reminded: ModelMessage = {
    role: "user",
    content: [
      { type: "text", text: "<system-reminder>Tell me a story about what you know</system-reminder>" },
      { type: "text", text: "Count to 2" },
    ],
  };
  assert.equal((await ask([reminded])).text, "1 2");
  assert.equal((await ask([user('{"type":"user_message","message":"Count to 2","time":"now"}')])).text, "1 2");
});

test("An agent with send_message hears by it, and is silent after it", async () => {
  const tools = [tool("send_message"), tool("core_memory_append")];
  const { calls, text } = await ask([user("Count to 2")], tools);
  assert.deepEqual([text, calls.map((call) => [call.name, call.input])], ["", [["send_message", { message: "1 2" }]]]);
  const after = await ask([user("Count to 2"), called("a", "send_message", { message: "1 2" }), result("a", "None")], tools);
  assert.deepEqual([after.text, after.calls], ["", []]);
  const confirmed = await ask(
    [user("Remember that I like tea"), called("a", "core_memory_append", { label: "human", content: "x" }), result("a", "None")],
    tools,
  );
  assert.equal(confirmed.calls[0]?.name, "send_message");
});

test("Asked to summarise a conversation, it makes an extract and says so", async () => {
  const { text } = await ask([
    { role: "system", content: "Your job is to summarize a history of messages" },
    user("user: I like tea\nassistant: Noted"),
  ]);
  assert.match(text, /extract .* cannot summarise:\n- user: I like tea\n- assistant: Noted$/);
});

test("D1: the same request has the same events, another step has other ids", async () => {
  const request: ModelRequest = { messages: [user('call roll_dice {"sides": 6}')], tools: [tool("roll_dice")], settings: {} };
  const model = new DemoModel({ environment: new ManualEnvironment(), tokenMilliseconds: 5 });
  const first = await collect(model, request);
  assert.deepEqual(await collect(model, request), first);
  const later = await collect(model, { ...request, messages: [user("Hi"), ...request.messages] });
  assert.notEqual(summarize(later.events).calls[0]?.id, summarize(first.events).calls[0]?.id);
});

test("It streams word by word, waits between words, and counts four bytes a token", async () => {
  const environment = new ManualEnvironment();
  const { events } = await collect(new DemoModel({ environment, tokenMilliseconds: 20 }), {
    messages: [user("Count to 3")],
    tools: [],
    settings: {},
  });
  assert.deepEqual(
    events.map((event) => (event.type === "text" ? event.delta : event.type)),
    ["1", " 2", " 3", "end"],
  );
  assert.deepEqual(environment.sleeps, [20, 20, 20]);
  const { end } = summarize(events);
  assert.equal(end?.usage.outputTokens, 3);
  assert.equal(end?.usage.inputTokens, Math.ceil(JSON.stringify([[user("Count to 3")], []]).length / 4));
});

test("It keeps to a limit of output, and refuses more than its context window", async () => {
  assert.deepEqual(await ask([user("Count to 50")], [], { settings: { maxOutputTokens: 2 } }).then(({ text, reason }) => [text, reason]), [
    "1 2",
    "length",
  ]);
  const { error } = await collect(new DemoModel({ environment: new ManualEnvironment(), tokenMilliseconds: 0 }), {
    messages: [user("x".repeat(600_000))],
    tools: [],
    settings: {},
  });
  assert.ok(error instanceof ModelError && error.kind === "contextOverflow");
});

test("Aborting ends it between two words with the signal's reason", async () => {
  const controller = new AbortController();
  const reason = new Error("Stopped");
  const model = new DemoModel({ environment: new ManualEnvironment(), tokenMilliseconds: 1 });
  let words = 0;
  await assert.rejects(
    async () => {
      for await (const _event of model.generate({ messages: [user("Tell me a story")], tools: [], settings: {} }, controller.signal))
        if (++words === 3) controller.abort(reason);
    },
    (error) => error === reason,
  );
  assert.equal(words, 3);
});

test("Every block that the renderer writes is read back, whatever is in it", () => {
  const line = fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.constantFrom("</value>", "<value>", "</human>", "<human>", "<description>", "</memory_blocks>", "1→ x", "- read_only=true", ""),
  );
  const value = fc
    .array(
      line.map((text) => text.replaceAll("\n", " ")),
      { minLength: 1, maxLength: 6 },
    )
    .map((lines) => lines.join("\n"));
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.constantFrom("human", "persona", "notes", "a/b"), { maxLength: 3 }),
      fc.array(value, { minLength: 3, maxLength: 3 }),
      fc.boolean(),
      fc.constantFrom("standard" as const, "lineNumbered" as const),
      (labels, values, readOnly, variant) => {
        // The closing pair of a block inside a value cannot be told from the true one in the rendering without numbers.
        fc.pre(variant === "lineNumbered" || values.every((text) => !/<\/value>\n<\//.test(text)));
        const blocks = labels.map((label, index) => block(label, values[index]!, readOnly));
        const read = readBlocks([
          {
            role: "system",
            content: renderSystemPrompt("Hi", {
              blocks,
              variant,
              agentId: "a",
              conversationId: "c",
              compiledAt: 0,
              previousMessages: 0,
              archivalPassages: 0,
            }),
          },
        ]);
        assert.deepEqual(
          read,
          labels.map((label, index) => ({ label, isReadOnly: readOnly, value: values[index]! })),
        );
      },
    ),
    { numRuns: 300 },
  );
});

test("A prompt made to be slow is read in one pass", () => {
  const content = `<memory_blocks>\n${"<human>\n<description>\n<metadata>\n<value>\n</value>\n".repeat(20_000)}</memory_blocks>`;
  assert.deepEqual(readBlocks([{ role: "system", content }]), []);
});
