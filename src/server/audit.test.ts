import assert from "node:assert/strict";
import { test } from "node:test";
import { FaultyStore } from "../../test/support/faulty-store.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { tupleRange } from "../base/tuple.ts";
import { createApp } from "./app.ts";
import { type AuditEntry, AuditLog, keyMark } from "./audit.ts";
import { openTestServer } from "./testing.ts";

const quiet = new RealEnvironment({ level: "error" });
const attempt = { action: "thing.do", target: "it", key: null, address: null };
const nothing = (): undefined => undefined;

test("Who added, changed and removed a provider is in the log, newest first, without any of its secrets", async () => {
  await using server = await openTestServer({
    key: "the-key-of-this-server",
    models: { fetch: (async () => Response.json({ data: [] })) as never },
  });
  const headers = { authorization: "Bearer the-key-of-this-server" };
  const body = { name: "mine", provider_type: "openai", api_key: "sk-secret" };
  const { id } = (await server.call("POST", "/v1/providers", body, headers)).body as { id: string };
  await server.call("PATCH", `/v1/providers/${id}`, { api_key: "sk-other" }, headers);
  await server.call("DELETE", `/v1/providers/${id}`, undefined, headers);
  assert.equal((await server.call("POST", "/v1/providers", { ...body, name: "kelpie" }, headers)).status, 409);
  await server.call("GET", "/v1/providers", undefined, headers);
  const { body: entries } = (await server.call("GET", "/v1/audit", undefined, headers)) as { body: AuditEntry[] };
  assert.deepEqual(
    entries.map(({ number, action, target, outcome, key, node }) => ({ number, action, target, outcome, key, node })),
    [
      { number: 4, action: "provider.create", target: "kelpie", outcome: "failed" },
      { number: 3, action: "provider.delete", target: id, outcome: "done" },
      { number: 2, action: "provider.update", target: id, outcome: "done" },
      { number: 1, action: "provider.create", target: id, outcome: "done" },
    ].map((entry) => ({ ...entry, key: keyMark("the-key-of-this-server"), node: null })),
  );
  assert.match(entries[0]!.reason ?? "", /kelpie/);
  assert.doesNotMatch(JSON.stringify(entries), /sk-|the-key/);
  const older = (await server.call("GET", "/v1/audit?limit=1&before=3", undefined, headers)).body as AuditEntry[];
  assert.deepEqual(older, [entries[2]]);
  assert.equal((await server.call("GET", "/v1/audit")).status, 401);
  assert.equal((await server.call("GET", "/v1/audit?limit=0", undefined, headers)).status, 422);
});

test("What could not be written down is not done", async () => {
  await using server = await openTestServer();
  const store = new FaultyStore(server.services.store);
  const app = createApp({ ...server.services, store });
  store.commitFault = () => "unavailable";
  const answer = await app.request("/v1/tools", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      source_code: "def f():\n  '''x'''\n",
      json_schema: { name: "f", description: "x", parameters: { type: "object", properties: {} } },
    }),
  });
  assert.equal(answer.status, 503);
  assert.deepEqual((await server.call("GET", "/v1/audit")).body, []);
});

test("An attempt whose end is unknown stays begun", async () => {
  const audit = new AuditLog(new MemoryStore(), quiet, { node: "a#1" });
  const never = Promise.withResolvers<void>();
  const attempted = audit.during("p", attempt, async () => await never.promise, nothing);
  let entries: readonly AuditEntry[] = [];
  while (entries.length === 0) entries = await audit.list("p", { limit: 10 });
  assert.deepEqual([entries[0]!.outcome, entries[0]!.node], ["begun", "a#1"]);
  never.reject(new Error("too late"));
  await assert.rejects(attempted, /too late/);
  entries = await audit.list("p", { limit: 10 });
  assert.deepEqual([entries[0]!.outcome, entries[0]!.reason], ["failed", "too late"]);
});

test("The log is bounded in number, also when the bound has become smaller, and old entries go", async () => {
  const store = new MemoryStore();
  const environment = new RealEnvironment({ level: "error" });
  let now = 1_700_000_000_000;
  Object.defineProperty(environment, "clock", { value: { ...environment.clock, now: () => now } });
  const rows = async (): Promise<number> => (await store.read([{ ...tupleRange(["p", "audit"]), limit: 1_000 }]))[0]!.length;
  const write = async (audit: AuditLog, count: number): Promise<void> => {
    for (let at = 0; at < count; at++) await audit.during("p", attempt, async () => null, nothing);
  };
  const large = new AuditLog(store, environment, { node: null, limits: { entries: 50, milliseconds: 1_000 } });
  await write(large, 70);
  assert.equal(await rows(), 50);
  const small = new AuditLog(store, environment, { node: null, limits: { entries: 5, milliseconds: 1_000 } });
  await write(small, 4);
  assert.equal(await rows(), 5);
  assert.deepEqual(
    (await small.list("p", { limit: 10 })).map(({ number }) => number),
    [74, 73, 72, 71, 70],
  );
  now += 1_001;
  await write(small, 1);
  assert.deepEqual(
    (await small.list("p", { limit: 10 })).map(({ number }) => number),
    [75],
  );
});

test("Attempts of many nodes at once each get a number of their own", async () => {
  const store = new MemoryStore();
  const audits = ["a", "b", "c"].map((node) => new AuditLog(store, quiet, { node }));
  await Promise.all(Array.from({ length: 12 }, (_, at) => audits[at % 3]!.during("p", attempt, async () => null, nothing)));
  const entries = await audits[0]!.list("p", { limit: 100 });
  assert.deepEqual(
    entries.map(({ number }) => number),
    Array.from({ length: 12 }, (_, at) => 12 - at),
  );
  assert.ok(entries.every(({ outcome }) => outcome === "done"));
});
