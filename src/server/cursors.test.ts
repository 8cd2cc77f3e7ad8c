/** Lists are read to their end by the official client, whatever happens to what they show meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openTestServer } from "./testing.ts";

test("Deleting what a list shows, page by page, deletes everything", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  for (let index = 0; index < 7; index++) {
    await letta.agents.create({ name: `a${index}`, include_base_tools: false });
    await letta.blocks.create({ label: `b${index}`, value: "x".repeat(2_000), tags: ["t"] });
    await letta.archives.create({ name: `c${index}` });
    await letta.tools.create({ source_code: `def tool_${index}() -> str:\n    """Does nothing."""\n    return ""\n` });
  }
  for (const order of ["asc", "desc"] as const) {
    let count = 0;
    for await (const agent of letta.agents.list({ limit: 2, order })) {
      await letta.agents.delete(agent.id);
      count++;
    }
    assert.equal(count, order === "asc" ? 7 : 0);
  }
  for await (const block of letta.blocks.list({ limit: 2, tags: ["t"] })) await letta.blocks.delete(block.id);
  for await (const archive of letta.archives.list({ limit: 2 })) await letta.archives.delete(archive.id!);
  for await (const tool of letta.tools.list({ limit: 2, tool_types: ["custom"] })) await letta.tools.delete(tool.id!);
  assert.deepEqual((await letta.agents.list()).items, []);
  assert.deepEqual((await letta.blocks.list()).items, []);
  assert.deepEqual((await letta.archives.list()).items, []);
  assert.deepEqual((await letta.tools.list({ tool_types: ["custom"] })).items, []);
});

test("Changing what a list shows so that it is not in it any more does not end the list", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  for (let index = 0; index < 5; index++) await letta.agents.create({ tags: ["old"], include_base_tools: false });
  for await (const agent of letta.agents.list({ limit: 2, tags: ["old"] })) await letta.agents.update(agent.id, { tags: ["new"] });
  assert.equal((await letta.agents.list({ tags: ["new"] })).items.length, 5);
  const agent = await letta.agents.create({
    memory_blocks: [
      { label: "a", value: "" },
      { label: "b", value: "" },
    ],
  });
  for await (const tool of letta.agents.tools.list(agent.id, { limit: 1 }))
    await letta.agents.tools.detach(tool.id!, { agent_id: agent.id });
  for await (const block of letta.agents.blocks.list(agent.id, { limit: 1 }))
    await letta.agents.blocks.detach(block.id, { agent_id: agent.id });
  assert.deepEqual((await letta.agents.tools.list(agent.id)).items, []);
  assert.deepEqual((await letta.agents.blocks.list(agent.id)).items, []);
});

test("Entities that are made while a list is read from the oldest on are read too", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  await letta.blocks.create({ label: "0", value: "" });
  const labels: string[] = [];
  for await (const block of letta.blocks.list({ limit: 1 })) {
    labels.push(block.label!);
    if (labels.length < 5) await letta.blocks.create({ label: String(labels.length), value: "" });
  }
  assert.deepEqual(labels, ["0", "1", "2", "3", "4"]);
});

test("Conversations are listed by their last message when that is asked for, with cursors both ways", async () => {
  await using server = await openTestServer();
  const { letta } = server;
  const agent = await letta.agents.create({});
  const [first, second, third] = await Promise.all([1, 2, 3].map(() => letta.conversations.create({ agent_id: agent.id })));
  for (const conversation of [second!, third!, first!])
    for await (const _ of await letta.conversations.messages.create(conversation.id, { messages: [{ role: "user", content: "Hello" }] }));
  const ids = async (query: object): Promise<string[]> =>
    (await letta.conversations.list({ agent_id: agent.id, order_by: "last_message_at", ...query })).map((each) => each.id);
  assert.deepEqual(await ids({}), [first!.id, third!.id, second!.id]);
  assert.deepEqual(await ids({ order: "asc" }), [second!.id, third!.id, first!.id]);
  assert.deepEqual(await ids({ after: first!.id, limit: 1 }), [third!.id]);
});
