import assert from "node:assert/strict";
import { test } from "node:test";
import { readMcpServer } from "../tools/mcp/server-record.ts";
import { openConfig } from "../tools/mcp/server-secrets.ts";
import { openTestServer } from "./testing.ts";

/** A program that exits at once: the server is kept, without tools. */
const program = { mcp_server_type: "stdio", command: process.execPath, args: ["--version"], env: { KEY: "a secret", REGION: "eu" } };
const address = { mcp_server_type: "streamable_http", server_url: "http://127.0.0.1:9/mcp?token=a+secret", auth_token: "a secret" };

test("Values that are hidden are not shown, and stay when what was shown is sent back", async () => {
  await using server = await openTestServer();
  for (const [server_name, config] of [
    ["program", program],
    ["address", address],
  ] as const) {
    const { body: made } = await server.call("POST", "/v1/mcp-servers", { server_name, config });
    assert.ok(!JSON.stringify(made).includes("a secret"), "no answer has it");
    const { body: shown } = await server.call("GET", `/v1/mcp-servers/${made.id}`);
    assert.doesNotMatch(JSON.stringify(shown), /a.secret/, "no answer has it");
    const { id, server_name: _, ...sentBack } = shown;
    await server.call("PATCH", `/v1/mcp-servers/${id}`, { config: sentBack });
    const stored = await readMcpServer(server.services.store, "default", id);
    assert.doesNotMatch(JSON.stringify(stored), /a.secret/, "no row has it");
    const opened = openConfig(server.services.sealingKey, { project: "default", id }, stored.config);
    assert.deepEqual({ ...opened, ...config }, opened, "nothing of it was lost");
  }
});

test("A hidden value goes to no other program or address", async () => {
  await using server = await openTestServer();
  const { body: made } = await server.call("POST", "/v1/mcp-servers", { server_name: "address", config: address });
  const elsewhere = { ...address, server_url: "http://127.0.0.1:9/elsewhere", auth_token: "********" };
  const refused = await server.call("PATCH", `/v1/mcp-servers/${made.id}`, { config: elsewhere });
  assert.equal(refused.status, 422);
  assert.match(JSON.stringify(refused.body), /give its values again/);
  const changed = await server.call("PATCH", `/v1/mcp-servers/${made.id}`, { config: { ...elsewhere, auth_token: "another" } });
  assert.equal(changed.status, 200);
});

test("A server's browser callback and public document need no key, and give nothing away", async () => {
  await using server = await openTestServer({ key: "the key of the server" });
  const unknown = await server.call("GET", "/v1/tools/mcp/oauth/callback?state=mcp_server-00000000-0000-4000-8000-000000000000.x&code=y");
  assert.equal(unknown.status, 400);
  assert.match(JSON.stringify(unknown.body), /Nobody waits for this authorization/);
  assert.equal((await server.call("GET", "/client-metadata.json")).status, 404, "without a public address");
  assert.equal((await server.call("GET", "/v1/mcp-servers")).status, 401);
});
