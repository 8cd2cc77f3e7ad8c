import assert from "node:assert/strict";
import { test } from "node:test";
import { TestNetwork } from "../../test/support/test-network.ts";
import { actorName } from "../actors/actor-id.ts";
import { type Cluster, openCluster } from "../cluster/open-cluster.ts";
import { RealEnvironment } from "../environment/real-environment.ts";
import type { ModelEvent } from "../models/model.ts";
import { MemoryStore } from "../storage/memory-store.ts";
import type { Tool } from "../tools/tool.ts";
import { AgentNotFoundError } from "./agent.ts";
import type { AgentCreate } from "./agent-directory.ts";
import { conversationActor, type ConversationAddress } from "./conversation.ts";
import type { RunEvent } from "./run-events.ts";
import {
  calls,
  collect,
  lastResults,
  openTestAgents,
  outline,
  project,
  type Script,
  sendRequest,
  type TestAgents,
  text,
  userMessage,
} from "./testing.ts";

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

async function startNodes(
  script: Script,
  network: TestNetwork = new TestNetwork(),
  tools: readonly Tool[] = [],
): Promise<readonly [Node, Node, (name: string) => Promise<Node>]> {
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
    return { cluster, agents: await openTestAgents(script, { store, cluster, tools }) };
  };
  return [await start("a"), await start("b"), start];
}

/** An agent of whose default conversation the actor is placed on `node`. */
async function addressAt(node: Node, any: Node, fields: AgentCreate = {}): Promise<ConversationAddress> {
  for (;;) {
    const address = await any.agents.create(fields);
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
  const [a, b] = await startNodes(() => model.script(), network);
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
  const [a, b] = await startNodes(() => model.script(), network);
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
  const shown = outline(seen)
    .filter((line) => line.startsWith("assistant "))
    .map((line) => line.slice("assistant ".length))
    .join("");
  assert.equal(shown, "one two three");
  network.heal();
  await Promise.all([a, b].map(async ({ agents }) => await agents[Symbol.asyncDispose]()));
});

test("A run whose node drains finishes its step there, and goes on at the other: no call twice, and one sequence of events", async () => {
  const effects: string[] = [];
  let finishCall = (): void => {};
  let hasBegun = (): void => {};
  const begun = new Promise<void>((resolve) => (hasBegun = resolve));
  const tool: Tool = {
    name: "post",
    description: "Has an effect that must not be repeated",
    parameters: { type: "object", properties: {} },
    effect: "once",
    execute: async (_input, { effectId, signal }) => {
      effects.push(effectId);
      hasBegun();
      await new Promise<void>((resolve) => (finishCall = resolve));
      return { status: signal.aborted ? "error" : "success", text: "posted" };
    },
  };
  const script: Script = (request) => (lastResults(request).length === 0 ? calls({ name: "post", arguments: {} }) : text("done ", "now"));
  const [a, b] = await startNodes(script, new TestNetwork(), [tool]);
  const address = await addressAt(b, a, { tools: ["post"] });
  const outcome = await a.agents.agents.conversations.send(address, sendRequest([userMessage("Post it")]));
  assert.ok(outcome.ok);
  const reading = a.agents.agents.conversations.follow(project, outcome.runId, 0, never).then(collect);
  await begun;
  const draining = b.cluster.drain();
  // The drain waits for the call; what would cut it off comes no sooner than this.
  await b.agents.environment.clock.sleep(100);
  assert.equal(b.cluster.actors.live, 1);
  finishCall();
  assert.deepEqual(await draining, { moved: 1, left: 0 });
  const events = await reading;
  assert.equal(effects.length, 1);
  assert.deepEqual(
    [b, a].map(({ agents }) => agents.requests.length),
    [1, 1],
    "each step asked the model once, at its own node",
  );
  assert.deepEqual(
    outline(events).filter((line) => /^(call|return|assistant|stop)/.test(line)),
    ["call post", "return success", "assistant done now", "stop end_turn"],
  );
  assert.ok(events.every(({ seq }, at) => at === 0 || seq > events[at - 1]!.seq));
  await Promise.all([a, b].map(async ({ agents }) => await agents[Symbol.asyncDispose]()));
});

test("A run that moves between two other nodes is followed on, token by token", { timeout: 20_000 }, async () => {
  const model = new SlowModel();
  const script: Script = (request) => (lastResults(request).length === 0 ? calls({ name: "wait", arguments: {} }) : model.script());
  const [calling, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const tool: Tool = {
    name: "wait",
    description: "Takes as long as the test wants",
    parameters: { type: "object", properties: {} },
    effect: "once",
    execute: async () => {
      calling.resolve();
      await goOn.promise;
      return { status: "success", text: "waited" };
    },
  };
  const [a, b, start] = await startNodes(script, new TestNetwork(), [tool]);
  const c = await start("c");
  const isForAThen = ({ agentId }: ConversationAddress): boolean =>
    c.cluster.placement.choose(actorName(conversationActor({ project, agentId, conversationId: "default" })), {
      except: b.cluster.node,
    })?.node === a.cluster.node;
  let address: ConversationAddress;
  do address = await addressAt(b, c, { tools: ["wait"] });
  while (!isForAThen(address));
  const outcome = await c.agents.agents.conversations.send(address, sendRequest([userMessage("Wait")], { streamTokens: true }));
  assert.ok(outcome.ok);
  const there = (await c.agents.agents.conversations.follow(project, outcome.runId, 0, never))[Symbol.asyncIterator]();
  await calling.promise;
  const draining = b.cluster.drain();
  goOn.resolve();
  assert.deepEqual(await draining, { moved: 1, left: 0 });
  model.say("Hel");
  for (let shown: string[] = []; !shown.includes("assistant Hel");) shown = await nextText(there);
  model.end();
  for (let next = await there.next(); next.done !== true;) next = await there.next();
  await Promise.all([a, b, c].map(async ({ agents }) => await agents[Symbol.asyncDispose]()));
});

test("An error of an agent at another node is of its own class", async () => {
  const [a, b] = await startNodes(() => []);
  const address = { project, agentId: "", conversationId: "default" };
  for (let at = 0; ; at++) {
    address.agentId = `agent-${at}`;
    if (a.cluster.placement.choose(actorName(conversationActor(address)))?.node === b.cluster.node) break;
  }
  await assert.rejects(a.agents.agents.conversations.send(address, sendRequest([userMessage("Hi")])), AgentNotFoundError);
  await Promise.all([a, b].map(async ({ agents }) => await agents[Symbol.asyncDispose]()));
});
