import assert from "node:assert/strict";
import { test } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import type { Json } from "../base/json.ts";
import { withReconcileTool } from "./reconcile-tool.ts";
import { newTool } from "./tool-record.ts";
import type { OutsideTool, OutsideToolContext, ToolInput, ToolResult } from "./tool.ts";

const environment = new RealEnvironment({ level: "error" });
const context: OutsideToolContext = {
  effectId: "run-1:step-1:call-1",
  signal: new AbortController().signal,
  project: "default",
  agentId: "agent-1",
  conversationId: "default",
};
const parameters = { type: "object", properties: {} };

function tool(fields: Partial<OutsideTool>): OutsideTool {
  return {
    name: "pay",
    description: "Pays.",
    parameters,
    effect: "once",
    execute: async () => ({ status: "success", text: "paid" }),
    ...fields,
  };
}

function record(metadata_: { readonly [name: string]: Json }): Parameters<typeof withReconcileTool>[0] {
  return { ...newTool(environment, { source_type: "json", json_schema: { name: "pay", description: "Pays.", parameters } }), metadata_ };
}

for (const [says, expected] of [
  [
    { status: "success", text: '{"outcome": "succeeded", "result": "paid 5"}' },
    { outcome: "succeeded", result: { status: "success", text: "paid 5" } },
  ],
  [
    { status: "success", text: '{"outcome": "succeeded", "result": {"sum": 5}}' },
    { outcome: "succeeded", result: { status: "success", text: '{"sum":5}' } },
  ],
  [
    { status: "success", text: '{"outcome": "succeeded"}' },
    { outcome: "succeeded", result: { status: "success", text: "null" } },
  ],
  [{ status: "success", text: '{"outcome": "did_not_happen"}' }, { outcome: "didNotHappen" }],
  [{ status: "success", text: '{"outcome": "unknown"}' }, { outcome: "unknown" }],
  [
    { status: "success", text: '{"outcome": "maybe"}' },
    /ledger says neither succeeded, did_not_happen nor unknown: \{"outcome": "maybe"\}/,
  ],
  [{ status: "success", text: "null" }, /ledger says neither/],
  [{ status: "success", text: "yes" }, /JSON/],
  [{ status: "error", text: "locked" }, /ledger failed: locked/],
] as const satisfies readonly (readonly [ToolResult, object])[])
  test(`A tool that says ${says.text} gives ${expected instanceof RegExp ? "an error" : expected.outcome}`, async () => {
    const asked: ToolInput[] = [];
    const ledger = tool({
      name: "ledger",
      effect: "readOnly",
      execute: async (input) => {
        asked.push(input);
        return says;
      },
    });
    const pay = withReconcileTool(record({ reconcile: "ledger" }), tool({}), async (name) => (name === "ledger" ? ledger : undefined));
    const answer = (pay as OutsideTool).reconcile!({ sum: 5 }, context);
    if (expected instanceof RegExp) await assert.rejects(answer, expected);
    else assert.deepEqual(await answer, expected);
    assert.deepEqual(asked, [{ effect_id: "run-1:step-1:call-1", arguments: { sum: 5 } }]);
  });

test("A tool that could change something is never asked, and one that is not there cannot be", async () => {
  const changes = tool({ name: "ledger", execute: () => assert.fail("it was called") });
  const pay = withReconcileTool(record({ reconcile: "ledger" }), tool({}), async () => changes) as OutsideTool;
  await assert.rejects(pay.reconcile!({}, context), /does not say of itself that it only reads/);
  const lost = withReconcileTool(record({ reconcile: "ledger" }), tool({}), async () => undefined) as OutsideTool;
  await assert.rejects(lost.reconcile!({}, context), /There is no tool ledger/);
});

test("A tool whose owner has named none is as it was", () => {
  const before = tool({});
  for (const metadata_ of [{}, { reconcile: 5 }, { reconcile: null }])
    assert.equal(
      withReconcileTool(record(metadata_), before, async () => undefined),
      before,
    );
});
