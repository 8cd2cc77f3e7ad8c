import assert from "node:assert/strict";
import { test } from "node:test";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { Collection } from "../../storage/collection.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { SealError, SealingKey } from "../../storage/sealing-key.ts";
import { transact } from "../../storage/transaction.ts";
import type { McpServerConfig } from "./mcp.ts";
import { type McpServerRecord, readMcpServer, updateMcpServer } from "./server-record.ts";
import { hideSecrets, openConfig, sealConfig, secretsOf } from "./server-secrets.ts";

const environment = new RealEnvironment();
const key = new SealingKey("the sealing key of these tests", environment.random);
const sealingKey = (): SealingKey => key;
const owner = { project: "default", id: "mcp_server-1" };

const program: McpServerConfig = {
  mcp_server_type: "stdio",
  command: "server",
  args: ["--verbose"],
  env: { API_KEY: "9fQ2xL7vB4", MODE: "production" },
};
const address: McpServerConfig = {
  mcp_server_type: "streamable_http",
  server_url: "https://ada:pa55word@mcp.example.com/mcp?api_key=q1w2e3r4t5",
  auth_header: "X-Auth",
  auth_token: "tok-1",
  custom_headers: { "X-Key": "k-2" },
  oauth_client: { client_id: "me", client_secret: "shh-3" },
};

test("Every secret of a configuration is sealed, opens again, and is hidden from who looks", () => {
  for (const config of [program, address]) {
    const stored = sealConfig(sealingKey, owner, config);
    assert.doesNotMatch(JSON.stringify(stored), /9fQ2|production|pa55|q1w2|tok-1|k-2|shh-3/);
    assert.deepEqual(openConfig(sealingKey, owner, stored), config);
    assert.deepEqual(sealConfig(sealingKey, owner, stored), stored, "what is sealed stays as it is");
    assert.doesNotMatch(JSON.stringify(hideSecrets(sealingKey, owner, stored)), /9fQ2|production|pa55|q1w2|tok-1|k-2|shh-3/);
  }
});

test("A configuration without secrets needs no key", () => {
  const none = (): undefined => undefined;
  for (const config of [
    { mcp_server_type: "stdio", command: "server", args: [] },
    { mcp_server_type: "sse", server_url: "https://mcp.example.com/sse?version=two" },
  ] as const)
    assert.deepEqual(sealConfig(none, owner, config), config);
  for (const config of [program, address]) assert.throws(() => sealConfig(none, owner, config), /set KELPIE_SEALING_KEY/);
});

test("A sealed value opens at its own server, under its own name, and with its own key", () => {
  const stored = sealConfig(sealingKey, owner, program);
  assert.throws(() => openConfig(sealingKey, { ...owner, id: "mcp_server-2" }, stored), SealError);
  const { API_KEY, MODE } = (stored as unknown as { env: Record<string, string> }).env;
  assert.throws(() => openConfig(sealingKey, owner, { ...program, env: { API_KEY: MODE!, MODE: API_KEY! } }), SealError);
  const other = new SealingKey("the key of somebody else", environment.random);
  assert.throws(() => openConfig(() => other, owner, stored), /another key, or is damaged: start Kelpie with the key of then/);
});

test("A row in clear, of a version of before, is read, and sealed when it is written again", async () => {
  const store = new MemoryStore();
  const rows = new Collection<McpServerRecord>("mcp_server", { created: (server) => [[server.created_at]] });
  const row = { id: owner.id, server_name: "old", config: program, created_at: "2026", updated_at: "2026" };
  await transact(store, environment, async (transaction) => rows.insert(transaction, owner.project, row));
  assert.deepEqual(openConfig(sealingKey, owner, (await readMcpServer(store, owner.project, owner.id)).config), program);
  await transact(store, environment, (transaction) =>
    updateMcpServer(transaction, { environment, sealingKey }, owner.project, owner.id, { server_name: "renamed" }),
  );
  const { config } = await readMcpServer(store, owner.project, owner.id);
  assert.doesNotMatch(JSON.stringify(config), /9fQ2/);
  assert.deepEqual(openConfig(sealingKey, owner, config), program);
});

for (const [what, config, expected] of [
  [
    "tokens, keys and passwords",
    { ...program, env: { API_KEY: "x", DB_PASSWORD: "hunter", FOO: "9fQ2xL7vB4" } },
    ["x", "hunter", "9fQ2xL7vB4"],
  ],
  [
    "no modes, numbers, places or addresses",
    { ...program, env: { MODE: "production", PORT: "8080", FILE: "/srv/memory1.json", URL: "https://example.com/v1", LANG: "en-US" } },
    [],
  ],
  [
    "the password of an address, beside the whole",
    { ...program, env: { DATABASE_URL: "postgres://ada:pa55word@db/x" } },
    ["postgres://ada:pa55word@db/x", "pa55word"],
  ],
  [
    "a header's token without its scheme",
    { mcp_server_type: "sse", server_url: "https://x/sse", custom_headers: { Authorization: "Bearer abc-1" } },
    ["abc-1"],
  ],
  ["what the address holds", address, ["shh-3", "pa55word", "q1w2e3r4t5", "tok-1", "k-2"]],
  [
    "a part of a path that only chance makes",
    { mcp_server_type: "sse", server_url: "https://x/hooks/9fQ2xL7vB4mT1zR8kW3c5nJ6/sse" },
    ["9fQ2xL7vB4mT1zR8kW3c5nJ6"],
  ],
] as const satisfies readonly (readonly [string, McpServerConfig, readonly string[]])[])
  test(`Of a configuration are masked: ${what}`, () => assert.deepEqual(secretsOf(config), expected));
