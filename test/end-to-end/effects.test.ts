/** A server that is killed in the middle of a call: what is unknown is settled with the command, or found out by asking. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ServerProcess } from "../../examples/start-server.ts";
import { Api } from "../crash/api.ts";
import { doTask, type Note } from "../crash/client.ts";
import { wasCounted, World } from "../crash/world.ts";
import { kelpie, type Outcome } from "./kelpie-command.ts";

interface Interrupted {
  readonly runId: string;
  /** The results of the calls of a tool. */
  resultsOf(tool: string): Promise<readonly string[]>;
  command(...args: string[]): Promise<Outcome>;
  /** How often a tool was called, by effect id. */
  readonly calls: readonly number[];
  /** What the agent was told without having asked. */
  notices(): Promise<readonly string[]>;
}

/** Does a task whose server is killed when `tool` has done its work and has not answered yet. */
async function interruptedIn(tool: string, work: (interrupted: Interrupted) => Promise<void>): Promise<void> {
  await using world = await World.start();
  await using server = await ServerProcess.start({ OPENAI_API_KEY: "key", OPENAI_API_BASE: world.modelUrl });
  const api = new Api(server.url);
  const agentId = await api.createAgent("caller", [], await api.addCountingServer(world.toolUrl));
  const isKilled = new Promise<void>((resolve, reject) =>
    world.watch((moment, called) => {
      if (moment !== "tool-counted" || called !== tool) return;
      world.watch(() => undefined);
      server.kill().then(resolve, reject);
    }),
  );
  const [seqs, texts] = [[], new Map<string, string>()];
  const task = { id: "0-0", plan: "mcp" as const };
  const note: Note = {
    task,
    agentId,
    otid: "first",
    mode: "stream",
    runId: undefined,
    accepted: false,
    finished: false,
    seqs,
    texts,
    problem: undefined,
  };
  const doing = doTask(server.url, note, new AbortController().signal);
  await isKilled;
  await server.restart();
  await doing;
  assert.equal(note.problem, undefined);
  const state = async (): ReturnType<Api["finalState"]> => await api.finalState(agentId);
  await work({
    runId: note.runId!,
    async resultsOf(name) {
      const { messages } = await state();
      const ids = messages.flatMap(({ tool_calls = [] }) =>
        tool_calls.filter((call) => call.name === name).map((call) => call.tool_call_id),
      );
      return messages.flatMap(({ tool_returns = [] }) =>
        tool_returns.filter(({ tool_call_id }) => ids.includes(tool_call_id)).map(({ tool_return }) => tool_return),
      );
    },
    command: async (...args) => await kelpie(["effects", ...args], { variables: { KELPIE_SERVER: server.url } }),
    calls: [...world.effects.values()].filter((effect) => effect.tool === tool).map(({ calls }) => calls),
    notices: async () =>
      (await state()).messages.map(({ content }) => String(content)).filter((content) => content.startsWith("What became of the call")),
  });
}

test("A call that a crash has interrupted is not repeated, is listed as unknown, and is settled with the command", async () => {
  await interruptedIn("counting__once", async ({ runId, resultsOf, command, calls, notices }) => {
    assert.deepEqual(calls, [1, 1], "both calls of the plan were made once");
    const [first, second] = await resultsOf("counting__once");
    assert.match(first!, /^The outcome of counting__once is unknown/);
    assert.match(second!, /^counted 0-0\/c/);

    const [effect] = JSON.parse((await command("list", "--json")).output) as readonly {
      readonly effect_id: string;
      readonly state: string;
    }[];
    const { effect_id: id } = effect!;
    assert.match((await command("list")).output, /unknown +counting__once +once +agent-\S+ +run-/);
    const ofRun = (await command("list", runId)).output.split("\n");
    assert.equal(ofRun.filter((line) => line.includes(" succeeded ")).length, 3);
    assert.match((await command("list", runId, "--unknown")).output, /unknown/);
    assert.match((await command("show", id)).output, /effect_class +once\nstate +unknown\n/);

    const settle = ["settle", id, "--outcome", "succeeded", "--note", "It is in the books"];
    const settled = await command(...settle);
    assert.deepEqual([settled.code, settled.output], [0, `${id} succeeded\n`]);
    assert.equal((await command(...settle)).code, 0, "saying it again is no mistake");
    const other = await command("settle", id, "--outcome", "failed");
    assert.equal(other.code, 1);
    assert.match(other.notes, /was settled at .* as succeeded/);
    assert.match((await command("list")).output, /No call has an unknown outcome/);
    assert.match((await command("show", id)).output, /note +It is in the books/);
    assert.deepEqual(await notices(), [
      `What became of the call ${id.split(":").at(-1)} of counting__once, whose outcome was unknown, is known now: it took effect. It is in the books`,
    ]);
  });
});

test("A call that a crash has interrupted is looked for with the tool that its owner has named", async () => {
  await interruptedIn("counting__checked", async ({ resultsOf, command, calls }) => {
    assert.deepEqual(calls, [1]);
    assert.deepEqual(await resultsOf("counting__checked"), [`${wasCounted}: 0-0/d`]);
    assert.match((await command("list")).output, /No call has an unknown outcome/);
  });
});
