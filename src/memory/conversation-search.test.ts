import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStore } from "../storage/memory-store.ts";
import {
  excerptLengthMax,
  forgetMessages,
  indexMessage,
  type MessageSearch,
  type SearchableMessage,
  searchMessages,
  unindexMessage,
} from "./conversation-search.ts";
import { InvalidMemoryError } from "./memory.ts";
import { WriteList } from "./row-writer.ts";

const messages: readonly SearchableMessage[] = [
  { messageId: "m0", conversationId: "default", role: "user", text: "My dog is called Rex", time: 1_000 },
  { messageId: "m1", conversationId: "default", role: "assistant", text: "Rex is a fine name for a dog", time: 2_000 },
  { messageId: "m2", conversationId: "conv-1", role: "user", text: "What about my cat?", time: 3_000 },
  { messageId: "m3", conversationId: "conv-1", role: "tool", text: "dog", time: 4_000 },
];

async function stored(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const list = new WriteList();
  for (const message of messages) indexMessage(list, "p", "agent-a", message);
  indexMessage(list, "p", "agent-b", { ...messages[0]!, messageId: "other" });
  await store.commit({ id: "index", checks: [], writes: list.writes });
  return store;
}

async function found(store: MemoryStore, search: MessageSearch): Promise<string[]> {
  return (await searchMessages(store, "p", "agent-a", search)).map(({ messageId }) => messageId);
}

for (const [search, expected] of [
  [{ query: "rex", limit: 10 }, ["m0", "m1"]],
  [{ query: "dog", limit: 1 }, ["m3"]],
  [{ query: "dog", roles: ["user", "assistant"], limit: 10 }, ["m0", "m1"]],
  [{ query: "dog", roles: ["assistant"], limit: 10 }, ["m1"]],
  [{ query: "cat", conversationId: "default", limit: 10 }, []],
  [{ query: "cat", conversationId: "conv-1", limit: 10 }, ["m2"]],
  [{ query: "dog", from: 1_500, to: 2_000, limit: 10 }, ["m1"]],
  [{ limit: 2 }, ["m3", "m2"]],
  [{ query: "  ", roles: ["user"], limit: 10 }, ["m2", "m0"]],
  [{ from: 1_000, to: 2_000, limit: 10 }, ["m1", "m0"]],
  [{ query: "nothing", limit: 10 }, []],
] as const)
  test(`A search for ${JSON.stringify(search)} gives ${JSON.stringify(expected)}`, async () =>
    assert.deepEqual(await found(await stored(), search), expected));

test("A result shows the message, or its beginning where it is long", async () => {
  const store = await stored();
  const list = new WriteList();
  indexMessage(list, "p", "agent-a", {
    messageId: "long",
    conversationId: "default",
    role: "user",
    text: "😀" + "x".repeat(excerptLengthMax) + " needle",
    time: 9_000,
  });
  await store.commit({ id: "long", checks: [], writes: list.writes });
  const [first] = await searchMessages(store, "p", "agent-a", { query: "needle", limit: 1 });
  assert.deepEqual([first!.messageId, first!.isExcerpt, first!.text.length], ["long", true, excerptLengthMax]);
  const [short] = await searchMessages(store, "p", "agent-a", { query: "called", limit: 1 });
  assert.deepEqual({ ...short, score: 0 }, { ...messages[0], isExcerpt: false, score: 0 });
});

test("A message that was taken out is not found, and an agent's can all be forgotten", async () => {
  const store = await stored();
  const list = new WriteList();
  unindexMessage(list, "p", "agent-a", messages[0]!);
  await store.commit({ id: "out", checks: [], writes: list.writes });
  assert.deepEqual(await found(store, { query: "rex", limit: 10 }), ["m1"]);
  const all = new WriteList();
  forgetMessages(all, "p", "agent-a");
  await store.commit({ id: "all", checks: [], writes: all.writes });
  assert.deepEqual(await found(store, { limit: 10 }), []);
  assert.equal((await searchMessages(store, "p", "agent-b", { query: "rex", limit: 10 })).length, 1);
});

test("A limit out of range is refused", async () => {
  for (const limit of [0, -5, 1_001, Number.NaN]) await assert.rejects(found(new MemoryStore(), { limit }), InvalidMemoryError);
});
