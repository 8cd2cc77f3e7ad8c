import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { tupleRange } from "../base/tuple.ts";
import { FakeProcesses } from "../../test/support/actor-node.ts";
import { ManualEnvironment } from "../../test/support/manual-environment.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { memberPrefix } from "./actor-rows.ts";
import { HostProcessTable } from "./host-process-table.ts";
import { SingleNodePlacement } from "./single-node-placement.ts";

async function members(store: MemoryStore): Promise<number> {
  const [answer] = await store.read([{ ...tupleRange(memberPrefix), limit: 100 }]);
  return answer!.length;
}

test("A node is alive from when it joins until it leaves or its process ends", async () => {
  const store = new MemoryStore();
  const processes = new FakeProcesses();
  const [tableA, tableB] = [processes.start(), processes.start()];
  const a = new SingleNodePlacement(store, new ManualEnvironment(101), tableA);
  const b = new SingleNodePlacement(store, new ManualEnvironment(102), tableB);
  await b.join();
  assert.equal(await b.isAlive(a.node), false, "has not joined");
  await a.join();
  assert.equal(await b.isAlive(a.node), true);
  processes.kill(tableA);
  assert.equal(await b.isAlive(a.node), false, "its process is gone");
  assert.equal(await b.isAlive("nobody"), false);
  assert.equal(await b.isAlive(b.node), true);
  await b.leave();
  assert.equal(await a.isAlive(b.node), false);
});

test("A node that joins removes the rows of dead processes, and no others", async () => {
  const store = new MemoryStore();
  const processes = new FakeProcesses();
  const tables = [0, 1, 2].map(() => processes.start());
  const nodes = tables.map((table, index) => new SingleNodePlacement(store, new ManualEnvironment(200 + index), table));
  for (const node of nodes) await node.join();
  assert.equal(await members(store), 3);
  processes.kill(tables[0]!);
  processes.kill(tables[1]!);
  await new SingleNodePlacement(store, new ManualEnvironment(210), processes.start()).join();
  assert.equal(await members(store), 2);
});

test("Two nodes of one process have different names", () => {
  const table = new FakeProcesses().start();
  const environment = new ManualEnvironment(300);
  const store = new MemoryStore();
  assert.notEqual(new SingleNodePlacement(store, environment, table).node, new SingleNodePlacement(store, environment, table).node);
});

test("The host's process table knows this process, and another one until it has ended", async () => {
  const table = new HostProcessTable();
  assert.equal(table.self.pid, process.pid);
  assert.notEqual(table.self.started, "");
  assert.equal(table.isRunning(table.self), true);
  assert.equal(table.isRunning({ ...table.self, started: "another start" }), false, "a process number that was used again");

  assert.equal(table.sees(table.self), true);
  assert.equal(table.sees({ ...table.self, host: "another-host" }), false);
  assert.notEqual(table.machine, "");

  const code = `
    import { HostProcessTable } from ${JSON.stringify(new URL("host-process-table.ts", import.meta.url).href)};
    process.stdout.write(JSON.stringify(new HostProcessTable().self));
    process.stdin.resume();
  `;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", code], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const identity = JSON.parse(line.toString()) as typeof table.self;
  assert.equal(identity.pid, child.pid);
  assert.equal(table.sees(identity), true);
  assert.equal(table.isRunning(identity), true);
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.equal(table.isRunning(identity), false);
});
