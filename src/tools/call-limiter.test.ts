import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualEnvironment } from "../../test/support/manual-environment.ts";
import { type Admission, CallLimiter, type CallOfTool, waitingCallsMax } from "./call-limiter.ts";

const never = new AbortController().signal;

function call(agentId = "a", tool = "t", project = "p"): CallOfTool {
  return { project, tool, agentId };
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

test("A tool is called so often and no more, and the refusal says when there is a place again", async () => {
  const environment = new ManualEnvironment();
  const limiter = new CallLimiter(environment);
  const limit = { tool: "*", calls: 2, seconds: 10 };
  const ask = async (each = call()): Promise<number> => {
    const admission = await limiter.enter(each, limit, never);
    if (admission.ok) admission.leave();
    return !admission.ok && admission.reason === "rate" ? admission.afterMilliseconds : 0;
  };
  assert.deepEqual([await ask(), await ask(), await ask()], [0, 0, 5_000]);
  assert.equal(await ask(call("a", "other")), 0, "another tool has a bucket of its own");
  assert.equal(await ask(call("a", "t", "q")), 0, "and so has another project");
  await environment.clock.advance(4_999);
  assert.equal(await ask(), 1);
  await environment.clock.advance(1);
  assert.deepEqual([await ask(), await ask()], [0, 5_000]);
  await environment.clock.advance(1_000_000);
  assert.deepEqual([await ask(), await ask(), await ask()], [0, 0, 5_000], "no more is saved up than the limit");
});

test("Calls over the limit of those at once wait, and agents take turns", async () => {
  const limiter = new CallLimiter(new ManualEnvironment());
  const limit = { tool: "*", concurrency: 2 };
  const order: string[] = [];
  const places: (() => void)[] = [];
  const ask = (agentId: string): void =>
    void limiter.enter(call(agentId), limit, never).then((admission) => {
      order.push(agentId);
      if (admission.ok) places.push(() => admission.leave());
    });
  for (const agent of ["a", "a", "a", "a", "a", "b", "c", "b"]) ask(agent);
  await turns();
  assert.deepEqual(order, ["a", "a"]);
  for (let left = 0; left < 8; left++) {
    places.shift()!();
    await turns();
  }
  assert.deepEqual(order, ["a", "a", "a", "b", "c", "a", "b", "a"]);
});

test("Whoever gives up waiting takes no place", async () => {
  const limiter = new CallLimiter(new ManualEnvironment());
  const limit = { tool: "*", concurrency: 1 };
  const first = await limiter.enter(call(), limit, never);
  const impatient = new AbortController();
  const gone = assert.rejects(limiter.enter(call(), limit, impatient.signal), /enough/);
  const patient = limiter.enter(call("b"), limit, never);
  impatient.abort(new Error("enough"));
  await gone;
  await assert.rejects(limiter.enter(call(), limit, AbortSignal.abort(new Error("late"))), /late/);
  assert.ok(first.ok);
  first.leave();
  assert.equal((await patient).ok, true);
});

test("Only so many calls of a tool wait", async () => {
  const limiter = new CallLimiter(new ManualEnvironment());
  const limit = { tool: "*", concurrency: 1 };
  const first = await limiter.enter(call(), limit, never);
  const waiting: Promise<Admission>[] = [];
  for (let at = 0; at < waitingCallsMax; at++) waiting.push(limiter.enter(call(`${at % 7}`), limit, never));
  assert.deepEqual(await limiter.enter(call(), limit, never), { ok: false, reason: "full" });
  assert.ok(first.ok);
  first.leave();
  for (const each of waiting) {
    const admission = await each;
    assert.ok(admission.ok);
    admission.leave();
  }
  assert.equal((await limiter.enter(call(), limit, never)).ok, true);
});
