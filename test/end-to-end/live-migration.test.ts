/** A run moves to another node in its middle, and whoever follows it, at whichever node, sees one sequence. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ServerProcess } from "../../examples/start-server.ts";
import type { ApiMessage } from "../../src/cli/api-client.ts";
import { Api } from "../crash/api.ts";
import { check } from "../crash/checker.ts";
import type { Note } from "../crash/client.ts";
import { type Task, taskText } from "../crash/task.ts";
import { World } from "../crash/world.ts";
import { clientOf, clusterAt } from "./cluster-client.ts";

const { signal } = new AbortController();

/** Three nodes over one store file, and the model that they ask. */
async function startNodes(): Promise<AsyncDisposableStack & { readonly world: World; readonly nodes: readonly ServerProcess[] }> {
  const stack = new AsyncDisposableStack();
  const world = stack.use(await World.start({ eventMilliseconds: ({ plan }) => (plan === "diary" ? 20 : 0) }));
  const variables = { KELPIE_LEAVE_SECONDS: "0", OPENAI_API_KEY: "none", OPENAI_API_BASE: world.modelUrl };
  const first = stack.use(await ServerProcess.start({ ...variables, KELPIE_NODE: "node1" }));
  const nodes = [first];
  for (const name of ["node2", "node3"])
    nodes.push(stack.use(await ServerProcess.start({ ...variables, KELPIE_NODE: name, KELPIE_JOIN: first.url })));
  return Object.assign(stack, { world, nodes });
}

async function actorsAt(node: ServerProcess): Promise<number> {
  return (await clusterAt(node.url)).actors;
}

/** An agent that is in the memory of the first node after a word with it through another one. Tells its word, too. */
async function agentAt([first, other]: readonly ServerProcess[]): Promise<{ readonly id: string; readonly hello: Task }> {
  for (let number = 0; ; number++) {
    const before = await actorsAt(first!);
    const id = await new Api(other!.url).createAgent(`agent ${number}`);
    const hello: Task = { id: `hello-${number}`, plan: "talk" };
    await new Api(other!.url).call("POST", `/v1/agents/${id}/messages`, { messages: [{ role: "user", content: taskText(hello) }] });
    if ((await actorsAt(first!)) > before) return { id, hello };
  }
}

/** Reads a stream to its end; one that is cut fails the test. */
async function follow(at: ServerProcess, path: string, body: unknown, note: Note, onMessage: (message: ApiMessage) => void): Promise<void> {
  for await (const message of clientOf(at.url).stream(path, body, signal)) {
    if (message.message_type === "ping") continue;
    note.runId ??= message.run_id ?? undefined;
    note.seqs.push(message.seq_id!);
    if (message.message_type === "assistant_message") {
      const id = message.id!;
      note.texts.set(id, (note.texts.get(id) ?? "") + String(message["content"]));
    }
    onMessage(message);
  }
  note.finished = true;
}

function noteOf(task: Task, agentId: string): Note {
  const empty = { runId: undefined, seqs: [], texts: new Map<string, string>(), problem: undefined };
  return { task, agentId, otid: task.id, mode: "stream", accepted: true, finished: false, ...empty };
}

/** Sends a task to an agent of the first node, moves it away after the first step, and gives what each reader saw. */
async function moveInTheMiddle(
  t: TestContext,
  options: { readonly background: boolean; readonly heldAt: number; readonly alsoAt: readonly number[] },
): Promise<void> {
  await using stack = await startNodes();
  const { nodes, world } = stack;
  const { id, hello } = await agentAt(nodes);
  const task: Task = { id: "moving", plan: "diary" };
  const notes = [noteOf(task, id), ...options.alsoAt.map(() => noteOf(task, id))];
  const others: Promise<void>[] = [];
  let moved: Promise<unknown> | undefined;
  let seenBefore = 0;
  let seenAfter = 0;
  let isAway = false;
  const body = {
    messages: [{ role: "user", content: taskText(task) }],
    streaming: true,
    stream_tokens: true,
    background: options.background,
  };
  await follow(nodes[options.heldAt]!, `/v1/agents/${id}/messages/stream`, body, notes[0]!, ({ run_id, message_type }) => {
    if (isAway) seenAfter++;
    else seenBefore++;
    if (message_type !== "tool_return_message" || moved !== undefined) return;
    for (const [index, at] of options.alsoAt.entries())
      others.push(follow(nodes[at]!, `/v1/runs/${run_id}/stream`, { starting_after: 0 }, notes[index + 1]!, () => {}));
    moved = clientOf(nodes[0]!.url)
      .request("POST", "/v1/cluster/nodes/node1/drain")
      .then(async () => {
        while ((await actorsAt(nodes[0]!)) > 0);
        isAway = true;
      });
  });
  await moved;
  await Promise.all(others);

  assert.ok(isAway && seenBefore > 0 && seenAfter > 0, "it moved in its middle");
  for (const note of notes.slice(1)) assert.deepEqual(note.seqs, notes[0]!.seqs, "all readers see the same sequence");
  const state = await new Api(nodes[2]!.url).finalState(id);
  const verdict = check([...notes, { ...noteOf(hello, id), mode: "json" }], new Map([[id, state]]), world.effects);
  assert.deepEqual(verdict, { lost: [], duplicated: [], repeated: [], unknown: 0, wrong: [] });
  t.diagnostic(
    `${notes[0]!.runId} left node1 after ${seenBefore} of its ${seenBefore + seenAfter} events; one sequence each at ${notes.length} of the nodes`,
  );
}

for (const [what, options] of [
  ["A background run, followed at all three nodes", { background: true, heldAt: 0, alsoAt: [1, 2] }],
  ["A run of which tokens are in memory only, followed at the node that it leaves", { background: false, heldAt: 0, alsoAt: [] }],
  ["A run of which tokens are in memory only, followed at another node", { background: false, heldAt: 2, alsoAt: [] }],
] as const)
  test(`${what}, moves in its middle: one sequence, with no gap and no repeat`, async (t) => await moveInTheMiddle(t, options));
