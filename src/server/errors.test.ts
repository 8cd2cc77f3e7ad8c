/** Bad input gets a clear error with the field, the value and what would be right; nothing is changed by it. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { openTestServer, type TestServer } from "./testing.ts";

const agentExample = "agent-123e4567-e89b-42d3-8a56-426614174000";
const blockExample = "block-123e4567-e89b-42d3-8a56-426614174000";

interface Case {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly status: number;
  readonly detail: RegExp | string;
}

const block = { label: "human", value: "x" };

const cases: readonly Case[] = [
  { name: "an unknown path", method: "GET", path: "/v1/nope", status: 404, detail: "Not Found" },
  { name: "a path of Letta's cloud", method: "GET", path: `/v1/agents/${agentExample}/schedule`, status: 404, detail: "Not Found" },
  { name: "a path with another method", method: "PUT", path: "/v1/agents", status: 405, detail: "Method Not Allowed" },
  { name: "an unknown agent", method: "GET", path: `/v1/agents/${agentExample}`, status: 404, detail: "Agent not found" },
  {
    name: "an unknown block",
    method: "GET",
    path: `/v1/blocks/${blockExample}`,
    status: 404,
    detail: `NOT_FOUND: Block not found with id='${blockExample}'`,
  },
  {
    name: "an id of another kind",
    method: "GET",
    path: `/v1/agents/${blockExample}`,
    status: 422,
    detail: /^path\.agent_id: expected an id like agent-.*received "block-/,
  },
  {
    name: "an id that is none",
    method: "DELETE",
    path: "/v1/blocks/..%2F..%2Fetc",
    status: 422,
    detail: /^path\.block_id: expected an id like block-.*received "\.\.\/\.\.\/etc"/,
  },
  {
    name: "malformed JSON",
    method: "POST",
    path: "/v1/blocks",
    body: '{"label":"a","value":}',
    status: 422,
    detail: /^body: expected JSON, received text that stops being JSON at character 21/,
  },
  { name: "JSON that ends too early", method: "POST", path: "/v1/blocks", body: '{"label":"a"', status: 422, detail: /character 12/ },
  { name: "no body", method: "POST", path: "/v1/blocks", status: 422, detail: "body: required, expected a JSON object" },
  {
    name: "a body that is no object",
    method: "POST",
    path: "/v1/blocks",
    body: "[1]",
    status: 422,
    detail: "body: expected object, received [1]",
  },
  {
    name: "bytes that are not UTF-8",
    method: "POST",
    path: "/v1/blocks",
    body: Uint8Array.of(0x22, 0xff, 0x22),
    status: 422,
    detail: /not valid UTF-8/,
  },
  {
    name: "a lone surrogate",
    method: "POST",
    path: "/v1/blocks",
    body: '{"label":"a","value":"x\\ud83d"}',
    status: 422,
    detail: /^body\.value: expected Unicode text, received a lone surrogate/,
  },
  {
    name: "a NUL character in a block",
    method: "POST",
    path: "/v1/blocks",
    body: { label: "a", value: "x\0" },
    status: 422,
    detail: /^value: value holds a NUL character at position 1/,
  },
  {
    name: "a NUL character in a label",
    method: "POST",
    path: "/v1/blocks",
    body: { label: "a\0", value: "x" },
    status: 422,
    detail: /^body\.label: expected text without the NUL character/,
  },
  {
    name: "deep nesting",
    method: "POST",
    path: "/v1/blocks",
    body: `${'{"metadata":'.repeat(200)}1${"}".repeat(200)}`,
    status: 422,
    detail: /at most 100 levels/,
  },
  {
    name: "nesting that would exhaust a stack",
    method: "POST",
    path: "/v1/blocks",
    body: "[".repeat(1_000_000) + "]".repeat(1_000_000),
    status: 422,
    detail: /at most 100 levels/,
  },
  {
    name: "wrong types",
    method: "POST",
    path: "/v1/blocks",
    body: { label: 1, value: null, limit: "10" },
    status: 422,
    detail:
      /^body\.limit: expected number, received "10"; body\.label: expected string, received 1; body\.value: expected string, received null$/,
  },
  {
    name: "a long wrong value, shortened",
    method: "POST",
    path: "/v1/blocks",
    body: { label: "a", value: ["y".repeat(10_000)] },
    status: 422,
    detail: /^.{0,140}…$/,
  },
  {
    name: "a block over its limit",
    method: "POST",
    path: "/v1/blocks",
    body: { label: "a", value: "12345", limit: 4 },
    status: 422,
    detail: /Exceeds 4 character limit \(requested 5\)/,
  },
  { name: "a limit of 0", method: "GET", path: "/v1/agents?limit=0", status: 422, detail: "query.limit: expected at least 1, received 0" },
  {
    name: "a negative limit",
    method: "GET",
    path: "/v1/agents?limit=-3",
    status: 422,
    detail: "query.limit: expected at least 1, received -3",
  },
  {
    name: "a limit that is no number",
    method: "GET",
    path: "/v1/agents?limit=ten",
    status: 422,
    detail: 'query.limit: expected number, received "ten"',
  },
  {
    name: "an unknown order",
    method: "GET",
    path: "/v1/agents?order=up",
    status: 422,
    detail: 'query.order: expected one of "asc", "desc", received "up"',
  },
  {
    name: "a cursor of another kind",
    method: "GET",
    path: `/v1/agents?after=${blockExample}`,
    status: 422,
    detail: /^query\.after: expected an id like agent-/,
  },
  {
    name: "a cursor that points nowhere",
    method: "GET",
    path: `/v1/agents?after=${agentExample}`,
    status: 422,
    detail: /^query: The cursor \(after or before\) names nothing in this list/,
  },
  {
    name: "an unknown relationship",
    method: "GET",
    path: "/v1/agents?include=agent.soul",
    status: 422,
    detail: /^query\.include\[0\]: expected one of "agent\.blocks"/,
  },
  {
    name: "an unknown boolean",
    method: "GET",
    path: "/v1/blocks?templates_only=maybe",
    status: 422,
    detail: 'query.templates_only: expected boolean, received "maybe"',
  },
  {
    name: "a model that is not configured",
    method: "POST",
    path: "/v1/agents",
    body: { model: "openai/gpt-5-mini" },
    status: 404,
    detail: /^NOT_FOUND: .*OPENAI_API_KEY/,
  },
  {
    name: "two blocks with one label",
    method: "POST",
    path: "/v1/agents",
    body: { memory_blocks: [block, block] },
    status: 409,
    detail: 'CONFLICT: This agent already has a memory block with the label "human"',
  },
  {
    name: "a tool that is not there",
    method: "POST",
    path: "/v1/agents",
    body: { tools: ["teleport"] },
    status: 400,
    detail: /^INVALID_ARGUMENT: There is no tool called "teleport"/,
  },
  {
    name: "an unknown agent type",
    method: "POST",
    path: "/v1/agents",
    body: { agent_type: "poet" },
    status: 422,
    detail: /^body\.agent_type: expected one of "memgpt_agent".*received "poet"$/,
  },
  {
    name: "an unknown kind of tool rule",
    method: "POST",
    path: "/v1/agents",
    body: { tool_rules: [{ type: "wish", tool_name: "x" }] },
    status: 422,
    detail: /^body\.tool_rules\[0\]\.type: expected one of/,
  },
  {
    name: "a time zone that is none",
    method: "POST",
    path: "/v1/agents",
    body: { timezone: "Mars/Olympus" },
    status: 422,
    detail: /^body\.timezone: expected an IANA time zone/,
  },
  {
    name: "a context window that is too small",
    method: "POST",
    path: "/v1/agents",
    body: { context_window_limit: 10 },
    status: 400,
    detail: /context_window_limit is at least 4096/,
  },
  {
    name: "a tool without a name",
    method: "POST",
    path: "/v1/tools",
    body: { source_code: "x", source_type: "json" },
    status: 400,
    detail: /needs a json_schema/,
  },
  {
    name: "a time that is none",
    method: "POST",
    path: "/v1/messages/search",
    body: { query: "x", start_date: "yesterday" },
    status: 422,
    detail: 'body.start_date: expected a time such as 2026-01-31T12:00:00Z, received "yesterday"',
  },
  {
    name: "a conversation of an unknown agent",
    method: "POST",
    path: `/v1/conversations?agent_id=${agentExample}`,
    body: {},
    status: 404,
    detail: "Agent not found",
  },
  {
    name: "the default conversation without its agent",
    method: "POST",
    path: "/v1/conversations/default/messages",
    body: { messages: [{ role: "user", content: "x" }] },
    status: 404,
    detail: /^NOT_FOUND: .*agent_id/,
  },
  {
    name: "a provider of an unknown type",
    method: "POST",
    path: "/v1/providers",
    body: { name: "mine", provider_type: "oracle", api_key: "x" },
    status: 400,
    detail: /^INVALID_ARGUMENT: Cannot use the provider type "oracle"/,
  },
];

const server = await openTestServer();
after(() => server[Symbol.asyncDispose]());

for (const { name, method, path, body, headers, status, detail } of cases)
  test(`${name} → ${status}`, async () => {
    const answer = await server.call(method, path, body, headers);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    if (typeof detail === "string") assert.equal(answer.body.detail, detail);
    else assert.match(answer.body.detail, detail);
    if (status === 422) assert.match(answer.body.trace_id, /^[0-9a-f]{32}$/);
    if (status === 409) assert.equal(answer.headers.get("x-should-retry"), "false");
    assert.deepEqual(server.errors, []);
    assert.deepEqual((await server.call("GET", "/v1/agents")).body, [], "nothing was created");
    assert.deepEqual((await server.call("GET", "/v1/blocks")).body, [], "nothing was created");
  });

const messageCases: readonly { readonly name: string; readonly body: unknown; readonly detail: RegExp }[] = [
  { name: "no message", body: {}, detail: /^body\.messages: expected at least one message, or text in input/ },
  { name: "an empty list of messages", body: { messages: [] }, detail: /^body\.messages: expected at least one message/ },
  {
    name: "messages and input",
    body: { messages: [{ role: "user", content: "x" }], input: "y" },
    detail: /^body\.input: expected either messages or input/,
  },
  {
    name: "an unknown role",
    body: { messages: [{ role: "king", content: "x" }] },
    detail: /^body\.messages\[0\]\.role: expected one of "user", "system", "assistant", received "king"/,
  },
  {
    name: "content of the wrong type",
    body: { messages: [{ role: "user", content: 5 }] },
    detail: /^body\.messages\[0\]\.content: expected string or array, received 5/,
  },
  {
    name: "a part of an unknown type",
    body: { messages: [{ role: "user", content: [{ type: "smell" }] }] },
    detail: /^body\.messages\[0\]\.content/,
  },
  {
    name: "a text part without text",
    body: { messages: [{ role: "user", content: [{ type: "text" }] }] },
    detail: /^body\.messages\[0\]\.content\[0\]\.text: required, expected string/,
  },
  {
    name: "an approval without a call's id",
    body: { messages: [{ type: "approval", approvals: [{ type: "approval", approve: true }] }] },
    detail: /^body\.messages\[0\]\.approvals\[0\]\.tool_call_id: required/,
  },
  {
    name: "stream options without streaming",
    body: { input: "x", stream_tokens: true },
    detail: /^body\.stream_tokens: expected streaming to be true/,
  },
  { name: "no steps", body: { input: "x", max_steps: 0 }, detail: /^body\.max_steps: expected at least 1, received 0/ },
  {
    name: "an unknown kind of message to return",
    body: { input: "x", include_return_message_types: ["dream"] },
    detail: /^body\.include_return_message_types\[0\]/,
  },
];

for (const { name, body, detail } of messageCases)
  test(`sending with ${name} → 422, and no message is kept`, async () => {
    const { id } = (await server.call("POST", "/v1/agents", {})).body;
    const answer = await server.call("POST", `/v1/agents/${id}/messages`, body);
    assert.equal(answer.status, 422, JSON.stringify(answer.body));
    assert.match(answer.body.detail, detail);
    assert.deepEqual((await server.call("GET", `/v1/agents/${id}/messages`)).body, []);
    await server.call("DELETE", `/v1/agents/${id}`);
  });

test("A body over the limit is refused, declared or not", async () => {
  await using server = await openTestServer();
  const large = Buffer.alloc(50 * 1024 * 1024 + 1, 0x20);
  const declared = await server.app.request("/v1/blocks", {
    method: "POST",
    body: "{}",
    headers: { "content-length": String(large.length) },
  });
  const undeclared = await server.app.request("/v1/blocks", {
    method: "POST",
    body: new Blob([large]).stream(),
    duplex: "half",
  } as RequestInit);
  for (const response of [declared, undeclared]) {
    assert.equal(response.status, 413);
    assert.deepEqual(await response.json(), { detail: "The body has at most 52428800 bytes. Send less at once" });
  }
});

test("JSON is taken under any content type", async () => {
  await using server = await openTestServer();
  for (const type of ["application/json", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
    assert.equal((await server.call("POST", "/v1/blocks", block, { "content-type": type })).status, 200);
});

test("Fields that nobody knows are ignored", async () => {
  await using server = await openTestServer();
  const answer = await server.call("POST", "/v1/blocks", { ...block, id: "block-mine", color: "red" });
  assert.equal(answer.status, 200);
  assert.match(answer.body.id, /^block-[0-9a-f-]{36}$/);
  assert.equal("color" in answer.body, false);
});

test("An error that nobody expected says nothing of the inside, and is logged under its trace id", async () => {
  await using server = await openTestServer();
  server.services.store.read = () => Promise.reject(new Error("secret path /var/lib"));
  const answer = await server.call("GET", "/v1/blocks?label=private");
  assert.equal(answer.status, 500);
  assert.equal(answer.body.detail, "An unknown error occurred");
  const logged = server.errors.at(-1)!;
  assert.equal(logged["trace"], answer.body.trace_id);
  assert.match(String(logged["error"]), /secret path/);
  assert.equal(logged["path"], "/v1/blocks");
});

test("Labels with slashes, spaces and percent signs are found under their encoded and their plain form", async () => {
  await using server = await openTestServer();
  const labels = ["system/persona", "a b", "50%", "ü/%2F", "attach"];
  const { id } = (await server.call("POST", "/v1/agents", { memory_blocks: labels.map((label) => ({ label, value: label })) })).body;
  for (const label of labels) {
    const answer = await server.call("GET", `/v1/agents/${id}/core-memory/blocks/${encodeURIComponent(label)}`);
    assert.equal(answer.body.value, label, JSON.stringify(answer.body));
  }
  assert.equal((await server.call("GET", `/v1/agents/${id}/core-memory/blocks/system/persona`)).body.value, "system/persona");
  assert.equal((await server.call("GET", `/v1/agents/${id}/core-memory/blocks/nope%2Fnope`)).status, 404);
});

test("A list that asks for more than a page holds is cut to a page, and can be read on", async () => {
  await using server = await openTestServer();
  for (let index = 0; index < 5; index++) await server.call("POST", "/v1/blocks", { label: `b${index}`, value: "" });
  const all = (await server.call("GET", "/v1/blocks?limit=1000000")).body as { id: string }[];
  assert.equal(all.length, 5);
  assert.deepEqual((await server.call("GET", `/v1/blocks?after=${all[4]!.id}`)).body, []);
  const middle = (await server.call("GET", `/v1/blocks?after=${all[0]!.id}&before=${all[3]!.id}`)).body as { id: string }[];
  assert.deepEqual(
    middle.map((each) => each.id),
    [all[1]!.id, all[2]!.id],
  );
  const reversed = (await server.call("GET", `/v1/blocks?order=desc&after=${all[3]!.id}&limit=2`)).body as { id: string }[];
  assert.deepEqual(
    reversed.map((each) => each.id),
    [all[2]!.id, all[1]!.id],
  );
});

async function statusOf(server: TestServer, path: string, headers: Record<string, string>): Promise<number> {
  return (await server.call("GET", path, undefined, headers)).status;
}

test("With a key, every path but health needs it", async () => {
  await using server = await openTestServer({ key: "kp_1" });
  for (const path of ["/v1/health", "/v1/health/", "/v1/ready", "/latest/health"]) assert.equal(await statusOf(server, path, {}), 200);
  const refused = [
    {},
    { authorization: "Bearer kp_2" },
    { authorization: "Bearer kp_11" },
    { authorization: "kp_1" },
    { "x-bare-password": "kp_1" },
    { authorization: "Bearer " },
  ];
  for (const headers of refused) {
    const answer = await server.call("GET", "/v1/agents", undefined, headers);
    assert.equal(answer.status, 401);
    assert.deepEqual(answer.body, { detail: "Unauthorized" });
  }
  for (const path of ["/openapi.json", "/v1/nope", "/v1/healthy"]) assert.equal(await statusOf(server, path, {}), 401);
  for (const headers of [{ authorization: "Bearer kp_1" }, { authorization: "bearer kp_1" }, { "x-bare-password": "password kp_1" }])
    assert.equal(await statusOf(server, "/v1/agents", headers as Record<string, string>), 200);
});

test("A server without a key on the loopback address refuses other host names and foreign pages", async () => {
  await using server = await openTestServer({ loopbackOnly: true });
  for (const host of ["localhost:8283", "127.0.0.1:8283", "[::1]:8283", "app.localhost"])
    assert.equal((await server.app.request(`http://${host}/v1/agents`)).status, 200, host);
  for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"])
    assert.equal((await server.app.request(`http://${host}/v1/agents`)).status, 403, host);
  for (const origin of ["http://evil.example", "null", "https://localhost.evil.example"])
    assert.equal(await statusOf(server, "/v1/agents", { origin }), 403, origin);
  for (const origin of ["http://localhost:3000", "http://127.0.0.1:8283"])
    assert.equal(await statusOf(server, "/v1/agents", { origin }), 200, origin);
});

for (const [what, path, body] of [
  ["a secret that is no text", "/v1/agents", { secrets: { KEY: ["9fQ2xL7vB4"] } }],
  ["secrets that are no object", "/v1/agents", { secrets: "KEY=9fQ2xL7vB4" }],
  ["secrets under their older name", "/v1/agents", { tool_exec_environment_variables: { KEY: { value: "9fQ2xL7vB4" } } }],
  ["a provider's key that is no text", "/v1/providers", { name: "p", provider_type: "openai", api_key: { key: "9fQ2xL7vB4" } }],
  ["a server of no known type", "/v1/mcp-servers", { server_name: "s", config: { mcp_server_type: "x", auth_token: "9fQ2xL7vB4" } }],
  ["a server's variables in a list", "/v1/mcp-servers", { server_name: "s", config: { mcp_server_type: "stdio", env: ["A=9fQ2xL7vB4"] } }],
  [
    "a server's address with a typing error",
    "/v1/mcp-servers",
    { server_name: "s", config: { mcp_server_type: "sse", server_url: "htps://x?key=9fQ2xL7vB4" } },
  ],
] as const)
  test(`An error about ${what} does not repeat it`, async () => {
    await using server = await openTestServer();
    const { status, body: answer } = await server.call("POST", path, body);
    assert.ok(status === 422 || status === 400, String(status));
    assert.match(JSON.stringify(answer), /secrets|tool_exec|api_key|config|server_url/);
    const audit = await server.call("GET", "/v1/audit");
    for (const text of [answer, audit.body, server.errors]) assert.doesNotMatch(JSON.stringify(text), /9fQ2xL7vB4/);
  });
