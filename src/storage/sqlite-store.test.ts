import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, describe, test } from "node:test";
import { checkStoreFile, StoreFileError } from "./sqlite-file.ts";
import { runCrashTest, runSharedFileTest } from "./sqlite-store.crash.ts";
import { SqliteStore } from "./sqlite-store.ts";
import { describeStoreContract } from "./store.contract.ts";
import { type Batch, type Store, StoreUnavailableError } from "./store.ts";

const directory = mkdtempSync(join(tmpdir(), "kelpie-sqlite-"));
after(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
function newPath(): string {
  return join(directory, `${++files}`, "store.db");
}

const paths = new Map<Store, string>();
async function open(path: string): Promise<Store> {
  const store = await SqliteStore.open(path);
  paths.set(store, path);
  return store;
}

describeStoreContract("SqliteStore", {
  open: () => open(newPath()),
  async reopen(store) {
    await store[Symbol.asyncDispose]();
    return await open(paths.get(store)!);
  },
});

let batches = 0;
function batchOf(key: string, value: string, checks: Batch["checks"] = []): Batch {
  return { id: `batch ${++batches}`, checks, writes: [{ kind: "set", key: Buffer.from(key), value: Buffer.from(value) }] };
}

async function textAt(store: Store, key: string): Promise<string | undefined> {
  const [answer] = await store.read([{ key: Buffer.from(key) }]);
  return answer![0] && Buffer.from(answer![0].value).toString();
}

describe("A store file", () => {
  test("is made with its directories, readable by its owner only", async () => {
    const path = join(directory, "deep", "er", "store.db");
    await using store = await SqliteStore.open(path);
    await store.commit(batchOf("a", "1"));
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(`${path}-wal`).mode & 0o777, 0o600);
    assert.equal(statSync(join(directory, "deep")).mode & 0o777, 0o700);
  });

  test("holds everything by itself once it is closed", async () => {
    const path = newPath();
    const store = await SqliteStore.open(path);
    // Not awaited: closing writes what waits.
    const outcome = store.commit(batchOf("a", "1"));
    await store[Symbol.asyncDispose]();
    assert.equal((await outcome).ok, true);
    assert.equal(existsSync(`${path}-wal`), false);
    await using again = await SqliteStore.open(path);
    assert.equal(await textAt(again, "a"), "1");
  });

  test("may be an empty file at first", async () => {
    const path = join(directory, "empty.db");
    writeFileSync(path, "");
    await using store = await SqliteStore.open(path);
    assert.equal((await store.commit(batchOf("a", "1"))).ok, true);
  });

  const refusals: readonly (readonly [string, (path: string) => void, RegExp])[] = [
    [
      "that is no SQLite file",
      (path) => writeFileSync(path, "A diary, not a store. ".repeat(1_000)),
      /is not a store of Kelpie.*Name another path/,
    ],
    ["of another program", (path) => withDatabase(path, "CREATE TABLE diary (text)"), /SQLite file of another program.*Name another path/],
    ["of another program that says so", (path) => withDatabase(path, "PRAGMA application_id = 7"), /SQLite file of another program/],
    ["of a newer Kelpie", (path) => withStore(path, "PRAGMA user_version = 900"), /has format 900, made by a newer Kelpie.*Upgrade/],
    ["with damaged pages", (path) => overwrite(path, 4_096 * 3, 4_096 * 40), /is damaged \(.*restore a backup/],
    ["with a damaged first page", (path) => overwrite(path, 100, 2_000), /is damaged \(/],
    ["that was cut off", (path) => truncateSync(path, 4_096 * 20), /is damaged \(/],
    ["without its table", (path) => withStore(path, "DROP TABLE kv"), /is damaged \(no such table/],
    ["without its counter", (path) => withStore(path, "DELETE FROM counter"), /is damaged \(its counter/],
  ];
  for (const [title, spoil, message] of refusals)
    test(`${title} is refused with its path, and left as it is`, async () => {
      const path = newPath();
      await fill(path);
      spoil(path);
      const bytes = readFileSync(path);
      await assert.rejects(SqliteStore.open(path), (error) => {
        assert.ok(error instanceof StoreFileError, String(error));
        assert.match(error.message, message);
        assert.ok(error.message.includes(path));
        return true;
      });
      assert.ok(readFileSync(path).equals(bytes));
    });

  test("that is a directory is refused", async () => {
    await assert.rejects(
      SqliteStore.open(directory),
      (error) => error instanceof StoreFileError && /is a directory: name a file in it/.test(error.message),
    );
  });

  test("under a file instead of a directory is refused", async () => {
    const file = join(directory, "file");
    writeFileSync(file, "");
    await assert.rejects(
      SqliteStore.open(join(file, "store.db")),
      (error) => error instanceof StoreFileError && /Cannot create the store/.test(error.message),
    );
  });

  test("damaged deep inside a large file is found by the read that meets it, by the check, and opens at once", async () => {
    const path = newPath();
    const value = Buffer.alloc(3_000, 1);
    {
      await using store = await SqliteStore.open(path);
      for (let group = 0; group < 8; group++)
        await store.commit({
          id: `fill ${group}`,
          checks: [],
          writes: Array.from({ length: 1_000 }, (_, index) => ({
            kind: "set",
            key: Buffer.from(`${group}.${String(index).padStart(4, "0")}`),
            value,
          })),
        });
    }
    assert.ok(statSync(path).size > 17_000_000);
    assert.deepEqual(checkStoreFile(path), []);
    overwrite(path, 10_000_000, 10_200_000);
    assert.ok(checkStoreFile(path).length > 0);
    await using store = await SqliteStore.open(path);
    const reads = async (): Promise<void> => {
      for (let group = 0; group < 8; group++)
        await store.read([{ begin: Buffer.from(`${group}`), end: Buffer.from(`${group + 1}`), limit: 1_000 }]);
    };
    await assert.rejects(reads(), (error) => {
      assert.ok(error instanceof StoreUnavailableError && error.cause instanceof StoreFileError);
      assert.match(error.message, /is damaged.*restore a backup/);
      return true;
    });
  });

  test("a check of a file that is not there says so", () => {
    assert.throws(
      () => checkStoreFile(join(directory, "nothing.db")),
      (error) => error instanceof StoreFileError && /There is no store file/.test(error.message),
    );
    assert.equal(existsSync(join(directory, "nothing.db")), false);
  });

  test("in a directory that cannot be written is refused", (context) => {
    const locked = join(directory, "locked");
    mkdirSync(locked);
    chmodSync(directory, 0o755);
    chmodSync(locked, 0o555);
    const script = `import("${import.meta.resolve("./sqlite-store.ts")}").then(({ SqliteStore }) => SqliteStore.open("${locked}/store.db")).then(() => console.log("opened"), (error) => console.log(error.name, error.message))`;
    // Root may write everywhere, so a root asks as "nobody".
    const identity = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
    const child = spawnSync(process.execPath, ["-e", script], { encoding: "utf8", ...identity });
    if (child.error !== undefined || child.stdout === "")
      return context.skip(`could not run as another user: ${child.error?.message ?? child.stderr.slice(0, 200)}`);
    assert.match(child.stdout, /^StoreFileError Cannot create the store .*permission denied/i);
  });
});

describe("A SQLite store on a disk that fails", () => {
  interface Line {
    readonly what: string;
    readonly rows: number;
    readonly ok: boolean;
    readonly name?: string;
    readonly message?: string;
  }
  const child = join(import.meta.dirname, "sqlite-disk.crash.ts");
  const linesOf = (stdout: string): Line[] =>
    stdout
      .trim()
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line);
  const named = (lines: readonly Line[], what: string): Line => lines.find((line) => line.what === what)!;

  test("that is full: nothing is written, the error says so, and it goes on when there is space", (context) => {
    const place = join(directory, "small disk");
    mkdirSync(place);
    const command = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"';
    const run = spawnSync(
      "unshare",
      ["--user", "--map-root-user", "--mount", "sh", "-c", command, place, process.execPath, child, join(place, "store.db"), "full"],
      { encoding: "utf8" },
    );
    if (run.error !== undefined || run.stdout === "")
      return context.skip(`a small file system needs unshare and tmpfs: ${run.error?.message ?? run.stderr.slice(0, 200)}`);
    const lines = linesOf(run.stdout);
    const failed = lines.find((line) => line.what === "write" && !line.ok)!;
    assert.ok(failed.rows > 0);
    assert.equal(failed.name, "StoreUnavailableError");
    assert.match(failed.message!, /the disk is full/);
    assert.equal(named(lines, "write again").name, "StoreUnavailableError");
    assert.equal(named(lines, "read").ok, true);
    assert.deepEqual(named(lines, "write with space"), { what: "write with space", rows: failed.rows + 1, ok: true });
    assert.equal(run.status, 0);
  });

  test("in a commit: the outcome is unknown, the store refuses to go on, and a new one finds every acknowledged batch", async (context) => {
    const path = newPath();
    await fill(path);
    // A file may not grow past the limit, which SQLite sees as an I/O error.
    const run = spawnSync("sh", ["-c", 'ulimit -f 1000 && exec "$@"', "sh", process.execPath, child, path, "limit"], { encoding: "utf8" });
    if (run.error !== undefined) return context.skip(`needs sh: ${run.error.message}`);
    const lines = linesOf(run.stdout);
    const failed = lines.find((line) => line.what === "write" && !line.ok)!;
    assert.ok(failed.rows > 0);
    assert.equal(failed.name, "CommitUnknownError");
    for (const what of ["write again", "read"]) {
      assert.equal(named(lines, what).name, "StoreUnavailableError");
      assert.match(named(lines, what).message!, /The disk failed.*open it again/);
    }
    await using store = await SqliteStore.open(path);
    const [answer] = await store.read([{ begin: Buffer.from("000000"), end: Buffer.from("999999~"), limit: 1_000 }]);
    const found = answer!.filter((entry) => entry.value.length === 20_000).length;
    assert.ok(found === 2 * failed.rows || found === 2 * failed.rows + 2, `${found} rows of ${failed.rows} acknowledged batches`);
  });
});

describe("Two SQLite stores of one file", () => {
  test("see each other's batches at once, and one of two that compare and set wins", async () => {
    const path = newPath();
    await using left = await SqliteStore.open(path);
    await using right = await SqliteStore.open(path);
    for (let round = 0; round < 20; round++) {
      const [entry] = (await left.read([{ key: Buffer.from("a") }]))[0]!;
      const checks = [{ key: Buffer.from("a"), version: entry?.version ?? null }];
      const outcomes = await Promise.all([
        left.commit(batchOf("a", `left ${round}`, checks)),
        right.commit(batchOf("a", `right ${round}`, checks)),
      ]);
      assert.equal(outcomes.filter((outcome) => outcome.ok).length, 1);
      const expected = outcomes[0].ok ? `left ${round}` : `right ${round}`;
      assert.deepEqual([await textAt(left, "a"), await textAt(right, "a")], [expected, expected]);
    }
  });

  test("hint at each other's changes", async () => {
    const path = newPath();
    await using left = await SqliteStore.open(path, { watchMilliseconds: 1 });
    await using right = await SqliteStore.open(path);
    const abort = new AbortController();
    const hint = left.watch([Buffer.from("a")], abort.signal).next();
    await right.commit(batchOf("a", "1"));
    // The polling does not keep the process alive, so the test does.
    const alive = setInterval(() => {}, 1_000);
    assert.equal((await hint).done ?? false, false);
    clearInterval(alive);
    abort.abort();
  });

  test("wait for a lock without stopping the thread", async () => {
    const path = newPath();
    await using store = await SqliteStore.open(path);
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE; UPDATE counter SET version = version");
    let isDone = false;
    const outcomes = Promise.all([store.commit(batchOf("a", "1")), store.commit(batchOf("b", "1"))]).finally(() => (isDone = true));
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => void setImmediate(resolve));
    assert.equal(isDone, false);
    assert.equal(await textAt(store, "a"), undefined);
    other.exec("COMMIT");
    assert.ok((await outcomes).every((outcome) => outcome.ok));
    other.close();
  });

  test("give up on a lock that is held for too long, with nothing written, and then go on", async () => {
    const path = newPath();
    await using store = await SqliteStore.open(path, { lockMillisecondsMax: 20 });
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE; UPDATE counter SET version = version");
    await assert.rejects(
      store.commit(batchOf("a", "1")),
      (error) => error instanceof StoreUnavailableError && /Another process has held the lock .* for 20 ms/.test(error.message),
    );
    other.exec("ROLLBACK");
    assert.equal(await textAt(store, "a"), undefined);
    assert.equal((await store.commit(batchOf("a", "2"))).ok, true);
    other.close();
  });

  test("are opened at once by several, though there is no file yet", async () => {
    const path = newPath();
    const stores = await Promise.all(Array.from({ length: 4 }, () => SqliteStore.open(path)));
    await Promise.all(stores.map((store, index) => store.commit(batchOf(`${index}`, "1"))));
    for (const store of stores) assert.equal(await textAt(store, "3"), "1");
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
  });

  test("in two processes lose no update of shared counters", async () => {
    assert.deepEqual(await runSharedFileTest({ processes: 2, times: 50 }), [100, 100, 100]);
  });
});

for (const [what, change] of [
  ["deleted", (path: string) => rmSync(path)],
  ["replaced", (path: string) => (renameSync(path, `${path}.old`), copyFileSync(`${path}.old`, path))],
] as const)
  test(`A SQLite store whose file was ${what} takes no more commits, which would be lost`, async () => {
    const path = join(directory, `lost-${what}.db`);
    await using store = await SqliteStore.open(path, { presenceMilliseconds: 0 });
    const batch = (id: string): Batch => ({ id, checks: [], writes: [{ kind: "set", key: Buffer.from("key"), value: Buffer.from(id) }] });
    assert.ok((await store.commit(batch("1"))).ok);
    change(path);
    await assert.rejects(store.commit(batch("2")), { name: "StoreUnavailableError", message: /was deleted or replaced while it was open/ });
    await assert.rejects(store.commit(batch("3")), { name: "StoreUnavailableError" });
  });

test("A closed SQLite store refuses to read and to commit", async () => {
  const store = await SqliteStore.open(newPath());
  await store[Symbol.asyncDispose]();
  const isClosed = (error: unknown): boolean => error instanceof StoreUnavailableError && /is closed/.test(error.message);
  await assert.rejects(store.read([{ key: Buffer.from("a") }]), isClosed);
  await assert.rejects(store.commit(batchOf("a", "1")), isClosed);
});

test("A SQLite store that is closed twice at once, with a lock in its way, writes what waits and takes no more", async () => {
  const path = newPath();
  const store = await SqliteStore.open(path);
  const other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE; UPDATE counter SET version = version");
  const outcome = store.commit(batchOf("a", "1"));
  const ends = Promise.all([store[Symbol.asyncDispose](), store[Symbol.asyncDispose]()]);
  await assert.rejects(store.commit(batchOf("b", "1")), StoreUnavailableError);
  other.exec("COMMIT");
  other.close();
  await ends;
  assert.equal((await outcome).ok, true);
  await using again = await SqliteStore.open(path);
  assert.deepEqual([await textAt(again, "a"), await textAt(again, "b")], ["1", undefined]);
});

test("A process killed 10 times while it commits loses no acknowledged batch and tears none", async () => {
  const report = await runCrashTest({ kills: 10, seed: 7 });
  assert.deepEqual(
    { ...report, acknowledged: 0, unacknowledged: 0 },
    { kills: 10, acknowledged: 0, unacknowledged: 0, lost: 0, torn: 0, problems: [] },
  );
  assert.ok(report.acknowledged > 100);
});

/** A closed store with a few hundred rows: some fifty pages. */
async function fill(path: string): Promise<void> {
  await using store = await SqliteStore.open(path);
  const writes = Array.from({ length: 200 }, (_, index) => ({
    kind: "set" as const,
    key: Buffer.from(`row ${index}`),
    value: Buffer.alloc(900, 1),
  }));
  await store.commit({ id: "fill", checks: [], writes });
}

/** Makes another program's database in place of the store. */
function withDatabase(path: string, statements: string): void {
  rmSync(path);
  withStore(path, statements);
}

function withStore(path: string, statements: string): void {
  const database = new DatabaseSync(path);
  database.exec(statements);
  database.close();
}

function overwrite(path: string, from: number, to: number): void {
  const bytes = readFileSync(path);
  bytes.fill(0x5a, from, to);
  writeFileSync(path, bytes);
}
