/** Where everything is kept: the settings' words for it, and the store there. */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ActivationLostError } from "./actors/actor.ts";
import type { Environment } from "./environment/environment.ts";
import type { FoundationDbStore } from "./storage/foundationdb-store.ts";
import type { PostgresStore } from "./storage/postgres-store.ts";
import { SqliteStore } from "./storage/sqlite-store.ts";

export type StorePlace =
  | { readonly kind: "sqlite"; readonly path: string }
  /** Its address may hold a password. */
  | { readonly kind: "postgres"; readonly address: string }
  | { readonly kind: "foundationdb"; readonly clusterFile: string };

/** The folder that a data directory is, and the one where none is named. */
export function dataFolder(dataDirectory: string | undefined): string {
  return resolve(dataDirectory ?? ".kelpie");
}

/** The file of the store in a data directory. */
export function storeFile(dataDirectory: string): string {
  return resolve(join(dataDirectory, "kelpie.db"));
}

/** Where the settings say that everything is. */
export function placeOf(settings: { readonly dataDirectory?: string | undefined; readonly storeAddress?: string | undefined }): StorePlace {
  const { dataDirectory, storeAddress } = settings;
  if (storeAddress === undefined) return { kind: "sqlite", path: storeFile(dataFolder(dataDirectory)) };
  return storeAddress.startsWith("foundationdb:")
    ? { kind: "foundationdb", clusterFile: fileURLToPath(storeAddress.replace(/^foundationdb:/, "file:")) }
    : { kind: "postgres", address: storeAddress };
}

/**
 * @throws {StoreFileError} @throws {PostgresDatabaseError} @throws {FoundationDbFormatError} What is there cannot be used.
 * @throws {FoundationDbMissingError} What FoundationDB's client needs is not on this machine.
 * @throws {StoreUnavailableError} It cannot be reached.
 */
export async function openStore(
  place: StorePlace,
  options: { readonly environment: Environment; readonly onGenerationChange?: () => void },
): Promise<SqliteStore | PostgresStore | FoundationDbStore> {
  if (place.kind === "sqlite") return await SqliteStore.open(place.path);
  // Loaded only where they are used: they take a tenth of a start.
  if (place.kind === "foundationdb") {
    const [{ openFoundationDb }, { FoundationDbStore }] = await Promise.all([
      import("./storage/foundationdb-native.ts"),
      import("./storage/foundationdb-store.ts"),
    ]);
    return await FoundationDbStore.open(await openFoundationDb(place.clusterFile), options.environment);
  }
  const { PostgresStore } = await import("./storage/postgres-store.ts");
  const { onGenerationChange } = options;
  const store = await PostgresStore.open(place.address, onGenerationChange === undefined ? {} : { onGenerationChange });
  for (const warning of store.warnings) options.environment.log.write("warn", warning);
  return store;
}

/** What activations end with when the store's history may have gone back, as after a failover that lost something. */
export function historyLost(environment: Environment): ActivationLostError {
  environment.log.write("warn", "The store's history may have gone back: all activations start anew");
  return new ActivationLostError("The store's history may have gone back, so this activation cannot be believed");
}

/** A place as it may be shown to anybody. */
export function describePlace(place: StorePlace): string {
  if (place.kind === "sqlite") return place.path;
  if (place.kind === "foundationdb") return `FoundationDB, by its cluster file ${place.clusterFile}`;
  const { host, pathname, searchParams } = new URL(place.address);
  return `PostgreSQL database ${pathname.slice(1)} at ${searchParams.get("host") ?? (host || "localhost")}`;
}
