import assert from "node:assert/strict";
import { test } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { transact } from "../storage/transaction.ts";
import { type AgentLink, agentKey, getAgentLink, readAgentLink } from "./agent-link.ts";
import {
  agentsOfArchive,
  archiveTags,
  attachArchive,
  countPassages,
  createArchive,
  defaultArchive,
  deleteArchive,
  detachArchive,
  listArchives,
  readArchives,
  updateArchive,
} from "./archive.ts";
import { ArchiveAttachedError, InvalidMemoryError, MemoryNotFoundError, passageCharactersMax } from "./memory.ts";
import {
  deletePassage,
  insertPassages,
  listPassages,
  type PassageCreate,
  type PassageRecord,
  readPassages,
  searchPassages,
} from "./passage.ts";

const environment = new RealEnvironment();
const project = "p";
const agent: AgentLink = {
  id: "agent-1",
  name: "Ada",
  created_at: "2026-01-01",
  block_ids: [],
  archive_ids: [],
  timezone: "UTC",
  core_bytes_max: null,
};

async function newArchive(store: MemoryStore, name = "a"): Promise<string> {
  return (await transact(store, environment, async (transaction) => createArchive(transaction, environment, project, { name }))).id;
}

async function insert(store: MemoryStore, archiveId: string, ...creates: readonly PassageCreate[]): Promise<PassageRecord[]> {
  return await transact(store, environment, async (transaction) => insertPassages(transaction, environment, project, archiveId, creates));
}

const dated: readonly PassageCreate[] = [
  { text: "The database moved to Berlin", tags: ["infra", "2024"], created_at: "2024-01-10T12:00:00Z" },
  { text: "Lunch with the database team", tags: ["people"], created_at: "2024-02-10" },
  { text: "Berlin is cold in winter", tags: ["2024"], created_at: "2024-03-10T00:30:00+02:00" },
];

test("A passage reads back as it was written, also a long one", async () => {
  const store = new MemoryStore();
  const archiveId = await newArchive(store);
  const long = "Ω word ".repeat(14_000);
  const [short, large] = await insert(store, archiveId, { text: "short", tags: ["a", "a"], metadata: { k: [1] } }, { text: long });
  assert.deepEqual(await readPassages(store, project, [large!.id, short!.id]), [large, short]);
  assert.deepEqual([short!.tags, short!.metadata, short!.embedding, short!.archive_id], [["a"], { k: [1] }, null, archiveId]);
  assert.equal(large!.text, long);
});

for (const [what, create, field] of [
  ["an empty text", { text: " \n" }, "text"],
  ["a NUL", { text: "a\0" }, "text"],
  ["half a character", { text: "a\ud83d" }, "text"],
  ["a text over the limit", { text: "x".repeat(passageCharactersMax + 1) }, "text"],
  ["a time that does not exist", { text: "x", created_at: "2024-02-30" }, "created_at"],
  ["an empty tag", { text: "x", tags: [""] }, "tags"],
] as const)
  test(`A passage with ${what} is refused by name, and nothing is written`, async () => {
    const store = new MemoryStore();
    const archiveId = await newArchive(store);
    await assert.rejects(
      insert(store, archiveId, { text: "good" }, create),
      (error) => error instanceof InvalidMemoryError && error.field === field,
    );
    assert.equal(await countPassages(store, project, archiveId), 0);
  });

test("One call takes a bounded number of passages and of words", async () => {
  const store = new MemoryStore();
  const archiveId = await newArchive(store);
  await assert.rejects(insert(store, archiveId, ...Array.from({ length: 101 }, () => ({ text: "x" }))), /at most 100 passages/);
  const wordy = Array.from({ length: 8_000 }, (_, at) => `w${at}`).join(" ");
  await assert.rejects(insert(store, archiveId, ...Array.from({ length: 6 }, () => ({ text: wordy }))), /different words/);
  await insert(store, archiveId, ...Array.from({ length: 5 }, () => ({ text: wordy })));
  assert.equal(await countPassages(store, project, archiveId), 5);
});

test("The list is in the order of time, pages both ways, and filters by a part of the text", async () => {
  const store = new MemoryStore();
  const archiveId = await newArchive(store);
  const [a, b, c] = await insert(store, archiveId, ...dated);
  await insert(store, await newArchive(store, "other"), { text: "elsewhere" });
  assert.deepEqual(await listPassages(store, project, archiveId, {}, { limit: 10 }), [a, b, c]);
  assert.deepEqual(await listPassages(store, project, archiveId, {}, { limit: 1, reverse: true, after: c!.id }), [b]);
  assert.deepEqual(await listPassages(store, project, archiveId, { search: "BERLIN" }, { limit: 10 }), [a, c]);
  assert.deepEqual(await listPassages(store, project, archiveId, { search: "berlin" }, { limit: 10, after: a!.id }), [c]);
  assert.equal(c!.created_at, "2024-03-09T22:30:00.000Z");
});

for (const [search, expected] of [
  [{ query: "database berlin", limit: 10 }, [0, 2, 1]],
  [{ query: "database", tags: ["people"], limit: 10 }, [1]],
  [{ query: "berlin", tags: ["infra", "2024"], tag_match_mode: "all", limit: 10 }, [0]],
  [{ query: "berlin", tags: ["people", "2024"], tag_match_mode: "any", limit: 1 }, [2]],
  [{ query: "database", from: Date.UTC(2024, 1, 1), limit: 10 }, [1]],
  [{ query: "database", to: Date.UTC(2024, 1, 1), limit: 10 }, [0]],
  [{ tags: ["2024"], limit: 10 }, [2, 0]],
  [{ query: "", limit: 2 }, [2, 1]],
  [{ tags: ["people", "2024"], tag_match_mode: "all", limit: 10 }, []],
  [{ query: "nowhere", limit: 10 }, []],
] as const)
  test(`A search for ${JSON.stringify(search)} gives passages ${JSON.stringify(expected)}`, async () => {
    const store = new MemoryStore();
    const archiveId = await newArchive(store);
    const all = await insert(store, archiveId, ...dated);
    const found = await searchPassages(store, project, archiveId, search);
    assert.deepEqual(
      found.map(({ passage }) => all.findIndex(({ id }) => id === passage.id)),
      expected,
    );
  });

test("A deleted passage is in no list, no search, no count and no tag", async () => {
  const store = new MemoryStore();
  const archiveId = await newArchive(store);
  const [a, b] = await insert(store, archiveId, { text: "alpha", tags: ["x", "y"] }, { text: "alpha", tags: ["y"] });
  assert.deepEqual(await archiveTags(store, project, archiveId), ["x", "y"]);
  await transact(store, environment, (transaction) => deletePassage(transaction, project, a!.id));
  assert.deepEqual(
    (await searchPassages(store, project, archiveId, { query: "alpha", limit: 10 })).map(({ passage }) => passage.id),
    [b!.id],
  );
  assert.deepEqual(await listPassages(store, project, archiveId, {}, { limit: 10 }), [b]);
  assert.deepEqual(await archiveTags(store, project, archiveId), ["y"]);
  assert.equal(await countPassages(store, project, archiveId), 1);
  await assert.rejects(
    transact(store, environment, (transaction) => deletePassage(transaction, project, a!.id)),
    MemoryNotFoundError,
  );
});

test("Deleting an archive leaves no row of it", async () => {
  const store = new MemoryStore();
  const archiveId = await newArchive(store);
  for (let call = 0; call < 2; call++)
    await insert(store, archiveId, ...Array.from({ length: 60 }, (_, at) => ({ text: `text ${at}`, tags: ["t"] })));
  await deleteArchive(store, environment, project, archiveId);
  assert.deepEqual(await store.read([{ begin: new Uint8Array(), end: Uint8Array.of(0xff), limit: 10 }]), [[]]);
  await assert.rejects(deleteArchive(store, environment, project, archiveId), MemoryNotFoundError);
});

test("An agent's archive is made once, even by two writers at a time", async () => {
  const store = new MemoryStore();
  await transact(store, environment, async (transaction) => transaction.set(agentKey(project, agent.id), agent));
  const write = (text: string): Promise<PassageRecord[]> =>
    transact(store, environment, async (transaction) => {
      const archive = await defaultArchive(transaction, environment, project, (await getAgentLink(transaction, project, agent.id))!);
      return insertPassages(transaction, environment, project, archive.id, [{ text }]);
    });
  await Promise.all([write("one"), write("two"), write("three")]);
  const archives = await listArchives(store, project, {}, { limit: 10 });
  assert.deepEqual(
    archives.map(({ name }) => name),
    ["Ada's Archive"],
  );
  assert.equal(await countPassages(store, project, archives[0]!.id), 3);
  assert.deepEqual((await readAgentLink(store, project, agent.id))!.archive_ids, [archives[0]!.id]);
});

test("An agent has one archive, which can be attached, shared and detached", async () => {
  const store = new MemoryStore();
  const [first, second] = [await newArchive(store), await newArchive(store, "b")];
  const other = { ...agent, id: "agent-2", created_at: "2026-01-02" };
  await transact(store, environment, async (transaction) => {
    for (const each of [agent, other]) transaction.set(agentKey(project, each.id), each);
  });
  const change = (
    id: string,
    work: (link: AgentLink, transaction: Parameters<Parameters<typeof transact>[2]>[0]) => Promise<void> | void,
  ): Promise<void> =>
    transact(store, environment, async (transaction) => await work((await getAgentLink(transaction, project, id))!, transaction));
  await change(agent.id, (link, transaction) => attachArchive(transaction, project, first, link));
  await change(agent.id, (link, transaction) => attachArchive(transaction, project, first, link));
  await change(other.id, (link, transaction) => attachArchive(transaction, project, first, link));
  await assert.rejects(
    change(agent.id, (link, transaction) => attachArchive(transaction, project, second, link)),
    ArchiveAttachedError,
  );
  await assert.rejects(
    change(agent.id, (link, transaction) => attachArchive(transaction, project, "archive-x", link)),
    MemoryNotFoundError,
  );
  assert.deepEqual(await agentsOfArchive(store, project, first, { limit: 10 }), [agent.id, other.id]);
  await change(agent.id, (link, transaction) => detachArchive(transaction, project, first, link));
  assert.deepEqual(await agentsOfArchive(store, project, first, { limit: 10 }), [other.id]);
  await change(agent.id, (link, transaction) => attachArchive(transaction, project, second, link));
});

test("Archives are renamed, listed and found by their name", async () => {
  const store = new MemoryStore();
  const id = await newArchive(store, "old");
  await transact(store, environment, (transaction) =>
    updateArchive(transaction, environment, project, id, { name: "new", description: null }),
  );
  assert.deepEqual(
    (await listArchives(store, project, { name: "new" }, { limit: 5 })).map((archive) => archive.id),
    [id],
  );
  assert.deepEqual(await listArchives(store, project, { name: "old" }, { limit: 5 }), []);
  assert.equal((await readArchives(store, project, [id, "archive-none"])).length, 1);
  await assert.rejects(newArchive(store, ""), InvalidMemoryError);
});
