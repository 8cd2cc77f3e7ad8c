import assert from "node:assert/strict";
import { test } from "node:test";
import { OutcomeUnknownError, type OutsideTool } from "../tools/tool.ts";
import type { EffectRecord, RunEffectPage } from "./effect-ledger.ts";
import { calls, lastResults, openTestAgents, project, text } from "./testing.ts";

const pay: OutsideTool = {
  name: "pay",
  description: "Pays.",
  parameters: { type: "object", properties: { to: { type: "string" } } },
  effect: "once",
  execute: async ({ to }) => {
    if (to === "bank") throw new OutcomeUnknownError("The connection broke");
    return { status: "success", text: "paid" };
  },
};

test("A call that only reads is not among those that somebody has to look for", async () => {
  const look: OutsideTool = {
    ...pay,
    name: "look",
    effect: "readOnly",
    execute: () => Promise.reject(new OutcomeUnknownError("It broke")),
  };
  await using kelpie = await openTestAgents(
    (request) =>
      lastResults(request).length > 0 ? text("done") : calls({ name: "look", arguments: {} }, { name: "pay", arguments: { to: "bank" } }),
    { tools: [look, pay] },
  );
  await kelpie.run(await kelpie.create({ tools: ["look", "pay"] }), "Look, and pay");
  const unknown = await kelpie.agents.conversations.unknownEffects(project, { limit: 5 });
  assert.deepEqual(
    unknown.map(({ tool_name }) => tool_name),
    ["pay"],
  );
});

test("The effects of a run are listed page by page, also those in one state alone", async () => {
  const to = ["friend", "friend", "bank", "friend", "bank"];
  await using kelpie = await openTestAgents(
    (request) =>
      lastResults(request).length > 0
        ? text("done")
        : calls(...to.map((name, at) => ({ name: "pay", arguments: { to: name }, id: `call-${at}` }))),
    { tools: [pay] },
  );
  const events = await kelpie.run(await kelpie.create({ tools: ["pay"] }), "Pay");
  const runId = String(events[0]!.message["run_id"]);
  const pages = async (page: Omit<RunEffectPage, "after">): Promise<string[][]> => {
    const found: EffectRecord[][] = [];
    for (;;) {
      const after = found.at(-1)?.at(-1)?.effect_id;
      const next = await kelpie.agents.conversations.runEffects(project, runId, { ...page, ...(after === undefined ? {} : { after }) });
      if (next.length === 0) return found.map((effects) => effects.map(({ tool_call_id }) => tool_call_id));
      found.push(next);
    }
  };
  assert.deepEqual(await pages({ limit: 2 }), [["call-0", "call-1"], ["call-2", "call-3"], ["call-4"]]);
  assert.deepEqual(await pages({ limit: 1, state: "unknown" }), [["call-2"], ["call-4"]]);
  assert.deepEqual(await pages({ limit: 5, state: "failed" }), []);
  const unknown = await kelpie.agents.conversations.unknownEffects(project, { limit: 1 });
  assert.deepEqual(
    unknown.map(({ tool_call_id }) => tool_call_id),
    ["call-2"],
  );
  assert.deepEqual(
    (await kelpie.agents.conversations.unknownEffects(project, { limit: 5, after: unknown[0]!.effect_id })).map(
      ({ tool_call_id }) => tool_call_id,
    ),
    ["call-4"],
  );
});
