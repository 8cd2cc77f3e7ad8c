import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryTransport } from "../../src/cluster/memory-transport.ts";
import { NodeUnreachableError, ReplyLostError } from "../../src/cluster/transport.ts";
import type { Incarnation, SimulatedProcess } from "../process.ts";
import { simulate } from "../run.ts";
import { withoutFaults } from "../swarm.ts";
import type { World } from "../world.ts";
import { SimulatedNetwork } from "./network.ts";

interface Bench {
  readonly world: World;
  readonly network: SimulatedNetwork;
  readonly processes: readonly SimulatedProcess[];
  /** The other node's answer, which is what it is called. */
  ask(timeoutMilliseconds?: number): Promise<unknown>;
}

/** Two processes with a transport each, of which the first asks the second. */
async function bench(work: (bench: Bench) => Promise<void>): Promise<void> {
  const report = await simulate({
    workload: {
      name: "network",
      checks: "",
      run: async (world) => {
        const network = new SimulatedNetwork(world);
        const transports = new WeakMap<Incarnation, MemoryTransport>();
        const boot = (incarnation: Incarnation): void => {
          const { name } = incarnation.process;
          network.inhabit(name, incarnation);
          const { environment } = incarnation;
          const secret = Buffer.from("the secret of this test");
          const transport = new MemoryTransport({ environment, network, address: name, node: incarnation.label, cluster: "test", secret });
          transports.set(incarnation, transport);
          void transport.listen({
            request: async () => incarnation.label,
            async *stream() {},
          });
        };
        const processes = ["a", "b"].map((name) => world.addProcess(name, boot));
        await world.sleep(1);
        const ask = (timeoutMilliseconds = 60_000): Promise<unknown> => {
          const { incarnation } = processes[0]!;
          return new Promise((resolve, reject) => {
            world.kernel.schedule(0, { kind: "ask", owner: incarnation! }, () => {
              transports.get(incarnation!)!.request("b", "who", null, { timeoutMilliseconds }).then(resolve, reject);
            });
          });
        };
        await work({ world, network, processes, ask });
      },
    },
    seed: 1,
    options: (options) => ({ ...withoutFaults(options), restartAfterMilliseconds: 100 }),
  });
  assert.deepEqual(report.violations, []);
}

test("A link that holds gives all of it when it goes on; one that loses never does, and is found to be dead", async () => {
  await bench(async ({ world, network, ask }) => {
    assert.equal(await ask(), "b#1");
    const goOn = network.stop("a", "b", "hold");
    const held = ask();
    await world.sleep(500);
    goOn();
    assert.equal(await held, "b#1");
    const heal = network.stop("b", "a", "lose");
    await assert.rejects(ask(), ReplyLostError);
    heal();
    await world.sleep(2_000);
    assert.equal(await ask(), "b#1");
  });
});

test("A process that starts again is at the same address, and hears nothing that was meant for the one before", async () => {
  await bench(async ({ world, processes, ask }) => {
    assert.equal(await ask(), "b#1");
    processes[1]!.crash("in this test");
    await world.sleep(50);
    await assert.rejects(ask(), NodeUnreachableError);
    await world.sleep(2_000);
    assert.equal(await ask(), "b#2");
  });
});

test("A paused process answers when it goes on", async () => {
  await bench(async ({ world, processes, ask }) => {
    assert.equal(await ask(), "b#1");
    processes[1]!.pause(1_500);
    const startedAt = world.kernel.now;
    assert.equal(await ask(), "b#1");
    assert.ok(world.kernel.now - startedAt >= 1_500);
  });
});

test("Clocks run at their rates, and a machine that sleeps does not see its time pass, nor do its timers", async () => {
  await bench(async ({ world }) => {
    const process = world.addProcess("c", () => {}, undefined, { rate: 1.25 });
    const { clock } = process.incarnation!.environment;
    const wall = clock.now();
    let firedAt: number | undefined;
    clock.schedule(1_000, () => (firedAt = world.kernel.now));
    const startedAt = world.kernel.now;
    await world.sleep(400);
    assert.equal(clock.elapsed(), 500);
    process.pause(2_000, { suspended: true });
    await world.sleep(2_400);
    assert.equal(clock.elapsed(), 1_000);
    assert.equal(clock.now() - wall, 3_500);
    await world.sleep(1);
    assert.equal(firedAt! - startedAt, 2_800);
  });
});
