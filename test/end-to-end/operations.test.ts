/** What an operator does with a cluster of real processes: looks at it, empties a node, and reads who did so. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerProcess } from "../../examples/start-server.ts";
import type { AuditEntry } from "../../src/server/audit.ts";
import type { ActorAnswer } from "../../src/server/routes/actor-sight.ts";
import { answerFrom, clientOf, clusterAt, membersAt, newAgent } from "./cluster-client.ts";
import { kelpie, type Outcome } from "./kelpie-command.ts";

const quick = { KELPIE_DEMO_TOKEN_MILLISECONDS: "0" };

async function statusAt(url: string, path: string): Promise<{ readonly status: number; readonly body: unknown }> {
  const response = await fetch(url + path);
  return { status: response.status, body: (await response.json()) as unknown };
}

test("A node is emptied from another one, is not ready meanwhile, and takes part again; the log says so", async () => {
  await using node1 = await ServerProcess.start({ KELPIE_NODE: "node1", ...quick });
  await using node2 = await ServerProcess.start({ KELPIE_NODE: "node2", KELPIE_JOIN: node1.url, ...quick });
  assert.deepEqual(await membersAt(node1.url, 2), ["node1 up", "node2 up"]);
  const at = (server: ServerProcess, ...args: readonly string[]): Promise<Outcome> =>
    kelpie([...args, "--server", server.url], { variables: {} });
  const agents = await Promise.all(Array.from({ length: 12 }, (_, index) => newAgent(index % 2 === 0 ? node1.url : node2.url)));
  for (const id of agents) await answerFrom(node1.url, id, "Remember that my name is Ada");
  const atNode2 = async (): Promise<number> => (await clusterAt(node1.url)).members.find(({ name }) => name === "node2")!.actors!;
  assert.ok((await atNode2()) > 0);

  const drained = await at(node1, "drain", "node2");
  assert.deepEqual([drained.code, drained.output], [0, "node2 has given its agents away\n"], drained.notes);
  assert.equal(await atNode2(), 0);
  assert.deepEqual(await statusAt(node2.url, "/v1/ready"), {
    status: 503,
    body: { status: "draining", detail: "This node is draining: its agents go to the other nodes" },
  });
  assert.equal((await statusAt(node2.url, "/v1/health")).status, 200);
  assert.equal((await statusAt(node1.url, "/v1/ready")).status, 200);
  for (const id of agents) assert.match(await answerFrom(node2.url, id, "What is my name?"), /Ada/);
  assert.equal(await atNode2(), 0, "what comes through it goes on to node1");
  const nodes = (await at(node2, "nodes")).output;
  assert.match(nodes, /^node1 +up +\d+ +\d+ s/m);
  assert.match(nodes, /^node2 +draining +0 .*answers$/m);

  const shown = JSON.parse((await at(node2, "actors", "show", agents[0]!, "--json")).output) as ActorAnswer;
  assert.deepEqual([shown.owner?.name, shown.owner?.answers, shown.in_memory?.messages], ["node1", true, 0]);
  assert.ok(Math.abs(Date.parse(shown.committed_at!) - Date.now()) < 60_000);
  assert.match((await at(node2, "actors", "show", `conversation/${agents[0]!}`)).output, /^owner +node1#\w+, up$/m);
  const unknown = await at(node1, "actors", "show", "counter/ada");
  assert.deepEqual([unknown.code, unknown.output], [1, ""]);
  assert.match(unknown.notes, /error: There is no actor "counter\/ada"/);

  for (const [args, why] of [
    [["drain", "node1"], /node node1 is the only one that is up/],
    [["drain", "node3"], /Node not found with id='node3'/],
    [["drain", "node3", "--undo"], /Node not found with id='node3'/],
  ] as const) {
    const refused = await at(node2, ...args);
    assert.deepEqual([refused.code, refused.output], [1, ""]);
    assert.match(refused.notes, why);
  }
  assert.equal((await at(node2, "drain", "node2")).code, 0, "once more does no harm");

  const undone = await at(node1, "drain", "node2", "--undo", "--json");
  assert.equal((JSON.parse(undone.output) as { state: string }).state, "up");
  assert.equal((await statusAt(node2.url, "/v1/ready")).status, 200);
  assert.deepEqual(await membersAt(node1.url, 2), ["node1 up", "node2 up"]);

  const entries = JSON.parse((await at(node1, "audit", "--json")).output) as AuditEntry[];
  assert.deepEqual(
    entries.map(({ action, target, outcome }) => `${action} ${target ?? ""} ${outcome}`),
    [
      "node.undo-drain node2 done",
      "node.drain node2 done",
      "node.undo-drain node3 failed",
      "node.drain node3 failed",
      "node.drain node1 failed",
      "node.drain node2 done",
    ],
  );
  assert.equal(entries.at(-1)!.address, "127.0.0.1");
  assert.match(entries.at(-1)!.node ?? "", /^node1#/);
  assert.match((await at(node1, "audit")).output, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}node\.undo-drain +node2 +done/m);
});

test("A node that drains moves a run in progress, and its reader misses nothing", async () => {
  await using node1 = await ServerProcess.start({ KELPIE_NODE: "node1", KELPIE_DEMO_TOKEN_MILLISECONDS: "5" });
  await using node2 = await ServerProcess.start({ KELPIE_NODE: "node2", KELPIE_JOIN: node1.url, KELPIE_DEMO_TOKEN_MILLISECONDS: "5" });
  await membersAt(node1.url, 2);
  const id = await newAgent(node1.url);
  await answerFrom(node1.url, id, "Hello");
  const { owner } = await clientOf(node1.url).request<ActorAnswer>("GET", `/v1/actors/${id}`);
  const name = owner!.name!;
  const reader = name === "node1" ? node2 : node1;
  let draining: Promise<Outcome> | undefined;
  const { code, output } = await kelpie(["chat", "--agent", id, "-m", "Count to 200", "--server", reader.url], {
    watch: (text) => {
      if (/\b40\b/.test(text)) draining ??= kelpie(["drain", name, "--server", reader.url]);
    },
  });
  assert.equal(code, 0, output);
  assert.equal((await draining)?.code, 0);
  const numbers = [...output.replaceAll(/\(.*\)\n/g, "").matchAll(/\d+/g)].map(([number]) => Number(number));
  assert.deepEqual(
    numbers,
    Array.from({ length: 200 }, (_, index) => index + 1),
  );
  const after = await clientOf(node1.url).request<ActorAnswer>("GET", `/v1/actors/${id}`);
  assert.notEqual(after.owner?.name, name);
});

test("A Kelpie that runs alone has no node to give its agents to, and says so", async () => {
  await using server = await ServerProcess.start(quick);
  const drained = await kelpie(["drain", "--server", server.url]);
  assert.equal(drained.code, 1);
  assert.match(drained.notes, /runs alone: there is no node to take its agents/);
  const id = await newAgent(server.url);
  await answerFrom(server.url, id, "Hello");
  const actor = await clientOf(server.url).request<ActorAnswer>("GET", `/v1/actors/${id}`);
  assert.deepEqual([actor.owner?.answers, actor.owner?.name, actor.in_memory?.busy], [true, null, false]);
});

test("A provider that is added at one node is used at another one without a restart", async () => {
  await using node1 = await ServerProcess.start({ KELPIE_NODE: "node1", ...quick });
  await using node2 = await ServerProcess.start({ KELPIE_NODE: "node2", KELPIE_JOIN: node1.url, ...quick });
  const body = { name: "mine", provider_type: "openai", api_key: "k", base_url: "http://127.0.0.1:9/v1" };
  const { id } = await clientOf(node1.url).request<{ readonly id: string }>("POST", "/v1/providers", { body });
  const agent = { model: "mine/some-model", memory_blocks: [] };
  const made = await clientOf(node2.url).request<{ readonly model: string }>("POST", "/v1/agents", { body: agent });
  assert.equal(made.model, "mine/some-model");
  await clientOf(node2.url).request("DELETE", `/v1/providers/${id}`);
  for (let refused = false; !refused; await sleep(20))
    refused = await clientOf(node1.url)
      .request("POST", "/v1/agents", { body: agent })
      .then(
        () => false,
        () => true,
      );
});
