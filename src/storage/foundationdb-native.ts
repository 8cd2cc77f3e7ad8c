/**
 * FoundationDB's client from the npm package `foundationdb`, which is no dependency: its native code needs FoundationDB's
 * own client library, and where that is missing it cannot even be installed. So it is loaded when a cluster file is
 * configured, and whoever configures one is told what to install.
 */
import { accessSync, constants } from "node:fs";
import {
  errorCodes,
  type FoundationDbClient,
  type FoundationDbEntry,
  FoundationDbError,
  type FoundationDbTransaction,
  type FoundationDbWatch,
} from "./foundationdb-client.ts";

/** What the store needs of the package: a slice of its `index.d.ts`, version 2.0.1. */
export interface FoundationDbPackage {
  setAPIVersion(version: number): void;
  open(clusterFile: string): PackageDatabase;
  readonly StreamingMode: { readonly WantAll: number };
}

export interface PackageDatabase {
  rawCreateTransaction(options: { readonly timeout: number }): PackageTransaction;
  close(): void;
}

export interface PackageTransaction {
  getReadVersion(): Promise<Buffer>;
  get(key: Buffer): Promise<Buffer | undefined>;
  getRangeBatch(
    begin: Buffer,
    end: Buffer,
    options: { readonly limit: number; readonly reverse: boolean; readonly streamingMode: number },
  ): AsyncIterable<[Buffer, Buffer][]>;
  set(key: Buffer, value: Buffer): void;
  clear(key: Buffer): void;
  clearRange(begin: Buffer, end: Buffer): void;
  addReadConflictKey(key: Buffer): void;
  rawCommit(): Promise<void>;
  rawOnError(code: number): Promise<void>;
  watch(key: Buffer): { readonly promise: Promise<boolean>; cancel(): void };
}

/** The highest that the package knows. Clusters and client libraries from 7.2 on speak it. */
const apiVersion = 720;
const packageName = "foundationdb";
const packageVersion = "2.0.1";

/** Something that FoundationDB's client needs is not on this machine. The message says what, and how to get it. */
export class FoundationDbMissingError extends Error {
  override readonly name = "FoundationDbMissingError";
}

/**
 * A client of the cluster that `clusterFile` names. Says nothing about whether the cluster answers.
 *
 * @throws {FoundationDbMissingError}
 */
export async function openFoundationDb(
  clusterFile: string,
  load: () => Promise<unknown> = () => import(packageName),
): Promise<FoundationDbClient> {
  try {
    accessSync(clusterFile, constants.R_OK);
  } catch (error) {
    throw new FoundationDbMissingError(
      `The cluster file ${JSON.stringify(clusterFile)} cannot be read: copy /etc/foundationdb/fdb.cluster of a machine of the cluster`,
      { cause: error },
    );
  }
  const loaded = await loadPackage(load);
  loaded.setAPIVersion(apiVersion);
  return clientOf(loaded, clusterFile);
}

export interface FoundationDbDiagnosis {
  readonly state: "ok" | "problem";
  readonly detail: string;
}

/** For `kelpie doctor`: whether the client can be loaded here, and whether the cluster answers within two seconds. */
export async function diagnoseFoundationDb(clusterFile: string, load?: () => Promise<unknown>): Promise<FoundationDbDiagnosis> {
  let client: FoundationDbClient;
  try {
    client = await openFoundationDb(clusterFile, load);
  } catch (error) {
    return { state: "problem", detail: error instanceof Error ? error.message : String(error) };
  }
  try {
    const version = await client.begin({ timeoutMilliseconds: 2_000 }).readVersion();
    return { state: "ok", detail: `the cluster of ${clusterFile} answers, at version ${version}` };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { state: "problem", detail: `the client is installed, and the cluster of ${clusterFile} does not answer: ${reason}` };
  } finally {
    client.close();
  }
}

async function loadPackage(load: () => Promise<unknown>): Promise<FoundationDbPackage> {
  try {
    const loaded = (await load()) as FoundationDbPackage & { readonly default?: FoundationDbPackage };
    return loaded.default ?? loaded;
  } catch (error) {
    throw new FoundationDbMissingError(whatIsMissing(error, process.platform, process.arch), { cause: error });
  }
}

/** What to install, by why the package could not be loaded. */
export function whatIsMissing(error: unknown, platform: string, arch: string): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const message = error instanceof Error ? error.message : String(error);
  const install = `npm install ${packageName}@${packageVersion}`;
  const library = libraryFor(platform, arch);
  if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND")
    return `FoundationDB needs its client library and the npm package ${packageName}. First ${library}; then, in Kelpie's folder, ${install}`;
  if (/libfdb_c/.test(message))
    return `The npm package ${packageName} is here, and FoundationDB's client library is not (${message}): ${library}`;
  if (/No native build was found/.test(message))
    return `The npm package ${packageName} has no native code for ${platform}-${arch}: ${library}; then ${install} compiles it`;
  return `The npm package ${packageName} cannot be loaded: ${message}. ${library}; then ${install}`;
}

/** The client library alone, without a server: of the version of the cluster, 7.2 or newer. */
function libraryFor(platform: string, arch: string): string {
  const releases = "https://github.com/apple/foundationdb/releases";
  if (platform === "linux" && arch === "x64")
    return `install foundationdb-clients_<version>-1_amd64.deb (Debian, Ubuntu) or foundationdb-clients-<version>-1.el9.x86_64.rpm (Red Hat) from ${releases}`;
  if (platform === "linux" && arch === "arm64")
    return `install foundationdb-clients_<version>-1_aarch64.deb or its .aarch64.rpm from ${releases}, and python3, make and g++, as the package is compiled there`;
  if (platform === "darwin")
    return `install FoundationDB-<version>_${arch === "arm64" ? "arm64" : "x86_64"}.pkg from ${releases}, and set DYLD_LIBRARY_PATH=/usr/local/lib`;
  return `use Linux (x64 or arm64) or macOS: there is no client for ${platform}-${arch} that Kelpie can load`;
}

function clientOf(loaded: FoundationDbPackage, clusterFile: string): FoundationDbClient {
  const database = loaded.open(clusterFile);
  return {
    begin: ({ timeoutMilliseconds }) =>
      new NativeTransaction(database.rawCreateTransaction({ timeout: timeoutMilliseconds }), loaded.StreamingMode.WantAll),
    close: () => database.close(),
  };
}

class NativeTransaction implements FoundationDbTransaction {
  readonly #transaction: PackageTransaction;
  readonly #wantAll: number;

  constructor(transaction: PackageTransaction, wantAll: number) {
    this.#transaction = transaction;
    this.#wantAll = wantAll;
  }

  async readVersion(): Promise<number> {
    return Number((await translated(this.#transaction.getReadVersion())).readBigInt64BE());
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return translated(this.#transaction.get(asBuffer(key)));
  }

  async *getRange(
    begin: Uint8Array,
    end: Uint8Array,
    options: { readonly limit: number; readonly reverse: boolean },
  ): AsyncGenerator<readonly FoundationDbEntry[]> {
    try {
      yield* this.#transaction.getRangeBatch(asBuffer(begin), asBuffer(end), { ...options, streamingMode: this.#wantAll });
    } catch (error) {
      throw translate(error);
    }
  }

  set(key: Uint8Array, value: Uint8Array): void {
    this.#transaction.set(asBuffer(key), asBuffer(value));
  }

  clear(key: Uint8Array): void {
    this.#transaction.clear(asBuffer(key));
  }

  clearRange(begin: Uint8Array, end: Uint8Array): void {
    this.#transaction.clearRange(asBuffer(begin), asBuffer(end));
  }

  addReadConflictKey(key: Uint8Array): void {
    try {
      this.#transaction.addReadConflictKey(asBuffer(key));
    } catch (error) {
      throw translate(error);
    }
  }

  commit(): Promise<void> {
    return translated(this.#transaction.rawCommit());
  }

  onError(error: FoundationDbError): Promise<void> {
    return translated(this.#transaction.rawOnError(error.code));
  }

  watch(key: Uint8Array): FoundationDbWatch {
    const watch = this.#transaction.watch(asBuffer(key));
    const changed = async (): Promise<void> => {
      // The package answers false where the transaction did not commit or was made empty.
      if (!(await translated(watch.promise))) throw new FoundationDbError(errorCodes.transactionCancelled);
    };
    return { changed: changed(), cancel: () => watch.cancel() };
  }
}

async function translated<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw translate(error);
  }
}

/** The package's own class of errors is known by its number, as there may be several copies of the package. */
function translate(error: unknown): unknown {
  const isTheirs = error instanceof Error && "code" in error && typeof error.code === "number";
  return isTheirs ? new FoundationDbError(error.code as number, error.message, { cause: error }) : error;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
