import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzzFrames } from "./fuzz-frames.ts";
import { memoryMegabytesMax } from "./limits.ts";

test("2,000 malformed frames: the node lives, serves good peers, and keeps its memory bounded", { timeout: 120_000 }, async () => {
  const { frames, joined, goodCalls, memory } = await fuzzFrames({ frames: 2_000, seed: 7 });
  assert.equal(frames, 2_000);
  assert.ok(joined > 100 && goodCalls >= 50);
  assert.ok(memory.most < memoryMegabytesMax, `${memory.most} MB`);
});
