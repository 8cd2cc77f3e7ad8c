/** `kelpie mcp`, as a person types it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { kelpie } from "../end-to-end/kelpie-command.ts";
import { AuthorizationServer, startGate } from "./authorization-server.ts";
import { installed } from "./installed.ts";
import { node, start } from "./testing.ts";

const child = join(import.meta.dirname, "..", "..", "src", "tools", "mcp", "mcp-server.child.ts");

test("A server is added with its program and variables, listed, refreshed and removed", async (t) => {
  const { folder, url } = await start(t);
  const mcp = async (...args: string[]): ReturnType<typeof kelpie> => await kelpie(["mcp", ...args], { variables: { KELPIE_SERVER: url } });
  assert.match((await mcp()).output, /No MCP servers yet/);

  writeFileSync(join(folder, "variables"), `MEMORY_FILE_PATH=${join(folder, "memory.jsonl")}\n`);
  const program = await installed("@modelcontextprotocol/server-memory/dist/index.js");
  const added = await mcp("add", "graph", "--variables", join(folder, "variables"), "--", node, program);
  assert.equal(added.code, 0);
  assert.match(added.output, /^graph has 11 tools\n\ngraph__\w+: (says that .*|is never repeated)\n/);
  assert.match(added.output, /graph__read_graph: says that it only reads\n {2}Read the entire knowledge graph\n {2}parameters: \{/);
  assert.match((await mcp("list")).output, /graph +stdio +\S+ .*mcp_server-/);
  assert.match((await mcp("tools", "graph")).output, /graph__create_entities +tool-\S+ +\w+ +Create multiple new entities/);
  const tested = await mcp("test", "graph");
  assert.match(
    tested.output,
    /^graph answered in \d+ ms, and offers 11 tools\nprogram +memory-server \S+\nprotocol +\d{4}-\d\d-\d\d\ncapabilities +.*tools/,
  );
  assert.doesNotMatch(tested.output, /; new|; not what/);
  const offer = JSON.parse((await mcp("test", "graph", "--json")).output) as { readonly tools: readonly { readonly state: string }[] };
  assert.deepEqual([...new Set(offer.tools.map(({ state }) => state))], ["taken"]);
  assert.equal((await mcp("refresh", "graph")).output, "graph has 11 tools\n");
  assert.match((await mcp("add", "graph", "--", node, program)).notes, /There is an MCP server with the name .*graph/);

  assert.equal((await mcp("remove", "graph")).code, 0);
  const removed = await mcp("tools", "graph");
  assert.equal(removed.code, 1);
  assert.match(removed.notes, /There is no MCP server "graph"/);
});

test("A server that has changed says so when it is tested, and is taken again by a refresh", async (t) => {
  const { letta, url } = await start(t);
  const mcp = async (...args: string[]): ReturnType<typeof kelpie> => await kelpie(["mcp", ...args], { variables: { KELPIE_SERVER: url } });
  await mcp("add", "child", "--", node, child, "changes its tools");
  const [server] = await letta.mcpServers.list();
  const [echo] = await letta.mcpServers.tools.list(server!.id!);
  await letta.mcpServers.tools.run(echo!.id, { mcp_server_id: server!.id!, args: { text: "a" } });
  const tested = await mcp("test", "child");
  assert.match(tested.output, /child__echo: is never repeated; not what was taken, and refused until it is taken again\n/);
  assert.match(tested.notes, /kelpie mcp refresh child takes them so/);
  assert.match((await mcp("refresh", "child")).output, /^child has 2 tools\n\nchild__echo: is never repeated; changed\n/);
});

test("What a server asks a person is shown and answered", async (t) => {
  const { letta, url } = await start(t);
  const mcp = async (...args: string[]): ReturnType<typeof kelpie> => await kelpie(["mcp", ...args], { variables: { KELPIE_SERVER: url } });
  await mcp("add", "child", "--questions", "--root", "/srv/files", "--", node, child, "asks a person");
  const [server] = await letta.mcpServers.list();
  const { grants } = server as unknown as { readonly grants: object };
  assert.deepEqual(grants, { sampling_model: null, elicitation: true, roots: [{ uri: "file:///srv/files" }] });
  assert.match((await mcp("questions")).output, /No MCP server asks anything now/);
  const [echo] = await letta.mcpServers.tools.list(server!.id!);
  const called = letta.mcpServers.tools.run(echo!.id, { mcp_server_id: server!.id!, args: { text: "a" } });
  let shown = "";
  while (!shown.startsWith("mcp_question-")) shown = (await mcp("questions", "child")).output;
  assert.match(
    shown,
    /\nThe MCP server child asks, until \S+, in a call of the API \(echo\):\n {2}> How many\?\n {2}count\? integer\n.*no password/,
  );
  const id = shown.slice(0, shown.indexOf("\n"));
  const wrong = await mcp("answer", id, "count=many");
  assert.equal(wrong.code, 1);
  assert.match(wrong.notes, /The field "count" has to be a whole number of at least 1/);
  assert.equal((await mcp("answer", id, "count")).code, 2);
  assert.match((await mcp("answer", id, "count=4")).notes, /child is told: accept/);
  assert.match((await called).func_return as string, /\{"count":4\}/);
  assert.equal((await mcp("answer", id, "count=4")).code, 1, "once");
});

test("Headers of a file are sent, and what is wrong in it is not shown", async (t) => {
  const { folder, url } = await start(t);
  const mcp = async (...args: string[]): ReturnType<typeof kelpie> => await kelpie(["mcp", ...args], { variables: { KELPIE_SERVER: url } });
  const seen: IncomingHttpHeaders[] = [];
  const http = createServer((request, answer) => {
    seen.push(request.headers);
    answer.writeHead(404).end();
  });
  await once(http.listen(0, "127.0.0.1"), "listening");
  t.after(() => http.close());
  const address = `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`;
  writeFileSync(join(folder, "headers"), "X-Api-Key: a secret: with a colon\n\nX-Team:blue\n");
  assert.equal((await mcp("add", "web", address, "--headers", join(folder, "headers"))).code, 1, "it does not speak the protocol");
  assert.deepEqual([seen[0]!["x-api-key"], seen[0]!["x-team"]], ["a secret: with a colon", "blue"]);
  writeFileSync(join(folder, "wrong"), "hunter2\n");
  const wrong = await mcp("add", "other", address, "--headers", join(folder, "wrong"));
  assert.equal(wrong.code, 1);
  assert.match(wrong.notes, /A line of \S+wrong is no header: each is written as Name: value/);
  assert.doesNotMatch(wrong.notes, /hunter2/);
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
    [["add", "files", "--headers", "x", "--", "cat"], 2, /are for an address/],
    [["test", "files"], 1, /There is no MCP server "files"/],
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
