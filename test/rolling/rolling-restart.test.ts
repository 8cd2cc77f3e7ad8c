/** `npm run test:rolling` does this at full size. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PostgresServer, postgresMissing } from "../../src/storage/testing/postgres-server.ts";
import { rollingRestart } from "./rolling-restart.ts";

test("Three nodes are restarted under load, and their clients do not notice", { skip: postgresMissing ?? false }, async () => {
  await using postgres = await PostgresServer.start();
  const report = await rollingRestart({
    store: postgres.address,
    nodes: 3,
    rounds: 1,
    clients: 3,
    checkMilliseconds: 50,
    leaveSeconds: 2,
    stopSeconds: 20,
    eventMilliseconds: 10,
  });
  assert.deepEqual(report.failures, []);
  assert.deepEqual(report.verdict, { lost: [], duplicated: [], repeated: [], unknown: 0, wrong: [] });
  assert.equal(report.unfinished, 0);
  assert.deepEqual(report.exitCodes, [0, 0, 0]);
  assert.ok(report.tasks > 6 && report.requests > 100);
});
