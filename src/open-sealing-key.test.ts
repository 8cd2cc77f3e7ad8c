import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { settle } from "../test/support/manual-environment.ts";
import { RealEnvironment } from "./environment/real-environment.ts";
import { openSealingKey } from "./open-sealing-key.ts";
import { MemoryStore } from "./storage/memory-store.ts";
import { SealError } from "./storage/sealing-key.ts";
import { openSecret, sealSecret, type FindSealingKey, type StoredSecret } from "./storage/stored-secret.ts";

const logged: string[] = [];
const environment = new RealEnvironment({ write: (line) => void logged.push(line) });

interface Start {
  readonly secret?: string;
  readonly isNew?: boolean;
}

/** Starts over one store: with its key, if it is not lost. */
function setUp(t: TestContext, kind: "file" | "database"): { readonly path: string; start(options?: Start): Promise<FindSealingKey> } {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-sealing-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const store = new MemoryStore();
  const place = kind === "file" ? { kind: "sqlite" as const, path: join(folder, "kelpie.db") } : undefined;
  return {
    path: join(folder, "sealing-key"),
    start: async ({ secret, isNew = false } = {}) => await openSealingKey({ environment, store, place, secret, isNew }),
  };
}

/** Seals a secret, and waits until the row is there that names the key. */
async function used(findKey: FindSealingKey): Promise<StoredSecret> {
  const sealed = sealSecret(findKey, "a secret", "name");
  await settle();
  return sealed;
}

test("The key's file is made when a secret is sealed, for its owner alone, and opens it at the next start", async (t) => {
  const { path, start } = setUp(t, "file");
  const first = await start();
  assert.ok(!existsSync(path));
  const sealed = await used(first);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(openSecret(await start(), sealed, "name"), "a secret");
});

test("A file that is missing is not made anew once it has been used, unless that is asked for", async (t) => {
  const { path, start } = setUp(t, "file");
  const sealed = await used(await start());
  rmSync(path);
  await assert.rejects(start(), (error) => error instanceof SealError && error.message.includes(`put the file ${path} back`));
  assert.ok(!existsSync(path));
  const renewed = await start({ isNew: true });
  const again = await used(renewed);
  assert.throws(() => openSecret(renewed, sealed, "name"), /another key, or is damaged/);
  assert.equal(openSecret(await start(), again, "name"), "a secret");
});

test("A start with another key is refused, and says what to do", async (t) => {
  for (const kind of ["file", "database"] as const) {
    const { start } = setUp(t, kind);
    const right = { secret: "the secret of this store" };
    const sealed = await used(await start(right));
    await assert.rejects(
      start({ secret: "a secret of another store" }),
      /another key than that of KELPIE_SEALING_KEY.*KELPIE_NEW_SEALING_KEY=yes/,
    );
    assert.equal(openSecret(await start(right), sealed, "name"), "a secret");
  }
});

test("Over a database without a key no secret is taken, and none opens", async (t) => {
  const { start } = setUp(t, "database");
  const right = { secret: "the secret of this store" };
  const sealed = await used(await start(right));
  const none = await start();
  assert.throws(() => sealSecret(none, "a secret", "name"), /set KELPIE_SEALING_KEY/);
  assert.throws(() => openSecret(none, sealed, "name"), /set KELPIE_SEALING_KEY/);
});

test("Of two nodes with two keys that start at once, the second to seal stops", async (t) => {
  const { start } = setUp(t, "database");
  const [first, second] = [await start({ secret: "the first node's secret" }), await start({ secret: "the second node's secret" })];
  await used(first);
  await used(second);
  await assert.rejects(start({ secret: "the second node's secret" }), SealError);
  assert.throws(() => second(), /another key than that of KELPIE_SEALING_KEY/);
  assert.equal(openSecret(first, sealSecret(first, "a secret", "name"), "name"), "a secret");
  assert.match(logged.at(-1)!, /could not be kept which key/);
});

test("A key that was never used may change", async (t) => {
  const { start } = setUp(t, "database");
  await start({ secret: "the secret of the first day" });
  await start({ secret: "the secret of the second day" });
});
