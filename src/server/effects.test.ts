import assert from "node:assert/strict";
import { test } from "node:test";
import { OutcomeUnknownError, type OutsideTool } from "../tools/tool.ts";
import { openTestServer, type TestServer } from "./testing.ts";

interface Effect {
  readonly effect_id: string;
  readonly run_id: string;
  readonly state: string;
  readonly settled: unknown;
}

const transfer: OutsideTool = {
  name: "transfer",
  description: "Transfers money.",
  parameters: { type: "object", properties: { to: { type: "string" } }, required: ["to"] },
  effect: "once",
  execute: async ({ to }) => {
    if (to === "nowhere") return { status: "error", text: "There is no such account" };
    if (to === "bank") throw new OutcomeUnknownError("The connection broke");
    return { status: "success", text: "done" };
  },
};

async function called(server: TestServer, to: string): Promise<{ readonly agentId: string; readonly effect: Effect }> {
  const tools = await server.letta.tools.list({ name: "transfer" });
  const agent = await server.letta.agents.create({ tool_ids: tools.items.map(({ id }) => id!), model: "kelpie/demo" });
  const said = await server.letta.agents.messages.create(agent.id, {
    messages: [{ role: "user", content: `call transfer {"to":"${to}"}` }],
  });
  const runId = said.messages[0]!.run_id!;
  const { body } = await server.call("GET", `/v1/runs/${runId}/effects`);
  return { agentId: agent.id, effect: (body as readonly Effect[])[0]! };
}

const pathOf = ({ run_id, effect_id }: Effect): string => `/v1/runs/${run_id}/effects/${encodeURIComponent(effect_id)}`;

test("The calls of a run that left Kelpie are listed with what became of them", async () => {
  await using server = await openTestServer({ tools: [transfer] });
  for (const [to, state] of [
    ["friend", "succeeded"],
    ["nowhere", "failed"],
    ["bank", "unknown"],
  ] as const) {
    const { effect } = await called(server, to);
    assert.deepEqual([effect.state, effect.settled], [state, null]);
    assert.deepEqual((await server.call("GET", pathOf(effect))).body, effect);
    const filtered = await server.call("GET", `/v1/runs/${effect.run_id}/effects?state=started`);
    assert.deepEqual(filtered.body, []);
  }
  const unknown = (await server.call("GET", "/v1/effects")).body as readonly Effect[];
  assert.deepEqual(
    unknown.map(({ state }) => state),
    ["unknown"],
  );
});

test("A call of which nobody knows is settled once, its agent is told, and lists show it no more", async () => {
  await using server = await openTestServer({ tools: [transfer] });
  const { agentId, effect } = await called(server, "bank");
  const path = `${pathOf(effect)}/settle`;
  const said = { outcome: "succeeded", note: "The bank has it." };
  const settled = await server.call("POST", path, said);
  assert.equal(settled.status, 200);
  assert.deepEqual((settled.body as Effect).state, "succeeded");
  assert.deepEqual((await server.call("POST", path, said)).body, settled.body, "saying it again changes nothing");
  const other = await server.call("POST", path, { outcome: "failed" });
  assert.equal(other.status, 409);
  assert.match(JSON.stringify(other.body), /was settled at .* as succeeded/);
  assert.deepEqual((await server.call("GET", "/v1/effects")).body, []);
  const messages = await server.letta.agents.messages.list(agentId, { order: "desc", limit: 1 });
  assert.match(
    JSON.stringify(messages.items[0]),
    /system_message.*What became of the call .* of transfer, whose outcome was unknown, is known now: it took effect\. The bank has it\./,
  );
});

test("What is settled while the agent waits for an approval is told with its next message", async () => {
  await using server = await openTestServer({ tools: [transfer] });
  const { agentId, effect } = await called(server, "bank");
  const client_tools = [{ name: "Bash", description: "Runs.", parameters: { type: "object", properties: {} } }];
  const asked = await server.letta.agents.messages.create(agentId, { messages: [{ role: "user", content: "call Bash {}" }], client_tools });
  const { tool_call: call } = asked.messages.at(-1) as unknown as { readonly tool_call: { readonly tool_call_id: string } };
  await server.call("POST", `${pathOf(effect)}/settle`, { outcome: "did_not_happen" });
  const result = { type: "tool" as const, tool_call_id: call.tool_call_id, tool_return: "ran", status: "success" as const };
  await server.letta.agents.messages.create(agentId, { messages: [{ type: "approval", approvals: [result] }], client_tools });
  const told = async (): Promise<number> => {
    const messages = await server.letta.agents.messages.list(agentId, { order: "asc", limit: 100 });
    return messages.items.filter((message) => JSON.stringify(message).includes("it never happened")).length;
  };
  assert.equal(await told(), 0);
  for (let time = 0; time < 2; time++) {
    await server.letta.agents.messages.create(agentId, { messages: [{ role: "user", content: "hello" }] });
    assert.equal(await told(), 1, "it is told once");
  }
});

test("What is no unknown effect is refused, and says why", async () => {
  await using server = await openTestServer({ tools: [transfer] });
  const { effect } = await called(server, "friend");
  const known = await server.call("POST", `${pathOf(effect)}/settle`, { outcome: "failed" });
  assert.equal(known.status, 409);
  assert.match(JSON.stringify(known.body), /The outcome of this call is known: succeeded/);
  assert.equal((await server.call("POST", `${pathOf(effect)}x/settle`, { outcome: "failed" })).status, 404);
  assert.equal((await server.call("POST", `${pathOf(effect)}/settle`, { outcome: "perhaps" })).status, 422);
  assert.equal((await server.call("GET", `/v1/runs/run-00000000-0000-4000-8000-000000000000/effects`)).status, 404);
});
