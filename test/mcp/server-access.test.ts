/** Who reaches agents over MCP, what bad requests get, and what many of everything come to. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { createKelpie } from "../../src/kelpie.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { clientKinds, connectHttp, startAgents, textOf } from "./server-testing.ts";

const key = "the key of this server";

/** One without a key, for the tests that need no agents or that alone make some. */
const kelpie = await createKelpie({ environment: new RealEnvironment({ level: "error" }), store: new MemoryStore() });
const { url } = await kelpie.serve({ port: 0 });
after(() => kelpie.close());

for (const { name, connect } of clientKinds)
  test(`A server with a key opens to it and to no other: ${name}`, async (t) => {
    const { url } = await startAgents(t, { apiKey: key });
    const client = await connect(t, url, key);
    assert.ok((await client.listTools()).tools.length > 0);
    for (const wrong of [undefined, `${key}!`]) await assert.rejects(connect(t, url, wrong), /Unauthorized|401|did not offer pinned/);
  });

test("Without the right key the answer is 401 and says how to present one, whatever is asked", async (t) => {
  const { url } = await startAgents(t, { apiKey: key });
  for (const headers of [{}, { authorization: "Bearer wrong" }, { authorization: `Basic ${btoa(key)}` }, { "mcp-session-id": "guessed" }])
    for (const method of ["POST", "GET", "DELETE"]) {
      const response = await fetch(`${url}/mcp?key=${encodeURIComponent(key)}`, { method, headers });
      assert.equal(response.status, 401);
      assert.equal(response.headers.get("www-authenticate"), "Bearer");
      assert.deepEqual(await response.json(), { detail: "Unauthorized" });
    }
});

test("What belongs to another project is not there", async (t) => {
  const { kelpie: shared, url: address } = await startAgents(t);
  const other = await shared.agents.create("other", {
    name: "Secret",
    memory_blocks: [{ label: "persona", value: "hidden" }],
    include_base_tools: false,
  });
  const own = await shared.agents.create("default", { name: "Own", memory_blocks: [] });
  const client = await connectHttp(t, address, { revision: "2026-07-28" });
  assert.doesNotMatch(textOf(await client.callTool({ name: "list_agents", arguments: {} })), /Secret/);
  assert.deepEqual(
    (await client.listResources()).resources.map(({ uri }) => uri),
    [`kelpie://agents/${own.id}`],
  );
  for (const agent of [other.id, "Secret"])
    for (const [name, more] of [
      ["send_message", { text: "Hello" }],
      ["stop_agent", {}],
      ["read_memory", {}],
      ["search_memory", { query: "hidden" }],
      ["list_messages", {}],
    ] as const)
      assert.match(textOf(await client.callTool({ name, arguments: { agent, ...more } })), /There is no agent/);
  assert.match(textOf(await client.callTool({ name: "list_agents", arguments: { after: other.id } })), /after: there is no agent/);
  for (const path of ["", "/blocks/persona", "/messages"])
    await assert.rejects(client.readResource({ uri: `kelpie://agents/${other.id}${path}` }), { code: -32602 });
  await assert.rejects(client.listResources({ cursor: other.id }), /is none that this server gave/);
});

const list = { jsonrpc: "2.0", id: 1, method: "tools/list", params: {} };
const modern = (version: string): object => ({
  ...list,
  params: { _meta: { "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {} } },
});

for (const [what, status, code, body, headers] of [
  ["nothing", 400, -32_700, ""],
  ["what is no JSON", 400, -32_700, "{nope"],
  ["bytes that are no text", 400, -32_700, new Uint8Array([0x7b, 0xff, 0xfe, 0x7d])],
  ["JSON that is no message", 400, -32_600, "5"],
  ["three million brackets", 400, -32_700, "[".repeat(3_000_000)],
  ["a body over 8 MB", 413, -32_000, "x".repeat(8 * 1024 * 1024 + 1)],
  ["a batch of 101", 400, -32_600, JSON.stringify(Array.from({ length: 101 }, (_, id) => ({ ...list, id })))],
  ["another content type", 415, -32_000, JSON.stringify(list), { "content-type": "text/plain" }],
  ["a caller that reads no streams", 406, -32_000, JSON.stringify(list), { accept: "text/html" }],
  ["an unknown revision", 400, -32_022, JSON.stringify(modern("2031-01-01")), { "mcp-protocol-version": "2031-01-01" }],
  ["a header that says otherwise", 400, -32_020, JSON.stringify(modern("2026-07-28")), { "mcp-protocol-version": "2025-11-25" }],
  ["a page of another site", 403, undefined, JSON.stringify(list), { origin: "https://evil.example" }],
  ["a sandboxed page", 403, undefined, JSON.stringify(list), { origin: "null" }],
  ["a page of this machine", 200, undefined, JSON.stringify(list), { origin: "http://localhost:3000" }],
] as const)
  test(`A request is answered with ${status}: ${what}`, async () => {
    const { response, text } = await post(url, body, headers);
    assert.equal(response.status, status, text);
    if (code !== undefined) assert.equal((JSON.parse(text) as { error: { code: number } }).error.code, code);
  });

test("A page of another site is refused also by a server with a key", async (t) => {
  const { url } = await startAgents(t, { apiKey: key });
  const authorization = `Bearer ${key}`;
  const { response, text } = await post(url, JSON.stringify(list), { authorization, origin: "https://evil.example" });
  assert.equal(response.status, 403);
  assert.match(text, /Pages of other sites may not use this server's agents/);
});

test("There are no sessions: none is given, and the name of one opens nothing", async () => {
  const clientInfo = { name: "test", version: "1" };
  const initialize = { ...list, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo } };
  for (let round = 0; round < 10; round++)
    await Promise.all(
      Array.from({ length: 100 }, async () => {
        const { response, text } = await post(url, JSON.stringify(initialize));
        assert.equal(response.status, 200, text);
        assert.equal(response.headers.get("mcp-session-id"), null);
      }),
    );
  for (const method of ["GET", "DELETE"])
    assert.equal(
      (await fetch(`${url}/mcp`, { method, headers: { "mcp-session-id": "another's", accept: "text/event-stream" } })).status,
      405,
    );
});

test("10,000 agents are listed, each once, by clients that follow the pages", async (t) => {
  const made = new Set<string>();
  for (let round = 0; round < 100; round++) {
    const agents = Array.from({ length: 100 }, (_, index) =>
      kelpie.agents.create("default", { name: `agent ${round * 100 + index}`, memory_blocks: [], include_base_tools: false }),
    );
    for (const { id } of await Promise.all(agents)) made.add(`kelpie://agents/${id}`);
  }
  for (const revision of ["2025-11-25", "2026-07-28"] as const) {
    const client = await connectHttp(t, url, { revision });
    const { resources } = await client.listResources();
    assert.equal(resources.length, 10_000);
    assert.deepEqual(new Set(resources.map(({ uri }) => uri)), made);
  }
});

async function post(
  url: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly response: Response; readonly text: string }> {
  const response = await fetch(`${url}/mcp`, {
    method: "POST",
    body,
    headers: { accept: "application/json, text/event-stream", "content-type": "application/json", ...headers },
  });
  return { response, text: await response.text() };
}
