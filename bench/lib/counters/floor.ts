/**
 * Worker: the floor. Counters in a bare SQLite file behind a bare `node:http`: what a call costs without any actors.
 *
 * A call writes as many rows and bytes as a call of Kelpie's counter, into a table and with settings like those of its
 * store; all calls of one turn of the event loop share a transaction, and so one `fsync`. The numbers themselves are
 * in memory, so nothing is read. `turns: true` is a server that keeps the order of calls to one key in the plain way:
 * a call begins when the one before it, of the same key, is durable.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { answerQuestions } from "../worker.ts";
import { serveCounters } from "./front.ts";
import type { RowSize } from "./kelpie.ts";

export interface FloorOptions {
  readonly directory: string;
  readonly rows: readonly RowSize[];
  readonly turns: boolean;
}

let database: DatabaseSync | undefined;

answerQuestions(
  {
    start: async (options: FloorOptions): Promise<number> => {
      database = openDatabase(join(options.directory, "floor.db"));
      const add = counters(database, options.rows);
      return (await serveCounters(options.turns ? inTurns(add) : add)).port;
    },
  },
  async () => {
    await Promise.resolve();
    database?.close();
  },
);

function openDatabase(path: string): DatabaseSync {
  const opened = new DatabaseSync(path);
  opened.exec(
    `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 8192;
     CREATE TABLE kv (key BLOB NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL); CREATE UNIQUE INDEX kv_by_key ON kv (key)`,
  );
  return opened;
}

function counters(file: DatabaseSync, rows: readonly RowSize[]): (key: string, by: number) => Promise<number> {
  const [begin, commit] = [file.prepare("BEGIN IMMEDIATE"), file.prepare("COMMIT")];
  const set = file.prepare(
    "INSERT INTO kv VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version",
  );
  const counts = new Map<string, number>();
  let waiting: { readonly key: string; readonly count: number; readonly resolve: (count: number) => void }[] = [];
  let version = 0;
  const commitGroup = (): void => {
    const group = waiting;
    waiting = [];
    begin.run();
    for (const { key, count } of group) {
      version++;
      for (const [index, size] of rows.entries()) {
        // Each row's key begins with its number; values of a few bytes are the count itself.
        const rowKey = Buffer.from(`${index}${key}`.padEnd(size.key, "-"));
        set.run(rowKey, Buffer.from(String(count).padStart(size.value, "0")), version);
      }
    }
    commit.run();
    for (const { count, resolve } of group) resolve(count);
  };
  return (key, by) =>
    new Promise((resolve) => {
      const count = (counts.get(key) ?? 0) + by;
      counts.set(key, count);
      if (waiting.length === 0) setImmediate(commitGroup);
      waiting.push({ key, count, resolve });
    });
}

function inTurns(add: (key: string, by: number) => Promise<number>): (key: string, by: number) => Promise<number> {
  const last = new Map<string, Promise<number>>();
  return (key, by) => {
    const before = last.get(key);
    const turn = before === undefined ? add(key, by) : before.then(() => add(key, by));
    last.set(key, turn);
    void turn.then(() => {
      if (last.get(key) === turn) last.delete(key);
    });
    return turn;
  };
}
