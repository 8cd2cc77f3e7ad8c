/** Calls of MCP hosts that are given up, made again, or end otherwise than with an answer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { effectIdMeta } from "../../src/tools/mcp/mcp.ts";
import { type Agents, clientKinds, clientOf, connectHttp, startAgents, textOf } from "./server-testing.ts";

/** A model that thinks until it is let go on, and what else a test of that needs. */
async function startThinker(t: Parameters<typeof startAgents>[0]): Promise<Agents & { thinks: Promise<void>; goOn(): void; id: string }> {
  const [thinks, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const agents = await startAgents(t, {
    async answer() {
      thinks.resolve();
      await goesOn.promise;
      return undefined;
    },
  });
  t.after(() => goesOn.resolve());
  const { id } = await agents.letta.agents.create({ name: "Nessie", model: "openai/scripted" });
  return { ...agents, thinks: thinks.promise, goOn: () => goesOn.resolve(), id };
}

/** Resolves when the only run of the agent has ended. */
async function untilEnd({ letta, id }: Pick<Agents, "letta"> & { readonly id: string }): Promise<string | undefined> {
  const [run] = (await letta.runs.list({ agent_id: id })).items;
  for await (const _ of await letta.runs.messages.stream(run!.id, { starting_after: 0 }));
  return (await letta.runs.retrieve(run!.id)).status;
}

for (const { name, connect } of clientKinds)
  test(`An agent works on when a call is cancelled in the middle of its answer: ${name}`, async (t) => {
    const thinker = await startThinker(t);
    const client = await connect(t, thinker.url);
    const cancel = new AbortController();
    const call = client.callTool({ name: "send_message", arguments: { agent: "Nessie", text: "Hello" } }, { signal: cancel.signal });
    const cancelled = assert.rejects(call);
    await thinker.thinks;
    cancel.abort();
    await cancelled;

    const other = await client.callTool({ name: "send_message", arguments: { agent: "Nessie", text: "Again" } });
    assert.equal(other.isError, true);
    assert.match(textOf(other), /Nessie is at work on an earlier message, .* list_messages shows how far it is, and stop_agent stops it/);
    thinker.goOn();
    assert.equal(await untilEnd(thinker), "completed");
    assert.match(textOf(await client.callTool({ name: "list_messages", arguments: { agent: "Nessie" } })), /You said: Hello/);
    assert.deepEqual(thinker.asked, ["Hello"]);
  });

test("An answer that takes long is a stream before it is there, and others are not", async (t) => {
  const thinker = await startThinker(t);
  const types: (string | null)[] = [];
  const client = clientOf("2026-07-28");
  const noted = async (address: string | URL, init?: RequestInit): Promise<Response> => {
    const response = await fetch(address, init);
    types.push(response.headers.get("content-type"));
    // Only now: that it is a stream was known before the agent had answered.
    if (types.at(-1) === "text/event-stream") thinker.goOn();
    return response;
  };
  await client.connect(new StreamableHTTPClientTransport(new URL("/mcp", thinker.url), { fetch: noted }));
  t.after(() => client.close());
  await client.callTool({ name: "list_agents", arguments: {} });
  assert.deepEqual(new Set(types), new Set(["application/json"]));
  assert.equal(textOf(await client.callTool({ name: "send_message", arguments: { agent: "Nessie", text: "Hello" } })), "You said: Hello");
});

test("An agent that is stopped in the middle of its answer says so to who waits for it", async (t) => {
  const thinker = await startThinker(t);
  const client = await connectHttp(t, thinker.url, { revision: "2026-07-28" });
  const call = client.callTool({ name: "send_message", arguments: { agent: "Nessie", text: "Hello" } });
  await thinker.thinks;
  const stop = async (): Promise<string> => textOf(await client.callTool({ name: "stop_agent", arguments: { agent: "Nessie" } }));
  assert.equal(await stop(), "Nessie was stopped");
  assert.equal(textOf(await call), "(The agent was stopped before it had answered)");
  assert.equal(await stop(), "Nessie was not at work");
});

for (const revision of ["2025-11-25", "2026-07-28"] as const) {
  test(`A call that comes again with its effect id waits for the same answer: ${revision}`, async (t) => {
    const thinker = await startThinker(t);
    const client = await connectHttp(t, thinker.url, { revision });
    const send = async (): Promise<string> =>
      textOf(
        await client.callTool({
          name: "send_message",
          arguments: { agent: "Nessie", text: "Hello" },
          _meta: { [effectIdMeta]: "effect-1" },
        }),
      );
    const first = send();
    await thinker.thinks;
    const again = send();
    thinker.goOn();
    assert.deepEqual(await Promise.all([first, again]), ["You said: Hello", "You said: Hello"]);
    assert.equal(await send(), "You said: Hello");
    assert.deepEqual(thinker.asked, ["Hello"]);
  });

  test(`A caller hears that its agent works on when the server stops: ${revision}`, async (t) => {
    const thinker = await startThinker(t);
    const client = await connectHttp(t, thinker.url, { revision });
    const call = client.callTool({ name: "send_message", arguments: { agent: "Nessie", text: "Hello" } });
    await thinker.thinks;
    const closed = thinker.kelpie.close();
    assert.match(textOf(await call), /Nessie works on, and nobody waits for its answer any more: list_messages will show it/);
    thinker.goOn();
    await closed;
  });
}
