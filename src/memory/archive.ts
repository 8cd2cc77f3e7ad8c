/** Archives: collections of passages. They outlive agents and may be shared between them; an agent has at most one. */
import type { Json } from "../base/json.ts";
import { decodeTuple, tupleRange, type Tuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import { Collection, type Page } from "../storage/collection.ts";
import { readCounter } from "../storage/counter.ts";
import type { Store } from "../storage/store.ts";
import { transact, type Transaction } from "../storage/transaction.ts";
import { type AgentLink, setAgentLinks } from "./agent-link.ts";
import { linkedAgents } from "./block-agents.ts";
import { countDocuments } from "./full-text-index.ts";
import { ArchiveAttachedError, archiveNameBytesMax, checkName, checkText, MemoryNotFoundError, quote } from "./memory.ts";
import { archiveTextRoot, deletePassage, listPassages } from "./passage.ts";
import type { RowWriter } from "./row-writer.ts";
import { scan } from "./scan.ts";

/** Letta's Archive. */
export interface ArchiveRecord {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly vector_db_provider: "native";
  /** Full text only: there are no embeddings. */
  readonly embedding_config: null;
  readonly metadata: { readonly [key: string]: Json } | null;
  readonly created_at: string;
  readonly updated_at: string;
  readonly created_by_id: string | null;
  readonly last_updated_by_id: string | null;
}

/** Tags of an archive that `archiveTags` looks at. */
const tagsListedMax = 1_000;
const passagesPerDelete = 50;

const archives: Collection<ArchiveRecord> = new Collection<ArchiveRecord>("archive", {
  created: (archive) => [[archive.created_at]],
  name: (archive) => [[archive.name, archive.created_at]],
});

/** @throws {InvalidMemoryError} */
export function createArchive(
  transaction: Transaction,
  environment: Environment,
  project: string,
  create: { readonly name: string; readonly description?: string | null | undefined },
  userId: string | null = null,
): ArchiveRecord {
  const now = new Date(environment.clock.now()).toISOString();
  const archive = checkArchive({
    id: `archive-${environment.random.uuid()}`,
    name: create.name,
    description: create.description ?? null,
    vector_db_provider: "native",
    embedding_config: null,
    metadata: null,
    created_at: now,
    updated_at: now,
    created_by_id: userId,
    last_updated_by_id: userId,
  });
  archives.insert(transaction, project, archive);
  return archive;
}

/** @throws {MemoryNotFoundError} @throws {InvalidMemoryError} */
export async function updateArchive(
  transaction: Transaction,
  environment: Environment,
  project: string,
  id: string,
  update: { readonly name?: string | null | undefined; readonly description?: string | null | undefined },
  userId: string | null = null,
): Promise<ArchiveRecord> {
  const before = await getArchive(transaction, project, id);
  const archive = checkArchive({
    ...before,
    name: update.name ?? before.name,
    description: update.description ?? before.description,
    updated_at: new Date(environment.clock.now()).toISOString(),
    last_updated_by_id: userId ?? before.last_updated_by_id,
  });
  archives.replace(transaction, project, before, archive);
  return archive;
}

/** The archive, checked at commit. @throws {MemoryNotFoundError} */
export async function getArchive(transaction: Transaction, project: string, id: string): Promise<ArchiveRecord> {
  const archive = await archives.get(transaction, project, id);
  if (archive === undefined) throw new MemoryNotFoundError("archive", id);
  return archive;
}

/** Those of the archives that exist, in the order of `ids`. */
export async function readArchives(store: Store, project: string, ids: readonly string[]): Promise<ArchiveRecord[]> {
  return (await archives.read(store, project, ids)).filter((archive) => archive !== undefined);
}

/** A page of archives by time of creation. For those of one agent: `readArchives` of its `archive_ids`. @throws {UnknownCursorError} */
export async function listArchives(
  store: Store,
  project: string,
  filter: { readonly name?: string | undefined },
  page: Page,
): Promise<ArchiveRecord[]> {
  const [index, prefix] = filter.name === undefined ? ["created", []] : ["name", [filter.name]];
  return await scan(page, (each) => archives.page(store, project, index, prefix, each));
}

/**
 * Deletes an archive with all its passages, a few in each transaction. May run twice: after a crash in the middle the
 * archive is still there, with fewer passages.
 *
 * @throws {MemoryNotFoundError}
 */
export async function deleteArchive(store: Store, environment: Environment, project: string, id: string): Promise<void> {
  for (;;) {
    const passages = await listPassages(store, project, id, {}, { limit: passagesPerDelete });
    await transact(store, environment, async (transaction) => {
      const archive = await getArchive(transaction, project, id);
      for (const passage of passages) await deletePassage(transaction, project, passage.id);
      if (passages.length > 0) return;
      archives.delete(transaction, project, archive);
      transaction.deleteAll([project, "archive.agent", id]);
      transaction.deleteAll([project, "archive.tag", id]);
      transaction.deleteAll(archiveTextRoot(project, id));
    });
    if (passages.length === 0) return;
  }
}

/**
 * Gives an agent this archive; `agent` was read in this transaction. Attaching the one it has changes nothing.
 *
 * @throws {ArchiveAttachedError} It has another one. @throws {MemoryNotFoundError}
 */
export async function attachArchive(transaction: Transaction, project: string, archiveId: string, agent: AgentLink): Promise<void> {
  await getArchive(transaction, project, archiveId);
  const other = agent.archive_ids.find((id) => id !== archiveId);
  if (other !== undefined) throw new ArchiveAttachedError(`Agent ${agent.id} already has the archive ${quote(other)}: detach it first`);
  setAgentLinks(transaction, project, agent, { archive_ids: [archiveId] });
  transaction.set([project, "archive.agent", archiveId, agent.created_at, agent.id], agent.id);
}

/** Takes an archive from an agent; its passages stay. `agent` was read in this transaction. Idempotent. */
export function detachArchive(transaction: Transaction, project: string, archiveId: string, agent: AgentLink): void {
  setAgentLinks(transaction, project, agent, { archive_ids: agent.archive_ids.filter((id) => id !== archiveId) });
  unlinkArchive(transaction, project, archiveId, agent);
}

/** Removes the way from an archive back to an agent, for an agent that is being deleted. */
export function unlinkArchive(writer: RowWriter, project: string, archiveId: string, agent: Pick<AgentLink, "id" | "created_at">): void {
  writer.delete([project, "archive.agent", archiveId, agent.created_at, agent.id]);
}

/** Ids of the agents that have this archive, by the agents' time of creation. @throws {UnknownCursorError} */
export async function agentsOfArchive(store: Store, project: string, archiveId: string, page: Page): Promise<string[]> {
  return await linkedAgents(store, project, [project, "archive.agent", archiveId], page);
}

/** The archive of an agent that was read in this transaction, made now if it has none that still exists. */
export async function defaultArchive(
  transaction: Transaction,
  environment: Environment,
  project: string,
  agent: AgentLink,
): Promise<ArchiveRecord> {
  for (const id of agent.archive_ids) {
    const archive = await archives.get(transaction, project, id);
    if (archive !== undefined) return archive;
  }
  const archive = createArchive(transaction, environment, project, { name: archiveName(agent.name) });
  await attachArchive(transaction, project, archive.id, { ...agent, archive_ids: [] });
  return archive;
}

/** How many passages an archive has. */
export async function countPassages(store: Store, project: string, archiveId: string): Promise<number> {
  return await countDocuments(store, archiveTextRoot(project, archiveId));
}

/** The tags of an archive's passages, in the order of their text. */
export async function archiveTags(store: Store, project: string, archiveId: string): Promise<string[]> {
  const prefix: Tuple = [project, "archive.tag", archiveId];
  const [answer] = await store.read([{ ...tupleRange(prefix), limit: tagsListedMax }]);
  return answer!.filter((entry) => readCounter(entry.value) > 0n).map((entry) => String(decodeTuple(entry.key).at(-1)));
}

function archiveName(agentName: string): string {
  const name = `${agentName}'s Archive`;
  return Buffer.byteLength(name) <= archiveNameBytesMax && name.isWellFormed() ? name : "Archive";
}

function checkArchive(archive: ArchiveRecord): ArchiveRecord {
  checkName("name", archive.name, archiveNameBytesMax);
  if (archive.description !== null) checkText("description", archive.description);
  return archive;
}
