import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import { BubblewrapBackend } from "./bubblewrap-backend.ts";
import { runCommand } from "./run-command.ts";
import { SandboxPool } from "./sandbox-pool.ts";
import { bubblewrapMissing } from "./testing.ts";

describe("SandboxPool", { skip: bubblewrapMissing ?? false }, () => {
  const environment = new RealEnvironment({ write: () => undefined });
  const { log } = environment;
  let backend: BubblewrapBackend;
  before(async () => void (backend = await BubblewrapBackend.open({ environment })));
  after(() => backend.close());

  test("It keeps as many ready as it should, and gives each away once", async () => {
    const pool = new SandboxPool({ backend, spec: { isolation: "process" }, size: 2, log });
    await pool.filled();
    assert.equal(pool.ready, 2);
    const taken = await Promise.all(Array.from({ length: 5 }, () => pool.take()));
    assert.equal(new Set(taken.map(({ id }) => id)).size, 5);
    for (const sandbox of taken)
      assert.equal((await runCommand(sandbox, { program: "ls" })).stdout.toString(), "", "each has an empty workspace");
    await pool.filled();
    assert.equal(pool.ready, 2);
    await pool.close();
    assert.equal(pool.ready, 0);
    await assert.rejects(pool.take(), { name: "SandboxClosedError" });
    for (const sandbox of taken) await sandbox.close();
  });

  test("What cannot be made is told to whoever takes it, and the isolation is never less (I8)", async () => {
    const pool = new SandboxPool({ backend, spec: { isolation: "vm" }, size: 2, log });
    await pool.filled();
    assert.equal(pool.ready, 0);
    await assert.rejects(pool.take(), { name: "IsolationError" });
    await pool.close();
  });

  test("It takes no workspace, which could serve only one", () => {
    assert.throws(() => new SandboxPool({ backend, spec: { isolation: "process", workspace: "/x" }, size: 1, log }), {
      name: "SandboxInputError",
    });
  });
});
