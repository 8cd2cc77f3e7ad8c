import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { KeyTurns } from "./key-turns.ts";

test("Work that shares a name is done one after the other, in the order it came; other work is not held up", async () => {
  const work = fc.array(fc.record({ names: fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 3 }), steps: fc.nat({ max: 5 }) }));
  await fc.assert(
    fc.asyncProperty(work, async (all) => {
      const turns = new KeyTurns();
      const running = new Set<number>();
      const done: number[] = [];
      let together = 0;
      const run = async (index: number): Promise<void> => {
        const names = new Set(all[index]!.names);
        for (const other of running)
          assert.ok(
            all[other]!.names.every((name) => !names.has(name)),
            "two at once share a name",
          );
        const before = all.slice(0, index).flatMap((each, at) => (each.names.some((name) => names.has(name)) ? [at] : []));
        assert.deepEqual(
          before.filter((at) => !done.includes(at)),
          [],
          "earlier work is done",
        );
        running.add(index);
        together = Math.max(together, running.size);
        for (let step = 0; step < all[index]!.steps; step++) await Promise.resolve();
        running.delete(index);
        done.push(index);
      };
      await Promise.all(all.map(({ names }, index) => turns.take(new Set(names), () => run(index))));
      assert.equal(done.length, all.length);
      assert.equal(turns.size, 0);
      const free = all.filter(({ names, steps }) => names.length === 0 && steps > 0).length;
      assert.ok(together >= free, "work without names waits for nobody");
    }),
    { numRuns: 300 },
  );
});

test("Work that fails lets the next one have its turn", async () => {
  const turns = new KeyTurns();
  const failing = turns.take(new Set(["a"]), () => Promise.reject(new Error("wrong")));
  const next = turns.take(new Set(["a"]), async () => "done");
  await assert.rejects(failing, /wrong/);
  assert.equal(await next, "done");
  assert.equal(turns.size, 0);
});
