import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { type AgentLink, agentKey, readAgentLink } from "../../memory/agent-link.ts";
import { attachBlock } from "../../memory/block-agents.ts";
import { type BlockCreate, createBlock, readBlocks, updateBlock } from "../../memory/block.ts";
import { BubblewrapBackend } from "../../sandbox/bubblewrap-backend.ts";
import { bubblewrapMissing } from "../../sandbox/testing.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { transact } from "../../storage/transaction.ts";
import type { ToolResult } from "../tool.ts";
import { newTool } from "../tool-record.ts";
import { readAgentState, writeBlocks } from "./agent-state.ts";
import { Packages } from "./packages.ts";
import { SourceTools } from "./source-tools.ts";
import { ToolSandboxes } from "./tool-sandboxes.ts";

const environment = new RealEnvironment({ level: "error", write: () => undefined });
const project = "p";
const agentId = "agent-1";
const address = { project, agentId, conversationId: "default" };

async function storeWith(blocks: readonly BlockCreate[]): Promise<MemoryStore> {
  const store = new MemoryStore();
  await transact(store, environment, async (transaction) => {
    const block_ids = blocks.map((block) => createBlock(transaction, environment, project, block).id);
    const agent: AgentLink = {
      id: agentId,
      name: "Ada",
      created_at: "2026",
      block_ids,
      archive_ids: [],
      timezone: "UTC",
      core_bytes_max: null,
    };
    const fields = { tags: ["mine"], secrets: { TOKEN: "s3cret-token" }, sealed_secrets: "s3cret-token", system: "Be kind." };
    transaction.set(agentKey(project, agentId), { ...agent, ...fields });
    for (const id of block_ids) attachBlock(transaction, project, id, agent);
  });
  return store;
}

async function values(store: MemoryStore): Promise<{ readonly [label: string]: string }> {
  const agent = await readAgentLink(store, project, agentId);
  return Object.fromEntries((await readBlocks(store, project, agent!.block_ids)).map(({ label, value }) => [label, value]));
}

test("A tool sees fields of its agent and its blocks, and no secrets", async () => {
  const store = await storeWith([{ label: "human", value: "Bob" }]);
  const state = await readAgentState({ store, environment }, address);
  assert.deepEqual([state!["id"], state!["name"], state!["tags"], state!["system"]], [agentId, "Ada", ["mine"], "Be kind."]);
  assert.doesNotMatch(JSON.stringify(state), /s3cret/);
  assert.equal(await readAgentState({ store, environment }, { project, agentId: "agent-2" }), undefined);
  assert.equal(await readAgentState({ store, environment }, { project: "other", agentId }), undefined);
});

for (const [what, blocks, after, expected] of [
  ["changes a block", [{ label: "a", value: "1" }], { a: "2" }, undefined],
  ["changes nothing", [{ label: "a", value: "1", read_only: true }], { a: "1" }, undefined],
  ["names a block that is not there", [{ label: "a", value: "1" }], { a: "2", b: "x" }, /Block field b does not exist/],
  [
    "changes one that is read-only",
    [
      { label: "a", value: "1" },
      { label: "b", value: "1", read_only: true },
    ],
    { a: "2", b: "2" },
    /read-only/,
  ],
  [
    "makes one too long",
    [
      { label: "a", value: "1" },
      { label: "b", value: "1", limit: 5 },
    ],
    { a: "2", b: "123456" },
    /limit/,
  ],
  ["names a block that every object has", [{ label: "a", value: "1" }], { a: "2", constructor: "x" }, /constructor does not exist/],
] as const)
  test(`Of a tool that ${what} all is written or nothing`, async () => {
    const store = await storeWith(blocks);
    const before = await values(store);
    const problem = await writeBlocks({ store, environment }, address, { before, after });
    if (expected === undefined) assert.equal(problem, undefined);
    else assert.match(problem!, expected);
    assert.deepEqual(await values(store), expected === undefined ? after : before);
  });

test("A block that somebody else has changed meanwhile is left as it is", async () => {
  const store = await storeWith([
    { label: "a", value: "1" },
    { label: "b", value: "1" },
  ]);
  const before = await values(store);
  const { block_ids } = (await readAgentLink(store, project, agentId))!;
  await transact(store, environment, (transaction) => updateBlock(transaction, environment, project, block_ids[0]!, { value: "theirs" }));
  assert.match(
    (await writeBlocks({ store, environment }, address, { before, after: { a: "mine", b: "mine" } }))!,
    /a was changed by somebody else/,
  );
  assert.deepEqual(await values(store), { a: "theirs", b: "1" });
  assert.equal(await writeBlocks({ store, environment }, address, { before, after: { a: "1", b: "mine" } }), undefined);
  assert.deepEqual(await values(store), { a: "theirs", b: "mine" });
});

describe("agent_state in Python", { skip: bubblewrapMissing ?? false }, () => {
  const sandboxes = new ToolSandboxes({ environment, openBackend: () => BubblewrapBackend.open({ environment }) });
  after(() => sandboxes[Symbol.asyncDispose]());
  const packages = new Packages({ environment, sandboxes, folder: "/nonexistent", registryOf: () => Promise.reject(new Error("none")) });
  const call = async (store: MemoryStore, body: string, secrets: Readonly<Record<string, string>> = {}): Promise<ToolResult> => {
    const source_code = `def work(agent_state: "AgentState"):\n    """Works."""\n    memory = agent_state.memory\n    ${body}\n`;
    const tool = new SourceTools({ store, environment, sandboxes, packages }).tool(newTool(environment, { source_code }))!;
    return await tool.execute({}, { ...address, secrets, effectId: "effect-1", signal: new AbortController().signal });
  };

  for (const [what, body, text, value] of [
    ["reads", "return [agent_state.name, memory.get_block('human').value, memory.list_block_labels()]", '["Ada","Bob",["human"]]', "Bob"],
    ["writes by update_block_value", "memory.update_block_value(label='human', value='Eve'); return 1", "1", "Eve"],
    ["writes by the block", "memory.get_block('human').value = 'Eve'; return 1", "1", "Eve"],
  ] as const)
    test(`A tool ${what}, as in Letta`, async () => {
      const store = await storeWith([{ label: "human", value: "Bob" }]);
      assert.deepEqual((await call(store, body)).text, text);
      assert.deepEqual(await values(store), { human: value });
    });

  for (const [what, body, text] of [
    ["fails after it has changed a block", "memory.update_block_value('human', 'Eve'); raise ValueError('no')", /ValueError: no/],
    ["asks for a block that is not there", "return memory.get_block('robot').value", /robot does not exist \(available sections = human\)/],
    ["writes what is no text", "memory.update_block_value('human', 7)", /must be a string/],
    [
      "writes its outcome itself, with blocks that are none",
      `open('outcome.json','w').write('{"value":1,"blocks":[7]}'); import os; os._exit(0)`,
      /not kept: its blocks are no texts/,
    ],
    [
      "writes its outcome itself, with blocks that are not its agent's",
      `open('outcome.json','w').write('{"value":1,"blocks":{"x":"y"}}'); import os; os._exit(0)`,
      /not kept: Block field x does not exist/,
    ],
  ] as const)
    test(`Of a tool that ${what} nothing is written`, async () => {
      const store = await storeWith([{ label: "human", value: "Bob" }]);
      const result = await call(store, body);
      assert.equal(result.status, "error");
      assert.match(result.text, text);
      assert.deepEqual(await values(store), { human: "Bob" });
    });

  test("A secret that a tool writes to memory is masked there", async () => {
    const store = await storeWith([{ label: "human", value: "Bob" }]);
    await call(store, "import os; memory.update_block_value('human', 'It is ' + os.environ['TOKEN'])", { TOKEN: "s3cret-token-7Q" });
    assert.doesNotMatch((await values(store))["human"]!, /s3cret/);
  });
});
