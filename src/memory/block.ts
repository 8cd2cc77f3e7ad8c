/** Core memory: labelled texts that agents see in every step, and may share. */
import type { Json } from "../base/json.ts";
import type { Tuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import { entityBytesMax, fitsOneRow, type Page } from "../storage/collection.ts";
import type { Store } from "../storage/store.ts";
import type { Transaction } from "../storage/transaction.ts";
import { countAgentsOfBlock, detachBlockFromAll } from "./block-agents.ts";
import {
  blockCharactersMax,
  blockLabelBytesMax,
  BlockLimitError,
  blockLimitDefault,
  characterCount,
  checkName,
  checkTags,
  checkText,
  CoreLimitError,
  InvalidMemoryError,
  MemoryNotFoundError,
  quote,
} from "./memory.ts";
import { scan } from "./scan.ts";
import { TextCollection } from "./text-collection.ts";

/** Letta's Block. */
export interface BlockRecord {
  readonly id: string;
  readonly label: string;
  readonly value: string;
  /** In characters. */
  readonly limit: number;
  readonly description: string | null;
  /** Agents cannot change it; people can. */
  readonly read_only: boolean;
  readonly metadata: { readonly [key: string]: Json };
  readonly hidden: boolean | null;
  readonly tags: readonly string[];
  readonly is_template: boolean;
  readonly template_name: string | null;
  readonly template_id: string | null;
  readonly base_template_id: string | null;
  readonly deployment_id: string | null;
  readonly entity_id: string | null;
  readonly preserve_on_migration: boolean | null;
  readonly project_id: string | null;
  readonly created_at: string;
  readonly updated_at: string;
  readonly created_by_id: string | null;
  readonly last_updated_by_id: string | null;
}

type Settable = Omit<BlockRecord, "id" | "created_at" | "updated_at" | "created_by_id" | "last_updated_by_id">;

/** Fields of a new block; absent ones get Letta's defaults. */
export type BlockCreate = { readonly [field in keyof Settable]?: Settable[field] | null | undefined } & {
  readonly label: string;
  readonly value: string;
};

/** Fields to change; `null` and `undefined` leave a field as it is, as in Letta V1. */
export type BlockUpdate = { readonly [field in keyof Settable]?: Settable[field] | null | undefined };

export interface BlockFilter {
  readonly label?: string | undefined;
  /** The template's name. */
  readonly name?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly match_all_tags?: boolean | undefined;
  readonly templates_only?: boolean | undefined;
  readonly project_id?: string | undefined;
  readonly label_search?: string | undefined;
  readonly description_search?: string | undefined;
  readonly value_search?: string | undefined;
  readonly connected_to_agents_count_gt?: number | undefined;
  readonly connected_to_agents_count_lt?: number | undefined;
  readonly connected_to_agents_count_eq?: readonly number[] | undefined;
}

/** Connected agents of a block that a filter counts at most. */
const connectedAgentsMax = 10_000;

const blocks: TextCollection<"value", BlockRecord> = new TextCollection("block", "value", {
  created: (block) => [[block.created_at]],
  label: (block) => [[block.label, block.created_at]],
  name: (block) => (block.template_name === null ? [] : [[block.template_name, block.created_at]]),
  tag: (block) => block.tags.map((tag) => [tag, block.created_at]),
});

/** Creates and stores a block. @throws {InvalidMemoryError} @throws {BlockLimitError} */
export function createBlock(
  transaction: Transaction,
  environment: Environment,
  project: string,
  create: BlockCreate,
  userId: string | null = null,
): BlockRecord {
  const block = newBlock(environment, create, userId);
  insertBlock(transaction, environment, project, block);
  return block;
}

/** A block that is not stored yet. @throws {InvalidMemoryError} @throws {BlockLimitError} */
export function newBlock(environment: Environment, create: BlockCreate, userId: string | null = null): BlockRecord {
  const now = new Date(environment.clock.now()).toISOString();
  return checkBlock({
    id: `block-${environment.random.uuid()}`,
    label: create.label,
    value: create.value,
    limit: create.limit ?? blockLimitDefault,
    description: create.description ?? null,
    read_only: create.read_only ?? false,
    metadata: create.metadata ?? {},
    hidden: create.hidden ?? null,
    tags: create.tags ?? [],
    is_template: create.is_template ?? false,
    template_name: create.template_name ?? null,
    template_id: create.template_id ?? null,
    base_template_id: create.base_template_id ?? null,
    deployment_id: create.deployment_id ?? null,
    entity_id: create.entity_id ?? null,
    preserve_on_migration: create.preserve_on_migration ?? false,
    project_id: create.project_id ?? null,
    created_at: now,
    updated_at: now,
    created_by_id: userId,
    last_updated_by_id: userId,
  });
}

/** Stores a block made by `newBlock`. */
export function insertBlock(transaction: Transaction, environment: Environment, project: string, block: BlockRecord): void {
  blocks.insert(transaction, environment, project, block);
}

/** @throws {MemoryNotFoundError} @throws {InvalidMemoryError} @throws {BlockLimitError} */
export async function updateBlock(
  transaction: Transaction,
  environment: Environment,
  project: string,
  id: string,
  update: BlockUpdate,
  userId: string | null = null,
): Promise<BlockRecord> {
  const before = await getBlock(transaction, project, id);
  const changes = Object.fromEntries(
    Object.entries(update).filter(([field, value]) => settableFields.has(field) && value !== undefined && value !== null),
  );
  const block = checkBlock({
    ...before,
    ...changes,
    updated_at: new Date(environment.clock.now()).toISOString(),
    last_updated_by_id: userId ?? before.last_updated_by_id,
  });
  await blocks.replace(transaction, environment, project, block);
  return block;
}

/**
 * Deletes a block and its connections. Agents keep the id in their list; it names nothing and is passed over.
 *
 * @throws {MemoryNotFoundError}
 */
export async function deleteBlock(transaction: Transaction, project: string, id: string): Promise<BlockRecord> {
  const block = await getBlock(transaction, project, id);
  await blocks.delete(transaction, project, id);
  detachBlockFromAll(transaction, project, id);
  return block;
}

/** The block, checked at commit. @throws {MemoryNotFoundError} */
export async function getBlock(transaction: Transaction, project: string, id: string): Promise<BlockRecord> {
  const block = await blocks.get(transaction, project, id);
  if (block === undefined) throw new MemoryNotFoundError("block", id);
  return block;
}

/** Those of the blocks that exist, in the order of `ids`, checked at commit. */
export async function getBlocks(transaction: Transaction, project: string, ids: readonly string[]): Promise<BlockRecord[]> {
  const found = await Promise.all(ids.map((id) => blocks.get(transaction, project, id)));
  return found.filter((block) => block !== undefined);
}

/** Those of the blocks that exist, in the order of `ids`, without a transaction. */
export async function readBlocks(store: Store, project: string, ids: readonly string[]): Promise<BlockRecord[]> {
  return (await blocks.read(store, project, ids)).filter((block) => block !== undefined);
}

/**
 * A page of blocks by time of creation. `label`, `name` and a tag are read from an index; the other filters look at
 * what that gives, within `scanRowsMax`.
 *
 * @throws {UnknownCursorError} @throws {ScanLimitError} @throws {InvalidMemoryError}
 */
export async function listBlocks(store: Store, project: string, filter: BlockFilter, page: Page): Promise<BlockRecord[]> {
  const { index, prefix } = chooseIndex(filter);
  const matches = matcher(filter);
  const counts = countMatcher(filter);
  if (matches === undefined && counts === undefined) return await scan(page, (each) => blocks.page(store, project, index, prefix, each));
  return await scan(
    page,
    (each) => blocks.page(store, project, index, prefix, each),
    async (candidates) => {
      const found = candidates.filter(matches ?? (() => true));
      if (counts === undefined) return found;
      const connected = await Promise.all(found.map((block) => countAgentsOfBlock(store, project, block.id, connectedAgentsMax)));
      return found.filter((_, at) => counts(connected[at]!));
    },
  );
}

/** How many blocks there are, counted up to `most`. */
export async function countBlocks(store: Store, project: string, most: number): Promise<number> {
  return await blocks.count(store, project, "created", [], most);
}

/** The bytes of core memory that blocks take: their values in UTF-8. */
export function coreBytes(all: readonly Pick<BlockRecord, "value">[]): number {
  return all.reduce((sum, block) => sum + Buffer.byteLength(block.value), 0);
}

/** @throws {CoreLimitError} The blocks of one agent are over its core memory's limit. */
export function checkCoreBytes(all: readonly Pick<BlockRecord, "value">[], bytesMax: number): void {
  const bytes = coreBytes(all);
  if (bytes > bytesMax) throw new CoreLimitError(bytesMax, bytes);
}

const settableFields: ReadonlySet<string> = new Set<keyof Settable>([
  "label",
  "value",
  "limit",
  "description",
  "read_only",
  "metadata",
  "hidden",
  "tags",
  "is_template",
  "template_name",
  "template_id",
  "base_template_id",
  "deployment_id",
  "entity_id",
  "preserve_on_migration",
  "project_id",
]);

/** The block as it may be stored. @throws {InvalidMemoryError} @throws {BlockLimitError} */
export function checkBlock(block: BlockRecord): BlockRecord {
  checkName("label", block.label, blockLabelBytesMax);
  checkText("value", block.value);
  if (block.description !== null) checkText("description", block.description);
  if (block.template_name !== null) checkName("template_name", block.template_name, blockLabelBytesMax);
  if (!Number.isSafeInteger(block.limit) || block.limit < 1)
    throw new InvalidMemoryError("limit", `The limit of a block is a whole number of at least 1, not ${block.limit}`);
  const [limit, length] = [Math.min(block.limit, blockCharactersMax), characterCount(block.value)];
  if (length > limit) throw new BlockLimitError(block.label, limit, length);
  const checked = { ...block, tags: checkTags(block.tags) };
  // The value may go into rows of its own; everything else is in one.
  if (!fitsOneRow({ ...checked, value: "" }))
    throw new InvalidMemoryError(
      "metadata",
      `The description, metadata and tags of the block ${quote(block.label)} are too large together: they have at most ${entityBytesMax} bytes`,
    );
  return checked;
}

function chooseIndex(filter: BlockFilter): { readonly index: string; readonly prefix: Tuple } {
  if (filter.label !== undefined) return { index: "label", prefix: [filter.label] };
  if (filter.name !== undefined) return { index: "name", prefix: [filter.name] };
  const [tag] = filter.tags ?? [];
  if (tag !== undefined && (filter.tags!.length === 1 || filter.match_all_tags === true)) return { index: "tag", prefix: [tag] };
  return { index: "created", prefix: [] };
}

/** What a block must be beyond the index that `chooseIndex` chose; `undefined` if that says it all. */
function matcher(filter: BlockFilter): ((block: BlockRecord) => boolean) | undefined {
  const tests: ((block: BlockRecord) => boolean)[] = [];
  const { label, name, tags = [], project_id } = filter;
  if (label !== undefined && name !== undefined) tests.push((block) => block.template_name === name);
  if (tags.length > 0 && chooseIndex(filter).index !== "tag") {
    if (filter.match_all_tags === true) tests.push((block) => tags.every((tag) => block.tags.includes(tag)));
    else tests.push((block) => tags.some((tag) => block.tags.includes(tag)));
  } else if (tags.length > 1) tests.push((block) => tags.every((tag) => block.tags.includes(tag)));
  if (filter.templates_only === true) tests.push((block) => block.is_template);
  if (project_id !== undefined) tests.push((block) => block.project_id === project_id);
  for (const [text, textOf] of [
    [filter.label_search, (block: BlockRecord) => block.label],
    [filter.description_search, (block: BlockRecord) => block.description ?? ""],
    [filter.value_search, (block: BlockRecord) => block.value],
  ] as const) {
    if (text === undefined || text === "") continue;
    const lower = text.toLowerCase();
    tests.push((block) => textOf(block).toLowerCase().includes(lower));
  }
  return tests.length === 0 ? undefined : (block) => tests.every((test) => test(block));
}

function countMatcher(filter: BlockFilter): ((count: number) => boolean) | undefined {
  const { connected_to_agents_count_gt: more, connected_to_agents_count_lt: less, connected_to_agents_count_eq: equal } = filter;
  if (more === undefined && less === undefined && (equal === undefined || equal.length === 0)) return undefined;
  return (count) =>
    (more === undefined || count > more) &&
    (less === undefined || count < less) &&
    (equal === undefined || equal.length === 0 || equal.includes(count));
}
