/** One connection of an MCP client, over nodes that change and servers that start again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { ServerProcess } from "../../examples/start-server.ts";
import { membersAt } from "../end-to-end/cluster-client.ts";
import { clientOf, textOf } from "./server-testing.ts";

const revisions = ["2025-11-25", "2026-07-28"] as const;
const variables = { KELPIE_DEMO_TOKEN_MILLISECONDS: "0", KELPIE_LEAVE_SECONDS: "0" };

async function say(client: Client, agent: string, text: string): Promise<string> {
  return textOf(await client.callTool({ name: "send_message", arguments: { agent, text } }));
}

test("Any node answers any request of a client", async (t) => {
  await using node1 = await ServerProcess.start({ ...variables, KELPIE_NODE: "node1" });
  await using node2 = await ServerProcess.start({ ...variables, KELPIE_NODE: "node2", KELPIE_JOIN: node1.url });
  await membersAt(node1.url, 2);
  for (const revision of revisions) {
    const client = clientOf(revision);
    t.after(() => client.close());
    // As a load balancer does that sends each request to the next node.
    let requests = 0;
    const fetchInTurn = async (address: string | URL, init?: RequestInit): Promise<Response> =>
      await fetch(new URL("/mcp", [node1, node2][++requests % 2]!.url), init);
    await client.connect(new StreamableHTTPClientTransport(new URL("/mcp", node1.url), { fetch: fetchInTurn }));
    const name = `agent of ${revision}`;
    await client.callTool({ name: "create_agent", arguments: { name } });
    for (const person of ["Ada", "Grace", "Barbara"]) {
      await say(client, name, `Remember that my name is ${person}`);
      assert.match(await say(client, name, "What is my name?"), new RegExp(person));
      assert.match(textOf(await client.callTool({ name: "read_memory", arguments: { agent: name } })), new RegExp(person));
    }
    assert.ok(requests > 10);
  }
});

for (const revision of revisions)
  test(`A client goes on with the server that was killed and started again: ${revision}`, async (t) => {
    await using server = await ServerProcess.start(variables);
    const client = clientOf(revision);
    t.after(() => client.close());
    await client.connect(new StreamableHTTPClientTransport(new URL("/mcp", server.url)));
    await client.callTool({ name: "create_agent", arguments: { name: "Nessie" } });
    await say(client, "Nessie", "Remember that my name is Ada");
    await server.kill();
    await assert.rejects(say(client, "Nessie", "Are you there?"));
    await server.restart();
    assert.match(await say(client, "Nessie", "What is my name?"), /Ada/);
  });
