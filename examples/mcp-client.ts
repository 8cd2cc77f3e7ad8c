/**
 * Kelpie uses a real MCP server: the filesystem server of the protocol's authors, over standard input and output. Its tools are
 * discovered, called by hand, and called by an agent in a conversation.
 *
 *     node_modules/.bin/node examples/mcp-client.ts
 *
 * The agent's model is a small program here, so that this needs no key: it does what its last message asks for.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Letta from "@letta-ai/letta-client";
import { ScriptedProvider } from "../src/models/testing/scripted-provider.ts";
import { installed } from "../test/mcp/installed.ts";
import { ServerProcess } from "./start-server.ts";

const folder = mkdtempSync(join(tmpdir(), "kelpie-files-"));
try {
  await using model = await ScriptedProvider.start(({ lastMessage }) => {
    if (lastMessage.role === "tool") return { text: `Done. ${lastMessage.text}` };
    const path = join(folder, "poem.txt");
    return { toolCalls: [{ name: "files__write_file", arguments: { path, content: "By the loch a kelpie waits." } }] };
  });
  await using server = await ServerProcess.start({ OPENAI_API_KEY: "any", OPENAI_API_BASE: `${model.url}/v1` });
  const letta = new Letta({ baseURL: server.url, apiKey: "none" });

  // A server is added once, for all agents. It is started when it is needed.
  const program = await installed("@modelcontextprotocol/server-filesystem/dist/index.js");
  const files = await letta.mcpServers.create({
    server_name: "files",
    config: { mcp_server_type: "stdio", command: process.execPath, args: [program, folder] },
  });
  const tools = await letta.mcpServers.tools.list(files.id!);
  console.log(`${tools.length} tools: ${tools.map(({ name }) => name).join(", ")}`);
  const tool = (name: string): string => tools.find((each) => each.name === `files__${name}`)!.id;

  // By hand.
  const run = async (name: string, args: Record<string, unknown>): Promise<string> => {
    const { status, func_return } = await letta.mcpServers.tools.run(tool(name), { mcp_server_id: files.id!, args });
    assert.equal(status, "success", String(func_return));
    return String(func_return);
  };
  writeFileSync(join(folder, "note.txt"), "A kelpie is a water horse.");
  console.log(await run("read_text_file", { path: join(folder, "note.txt") }));
  assert.match(await run("list_directory", { path: folder }), /note\.txt/);

  // By an agent.
  const agent = await letta.agents.create({ model: "openai/scripted", tool_ids: [tool("write_file"), tool("read_text_file")] });
  const { messages } = await letta.agents.messages.create(agent.id, { input: "Write a line about kelpies to poem.txt" });
  for (const message of messages) if (message.message_type === "assistant_message") console.log(message.content);
  assert.equal(readFileSync(join(folder, "poem.txt"), "utf8"), "By the loch a kelpie waits.");

  // A mistake is an answer that the agent can use.
  const outside = await letta.mcpServers.tools.run(tool("read_text_file"), { mcp_server_id: files.id!, args: { path: "/etc/hostname" } });
  assert.equal(outside.status, "error");
  console.log(`Outside of its folder: ${String(outside.func_return).slice(0, 60)}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
