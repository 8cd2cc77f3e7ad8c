/** What clients other than the current SDK do: older ones, and letta-code. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelCatalogue } from "../models/model-catalogue.ts";
import { StoredProviders } from "./providers.ts";
import { openTestServer, type TestServer } from "./testing.ts";

const legacy = { "user-agent": "letta-client/0.1.211" };
const current = { "x-stainless-package-version": "1.12.1", "user-agent": "Letta/JS 1.12.1" };

async function newAgent(server: TestServer, fields: object = {}): Promise<string> {
  return (await server.call("POST", "/v1/agents", { memory_blocks: [{ label: "human", value: "x" }], tags: ["a"], ...fields })).body
    .id as string;
}

test("Clients from before SDK 1.0 get relationships filled in and agents back; later ones ask for them", async () => {
  await using server = await openTestServer();
  const id = await newAgent(server);
  for (const [headers, filled] of [
    [legacy, true],
    [{ "user-agent": "curl/8.5.0" }, true],
    [current, false],
    [{}, false],
    [{ "user-agent": "@letta-ai/letta-client/1.0.0" }, false],
  ] as const) {
    const { body } = await server.call("GET", `/v1/agents/${id}`, undefined, headers);
    assert.equal(body.blocks.length, filled ? 1 : 0, JSON.stringify(headers));
    assert.equal(body.memory.blocks.length, filled ? 1 : 0);
    assert.equal(body.tools.length, filled ? 3 : 0);
    assert.deepEqual(body.tags, filled ? ["a"] : []);
    const [tool] = (await server.call("GET", "/v1/tools?name=send_message")).body;
    const attached = await server.call("PATCH", `/v1/agents/${id}/tools/attach/${tool.id}`, undefined, headers);
    assert.equal(attached.body?.id, filled ? id : undefined);
    const detached = await server.call("PATCH", `/v1/agents/${id}/tools/detach/${tool.id}`, undefined, headers);
    assert.equal(detached.body?.tools?.length, filled ? 3 : undefined);
    const reset = await server.call("PATCH", `/v1/agents/${id}/reset-messages`, { add_default_initial_messages: false }, headers);
    assert.equal(reset.body?.id, filled ? id : undefined);
  }
  const refused = await server.call("POST", `/v1/agents/${id}/messages`, { input: "x", streaming: true }, legacy);
  assert.equal(refused.status, 422);
  const listed = (await server.call("GET", "/v1/agents?include=agent.tags&include=agent.blocks", undefined, current)).body;
  assert.deepEqual([listed[0].tags, listed[0].blocks.length, listed[0].tools], [["a"], 1, []]);
  const old = (await server.call("GET", "/v1/agents?include_relationships=memory", undefined, current)).body;
  assert.deepEqual([old[0].tags, old[0].blocks.length], [[], 1]);
});

test("V1's deprecated fields of a new agent decide over its model", async () => {
  await using server = await openTestServer();
  const { body } = await server.call("POST", "/v1/agents", {
    llm_config: { model: "demo", model_endpoint_type: "openai", provider_name: "kelpie", context_window: 9_000, temperature: 0.3 },
    embedding_config: { embedding_model: "x", embedding_endpoint_type: "openai", embedding_dim: 3, handle: "openai/x" },
    parallel_tool_calls: true,
    max_tokens: 77,
    tool_exec_environment_variables: { KEY: "v" },
  });
  assert.equal(body.model, "kelpie/demo");
  assert.equal(body.llm_config.context_window, 9_000);
  assert.equal(body.llm_config.temperature, 0.3);
  assert.equal(body.llm_config.max_tokens, 77);
  assert.equal(body.llm_config.parallel_tool_calls, true);
  assert.equal(body.embedding, "openai/x");
  assert.deepEqual(
    body.secrets.map((secret: { key: string; value: string }) => [secret.key, secret.value]),
    [["KEY", "v"]],
  );
});

test("A new agent's conversation begins with the messages that it was given", async () => {
  await using server = await openTestServer();
  const id = await newAgent(server, {
    initial_message_sequence: [
      { role: "user", content: [{ type: "text", text: "Hi" }] },
      { role: "assistant", content: "Hello" },
    ],
  });
  const messages = (await server.call("GET", `/v1/agents/${id}/messages`)).body as { message_type: string; content: unknown }[];
  assert.deepEqual(
    messages.slice(-2).map((message) => [message.message_type, message.content]),
    [
      ["user_message", [{ type: "text", text: "Hi", signature: null }]],
      ["assistant_message", "Hello"],
    ],
  );
});

for (const [client, older, newer] of [
  ["letta-code/0.25.9", "before", "after"],
  ["letta-code/0.32.18", "after", "before"],
  ["Letta/JS 1.12.1", "after", "before"],
] as const)
  test(`${client} reads a conversation, newest first, to its end with ${older}=`, async () => {
    await using server = await openTestServer();
    const agentId = await newAgent(server);
    const conversation = (await server.call("POST", `/v1/conversations?agent_id=${agentId}`)).body.id as string;
    for (const input of ["one", "two", "three"])
      await server.call("POST", `/v1/conversations/${conversation}/messages`, { input, streaming: false });
    const page = async (query: string): Promise<string[]> => {
      const path = `/v1/conversations/${conversation}/messages?${query}`;
      const { body } = await server.call("GET", path, undefined, { "user-agent": client });
      return (body as { id: string }[]).map(({ id }) => id);
    };
    const all = await page("order=desc");
    assert.equal(all.length, 7, "the system message, three questions, three answers");
    const read = await page("order=desc&limit=2");
    for (let next = read; next.length > 0; read.push(...next)) next = await page(`order=desc&limit=2&${older}=${read.at(-1)}`);
    assert.deepEqual(read, all);
    assert.deepEqual(await page(`order=desc&${newer}=${all[3]}`), all.slice(0, 3));
    assert.deepEqual(await page(`order=asc&after=${all[3]}`), all.slice(0, 3).toReversed(), "oldest first, all clients agree");
  });

/** `letta-api.md` 2.3 and 2.4: what letta-code 0.32 asks for in a turn with a client-side tool. */
test("letta-code's recorded sequence of requests works from the first model to the answered tool call", async () => {
  await using server = await openTestServer();
  const [model] = (await server.call("GET", "/v1/models/")).body;
  assert.equal(model.handle, "kelpie/demo");
  for (const field of ["display_name", "model_endpoint_type", "provider_category", "max_context_window"])
    assert.ok(model[field] !== undefined, field);
  const agent = (
    await server.call("POST", "/v1/agents/", {
      agent_type: "letta_v1_agent",
      name: "code",
      description: null,
      model: "letta/auto",
      system: null,
      memory_blocks: [
        { label: "persona", value: "p" },
        { label: "human", value: "h" },
      ],
      tags: ["origin:letta-code"],
      tools: ["web_search", "fetch_webpage"],
      include_base_tools: false,
      include_base_tool_rules: false,
      initial_message_sequence: [],
      parallel_tool_calls: true,
      compaction_settings: { model: "letta/auto" },
      context_window_limit: 128_000,
    })
  ).body;
  assert.match(agent.id, /^agent-/);
  assert.ok(agent.system.length > 0);
  assert.deepEqual((await server.call("GET", `/v1/agents/${agent.id}?include=agent.tags`)).body.tags, ["origin:letta-code"]);
  assert.deepEqual((await server.call("GET", `/v1/agents/${agent.id}/secrets`)).body, []);
  const conversation = (await server.call("POST", `/v1/conversations/?agent_id=${agent.id}`, { isolated_block_labels: [] })).body;
  assert.equal((await server.call("GET", `/v1/conversations/${conversation.id}`)).body.id, conversation.id);
  assert.deepEqual((await server.call("GET", `/v1/agents/${agent.id}/mcp-servers`)).body, []);

  const request = {
    streaming: true,
    stream_tokens: true,
    include_pings: true,
    background: true,
    client_tools: [{ name: "Read", description: "Reads a file", parameters: { type: "object", properties: { path: { type: "string" } } } }],
    client_skills: [{ name: "s", description: "d", location: "/x" }],
    include_compaction_messages: true,
  };
  const first = await events(server, `/v1/conversations/${conversation.id}/messages`, {
    ...request,
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "<system-reminder>r</system-reminder>" },
          { type: "text", text: 'call Read {"path":"a"}' },
        ],
        otid: "o-1",
      },
    ],
  });
  assert.equal(first[0]!["message_type"], "ping");
  assert.match(String(first[0]!["run_id"]), /^run-/);
  const approval = first.findLast((event) => event["message_type"] === "approval_request_message")!;
  assert.ok(approval["tool_call"] !== undefined && approval["tool_calls"] !== undefined);
  assert.deepEqual(
    first.slice(-2).map((event) => event["stop_reason"] ?? event["message_type"]),
    ["requires_approval", "usage_statistics"],
  );
  const pending = (await server.call("GET", `/v1/conversations/${conversation.id}`)).body.in_context_message_ids.at(-1);
  const variants = (await server.call("GET", `/v1/messages/${pending}`)).body;
  const asked = variants.find((variant: { message_type: string }) => variant.message_type === "approval_request_message");
  assert.equal(asked.tool_calls[0].name, "Read");

  const second = await events(server, `/v1/conversations/${conversation.id}/messages`, {
    ...request,
    messages: [
      {
        type: "approval",
        approvals: [{ type: "tool", tool_call_id: asked.tool_calls[0].tool_call_id, tool_return: "content of a", status: "success" }],
        otid: "o-2",
      },
    ],
  });
  assert.deepEqual(
    second.slice(-2).map((event) => event["stop_reason"] ?? event["message_type"]),
    ["end_turn", "usage_statistics"],
  );
  const numbers = second.slice(1).map((event) => Number(event["seq_id"]));
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => index + 1),
    "a background run's events count from 1 without a gap",
  );
  const types = [
    "user_message",
    "assistant_message",
    "reasoning_message",
    "event_message",
    "summary_message",
    "approval_request_message",
    "tool_return_message",
    "approval_response_message",
  ];
  const history = (
    await server.call(
      "GET",
      `/v1/conversations/${conversation.id}/messages?limit=50&order=desc&${types.map((type) => `include_return_message_types=${type}`).join("&")}`,
    )
  ).body;
  assert.deepEqual(
    history.map((message: { message_type: string }) => message.message_type),
    ["assistant_message", "tool_return_message", "approval_response_message", "approval_request_message", "user_message"].filter((type) =>
      history.some((message: { message_type: string }) => message.message_type === type),
    ),
  );
  assert.deepEqual((await server.call("GET", `/v1/agents/${agent.id}/repositories`)).body, { repositories: [] });
  assert.equal(
    (await server.call("GET", `/v1/agents/${agent.id}/context?conversation_id=${conversation.id}`)).body.num_messages >= 4,
    true,
  );
  assert.equal((await server.call("POST", "/v1/tools/add-base-tools")).body.length > 10, true);
  assert.equal((await server.call("POST", "/v1/conversations/ephemeral", { agent_id: agent.id })).body.hidden, true);
  assert.equal((await server.call("GET", `/v1/conversations?agent_id=${agent.id}`)).body.length, 1);
  assert.equal(
    typeof (await server.call("POST", `/v1/conversations/${conversation.id}/summarize`, { prompt: "Title?", messages: [] })).body.summary,
    "string",
  );
  for (const path of ["/v1/metadata/balance", "/v1/models/catalog", `/v1/agents/${agent.id}/runtime-status`])
    assert.equal((await server.call("GET", path)).status, 404);
});

test("A foreground stream that is cut can be followed again by its run, from the number that was seen last", async () => {
  await using server = await openTestServer();
  const id = await newAgent(server);
  const all = await events(server, `/v1/agents/${id}/messages/stream`, { input: "Hello", include_pings: false });
  const runId = String(all[0]!["run_id"]);
  const rest = await events(server, `/v1/runs/${runId}/stream`, { starting_after: all[0]!["seq_id"], include_pings: false });
  assert.deepEqual(rest, all.slice(1));
  const nothing = await server.app.request(`/v1/runs/${runId}/stream`, {
    method: "POST",
    body: JSON.stringify({ starting_after: 1_000_000, include_pings: false }),
  });
  assert.equal(nothing.status, 200);
  assert.doesNotMatch(await nothing.text(), /message_type/);
  assert.equal((await server.call("POST", "/v1/runs/run-123e4567-e89b-42d3-8a56-426614174000/stream", {})).status, 404);
});

test("A client that leaves in the middle of a stream, or before its response, ends nothing but its own waiting", async () => {
  await using server = await openTestServer({ models: { demoTokenMilliseconds: 1 } });
  const id = await newAgent(server);
  const body = JSON.stringify({ input: "Count to 50", stream_tokens: true });
  const stream = await server.app.request(`/v1/agents/${id}/messages/stream`, { method: "POST", body });
  const reader = stream.body!.getReader();
  const { run_id } = JSON.parse(new TextDecoder().decode((await reader.read()).value).slice("data: ".length)) as { run_id: string };
  await reader.cancel();
  const rest = await events(server, `/v1/runs/${run_id}/stream`, { starting_after: 0, include_pings: false });
  assert.deepEqual(
    rest.slice(-2).map((event) => event["stop_reason"] ?? event["message_type"]),
    ["end_turn", "usage_statistics"],
  );

  const client = new AbortController();
  const answer = server.app.request(`/v1/agents/${id}/messages`, {
    method: "POST",
    body: JSON.stringify({ input: "Count to 50" }),
    signal: client.signal,
  });
  let runs: { id: string; status: string }[] = [];
  while (runs.length === 0) runs = (await server.call("GET", "/v1/runs/active")).body;
  client.abort();
  assert.equal((await answer).status, 499);
  await events(server, `/v1/runs/${runs[0]!.id}/stream`, {});
  assert.equal((await server.call("GET", `/v1/runs/${runs[0]!.id}`)).body.status, "completed");
  assert.deepEqual(server.errors, []);
});

test("A provider that is added serves its models at once, never shows its key, and is gone when deleted", async () => {
  const asked: string[] = [];
  const providerFetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    asked.push(`${new Headers(init?.headers).get("authorization")} ${String(input instanceof Request ? input.url : input)}`);
    return Response.json({ object: "list", data: [{ id: "big-model", object: "model" }] });
  };
  await using server = await openTestServer({ models: { fetch: providerFetch as never } });
  const created = await server.call("POST", "/v1/providers", {
    name: "mine",
    provider_type: "openai",
    api_key: "sk-secret",
    base_url: "http://models.test/v1",
  });
  assert.equal(created.status, 200, JSON.stringify(created.body));
  assert.deepEqual([created.body.api_key, created.body.provider_category], [null, "byok"]);
  assert.doesNotMatch(JSON.stringify((await server.call("GET", "/v1/providers")).body), /sk-secret/);
  const models = (await server.call("GET", "/v1/models?provider_category=byok")).body;
  assert.deepEqual(
    models.map((model: { handle: string }) => model.handle),
    ["mine/big-model"],
  );
  assert.ok(
    asked.every((line) => line === "Bearer sk-secret http://models.test/v1/models"),
    asked.join(),
  );
  assert.equal((await server.call("POST", "/v1/providers", { name: "mine", provider_type: "openai", api_key: "x" })).status, 409);
  assert.equal((await server.call("PATCH", `/v1/providers/${created.body.id}`, { api_key: "sk-other" })).body.api_key, null);
  assert.notEqual((await server.call("PATCH", `/v1/providers/${created.body.id}/refresh`)).body.last_synced, null);
  assert.match(asked.at(-1)!, /sk-other/);
  assert.match(
    (await server.call("POST", "/v1/providers/check", { provider_type: "openai", api_key: "k", base_url: "http://models.test/v1" })).body
      .message,
    /Valid/,
  );
  assert.equal((await server.call("DELETE", `/v1/providers/${created.body.id}`)).status, 200);
  assert.deepEqual((await server.call("GET", "/v1/models?provider_category=byok")).body, []);
  assert.equal((await server.call("GET", `/v1/providers/${created.body.id}`)).status, 404);
});

test("Stored providers are there again after a restart", async () => {
  const providerFetch = async (): Promise<Response> => Response.json({ data: [{ id: "m" }] });
  await using server = await openTestServer({ models: { fetch: providerFetch as never } });
  await server.call("POST", "/v1/providers", { name: "mine", provider_type: "openai", api_key: "k" });
  const { environment, store, sealingKey } = server.services;
  const models = new ModelCatalogue({ environment, providers: [], fetch: providerFetch as never });
  await new StoredProviders({ environment, store, models, sealingKey }, "default").sync();
  assert.equal((await models.describe("mine/m")).handle, "mine/m");
});

test("What there is none of is listed as none, so that the official client's lists end", async () => {
  await using server = await openTestServer();
  const id = await newAgent(server);
  const { letta } = server;
  const lists = [letta.agents.files.list(id), letta.agents.folders.list(id), letta.folders.list()] as const;
  for (const list of lists) for await (const each of list) assert.fail(JSON.stringify(each));
  assert.deepEqual(await letta.mcpServers.list(), []);
  for (const path of ["/v1/groups", "/v1/identities", "/v1/sources", `/v1/agents/${id}/groups`])
    assert.deepEqual((await server.call("GET", path)).body, []);
});

for (const [status, type] of [
  [401, "llm_authentication"],
  [400, "llm_bad_request"],
] as const)
  test(`A model's ${status} ends a response with ${status} ${type}, and a stream with an error event after its stop reason`, async () => {
    const providerFetch = async (input: string | URL | Request): Promise<Response> => {
      if (String(input instanceof Request ? input.url : input).endsWith("/models")) return Response.json({ data: [{ id: "m" }] });
      return Response.json({ error: { message: "refused by the provider", type: "x" } }, { status });
    };
    await using server = await openTestServer({ models: { fetch: providerFetch as never } });
    await server.call("POST", "/v1/providers", { name: "mine", provider_type: "openai", api_key: "k" });
    const id = await newAgent(server, { model: "mine/m" });
    const answer = await server.call("POST", `/v1/agents/${id}/messages`, { input: "x" });
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.equal(answer.body.error.type, type);
    assert.equal(answer.headers.get("x-should-retry"), "false");
    const stream = await (
      await server.app.request(`/v1/agents/${id}/messages/stream`, {
        method: "POST",
        body: JSON.stringify({ input: "x", include_pings: false }),
      })
    ).text();
    assert.match(
      stream,
      /"message_type":"stop_reason","stop_reason":"llm_api_error".*\n\nevent: error\ndata: \{"message_type":"error_message".*\n\ndata: \[DONE\]\n\n$/,
    );
    const run = (await server.call("GET", `/v1/runs/${answer.body.run_id}`)).body;
    assert.equal(run.status, "failed");
    assert.equal(run.metadata.error.error_type, type);
  });

async function events(server: TestServer, path: string, body: unknown): Promise<Record<string, unknown>[]> {
  const response = await server.app.request(path, { method: "POST", body: JSON.stringify(body) });
  const frames = (await response.text()).split("\n\n").filter((frame) => frame.startsWith("data: "));
  assert.equal(frames.at(-1), "data: [DONE]", frames.join("\n"));
  return frames.slice(0, -1).map((frame) => JSON.parse(frame.slice("data: ".length)) as Record<string, unknown>);
}
