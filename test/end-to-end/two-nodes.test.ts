/** Two processes are one Kelpie over one store file, with nothing set but a name and where to join. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ServerProcess } from "../../examples/start-server.ts";
import { type ApiMessage, StreamCutError } from "../../src/cli/api-client.ts";
import { followRun } from "../../src/cli/follow-run.ts";
import { answerFrom, clientOf, clusterAt, membersAt, newAgent } from "./cluster-client.ts";
import { kelpie, type Outcome } from "./kelpie-command.ts";

const variables = { KELPIE_DEMO_TOKEN_MILLISECONDS: "5", KELPIE_LEAVE_SECONDS: "0" };

async function startNodes(
  more: Readonly<Record<string, string>> = {},
): Promise<AsyncDisposableStack & { readonly node1: ServerProcess; readonly node2: ServerProcess }> {
  const stack = new AsyncDisposableStack();
  const node1 = stack.use(await ServerProcess.start({ ...variables, ...more, KELPIE_NODE: "node1" }));
  const node2 = stack.use(await ServerProcess.start({ ...variables, ...more, KELPIE_NODE: "node2", KELPIE_JOIN: node1.url }));
  return Object.assign(stack, { node1, node2 });
}

/** An agent that is active at `at` after a word with it through `other`. */
async function agentAt(at: ServerProcess, other: ServerProcess): Promise<string> {
  for (;;) {
    const before = (await clusterAt(at.url)).actors;
    const id = await newAgent(at.url);
    await answerFrom(other.url, id, "Count to 1");
    if ((await clusterAt(at.url)).actors > before) return id;
  }
}

function numbersIn(messages: readonly ApiMessage[]): number[] {
  const text = messages.map((message) => (message.message_type === "assistant_message" ? String(message["content"]) : "")).join("");
  return [...text.matchAll(/\d+/g)].map(([number]) => Number(number));
}

test("Two nodes find each other, and an agent that was made through one answers through the other", async () => {
  await using nodes = await startNodes();
  const { node1, node2 } = nodes;
  for (const { url } of [node1, node2]) assert.deepEqual(await membersAt(url, 2), ["node1 up", "node2 up"]);
  assert.equal(existsSync(join(node2.folder, ".kelpie")), false, "there is one store");
  const shown = await kelpie(["nodes", "--server", node2.url]);
  assert.match(shown.output, /^NAME +STATE[\s\S]*^node1 +up[\s\S]*^node2 +up +\d+ +\d+ s .*answers$/m);

  const [here, there] = [await agentAt(node1, node2), await agentAt(node2, node1)];
  for (const id of [here, there]) {
    await answerFrom(node1.url, id, "Remember that my name is Ada");
    assert.match(await answerFrom(node2.url, id, "What is my name?"), /Ada/);
    await answerFrom(node2.url, id, "Remember that my name is Grace");
    assert.match(await answerFrom(node1.url, id, "What is my name?"), /Grace/);
  }
});

test("The node of an agent is killed in the middle of its answer: it goes on at the other, with no gap and no repeat", async () => {
  await using nodes = await startNodes();
  const { node1, node2 } = nodes;
  const agentId = await agentAt(node1, node2);
  const seen: ApiMessage[] = [];
  const { signal } = new AbortController();
  const body = { messages: [{ role: "user", content: "Count to 300" }], background: true, stream_tokens: true, streaming: true };
  const cut = (async () => {
    for await (const message of clientOf(node1.url).stream(`/v1/agents/${agentId}/messages/stream`, body, signal)) {
      if (message.message_type === "ping") continue;
      seen.push(message);
      if (seen.length === 40) void node1.kill();
    }
  })();
  await assert.rejects(cut, StreamCutError);
  assert.ok(numbersIn(seen).length < 300);
  const [runId, after] = [seen[0]!.run_id!, seen.at(-1)!.seq_id!];
  for await (const message of followRun(clientOf(node2.url), { runId, after, signal, onConnection: () => {} })) seen.push(message);
  assert.deepEqual(
    numbersIn(seen),
    Array.from({ length: 300 }, (_, index) => index + 1),
  );
  const seqs = seen.map(({ seq_id }) => seq_id!);
  assert.ok(seqs.every((seq, index) => index === 0 || seq > seqs[index - 1]!));
  assert.deepEqual(
    seen.slice(-2).map(({ message_type }) => message_type),
    ["stop_reason", "usage_statistics"],
  );
  assert.deepEqual(await membersAt(node2.url, 1), ["node2 up"]);

  await node1.restart();
  for (const { url } of [node1, node2]) assert.deepEqual(await membersAt(url, 2), ["node1 up", "node2 up"]);
  assert.match(await answerFrom(node1.url, agentId, "Count to 3"), /1 2 3/);
});

test("A node that is told to stop gives its agents to the other, and its clients lose nothing", async () => {
  await using nodes = await startNodes();
  const { node1, node2 } = nodes;
  const agentId = await agentAt(node1, node2);
  await answerFrom(node1.url, agentId, "Remember that my name is Ada");
  let stopped: Promise<number | null> | undefined;
  const messages: ApiMessage[] = [];
  const start = {
    path: `/v1/agents/${agentId}/messages/stream`,
    body: { messages: [{ role: "user", content: "Count to 200", otid: "one" }], background: true, stream_tokens: true, streaming: true },
  };
  for await (const message of followRun(clientOf(node2.url), { start, onConnection: () => {}, signal: new AbortController().signal })) {
    messages.push(message);
    if (messages.length === 20) stopped = node1.stop();
  }
  assert.deepEqual(
    numbersIn(messages),
    Array.from({ length: 200 }, (_, index) => index + 1),
  );
  assert.equal(await stopped, 0);
  assert.deepEqual(await membersAt(node2.url, 1), ["node2 up"]);
  assert.match(await answerFrom(node2.url, agentId, "What is my name?"), /Ada/);
});

test("A node without a supervisor that was paused for longer than the others wait ends by itself, and they go on with its agents", async () => {
  await using nodes = await startNodes({ KELPIE_SUPERVISOR: "no" });
  const { node1, node2 } = nodes;
  const agentId = await agentAt(node1, node2);
  process.kill(node1.pid, "SIGSTOP");
  assert.deepEqual(await membersAt(node2.url, 1), ["node2 up"]);
  assert.match(await answerFrom(node2.url, agentId, "Count to 3"), /1 2 3/);
  process.kill(node1.pid, "SIGCONT");
  assert.equal(await node1.ended(), 4);
});

test("Doctor looks at the cluster that a node would join", async () => {
  await using node1 = await ServerProcess.start({ KELPIE_NODE: "node1" });
  const look = async (join: string): Promise<{ readonly code: number | null; readonly output: string }> =>
    await kelpie(["doctor", "--port", "0", "--join", join], { variables: { KELPIE_DISCOVER_LOCAL: "no" } });
  const found = await look(node1.url);
  assert.equal(found.code, 0);
  assert.match(found.output, /cluster +node1 over \S+kelpie\.db/);
  const lost = await look(`127.0.0.1:${(await freePorts())[0]}`);
  assert.equal(lost.code, 1);
  assert.match(lost.output, /No Kelpie answers/);
});

test("A node that cannot join says why in one line", async () => {
  await using alone = await ServerProcess.start();
  await using named = await ServerProcess.start({
    KELPIE_NODE: "node1",
    KELPIE_CLUSTER_SECRET: "a secret of sixteen".replaceAll(" ", "-"),
  });
  const other = join(alone.folder, "other");
  for (const [args, variables, note] of [
    [["--join", alone.url], {}, /runs alone: start it with KELPIE_NODE/],
    [["--join", named.url], {}, /Cannot read the secret of the cluster .*KELPIE_CLUSTER_SECRET/],
    [["--join", named.url], { KELPIE_CLUSTER_SECRET: "another-secret-of-someone" }, /secret/],
    [["--join", named.url, "--data", other], { KELPIE_CLUSTER_SECRET: "a-secret-of-sixteen" }, /leave --data out/],
    [["--join", named.url, "--node", "node1"], { KELPIE_CLUSTER_SECRET: "a-secret-of-sixteen" }, /A node called node1 is alive/],
    [["--join", named.url, "--store", "postgres://kelpie@127.0.0.1:1/k"], { KELPIE_CLUSTER_SECRET: "a-secret-of-sixteen" }, /leave it out/],
  ] as const) {
    const outcome = await kelpie(["serve", "--port", "0", ...args], { variables: { KELPIE_DISCOVER_LOCAL: "no", ...variables } });
    assert.equal(outcome.code, 1, `${args.join(" ")}: ${outcome.notes}`);
    assert.match(outcome.notes, note);
    assert.match(outcome.notes, /^error: [^\n]*\n$/);
  }
  assert.equal(existsSync(other), false);
});

test("A node that is started before the one that it joins waits for it, and says so", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [port] = await freePorts();
  const stop = new AbortController();
  const discover = { KELPIE_DISCOVER_LOCAL: "no" };
  let first: Promise<Outcome> | undefined;
  const startFirst = (): void => {
    first ??= kelpie(["serve", "--port", port, "--data", folder, "--node", "node1"], {
      variables: discover,
      watch: (_output, child) => stop.signal.addEventListener("abort", () => child.kill("SIGTERM")),
    });
  };
  const second = await kelpie(["serve", "--port", "0", "--node", "node2", "--join", `localhost:${port}`], {
    variables: discover,
    watchNotes: (notes) => notes.includes("Waiting for the node that this one joins") && startFirst(),
    watch: (output, child) => output.includes("Ctrl-C") && child.kill("SIGTERM"),
  });
  stop.abort();
  assert.equal(second.code, 0, second.notes);
  assert.match(second.output, /node {4}node2, with node1/);
  assert.equal((await first)?.code, 0);
});

/** Two that nothing listens on. */
async function freePorts(): Promise<[string, string]> {
  const servers = [createServer(), createServer()] as const;
  const ports = await Promise.all(
    servers.map(async (server) => {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return String((server.address() as AddressInfo).port);
    }),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return [ports[0]!, ports[1]!];
}

const isMissing = ["bash", "curl"].find((program) => spawnSync(program, ["--version"]).status !== 0);
test("examples/two-nodes.sh shows it", { skip: isMissing === undefined ? false : `${isMissing} is not installed` }, async () => {
  const script = join(import.meta.dirname, "..", "..", "examples", "two-nodes.sh");
  const [PORT1, PORT2] = await freePorts();
  const outcome = await new Promise<{ readonly code: unknown; readonly output: string }>((resolve) =>
    execFile("bash", [script], { timeout: 120_000, env: { ...process.env, PORT1, PORT2 } }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? error?.signal ?? 0, output: stdout + stderr }),
    ),
  );
  assert.equal(outcome.code, 0, outcome.output);
  assert.match(outcome.output, /1 to 200, each once/);
});
