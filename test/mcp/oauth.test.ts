/** A real MCP server behind OAuth: an owner agrees once, in a browser, and agents use it from then on. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:http";
import { test, type TestContext } from "node:test";
import Letta from "@letta-ai/letta-client";
import { AuthorizationServer, startGate } from "./authorization-server.ts";
import { installed } from "./installed.ts";
import { freePort, start, startServer } from "./testing.ts";

/** The everything server behind a gate, and an authorization server whose tokens open it. */
async function startGuarded(t: TestContext): Promise<{ readonly authorization: AuthorizationServer; readonly url: string }> {
  const port = await freePort();
  const server = await startServer(await installed("@modelcontextprotocol/server-everything/dist/index.js"), "streamableHttp", port);
  const authorization = await AuthorizationServer.start();
  const gate = await startGate(authorization, `http://127.0.0.1:${port}`);
  t.after(async () => {
    await gate[Symbol.asyncDispose]();
    await authorization[Symbol.asyncDispose]();
    server.kill("SIGKILL");
  });
  return { authorization, url: gate.url };
}

/** Where Kelpie says that a person has to go. */
async function addressForPerson(letta: Letta, serverId: string, agentId?: string): Promise<string> {
  const query = agentId === undefined ? {} : { agent_id: agentId };
  const error: unknown = await letta.mcpServers.refresh(serverId, query).then(
    () => assert.fail("the server was used without authorization"),
    (each: unknown) => each,
  );
  assert.ok(error instanceof Letta.APIError && error.status === 409, String(error));
  return (error.error as { readonly authorization_url: string }).authorization_url;
}

/** The person agrees, and their browser comes back with this. */
async function agree(address: string): Promise<URL> {
  const answer = await fetch(address, { redirect: "manual" });
  assert.equal(answer.status, 302, await answer.text());
  return new URL(answer.headers.get("location")!);
}

test("An owner authorizes Kelpie in a browser once; agents use the server, also when tokens expire and Kelpie was started again", async (t) => {
  const { authorization, url } = await startGuarded(t);
  const folder = mkdtempSync(join(tmpdir(), "kelpie-mcp-"));
  const first = await start(t, folder);
  const { id } = await first.letta.mcpServers.create({
    server_name: "every",
    config: { mcp_server_type: "streamable_http", server_url: url },
  });
  assert.deepEqual(await first.letta.mcpServers.tools.list(id!), []);
  const address = await addressForPerson(first.letta, id!);
  assert.equal(await addressForPerson(first.letta, id!), address, "whoever asks meanwhile is sent to the same place");

  const back = await fetch(await agree(address));
  assert.equal(back.status, 200, await back.clone().text());
  assert.match(await back.text(), /may now use the MCP server every/);
  const echo = (await first.letta.mcpServers.tools.list(id!)).find(({ name }) => name === "every__echo")!;
  assert.match(await first.ask([echo.id], "every__echo", { message: "through the gate" }), /through the gate/);

  // Several calls find out at once: of the refresh token, which is used once, all have what the first one got.
  authorization.expireTokens();
  const givenBefore = authorization.given.length;
  const run = async (letta: Letta): Promise<string> =>
    (await letta.mcpServers.tools.run(echo.id, { mcp_server_id: id!, args: { message: "again" } })).status;
  assert.deepEqual(await Promise.all([run(first.letta), run(first.letta), run(first.letta)]), ["success", "success", "success"]);
  assert.equal(authorization.given.length, givenBefore + 2, "one refresh served them all");
  await first.close();

  authorization.expireTokens();
  const second = await start(t, folder);
  assert.equal(await run(second.letta), "success");

  // When nothing opens it any more, the owner is asked again, once for all calls.
  authorization.revokeAll();
  assert.deepEqual(await Promise.all([run(second.letta), run(second.letta), run(second.letta)]), ["error", "error", "error"]);
  assert.equal((await fetch(await agree(await addressForPerson(second.letta, id!)))).status, 200);
  assert.equal(await run(second.letta), "success");
  await second.close();

  assert.equal(statSync(join(folder, "data", "sealing-key")).mode & 0o777, 0o600);
  const files = readdirSync(join(folder, "data")).map((name) => readFileSync(join(folder, "data", name)));
  for (const secret of authorization.given) assert.ok(!files.some((file) => file.includes(secret)), "no token is in a file as it is");
});

test("Agents use a server each with an authorization of its own", async (t) => {
  const { authorization, url } = await startGuarded(t);
  const { letta } = await start(t);
  const own = { authorization: "agent" } as object;
  const config = { mcp_server_type: "streamable_http" as const, server_url: url };
  const { id } = await letta.mcpServers.create({ server_name: "every", config, ...own });
  const make = async (tools: readonly string[]): Promise<string> =>
    (await letta.agents.create({ model: "openai/scripted", include_base_tools: false, tool_ids: [...tools] })).id;
  const first = await make([]);
  const answer = await fetch(await agree(await addressForPerson(letta, id!, first)));
  assert.match(await answer.text(), new RegExp(`The agent ${first} may now use the MCP server every`));
  const echo = (await letta.mcpServers.tools.list(id!)).find(({ name }) => name === "every__echo")!;
  await letta.agents.tools.attach(echo.id, { agent_id: first });
  const second = await make([echo.id]);

  const ask = async (agent: string): Promise<string> =>
    JSON.stringify(
      await letta.agents.messages.create(agent, { input: JSON.stringify({ call: "every__echo", input: { message: `for ${agent}` } }) }),
    );
  assert.match(await ask(first), new RegExp(`Echo: for ${first}`));
  assert.equal(authorization.clientsUsed.size, 1);
  const refused = await ask(second);
  assert.match(refused, new RegExp(`asks for this agent's own authorization: PATCH /v1/mcp-servers/${id}/refresh\\?agent_id=${second}`));
  assert.equal((await fetch(await agree(await addressForPerson(letta, id!, second)))).status, 200);
  const both = await Promise.all([ask(first), ask(second)]);
  assert.match(both[0], new RegExp(`Echo: for ${first}`));
  assert.match(both[1], new RegExp(`Echo: for ${second}`));
  assert.equal(authorization.clientsUsed.size, 2);
  await addressForPerson(letta, id!);

  await letta.agents.delete(first);
  assert.match(await ask(second), /Echo: /);
});

test("What comes back from elsewhere, twice, or for another authorization is refused", async (t) => {
  const { authorization, url } = await startGuarded(t);
  const { letta } = await start(t);
  const { id } = await letta.mcpServers.create({ server_name: "every", config: { mcp_server_type: "streamable_http", server_url: url } });
  const refused = async (back: URL, status: number, reason: RegExp): Promise<void> => {
    const answer = await fetch(back);
    assert.equal(answer.status, status);
    assert.match(await answer.text(), reason);
  };

  const altered = await agree(await addressForPerson(letta, id!));
  altered.searchParams.set("state", `${altered.searchParams.get("state")!.slice(0, -4)}AAAA`);
  await refused(altered, 400, /Nobody waits for this authorization/);
  altered.searchParams.delete("state");
  await refused(altered, 400, /Nobody waits for this authorization/);

  authorization.issuerClaimed = "https://elsewhere.example";
  await refused(await agree(await addressForPerson(letta, id!)), 502, /was not authorized: .*[Ii]ssuer/);
  authorization.issuerClaimed = undefined;

  const right = await agree(await addressForPerson(letta, id!));
  assert.equal((await fetch(right)).status, 200);
  await refused(right, 400, /Nobody waits for this authorization/);
});

test("A token goes to the address alone that it was given for", async (t) => {
  const { authorization, url } = await startGuarded(t);
  const { letta } = await start(t);
  const { id } = await letta.mcpServers.create({ server_name: "every", config: { mcp_server_type: "streamable_http", server_url: url } });
  await fetch(await agree(await addressForPerson(letta, id!)));
  assert.ok((await letta.mcpServers.tools.list(id!)).length > 0);
  const seen: (string | undefined)[] = [];
  const thief = createServer((asked, answer) => {
    seen.push(asked.headers.authorization);
    answer.writeHead(404).end();
  }).listen(0, "127.0.0.1");
  t.after(() => thief.close());
  await new Promise((resolve) => thief.once("listening", resolve));
  const { port } = thief.address() as { readonly port: number };
  const elsewhere = { mcp_server_type: "streamable_http" as const, server_url: `http://127.0.0.1:${port}/mcp` };
  await letta.mcpServers.update(id!, { config: elsewhere });
  assert.ok(seen.length > 0, "it was asked");
  assert.deepEqual(
    seen.filter((header) => header !== undefined),
    [],
  );
  assert.ok(authorization.given.length > 0);
});
