import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualEnvironment } from "../../test/support/manual-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { CallTable } from "./call-table.ts";
import {
  answerJoins,
  askToJoin,
  type Invitation,
  JoinError,
  type StoreDescriptor,
  storeIdOf,
  storeToJoin,
  verifyStore,
  withoutPassword,
} from "./join.ts";
import { MemoryNetwork, MemoryTransport } from "./memory-transport.ts";
import { HandshakeError, type Transport } from "./transport.ts";

const secret = Buffer.from("a secret of the cluster");
const sqlite: StoreDescriptor = { kind: "sqlite", machine: "boot-1", host: "host-1", path: "/data/kelpie.db" };

class World {
  readonly environment: ManualEnvironment = new ManualEnvironment(31);
  readonly network: MemoryNetwork = new MemoryNetwork();

  transport(node: string, options: { readonly cluster?: string; readonly secret?: Buffer } = {}): Transport {
    return new MemoryTransport({
      environment: this.environment,
      node,
      cluster: options.cluster ?? "kelpie",
      secret: options.secret ?? secret,
      network: this.network,
      address: node,
    });
  }

  async member(invitation: unknown): Promise<void> {
    const calls = new CallTable();
    answerJoins(calls, invitation as Invitation);
    await this.transport("member").listen(calls);
  }
}

for (const store of [
  sqlite,
  { kind: "postgres", url: "postgres://kelpie@db.example:5432/kelpie" },
  { kind: "foundationdb", clusterFile: "kelpie:abc@10.0.0.1:4500" },
] satisfies StoreDescriptor[])
  test(`A node that asks a member is told of its store: ${store.kind}`, async () => {
    const world = new World();
    await world.member({ store, storeId: "store-1" });
    const invitation = await askToJoin(world.transport("newcomer"), "member");
    assert.deepEqual(invitation, { store, storeId: "store-1" });
    assert.deepEqual(storeToJoin(invitation, { address: "member:1", machine: "boot-1" }), store);
  });

test("A password never leaves a member, nor is one taken from it", async () => {
  assert.equal(
    withoutPassword("postgres://kelpie:very%20secret@db:5432/k?sslmode=require&password=x"),
    "postgres://kelpie@db:5432/k?sslmode=require",
  );
  const world = new World();
  await world.member({ store: { kind: "postgres", url: "postgres://kelpie:secret@db/k" }, storeId: "s" });
  const { store } = await askToJoin(world.transport("newcomer"), "member");
  assert.deepEqual(store, { kind: "postgres", url: "postgres://kelpie@db/k" });
});

test("A node of another host cannot join an embedded store, and is told what would do", () => {
  assert.throws(
    () => storeToJoin({ store: sqlite, storeId: "s" }, { address: "host-1:8290", machine: "boot-2" }),
    (error) =>
      error instanceof JoinError && /SQLite file on host host-1/.test(error.message) && /PostgreSQL or FoundationDB/.test(error.message),
  );
});

for (const [url, address, isRefused] of [
  ["postgres://kelpie@localhost/k", "10.0.0.7:8290", true],
  ["postgres://kelpie@127.0.0.1/k", "10.0.0.7:8290", true],
  ["postgres://kelpie@[::1]/k", "node1:8290", true],
  ["postgres://kelpie@localhost/k", "localhost:8290", false],
  ["postgres://kelpie@localhost/k", "[::1]:8290", false],
  ["postgres://kelpie@db/k", "10.0.0.7:8290", false],
] as const)
  test(`A cluster at ${address} over ${url} is ${isRefused ? "refused" : "joined"}`, () => {
    const join = (): StoreDescriptor => storeToJoin({ store: { kind: "postgres", url }, storeId: "s" }, { address, machine: "m" });
    if (isRefused) assert.throws(join, (error) => error instanceof JoinError && /which on this host is another one/.test(error.message));
    else assert.equal(join().kind, "postgres");
  });

test("The store that was opened must be the cluster's, not one that is called the same", async () => {
  const environment = new ManualEnvironment(32);
  const [theirs, another] = [new MemoryStore(), new MemoryStore()];
  const invitation: Invitation = { store: sqlite, storeId: await storeIdOf(theirs, environment) };
  assert.equal(await storeIdOf(theirs, environment), invitation.storeId, "it stays the same");
  await verifyStore(invitation, theirs, environment);
  await assert.rejects(
    verifyStore(invitation, another, environment),
    (error) => error instanceof JoinError && /the very same file/.test(error.message),
  );
});

test("Two nodes that name a store at once give it one name", async () => {
  const store = new MemoryStore();
  const environments = [new ManualEnvironment(33), new ManualEnvironment(34)];
  const naming = Promise.all(environments.map(async (environment) => await storeIdOf(store, environment)));
  for (const { clock } of environments) await clock.advance(1_000);
  const [left, right] = await naming;
  assert.equal(left, right);
});

test("An address at which nobody is, or no Kelpie that answers, is named with what it should be", async () => {
  const world = new World();
  const asking = assert.rejects(
    askToJoin(world.transport("newcomer"), "nowhere"),
    (error) =>
      error instanceof JoinError &&
      /Cannot join at nowhere: .* Is that the address at which a Kelpie node takes calls of others\?/.test(error.message),
  );
  await world.environment.clock.advance(20_000);
  await asking;
});

for (const [what, options] of [
  ["another secret", { secret: Buffer.from("a secret of someone else") }],
  ["another cluster's name", { cluster: "other" }],
] as const)
  test(`A node with ${what} is told nothing`, async () => {
    const world = new World();
    await world.member({ store: sqlite, storeId: "s" });
    await assert.rejects(askToJoin(world.transport("stranger", options), "member"), HandshakeError);
  });

for (const answer of [
  null,
  {},
  { storeId: "s" },
  { storeId: "s", store: { kind: "sqlite" } },
  { storeId: "s", store: { kind: "tape" } },
  { storeId: "s", store: { kind: "postgres", url: "no url" } },
])
  test(`An invitation ${JSON.stringify(answer)} is not understood`, async () => {
    const world = new World();
    await world.member(answer);
    await assert.rejects(
      askToJoin(world.transport("newcomer"), "member"),
      (error) => error instanceof JoinError && /of another version/.test(error.message),
    );
  });
