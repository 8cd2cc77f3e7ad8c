import assert from "node:assert/strict";
import { test } from "node:test";
import { RecentOutcomes } from "./recent-outcomes.ts";
import type { CommitOutcome } from "./store.ts";

const outcome = (version: number): CommitOutcome => ({ ok: true, version });

test("RecentOutcomes knows the last 16,384 batches, and forgets what is far older", () => {
  const outcomes = new RecentOutcomes(() => 0);
  for (let index = 0; index < 100_000; index++) {
    outcomes.set(`batch ${index}`, outcome(index));
    const oldest = Math.max(0, index - 16_383);
    assert.deepEqual(outcomes.get(`batch ${oldest}`), outcome(oldest));
    if (index >= 32_768) assert.equal(outcomes.get(`batch ${index - 32_768}`), undefined);
  }
});

test("RecentOutcomes keeps a batch for ten minutes of silence, and not for ever", () => {
  let now = 0;
  const outcomes = new RecentOutcomes(() => now);
  now = 599_999;
  outcomes.set("a", outcome(1));
  for (now of [600_000, 1_199_999]) {
    outcomes.forgetOld();
    assert.deepEqual(outcomes.get("a"), outcome(1));
  }
  now = 1_200_000;
  outcomes.forgetOld();
  assert.equal(outcomes.get("a"), undefined);
});

test("RecentOutcomes takes back what did not happen", () => {
  const outcomes = new RecentOutcomes(() => 0);
  outcomes.set("a", outcome(1));
  outcomes.delete("a");
  assert.equal(outcomes.get("a"), undefined);
});
