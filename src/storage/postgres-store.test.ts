import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { compareBytes } from "../base/bytes.ts";
import { PostgresDatabaseError } from "./postgres-schema.ts";
import { PostgresStore } from "./postgres-store.ts";
import { timelineOf } from "./postgres-version.ts";
import { describeStoreContract } from "./store.contract.ts";
import { type Batch, type Store, StoreUnavailableError } from "./store.ts";
import { PostgresServer, postgresMissing } from "./testing/postgres-server.ts";

let batches = 0;
function batchOf(key: Uint8Array | string, value: string, checks: Batch["checks"] = []): Batch {
  return { id: `batch ${++batches}`, checks, writes: [{ kind: "set", key: Buffer.from(key), value: Buffer.from(value) }] };
}

async function textAt(store: Store, key: string): Promise<string | undefined> {
  const [answer] = await store.read([{ key: Buffer.from(key) }]);
  return answer![0] && Buffer.from(answer![0].value).toString();
}

describe("PostgresStore", { skip: postgresMissing ?? false }, () => {
  let server: PostgresServer;
  before(async () => void (server = await PostgresServer.start()));
  after(() => server[Symbol.asyncDispose]());

  let schemas = 0;
  const newSchema = (): string => `store_${++schemas}`;
  const schemaOf = new Map<Store, string>();
  async function open(schema: string = newSchema()): Promise<Store> {
    const store = await PostgresStore.open(server.address, { schema, watchMilliseconds: 5 });
    schemaOf.set(store, schema);
    return store;
  }

  describeStoreContract("PostgresStore", {
    open: () => open(),
    async reopen(store) {
      await store[Symbol.asyncDispose]();
      return await open(schemaOf.get(store)!);
    },
  });

  test("its package is loaded only when a store is opened", () => {
    const script = `import { createRequire } from "node:module"; await import("${import.meta.resolve("./postgres-store.ts")}");
      console.log(Object.keys(createRequire("/").cache).filter((file) => file.includes("node_modules/pg")).length)`;
    const child = spawnSync(process.execPath, ["--input-type=module", "--eval", script], { encoding: "utf8" });
    assert.equal(child.stdout.trim(), "0", child.stderr);
  });

  test("forgets the lanes of processes that ended long ago, and of no others", async () => {
    const schema = newSchema();
    const lanes = (): string => server.query(`SELECT count(*) FROM ${schema}.lane`);
    for (const left of ["1", "2"]) {
      await using store = await open(schema);
      assert.equal((await store.commit(batchOf("key", "value"))).ok, true);
      assert.equal(lanes(), left);
    }
    server.query(`UPDATE ${schema}.lane SET used = now() - interval '8 days' WHERE id = (SELECT id FROM ${schema}.lane LIMIT 1)`);
    await using store = await open(schema);
    assert.equal(lanes(), "1");
    // A lane that was idle for so long goes on when its row is gone.
    await store.commit(batchOf("key", "one"));
    server.query(`DELETE FROM ${schema}.lane`);
    assert.equal((await store.commit(batchOf("key", "two"))).ok, true);
    assert.equal(await textAt(store, "key"), "two");
  });

  describe("long keys", () => {
    test("of bytes that cannot be compressed are in order and apart, though they differ only at their ends", async () => {
      await using store = await open();
      const { keyBytes } = store.limits;
      const keys = [1_999, 2_000, 2_001, 5_000, keyBytes - 1, keyBytes].flatMap((length) => [
        randomBytes(length, 1),
        Buffer.concat([randomBytes(length - 1, 1), Buffer.of(0)]),
        Buffer.concat([randomBytes(length - 1, 1), Buffer.of(0xff)]),
        randomBytes(length, length),
      ]);
      await store.commit({ id: "all", checks: [], writes: keys.map((key) => ({ kind: "set", key, value: key.subarray(-8) })) });
      const sorted = keys.toSorted(compareBytes);
      const whole = { begin: Buffer.of(0), end: Buffer.alloc(keyBytes, 0xff) };
      const [forward, reverse, some, ...single] = await store.read([
        { ...whole, limit: 1_000 },
        { ...whole, limit: 1_000, reverse: true },
        { begin: sorted[3]!, end: sorted[20]!, limit: 1_000 },
        ...sorted.map((key) => ({ key })),
      ]);
      const hexes = (entries: readonly { readonly key: Uint8Array }[]): string[] =>
        entries.map(({ key }) => Buffer.from(key).toString("hex"));
      assert.deepEqual(hexes(forward!), hexes(sorted.map((key) => ({ key }))));
      assert.deepEqual(hexes(reverse!), hexes(forward!).toReversed());
      assert.deepEqual(hexes(some!), hexes(forward!).slice(3, 20));
      for (const [index, answer] of single.entries())
        assert.deepEqual(Buffer.from(answer[0]!.value), Buffer.from(sorted[index]!.subarray(-8)));
      const range = { kind: "deleteRange", begin: sorted[3]!, end: sorted[20]! } as const;
      assert.equal(
        (await store.commit({ id: "some", checks: [{ key: sorted[4]!, version: forward![4]!.version }], writes: [range] })).ok,
        true,
      );
      const [left] = await store.read([{ ...whole, limit: 1_000 }]);
      assert.deepEqual(hexes(left!), [...hexes(forward!).slice(0, 3), ...hexes(forward!).slice(20)]);
    });
  });

  describe("opening", () => {
    const refusals: readonly (readonly [string, (schema: string) => string, RegExp])[] = [
      [
        "with tables of another program",
        (schema) => `CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.diary (text text)`,
        /is another program's.*Name another/,
      ],
      [
        "with a table of the same name of another program",
        (schema) => `CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.store (id int)`,
        /is another program's/,
      ],
      [
        "of a newer Kelpie",
        (schema) => `CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.store AS SELECT 'Kelpie' AS application, 900 AS format`,
        /has format 900, made by a newer Kelpie.*Upgrade/,
      ],
    ];
    for (const [title, spoil, message] of refusals)
      test(`a schema ${title} is refused, and left as it is`, async () => {
        const schema = newSchema();
        server.query(spoil(schema));
        const contents = (): string => server.query(`SELECT relname FROM pg_class WHERE relnamespace = '${schema}'::regnamespace`);
        const before = contents();
        await assert.rejects(PostgresStore.open(server.address, { schema }), (error) => {
          assert.ok(error instanceof PostgresDatabaseError, String(error));
          assert.match(error.message, message);
          return true;
        });
        assert.equal(contents(), before);
      });

    test("by password is possible", async () => {
      await using store = await PostgresStore.open(server.passwordAddress("right"), { schema: newSchema() });
      assert.equal((await store.commit(batchOf("a", "1"))).ok, true);
    });

    test("an empty schema, made by somebody who may, is taken", async () => {
      const schema = newSchema();
      server.query(`CREATE SCHEMA ${schema}`);
      await using store = await open(schema);
      assert.equal((await store.commit(batchOf("a", "1"))).ok, true);
    });

    test("several nodes that open a new schema at once make it once, and share it", async () => {
      const schema = newSchema();
      const stores = await Promise.all(Array.from({ length: 6 }, () => open(schema)));
      await Promise.all(stores.map((store, index) => store.commit(batchOf(`${index}`, "1"))));
      for (const store of stores) assert.equal(await textAt(store, "5"), "1");
      await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
    });

    for (const schema of ["", "Upper", "1st", "a-b", 'a"b', "x".repeat(41)])
      test(`the schema name ${JSON.stringify(schema.slice(0, 10))} is refused`, async () => {
        await assert.rejects(PostgresStore.open(server.address, { schema }), /A schema's name has/);
      });

    for (const connections of [0, 17, 1.5])
      test(`${connections} connections are refused`, async () => {
        await assert.rejects(PostgresStore.open(server.address, { connections }), /1 to 16 connections/);
      });

    const unreachable: readonly (readonly [string, () => string, RegExp])[] = [
      ["a wrong password", () => server.passwordAddress("wrong"), /password authentication failed.*Check the user and the password/],
      [
        "a database that is not there",
        () => server.passwordAddress("right", "nothing"),
        /database "nothing" does not exist.*Create the database/,
      ],
      ["a port where nobody listens", () => "postgres://kelpie:secret@127.0.0.1:1/kelpie", /ECONNREFUSED.*Is the server running/],
      ["a socket that is not there", () => "postgres://kelpie@localhost/kelpie?host=/nowhere", /ENOENT.*path of its socket/],
    ];
    for (const [title, address, message] of unreachable)
      test(`${title} is told, without the password`, async () => {
        await assert.rejects(PostgresStore.open(address(), { waitMillisecondsMax: 150 }), (error) => {
          assert.ok(error instanceof StoreUnavailableError, String(error));
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /secret|:wrong|:right/);
          return true;
        });
      });

    const settings: readonly (readonly [string, string, RegExp])[] = [
      ["that takes no writes", "default_transaction_read_only = on", /takes no writes/],
      ["whose transactions are serializable by default", "default_transaction_isolation = 'serializable'", /must be "read committed"/],
    ];
    for (const [title, setting, message] of settings)
      test(`a user ${title} is refused`, async () => {
        const role = `role_${newSchema()}`;
        server.query(`CREATE ROLE ${role} LOGIN SUPERUSER; ALTER ROLE ${role} SET ${setting}`);
        await assert.rejects(PostgresStore.open(server.address.replace("kelpie@", `${role}@`), { schema: newSchema() }), message);
      });

    test("a user who may not make a schema is told what to grant", async () => {
      const role = `role_${newSchema()}`;
      server.query(`CREATE ROLE ${role} LOGIN`);
      await assert.rejects(
        PostgresStore.open(server.address.replace("kelpie@", `${role}@`), { schema: newSchema() }),
        (error) => error instanceof PostgresDatabaseError && /permission denied.*grant CREATE on the database/.test(error.message),
      );
    });

    test("an ordinary user who owns an empty schema is enough", async () => {
      const schema = newSchema();
      server.query(`CREATE ROLE role_${schema} LOGIN; CREATE SCHEMA ${schema} AUTHORIZATION role_${schema}`);
      await using store = await PostgresStore.open(server.address.replace("kelpie@", `role_${schema}@`), { schema });
      assert.equal((await store.commit(batchOf("a", "1"))).ok, true);
    });

    test("a role with fewer connections than the store wants goes on with those", async () => {
      const schema = newSchema();
      server.query(`CREATE ROLE role_${schema} LOGIN CONNECTION LIMIT 2; CREATE SCHEMA ${schema} AUTHORIZATION role_${schema}`);
      await using store = await PostgresStore.open(server.address.replace("kelpie@", `role_${schema}@`), { schema });
      const outcomes = await Promise.all(Array.from({ length: 200 }, (_, index) => store.commit(batchOf(`${index}`, "1"))));
      assert.ok(outcomes.every((outcome) => outcome.ok));
    });
  });

  describe("two stores of one schema", () => {
    test("hint at each other's changes", async () => {
      const schema = newSchema();
      await using left = await open(schema);
      await using right = await open(schema);
      const abort = new AbortController();
      const hints = left.watch([Buffer.from("a")], abort.signal)[Symbol.asyncIterator]();
      await hints.next();
      const hint = hints.next();
      await right.commit(batchOf("a", "1"));
      // The polling does not keep the process alive, so the test does.
      const alive = setInterval(() => {}, 1_000);
      assert.equal((await hint).done ?? false, false);
      clearInterval(alive);
      abort.abort();
    });

    test("one of two that compare and set wins, each round", async () => {
      const schema = newSchema();
      await using left = await open(schema);
      await using right = await open(schema);
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
  });

  test("no row is left of keys that were only checked, deleted, or in a batch that failed", async () => {
    const schema = newSchema();
    await using store = await open(schema);
    const key = (name: string): Buffer => Buffer.from(name);
    await store.commit({ id: "1", checks: [{ key: key("checked"), version: null }], writes: [{ kind: "delete", key: key("deleted") }] });
    await store.commit({
      id: "2",
      checks: [{ key: key("absent"), version: 7 }],
      writes: [{ kind: "set", key: key("failed"), value: key("1") }],
    });
    assert.equal(server.query(`SELECT count(*) FROM ${schema}.entry`), "0");
  });

  test("a closed store refuses to read and to commit", async () => {
    const store = await open();
    await store[Symbol.asyncDispose]();
    const isClosed = (error: unknown): boolean => error instanceof StoreUnavailableError && /is closed/.test(error.message);
    await assert.rejects(store.read([{ key: Buffer.from("a") }]), isClosed);
    await assert.rejects(store.commit(batchOf("a", "1")), isClosed);
  });

  test("after a failover the generation is another one, and versions go on growing", async () => {
    const schema = newSchema();
    const generations: string[] = [];
    await using store = await PostgresStore.open(server.address, {
      schema,
      onGenerationChange: (generation) => generations.push(generation),
    });
    const before = await store.commit(batchOf("a", "1"));
    const generation = store.generation();
    await server.stop("fast");
    server.makeStandby();
    await server.resume();
    // A standby's answers may be old: the store waits for the primary.
    const read = textAt(store, "a");
    server.query("SELECT pg_promote()");
    assert.equal(await read, "1");
    const after = await store.commit(batchOf("a", "2"));
    assert.ok(before.ok && after.ok && after.version > before.version);
    assert.equal(timelineOf(after.version), timelineOf(before.version) + 1);
    assert.notEqual(store.generation(), generation);
    assert.deepEqual(generations, [store.generation()]);
  });
});

/** The same for the same seed. */
function randomBytes(length: number, seed: number): Buffer {
  let state = seed;
  return Buffer.from(Array.from({ length }, () => ((state = (state * 48_271) % 2_147_483_647) >> 8) & 0xff));
}
