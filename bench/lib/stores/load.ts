/** Worker: a store, or the bare engine under it, and clients in the same process that write one row after the other. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Pool } from "pg";
import { MemoryStore } from "../../../src/storage/memory-store.ts";
import { PostgresStore } from "../../../src/storage/postgres-store.ts";
import { SqliteStore } from "../../../src/storage/sqlite-store.ts";
import type { Store } from "../../../src/storage/store.ts";
import { answerQuestions } from "../worker.ts";

export type CandidateName = "Map" | "MemoryStore" | "node:sqlite" | "SqliteStore" | "pg" | "PostgresStore";

export interface CandidateOptions {
  readonly name: CandidateName;
  readonly directory: string;
  /** Of PostgreSQL. */
  readonly address: string;
  readonly connections: number;
}

export interface Load {
  readonly clients: number;
  readonly milliseconds: number;
}

const rows = 10_000;
const valueBytes = 200;
const value = randomBytes(valueBytes);
const keys = Array.from({ length: rows }, (_, index) =>
  Buffer.from(`project/actor/counter/${String((index * 7_919) % rows).padStart(8, "0")}`),
);

/** Writes a row, and resolves when it is on disk. */
type Write = (key: Buffer) => Promise<unknown>;

let write: Write | undefined;
const open = new AsyncDisposableStack();
let writes = 0;

answerQuestions(
  {
    start: async (options: CandidateOptions): Promise<void> => {
      write = await start(options);
      for (let index = 0; index < rows; index += 500) await Promise.all(keys.slice(index, index + 500).map(write));
    },
    load: async ({ clients, milliseconds }: Load): Promise<{ writes: number; seconds: number }> => {
      const begin = performance.now();
      const end = begin + milliseconds;
      const before = writes;
      const client = async (): Promise<void> => {
        while (performance.now() < end) await write!(keys[writes++ % rows]!);
      };
      await Promise.all(Array.from({ length: clients }, client));
      return { writes: writes - before, seconds: (performance.now() - begin) / 1_000 };
    },
  },
  () => open.disposeAsync(),
);

async function start({ name, directory, address, connections }: CandidateOptions): Promise<Write> {
  switch (name) {
    case "Map":
      return writerOfMap();
    case "MemoryStore":
      return writerOf(new MemoryStore());
    case "node:sqlite":
      return writerOfSqlite(join(directory, "bare.db"));
    case "SqliteStore":
      return writerOf(await SqliteStore.open(join(directory, "store.db")));
    case "pg":
      return await writerOfPostgres(address, connections);
    case "PostgresStore":
      return writerOf(await PostgresStore.open(address, { connections }));
  }
}

function writerOf(store: Store): Write {
  open.use(store);
  let batches = 0;
  return (key) => store.commit({ id: `${process.pid}.${batches++}`, checks: [], writes: [{ kind: "set", key, value }] });
}

function writerOfMap(): Write {
  const map = new Map<string, Buffer>();
  return async (key) => map.set(key.toString("latin1"), value);
}

/** One prepared upsert is one transaction, on disk before the next. */
function writerOfSqlite(path: string): Write {
  const database = new DatabaseSync(path);
  open.defer(() => database.close());
  database.exec(
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE kv (key BLOB NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL); CREATE UNIQUE INDEX kv_by_key ON kv (key)",
  );
  const upsert = database.prepare(
    "INSERT INTO kv VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version",
  );
  let version = 0;
  return async (key) => upsert.run(key, value, ++version);
}

async function writerOfPostgres(connectionString: string, max: number): Promise<Write> {
  const pool = new Pool({ connectionString, max });
  open.defer(() => pool.end());
  await pool.query("CREATE TABLE kv (key bytea PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL)");
  // Prepared once on each connection, by its name.
  const upsert = {
    name: "upsert",
    text: "INSERT INTO kv VALUES ($1, $2, 1) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = kv.version + 1 RETURNING version",
  };
  return (key) => pool.query({ ...upsert, values: [key, value] });
}
