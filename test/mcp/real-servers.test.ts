/** Agents use MCP servers as they are published, started or reached as their owners would. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { installed } from "./installed.ts";
import { add, type Config, freePort, node, start, startServer } from "./testing.ts";

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

const chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);

test("An agent reads a page in a browser", { skip: chromium === undefined && "there is no Chromium (apt install chromium)" }, async (t) => {
  const { letta, folder, ask } = await start(t);
  const site = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>Loch</title><h1>Water horses</h1>"));
  await once(site.listen(0, "127.0.0.1"), "listening");
  t.after(() => site.close());
  const program = await installed("@playwright/mcp/cli.js");
  const args = [
    program,
    "--headless",
    "--browser",
    "chromium",
    "--executable-path",
    chromium!,
    "--no-sandbox",
    "--isolated",
    "--output-dir",
    folder,
  ];
  const tools = await add(letta, "browser", { mcp_server_type: "stdio", command: node, args });
  const navigate = tools.get("browser_navigate")!;
  assert.match(
    await ask([navigate.id], navigate.name, { url: `http://127.0.0.1:${(site.address() as AddressInfo).port}/` }),
    /Page Title: Loch/,
  );
});

test("An image of a tool reaches a model that looks at images, in the run in which it came, and no list of messages", async (t) => {
  const { letta, asked } = await start(t);
  const program = await installed("@modelcontextprotocol/server-everything/dist/index.js");
  const tools = await add(letta, "every", { mcp_server_type: "stdio", command: node, args: [program, "stdio"] });
  const image = tools.get("get-tiny-image")!;
  const sees = async (model: string): Promise<number> => {
    const agent = await letta.agents.create({ model, include_base_tools: false, tool_ids: [image.id] });
    const before = asked().split("data:image/png;base64,iVBO").length;
    await letta.agents.messages.create(agent.id, { input: JSON.stringify({ call: image.name, input: {} }) });
    await letta.agents.messages.create(agent.id, { input: "And now?" });
    assert.doesNotMatch(JSON.stringify(await letta.agents.messages.list(agent.id)), /iVBO/);
    return asked().split("data:image/png;base64,iVBO").length - before;
  };
  assert.equal(await sees("openai/scripted-vision"), 1);
  assert.equal(await sees("openai/scripted"), 0);
});

test("An agent reads a resource and a prompt of the everything server", async (t) => {
  const { letta, ask } = await start(t);
  const program = await installed("@modelcontextprotocol/server-everything/dist/index.js");
  const tools = await add(letta, "every", { mcp_server_type: "stdio", command: node, args: [program, "stdio"] });
  const [resources, read, prompts, prompt] = ["list_resources", "read_resource", "list_prompts", "get_prompt"].map((name) =>
    tools.get(name)!,
  );
  const uri = /demo:\/\/[^\s"\\]*\.md/.exec(await ask([resources!.id], resources!.name, {}))![0];
  assert.ok((await ask([read!.id], read!.name, { uri })).length > 100);
  assert.match(await ask([prompts!.id], prompts!.name, {}), /simple-prompt/);
  assert.match(await ask([prompt!.id], prompt!.name, { name: "simple-prompt" }), /user:/);
});
