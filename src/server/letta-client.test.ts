/** The official client, unmodified, against every method that is implemented: `letta-api.md` 1.2. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openTestServer } from "./testing.ts";

test("agents: create, retrieve, update, list, delete", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({
    name: "ada",
    agent_type: "letta_v1_agent",
    model: "kelpie/demo",
    tags: ["red", "blue"],
    memory_blocks: [
      { label: "human", value: "Name: unknown" },
      { label: "persona", value: "I am kind.", limit: 5_000 },
    ],
    secrets: { TOKEN: "s3cret" },
    metadata: { team: "a" },
  });
  assert.match(agent.id, /^agent-/);
  assert.deepEqual(
    agent.blocks.map((block) => [block.label, block.value]),
    [
      ["human", "Name: unknown"],
      ["persona", "I am kind."],
    ],
  );
  assert.deepEqual(
    agent.memory.blocks.map((block) => block.label),
    ["human", "persona"],
  );
  assert.deepEqual(agent.tools.map((tool) => tool.name).toSorted(), ["conversation_search", "memory_insert", "memory_replace"]);
  assert.equal(agent.llm_config.handle, "kelpie/demo");
  assert.deepEqual(agent.sources, []);
  assert.equal(agent.multi_agent_group, null);

  const bare = await letta.agents.retrieve(agent.id);
  assert.deepEqual([bare.blocks, bare.tools, bare.tags, bare.secrets], [[], [], [], []]);
  const full = await letta.agents.retrieve(agent.id, { include: ["agent.blocks", "agent.tools", "agent.tags", "agent.secrets"] });
  assert.deepEqual(full.tags, ["red", "blue"]);
  assert.equal(full.blocks.length, 2);
  assert.equal(full.tools.length, 3);
  assert.equal(full.secrets?.[0]?.value, "s3cret");

  const updated = await letta.agents.update(agent.id, {
    name: "lovelace",
    description: "countess",
    tags: ["green"],
    context_window_limit: 8_000,
  });
  assert.equal(updated.name, "lovelace");
  assert.equal(updated.llm_config.context_window, 8_000);
  assert.deepEqual(updated.tags, ["green"]);

  const others = await Promise.all(
    ["b", "c", "d"].map((name) => letta.agents.create({ name, tags: ["green"], include_base_tools: false })),
  );
  const listed = [];
  for await (const each of letta.agents.list({ limit: 2 })) listed.push(each.id);
  assert.deepEqual(listed.toSorted(), [agent.id, ...others.map((each) => each.id)].toSorted());
  const ascending = [];
  for await (const each of letta.agents.list({ limit: 1, order: "asc", tags: ["green"], match_all_tags: true })) ascending.push(each.id);
  assert.equal(ascending[0], agent.id);
  assert.equal(ascending.length, 4);
  assert.deepEqual(
    (await letta.agents.list({ name: "c" })).items.map((each) => each.name),
    ["c"],
  );
  assert.deepEqual(
    (await letta.agents.list({ query_text: "OVEL" })).items.map((each) => each.name),
    ["lovelace"],
  );

  await letta.agents.delete(agent.id);
  await assert.rejects(letta.agents.retrieve(agent.id), (error: Error & { status?: number; error?: unknown }) => {
    assert.equal(error.status, 404);
    assert.deepEqual(error.error, { detail: "Agent not found" });
    return true;
  });
});

test("agents.blocks and blocks", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({ memory_blocks: [{ label: "human", value: "one" }], include_base_tools: false });
  const block = await letta.blocks.create({ label: "system/persona", value: "two", description: "who I am", tags: ["x"] });
  assert.equal((await letta.blocks.retrieve(block.id)).value, "two");
  await letta.agents.blocks.attach(block.id, { agent_id: agent.id });
  const labels = [];
  for await (const each of letta.agents.blocks.list(agent.id, { limit: 1, order: "asc" })) labels.push(each.label);
  assert.deepEqual(labels, ["human", "system/persona"]);
  assert.equal((await letta.agents.blocks.retrieve("system/persona", { agent_id: agent.id })).id, block.id);
  assert.equal((await letta.agents.blocks.update("system/persona", { agent_id: agent.id, value: "three" })).value, "three");
  assert.equal((await letta.blocks.retrieve(block.id)).value, "three");
  assert.deepEqual(
    (await letta.blocks.agents.list(block.id)).items.map((each) => each.id),
    [agent.id],
  );
  const detached = await letta.agents.blocks.detach(block.id, { agent_id: agent.id });
  assert.deepEqual(
    detached.blocks.map((each) => each.label),
    ["human"],
  );
  assert.equal((await letta.blocks.update(block.id, { description: "changed", read_only: true })).read_only, true);
  const all = [];
  for await (const each of letta.blocks.list({ limit: 1 })) all.push(each.label);
  assert.deepEqual(all, ["human", "system/persona"]);
  assert.deepEqual(
    (await letta.blocks.list({ label: "human" })).items.map((each) => each.label),
    ["human"],
  );
  await letta.blocks.delete(block.id);
  await assert.rejects(letta.blocks.retrieve(block.id), { status: 404 });
});

test("agents.tools and tools", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({ memory_blocks: [{ label: "human", value: "x" }] });
  const source_code =
    'def greet(name: str) -> str:\n    """Greets somebody.\n\n    Args:\n        name (str): Whom.\n    """\n    return "hi " + name\n';
  const tool = await letta.tools.create({ source_code, tags: ["mine"] });
  assert.equal(tool.name, "greet");
  assert.equal((await letta.tools.retrieve(tool.id)).json_schema?.["name"], "greet");
  assert.equal((await letta.tools.upsert({ source_code, description: "Greets." })).id, tool.id);
  assert.equal((await letta.tools.update(tool.id, { return_char_limit: 100 })).return_char_limit, 100);
  await letta.agents.tools.attach(tool.id, { agent_id: agent.id });
  const names = [];
  for await (const each of letta.agents.tools.list(agent.id, { limit: 1 })) names.push(each.name);
  assert.deepEqual(names, ["greet", "memory_replace", "memory_insert", "conversation_search"]);
  assert.equal(await letta.agents.tools.updateApproval("greet", { agent_id: agent.id, body_requires_approval: true }), null);
  assert.deepEqual(
    ((await letta.agents.retrieve(agent.id)).tool_rules ?? []).map((rule) => rule.type),
    ["requires_approval"],
  );
  const ran = await letta.agents.tools.run("memory_insert", { agent_id: agent.id, args: { label: "human", new_string: "y" } });
  assert.equal(ran.status, "success");
  assert.equal((await letta.agents.blocks.retrieve("human", { agent_id: agent.id })).value, "x\ny");
  assert.equal(
    (await letta.agents.tools.run("memory_insert", { agent_id: agent.id, args: { label: "nope", new_string: "y" } })).status,
    "error",
  );
  await letta.agents.tools.detach(tool.id, { agent_id: agent.id });
  assert.equal((await letta.agents.tools.list(agent.id)).items.length, 3);
  assert.deepEqual(
    (await letta.tools.list({ name: "greet" })).items.map((each) => each.id),
    [tool.id],
  );
  assert.ok((await letta.tools.list({ return_only_letta_tools: true, limit: 100 })).items.length > 10);
  assert.equal((await letta.tools.search({ query: "greets somebody" }))[0]?.tool.id, tool.id);
  await letta.tools.delete(tool.id);
  await assert.rejects(letta.tools.retrieve(tool.id), { status: 404 });
});

test("agents.passages, archives and passages", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({});
  const [passage] = await letta.agents.passages.create(agent.id, { text: "The lighthouse opens at nine.", tags: ["sea"] });
  await letta.agents.passages.create(agent.id, { text: "Bread is baked at six." });
  assert.equal((await letta.agents.passages.list(agent.id)).length, 2);
  assert.equal((await letta.agents.passages.list(agent.id, { search: "BREAD" })).length, 1);
  const found = await letta.agents.passages.search(agent.id, { query: "lighthouse" });
  assert.equal(found.results[0]?.id, passage!.id);
  await letta.agents.passages.delete(passage!.id!, { agent_id: agent.id });
  assert.equal((await letta.agents.passages.list(agent.id)).length, 1);

  const archive = await letta.archives.create({ name: "sea", description: "about it" });
  assert.equal((await letta.archives.update(archive.id, { description: "the sea" })).description, "the sea");
  assert.equal((await letta.archives.retrieve(archive.id)).name, "sea");
  const one = await letta.archives.passages.create(archive.id, { text: "Waves come in sevens.", tags: ["waves"], metadata: { page: 3 } });
  const many = await letta.archives.passages.createMany(archive.id, { passages: [{ text: "Salt" }, { text: "Foam and salt" }] });
  assert.equal(many.length, 2);
  assert.equal((await letta.passages.search({ query: "sevens", archive_id: archive.id }))[0]?.passage.id, one.id);
  assert.equal((await letta.passages.search({ query: "bread", agent_id: agent.id })).length, 1);
  assert.equal((await letta.passages.search({ query: "salt bread" })).length, 3);
  await letta.archives.passages.delete(one.id!, { archive_id: archive.id });
  const reader = await letta.agents.create({});
  await letta.agents.archives.attach(archive.id, { agent_id: reader.id });
  assert.equal((await letta.agents.passages.list(reader.id)).length, 2);
  assert.deepEqual(
    (await letta.archives.list({ agent_id: reader.id })).items.map((each) => each.id),
    [archive.id],
  );
  await letta.agents.archives.detach(archive.id, { agent_id: reader.id });
  assert.equal((await letta.agents.passages.list(reader.id)).length, 0);
  assert.ok((await letta.archives.list()).items.some((each) => each.id === archive.id));
  await letta.archives.delete(archive.id);
  await assert.rejects(letta.archives.retrieve(archive.id), { status: 404 });
});

test("agents.messages: a response, a stream, a background run, lists", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({ memory_blocks: [{ label: "human", value: "" }] });
  const response = await letta.agents.messages.create(agent.id, { messages: [{ role: "user", content: "Remember that my name is Ada" }] });
  assert.equal(response.stop_reason.stop_reason, "end_turn");
  assert.ok(response.messages.some((message) => message.message_type === "tool_call_message"));
  assert.equal(response.messages.at(-1)?.message_type, "assistant_message");
  assert.ok((response.usage.total_tokens ?? 0) > 0);
  assert.match((await letta.agents.blocks.retrieve("human", { agent_id: agent.id })).value, /Ada/);

  const types: string[] = [];
  let text = "";
  const otids = new Set<string>();
  for await (const event of await letta.agents.messages.stream(agent.id, { input: "What is my name?", stream_tokens: true })) {
    types.push(event.message_type!);
    if (event.message_type === "assistant_message" && typeof event.content === "string") {
      text += event.content;
      otids.add(event.otid!);
    }
  }
  assert.match(text, /Ada/);
  assert.equal(otids.size, 1);
  assert.equal(types[0], "ping");
  assert.deepEqual(types.slice(-2), ["stop_reason", "usage_statistics"]);
  assert.ok(types.filter((type) => type === "assistant_message").length > 1);

  const streaming = await letta.agents.messages.create(agent.id, {
    messages: [{ role: "user", content: "Hello" }],
    streaming: true,
    background: true,
    include_pings: false,
  });
  const runIds = new Set<string>();
  for await (const event of streaming) if ("run_id" in event && event.run_id != null) runIds.add(event.run_id);
  assert.equal(runIds.size, 1);

  const newest = (await letta.agents.messages.list(agent.id, { limit: 2 })).items;
  assert.deepEqual(
    newest.map((message) => message.message_type),
    ["user_message", "assistant_message"],
  );
  assert.equal((newest[0] as { content: string }).content, "Hello");
  const all = [];
  for await (const message of letta.agents.messages.list(agent.id, { limit: 2, order: "asc" })) all.push(message);
  assert.equal(all[0]!.message_type, "system_message");
  assert.equal(new Set(all.map((message) => `${message.id} ${"otid" in message ? message.otid : ""}`)).size, all.length);
  const streamed = all.find((message) => message.message_type === "assistant_message" && "otid" in message && otids.has(message.otid!));
  assert.equal((streamed as { content: string } | undefined)?.content, text);
  const after = (await letta.agents.messages.list(agent.id, { after: newest[0]!.id })).items;
  assert.deepEqual(
    after.map((message) => message.id),
    [newest[1]!.id],
  );
  const before = (await letta.agents.messages.list(agent.id, { before: newest[0]!.id, limit: 1 })).items;
  assert.match((before.at(-1) as { content: string }).content, /Ada/);
  const onlyUser = (
    await letta.agents.messages.list(agent.id, { include_return_message_types: ["user_message"], conversation_id: "default" })
  ).items;
  assert.deepEqual(
    onlyUser.map((message) => (message as { content: string }).content),
    ["Remember that my name is Ada", "What is my name?", "Hello"],
  );

  const run = await letta.agents.messages.createAsync(agent.id, { messages: [{ role: "user", content: "Count to 3" }] });
  let isLast = false;
  for await (const event of await letta.runs.messages.stream(run.id, { starting_after: 0 }))
    isLast = (event as { message_type?: string }).message_type === "usage_statistics";
  assert.ok(isLast);
  assert.equal((await letta.runs.retrieve(run.id)).status, "completed");

  const variants = await letta.messages.retrieve(newest[1]!.id);
  assert.equal(variants[0]?.message_type, "assistant_message");
  assert.equal((await letta.messages.list({ limit: 3 })).length >= 3, true);
  const found = await letta.messages.search({ query: "Remember name Ada", agent_id: agent.id });
  assert.ok(found.some((message) => message.message_type === "user_message"));
  assert.equal(await letta.agents.messages.reset(agent.id, {}), null);
  assert.deepEqual(
    (await letta.agents.messages.list(agent.id)).items.map((message) => message.message_type),
    ["system_message"],
  );
  assert.match(await letta.agents.recompile(agent.id, { dry_run: true }), /<human>/);
});

test("agents.messages: approval, client tools, cancel, busy", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({ include_base_tools: false });
  const client_tools = [
    { name: "Bash", description: "Runs a command", parameters: { type: "object", properties: { command: { type: "string" } } } },
  ];
  const asked = await letta.agents.messages.create(agent.id, {
    messages: [{ role: "user", content: 'call Bash {"command":"ls"}' }],
    client_tools,
  });
  assert.equal(asked.stop_reason.stop_reason, "requires_approval");
  const request = asked.messages.at(-1)!;
  assert.equal(request.message_type, "approval_request_message");
  const toolCall = (request as { tool_call: { tool_call_id: string; name: string; arguments: string } }).tool_call;
  assert.deepEqual([toolCall.name, JSON.parse(toolCall.arguments)], ["Bash", { command: "ls" }]);
  const waiting = await letta.agents.retrieve(agent.id, { include: ["agent.pending_approval"] });
  assert.equal(waiting.pending_approval?.id, request.id);
  assert.equal(waiting.message_ids?.at(-1), request.id);

  await assert.rejects(
    letta.agents.messages.create(agent.id, { messages: [{ role: "user", content: "hello" }] }),
    (error: Error & { status?: number; headers?: Headers; error?: { detail: string } }) => {
      assert.equal(error.status, 409);
      assert.equal(error.headers?.get("x-should-retry"), "false");
      assert.match(error.error!.detail, /waiting for approval/);
      return true;
    },
  );
  await assert.rejects(
    letta.agents.messages.create(agent.id, {
      messages: [{ type: "approval", approvals: [{ type: "tool", tool_call_id: "other", tool_return: "x", status: "success" }] }],
    }),
    (error: Error & { status?: number; error?: { detail: string } }) =>
      error.status === 400 && /Invalid tool call IDs/.test(error.error!.detail),
  );
  const answered = await letta.agents.messages.create(agent.id, {
    messages: [
      {
        type: "approval",
        approvals: [
          { type: "tool", tool_call_id: toolCall.tool_call_id, tool_return: [{ type: "text", text: "README.md" }], status: "success" },
        ],
      },
    ],
    client_tools,
  });
  assert.equal(answered.stop_reason.stop_reason, "end_turn");
  assert.match(JSON.stringify(answered.messages.at(-1)), /README\.md/);
  await assert.rejects(
    letta.agents.messages.create(agent.id, { messages: [{ type: "approval", approve: true, approval_request_id: request.id }] }),
    (error: Error & { status?: number; error?: { detail: string } }) =>
      error.status === 400 && /No tool call is currently awaiting approval/.test(error.error!.detail),
  );

  const again = await letta.agents.messages.create(agent.id, {
    messages: [{ role: "user", content: 'call Bash {"command":"rm"}' }],
    client_tools,
  });
  const denied = await letta.agents.messages.create(agent.id, {
    messages: [{ type: "approval", approve: false, approval_request_id: again.messages.at(-1)!.id, reason: "no" }],
    client_tools,
  });
  assert.equal(denied.stop_reason.stop_reason, "end_turn");
  await assert.rejects(letta.agents.messages.cancel(agent.id), { status: 409 });
});

test("agents.messages.cancel ends a stream with its reason, and a second send meanwhile is refused with the run's id", async () => {
  await using server = await openTestServer({ models: { demoTokenMilliseconds: 1 } });
  const { letta } = server;
  const agent = await letta.agents.create({});
  const events = [];
  const stream = await letta.agents.messages.stream(agent.id, { input: "Count to 1000", stream_tokens: true });
  for await (const event of stream) {
    events.push(event);
    if (events.length !== 5) continue;
    await assert.rejects(
      letta.agents.messages.create(agent.id, { input: "hello" }),
      (error: Error & { status?: number; error?: { detail: string; run_id: string } }) => {
        assert.equal(error.status, 409);
        assert.match(error.error!.detail, new RegExp(`run_id=${error.error!.run_id}\\) is currently being processed`));
        return true;
      },
    );
    assert.deepEqual(Object.values((await letta.agents.messages.cancel(agent.id)) as object), ["cancelled"]);
  }
  assert.deepEqual(events.at(-2), {
    message_type: "stop_reason",
    stop_reason: "cancelled",
    seq_id: (events.at(-2) as { seq_id: number }).seq_id,
  });
});

test("conversations", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({ memory_blocks: [{ label: "human", value: "" }] });
  const conversation = await letta.conversations.create({ agent_id: agent.id, summary: "first" });
  assert.deepEqual(conversation.in_context_message_ids, []);
  const types = [];
  for await (const event of await letta.conversations.messages.create(conversation.id, {
    messages: [{ role: "user", content: "Hello", otid: "otid-1" }],
    stream_tokens: true,
    background: true,
  }))
    types.push((event as { message_type: string }).message_type);
  assert.deepEqual(types.slice(-2), ["stop_reason", "usage_statistics"]);
  const resumed = [];
  for await (const event of await letta.conversations.messages.stream(conversation.id, {
    otid: "otid-1",
    starting_after: 2,
    include_pings: false,
  }))
    resumed.push(event);
  assert.equal((resumed[0] as unknown as { seq_id: number }).seq_id, 3);
  const attached = [];
  for await (const event of await letta.conversations.messages.create(conversation.id, {
    messages: [{ role: "user", content: "Hello", otid: "otid-1" }],
    background: true,
  }))
    attached.push((event as { message_type: string }).message_type);
  assert.deepEqual(attached, types);

  const retrieved = await letta.conversations.retrieve(conversation.id);
  assert.equal(retrieved.in_context_message_ids?.length, 3);
  const newestFirst = [];
  for await (const message of letta.conversations.messages.list(conversation.id, { limit: 1 })) newestFirst.push(message.message_type);
  assert.deepEqual(newestFirst, ["assistant_message", "user_message", "system_message"]);
  const oldestFirst = (await letta.conversations.messages.list(conversation.id, { order: "asc" })).items;
  assert.deepEqual(
    oldestFirst.map((message) => message.message_type),
    newestFirst.toReversed(),
  );
  assert.equal((await letta.agents.messages.list(agent.id, { conversation_id: "default" })).items.length, 0);
  assert.equal((await letta.agents.messages.list(agent.id)).items.length, 3);

  for await (const _ of await letta.conversations.messages.create("default", {
    agent_id: agent.id,
    messages: [{ role: "user", content: "Hi" }],
  }));
  assert.equal((await letta.conversations.messages.list("default", { agent_id: agent.id })).items.length, 3);

  const fork = await letta.conversations.fork(conversation.id);
  assert.notEqual(fork.id, conversation.id);
  assert.equal((await letta.conversations.messages.list(fork.id, { include_return_message_types: ["user_message"] })).items.length, 1);
  assert.equal((await letta.conversations.update(conversation.id, { summary: "second", archived: true })).summary, "second");
  assert.deepEqual(
    (await letta.conversations.list({ agent_id: agent.id })).map((each) => each.id),
    [fork.id],
  );
  assert.equal((await letta.conversations.list({ agent_id: agent.id, archive_status: "all" })).length, 2);
  assert.deepEqual(
    (await letta.conversations.list({ agent_id: agent.id, archive_status: "all", summary_search: "SEC" })).map((each) => each.id),
    [conversation.id],
  );
  assert.match(await letta.conversations.recompile(conversation.id, {}), /<human>/);
  await assert.rejects(letta.conversations.cancel(conversation.id), { status: 409 });
  await letta.conversations.delete(fork.id);
  await assert.rejects(letta.conversations.retrieve(fork.id), { status: 404 });
});

test("compaction", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({});
  const conversation = await letta.conversations.create({ agent_id: agent.id });
  for (const content of ["one", "two", "three", "four"]) {
    await letta.agents.messages.create(agent.id, { input: content });
    for await (const _ of await letta.conversations.messages.create(conversation.id, { messages: [{ role: "user", content }] }));
  }
  for (const outcome of [
    await letta.agents.messages.compact(agent.id, {}),
    await letta.conversations.messages.compact(conversation.id, { compaction_settings: { mode: "all" } }),
  ]) {
    assert.ok(outcome.num_messages_after < outcome.num_messages_before);
    assert.ok(outcome.summary.length > 0);
  }
});

test("runs, steps, models and tags", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  assert.equal((await letta.health()).status, "ok");
  const agent = await letta.agents.create({ tags: ["b", "a"], memory_blocks: [{ label: "human", value: "" }] });
  await letta.blocks.create({ label: "x", value: "", tags: ["c", "a"] });
  await letta.agents.messages.create(agent.id, { input: "Remember that my name is Ada" });
  await letta.agents.messages.create(agent.id, { input: "Hello" });
  const runs = [];
  for await (const run of letta.runs.list({ agent_id: agent.id, limit: 1, order: "asc" })) runs.push(run);
  assert.equal(runs.length, 2);
  const run = await letta.runs.retrieve(runs[0]!.id);
  assert.equal(run.status, "completed");
  assert.deepEqual((await letta.runs.list({ statuses: ["running"] })).items, []);
  assert.equal((await letta.runs.list({ conversation_id: "default", agent_id: agent.id, statuses: ["completed"] })).items.length, 2);
  const messages = [];
  for await (const message of letta.runs.messages.list(run.id, { limit: 1 })) messages.push(message.message_type);
  assert.deepEqual(messages, ["user_message", "tool_call_message", "tool_return_message", "assistant_message"]);
  const steps = (await letta.runs.steps.list(run.id, { order: "asc" })).items;
  assert.equal(steps.length, 2);
  const usage = await letta.runs.usage.retrieve(run.id);
  assert.equal(usage.total_tokens, (usage.prompt_tokens ?? 0) + (usage.completion_tokens ?? 0));
  assert.deepEqual(await letta.runs.trace.retrieve(run.id), []);

  const step = await letta.steps.retrieve(steps[0]!.id);
  assert.equal(step.run_id, run.id);
  assert.equal((await letta.steps.list({ agent_id: agent.id })).items.length, 3);
  assert.equal((await letta.steps.feedback.create(step.id, { feedback: "positive" })).feedback, "positive");
  assert.deepEqual(
    (await letta.steps.list({ feedback: "positive" })).items.map((each) => each.id),
    [step.id],
  );
  const ofStep = (await letta.steps.messages.list(step.id)).items.map((message) => message.message_type);
  assert.deepEqual(ofStep, ["tool_call_message", "tool_return_message"]);
  assert.equal((await letta.steps.metrics.retrieve(step.id)).id, step.id);
  assert.equal(await letta.steps.trace.retrieve(step.id), null);

  const models = await letta.models.list();
  assert.ok(models.some((model) => model.handle === "kelpie/demo" && model.max_context_window > 0));
  assert.deepEqual(await letta.models.embeddings.list(), []);
  assert.deepEqual(await letta.tags.list(), ["a", "b", "c"]);
  assert.deepEqual(await letta.tags.list({ order: "desc", limit: 2 }), ["c", "b"]);
  assert.deepEqual(await letta.tags.list({ after: "a", name: "B" }), ["b"]);
  assert.deepEqual(await letta.mcpServers.list(), []);
});
