import assert from "node:assert/strict";
import { test } from "node:test";
import { FaultyStore } from "../../test/support/faulty-store.ts";
import { ManualEnvironment, settle } from "../../test/support/manual-environment.ts";
import { ModelCatalogue } from "../models/model-catalogue.ts";
import { ModelNotFoundError } from "../models/model.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { SealError, SealingKey } from "../storage/sealing-key.ts";
import type { Store } from "../storage/store.ts";
import { transact } from "../storage/transaction.ts";
import { ProviderNameTakenError, providers as rows, StoredProviders, type ProviderFields } from "./providers.ts";

const fields = (name: string, key = "k"): ProviderFields => ({
  name,
  provider_type: "openai",
  api_key: key,
  access_key: null,
  base_url: null,
  region: null,
  api_version: null,
});

interface Node {
  readonly environment: ManualEnvironment;
  readonly models: ModelCatalogue;
  readonly providers: StoredProviders;
  /** The keys that its provider was asked with. */
  readonly keys: string[];
}

let seed = 0;

function nodeOver(store: Store, secret = "the secret that both nodes have"): Node {
  const environment = new ManualEnvironment(++seed);
  const key = new SealingKey(secret, environment.random);
  const keys: string[] = [];
  const fetch = async (_: unknown, init?: RequestInit): Promise<Response> => {
    keys.push(new Headers(init?.headers).get("authorization") ?? "");
    return Response.json({ data: [{ id: "m" }] });
  };
  const models = new ModelCatalogue({ environment, providers: [], fetch: fetch as never });
  return { environment, models, keys, providers: new StoredProviders({ store, environment, models, sealingKey: () => key }, "default") };
}

test("A provider's key is sealed in its row, and a key in clear of a version of before is sealed when the row is written again", async () => {
  const store = new MemoryStore();
  const { providers, environment, models, keys } = nodeOver(store);
  const created = await providers.create({ ...fields("new", "a-key-of-the-provider"), access_key: "an-access-key" });
  assert.doesNotMatch(JSON.stringify(await rows.read(store, "default", [created.id])), /a-key-of|an-access/);
  await models.describe("new/m");
  const old = { ...fields("old", "a-key-in-clear"), id: "provider-old", created_at: "2026", updated_at: "2026", last_synced: null };
  await transact(store, environment, async (transaction) => rows.insert(transaction, "default", old));
  await nodeOver(store).providers.update(created.id, { base_url: "https://example.com/v1" });
  await providers.sync();
  assert.equal((await models.describe("old/m")).handle, "old/m");
  await providers.update(old.id, { region: "eu" });
  assert.doesNotMatch(JSON.stringify(await rows.read(store, "default", [old.id])), /in-clear/);
  assert.equal((await models.describe("old/m")).handle, "old/m");
  assert.deepEqual(new Set(keys), new Set(["Bearer a-key-of-the-provider", "Bearer a-key-in-clear"]));
});

test("A node with another sealing key uses no provider that it cannot open, says so, and takes a new key for it", async () => {
  const store = new MemoryStore();
  const [first, other] = [nodeOver(store), nodeOver(store, "a secret of somebody else")];
  const record = await first.providers.create(fields("mine", "a-key-of-the-provider"));
  await other.providers.sync();
  await assert.rejects(other.models.describe("mine/m"), ModelNotFoundError);
  assert.match(JSON.stringify(other.environment.logs), /sealed with another key.*KELPIE_SEALING_KEY/);
  await assert.rejects(other.providers.refresh(record), SealError);
  await assert.rejects(other.providers.update(record.id, { region: "eu" }), SealError);
  await other.providers.update(record.id, { api_key: "a-newer-key" });
  assert.equal((await other.models.describe("mine/m")).handle, "mine/m");
});

test("A provider that was added at one node is used at another one at once, without a hint", async () => {
  const store = new MemoryStore();
  const [a, b] = [nodeOver(store), nodeOver(store)];
  await b.providers.sync();
  await assert.rejects(b.models.describe("mine/m"), ModelNotFoundError);
  await a.providers.create(fields("mine"));
  assert.equal((await b.models.describe("mine/m")).handle, "mine/m");
  await assert.rejects(b.providers.create(fields("mine")), ProviderNameTakenError);
});

test("A node notices that a provider has changed or is gone, by the store's hint", async () => {
  const store = new MemoryStore();
  const [a, b] = [nodeOver(store), nodeOver(store)];
  const stop = new AbortController();
  const following = b.providers.follow(stop.signal);
  const { id } = await a.providers.create(fields("mine", "first"));
  await settle();
  await b.models.describe("mine/m");
  await a.providers.update(id, { api_key: "second" });
  await settle();
  await b.models.describe("mine/m");
  assert.deepEqual(b.keys, ["Bearer first", "Bearer second"]);
  await a.providers.delete(id);
  await settle();
  await assert.rejects(b.models.describe("mine/m"), ModelNotFoundError);
  stop.abort();
  await following;
});

test("A node whose hints never come, and whose store is away for a while, notices it all the same", async () => {
  const store = new MemoryStore();
  const a = nodeOver(store);
  const deaf = new FaultyStore(store);
  deaf.watch = async function* () {};
  const b = nodeOver(deaf);
  const stop = new AbortController();
  const following = b.providers.follow(stop.signal);
  const { id } = await a.providers.create(fields("mine"));
  deaf.readFault = () => true;
  await b.environment.clock.advance(10_000);
  assert.deepEqual(b.models.providers(), []);
  deaf.readFault = () => false;
  await b.environment.clock.advance(10_000);
  assert.deepEqual(
    b.models.providers().map(({ name }) => name),
    ["mine"],
  );
  await a.providers.delete(id);
  await b.environment.clock.advance(10_000);
  assert.deepEqual(b.models.providers(), []);
  stop.abort();
  await following;
});

test("A provider that this node has under the same name from its own settings stays that one", async () => {
  const store = new MemoryStore();
  const [a, b] = [nodeOver(store), nodeOver(store)];
  await a.providers.create(fields("mine"));
  const [provider] = a.models.providers();
  b.models.addProvider(provider!);
  await b.providers.sync();
  await a.providers.sync();
  const other = await a.providers.create(fields("other"));
  await a.providers.delete(other.id);
  await b.providers.sync();
  assert.deepEqual(b.models.providers(), [provider]);
});

test("Changes at several nodes at once leave all of them with the same providers", async () => {
  const store = new MemoryStore();
  const nodes = [nodeOver(store), nodeOver(store), nodeOver(store)];
  await Promise.all(
    Array.from({ length: 30 }, async (_, at) => {
      const { providers } = nodes[at % 3]!;
      const { id } = await providers.create(fields(`p${at}`));
      if (at % 2 === 0) await providers.delete(id);
      else await providers.update(id, { api_key: "new" });
    }),
  );
  for (const { providers, models } of nodes) {
    await providers.sync();
    const names = models
      .providers()
      .map(({ name }) => name)
      .toSorted();
    assert.deepEqual(names, Array.from({ length: 15 }, (_, at) => `p${2 * at + 1}`).toSorted());
  }
});
