import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encodeTuple, tupleRange } from "../base/tuple.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import { BlobDamagedError, blobBytesMax, type BlobPointer, readBlob, writeBlob } from "./blob.ts";
import { MemoryStore } from "./memory-store.ts";
import { type Batch, CommitUnknownError, type Entry, LimitError, type Store } from "./store.ts";

const environment = new RealEnvironment();

/** Bytes that differ from chunk to chunk. */
function bytesOf(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff);
}

async function chunks(store: Store, pointer: BlobPointer): Promise<readonly Entry[]> {
  const [answer] = await store.read([{ ...tupleRange(["p", "blob", pointer.sha256]), limit: 10_000 }]);
  return answer!;
}

/** Passes on to `store` until `commits` of them were made; the next one fails. */
function failingAfter(store: Store, commits: number): Store {
  let made = 0;
  return {
    limits: store.limits,
    read: (queries) => store.read(queries),
    watch: (keys, signal) => store.watch(keys, signal),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    async commit(batch: Batch) {
      if (made++ === commits) throw new RangeError("the process ends here");
      return await store.commit(batch);
    },
  };
}

describe("A blob", () => {
  for (const [length, rows] of [
    [0, 0],
    [1, 1],
    [95_999, 1],
    [96_000, 1],
    [96_001, 2],
    [96_000 * 50, 50],
    [96_000 * 101 + 5, 102],
  ] as const)
    test(`of ${length} bytes is kept in ${rows} rows and comes back as it was`, async () => {
      const store = new MemoryStore();
      const bytes = bytesOf(length);
      const pointer = await writeBlob(store, environment, "p", bytes);
      assert.equal(pointer.bytes, length);
      assert.equal((await chunks(store, pointer)).length, rows);
      assert.ok(Buffer.from(await readBlob(store, "p", pointer)).equals(bytes));
    });

  test("that is written again, or twice at once, writes nothing new", async () => {
    const store = new MemoryStore();
    const [first, second] = await Promise.all([
      writeBlob(store, environment, "p", bytesOf(300_000)),
      writeBlob(store, environment, "p", bytesOf(300_000)),
    ]);
    assert.deepEqual(first, second);
    const rows = await chunks(store, first);
    assert.deepEqual(await writeBlob(store, environment, "p", bytesOf(300_000)), first);
    assert.deepEqual(await chunks(store, first), rows);
  });

  test("whose writer died half way is completed by the next one", async () => {
    const store = new MemoryStore();
    const bytes = bytesOf(96_000 * 120);
    await assert.rejects(writeBlob(failingAfter(store, 2), environment, "p", bytes), RangeError);
    const pointer = await writeBlob(store, environment, "p", bytes);
    assert.equal((await chunks(store, pointer)).length, 120);
    assert.ok(Buffer.from(await readBlob(store, "p", pointer)).equals(bytes));
  });

  test("is written though the answer to a commit is lost", async () => {
    const store = new MemoryStore();
    let isLost = false;
    const losing: Store = {
      ...failingAfter(store, Infinity),
      async commit(batch) {
        const outcome = await store.commit(batch);
        if (!isLost) {
          isLost = true;
          throw new CommitUnknownError("lost");
        }
        return outcome;
      },
    };
    const pointer = await writeBlob(losing, environment, "p", bytesOf(200_000));
    assert.ok(Buffer.from(await readBlob(store, "p", pointer)).equals(bytesOf(200_000)));
  });

  test("of another project is not there", async () => {
    const store = new MemoryStore();
    const pointer = await writeBlob(store, environment, "p", bytesOf(1_000));
    await assert.rejects(readBlob(store, "q", pointer), BlobDamagedError);
  });

  test("over the limit is refused with nothing written", async () => {
    const store = new MemoryStore();
    await assert.rejects(writeBlob(store, environment, "p", new Uint8Array(blobBytesMax + 1)), LimitError);
    const [answer] = await store.read([{ begin: Uint8Array.of(), end: Uint8Array.of(0xff), limit: 1 }]);
    assert.deepEqual(answer, []);
  });

  for (const [title, spoil, message] of [
    ["a changed byte", (key) => ({ kind: "set", key, value: new Uint8Array(96_000) }), /other bytes/],
    ["a chunk that is gone", (key) => ({ kind: "delete", key }), /its rows hold 104000 bytes/],
    ["a chunk that is too long", (key) => ({ kind: "set", key, value: new Uint8Array(99_000) }), /its rows hold more bytes/],
  ] as readonly (readonly [string, (key: Uint8Array) => Batch["writes"][number], RegExp])[])
    test(`with ${title} is never taken for whole`, async () => {
      const store = new MemoryStore();
      const pointer = await writeBlob(store, environment, "p", bytesOf(200_000));
      await store.commit({ id: "spoil", checks: [], writes: [spoil(encodeTuple(["p", "blob", pointer.sha256, 1]))] });
      await assert.rejects(readBlob(store, "p", pointer), (error) => error instanceof BlobDamagedError && message.test(error.message));
    });

  for (const bytes of [-1, NaN, Infinity, blobBytesMax + 1])
    test(`whose pointer says ${bytes} bytes is refused`, async () => {
      await assert.rejects(readBlob(new MemoryStore(), "p", { sha256: "00", bytes }), BlobDamagedError);
    });
});
