import assert from "node:assert/strict";
import { test } from "node:test";
import { FaultyStore } from "../../test/support/faulty-store.ts";
import { ManualEnvironment, settle } from "../../test/support/manual-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { Readiness } from "./readiness.ts";

const away = { status: "store_unavailable", detail: "The store cannot be written to now" };

test("A store that refuses writes makes a server unready for as long as it does, and is not asked more than once a second", async () => {
  const environment = new ManualEnvironment();
  const store = new FaultyStore(new MemoryStore());
  const readiness = new Readiness(store, environment, () => false);
  assert.equal(await readiness.check(), undefined);
  const asked = store.batches.length;
  store.commitFault = () => "unavailable";
  assert.equal(await readiness.check(), undefined, "it was asked a moment ago");
  assert.equal(store.batches.length, asked);
  await environment.clock.advance(1_000);
  assert.deepEqual(await readiness.check(), away);
  store.commitFault = () => undefined;
  await environment.clock.advance(1_000);
  assert.equal(await readiness.check(), undefined);
});

test("A store that does not answer keeps nobody longer than two seconds, and is asked by one at a time", async () => {
  const environment = new ManualEnvironment();
  const store = new FaultyStore(new MemoryStore());
  store.hold();
  const readiness = new Readiness(store, environment, () => false);
  const checks = Promise.all(Array.from({ length: 100 }, () => readiness.check()));
  await environment.clock.advance(2_000);
  assert.ok((await checks).every((unready) => unready?.status === "store_unavailable"));
  assert.deepEqual(await readiness.check(), away, "at once, as the store has been silent for long");
  assert.equal(store.batches.length, 1);
  store.release();
  await settle();
  assert.equal(await readiness.check(), undefined);
});

test("A node that drains says that, whatever its store does", async () => {
  const readiness = new Readiness(new MemoryStore(), new ManualEnvironment(), () => true);
  assert.equal((await readiness.check())?.status, "draining");
});
