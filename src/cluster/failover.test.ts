import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { ActorId } from "../actors/actor.ts";
import { actorName } from "../actors/actor-id.ts";
import { startNode } from "./failover.child.ts";

const rounds = 3;

async function startChild(file: string, name: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "failover.child.ts"), file, name], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout!, "data");
  return child;
}

test("Two processes over one SQLite file and TCP: when one is killed, its actors answer at the other, with what was acknowledged", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "kelpie-failover-"));
  t.after(async () => await rm(folder, { recursive: true, force: true }));
  const file = join(folder, "kelpie.db");
  const here = await startNode(file, "here");
  t.after(async () => await here[Symbol.asyncDispose]());
  let expected = 0;
  for (let round = 0; round < rounds; round++) {
    // The name of the one before is free at once, as its process has ended.
    const child = await startChild(file, "there");
    t.after(() => child.kill("SIGKILL"));
    const there = await seenUp("there");
    const id = actorAt(there, round * 1_000);
    assert.equal(await here.actors.invoke(id, "who"), "there");
    for (expected = 1; expected <= 5; expected++) assert.equal(await here.actors.invoke(id, "add"), expected);
    child.kill("SIGKILL");
    const killed = performance.now();
    // The signal may overtake this message, or not.
    assert.equal(await here.actors.invoke(id, "add"), expected);
    while ((await here.actors.invoke(id, "who")) !== "here");
    t.diagnostic(`answered ${Math.round(performance.now() - killed)} ms after kill -9`);
    assert.equal(await here.actors.invoke(id, "add"), expected + 1);
  }

  /** The node called `name`, when this one sees that it is up. */
  async function seenUp(name: string): Promise<string> {
    for (;;) {
      const member = here.members.find((each) => each.name === name && each.state === "up");
      if (member !== undefined) return member.node;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  function actorAt(node: string, from: number): ActorId {
    for (let at = from; ; at++) {
      const id = { project: "test", type: "counter", key: `key-${at}` };
      if (here.placement.choose(actorName(id))?.node === node) return id;
    }
  }
});
