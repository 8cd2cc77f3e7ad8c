/**
 * Providers that people add through the API, as rows, and the catalogue of models of this node, which follows the rows.
 *
 * V1. Every change of a row adds to one counter in the same batch. A node that has seen the counter's version has seen
 *     all changes before it.
 * V2. The catalogue is changed by `sync` alone, from rows: after a change here, when a change elsewhere is noticed, and
 *     before a model of an unknown provider is said not to exist.
 * V3. Keys are sealed in the rows.
 */
import { encodeTuple, type Tuple } from "../base/tuple.ts";
import type { Environment } from "../environment/environment.ts";
import type { ModelCatalogue } from "../models/model-catalogue.ts";
import type { Provider } from "../models/provider.ts";
import { ProviderConfigurationError, providerFromInput } from "../models/providers.ts";
import { Collection } from "../storage/collection.ts";
import { SealError } from "../storage/sealing-key.ts";
import type { Store, Version } from "../storage/store.ts";
import { type FindSealingKey, openSecret, sealSecret, type StoredSecret } from "../storage/stored-secret.ts";
import { transact, type Transaction } from "../storage/transaction.ts";

/** Letta's Provider. */
export interface ProviderRecord {
  readonly id: string;
  readonly name: string;
  readonly provider_type: string;
  readonly api_key: StoredSecret | null;
  readonly access_key: StoredSecret | null;
  readonly base_url: string | null;
  readonly region: string | null;
  readonly api_version: string | null;
  readonly created_at: string;
  readonly updated_at: string;
  readonly last_synced: string | null;
}

export interface ProviderFields extends Pick<ProviderRecord, "name" | "provider_type" | "base_url" | "region" | "api_version"> {
  readonly api_key: string | null;
  readonly access_key: string | null;
}

export const providers: Collection<ProviderRecord> = new Collection<ProviderRecord>("provider", {
  created: (provider) => [[provider.created_at]],
});

/** Another provider has this name. */
export class ProviderNameTakenError extends Error {
  override readonly name = "ProviderNameTakenError";
}

export interface ProviderServices {
  readonly store: Store;
  readonly environment: Environment;
  readonly models: ModelCatalogue;
  readonly sealingKey: FindSealingKey;
}

const providersMax = 1_000;
/** How often the counter is looked at where the store's hint has failed to come. */
const lookMilliseconds = 10_000;

export class StoredProviders {
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #models: ModelCatalogue;
  readonly #sealingKey: FindSealingKey;
  readonly #project: string;
  /** The rows that the catalogue is made of, by name: their texts, and whether they could be used. */
  readonly #known = new Map<string, { readonly text: string; readonly isAdded: boolean }>();
  /** Of the counter (V1). */
  #seen: Version | null | undefined;
  #syncing: Promise<void> | undefined;

  constructor({ store, environment, models, sealingKey }: ProviderServices, project: string) {
    this.#store = store;
    this.#environment = environment;
    this.#models = models;
    this.#sealingKey = sealingKey;
    this.#project = project;
    models.lookForProviders = async () => await this.sync();
  }

  /** @throws {ProviderConfigurationError} @throws {ProviderNameTakenError} @throws {SealError} */
  async create(fields: ProviderFields): Promise<ProviderRecord> {
    providerFromInput(fields);
    const now = this.#now();
    const id = `provider-${this.#environment.random.uuid()}`;
    const record = this.#sealed({ ...fields, id, created_at: now, updated_at: now, last_synced: null });
    if (this.#models.isTaken(fields.name)) throw nameTaken(fields.name);
    await this.#change(async (transaction) => {
      const nameKey = this.#nameKey(fields.name);
      if ((await transaction.get<string>(nameKey)) !== undefined) throw nameTaken(fields.name);
      transaction.set(nameKey, id);
      providers.insert(transaction, this.#project, record);
      return record;
    });
    return record;
  }

  /** `undefined`: there is none. @throws {ProviderConfigurationError} @throws {SealError} */
  async update(id: string, changes: Partial<ProviderFields>): Promise<ProviderRecord | undefined> {
    return await this.#replace(id, (before) => {
      // A provider's name is part of handles that agents have, so it stays.
      const after: ProviderRecord = { ...before, ...changes, name: before.name, updated_at: this.#now() };
      this.provider(after);
      return after;
    });
  }

  /** Whether there was one. */
  async delete(id: string): Promise<boolean> {
    const deleted = await this.#change(async (transaction) => {
      const record = await providers.get(transaction, this.#project, id);
      if (record === undefined) return undefined;
      providers.delete(transaction, this.#project, record);
      transaction.delete(this.#nameKey(record.name));
      return record;
    });
    return deleted !== undefined;
  }

  /** What models are asked with. @throws {ProviderConfigurationError} @throws {SealError} */
  provider(record: ProviderRecord): Provider {
    const { api_key } = record;
    const key = api_key && openSecret(this.#sealingKey, api_key, this.#secretName(record.id, "api_key"));
    if (key !== null) this.#environment.log.hide([key]);
    return providerFromInput({ ...record, api_key: key });
  }

  /** Asks the provider for its models anew, at every node. @throws {ModelError} It does not answer. @throws {SealError} */
  async refresh(record: ProviderRecord): Promise<ProviderRecord> {
    await this.#models.checkProvider(this.provider(record));
    return (await this.#replace(record.id, (before) => ({ ...before, last_synced: this.#now() }))) ?? record;
  }

  /** Brings the catalogue to what is stored now. */
  async sync(): Promise<void> {
    // One that is under way may have read before the change that this one is for.
    await this.#syncing?.catch(() => undefined);
    this.#syncing ??= this.#sync().finally(() => {
      this.#syncing = undefined;
    });
    await this.#syncing;
  }

  /** Notices what is changed at other nodes, until `signal` aborts. */
  async follow(signal: AbortSignal): Promise<void> {
    void this.#watch(signal);
    for (;;) {
      await this.#environment.clock.sleep(lookMilliseconds, signal);
      if (signal.aborted) return;
      await this.#syncIfPossible();
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    try {
      for await (const _ of this.#store.watch([encodeTuple(this.#changesKey)], signal)) await this.#syncIfPossible();
    } catch (error) {
      this.#environment.log.write("warn", "The store watches no more; changes of providers are seen later", { error });
    }
  }

  async #syncIfPossible(): Promise<void> {
    try {
      await this.sync();
    } catch (error) {
      this.#environment.log.write("warn", "The stored providers could not be read", { error });
    }
  }

  async #sync(): Promise<void> {
    const [answer] = await this.#store.read([{ key: encodeTuple(this.#changesKey) }]);
    const version = answer![0]?.version ?? null;
    if (version === this.#seen) return;
    const records = (await providers.page(this.#store, this.#project, "created", [], { limit: providersMax })) ?? [];
    const names = new Set(records.map(({ name }) => name));
    for (const name of [...this.#known.keys()].filter((each) => !names.has(each))) this.#forget(name);
    for (const record of records) {
      const text = JSON.stringify(record);
      if (this.#known.get(record.name)?.text === text) continue;
      this.#forget(record.name);
      this.#known.set(record.name, { text, isAdded: this.#add(record) });
    }
    this.#seen = version;
  }

  #forget(name: string): void {
    if (this.#known.get(name)?.isAdded === true) this.#models.removeProvider(name);
    this.#known.delete(name);
  }

  /** False: it cannot be used here, for its name or its fields. */
  #add(record: ProviderRecord): boolean {
    try {
      this.#models.addProvider(this.provider(record));
      return true;
    } catch (error) {
      if (!(error instanceof ProviderConfigurationError || error instanceof SealError)) throw error;
      this.#environment.log.write("warn", "A stored provider cannot be used", { provider: record.name, reason: error.message });
      return false;
    }
  }

  async #replace(id: string, change: (before: ProviderRecord) => ProviderRecord): Promise<ProviderRecord | undefined> {
    return await this.#change(async (transaction) => {
      const before = await providers.get(transaction, this.#project, id);
      if (before === undefined) return undefined;
      const after = this.#sealed(change(before));
      providers.replace(transaction, this.#project, before, after);
      return after;
    });
  }

  /** A transaction that changes nothing gives `undefined`. */
  async #change(work: (transaction: Transaction) => Promise<ProviderRecord | undefined>): Promise<ProviderRecord | undefined> {
    const changed = await transact(this.#store, this.#environment, async (transaction) => {
      const record = await work(transaction);
      if (record !== undefined) transaction.add(this.#changesKey, 1);
      return record;
    });
    if (changed !== undefined) await this.#syncIfPossible();
    return changed;
  }

  /** What is sealed already stays so. */
  #sealed(record: ProviderRecord): ProviderRecord {
    const seal = (field: string, value: StoredSecret | null): StoredSecret | null =>
      typeof value === "string" ? sealSecret(this.#sealingKey, value, this.#secretName(record.id, field)) : value;
    return { ...record, api_key: seal("api_key", record.api_key), access_key: seal("access_key", record.access_key) };
  }

  #secretName(id: string, field: string): string {
    return `${this.#project}/provider/${id}/${field}`;
  }

  get #changesKey(): Tuple {
    return [this.#project, "provider.changes"];
  }

  #nameKey(name: string): Tuple {
    return [this.#project, "provider.name", name];
  }

  #now(): string {
    return new Date(this.#environment.clock.now()).toISOString();
  }
}

function nameTaken(name: string): ProviderNameTakenError {
  return new ProviderNameTakenError(`There is a provider named ${name} already`);
}
