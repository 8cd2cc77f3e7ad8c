import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { OutsideTool } from "../tools/tool.ts";
import { openTestServer, type TestServer } from "./testing.ts";

const sent: string[] = [];
const mail: OutsideTool = {
  name: "mail",
  description: "Sends a mail.",
  parameters: { type: "object", properties: { to: { type: "string" } }, required: ["to"] },
  effect: "once",
  execute: async (input) => (sent.push(String(input["to"])), { status: "success", text: "sent" }),
};
const server = await openTestServer({ tools: [mail] });
after(() => server[Symbol.asyncDispose]());

const ask = { rules: [{ tool: "mail", action: "ask" }] };

/** An agent of which one call waits, with the request for its approval. */
async function askedFor(to: string, on: TestServer = server): Promise<{ readonly agentId: string; readonly request: ApprovalView }> {
  const agent = (await on.call("POST", "/v1/agents", { include_base_tools: false, tools: ["mail"] })).body as { id: string };
  assert.equal((await on.call("PUT", `/v1/agents/${agent.id}/tool-policy`, ask)).status, 200);
  const answer = await on.call("POST", `/v1/agents/${agent.id}/messages`, { input: `call mail ${JSON.stringify({ to })}` });
  assert.equal(answer.body.stop_reason.stop_reason, "requires_approval");
  const [request] = (await on.call("GET", `/v1/approvals?agent_id=${agent.id}`)).body as ApprovalView[];
  return { agentId: agent.id, request: request! };
}

interface ApprovalView {
  readonly id: string;
  readonly run_id: string;
  readonly created_at: string;
  readonly expires_at: string;
  readonly hash: string;
  readonly calls: readonly { readonly tool_call_id: string; readonly name: string; readonly arguments: string }[];
}

async function finished(runId: string): Promise<void> {
  const stream = await server.call("POST", `/v1/runs/${runId}/stream`, {});
  assert.match(String(stream.body), /end_turn/);
}

test("What waits for approval is listed with its calls, and approving it makes the call", async () => {
  const { agentId, request } = await askedFor("ada");
  assert.equal(request.calls.length, 1);
  assert.deepEqual([request.calls[0]!.name, JSON.parse(request.calls[0]!.arguments)], ["mail", { to: "ada" }]);
  assert.equal(Date.parse(request.expires_at) - Date.parse(request.created_at), 86_400_000);
  assert.deepEqual((await server.call("GET", `/v1/approvals/${request.id}`)).body, request);
  const run = await server.call("POST", `/v1/approvals/${request.id}`, { approve: true, hash: request.hash });
  assert.equal(run.status, 200);
  await finished(run.body.id as string);
  assert.ok(sent.includes("ada"));
  assert.deepEqual((await server.call("GET", `/v1/approvals?agent_id=${agentId}`)).body, []);
  const [audited] = (await server.call("GET", "/v1/audit?limit=1")).body as { action: string; target: string }[];
  assert.deepEqual([audited!.action, audited!.target], ["approval.decide", request.id]);
});

test("A denial reaches the agent with its reason, and calls nothing", async () => {
  const { agentId, request } = await askedFor("bob");
  const decisions = [{ tool_call_id: request.calls[0]!.tool_call_id, approve: false, reason: "Bob is away" }];
  const run = await server.call("POST", `/v1/approvals/${request.id}`, { decisions });
  await finished(run.body.id as string);
  assert.ok(!sent.includes("bob"));
  assert.match(JSON.stringify((await server.call("GET", `/v1/agents/${agentId}/messages`)).body), /Bob is away/);
});

test("An approval that was given already, is for another request, or for other arguments, is refused", async () => {
  const { agentId, request } = await askedFor("cyd");
  const path = `/v1/approvals/${request.id}`;
  const altered = await server.call("POST", path, { approve: true, hash: (await askedFor("eve")).request.hash });
  assert.equal(altered.status, 409);
  assert.match(altered.body.detail as string, /for other arguments/);
  const unknownCall = await server.call("POST", path, { decisions: [{ tool_call_id: "call_9", approve: true }] });
  assert.deepEqual([unknownCall.status, /Invalid tool call IDs/.test(unknownCall.body.detail as string)], [400, true]);
  await finished((await server.call("POST", path, { approve: false })).body.id as string);
  assert.equal((await server.call("POST", path, { approve: true })).status, 409);
  assert.equal((await server.call("GET", path)).status, 409);
  assert.equal(
    (
      await server.call(
        "POST",
        path.replace(/.$/, (last) => (last === "0" ? "1" : "0")),
        { approve: true },
      )
    ).status,
    404,
  );
  // Both forms of V1, with the id of the request before, while a later one waits.
  await server.call("POST", `/v1/agents/${agentId}/messages`, { input: 'call mail {"to":"cyd"}' });
  const [later] = (await server.call("GET", `/v1/approvals?agent_id=${agentId}`)).body as ApprovalView[];
  const approvals = [{ type: "approval", tool_call_id: later!.calls[0]!.tool_call_id, approve: true }];
  for (const message of [{ approve: true }, { approvals }]) {
    const messages = [{ type: "approval", approval_request_id: request.id, ...message }];
    const replayed = await server.call("POST", `/v1/agents/${agentId}/messages`, { messages });
    assert.equal(replayed.status, 400);
    assert.match(replayed.body.detail as string, /Invalid approval request ID/);
  }
  assert.ok(!sent.includes("cyd"));
});

test("Of two approvals at the same time one counts, and the call is made once", async () => {
  const { request } = await askedFor("dan");
  const answers = await Promise.all([1, 2, 3].map(() => server.call("POST", `/v1/approvals/${request.id}`, { approve: true })));
  const won = answers.filter(({ status }) => status === 200);
  assert.equal(won.length, 1);
  assert.ok(answers.every(({ status }) => [200, 400, 409].includes(status)));
  await finished(won[0]!.body.id as string);
  assert.equal(sent.filter((to) => to === "dan").length, 1);
});

for (const [body, detail] of [
  [{}, /expected either approve for all calls, or decisions/],
  [{ approve: true, decisions: [{ tool_call_id: "a", approve: false }] }, /expected either approve/],
  [{ decisions: [] }, /at least 1 items/],
  [
    {
      decisions: [
        { tool_call_id: "a", approve: true },
        { tool_call_id: "a", approve: false },
      ],
    },
    /one decision for each call/,
  ],
  [{ approve: "yes" }, /expected boolean/],
  [{ approve: true, deny: "x" }, /deny/],
  [{ approve: false, reason: "x".repeat(10_001) }, /at most 10000 characters/],
] as const)
  test(`A decision like ${JSON.stringify(body).slice(0, 60)} is refused`, async () => {
    const answer = await server.call("POST", "/v1/approvals/message-123e4567-e89b-42d3-8a56-426614174000", body);
    assert.equal(answer.status, 422);
    assert.match(answer.body.detail as string, detail);
  });

test("Lists of approvals go on after one that was decided meanwhile", async () => {
  await using own = await openTestServer({ tools: [mail] });
  const requests = [];
  for (const to of ["a1", "a2", "a3"]) requests.push((await askedFor(to, own)).request);
  const first = (await own.call("GET", "/v1/approvals?limit=1")).body as ApprovalView[];
  assert.equal(first[0]!.id, requests[0]!.id);
  assert.equal((await own.call("POST", `/v1/approvals/${first[0]!.id}`, { approve: false })).status, 200);
  const rest = (await own.call("GET", `/v1/approvals?after=${first[0]!.id}`)).body as ApprovalView[];
  assert.deepEqual(
    rest.map(({ id }) => id),
    requests.slice(1).map(({ id }) => id),
  );
});

test("A policy is replaced as a whole; its version grows with each change and finds changes of others", async () => {
  await using own = await openTestServer();
  const path = "/v1/tool-policy";
  const put = async (body: unknown): Promise<{ readonly status: number; readonly body: { version: number; detail: string } }> =>
    await own.call("PUT", path, body);
  assert.deepEqual((await own.call("GET", path)).body, { version: 0, rules: [], limits: [], approval_seconds: 86_400 });
  const policy = {
    rules: [{ tool: "files__*", arguments: { "/path": "/srv/*", "/a~1b/0": "x" }, action: "deny" }],
    limits: [{ tool: "mail", calls: 10, seconds: 60, concurrency: 2 }],
    approval_seconds: 600,
  };
  assert.deepEqual((await put({ ...policy, version: 0 })).body, { ...policy, version: 1 });
  assert.deepEqual((await put({ ...policy, version: 0 })).body, { ...policy, version: 1 }, "sent again it changes nothing");
  const late = await put({ rules: [], version: 0 });
  assert.equal(late.status, 409);
  assert.match(late.body.detail, /has version 1 and not 0/);
  assert.deepEqual((await put({ rules: [] })).body, { version: 2, rules: [], limits: [], approval_seconds: 86_400 });
  const actions = (await own.call("GET", "/v1/audit")).body as { action: string; outcome: string }[];
  assert.deepEqual(new Set(actions.map(({ action }) => action)), new Set(["tool_policy.update"]));
});

test("An agent has a policy of its own, as long as it is there", async () => {
  const { id } = (await server.call("POST", "/v1/agents", {})).body as { id: string };
  const path = `/v1/agents/${id}/tool-policy`;
  assert.deepEqual((await server.call("GET", path)).body, { version: 0, rules: [] });
  assert.deepEqual((await server.call("PUT", path, ask)).body, { version: 1, ...ask });
  assert.equal((await server.call("PUT", path, { ...ask, limits: [] })).status, 422, "limits are of a project");
  await server.call("DELETE", `/v1/agents/${id}`);
  assert.equal((await server.call("GET", path)).status, 404);
  assert.equal((await server.call("PUT", path, ask)).status, 404);
});

const rule = { tool: "mail", action: "ask" };
for (const [body, detail] of [
  [{}, /^body\.rules: required/],
  [{ rules: [{ ...rule, argument: { "/to": "a" } }] }, /argument"/],
  [{ rules: [{ tool: "mail", action: "maybe" }] }, /^body\.rules\[0\]\.action: expected one of "allow", "ask", "deny"/],
  [{ rules: [{ tool: "", action: "ask" }] }, /^body\.rules\[0\]\.tool: expected at least 1 characters/],
  [{ rules: [{ tool: "x".repeat(1_001), action: "ask" }] }, /at most 1000 characters/],
  [{ rules: [{ ...rule, arguments: { to: "a" } }] }, /^body\.rules\[0\]\.arguments: expected JSON pointers as names, such as \/path/],
  [{ rules: [{ ...rule, arguments: { "/a~2": "a" } }] }, /expected JSON pointers/],
  [{ rules: [{ ...rule, arguments: { "/to": 7 } }] }, /expected string/],
  [{ rules: [{ ...rule, arguments: Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`/${n}`, "a"])) }] }, /at most 16 patterns/],
  [{ rules: Array.from({ length: 201 }, () => rule) }, /^body\.rules: expected at most 200 items/],
  [{ rules: Array.from({ length: 200 }, () => ({ ...rule, arguments: { "/to": "y".repeat(900) } })) }, /at most 95000 bytes of JSON/],
  [{ rules: [], limits: [{ tool: "mail" }] }, /^body\.limits\[0\]: expected calls in seconds, or concurrency/],
  [{ rules: [], limits: [{ tool: "mail", calls: 3 }] }, /calls and seconds together/],
  [{ rules: [], limits: [{ tool: "mail", calls: 0, seconds: 1 }] }, /^body\.limits\[0\]\.calls: expected at least 1/],
  [{ rules: [], limits: [{ tool: "mail", calls: 1, seconds: 86_401 }] }, /\.seconds: expected at most 86400/],
  [{ rules: [], limits: [{ tool: "mail", concurrency: 1_001 }] }, /\.concurrency: expected at most 1000/],
  [{ rules: [], approval_seconds: 0 }, /^body\.approval_seconds: expected at least 1/],
  [{ rules: [], approval_seconds: 2_592_001 }, /expected at most 2592000/],
  [{ rules: [], version: -1 }, /^body\.version: expected at least 0/],
] as const)
  test(`A policy like ${JSON.stringify(body).slice(0, 80)} is refused`, async () => {
    const answer = await server.call("PUT", "/v1/tool-policy", body);
    assert.equal(answer.status, 422, JSON.stringify(answer.body));
    assert.match(answer.body.detail as string, detail);
  });
