/** N1 to N3 of inner-calls.ts, with a tool in place of the one that runs code. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readBlocks } from "../memory/block.ts";
import type { Store } from "../storage/store.ts";
import { transact } from "../storage/transaction.ts";
import { replacePolicy } from "../tools/policy-record.ts";
import type { CallLimit, PolicyRule } from "../tools/tool-policy.ts";
import type { OutsideTool, OutsideToolContext } from "../tools/tool.ts";
import type { ConversationAddress } from "./conversation.ts";
import { pageEffects } from "./effect-ledger.ts";
import { innerCallsMax } from "./inner-calls.ts";
import { calls, collect, lastResults, openTestAgents, project, sendRequest, type TestAgents, text, userMessage } from "./testing.ts";

type Call = (name: string, input?: { readonly [name: string]: string | number }) => Promise<string>;
type Code = (call: Call, context: OutsideToolContext) => Promise<string>;

interface Coding extends TestAgents {
  readonly address: ConversationAddress;
  /** What was paid, by effect id. */
  readonly paid: string[];
  /** What `code` gives in a run in which the agent calls it once. */
  code(options?: Parameters<TestAgents["run"]>[2]): Promise<string>;
  effects(runId?: string): Promise<readonly (readonly [tool: string, state: string])[]>;
  rules(rules: readonly PolicyRule[], limits?: readonly CallLimit[]): Promise<void>;
}

const parameters = { type: "object", properties: { amount: { type: "number" } }, required: ["amount"] };

async function openCoding(
  code: Code,
  {
    store,
    address,
    pay = () => Promise.resolve(),
    fields = {},
    effect = "once",
  }: {
    readonly store?: Store;
    readonly address?: ConversationAddress;
    readonly pay?: () => Promise<void>;
    readonly fields?: Parameters<TestAgents["create"]>[0];
    readonly effect?: OutsideTool["effect"];
  } = {},
): Promise<Coding> {
  const paid: string[] = [];
  let runId = "";
  const tools: OutsideTool[] = [
    {
      name: "code",
      description: "Runs the code of a test.",
      parameters: { type: "object", properties: {} },
      effect,
      async execute(_input, context) {
        runId = context.effectId.split(":")[0]!;
        const call: Call = async (name, input = {}) => (await context.callTool!(name, input, context.signal)).text;
        return { status: "success", text: await code(call, context) };
      },
    },
    {
      name: "pay",
      description: "Pays.",
      parameters,
      effect: "once",
      async execute({ amount }, { effectId }) {
        paid.push(effectId);
        await pay();
        if (amount === 0) throw new Error("nothing to pay");
        return { status: "success", text: `paid ${String(amount)}` };
      },
    },
    {
      name: "price",
      description: "Says a price.",
      parameters: { type: "object", properties: {} },
      effect: "readOnly",
      execute: () => Promise.resolve({ status: "success", text: "7" }),
    },
  ];
  const agents = await openTestAgents(
    (request) => (lastResults(request).length > 0 ? text("done") : calls({ name: "code", arguments: {}, id: "call_0" })),
    { tools, ...(store === undefined ? {} : { store }) },
  );
  const names = ["code", "pay", "price", "core_memory_append", "send_message"];
  const own = address ?? (await agents.create({ tools: names, include_base_tools: false, ...fields }));
  return {
    ...agents,
    address: own,
    paid,
    async code(options) {
      await agents.run(own, "Go", options);
      return (JSON.parse(lastResults(agents.requests.at(-1)!)[0]!) as { readonly message: string }).message;
    },
    effects: async (run = runId) =>
      (await pageEffects(agents.store, project, run, { limit: 1_000 })).map(({ tool_name, state }) => [tool_name, state]),
    async rules(rules, limits = []) {
      await transact(agents.store, agents.environment, (transaction) =>
        replacePolicy(transaction, project, "project", { version: undefined, rules, limits, approval_seconds: 60 }),
      );
    },
  };
}

test("Code calls tools many times in one step, each in the ledger under an id of its own", async () => {
  await using kelpie = await openCoding(async (call) => {
    let sum = 0;
    for (let at = 0; at < 3; at++) sum += Number(await call("price"));
    return `${await call("pay", { amount: sum })}, ${await call("pay", { amount: 0 })}`;
  });
  assert.equal(await kelpie.code(), "paid 21, pay failed: nothing to pay");
  assert.equal(kelpie.requests.length, 2, "one step to call, one to say so");
  assert.deepEqual(await kelpie.effects(), [
    ["code", "succeeded"],
    ...Array.from({ length: 3 }, () => ["price", "succeeded"] as const),
    ["pay", "succeeded"],
    ["pay", "failed"],
  ]);
  const [first, second] = kelpie.paid;
  assert.match(first!, /^run-[\w-]+:step-[\w-]+:call_0:4$/);
  assert.match(second!, /:call_0:5$/);
});

test("The effect of a tool that changes rows is there once, with the result", async () => {
  await using kelpie = await openCoding(async (call) => {
    const input = { label: "human", content: "Likes tea." };
    return (await Promise.all([call("core_memory_append", input), call("core_memory_append", input)])).join("|");
  });
  await kelpie.code();
  const { block_ids } = await kelpie.agents.directory.get(project, kelpie.address.agentId);
  assert.equal((await readBlocks(kelpie.store, project, block_ids))[0]!.value, "Nothing is known yet.\nLikes tea.\nLikes tea.");
});

for (const [what, name, input, rules, fields, expected] of [
  ["a policy asks for", "pay", { amount: 1 }, [{ tool: "pay", action: "ask" }], {}, /code can ask nobody/],
  [
    "the agent's rules ask for",
    "pay",
    { amount: 1 },
    [],
    { tool_rules: [{ type: "requires_approval", tool_name: "pay" }] },
    /code can ask nobody/,
  ],
  ["a policy denies", "pay", { amount: 1 }, [{ tool: "pay", arguments: { "/amount": "1" }, action: "deny" }], {}, /the owner deny it/],
  [
    "the tool rules do not allow now",
    "pay",
    { amount: 1 },
    [],
    { tool_rules: [{ type: "run_first", tool_name: "code" }] },
    /because of the tool rules/,
  ],
  ["has the wrong arguments", "pay", { amount: "one" }, [], {}, /amount/],
  ["is of no tool", "fly", {}, [], {}, /no tool called fly/],
  ["is of the code itself", "code", {}, [], {}, /cannot call it again/],
  ["speaks to the user", "send_message", { message: "Hi" }, [], {}, /it speaks to the user/],
  ["is the client's", "look", {}, [], {}, /code can ask nobody/],
] as const)
  test(`A call of code that ${what} is refused with the reason`, async () => {
    await using kelpie = await openCoding(async (call) => await call(name, input), { fields: fields as never });
    await kelpie.rules(rules);
    const look = { name: "look", description: "Looks.", parameters: { type: "object", properties: {} } };
    assert.match(await kelpie.code({ clientTools: [look] }), expected);
    assert.deepEqual(kelpie.paid, []);
    assert.deepEqual(await kelpie.effects(), [["code", "succeeded"]]);
  });

test("A tool that may be made again calls no others", async () => {
  await using kelpie = await openCoding(async (call) => await call("pay", { amount: 1 }), { effect: "idempotent" });
  assert.match(await kelpie.code(), /only a tool that is declared as made once calls others/);
  assert.deepEqual(kelpie.paid, []);
});

test("The limits of a tool count for the calls of code too", async () => {
  await using kelpie = await openCoding(async (call) => {
    await call("pay", { amount: 1 });
    return await call("pay", { amount: 2 });
  });
  await kelpie.rules([], [{ tool: "pay", calls: 1, seconds: 3_600 }]);
  assert.match(await kelpie.code(), /^pay was not called: all agents together may call it 1 times/);
  assert.equal(kelpie.paid.length, 1);
});

test("Code makes only so many calls", async () => {
  await using kelpie = await openCoding(async (call) => {
    for (let at = 0; at < innerCallsMax; at++) assert.equal(await call("price"), "7");
    return await call("price");
  });
  assert.match(await kelpie.code(), /code may make 500 calls/);
});

test("After a crash in the middle neither the code nor its calls are made again, and those that had started are unknown", async () => {
  const started = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  let ran = 0;
  const code: Code = async (call) => {
    ran++;
    await call("price");
    return await call("pay", { amount: 1 });
  };
  const pay = async (): Promise<void> => {
    started.resolve();
    await gate.promise;
  };
  const first = await openCoding(code, { pay });
  const sent = await first.agents.conversations.send(first.address, sendRequest([userMessage("Go")]));
  assert.ok(sent.ok);
  await started.promise;
  await using second = await openCoding(code, { store: first.store, address: first.address });
  await collect(await second.agents.conversations.follow(project, sent.runId, 0, new AbortController().signal));
  assert.match(lastResults(second.requests[0]!)[0]!, /outcome of code is unknown/);
  assert.deepEqual([ran, first.paid.length, second.paid.length], [1, 1, 0]);
  assert.deepEqual(await second.effects(sent.runId), [
    ["code", "unknown"],
    ["price", "succeeded"],
    ["pay", "unknown"],
  ]);
  gate.resolve();
});

test("When the run is cancelled, the call that is under way is unknown and no other is made", async () => {
  const started = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<unknown>();
  await using kelpie = await openCoding(
    async (call, { signal }) => {
      await call("pay", { amount: 1 });
      await assert.rejects(call("pay", { amount: 2 }));
      ended.resolve(signal.aborted);
      return "";
    },
    {
      pay: async () => {
        started.resolve();
        await new Promise(() => undefined);
      },
    },
  );
  const sent = await kelpie.agents.conversations.send(kelpie.address, sendRequest([userMessage("Go")]));
  assert.ok(sent.ok);
  await started.promise;
  await kelpie.agents.conversations.cancel(kelpie.address, [sent.runId]);
  assert.equal(await ended.promise, true);
  assert.equal(kelpie.paid.length, 1);
  assert.deepEqual(await kelpie.effects(), [
    ["code", "unknown"],
    ["pay", "unknown"],
  ]);
});
