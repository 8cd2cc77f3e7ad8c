/** Agents use MCP servers as they are published, started or reached as their owners would. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test, type TestContext } from "node:test";
import { ScriptedProvider } from "../../src/models/testing/scripted-provider.ts";
import { createKelpie } from "../../src/kelpie.ts";
import { installed } from "./installed.ts";
import Letta from "@letta-ai/letta-client";

type Config = Letta.McpServerCreateParams["config"];

/** A Kelpie with a scripted model, which calls the tool that its message names and then repeats the result. */
async function start(t: TestContext): Promise<{
  readonly letta: Letta;
  readonly folder: string;
  ask(tools: readonly string[], tool: string, input: object): Promise<string>;
}> {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-mcp-"));
  const provider = await ScriptedProvider.start(({ lastMessage }) => {
    if (lastMessage.role === "tool") return { text: `Result: ${lastMessage.text}` };
    const wanted = /\{"call".*\}/.exec(lastMessage.text)?.[0];
    if (wanted === undefined) return { text: "Nothing to do" };
    const { call, input } = JSON.parse(wanted) as { readonly call: string; readonly input: { readonly [name: string]: string } };
    return { toolCalls: [{ name: call, arguments: input }] };
  });
  const kelpie = await createKelpie({
    dataDirectory: join(folder, "data"),
    providers: { OPENAI_API_KEY: "key", OPENAI_API_BASE: `${provider.url}/v1` },
  });
  const { url } = await kelpie.serve({ port: 0 });
  t.after(async () => {
    await kelpie.close();
    await provider[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  const letta = new Letta({ baseURL: url, apiKey: "none", maxRetries: 0 });
  return {
    letta,
    folder,
    async ask(tools, tool, input) {
      const agent = await letta.agents.create({ model: "openai/scripted", include_base_tools: false, tool_ids: [...tools] });
      const { messages } = await letta.agents.messages.create(agent.id, { input: JSON.stringify({ call: tool, input }) });
      const results = messages.flatMap((message) => (message.message_type === "tool_return_message" ? [message.status] : []));
      assert.deepEqual(results, ["success"], JSON.stringify(messages));
      return JSON.stringify(messages.filter((message) => message.message_type === "assistant_message"));
    },
  };
}

/** Adds a server and gives the ids of its tools by the server's own names. */
async function add(
  letta: Letta,
  server_name: string,
  config: Config,
): Promise<ReadonlyMap<string, { readonly id: string; readonly name: string }>> {
  const server = await letta.mcpServers.create({ server_name, config });
  const tools = await letta.mcpServers.tools.list(server.id!);
  assert.ok(tools.length > 0, `${server_name} has tools`);
  return new Map(tools.map((tool) => [tool.name!.slice(server_name.length + 2), { id: tool.id, name: tool.name! }]));
}

const node = process.execPath;

test("An agent reads a file through the filesystem server", async (t) => {
  const { letta, folder, ask } = await start(t);
  writeFileSync(join(folder, "note.txt"), "The kelpie is a water horse.");
  const program = await installed("@modelcontextprotocol/server-filesystem/dist/index.js");
  const tools = await add(letta, "files", { mcp_server_type: "stdio", command: node, args: [program, folder] });
  const read = tools.get("read_text_file")!;
  assert.match(await ask([read.id], read.name, { path: join(folder, "note.txt") }), /water horse/);
  const write = tools.get("write_file")!;
  await ask([write.id], write.name, { path: join(folder, "made.txt"), content: "by an agent" });
  assert.equal(readFileSync(join(folder, "made.txt"), "utf8"), "by an agent");
});

test("An agent remembers in the memory server, which is told its file by a variable", async (t) => {
  const { letta, folder, ask } = await start(t);
  const program = await installed("@modelcontextprotocol/server-memory/dist/index.js");
  const file = join(folder, "memory.jsonl");
  const tools = await add(letta, "graph", { mcp_server_type: "stdio", command: node, args: [program], env: { MEMORY_FILE_PATH: file } });
  const create = tools.get("create_entities")!;
  await ask([create.id], create.name, { entities: [{ name: "Ada", entityType: "person", observations: ["counts"] }] });
  assert.match(readFileSync(file, "utf8"), /Ada/);
});

test("An agent commits through the git server", async (t) => {
  const { letta, folder, ask } = await start(t);
  const program = await installed("@cyanheads/git-mcp-server/dist/index.js");
  const config: Config = { mcp_server_type: "stdio", command: node, args: [program], env: { MCP_TRANSPORT_TYPE: "stdio" } };
  const tools = await add(letta, "git", config);
  const init = tools.get("git_init")!;
  await ask([init.id], init.name, { path: join(folder, "repository") });
  assert.match(readFileSync(join(folder, "repository", ".git", "HEAD"), "utf8"), /ref:/);
});

for (const [kind, argument, path] of [
  ["streamable_http", "streamableHttp", "mcp"],
  ["sse", "sse", "sse"],
] as const)
  test(`An agent uses the everything server over ${kind}, also after it was started again`, async (t) => {
    const { letta, ask } = await start(t);
    const program = await installed("@modelcontextprotocol/server-everything/dist/index.js");
    const port = await freePort();
    let server = await startServer(program, argument, port);
    t.after(() => server.kill("SIGKILL"));
    const tools = await add(letta, "every", { mcp_server_type: kind, server_url: `http://127.0.0.1:${port}/${path}` });
    const echo = tools.get("echo")!;
    assert.match(await ask([echo.id], echo.name, { message: "hello there" }), /hello there/);
    const image = tools.get("get-tiny-image")!;
    assert.match(await ask([image.id], image.name, {}), /\[image, image\/png, \d+ bytes\]/);

    const gone = once(server, "exit");
    server.kill("SIGKILL");
    await gone;
    server = await startServer(program, argument, port);
    // The first call may be the one that finds out.
    const servers = await letta.mcpServers.list();
    const call = async (): Promise<{ readonly status: string }> =>
      await letta.mcpServers.tools.run(echo.id, { mcp_server_id: servers[0]!.id!, args: { message: "again" } });
    const outcomes = [await call(), await call()];
    assert.equal(outcomes[1]!.status, "success", JSON.stringify(outcomes));
  });

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { readonly port: number };
  server.close();
  return port;
}

async function startServer(program: string, argument: string, port: number): Promise<ReturnType<typeof spawn>> {
  const child = spawn(node, [program, argument], { env: { ...process.env, PORT: String(port) }, stdio: "ignore" });
  for (;;) {
    const isUp = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (isUp) return child;
    await sleep(50);
  }
}
