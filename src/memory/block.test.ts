import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RealEnvironment } from "../environment/real-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { Transaction, transact } from "../storage/transaction.ts";
import { agentsOfBlock, attachBlock, countAgentsOfBlock, detachBlock } from "./block-agents.ts";
import {
  type BlockCreate,
  type BlockFilter,
  type BlockRecord,
  checkCoreBytes,
  coreBytes,
  countBlocks,
  createBlock,
  deleteBlock,
  getBlock,
  listBlocks,
  readBlocks,
  updateBlock,
} from "./block.ts";
import {
  BlockLimitError,
  blockLimitDefault,
  characterCount,
  CoreLimitError,
  InvalidMemoryError,
  MemoryNotFoundError,
  ScanLimitError,
  scanRowsMax,
  UnknownCursorError,
} from "./memory.ts";

const environment = new RealEnvironment();
const project = "p";

async function create(store: MemoryStore, ...blocks: readonly BlockCreate[]): Promise<BlockRecord[]> {
  const created: BlockRecord[] = [];
  // One by one, so that the times of creation do not go back; equal ones are in the order of their ids.
  for (const block of blocks)
    created.push(await transact(store, environment, async (transaction) => createBlock(transaction, environment, project, block)));
  return created;
}

async function update(store: MemoryStore, id: string, change: Parameters<typeof updateBlock>[4]): Promise<BlockRecord> {
  return await transact(store, environment, (transaction) => updateBlock(transaction, environment, project, id, change));
}

async function readOne(store: MemoryStore, id: string): Promise<BlockRecord | undefined> {
  return (await readBlocks(store, project, [id]))[0];
}

test("A new block has Letta's defaults and reads back as it was written", async () => {
  const store = new MemoryStore();
  const [block] = await create(store, { label: "human", value: "Ada" });
  assert.match(block!.id, /^block-[0-9a-f]{8}-/);
  assert.deepEqual(
    [block!.limit, block!.read_only, block!.is_template, block!.tags, block!.metadata, block!.description],
    [blockLimitDefault, false, false, [], {}, null],
  );
  assert.deepEqual(await readOne(store, block!.id), block);
  assert.deepEqual(await readBlocks(store, "other", [block!.id]), [], "another project does not see it");
});

for (const [text, length] of [
  ["", 0],
  ["abc", 3],
  ["é", 1],
  ["e\u0301", 2],
  ["😀", 1],
  ["a😀b😀", 4],
  ["\ud83d", 1],
  ["\ude00\ud83d", 2],
  ["👩‍👩‍👧", 5],
] as const)
  test(`characterCount(${JSON.stringify(text)}) is ${length}, as Python's len`, () => assert.equal(characterCount(text), length));

test("characterCount is the number of code points", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => characterCount(text) === Array.from(text).length));
});

test("A value over its limit is refused with the numbers, and the block stays as it was", async () => {
  const store = new MemoryStore();
  const [block] = await create(store, { label: "human", value: "1234", limit: 5 });
  await assert.rejects(update(store, block!.id, { value: "123456" }), (error) => {
    assert.ok(error instanceof BlockLimitError);
    assert.deepEqual([error.label, error.limit, error.length], ["human", 5, 6]);
    assert.match(error.message, /Exceeds 5 character limit \(requested 6\)/);
    return true;
  });
  assert.deepEqual(await readOne(store, block!.id), block);
  assert.equal((await update(store, block!.id, { value: "😀😀😀😀😀" })).value, "😀😀😀😀😀", "five characters, though ten UTF-16 units");
  await assert.rejects(update(store, block!.id, { limit: 4 }), BlockLimitError, "a limit below the value");
});

for (const [what, block, field] of [
  ["an empty label", { label: "", value: "" }, "label"],
  ["a NUL in a label", { label: "a\0b", value: "" }, "label"],
  ["a lone surrogate in a label", { label: "a\ud800", value: "" }, "label"],
  ["a label over its limit", { label: "x".repeat(2_001), value: "" }, "label"],
  ["a NUL in a value", { label: "a", value: "x\0" }, "value"],
  ["a lone surrogate in a value", { label: "a", value: "\udc00" }, "value"],
  ["a limit of 0", { label: "a", value: "", limit: 0 }, "limit"],
  ["a negative limit", { label: "a", value: "", limit: -1 }, "limit"],
  ["a fractional limit", { label: "a", value: "", limit: 1.5 }, "limit"],
  ["an empty tag", { label: "a", value: "", tags: [""] }, "tags"],
  ["too many tags", { label: "a", value: "", tags: Array.from({ length: 101 }, (_, at) => `t${at}`) }, "tags"],
  ["a description that fits no row", { label: "a", value: "", description: "x".repeat(96_000) }, "metadata"],
] as const)
  test(`A block with ${what} is refused by name`, async () => {
    const store = new MemoryStore();
    await assert.rejects(create(store, block), (error) => error instanceof InvalidMemoryError && error.field === field);
    assert.equal(await countBlocks(store, project, 10), 0);
  });

test("Labels with slashes and spaces are as good as any", async () => {
  const store = new MemoryStore();
  const [block] = await create(store, { label: "system/human notes", value: "" });
  assert.deepEqual(await listBlocks(store, project, { label: "system/human notes" }, { limit: 10 }), [block]);
});

test("null and undefined in an update leave a field as it is", async () => {
  const store = new MemoryStore();
  const [block] = await create(store, { label: "a", value: "v", description: "d" });
  const updated = await update(store, block!.id, { value: null, description: undefined, read_only: true });
  assert.deepEqual({ ...updated, read_only: false, updated_at: block!.updated_at }, block);
});

test("A block goes from short to long and back, and deleting it leaves no row", async () => {
  const store = new MemoryStore();
  const long = "é\u0001😀".repeat(33_333);
  const [block] = await create(store, { label: "a", value: long, tags: ["t"] });
  assert.equal((await readOne(store, block!.id))!.value, long);
  for (const value of ["short", long, `${long}!`.slice(4), ""]) {
    await update(store, block!.id, { value });
    assert.equal((await readOne(store, block!.id))!.value, value);
    assert.equal((await new Transaction(store).get([project, "block", block!.id])) !== undefined, true);
    assert.equal((await getBlock(new Transaction(store), project, block!.id)).value, value);
  }
  await update(store, block!.id, { value: long });
  await transact(store, environment, (transaction) => deleteBlock(transaction, project, block!.id));
  assert.deepEqual(await store.read([{ begin: new Uint8Array(), end: Uint8Array.of(0xff), limit: 100 }]), [[]]);
  await assert.rejects(
    transact(store, environment, (transaction) => deleteBlock(transaction, project, block!.id)),
    MemoryNotFoundError,
  );
});

test("Two transactions that append to one block lose neither text", async () => {
  const store = new MemoryStore();
  const [block] = await create(store, { label: "a", value: "" });
  const append = (text: string): Promise<BlockRecord> =>
    transact(store, environment, async (transaction) => {
      const { value } = await getBlock(transaction, project, block!.id);
      return await updateBlock(transaction, environment, project, block!.id, { value: `${value}${text}\n` });
    });
  const texts = Array.from({ length: 8 }, (_, at) => `edit ${at}`);
  await Promise.all(texts.map(append));
  assert.deepEqual((await readOne(store, block!.id))!.value.trim().split("\n").toSorted(), texts);
});

const listed: readonly BlockCreate[] = [
  { label: "human", value: "Ada lives in London", tags: ["x", "y"], description: "About the user" },
  { label: "human", value: "Grace", tags: ["x"], template_name: "T", is_template: true },
  { label: "persona", value: "Kind", tags: ["y"], project_id: "proj" },
  { label: "notes/today", value: "london calling" },
];
const filters: readonly (readonly [BlockFilter, readonly number[]])[] = [
  [{}, [0, 1, 2, 3]],
  [{ label: "human" }, [0, 1]],
  [{ label: "hum" }, []],
  [{ name: "T" }, [1]],
  [{ label: "human", name: "T" }, [1]],
  [{ tags: ["x"] }, [0, 1]],
  [{ tags: ["x", "y"] }, [0, 1, 2]],
  [{ tags: ["x", "y"], match_all_tags: true }, [0]],
  [{ label: "persona", tags: ["x"] }, []],
  [{ tags: [] }, [0, 1, 2, 3]],
  [{ label_search: "HUM" }, [0, 1]],
  [{ label_search: "/" }, [3]],
  [{ description_search: "user" }, [0]],
  [{ value_search: "LONDON" }, [0, 3]],
  [{ value_search: "london", label: "human" }, [0]],
  [{ templates_only: true }, [1]],
  [{ project_id: "proj" }, [2]],
  [{ connected_to_agents_count_gt: 0 }, [0, 2]],
  [{ connected_to_agents_count_lt: 2 }, [1, 2, 3]],
  [{ connected_to_agents_count_eq: [0, 2] }, [0, 1, 3]],
  [{ connected_to_agents_count_eq: [] }, [0, 1, 2, 3]],
];
for (const [filter, expected] of filters)
  test(`The list filtered by ${JSON.stringify(filter)} has blocks ${JSON.stringify(expected)}`, async () => {
    const store = new MemoryStore();
    const blocks = await create(store, ...listed);
    await transact(store, environment, async (transaction) => {
      for (const [block, agent] of [
        [0, "agent-1"],
        [0, "agent-2"],
        [2, "agent-1"],
      ] as const)
        attachBlock(transaction, project, blocks[block]!.id, { id: agent, created_at: "2026" });
    });
    const found = await listBlocks(store, project, filter, { limit: 10 });
    assert.deepEqual(
      found.map((block) => blocks.findIndex(({ id }) => id === block.id)).toSorted((left, right) => left - right),
      expected,
    );
  });

for (const [reverse, filter] of [
  [false, {}],
  [true, {}],
  [false, { value_search: "v" }],
  [true, { value_search: "v" }],
  [true, { tags: ["a", "b"] }],
] as const)
  test(`Pages of ${JSON.stringify(filter)}, ${reverse ? "newest" : "oldest"} first, join to the whole list by their cursors`, async () => {
    const store = new MemoryStore();
    await create(
      store,
      ...Array.from({ length: 23 }, (_, at) => ({ label: `l${at}`, value: at % 3 === 0 ? "w" : "v", tags: [at % 2 === 0 ? "a" : "b"] })),
    );
    const whole = await listBlocks(store, project, filter, { limit: 100, reverse });
    const joined: BlockRecord[] = [];
    for (;;) {
      const last = joined.at(-1);
      const page = await listBlocks(store, project, filter, { limit: 4, reverse, ...(last === undefined ? {} : { after: last.id }) });
      if (page.length === 0) break;
      joined.push(...page);
    }
    assert.deepEqual(joined, whole);
    assert.deepEqual(await listBlocks(store, project, filter, { limit: 100, reverse, before: whole[3]!.id }), whole.slice(0, 3));
  });

test("A cursor that points nowhere, or to a block outside the list, is refused", async () => {
  const store = new MemoryStore();
  const [a, b] = await create(store, { label: "a", value: "" }, { label: "b", value: "" });
  await assert.rejects(listBlocks(store, project, {}, { limit: 5, after: "block-none" }), UnknownCursorError);
  await assert.rejects(listBlocks(store, project, { label: "a" }, { limit: 5, after: b!.id }), UnknownCursorError);
  assert.deepEqual(await listBlocks(store, project, { label: "a" }, { limit: 5, after: a!.id }), []);
  for (const limit of [0, -1, 1.5, 1_001]) await assert.rejects(listBlocks(store, project, {}, { limit }), InvalidMemoryError);
});

test("A filter that matches none of very many blocks gives up and says so", async () => {
  const store = new MemoryStore();
  for (let start = 0; start <= scanRowsMax; start += 2_000)
    await transact(store, environment, async (transaction) => {
      for (let at = 0; at < 2_000; at++) createBlock(transaction, environment, project, { label: "a", value: "" });
    });
  await assert.rejects(listBlocks(store, project, { value_search: "nowhere" }, { limit: 5 }), ScanLimitError);
  assert.equal((await listBlocks(store, project, { label: "a" }, { limit: 5 })).length, 5);
});

test("The agents of a block are listed by their creation, both ways, and go with the block", async () => {
  const store = new MemoryStore();
  const [block] = await create(store, { label: "shared", value: "" });
  const agents = ["c", "a", "b"].map((name, at) => ({ id: `agent-${name}`, created_at: `2026-01-0${at + 1}` }));
  await transact(store, environment, async (transaction) => {
    for (const agent of agents) {
      transaction.set([project, "agent", agent.id], agent);
      attachBlock(transaction, project, block!.id, agent);
      attachBlock(transaction, project, block!.id, agent);
    }
  });
  assert.deepEqual(await agentsOfBlock(store, project, block!.id, { limit: 10 }), ["agent-c", "agent-a", "agent-b"]);
  assert.deepEqual(await agentsOfBlock(store, project, block!.id, { limit: 1, reverse: true, after: "agent-b" }), ["agent-a"]);
  assert.deepEqual(await agentsOfBlock(store, project, block!.id, { limit: 9, before: "agent-b" }), ["agent-c", "agent-a"]);
  await assert.rejects(agentsOfBlock(store, project, block!.id, { limit: 1, after: "agent-x" }), UnknownCursorError);
  await transact(store, environment, async (transaction) => detachBlock(transaction, project, block!.id, agents[1]!));
  assert.equal(await countAgentsOfBlock(store, project, block!.id, 10), 2);
  assert.equal(await countAgentsOfBlock(store, project, block!.id, 1), 1);
  await transact(store, environment, (transaction) => deleteBlock(transaction, project, block!.id));
  assert.deepEqual(await agentsOfBlock(store, project, block!.id, { limit: 10 }), []);
});

test("Core memory is counted in bytes and refused past its limit", () => {
  assert.equal(coreBytes([{ value: "é" }, { value: "😀a" }]), 7);
  checkCoreBytes([{ value: "1234" }], 4);
  assert.throws(() => checkCoreBytes([{ value: "12345" }], 4), CoreLimitError);
});
