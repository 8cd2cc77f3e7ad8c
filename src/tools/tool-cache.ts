/**
 * The tools that agents have, kept in memory between steps: to read and decode a thousand rows takes longer than a step.
 *
 * They are as fresh as the rows: each read asks the store for the number of changes of the project's tools, which grows in the
 * batch of each change, and what was read under another number is not used.
 */
import type { Store } from "../storage/store.ts";
import { readToolsAt, type ToolRecord } from "./tool-record.ts";

/** Of all records that are kept, as JSON. With more than that it begins anew. */
const charactersMax = 32 * 2 ** 20;

interface Known {
  readonly changes: bigint;
  /** `undefined`: no tool has this id. */
  readonly records: Map<string, ToolRecord | undefined>;
}

export class ToolCache {
  /** By project. */
  #known = new Map<string, Known>();
  #characters = 0;
  #store: Store | undefined;

  /** Those of the tools that exist, in the order of `ids`. */
  async read(store: Store, project: string, ids: readonly string[]): Promise<ToolRecord[]> {
    const { changes } = await readToolsAt(store, project, []);
    const known = store === this.#store ? this.#known.get(project) : undefined;
    const isKnown = known?.changes === changes && ids.every((id) => known.records.has(id));
    const records = isKnown ? ids.map((id) => known.records.get(id)) : await this.#fetch(store, project, ids);
    return records.filter((record) => record !== undefined);
  }

  async #fetch(store: Store, project: string, ids: readonly string[]): Promise<readonly (ToolRecord | undefined)[]> {
    const { changes, records } = await readToolsAt(store, project, ids);
    if (store !== this.#store || this.#characters > charactersMax) this.#clear(store);
    let known = this.#known.get(project);
    if (known?.changes !== changes) {
      this.#clear(store);
      known = { changes, records: new Map() };
      this.#known.set(project, known);
    }
    for (const [at, id] of ids.entries()) {
      if (known.records.has(id)) continue;
      known.records.set(id, records[at]);
      this.#characters += id.length + JSON.stringify(records[at] ?? null).length;
    }
    return records;
  }

  #clear(store: Store): void {
    this.#store = store;
    this.#known = new Map();
    this.#characters = 0;
  }
}
