import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClusterNode, TestCluster } from "../../test/support/cluster-node.ts";
import { settle } from "../../test/support/manual-environment.ts";
import type { ActorId, ActorType, Turn } from "../actors/actor.ts";
import { actorName } from "../actors/actor-id.ts";
import { defaultTimings, evictionMilliseconds } from "./cluster.ts";

const eviction = evictionMilliseconds(defaultTimings);

type Work = (turn: Turn) => Promise<unknown>;

const posterType: ActorType = { type: "poster", create: () => ({ receive: async (work, turn) => await (work as Work)(turn) }) };

/** Nodes with actors that send, and actors that keep what they were sent. */
class PostCluster extends TestCluster {
  /** What was handled, and where, also by turns that came to nothing. */
  readonly begun: string[] = [];
  /** Awaited by every turn of a reader. */
  onTurn: (node: string) => Promise<void> = async () => {};

  async up(name: string): Promise<ClusterNode> {
    return await this.start(name, () => [posterType, this.#readerType(name)]);
  }

  #readerType(node: string): ActorType {
    return {
      type: "reader",
      create: () => ({
        receive: async (message, turn) => {
          const log = (await turn.state.get<unknown[]>(["log"])) ?? [];
          if (message === "log") return log;
          this.begun.push(`${String(message)}@${node}`);
          turn.state.set(["log"], [...log, message]);
          await this.onTurn(node);
          return null;
        },
      }),
    };
  }

  /** An actor that the members as they are now would place on `node`. */
  at(node: ClusterNode, type: string, from = 0): ActorId {
    for (let number = from; ; number++) {
      const id = { project: "test", type, key: `key-${number}` };
      if (node.cluster.placement.choose(actorName(id))?.node === node.cluster.node) return id;
    }
  }

  async post(node: ClusterNode, from: ActorId, to: ActorId, ...messages: readonly unknown[]): Promise<void> {
    await this.until(
      node.cluster.actors.runtime.invoke(from, (async (turn) => {
        for (const message of messages) turn.send(to, message);
      }) satisfies Work),
    );
  }

  async log(node: ClusterNode, id: ActorId): Promise<readonly unknown[]> {
    return await this.until(node.cluster.actors.invoke<unknown[]>(id, "log"));
  }
}

test("A message goes to the node that has its receiver, at once, and is handled once", async () => {
  const world = new PostCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const [from, to] = [world.at(a, "poster"), world.at(b, "reader")];
  const sentAt = world.time.elapsed();
  await world.post(a, from, to, "one", "two");
  while (world.begun.length < 2) await world.time.advance(1);
  assert.ok(world.time.elapsed() - sentAt < 50);
  assert.equal(world.network.count("look-into-inbox"), 1);
  assert.deepEqual(await world.log(a, to), ["one", "two"]);
  await world.time.advance(30_000);
  assert.deepEqual(world.begun, ["one@b", "two@b"]);
});

test("What waits for an actor whose node is killed is handled by another, without anybody calling it", async () => {
  const world = new PostCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const [from, to] = [world.at(a, "poster"), world.at(b, "reader")];
  world.onTurn = async () => await new Promise(() => {});
  await world.post(a, from, to, "one", "two");
  await world.time.advance(20);
  assert.deepEqual(world.begun, ["one@b"]);
  b.kill();
  world.onTurn = async () => {};
  await world.time.advance(eviction + 2 * defaultTimings.renew + 1_000);
  assert.deepEqual(world.begun, ["one@b", "one@a", "two@a"]);
  assert.deepEqual(await world.log(a, to), ["one", "two"]);
});

test("A message is handled although its sender's node dies before it tells anybody", async () => {
  const world = new PostCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const [from, to] = [world.at(a, "poster"), world.at(b, "reader")];
  world.network.cut("a", "b");
  await world.post(a, from, to, "one");
  a.kill();
  world.network.heal();
  await world.time.advance(eviction + 2 * defaultTimings.renew + 1_000);
  assert.deepEqual(await world.log(b, to), ["one"]);
  assert.deepEqual(world.begun, ["one@b"]);
});

test("A node that was paused over the turn of a message, and lost its actor meanwhile, takes nothing out twice", async () => {
  const world = new PostCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const [from, to] = [world.at(a, "poster"), world.at(b, "reader")];
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  world.onTurn = async (node) => await (node === "b" ? held : undefined);
  await world.post(a, from, to, "one", "two");
  await world.time.advance(20);
  b.pause();
  await world.time.advance(eviction + 2 * defaultTimings.renew + 1_000);
  assert.deepEqual(world.begun, ["one@b", "one@a", "two@a"]);
  b.resume();
  release();
  await world.time.advance(30_000);
  assert.deepEqual(await world.log(a, to), ["one", "two"]);
});

test("Messages that come while their receiver moves are handled once, in order, wherever it is", async () => {
  const world = new PostCluster(7);
  const [a, b, c] = [await world.up("a"), await world.up("b"), await world.up("c")];
  const [from, to] = [world.at(a, "poster"), world.at(b, "reader")];
  const expected: number[] = [];
  let isOver = false;
  const posting = (async (): Promise<void> => {
    for (let each = 0; !isOver; each++) {
      expected.push(each);
      await a.cluster.actors.invoke(from, (async (turn: Turn) => turn.send(to, each)) satisfies Work);
      await world.time.sleep(3);
    }
  })();
  await world.time.advance(100);
  for (const target of ["c", "a", "b"]) {
    const member = a.cluster.members.find(({ name }) => name === target)!;
    const holder = [a, b, c].find((node) => node.cluster.actors.runtime.has(to))!;
    await world.until(holder.cluster.actors.migration.move(to, member, { wake: true }));
    await world.time.advance(100);
  }
  await world.until(b.cluster.drain());
  await world.time.advance(100);
  isOver = true;
  await world.until(posting);
  await world.time.advance(11_000);
  assert.deepEqual(await world.log(c, to), expected);
  const nodes = new Set(world.begun.map((line) => line.split("@")[1]));
  assert.ok(nodes.size === 3, `Handled at ${[...nodes].join(", ")}`);
});

test("A message is handled when the node that it goes to leaves in good order", async () => {
  const world = new PostCluster();
  const [a, b] = [await world.up("a"), await world.up("b")];
  const [from, to] = [world.at(a, "poster"), world.at(b, "reader")];
  world.onTurn = async (node) => await world.time.sleep(node === "b" ? 1_000 : 1);
  await world.post(a, from, to, "one", "two", "three");
  await world.time.advance(20);
  await settle();
  await world.until(Promise.resolve(b.cluster[Symbol.asyncDispose]()));
  await world.time.advance(5_000);
  assert.deepEqual(world.begun, ["one@b", "two@a", "three@a"]);
  assert.deepEqual(await world.log(a, to), ["one", "two", "three"]);
});
