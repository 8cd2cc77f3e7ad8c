/** Which code runs behind a tool's record. One registry for a process; it knows the built-in tools from the start. */
import { createHash } from "node:crypto";
import { assert } from "../base/assert.ts";
import type { Json } from "../base/json.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store } from "../storage/store.ts";
import { transact, type Transaction } from "../storage/transaction.ts";
import { baseTools, unavailableTool } from "./base-tools.ts";
import type { Tool } from "./tool.ts";
import { ToolCache } from "./tool-cache.ts";
import { baseToolId } from "./tool-id.ts";
import { ToolIndex } from "./tool-index.ts";
import {
  findToolByName,
  inProcess,
  insertTool,
  InvalidToolError,
  isBuiltIn,
  newTool,
  replaceTool,
  readTools,
  ToolNameTakenError,
  type ToolRecord,
  type ToolType,
} from "./tool-record.ts";

interface Entry {
  readonly tool: Tool;
  readonly type: ToolType;
  readonly isMissing: boolean;
}

/** Of as many sets of tools the index is kept: those used last. */
const indexesMax = 16;

/** Makes the tools behind the records of one type: of MCP servers, of their owner's code. Undefined: not this one. */
export type ToolSource = (record: ToolRecord) => Tool | undefined;

export class ToolRegistry {
  readonly #entries = new Map<string, Entry>();
  readonly #sources = new Map<ToolType, ToolSource>();
  readonly #cache = new ToolCache();
  readonly #indexes = new Map<string, ToolIndex>();

  constructor() {
    for (const base of baseTools) this.#entries.set(base.tool.name, base);
  }

  /** Adds a tool of this process, before `seed`. @throws {ToolNameTakenError} @throws {InvalidToolError} */
  register(tool: Tool): void {
    if (!/^[a-zA-Z0-9_-]{1,64}$/.test(tool.name))
      throw new InvalidToolError(`A tool's name has 1 to 64 characters of a-z A-Z 0-9 _ -, not ${JSON.stringify(tool.name)}`);
    if (this.#entries.has(tool.name)) throw new ToolNameTakenError(`There already is a tool with the name ${tool.name} in this process`);
    this.#entries.set(tool.name, { tool, type: "custom", isMissing: false });
  }

  /** Where the tools of a type come from that are not of this process. One source for a type. */
  addSource(type: ToolType, source: ToolSource): void {
    assert(!this.#sources.has(type), `The tools of type ${type} come from one source`);
    this.#sources.set(type, source);
  }

  /**
   * What runs when the tool is called; for tools that cannot run here, one whose result says why. How long a result
   * may be is the record's to say (`return_char_limit`), which its owner can change.
   */
  resolve(record: ToolRecord): Tool {
    const entry = this.#entryOf(record);
    if (entry?.isMissing === false) return entry.tool;
    const tool = this.#sourced(record) ?? entry?.tool;
    if (tool !== undefined) return tool;
    const { parameters = { type: "object", properties: {} } } = record.json_schema;
    return unavailableTool(record.name, record.description ?? "", parameters, reasonFor(record));
  }

  /** Whether calling the tool can do what it says. */
  isAvailable(record: ToolRecord): boolean {
    const entry = this.#entryOf(record);
    return entry?.isMissing === false || this.#sourced(record) !== undefined;
  }

  /** Those of the tools that exist, in the order of `ids`: as they are in the store now, and mostly from memory. */
  async read(store: Store, project: string, ids: readonly string[]): Promise<ToolRecord[]> {
    return await this.#cache.read(store, project, ids);
  }

  /** To search in these tools. Agents with the same ones share an index, which is made when it is first needed or one of them has changed. */
  indexOf(records: readonly ToolRecord[]): ToolIndex {
    const versions = createHash("sha256");
    for (const { id, updated_at } of records) versions.update(`${id} ${updated_at}\n`);
    const key = versions.digest("base64");
    const index = this.#indexes.get(key) ?? new ToolIndex(records);
    this.#indexes.delete(key);
    this.#indexes.set(key, index);
    if (this.#indexes.size > indexesMax) this.#indexes.delete(this.#indexes.keys().next().value!);
    return index;
  }

  /** The id under which a tool of this process is in a project. */
  idOf(project: string, name: string): string {
    return baseToolId(project, name);
  }

  /**
   * Puts the tools of this process into a project and brings their descriptions up to date. May run at every start
   * and on several nodes at once. Gives their records.
   *
   * @throws {ToolNameTakenError} Someone made a tool with the name of one of them.
   */
  async seed(store: Store, environment: Environment, project: string): Promise<ToolRecord[]> {
    const wanted = [...this.#entries.values()];
    const ids = wanted.map(({ tool }) => baseToolId(project, tool.name));
    const stored = new Map((await readTools(store, project, ids)).map((record) => [record.id, record]));
    const changed = wanted.filter((entry, at) => !isCurrent(entry, stored.get(ids[at]!)));
    // One transaction for each, so that many long descriptions never make one batch too large.
    for (const [at, entry] of changed.entries())
      await transact(store, environment, (transaction) => seedOne(transaction, environment, project, entry, at - changed.length));
    return await readTools(store, project, ids);
  }

  #sourced(record: ToolRecord): Tool | undefined {
    return record.source_type === inProcess ? undefined : this.#sources.get(record.tool_type)?.(record);
  }

  #entryOf(record: ToolRecord): Entry | undefined {
    const entry = this.#entries.get(record.name);
    return isBuiltIn(record) || record.source_type === inProcess ? entry : undefined;
  }
}

/** `at` sets the times of tools apart that are seeded in one millisecond, so that lists have them in one order: before now. */
async function seedOne(transaction: Transaction, environment: Environment, project: string, entry: Entry, at: number): Promise<void> {
  const { tool, type } = entry;
  const existing = await findToolByName(transaction, project, tool.name);
  const id = baseToolId(project, tool.name);
  if (existing === undefined) {
    const record = newTool(environment, { json_schema: schemaOf(tool), source_type: "json" });
    await insertTool(transaction, project, {
      ...record,
      created_at: new Date(environment.clock.now() + at).toISOString(),
      id,
      tool_type: type,
      source_type: type === "custom" ? inProcess : "python",
      return_char_limit: tool.returnCharactersMax ?? record.return_char_limit,
    });
  } else if (existing.id !== id) {
    throw new ToolNameTakenError(
      `The project ${project} has a tool with the name ${tool.name} (${existing.id}), which is one of this process: delete or rename it`,
    );
  } else if (!isCurrent(entry, existing)) {
    const updated_at = new Date(environment.clock.now()).toISOString();
    await replaceTool(transaction, project, existing, {
      ...existing,
      tool_type: type,
      json_schema: schemaOf(tool),
      description: tool.description,
      updated_at,
    });
  }
}

function isCurrent(entry: Entry, record: ToolRecord | undefined): boolean {
  return (
    record !== undefined && record.tool_type === entry.type && JSON.stringify(record.json_schema) === JSON.stringify(schemaOf(entry.tool))
  );
}

function schemaOf(tool: Tool): { readonly [key: string]: Json } {
  return { name: tool.name, description: tool.description, parameters: tool.parameters };
}

function reasonFor(record: ToolRecord): string {
  if (record.source_type === inProcess) return "It belongs to a program that is not running here.";
  if (record.tool_type === "external_mcp") return "It belongs to no MCP server that is known here.";
  if (record.tool_type === "custom") return "It has no source code in Python or TypeScript that could run in a sandbox.";
  return "It is not part of this version.";
}
