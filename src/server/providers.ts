/** Providers that people add through the API, as rows. The catalogue of models on this node follows them. */
import type { Environment } from "../environment/environment.ts";
import type { ModelCatalogue } from "../models/model-catalogue.ts";
import type { Provider } from "../models/provider.ts";
import { ProviderConfigurationError, providerFromInput } from "../models/providers.ts";
import { Collection } from "../storage/collection.ts";
import type { Store } from "../storage/store.ts";
import { transact, type Transaction } from "../storage/transaction.ts";

/** Letta's Provider, with its secrets: never sent as it is. */
export interface ProviderRecord {
  readonly id: string;
  readonly name: string;
  readonly provider_type: string;
  readonly api_key: string | null;
  readonly access_key: string | null;
  readonly base_url: string | null;
  readonly region: string | null;
  readonly api_version: string | null;
  readonly created_at: string;
  readonly updated_at: string;
  readonly last_synced: string | null;
}

export type ProviderFields = Pick<
  ProviderRecord,
  "name" | "provider_type" | "api_key" | "access_key" | "base_url" | "region" | "api_version"
>;

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
}

const providersMax = 1_000;

/** Adds the stored providers to the catalogue; once, at the start of a node. One that cannot be used any more is logged and left out. */
export async function loadProviders({ store, environment, models }: ProviderServices, project: string): Promise<void> {
  for (const record of (await providers.page(store, project, "created", [], { limit: providersMax })) ?? []) {
    try {
      models.addProvider(providerFromInput(record));
    } catch (error) {
      if (!(error instanceof ProviderConfigurationError)) throw error;
      environment.log.write("warn", "A stored provider cannot be used", { provider: record.name, reason: error.message });
    }
  }
}

/** @throws {ProviderConfigurationError} @throws {ProviderNameTakenError} */
export async function createProvider(services: ProviderServices, project: string, fields: ProviderFields): Promise<ProviderRecord> {
  const { environment, models, store } = services;
  const provider = providerFromInput(fields);
  const now = new Date(environment.clock.now()).toISOString();
  const record: ProviderRecord = {
    ...fields,
    id: `provider-${environment.random.uuid()}`,
    created_at: now,
    updated_at: now,
    last_synced: null,
  };
  if (models.providers().some(({ name }) => name === fields.name))
    throw new ProviderNameTakenError(`There is a provider named ${fields.name} already`);
  await transact(store, environment, async (transaction) => {
    await takeName(transaction, project, fields.name, record.id);
    providers.insert(transaction, project, record);
  });
  models.addProvider(provider);
  return record;
}

/** @throws {ProviderConfigurationError} */
export async function updateProvider(
  services: ProviderServices,
  project: string,
  id: string,
  changes: Partial<ProviderFields>,
): Promise<ProviderRecord | undefined> {
  const { environment, models, store } = services;
  const changed = await transact(store, environment, async (transaction) => {
    const before = await providers.get(transaction, project, id);
    if (before === undefined) return undefined;
    // A provider's name is part of handles that agents have, so it stays.
    const after: ProviderRecord = { ...before, ...changes, name: before.name, updated_at: new Date(environment.clock.now()).toISOString() };
    providerFromInput(after);
    providers.replace(transaction, project, before, after);
    return after;
  });
  if (changed !== undefined) replaceIn(models, providerFromInput(changed));
  return changed;
}

/** Whether there was one. */
export async function deleteProvider(services: ProviderServices, project: string, id: string): Promise<boolean> {
  const { environment, models, store } = services;
  const deleted = await transact(store, environment, async (transaction) => {
    const record = await providers.get(transaction, project, id);
    if (record === undefined) return undefined;
    providers.delete(transaction, project, record);
    transaction.delete(nameKey(project, record.name));
    return record;
  });
  if (deleted !== undefined) models.removeProvider(deleted.name);
  return deleted !== undefined;
}

/** Asks the provider for its models anew. */
export async function refreshProvider(services: ProviderServices, project: string, record: ProviderRecord): Promise<ProviderRecord> {
  const { environment, models, store } = services;
  await models.checkProvider(providerFromInput(record));
  replaceIn(models, providerFromInput(record));
  return await transact(store, environment, async (transaction) => {
    const before = await providers.get(transaction, project, record.id);
    if (before === undefined) return record;
    const after: ProviderRecord = { ...before, last_synced: new Date(environment.clock.now()).toISOString() };
    providers.replace(transaction, project, before, after);
    return after;
  });
}

function replaceIn(models: ModelCatalogue, provider: Provider): void {
  models.removeProvider(provider.name);
  models.addProvider(provider);
}

async function takeName(transaction: Transaction, project: string, name: string, id: string): Promise<void> {
  if ((await transaction.get<string>(nameKey(project, name))) !== undefined)
    throw new ProviderNameTakenError(`There is a provider named ${name} already`);
  transaction.set(nameKey(project, name), id);
}

function nameKey(project: string, name: string): [string, string, string] {
  return [project, "provider.name", name];
}
