/** What happens to a node, and to those beside it, when its processes are killed and when its store is away. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerProcess } from "../../examples/start-server.ts";
import { PostgresServer, postgresMissing } from "../../src/storage/testing/postgres-server.ts";
import { answerFrom, clusterAt, membersAt, newAgent } from "./cluster-client.ts";
import { kelpie } from "./kelpie-command.ts";

const secret = "a-secret-of-this-test";
const quick = { KELPIE_DEMO_TOKEN_MILLISECONDS: "0", KELPIE_LEAVE_SECONDS: "0" };
let postgres: PostgresServer;
if (postgresMissing === undefined) {
  before(async () => {
    postgres = await PostgresServer.start();
  });
  after(() => postgres[Symbol.asyncDispose]());
}

const stores: readonly (readonly [name: string, skip: string | false, variables: () => Readonly<Record<string, string>>])[] = [
  ["one file", false, () => ({})],
  ["PostgreSQL", postgresMissing ?? false, () => ({ KELPIE_STORE: postgres.passwordAddress("right"), KELPIE_CLUSTER_SECRET: secret })],
];

async function startNodes(
  more: Readonly<Record<string, string>>,
): Promise<AsyncDisposableStack & { readonly node1: ServerProcess; readonly node2: ServerProcess }> {
  const stack = new AsyncDisposableStack();
  const node1 = stack.use(await ServerProcess.start({ ...quick, ...more, KELPIE_NODE: "node1" }));
  const node2 = stack.use(await ServerProcess.start({ ...quick, ...more, KELPIE_NODE: "node2", KELPIE_JOIN: node1.url }));
  return Object.assign(stack, { node1, node2 });
}

/** An agent that knows a name and is in the memory of the node at `url`. */
async function agentAt(url: string): Promise<string> {
  for (;;) {
    const { actors } = await clusterAt(url);
    const id = await newAgent(url);
    await answerFrom(url, id, "Remember that my name is Ada");
    if ((await clusterAt(url)).actors > actors) return id;
  }
}

/** The name of this incarnation of a node. */
async function incarnationAt(url: string): Promise<string> {
  return (await clusterAt(url)).node!;
}

async function knowsItsName(url: string, agentId: string): Promise<void> {
  assert.match(await answerFrom(url, agentId, "What is my name?"), /Ada/);
}

for (const [name, skip, variables] of stores)
  test(`Two nodes over ${name}, and one of them is killed`, { skip }, async (t) => {
    await using nodes = await startNodes(variables());
    const { node1, node2 } = nodes;

    await t.test("A server alone: its agents go on at the other node, and it is back as another incarnation", async () => {
      const [agentId, before, pid] = [await agentAt(node1.url), await incarnationAt(node1.url), node1.pid];
      process.kill(pid, "SIGKILL");
      await knowsItsName(node2.url, agentId);
      while (node1.pid === pid) await sleep(20);
      for (const { url } of [node1, node2]) assert.deepEqual(await membersAt(url, 2), ["node1 up", "node2 up"]);
      const again = await incarnationAt(node1.url);
      assert.notEqual(again, before);
      assert.match(again, /^node1#/);
      await knowsItsName(node1.url, agentId);
    });

    await t.test("A supervisor alone: its server gives its agents away and ends", async () => {
      const agentId = await agentAt(node1.url);
      process.kill(node1.supervisorPid, "SIGKILL");
      await node1.ended();
      assert.deepEqual(await membersAt(node2.url, 1), ["node2 up"]);
      await knowsItsName(node2.url, agentId);
      await node1.restart();
    });

    await t.test("Both: its agents go on at the other node, and nothing starts it again", async () => {
      const agentId = await agentAt(node1.url);
      // Resolves when neither of both runs.
      await node1.kill();
      await knowsItsName(node2.url, agentId);
      assert.deepEqual(await membersAt(node2.url, 1), ["node2 up"]);
    });

    await t.test("The other one, when nobody is left whom it could join: it is back all the same", async () => {
      const [agentId, pid] = [await agentAt(node2.url), node2.pid];
      process.kill(pid, "SIGKILL");
      while (node2.pid === pid) await sleep(20);
      await knowsItsName(node2.url, agentId);
    });

    assert.equal(await node2.stop(), 0, "a stop ends the supervisor too");
  });

test("A server that is stuck is ended, and is back as another incarnation", async () => {
  await using nodes = await startNodes({});
  const { node1, node2 } = nodes;
  const [agentId, pid] = [await agentAt(node1.url), node1.pid];
  process.kill(pid, "SIGSTOP");
  while (node1.pid === pid) await sleep(50);
  for (const { url } of [node1, node2]) assert.deepEqual(await membersAt(url, 2), ["node1 up", "node2 up"]);
  await knowsItsName(node2.url, agentId);
});

test("Two nodes with one name are started at once: one has it, and the other says so and ends", async () => {
  await using node1 = await ServerProcess.start({ ...quick, KELPIE_NODE: "node1" });
  const start = async (): Promise<ServerProcess> => await ServerProcess.start({ ...quick, KELPIE_NODE: "node2", KELPIE_JOIN: node1.url });
  const outcomes = await Promise.allSettled([start(), start()]);
  await using stack = new AsyncDisposableStack();
  for (const outcome of outcomes) if (outcome.status === "fulfilled") stack.use(outcome.value);
  const refused = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.equal(refused.length, 1);
  assert.match(String(refused[0]!.reason), /ended with 1 .*: error: A node called node2 is alive/s);
  assert.deepEqual(await membersAt(node1.url, 2), ["node1 up", "node2 up"]);
});

const skip = postgresMissing ?? false;
for (const [what, away, back] of [
  ["is away", async () => await postgres.stop("immediate"), async () => await postgres.resume()],
  ["can only be read", async () => makeReadOnly("on"), async () => makeReadOnly("off")],
] as const)
  test(`PostgreSQL ${what} for longer than a lease: both nodes live through it, and nothing is lost`, { skip }, async () => {
    await using nodes = await startNodes(stores[1]![2]());
    const both = [nodes.node1, nodes.node2];
    const agentId = await agentAt(nodes.node1.url);
    const before = await Promise.all(both.map(({ url }) => incarnationAt(url)));
    await away();
    try {
      // Longer than anybody's lease and than the others wait: it is about what has not happened by then.
      await sleep(8_000);
    } finally {
      await back();
    }
    for (const { url } of both) {
      await knowsItsName(url, agentId);
      assert.deepEqual(await membersAt(url, 2), ["node1 up", "node2 up"]);
    }
    assert.deepEqual(await Promise.all(both.map(({ url }) => incarnationAt(url))), before);
  });

test("A node over a PostgreSQL that can only be read says so in one line, and ends", { skip }, async () => {
  makeReadOnly("on");
  try {
    const { code, notes } = await kelpie(["serve", "--port", "0"], {
      variables: { ...stores[1]![2](), KELPIE_NODE: "node1", KELPIE_DISCOVER_LOCAL: "no" },
    });
    assert.equal(code, 1);
    assert.match(notes, /^error: The database takes no writes[^\n]*\n$/);
  } finally {
    makeReadOnly("off");
  }
});

function makeReadOnly(state: "on" | "off"): void {
  postgres.query(`ALTER DATABASE kelpie SET default_transaction_read_only = ${state}`, "postgres");
  postgres.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'kelpie'", "postgres");
}
