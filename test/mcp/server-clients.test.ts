/** The official clients of the Model Context Protocol use agents through Kelpie's server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientKinds, startAgents, textOf } from "./server-testing.ts";

const toolNames = ["list_agents", "create_agent", "send_message", "stop_agent", "read_memory", "search_memory", "list_messages"];

for (const { name, connect } of clientKinds)
  test(`An agent is made, spoken to and looked into: ${name}`, async (t) => {
    // The model thinks on until the client has heard of the tool that it has called.
    const heard = Promise.withResolvers<void>();
    const { url, letta } = await startAgents(t, {
      async answer(text) {
        if (text === "Hello there") return { toolCalls: [{ name: "conversation_search", arguments: { query: "greetings" } }] };
        await heard.promise;
        return { text: "Hello to you" };
      },
    });
    const client = await connect(t, url);
    const { tools } = await client.listTools();
    assert.deepEqual(
      tools.map((tool) => tool.name),
      toolNames,
    );

    const persona = "I live in a loch.";
    const made = await client.callTool({ name: "create_agent", arguments: { name: "Nessie", persona, model: "openai/scripted" } });
    const { id } = made.structuredContent as { readonly id: string };
    assert.equal((await letta.agents.retrieve(id)).name, "Nessie");

    const onprogress = ({ message }: { readonly message?: string | undefined }): void => {
      if (message === "Nessie calls a tool") heard.resolve();
    };
    const answer = await client.callTool({ name: "send_message", arguments: { agent: "Nessie", text: "Hello there" } }, { onprogress });
    assert.equal(textOf(answer), "Hello to you");

    const listed = await client.callTool({ name: "list_agents", arguments: {} });
    assert.deepEqual(listed.structuredContent, { agents: [{ id, name: "Nessie", model: "openai/scripted" }] });
    assert.deepEqual(JSON.parse(textOf(listed)), listed.structuredContent);

    const conversation = await client.callTool({ name: "list_messages", arguments: { agent: id } });
    const { messages } = conversation.structuredContent as {
      readonly messages: readonly { readonly kind: string; readonly text: string }[];
    };
    assert.deepEqual(
      messages.map(({ kind }) => kind),
      ["user", "tool_call", "tool_return", "assistant"],
    );
    assert.match(textOf(await client.callTool({ name: "read_memory", arguments: { agent: id } })), /# persona\n[^#]*I live in a loch\./);
    const found = await client.callTool({ name: "search_memory", arguments: { agent: id, query: "hello" } });
    assert.equal((found.structuredContent as { readonly conversation: readonly unknown[] }).conversation.length, 2);

    const { resources } = await client.listResources();
    assert.deepEqual(
      resources.map((resource) => [resource.name, resource.uri]),
      [["Nessie", `kelpie://agents/${id}`]],
    );
    assert.deepEqual(
      (await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate),
      ["kelpie://agents/{agent_id}", "kelpie://agents/{agent_id}/blocks/{label}", "kelpie://agents/{agent_id}/messages{?before}"],
    );
    const read = async (uri: string): Promise<string> => {
      const [content] = (await client.readResource({ uri })).contents;
      return content !== undefined && "text" in content ? content.text : "";
    };
    const shown = JSON.parse(await read(`kelpie://agents/${id}`)) as { readonly blocks: readonly string[]; readonly conversation: string };
    assert.equal(await read(shown.blocks.find((uri) => uri.endsWith("/persona"))!), persona);
    assert.match(await read(shown.conversation), /Hello to you/);

    // What a model did wrong is a result that it can read; what a program did wrong is an error.
    for (const [tool, given, expected] of [
      ["send_message", { agent: "nobody", text: "Hello" }, /There is no agent "nobody": list_agents shows those there are/],
      ["send_message", { agent: id, text: "" }, /arguments\.text/],
      ["send_message", { text: 5 }, /arguments\.agent/],
      ["read_memory", { agent: id, label: "nothing" }, /Nessie has no block "nothing"\. It has: persona, human/],
      ["list_messages", { agent: id, before: "message-none" }, /before: there is no message "message-none"/],
      ["list_agents", { after: "agent-none" }, /after: there is no agent "agent-none"/],
      ["create_agent", { name: "Other", model: "none/none" }, /none\/none/],
    ] as const) {
      const outcome = await client.callTool({ name: tool, arguments: given });
      assert.equal(outcome.isError, true, tool);
      assert.match(textOf(outcome), expected);
    }
    await assert.rejects(
      client.callTool({ name: "drop_agents", arguments: {} }),
      /There is no tool "drop_agents": there are list_agents, /,
    );
    await assert.rejects(client.readResource({ uri: `kelpie://agents/${id}/blocks/nothing` }), { code: -32602 });
  });
