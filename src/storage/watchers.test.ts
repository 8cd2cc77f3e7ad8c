import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Watchers } from "./watchers.ts";
import type { Write } from "./store.ts";

const key = (text: string): Uint8Array => Buffer.from(text);
const set = (text: string): Write => ({ kind: "set", key: key(text), value: key("") });

/** Whether a watch of `keys` is woken by `writes`. */
async function isWoken(keys: readonly string[], writes: readonly Write[]): Promise<boolean> {
  const watchers = new Watchers();
  const abort = new AbortController();
  const hint = watchers.watch(keys.map(key), abort.signal).next();
  watchers.notify(writes);
  // A hint takes no more than microtasks; the abort ends the watch that got none.
  setImmediate(() => abort.abort());
  return !(await hint).done;
}

describe("Watchers", () => {
  for (const [title, keys, writes, woken] of [
    ["a set of the key", ["a"], [set("a")], true],
    ["a set of one of the keys", ["a", "b"], [set("b")], true],
    ["a set of another key", ["a"], [set("aa"), set("b")], false],
    ["a delete", ["a"], [{ kind: "delete", key: key("a") }], true],
    ["an add", ["a"], [{ kind: "add", key: key("a"), amount: 1n }], true],
    ["a range that holds the key", ["b"], [{ kind: "deleteRange", begin: key("a"), end: key("c") }], true],
    ["a range that begins with the key", ["a"], [{ kind: "deleteRange", begin: key("a"), end: key("c") }], true],
    ["a range that ends at the key", ["c"], [{ kind: "deleteRange", begin: key("a"), end: key("c") }], false],
    ["nothing", ["a"], [], false],
  ] as readonly (readonly [string, readonly string[], readonly Write[], boolean])[])
    test(`${woken ? "wake" : "do not wake"} a watch by ${title}`, async () => assert.equal(await isWoken(keys, writes), woken));

  test("keep a hint that comes while nobody waits, and gather several into one", async () => {
    const watchers = new Watchers();
    const abort = new AbortController();
    const watch = watchers.watch([key("a")], abort.signal);
    const first = watch.next();
    watchers.notify([set("a")]);
    assert.equal((await first).done, false);
    watchers.notify([set("a")]);
    watchers.notify([set("a"), set("a")]);
    assert.equal((await watch.next()).done, false);
    const third = watch.next();
    abort.abort();
    assert.equal((await third).done, true);
  });

  test("wake every watch when what changed is unknown", async () => {
    const watchers = new Watchers();
    const abort = new AbortController();
    const hints = ["a", "b", "a"].map((text) => watchers.watch([key(text)], abort.signal).next());
    watchers.notifyAll();
    for (const hint of hints) assert.equal((await hint).done, false);
  });

  test("forget a watch that ended, by its signal or by its reader", async () => {
    const watchers = new Watchers();
    const abort = new AbortController();
    const ended = watchers.watch([key("a")], abort.signal);
    const hint = ended.next();
    assert.equal(watchers.size, 1);
    abort.abort();
    assert.equal((await hint).done, true);
    assert.equal(watchers.size, 0);
    const left = watchers.watch([key("a")], new AbortController().signal);
    const first = left.next();
    watchers.notifyAll();
    await first;
    await left.return(undefined);
    assert.equal(watchers.size, 0);
  });
});
