/**
 * The file under a `SqliteStore`: making it, recognising it, bringing it forward, and saying what is wrong with it.
 *
 * F1. A file that is not Kelpie's, or is from a newer Kelpie, is refused before anything in it changes.
 * F2. Opening takes the same time however large the file is: damage deeper than the ends of the tree is found by
 *     the read that meets it, or by `checkStoreFile`, which reads everything.
 * F3. The file is opened through SQLite only. Closing any other descriptor of it would drop the POSIX locks of
 *     every connection in this process (https://sqlite.org/howtocorrupt.html, 2.2).
 */
import { closeSync, existsSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** A store file cannot be used as it is. The message says which file, what is wrong and what to do. */
export class StoreFileError extends Error {
  override readonly name = "StoreFileError";
}

/** "KELP", at offset 68 of every store file. */
const applicationId = 0x4b454c50;

/** Each brings a file one format forward; the format of a file is how many of them it has seen. */
const migrations: readonly string[] = [
  // With a rowid: at values of 1 KB that is four times faster than WITHOUT ROWID, whose inner pages hold the values.
  `CREATE TABLE kv (key BLOB NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL);
   CREATE UNIQUE INDEX kv_by_key ON kv (key);
   CREATE TABLE counter (version INTEGER NOT NULL);
   INSERT INTO counter VALUES (0)`,
];

/** Up to this size a file is checked whole when it is opened: a few tens of milliseconds. */
const wholeCheckBytesMax = 16 * 1024 * 1024;
/** A file that is shorter has no SQLite header. */
const sqliteHeaderBytes = 100;

/** SQLite itself waits this long for a lock. It blocks the thread, so longer waits are made of attempts. */
const lockMilliseconds = 2;

/** 32 MB: the part of the tree that is read most. */
const cacheKibibytes = 32 * 1024;

/**
 * A checkpoint copies a changed page once, however often it changed, so fewer are cheaper; but all of the log is
 * read by the first open after a crash. 32 MB takes a tenth of a second to read.
 */
const checkpointPages = 8 * 1024;

/** What an error of SQLite means for us, by its result code (https://sqlite.org/rescode.html). */
export type SqliteErrorKind =
  | "statement"
  | "busy"
  | "full"
  | "inputOutput"
  | "sync"
  | "damaged"
  | "foreign"
  | "readOnly"
  | "cannotOpen"
  | "other";

/** `undefined`: not an error of SQLite. */
export function sqliteErrorKind(error: unknown): SqliteErrorKind | undefined {
  if (!(error instanceof Error && "errcode" in error && typeof error.errcode === "number")) return undefined;
  // The low byte is the result code; the rest says more.
  const [syncFailed, directorySyncFailed] = [1034, 1290];
  if (error.errcode === syncFailed || error.errcode === directorySyncFailed) return "sync";
  const code = error.errcode & 0xff;
  const kinds: { readonly [code: number]: SqliteErrorKind } = {
    1: "statement",
    5: "busy",
    6: "busy",
    8: "readOnly",
    10: "inputOutput",
    11: "damaged",
    13: "full",
    14: "cannotOpen",
    26: "foreign",
  };
  return kinds[code] ?? "other";
}

/**
 * Opens the file, makes it if there is none (with its directory), and brings an older one forward.
 *
 * @throws {StoreFileError}
 * @throws An error of kind "busy" while another process holds a lock that opening needs: try again.
 */
export function openStoreFile(path: string): DatabaseSync {
  createStoreFile(path);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: lockMilliseconds });
    if (formatOf(path, database) < migrations.length) migrate(path, database);
    configure(path, database);
    checkShallowly(path, database);
    return database;
  } catch (error) {
    database?.close();
    throw asStoreFileError(path, error);
  }
}

/** Reads the whole file and returns what is wrong with it: nothing, for a sound one. Takes seconds per gigabyte. */
export function checkStoreFile(path: string): readonly string[] {
  if (!existsSync(path)) throw new StoreFileError(`There is no store file ${path}: check the path`);
  using database = openStoreFile(path);
  return problemsOf(database, "integrity_check(20)");
}

/** The same error, if it is to be tried again or already explains itself, or one that explains it. */
export function asStoreFileError(path: string, error: unknown): unknown {
  const detail = messageOf(error);
  const because = { cause: error };
  switch (sqliteErrorKind(error)) {
    case undefined:
    case "busy":
      return error;
    case "damaged":
    case "statement": // No statement of ours is wrong, so a table is missing.
      return damaged(path, detail, because);
    case "foreign":
      return foreign(path, because);
    case "readOnly":
    case "cannotOpen":
      return new StoreFileError(
        `Cannot open the store ${path} for writing (${detail}): Kelpie must own the file and its directory, and both must be writable`,
        because,
      );
    case "full":
      return new StoreFileError(`Cannot open the store ${path}: the disk is full. Free some space and start again`, because);
    default:
      return new StoreFileError(`Cannot open the store ${path}: ${detail}`, because);
  }
}

function foreign(path: string, options?: ErrorOptions): StoreFileError {
  return new StoreFileError(`${path} is not a store of Kelpie, nor any SQLite file: it was left as it is. Name another path`, options);
}

function damaged(path: string, detail: string, options?: ErrorOptions): StoreFileError {
  return new StoreFileError(
    `The store ${path} is damaged (${detail}). Stop Kelpie, keep a copy of the file with its -wal file, and restore a backup, or save what is readable with: sqlite3 FILE .recover`,
    options,
  );
}

/** Readable by its owner only, as agents' messages and providers' keys are in it; SQLite gives its log the same mode. */
function createStoreFile(path: string): void {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory()) throw new StoreFileError(`${path} is a directory: name a file in it as the store, such as ${path}/kelpie.db`);
    if (found !== undefined) {
      // SQLite takes a file of a few bytes for an empty one, and writes over it.
      if (found.isFile() && found.size > 0 && found.size < sqliteHeaderBytes) throw foreign(path);
      return;
    }
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    closeSync(openSync(path, "ax", 0o600));
  } catch (error) {
    if (error instanceof StoreFileError) throw error;
    if (error instanceof Error && "code" in error && error.code === "EEXIST" && existsSync(path)) return; // Another process was first.
    throw new StoreFileError(`Cannot create the store ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** @throws {StoreFileError} F1. */
function formatOf(path: string, database: DatabaseSync): number {
  const id = number(database, "SELECT application_id FROM pragma_application_id");
  const format = number(database, "SELECT user_version FROM pragma_user_version");
  if (id !== applicationId) {
    const isEmpty = id === 0 && number(database, "SELECT count(*) FROM sqlite_schema") === 0;
    if (isEmpty) return 0;
    throw new StoreFileError(`${path} is a SQLite file of another program: it was left as it is. Name another path for the store`);
  }
  if (format > migrations.length)
    throw new StoreFileError(
      `The store ${path} has format ${format}, made by a newer Kelpie; this one knows formats up to ${migrations.length}. Upgrade Kelpie, or name another path`,
    );
  return format;
}

function migrate(path: string, database: DatabaseSync): void {
  database.exec("BEGIN IMMEDIATE");
  // Looked at again under the lock: another process may have done it meanwhile.
  for (const migration of migrations.slice(formatOf(path, database))) database.exec(migration);
  database.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${migrations.length}; COMMIT`);
}

function configure(path: string, database: DatabaseSync): void {
  const mode = String(database.prepare("PRAGMA journal_mode = WAL").get()?.["journal_mode"]);
  if (mode !== "wal")
    throw new StoreFileError(`The file system of ${path} cannot hold a write-ahead log (mode ${mode}): put the store on a local disk`);
  database.exec(
    `PRAGMA synchronous = FULL; PRAGMA cache_size = -${cacheKibibytes}; PRAGMA wal_autocheckpoint = ${checkpointPages}; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON`,
  );
}

function checkShallowly(path: string, database: DatabaseSync): void {
  const bytes = number(database, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
  // Without its log the file alone holds all pages; SQLite reads what is missing of the last one as zeros.
  if ((statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0 && statSync(path).size < bytes)
    throw damaged(path, `it has ${statSync(path).size} bytes, and should have ${bytes}`);
  if (bytes <= wholeCheckBytesMax) {
    const [problem] = problemsOf(database, "quick_check(1)");
    if (problem !== undefined) throw damaged(path, problem);
  }
  if (number(database, "SELECT count(*) FROM counter") !== 1) throw damaged(path, "its counter of versions is missing");
  for (const order of ["rowid", "rowid DESC", "key", "key DESC"])
    database.prepare(`SELECT key, value FROM kv ORDER BY ${order} LIMIT 1`).get();
}

function problemsOf(database: DatabaseSync, pragma: string): string[] {
  const rows = database.prepare(`PRAGMA ${pragma}`).all();
  const problems = rows.map((row) => String(Object.values(row)[0]).replace("*** in database main ***", "").replaceAll(/\s+/g, " ").trim());
  return problems.filter((problem) => problem !== "ok");
}

function number(database: DatabaseSync, query: string): number {
  return Number(Object.values(database.prepare(query).get() ?? {})[0]);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
