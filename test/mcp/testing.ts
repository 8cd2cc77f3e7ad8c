/** A Kelpie whose agents use MCP servers, and the servers, for tests. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestContext } from "node:test";
import Letta from "@letta-ai/letta-client";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { createKelpie } from "../../src/kelpie.ts";
import { ScriptedProvider } from "../../src/models/testing/scripted-provider.ts";

export const node: string = process.execPath;

export type Config = Letta.McpServerCreateParams["config"];

/** A Kelpie with a scripted model, which calls the tool that its message names and then repeats the result. */
export async function start(
  t: TestContext,
  folder: string = mkdtempSync(join(tmpdir(), "kelpie-mcp-")),
): Promise<{
  readonly letta: Letta;
  readonly url: string;
  /** For files of the test, and the data. */
  readonly folder: string;
  /** What the model was asked, as JSON. */
  asked(): string;
  close(): Promise<void>;
  ask(tools: readonly string[], tool: string, input: object): Promise<string>;
}> {
  const provider = await ScriptedProvider.start(
    ({ lastMessage }) => {
      if (lastMessage.role === "tool") return { text: `Result: ${lastMessage.text}` };
      const wanted = /\{"call".*\}/.exec(lastMessage.text)?.[0];
      if (wanted === undefined) return { text: "Nothing to do" };
      const { call, input } = JSON.parse(wanted) as { readonly call: string; readonly input: { readonly [name: string]: string } };
      return { toolCalls: [{ name: call, arguments: input }] };
    },
    { models: ["scripted", "scripted-vision"] },
  );
  const kelpie = await createKelpie({
    environment: new RealEnvironment({ level: "error" }),
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
    url,
    folder,
    asked: () => JSON.stringify(provider.requests.map(({ body }) => body)),
    close: () => kelpie.close(),
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
export async function add(
  letta: Letta,
  server_name: string,
  config: Config,
): Promise<ReadonlyMap<string, { readonly id: string; readonly name: string }>> {
  const server = await letta.mcpServers.create({ server_name, config });
  const tools = await letta.mcpServers.tools.list(server.id!);
  assert.ok(tools.length > 0, `${server_name} has tools`);
  return new Map(tools.map((tool) => [tool.name!.slice(server_name.length + 2), { id: tool.id, name: tool.name! }]));
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { readonly port: number };
  server.close();
  return port;
}

/** The everything server over HTTP, when it answers. */
export async function startServer(program: string, argument: string, port: number): Promise<ReturnType<typeof spawn>> {
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
