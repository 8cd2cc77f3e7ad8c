/** `kelpie mcp`, as a person types it. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { kelpie } from "../end-to-end/kelpie-command.ts";
import { AuthorizationServer, startGate } from "./authorization-server.ts";
import { installed } from "./installed.ts";
import { node, start } from "./testing.ts";

test("A server is added with its program and variables, listed, refreshed and removed", async (t) => {
  const { folder, url } = await start(t);
  const mcp = async (...args: string[]): ReturnType<typeof kelpie> => await kelpie(["mcp", ...args], { variables: { KELPIE_SERVER: url } });
  assert.match((await mcp()).output, /No MCP servers yet/);

  writeFileSync(join(folder, "variables"), `MEMORY_FILE_PATH=${join(folder, "memory.jsonl")}\n`);
  const program = await installed("@modelcontextprotocol/server-memory/dist/index.js");
  const added = await mcp("add", "graph", "--variables", join(folder, "variables"), "--", node, program);
  assert.deepEqual([added.code, added.output], [0, "graph has 11 tools\n"]);
  assert.match((await mcp("list")).output, /graph +stdio +\S+ .*mcp_server-/);
  assert.match((await mcp("tools", "graph")).output, /graph__create_entities +tool-/);
  assert.equal((await mcp("refresh", "graph")).output, "graph has 11 tools\n");
  assert.match((await mcp("add", "graph", "--", node, program)).notes, /There is an MCP server with the name .*graph/);

  assert.equal((await mcp("remove", "graph")).code, 0);
  const removed = await mcp("tools", "graph");
  assert.equal(removed.code, 1);
  assert.match(removed.notes, /There is no MCP server "graph"/);
});

test("What is missing or in the way is said", async (t) => {
  const { url } = await start(t);
  const authorization = await AuthorizationServer.start();
  const gate = await startGate(authorization, "http://127.0.0.1:1");
  t.after(async () => {
    await gate[Symbol.asyncDispose]();
    await authorization[Symbol.asyncDispose]();
  });
  for (const [args, code, expected] of [
    [["add", "files"], 2, /add needs a name and an address/],
    [["add", "web", "https://example.com/mcp", "--variables", "x"], 2, /An address takes no arguments and no variables/],
    [["add", "files", "--token-file", "x", "--", "cat"], 2, /are for an address/],
    [["add", "web", "https://example.com/mcp", "--token-file", "/no/such/file"], 1, /The file \/no\/such\/file cannot be read/],
    [["stop"], 2, /kelpie mcp cannot "stop"/],
    [["add", "wrong", "--", "/no/such/program"], 1, /The MCP server wrong cannot be reached \(the program \/no\/such\/program\)/],
    [["add", "guarded", gate.url], 1, /guarded asks for your authorization: open http:\/\/127\.0\.0\.1:\d+\/authorize\?/],
  ] as const) {
    const outcome = await kelpie(["mcp", ...args], { variables: { KELPIE_SERVER: url } });
    assert.equal(outcome.code, code, outcome.notes);
    assert.match(outcome.notes, expected);
  }
});
