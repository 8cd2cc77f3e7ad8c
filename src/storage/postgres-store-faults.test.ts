/** A store in PostgreSQL when connections break, servers restart, and several nodes are in each other's way. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client } from "pg";
import { checkLinearizable, type Operation, type SequentialModel } from "../../simulation/linearizability.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { readCounter } from "./counter.ts";
import type { Seen } from "./postgres-store.child.ts";
import { PostgresLane } from "./postgres-lane.ts";
import { PostgresStore } from "./postgres-store.ts";
import { type Batch, CommitUnknownError, type Key, type Store, StoreUnavailableError, type Version, type Write } from "./store.ts";
import { Pgbouncer, pgbouncerMissing, PostgresServer, postgresMissing } from "./testing/postgres-server.ts";
import { type Fate, Wire } from "./testing/wire.ts";
import { commitUntilKnown } from "./transaction.ts";

const environment = new RealEnvironment();
const keyOf = (name: string): Key => Buffer.from(name);
const set = (name: string, value: string): Write => ({ kind: "set", key: keyOf(name), value: Buffer.from(value) });
const add = (name: string, amount: bigint): Write => ({ kind: "add", key: keyOf(name), amount });

/** 1,000 take most of a minute, as every one costs the server a new process: KELPIE_TEST_CUTS=1000. */
const cutsMin = Number(process.env["KELPIE_TEST_CUTS"] ?? 150);

let batches = 0;
function batchOf(writes: readonly Write[], checks: Batch["checks"] = []): Batch {
  return { id: `batch ${++batches}`, checks, writes };
}

async function counterAt(store: Store, name: string): Promise<number> {
  return Number(readCounter((await store.read([{ key: keyOf(name) }]))[0]![0]?.value));
}

/** Numbers of at least 0 and less than 1, the same for the same seed. */
function randomOf(seed: number): () => number {
  let state = (seed * 7_919 + 1) % 2_147_483_647;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

/** What every client does: read a row's version, write the row by comparing, and count what was acknowledged in the same batch. */
async function increment(store: Store, row: string, times: number): Promise<void> {
  for (let done = 0; done < times;) {
    const [entry] = (await store.read([{ key: keyOf(row) }]))[0]!;
    const next = String(Number(entry === undefined ? 0 : Buffer.from(entry.value).toString()) + 1);
    const batch = batchOf([set(row, next), add("total", 1n)], [{ key: keyOf(row), version: entry?.version ?? null }]);
    if ((await commitUntilKnown(store, environment, batch)).ok) done++;
  }
}

async function assertIncrements(store: Store, expected: ReadonlyMap<string, number>): Promise<void> {
  const answers = await store.read([...expected.keys()].map((row) => ({ key: keyOf(row) })));
  const found = answers.map(([entry]) => Number(Buffer.from(entry?.value ?? []).toString()));
  assert.deepEqual(found, [...expected.values()]);
  assert.equal(await counterAt(store, "total"), sum(expected));
}

function sum(numbers: ReadonlyMap<string, number>): number {
  return [...numbers.values()].reduce((total, number) => total + number, 0);
}

describe("PostgresStore under faults", { skip: postgresMissing ?? false }, () => {
  let server: PostgresServer;
  before(async () => void (server = await PostgresServer.start()));
  after(() => server[Symbol.asyncDispose]());

  let schemas = 0;
  const newSchema = (): string => `faults_${++schemas}`;

  test(`${cutsMin} connections that break before the request, or between it and the answer: every batch takes effect once`, async () => {
    const random = randomOf(1);
    let isCutting = false;
    const fateOf = (message: Buffer): Fate => {
      // Calls of `commit` and `settle`, not the greetings of new connections.
      if (!isCutting || !/\.(commit|settle)\(/.test(message.toString("latin1"))) return "pass";
      const draw = random();
      if (draw < 0.3) return "pass";
      return draw < 0.5 ? "lose request" : "lose answer";
    };
    await using wire = await Wire.to(server.port, fateOf);
    await using store = await PostgresStore.open(server.tcpAddress(wire.port), {
      schema: newSchema(),
      connections: 16,
      waitMillisecondsMax: 60_000,
    });
    const rows = Array.from({ length: 16 }, (_, index) => `row ${index}`);
    const done = new Map(rows.map((row) => [row, 0]));
    const client = async (row: string): Promise<void> => {
      for (; wire.cuts < cutsMin; done.set(row, done.get(row)! + 1)) await increment(store, row, 1);
    };
    isCutting = true;
    await Promise.all(rows.map(client));
    isCutting = false;
    await assertIncrements(store, done);
  });

  test("connections that the server ends at random moments", async () => {
    const schema = newSchema();
    const stores = await Promise.all([1, 2].map(() => PostgresStore.open(server.address, { schema })));
    const rows = ["a", "b", "c", "d"];
    const rounds = await whileConnectionsEnd(server, async () => {
      await Promise.all(rows.map((row, index) => increment(stores[index % 2]!, row, timesPerRound)));
    });
    await assertIncrements(stores[0]!, new Map(rows.map((row) => [row, rounds * timesPerRound])));
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
  });

  test("a batch whose original arrives after its retry takes effect once", async () => {
    let fate: Fate = "pass";
    await using wire = await Wire.to(server.port, (message) => (message.includes(".commit(") ? fate : "pass"));
    await using store = await PostgresStore.open(server.tcpAddress(wire.port), {
      schema: newSchema(),
    });
    // The check holds again when the original arrives: only the number of the group can stop it.
    for (let round = 1; round <= 20; round++) {
      fate = "late request";
      const commit = store.commit(batchOf([add("n", 1n)], [{ key: keyOf("guard"), version: null }]));
      while (wire.cuts < round) await new Promise((resolve) => void setImmediate(resolve));
      fate = "pass";
      assert.equal((await commit).ok, true);
      assert.equal(await wire.deliverLate(), 1);
      assert.equal(await counterAt(store, "n"), round);
    }
  });

  test("a group that is settled as not applied never is, also when it arrives and its lane did nothing since", async () => {
    const schema = newSchema();
    await using store = await PostgresStore.open(server.address, { schema });
    let fate: Fate = "pass";
    await using wire = await Wire.to(server.port, (message) => (message.includes(".commit(") ? fate : "pass"));
    const lane = new PostgresLane({ Client, address: server.tcpAddress(wire.port), schema, answerMillisecondsMax: 10_000 });
    for (const before of [0, 1, 2]) {
      await lane.connect();
      if (before > 0) await lane.commit([batchOf([set("a", "1")])]);
      fate = "late request";
      await assert.rejects(lane.commit([batchOf([add("n", 1n)])]));
      fate = "pass";
      await lane.connect();
      assert.equal((await lane.settle()).outcomes, undefined);
      assert.equal(await wire.deliverLate(), 1);
      assert.equal((await lane.settle()).outcomes, undefined);
      assert.equal(await counterAt(store, "n"), 0);
    }
    await lane.close();
  });

  for (const fate of ["lose request", "lose answer"] as const)
    test(`${fate}, and a server that is away: the outcome is unknown, and the same batch again tells it`, async () => {
      let isBroken = false;
      await using wire = await Wire.to(server.port, (message) => {
        if (!isBroken) return "pass";
        return message.includes(".commit(") ? fate : "lose request";
      });
      await using store = await PostgresStore.open(server.tcpAddress(wire.port), {
        schema: newSchema(),
        waitMillisecondsMax: 200,
        connections: 2,
      });
      await store.commit(batchOf([set("a", "1")]));
      isBroken = true;
      const batch = batchOf([add("n", 1n)]);
      await assert.rejects(store.commit(batch), CommitUnknownError);
      await assert.rejects(store.commit(batch), CommitUnknownError);
      // What was never sent is certain.
      await assert.rejects(store.read([{ key: keyOf("a") }]), StoreUnavailableError);
      isBroken = false;
      const outcomes = await Promise.all([commitUntilKnown(store, environment, batch), commitUntilKnown(store, environment, batch)]);
      assert.ok(outcomes[0].ok);
      assert.deepEqual(outcomes[0], outcomes[1]);
      assert.deepEqual(await store.commit(batch), outcomes[0]);
      assert.equal(await counterAt(store, "n"), 1);
    });

  test("a batch that never left is certainly not applied, and what waits goes on when the server is back", async () => {
    await using store = await PostgresStore.open(server.address, { schema: newSchema(), waitMillisecondsMax: 300 });
    await store.commit(batchOf([set("a", "1")]));
    await server.stop("fast");
    const since = performance.now();
    await assert.rejects(store.commit(batchOf([add("n", 1n)])), (error) => {
      // The connection may have looked well when the batch was sent.
      assert.ok(error instanceof StoreUnavailableError || error instanceof CommitUnknownError, String(error));
      return true;
    });
    await assert.rejects(store.commit(batchOf([add("m", 1n)])), StoreUnavailableError);
    assert.ok(performance.now() - since < 3_000);
    await server.resume();
    assert.equal((await commitUntilKnown(store, environment, batchOf([add("k", 1n)]))).ok, true);
    assert.deepEqual([await counterAt(store, "n"), await counterAt(store, "m"), await counterAt(store, "k")], [0, 0, 1]);
  });

  test("a server that crashes again and again in the middle: everything acknowledged is there, once", async () => {
    const schema = newSchema();
    await using store = await PostgresStore.open(server.address, { schema, waitMillisecondsMax: 20_000 });
    const rows = Array.from({ length: 8 }, (_, index) => `row ${index}`);
    let isDone = false;
    const acknowledged = new Map(rows.map((row) => [row, 0]));
    const writers = rows.map(async (row) => {
      while (!isDone) {
        await increment(store, row, 1);
        acknowledged.set(row, acknowledged.get(row)! + 1);
      }
    });
    try {
      for (let crash = 0; crash < 2; crash++) {
        const before = sum(acknowledged);
        while (sum(acknowledged) < before + 100) await new Promise((resolve) => void setImmediate(resolve));
        await server.restart("immediate");
      }
    } finally {
      isDone = true;
    }
    await Promise.all(writers);
    await assertIncrements(store, acknowledged);
  });

  test("batches that touch the same keys in any order, and delete ranges of them, never wait in a circle", async () => {
    const schema = newSchema();
    const stores = await Promise.all(Array.from({ length: 4 }, () => PostgresStore.open(server.address, { schema })));
    const deadlocks = (): number => Number(server.query("SELECT sum(deadlocks) FROM pg_stat_database"));
    const before = deadlocks();
    const names = Array.from({ length: 12 }, (_, index) => `key ${String(index).padStart(2, "0")}`);
    // Every batch writes "all" of one name to several keys, or deletes several: what is there always is of whole batches.
    const client = async (number: number): Promise<void> => {
      const random = randomOf(number);
      for (let round = 0; round < 40; round++) {
        const shuffled = names.toSorted(() => random() - 0.5).slice(0, 1 + Math.floor(random() * names.length));
        const isRange = random() < 0.2;
        const writes = shuffled.map((name): Write =>
          random() < 0.3 ? { kind: "delete", key: keyOf(name) } : set(name, `${number}.${round}`),
        );
        const range: Write = { kind: "deleteRange", begin: keyOf(names[2]!), end: keyOf(names[9]!) };
        const checks = random() < 0.3 ? [{ key: keyOf(shuffled[0]!), version: null }] : [];
        await stores[number % stores.length]!.commit(batchOf(isRange ? [range, ...writes] : writes, checks));
      }
    };
    await Promise.all(Array.from({ length: 24 }, (_, index) => client(index + 1)));
    server.query("SELECT pg_stat_force_next_flush()");
    assert.equal(deadlocks(), before);
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
  });

  test("a range is deleted whole: no reader sees a row of it that was written before and stays", async () => {
    const schema = newSchema();
    const stores = await Promise.all(Array.from({ length: 3 }, () => PostgresStore.open(server.address, { schema })));
    const [writer, deleter, reader] = stores as [PostgresStore, PostgresStore, PostgresStore];
    const all = { begin: keyOf("r/"), end: keyOf("r0") };
    let isDone = false;
    // A set writes an old row and a new one; a deletion takes all. So a new row never is without its set's mark on the old one.
    const write = async (): Promise<void> => {
      for (let round = 0; round < 300; round++) await writer.commit(batchOf([set("r/old", `${round}`), set(`r/new ${round}`, `${round}`)]));
      isDone = true;
    };
    const remove = async (): Promise<void> => {
      while (!isDone) await deleter.commit(batchOf([{ kind: "deleteRange", ...all }]));
    };
    const look = async (): Promise<void> => {
      while (!isDone) {
        const [rows] = await reader.read([{ ...all, limit: 1_000 }]);
        const newest = rows!.map(({ key }) => Buffer.from(key).toString()).filter((name) => name !== "r/old");
        const old = rows!.find(({ key }) => Buffer.from(key).toString() === "r/old");
        assert.equal(
          newest.length > 0,
          old !== undefined,
          `${newest.length} new rows, and the old one is ${old === undefined ? "gone" : "there"}`,
        );
      }
    };
    await Promise.all([write(), remove(), look()]);
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
  });

  test("a lock that somebody else holds fails the batches that need it, and no others", async () => {
    const schema = newSchema();
    await using store = await PostgresStore.open(server.address, { schema, connections: 2 });
    await store.commit(batchOf([set("locked", "1"), set("free", "1")]));
    server.query(`ALTER FUNCTION ${schema}.commit SET lock_timeout = '50ms'`);
    const other = new Client(server.address);
    await other.connect();
    await other.query(`BEGIN; UPDATE ${schema}.entry SET version = version WHERE key = 'locked'`);
    const [locked, free] = await Promise.allSettled([
      store.commit(batchOf([set("locked", "2")])),
      store.commit(batchOf([set("free", "2")])),
    ]);
    assert.equal(free.status, "fulfilled");
    assert.ok(locked.status === "rejected" && locked.reason instanceof StoreUnavailableError);
    assert.match(locked.reason.message, /lock timeout/);
    await other.end();
    assert.equal((await store.commit(batchOf([set("locked", "3")]))).ok, true);
  });

  test("a server that does not answer is given up, and reached again", async () => {
    let isSilent = false;
    await using wire = await Wire.to(server.port, (message) => (isSilent && message.includes(".commit(") ? "late request" : "pass"));
    await using store = await PostgresStore.open(server.tcpAddress(wire.port), {
      schema: newSchema(),
      answerMillisecondsMax: 100,
    });
    await store.commit(batchOf([set("a", "1")]));
    isSilent = true;
    const commit = store.commit(batchOf([add("n", 1n)]));
    while (wire.cuts === 0) await new Promise((resolve) => void setImmediate(resolve));
    isSilent = false;
    assert.equal((await commit).ok, true);
    assert.equal(await counterAt(store, "n"), 1);
  });

  test("a read that takes too long is answered within the time that calls wait, though its connection is kept", async () => {
    const schema = newSchema();
    await using store = await PostgresStore.open(server.address, { schema, connections: 1, waitMillisecondsMax: 300 });
    await store.commit(batchOf([set("row", "value")]));
    const locker = new Client({ connectionString: server.address });
    await locker.connect();
    await locker.query(`BEGIN; LOCK TABLE ${schema}.entry IN ACCESS EXCLUSIVE MODE`);
    await assert.rejects(
      store.read([{ key: keyOf("row") }]),
      (error) => error instanceof StoreUnavailableError && /has not answered for 300 ms/.test(error.message),
    );
    await locker.end();
    assert.equal((await store.read([{ key: keyOf("row") }]))[0]!.length, 1);
  });

  test("a database that refuses connections is told with what to do, and used again when it takes them", async () => {
    await using store = await PostgresStore.open(server.address, { schema: newSchema(), waitMillisecondsMax: 300 });
    await store.commit(batchOf([set("row", "value")]));
    server.query("ALTER DATABASE kelpie WITH ALLOW_CONNECTIONS false", "postgres");
    server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'kelpie'", "postgres");
    const why = /not currently accepting connections\. Allow them again: ALTER DATABASE/;
    const isRefused = (error: unknown): boolean => error instanceof StoreUnavailableError && why.test(error.message);
    await assert.rejects(store.read([{ key: keyOf("row") }]), isRefused);
    await assert.rejects(store.commit(batchOf([set("row", "other")])), isRefused);
    server.query("ALTER DATABASE kelpie WITH ALLOW_CONNECTIONS true", "postgres");
    const [entry] = (await store.read([{ key: keyOf("row") }]))[0]!;
    assert.equal(Buffer.from(entry!.value).toString(), "value");
  });

  test("what is wrong with the database is told with what to do, and nothing is written", async () => {
    const schema = newSchema();
    await using store = await PostgresStore.open(server.address, { schema, connections: 1 });
    await store.commit(batchOf([set("a", "1")]));
    server.query(`ALTER FUNCTION ${schema}.commit RENAME TO gone`);
    await assert.rejects(
      store.commit(batchOf([set("a", "2")])),
      (error) => error instanceof StoreUnavailableError && /does not exist.*restore a backup/.test(error.message),
    );
    server.query(`ALTER FUNCTION ${schema}.gone RENAME TO commit`);
    assert.equal((await store.commit(batchOf([set("a", "3")]))).ok, true);
  });

  test("clients of one register in two processes have a linearizable history", async () => {
    const schema = newSchema();
    await using store = await PostgresStore.open(server.address, { schema });
    assert.equal(store.warnings.length, 0);
    const histories = await Promise.all(["left", "right"].map((name) => runChild(server.address, schema, name)));
    const history = histories.flat().map(asOperation);
    assert.equal(history.length, 2 * 8 * 40);
    assert.equal(checkLinearizable(register, history).verdict, "linearizable");
  });

  describe("through a transaction-pooling proxy", { skip: pgbouncerMissing ?? false }, () => {
    test("two stores with more connections than the proxy has to the server lose no update", async () => {
      await using proxy = await Pgbouncer.start(server, 3);
      const schema = newSchema();
      const stores = await Promise.all([1, 2].map(() => PostgresStore.open(proxy.address, { schema, connections: 16 })));
      const rows = Array.from({ length: 24 }, (_, index) => `row ${index}`);
      await Promise.all(rows.map((row, index) => increment(stores[index % 2]!, row, 20)));
      await assertIncrements(stores[0]!, new Map(rows.map((row) => [row, 20])));
      assert.ok(Number(server.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kelpie'")) <= 3);
      await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
    });

    test("the proxy's connections to the server break, and every batch takes effect once", async () => {
      await using proxy = await Pgbouncer.start(server, 3);
      await using store = await PostgresStore.open(proxy.address, { schema: newSchema() });
      const rows = ["a", "b", "c", "d"];
      const rounds = await whileConnectionsEnd(server, async () => {
        await Promise.all(rows.map((row) => increment(store, row, timesPerRound)));
      });
      await assertIncrements(store, new Map(rows.map((row) => [row, rounds * timesPerRound])));
    });
  });
});

/** Increments of each row in a round of `whileConnectionsEnd`, and how many connections have to end before it is over. */
const timesPerRound = 20;
const endedMin = 12;

/** Does `work` again and again while the server ends connections of stores, until enough have ended. Gives the rounds. */
async function whileConnectionsEnd(server: PostgresServer, work: () => Promise<void>): Promise<number> {
  const killer = new Client(server.address);
  await killer.connect();
  let isDone = false;
  let ended = 0;
  const kill = async (): Promise<void> => {
    while (!isDone) {
      const { rows } = await killer.query<{ count: string }>(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'kelpie' AND random() < 0.4",
      );
      ended += Number(rows[0]!.count);
      await killer.query("SELECT pg_sleep(random() * 0.01)");
    }
  };
  const killing = kill();
  let rounds = 0;
  while (ended < endedMin) {
    await work();
    rounds++;
  }
  isDone = true;
  await killing;
  await killer.end();
  return rounds;
}

async function runChild(address: string, schema: string, name: string): Promise<Seen[]> {
  const file = join(import.meta.dirname, "postgres-store.child.ts");
  const child = spawn(process.execPath, [file, address, schema, name, "8", "40"], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const part of child.stdout.setEncoding("utf8")) text += part as string;
  return JSON.parse(text) as Seen[];
}

type RegisterOperation = Operation<{ readonly kind: Seen["kind"] | "conflict" }, Seen>;

function asOperation(seen: Seen): RegisterOperation {
  const kind = seen.version === undefined ? "conflict" : seen.kind;
  return { called: Number(BigInt(seen.called) / 1_000n), returned: Number(BigInt(seen.returned) / 1_000n), input: { kind }, output: seen };
}

interface RegisterState {
  readonly value: string;
  readonly version: Version | null;
}

const register: SequentialModel<RegisterState, RegisterOperation["input"], Seen> = {
  init: { value: "", version: null },
  step(state, { kind }, output) {
    assert.ok(output !== undefined, "No outcome is unknown here");
    const { value, compared, version } = output;
    if (kind === "read") return version === state.version && value === state.value ? { state } : undefined;
    if (kind === "conflict") return compared === state.version ? undefined : { state };
    if (compared !== undefined && compared !== state.version) return undefined;
    return version != null && version > (state.version ?? 0) ? { state: { value, version } } : undefined;
  },
  key: (state) => `${state.version} ${state.value}`,
  isRead: ({ kind }) => kind === "read" || kind === "conflict",
  kind: ({ kind }) => kind,
  rank: (output) => output.version ?? 0,
};
