/** Tools as rows: what a project has, under Letta's fields. Running one is the registry's part. */
import { decodeJson, type Json } from "../base/json.ts";
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import { Collection, entityBytesMax, fitsOneRow, type Page } from "../storage/collection.ts";
import { readCounter } from "../storage/counter.ts";
import type { Store } from "../storage/store.ts";
import type { Transaction } from "../storage/transaction.ts";
import { addDocument, rankDocuments, removeDocument } from "../memory/full-text-index.ts";
import { checkTags, quote } from "../memory/memory.ts";
import { scan } from "../memory/scan.ts";
import { pythonSchema, PythonSchemaError } from "./python-schema.ts";

export type ToolType =
  | "custom"
  | "letta_core"
  | "letta_memory_core"
  | "letta_multi_agent_core"
  | "letta_sleeptime_core"
  | "letta_voice_sleeptime_core"
  | "letta_builtin"
  | "letta_files_core"
  | "external_langchain"
  | "external_composio"
  | "external_mcp";

/** Letta's Tool. */
export interface ToolRecord {
  readonly id: string;
  readonly name: string;
  readonly tool_type: ToolType;
  readonly description: string | null;
  readonly source_type: string | null;
  readonly source_code: string | null;
  readonly json_schema: { readonly [key: string]: Json };
  readonly args_json_schema: Json;
  readonly tags: readonly string[];
  /** In characters. */
  readonly return_char_limit: number;
  readonly pip_requirements: Json;
  readonly npm_requirements: Json;
  readonly default_requires_approval: boolean | null;
  readonly enable_parallel_execution: boolean;
  readonly metadata_: { readonly [key: string]: Json };
  readonly project_id: string | null;
  readonly created_at: string;
  readonly updated_at: string;
  readonly created_by_id: string | null;
  readonly last_updated_by_id: string | null;
}

type Loose<T> = { readonly [field in keyof T]?: T[field] | null | undefined };
type Settable = Pick<
  ToolRecord,
  | "description"
  | "tags"
  | "source_code"
  | "source_type"
  | "json_schema"
  | "args_json_schema"
  | "return_char_limit"
  | "pip_requirements"
  | "npm_requirements"
  | "default_requires_approval"
  | "enable_parallel_execution"
>;

/** A tool from source code; `source_type` is `python` by default, `typescript` or `json`. */
export type ToolCreate = Loose<Settable>;
/** `null` and `undefined` leave a field as it is. */
export type ToolUpdate = Loose<Settable & Pick<ToolRecord, "metadata_">>;

export interface ToolFilter {
  readonly name?: string | undefined;
  readonly names?: readonly string[] | undefined;
  readonly tool_ids?: readonly string[] | undefined;
  /** A part of the name, in any case. */
  readonly search?: string | undefined;
  readonly tool_types?: readonly string[] | undefined;
  readonly exclude_tool_types?: readonly string[] | undefined;
  readonly return_only_letta_tools?: boolean | undefined;
}

export interface FoundTool {
  readonly tool: ToolRecord;
  readonly score: number;
}

/** The `source_type` of a tool that the program which runs Kelpie brings. */
export const inProcess = "kelpie";
export const returnCharactersDefault = 50_000;
export const returnCharactersMax = 1_000_000;
const sourceTypes: readonly string[] = ["python", "typescript", "json"];
const toolTermsMax = 500;
const namePattern = /^[a-zA-Z0-9_-]{1,64}$/;

/** A tool cannot be accepted. Says why, and what would be right. */
export class InvalidToolError extends Error {
  override readonly name = "InvalidToolError";
}

/** The project has a tool with this name. */
export class ToolNameTakenError extends Error {
  override readonly name = "ToolNameTakenError";
}

/** The project has no tool with this id or name. */
export class ToolNotFoundError extends Error {
  override readonly name = "ToolNotFoundError";
}

const tools: Collection<ToolRecord> = new Collection<ToolRecord>("tool", {
  created: (tool) => [[tool.created_at]],
  type: (tool) => [[tool.tool_type, tool.created_at]],
});

/** @throws {InvalidToolError} @throws {ToolNameTakenError} */
export async function createTool(
  transaction: Transaction,
  environment: Environment,
  project: string,
  create: ToolCreate,
  userId: string | null = null,
): Promise<ToolRecord> {
  const tool = newTool(environment, create, userId);
  await insertTool(transaction, project, tool);
  return tool;
}

/** Creates a tool, or updates the one that has its name. @throws {InvalidToolError} */
export async function upsertTool(
  transaction: Transaction,
  environment: Environment,
  project: string,
  create: ToolCreate,
  userId: string | null = null,
): Promise<ToolRecord> {
  const tool = newTool(environment, create, userId);
  const existing = await findToolByName(transaction, project, tool.name);
  if (existing === undefined) {
    await insertTool(transaction, project, tool);
    return tool;
  }
  // The schema may have been derived from the source, so it is given with it.
  return await updateTool(transaction, environment, project, existing.id, { ...create, json_schema: tool.json_schema }, userId);
}

/**
 * Of a built-in tool only what an owner decides can change: its limit, tags and whether it asks for approval.
 *
 * @throws {ToolNotFoundError} @throws {InvalidToolError} @throws {ToolNameTakenError}
 */
export async function updateTool(
  transaction: Transaction,
  environment: Environment,
  project: string,
  id: string,
  update: ToolUpdate,
  userId: string | null = null,
): Promise<ToolRecord> {
  const before = await getTool(transaction, project, id);
  const set: Partial<ToolRecord> = Object.fromEntries(
    settableFields.map((field) => [field, update[field]] as const).filter(([, value]) => value !== undefined && value !== null),
  );
  if (isBuiltIn(before) || before.source_type === inProcess) refuseNewCode(before, set);
  else checkSourceType(set.source_type);
  const isNewSource = set.source_code !== undefined && set.source_code !== null && set.json_schema === undefined;
  const merged = { ...before, ...(isNewSource ? fromSource(set.source_code, set.source_type ?? before.source_type) : {}), ...set };
  const tool = checkTool({
    ...merged,
    name: nameOf(merged.json_schema),
    // Whose tool it is of an MCP server is not for its owner to say.
    metadata_: { ...merged.metadata_, ...(before.metadata_["mcp"] === undefined ? {} : { mcp: before.metadata_["mcp"] }) },
    updated_at: now(environment),
    last_updated_by_id: userId ?? before.last_updated_by_id,
  });
  await replaceTool(transaction, project, before, tool);
  return tool;
}

/** Stores the tool in place of `before`, which the transaction has read. @throws {ToolNameTakenError} */
export async function replaceTool(transaction: Transaction, project: string, before: ToolRecord, tool: ToolRecord): Promise<void> {
  if (tool.name !== before.name) {
    await takeName(transaction, project, tool);
    transaction.delete(nameKey(project, before.name));
  }
  tools.replace(transaction, project, before, tool);
  transaction.add(changesKey(project), 1);
  removeDocument(transaction, textRoot(project), toDocument(before), toolTermsMax);
  addDocument(transaction, textRoot(project), toDocument(tool), toolTermsMax);
}

/** Deletes a tool. Agents keep its id in their list; it names nothing and is passed over. @throws {ToolNotFoundError} */
export async function deleteTool(transaction: Transaction, project: string, id: string): Promise<ToolRecord> {
  const tool = await getTool(transaction, project, id);
  tools.delete(transaction, project, tool);
  transaction.add(changesKey(project), 1);
  transaction.delete(nameKey(project, tool.name));
  removeDocument(transaction, textRoot(project), toDocument(tool), toolTermsMax);
  return tool;
}

/** Stores a tool. @throws {ToolNameTakenError} */
export async function insertTool(transaction: Transaction, project: string, tool: ToolRecord): Promise<void> {
  await takeName(transaction, project, tool);
  tools.insert(transaction, project, tool);
  transaction.add(changesKey(project), 1);
  addDocument(transaction, textRoot(project), toDocument(tool), toolTermsMax);
}

/** @throws {ToolNotFoundError} */
export async function getTool(transaction: Transaction, project: string, id: string): Promise<ToolRecord> {
  const tool = await tools.get(transaction, project, id);
  if (tool === undefined) throw new ToolNotFoundError(`Tool with id ${quote(id)} not found`);
  return tool;
}

export async function findToolByName(transaction: Transaction, project: string, name: string): Promise<ToolRecord | undefined> {
  if (!namePattern.test(name)) return undefined;
  const id = await transaction.get<string>(nameKey(project, name));
  return id === undefined ? undefined : await tools.get(transaction, project, id);
}

/** Those of the tools that exist, in the order of `ids`. */
export async function readTools(store: Store, project: string, ids: readonly string[]): Promise<ToolRecord[]> {
  return (await tools.read(store, project, ids)).filter((tool) => tool !== undefined);
}

/** The tools with these ids and how often the project's tools have changed, from one snapshot. */
export async function readToolsAt(
  store: Store,
  project: string,
  ids: readonly string[],
): Promise<{ readonly changes: bigint; readonly records: readonly (ToolRecord | undefined)[] }> {
  const keys = [changesKey(project), ...ids.map((id) => tools.key(project, id))];
  const [changes, ...rows] = await store.read(keys.map((key) => ({ key: encodeTuple(key) })));
  return {
    changes: readCounter(changes![0]?.value),
    records: rows.map(([row]) => (row === undefined ? undefined : decodeJson<ToolRecord>(row.value))),
  };
}

/** A page of tools by time of creation, filtered within the bound of `scan`. @throws {UnknownCursorError} @throws {ScanLimitError} */
export async function listTools(store: Store, project: string, filter: ToolFilter, page: Page): Promise<ToolRecord[]> {
  const [onlyType] = filter.tool_types ?? [];
  const byType = onlyType !== undefined && filter.tool_types!.length === 1;
  const [index, prefix]: [string, Tuple] = byType ? ["type", [onlyType]] : ["created", []];
  const matches = matcher(filter);
  return await scan(
    page,
    (each) => tools.page(store, project, index, prefix, each),
    matches === undefined ? undefined : (candidates) => candidates.filter(matches),
  );
}

/** How many tools there are, counted up to `most`. */
export async function countTools(store: Store, project: string, most: number): Promise<number> {
  return await tools.count(store, project, "created", [], most);
}

/** Tools by the words of their name, description and tags, the best first; without a query the newest. */
export async function searchTools(
  store: Store,
  project: string,
  search: {
    readonly query?: string | null | undefined;
    readonly tool_types?: readonly string[] | undefined;
    readonly tags?: readonly string[] | undefined;
    readonly limit: number;
  },
): Promise<FoundTool[]> {
  const matches = (tool: ToolRecord): boolean =>
    (search.tool_types === undefined || search.tool_types.length === 0 || search.tool_types.includes(tool.tool_type)) &&
    (search.tags === undefined || search.tags.length === 0 || search.tags.some((tag) => tool.tags.includes(tag)));
  if (!search.query?.trim()) {
    const found = await scan(
      { limit: search.limit, reverse: true },
      (page) => tools.page(store, project, "created", [], page),
      (candidates) => candidates.filter(matches),
    );
    return found.map((tool) => ({ tool, score: 0 }));
  }
  const ranked = await rankDocuments(store, textRoot(project), search.query);
  const found = await readTools(
    store,
    project,
    ranked.map(({ id }) => id),
  );
  const scores = new Map(ranked.map(({ id, score }) => [id, score]));
  return found
    .filter(matches)
    .slice(0, search.limit)
    .map((tool) => ({ tool, score: scores.get(tool.id)! }));
}

/** Whether Kelpie brings the tool itself. */
export function isBuiltIn(tool: Pick<ToolRecord, "tool_type">): boolean {
  return tool.tool_type.startsWith("letta_");
}

/** A tool that is not stored yet. @throws {InvalidToolError} */
export function newTool(environment: Environment, create: ToolCreate, userId: string | null = null): ToolRecord {
  const source_type = create.source_type ?? "python";
  checkSourceType(source_type);
  const json_schema = deriveSchema(create.source_code ?? "", source_type, create.json_schema ?? undefined);
  const time = now(environment);
  return checkTool({
    id: `tool-${environment.random.uuid()}`,
    name: nameOf(json_schema),
    tool_type: "custom",
    description: create.description ?? (typeof json_schema["description"] === "string" ? json_schema["description"] : null),
    source_type,
    source_code: create.source_code ?? null,
    json_schema,
    args_json_schema: create.args_json_schema ?? null,
    tags: create.tags ?? [],
    return_char_limit: create.return_char_limit ?? returnCharactersDefault,
    pip_requirements: create.pip_requirements ?? null,
    npm_requirements: create.npm_requirements ?? null,
    default_requires_approval: create.default_requires_approval ?? null,
    enable_parallel_execution: create.enable_parallel_execution ?? false,
    metadata_: {},
    project_id: null,
    created_at: time,
    updated_at: time,
    created_by_id: userId,
    last_updated_by_id: userId,
  });
}

const settableFields = [
  "description",
  "tags",
  "source_code",
  "source_type",
  "json_schema",
  "args_json_schema",
  "return_char_limit",
  "pip_requirements",
  "npm_requirements",
  "default_requires_approval",
  "enable_parallel_execution",
  "metadata_",
] as const satisfies readonly (keyof ToolUpdate)[];

/** @throws {InvalidToolError} The code of this tool is Kelpie's or the process's own, and would change. */
function refuseNewCode(before: ToolRecord, set: Partial<ToolRecord>): void {
  const fields = ["source_code", "source_type", "json_schema", "args_json_schema", "description"] as const;
  const changed = fields.find((field) => set[field] !== undefined && !sameJson(set[field], before[field]));
  if (changed !== undefined)
    throw new InvalidToolError(`The ${changed} of the built-in tool ${before.name} cannot change: create a tool with another name`);
}

/** What new source code says about its tool. */
function fromSource(source: string, type: string | null): Pick<ToolRecord, "json_schema" | "description"> {
  const json_schema = deriveSchema(source, type ?? "python", undefined);
  return { json_schema, description: typeof json_schema["description"] === "string" ? json_schema["description"] : null };
}

function deriveSchema(source: string, type: string, given: ToolRecord["json_schema"] | undefined): ToolRecord["json_schema"] {
  if (given !== undefined) return given;
  if (type !== "python")
    throw new InvalidToolError(
      `A tool with source_type ${quote(type)} needs a json_schema with its name, description and parameters: only Python's signatures are read`,
    );
  try {
    return { ...pythonSchema(source) };
  } catch (error) {
    if (error instanceof PythonSchemaError) throw new InvalidToolError(error.message, { cause: error });
    throw error;
  }
}

function nameOf(schema: ToolRecord["json_schema"]): string {
  const { name } = schema;
  if (typeof name !== "string" || !namePattern.test(name))
    throw new InvalidToolError(
      `A tool's name has 1 to 64 characters of a-z A-Z 0-9 _ -, not ${name === undefined ? "none: json_schema.name is missing" : quote(JSON.stringify(name))}`,
    );
  return name;
}

/** @throws {InvalidToolError} Also for `inProcess`: only the process itself can say that a tool is its own. */
function checkSourceType(type: string | null | undefined): void {
  if (type !== undefined && type !== null && !sourceTypes.includes(type))
    throw new InvalidToolError(`source_type is one of ${sourceTypes.join(", ")}, not ${quote(type)}`);
}

function checkTool(tool: ToolRecord): ToolRecord {
  const { parameters } = tool.json_schema;
  const isSchema =
    parameters === undefined ||
    (typeof parameters === "object" &&
      parameters !== null &&
      !Array.isArray(parameters) &&
      "type" in parameters &&
      parameters["type"] === "object");
  if (!isSchema) throw new InvalidToolError(`json_schema.parameters of the tool ${tool.name} must be a JSON Schema with "type": "object"`);
  if (!Number.isInteger(tool.return_char_limit) || tool.return_char_limit < 1 || tool.return_char_limit > returnCharactersMax)
    throw new InvalidToolError(`return_char_limit of the tool ${tool.name} is 1 to ${returnCharactersMax}, not ${tool.return_char_limit}`);
  const checked = { ...tool, tags: checkTags(tool.tags) };
  if (!fitsOneRow(checked))
    throw new InvalidToolError(
      `The tool ${tool.name} is too large: its source, schema and other fields have at most ${entityBytesMax} bytes together`,
    );
  return checked;
}

async function takeName(transaction: Transaction, project: string, tool: ToolRecord): Promise<void> {
  const holder = await transaction.get<string>(nameKey(project, tool.name));
  if (holder !== undefined)
    throw new ToolNameTakenError(`Tool with name ${quote(tool.name)} already exists: update it (${holder}), or use another name`);
  transaction.set(nameKey(project, tool.name), tool.id);
}

function matcher(filter: ToolFilter): ((tool: ToolRecord) => boolean) | undefined {
  const { name, names, tool_ids, tool_types, exclude_tool_types } = filter;
  const tests: ((tool: ToolRecord) => boolean)[] = [];
  if (name !== undefined) tests.push((tool) => tool.name === name);
  if (names !== undefined && names.length > 0) tests.push((tool) => names.includes(tool.name));
  if (tool_ids !== undefined && tool_ids.length > 0) tests.push((tool) => tool_ids.includes(tool.id));
  if (tool_types !== undefined && tool_types.length > 1) tests.push((tool) => tool_types.includes(tool.tool_type));
  if (exclude_tool_types !== undefined && exclude_tool_types.length > 0) tests.push((tool) => !exclude_tool_types.includes(tool.tool_type));
  if (filter.return_only_letta_tools === true) tests.push(isBuiltIn);
  if (filter.search !== undefined && filter.search !== "") {
    const lower = filter.search.toLowerCase();
    tests.push((tool) => tool.name.toLowerCase().includes(lower));
  }
  return tests.length === 0 ? undefined : (tool) => tests.every((test) => test(tool));
}

function toDocument(tool: ToolRecord): { readonly id: string; readonly time: number; readonly text: string } {
  return { id: tool.id, time: Date.parse(tool.created_at), text: [tool.name, tool.description ?? "", ...tool.tags].join(" ") };
}

function nameKey(project: string, name: string): Tuple {
  return [project, "tool.by-name", name];
}

/** Grows with each change of the project's tools, in its batch. */
function changesKey(project: string): Tuple {
  return [project, "tool.changes"];
}

function textRoot(project: string): Tuple {
  return [project, "tool.text"];
}

function sameJson(left: unknown, right: unknown): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

function now(environment: Environment): string {
  return new Date(environment.clock.now()).toISOString();
}
