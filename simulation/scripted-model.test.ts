import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelError, type ModelEvent, type ModelRequest } from "../src/models/model.ts";
import { OutsideWorld } from "./effects.ts";
import { Kernel } from "./kernel.ts";
import { type Incarnation, SimulatedProcess } from "./process.ts";
import { KeyedRandom } from "./random.ts";
import { type ModelFaults, noModelFaults, ScriptedModels, scriptedHandle, talkativeScript } from "./scripted-model.ts";

const request: ModelRequest = {
  messages: [
    { role: "system", content: "You are simulated" },
    { role: "user", content: [{ type: "text", text: "Hello" }] },
  ],
  tools: [
    { name: "outside_once", description: "", parameters: {} },
    { name: "outside_readOnly", description: "", parameters: {} },
  ],
  settings: {},
};
const saying = (text: string): ModelRequest => ({
  ...request,
  messages: [request.messages[0]!, { role: "user", content: [{ type: "text", text }] }],
});

/** Runs `work` inside a process of a new kernel. */
async function inProcess(work: (incarnation: Incarnation) => Promise<void>, seed = 1): Promise<Kernel> {
  const kernel = new Kernel();
  let error: unknown;
  const boot = (incarnation: Incarnation): void => void work(incarnation).catch((thrown: unknown) => (error = thrown));
  new SimulatedProcess(kernel, { name: "p", random: new KeyedRandom(seed), boot }).start();
  await kernel.run();
  // oxlint-disable-next-line typescript/only-throw-error -- what was thrown goes on as it was
  if (error !== undefined) throw error;
  return kernel;
}

async function answer(
  asked: ModelRequest,
  faults: Partial<ModelFaults> = {},
  signal: AbortSignal = new AbortController().signal,
  seed = 1,
): Promise<{ events: ModelEvent[]; error: unknown }> {
  const events: ModelEvent[] = [];
  let error: unknown;
  await inProcess(async (incarnation) => {
    const script = talkativeScript(5, (_tool, random) => ({ amount: random.below(10) }));
    const models = new ScriptedModels({
      incarnation,
      random: new KeyedRandom(seed).stream("model"),
      script,
      faults: { ...noModelFaults, ...faults },
      delayMilliseconds: 10,
    });
    const model = await models.open(scriptedHandle);
    try {
      for await (const event of model.generate(asked, signal)) events.push(event);
    } catch (thrown) {
      error = thrown;
    }
  });
  return { events, error };
}

test("A scripted model gives the same conversation the same answer, whatever its delays, and ends it once", async () => {
  const kinds = new Set<string>();
  for (let turn = 0; turn < 40; turn++) {
    const [first, second] = [await answer(saying(`${turn}`)), await answer(saying(`${turn}`), {}, undefined, 2)];
    assert.deepEqual(first, second);
    assert.equal(first.error, undefined);
    assert.equal(first.events.filter((event) => event.type === "end").length, 1);
    assert.equal(first.events.at(-1)!.type, "end");
    for (const event of first.events)
      kinds.add(event.type === "end" ? event.reason : event.type === "toolCallStart" && event.index > 0 ? "parallel" : event.type);
  }
  for (const kind of ["text", "reasoning", "toolCallStart", "toolCallEnd", "parallel", "stop", "toolCalls"])
    assert.ok(kinds.has(kind), `No ${kind} in 40 answers`);
});

test("A talkative script ends within its rounds of tool calls", async () => {
  const messages = [...request.messages];
  for (let round = 0; round < 3; round++)
    messages.push({ role: "assistant", content: [] }, { role: "tool", toolCallId: "x", content: `${round}`, isError: false });
  const { events } = await answer({ ...request, messages });
  assert.deepEqual(events.at(-1)!.type === "end" && (events.at(-1) as { reason: string }).reason, "stop");
});

test("A refused answer emits nothing; a truncated one breaks off without an end; both are model errors", async () => {
  const refused = await answer(request, { refused: 1 });
  assert.deepEqual(refused.events, []);
  assert.ok(refused.error instanceof ModelError);
  const whole = await answer(request);
  for (let seed = 1; seed <= 10; seed++) {
    const { events, error } = await answer(request, { truncated: 1 }, undefined, seed);
    assert.ok(error instanceof ModelError && error.kind === "invalidResponse");
    assert.deepEqual(events, whole.events.slice(0, events.length));
    assert.ok(events.length < whole.events.length);
  }
});

test("An aborted signal ends an answer with its reason, also one that hangs", async () => {
  const reason = new Error("no longer wanted");
  await inProcess(async (incarnation) => {
    for (const hangs of [0, 1]) {
      const controller = new AbortController();
      incarnation.environment.clock.schedule(3, () => controller.abort(reason));
      const script = talkativeScript(5, () => ({}));
      const models = new ScriptedModels({
        incarnation,
        random: new KeyedRandom(1).stream("model"),
        script,
        faults: { ...noModelFaults, hangs },
        delayMilliseconds: 10,
      });
      const model = await models.open(scriptedHandle);
      const read = async (): Promise<void> => {
        for await (const _ of model.generate(request, controller.signal));
      };
      await assert.rejects(read(), reason);
    }
  });
});

test("An unknown handle is refused with the one that exists", async () => {
  await inProcess(async (incarnation) => {
    const models = new ScriptedModels({
      incarnation,
      random: new KeyedRandom(1).stream("model"),
      script: () => ({ parts: [] }),
      faults: noModelFaults,
      delayMilliseconds: 0,
    });
    await assert.rejects(models.open("openai/none"), { name: "ModelNotFoundError", message: /kelpie\/scripted/ });
  });
});

for (const [effect, effects] of [
  ["readOnly", 0],
  ["idempotent", 1],
  ["once", 3],
] as const) {
  test(`Three calls of a ${effect} tool with one effect id are counted, and take effect ${effects} times`, async () => {
    let world: OutsideWorld | undefined;
    await inProcess(async (incarnation) => {
      world = new OutsideWorld(incarnation.kernel);
      const tools = world.tools(incarnation, new KeyedRandom(1).stream("tools"), {
        faults: { answerLost: 0, failed: 0 },
        latencyMilliseconds: 5,
      });
      const tool = tools.find((each) => each.effect === effect)!;
      for (let call = 0; call < 3; call++) {
        const context = {
          effectId: "effect-1",
          signal: new AbortController().signal,
          project: "p",
          agentId: "a",
          conversationId: "default",
        };
        assert.equal((await tool.execute({ amount: 1 }, context)).status, "success");
      }
    });
    assert.deepEqual([...world!.records.values()], [{ effectId: "effect-1", tool: `outside_${effect}`, calls: 3, effects }]);
  });
}

test("An effect whose caller crashed has happened all the same", async () => {
  const kernel = new Kernel();
  const world = new OutsideWorld(kernel);
  let returned = false;
  const boot = (incarnation: Incarnation): void => {
    const tool = world.tools(incarnation, new KeyedRandom(1).stream("tools"), {
      faults: { answerLost: 0, failed: 0 },
      latencyMilliseconds: 5,
    })[2]!;
    const context = { effectId: "effect-1", signal: new AbortController().signal, project: "p", agentId: "a", conversationId: "default" };
    void tool.execute({ amount: 1 }, context).then(() => (returned = true));
  };
  const process = new SimulatedProcess(kernel, { name: "p", random: new KeyedRandom(1), boot });
  process.start();
  kernel.schedule(0.001, { kind: "kill" }, () => process.crash("test"));
  await kernel.run();
  assert.equal(world.records.get("outside_once effect-1")?.effects, 1);
  assert.equal(returned, false);
});
