import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualEnvironment, settle } from "../../test/support/manual-environment.ts";
import { MemoryNetwork, MemoryTransport, type Passage } from "./memory-transport.ts";
import { type CallOptions, NodeUnreachableError, ReplyLostError } from "./transport.ts";
import { TestHandler } from "./transport.contract.ts";
import { testIdentity } from "./testing.ts";

const call: CallOptions = { timeoutMilliseconds: 60_000 };

/** Two nodes and a network whose latency is drawn, and which a test may cut. */
class World {
  readonly environment = new ManualEnvironment();
  readonly handler: TestHandler = new TestHandler();
  readonly passages: Passage[] = [];
  latencyMax = 10;
  isCut: (passage: Passage) => boolean = () => false;
  readonly network = new MemoryNetwork({
    carry: (passage, deliver) => {
      this.passages.push(passage);
      if (!this.isCut(passage)) this.environment.clock.schedule(this.environment.random.fraction() * this.latencyMax, deliver);
    },
  });
  readonly client = this.node("client");

  node(name: string): MemoryTransport {
    const identity = { ...testIdentity, secret: testIdentity.secret!, environment: this.environment };
    return new MemoryTransport({ ...identity, node: name, network: this.network, address: name });
  }

  async start(): Promise<void> {
    await this.node("server").listen(this.handler);
  }

  request(method: string, body: unknown, options: CallOptions = call): Promise<unknown> {
    return this.client.request("server", method, body, options);
  }
}

/** What becomes of a call while time passes. */
async function after(world: World, milliseconds: number, promise: Promise<unknown>): Promise<unknown> {
  const outcome = promise.catch((error: unknown) => error);
  await world.environment.clock.advance(milliseconds);
  return await Promise.race([outcome, settle().then(() => "nothing yet")]);
}

test("Calls arrive in order through a network that delivers out of order", async () => {
  const world = new World();
  await world.start();
  const items: unknown[] = [];
  const reading = (async () => {
    for await (const item of world.client.stream("server", "count", { count: 2_000, bytes: 200 }, call))
      items.push((item as { at: number }).at);
  })();
  assert.equal(await after(world, 5_000, reading), undefined);
  assert.deepEqual(items, [...Array.from({ length: 2_000 }).keys()]);
});

test("C2: a partition in either direction is noticed by pings, and the call is lost", async () => {
  for (const cut of ["client", "server"]) {
    const world = new World();
    await world.start();
    assert.equal(await after(world, 100, world.request("echo", 1)), 1);
    world.isCut = ({ from }) => from === cut;
    const outcome = after(world, 2_900, world.request("until-aborted", 1));
    assert.equal(await outcome, "nothing yet");
    await world.environment.clock.advance(2_000);
    const lost = await after(world, 0, world.request("echo", 1, { timeoutMilliseconds: 10_000 }));
    assert.equal(lost, "nothing yet", "the next call dials again, into the partition");
    world.isCut = () => false;
    await world.environment.clock.advance(20_000);
    assert.equal(await after(world, 2_000, world.request("echo", 2)), 2, "and all is well after it");
  }
});

test("C2: a live peer that is idle stays connected", async () => {
  const world = new World();
  await world.start();
  assert.equal(await after(world, 100, world.request("echo", 1)), 1);
  await world.environment.clock.advance(3_600_000);
  assert.equal(await after(world, 100, world.request("echo", 1)), 1);
  assert.equal(world.passages.filter(({ what, from }) => what === "open" && from === "client").length, 1);
});

test("T1: a node that crashes loses what it may have handled, and nobody there is certainly not handled", async () => {
  const world = new World();
  await world.start();
  assert.equal(await after(world, 100, world.request("echo", 1)), 1);
  const waiting = world.request("wait", 1).catch((error: unknown) => error);
  await world.environment.clock.advance(100);
  assert.equal(world.handler.waiting.length, 1);
  world.network.crash("server");
  await world.environment.clock.advance(100);
  assert.ok((await waiting) instanceof ReplyLostError);
  assert.ok((await after(world, 100, world.request("echo", 1))) instanceof NodeUnreachableError);
  await world.start();
  await world.environment.clock.advance(2_000);
  assert.equal(await after(world, 100, world.request("echo", 2)), 2);
  assert.deepEqual(
    world.handler.calls.map(({ method }) => method),
    ["echo", "wait", "echo"],
  );
});

test("T1: a call that could not leave before its time was over was certainly not handled", async () => {
  const world = new World();
  await world.start();
  world.isCut = () => true;
  assert.ok((await after(world, 100, world.request("echo", 1, { timeoutMilliseconds: 100 }))) instanceof NodeUnreachableError);
  assert.equal(world.handler.calls.length, 0);
});

test("T3: a deadline is time left, whatever the wall clocks say", async () => {
  const world = new World();
  await world.start();
  const remaining = world.request("context", null, { timeoutMilliseconds: 5_000 });
  world.environment.clock.jump(86_400_000);
  const context = (await after(world, 200, remaining)) as { remaining: number };
  assert.ok(context.remaining > 4_900 && context.remaining <= 5_000, String(context.remaining));
});

test("Attempts to connect come further and further apart, and calls between them fail at once", async () => {
  const world = new World();
  const attempts = (): number => world.passages.filter(({ what, to }) => what === "open" && to === "server").length;
  for (let call = 0; call < 1_000; call++) {
    const failed = await after(world, 20, world.request("echo", call));
    assert.ok(failed instanceof NodeUnreachableError, String(failed));
  }
  // 20 s: some at 50, 100, 200, 400 and 800 ms, then each 0.5 to 1 s.
  assert.ok(attempts() >= 20 && attempts() <= 50, `${attempts()} attempts`);
});

test("The same seed gives the same passages", async () => {
  const run = async (): Promise<readonly Passage[]> => {
    const world = new World();
    await world.start();
    const calls = Promise.all(Array.from({ length: 50 }, (_, at) => world.request("echo", at)));
    await after(world, 1_000, calls);
    return world.passages;
  };
  assert.deepEqual(await run(), await run());
});
