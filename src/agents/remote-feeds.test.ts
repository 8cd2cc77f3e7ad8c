import assert from "node:assert/strict";
import { test } from "node:test";
import { TestNetwork } from "../../test/support/test-network.ts";
import { actorName } from "../actors/actor-id.ts";
import { type Cluster, openCluster } from "../cluster/open-cluster.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import type { ModelEvent } from "../models/model.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import { AgentNotFoundError } from "./agent.ts";
import { conversationActor, type ConversationAddress } from "./conversation.ts";
import type { RunEvent } from "./run-events.ts";
import { openTestAgents, outline, project, sendRequest, type TestAgents, userMessage } from "./testing.ts";

const never = new AbortController().signal;

/** Tokens that come when a test says so. */
class SlowModel {
  readonly #queue: string[] = [];
  #isOver = false;
  #wake: () => void = () => {};

  say(...tokens: readonly string[]): void {
    this.#queue.push(...tokens);
    this.#wake();
  }

  end(): void {
    this.#isOver = true;
    this.#wake();
  }

  async *script(): AsyncGenerator<ModelEvent> {
    for (;;) {
      const delta = this.#queue.shift();
      if (delta !== undefined) yield { type: "text", delta };
      else if (this.#isOver) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

interface Node {
  readonly cluster: Cluster;
  readonly agents: TestAgents;
}

async function startNodes(model: SlowModel, network: TestNetwork): Promise<readonly [Node, Node]> {
  const store = new MemoryStore();
  const start = async (name: string): Promise<Node> => {
    const environment = new RealEnvironment({ level: "error" });
    const pause = { isPaused: false, gate: Promise.resolve() };
    const cluster = openCluster({
      store,
      environment,
      name,
      transport: () => network.transport(name, { clock: environment.clock, pause }),
      errors: [AgentNotFoundError],
      onFenced: (reason) => assert.fail(reason),
    });
    return { cluster, agents: await openTestAgents(() => model.script(), { store, cluster }) };
  };
  return [await start("a"), await start("b")];
}

/** An agent of whose default conversation the actor is placed on `node`. */
async function addressAt(node: Node, any: Node): Promise<ConversationAddress> {
  for (;;) {
    const address = await any.agents.create();
    if (any.cluster.placement.choose(actorName(conversationActor(address)))?.node === node.cluster.node) return address;
  }
}

async function nextText(events: AsyncIterator<readonly RunEvent[]>): Promise<string[]> {
  const { value, done } = await events.next();
  assert.notEqual(done, true);
  return outline(value as readonly RunEvent[]);
}

test("A run is followed at another node token by token, in one sequence with what its own node shows", async () => {
  const model = new SlowModel();
  const network = new TestNetwork();
  const [a, b] = await startNodes(model, network);
  const address = await addressAt(b, a);
  const outcome = await a.agents.agents.conversations.send(address, sendRequest([userMessage("Hi")], { streamTokens: true }));
  assert.ok(outcome.ok);
  assert.equal(b.cluster.actors.runtime.has(conversationActor(address)), true, "the other node works on it");
  const follow = async (node: Node): Promise<AsyncIterator<readonly RunEvent[]>> =>
    (await node.agents.agents.conversations.follow(project, outcome.runId, 0, never))[Symbol.asyncIterator]();
  const here = await follow(a);
  model.say("Hel");
  assert.deepEqual(await nextText(here), ["assistant Hel"], "before anything of it is durable");
  assert.ok(network.calls.some(({ method, from, to }) => method === "follow-run" && from === "a" && to === "b"));
  model.say("lo");
  assert.deepEqual(await nextText(here), ["assistant lo"]);
  model.end();
  const rest: RunEvent[] = [];
  for (let next = await here.next(); next.done !== true; next = await here.next()) rest.push(...next.value);
  assert.equal(rest.at(-1)!.last, true);
  for (const { agents, cluster } of [a, b]) {
    await agents[Symbol.asyncDispose]();
    assert.equal(cluster.actors.live, 0);
  }
});

test("When the node of a run is cut off, its reader goes on with what is durable, with no gap and no repeat", async () => {
  const model = new SlowModel();
  const network = new TestNetwork();
  const [a, b] = await startNodes(model, network);
  const address = await addressAt(b, a);
  const outcome = await a.agents.agents.conversations.send(
    address,
    sendRequest([userMessage("Hi")], { streamTokens: true, background: true }),
  );
  assert.ok(outcome.ok);
  const seen: RunEvent[] = [];
  let hasBegun = (): void => {};
  const begun = new Promise<void>((resolve) => (hasBegun = resolve));
  const reading = (async () => {
    for await (const batch of await a.agents.agents.conversations.follow(project, outcome.runId, 0, never)) {
      seen.push(...batch);
      hasBegun();
    }
  })();
  model.say("one ");
  await begun;
  network.cut("a", "b");
  model.say("two ", "three");
  model.end();
  await reading;
  assert.deepEqual(
    seen.map(({ seq }) => seq),
    seen.map((_, at) => seen[0]!.seq + at),
  );
  const text = outline(seen)
    .filter((line) => line.startsWith("assistant "))
    .map((line) => line.slice("assistant ".length))
    .join("");
  assert.equal(text, "one two three");
  network.heal();
  await Promise.all([a, b].map(async ({ agents }) => await agents[Symbol.asyncDispose]()));
});

test("An error of an agent at another node is of its own class", async () => {
  const [a, b] = await startNodes(new SlowModel(), new TestNetwork());
  const address = { project, agentId: "", conversationId: "default" };
  for (let at = 0; ; at++) {
    address.agentId = `agent-${at}`;
    if (a.cluster.placement.choose(actorName(conversationActor(address)))?.node === b.cluster.node) break;
  }
  await assert.rejects(a.agents.agents.conversations.send(address, sendRequest([userMessage("Hi")])), AgentNotFoundError);
  await Promise.all([a, b].map(async ({ agents }) => await agents[Symbol.asyncDispose]()));
});
