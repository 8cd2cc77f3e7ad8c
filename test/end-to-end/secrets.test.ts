/**
 * Secrets that tools know are nowhere afterwards: a real server, tools that tell them in every way that a mask has to find, a
 * model that repeats what it sees; then a search of everything that was written, sent or shown.
 *
 * What is not a secret, and went the same ways, is found by the same search.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import Letta from "@letta-ai/letta-client";
import { cut, ScriptedProvider } from "../../src/models/testing/scripted-provider.ts";
import { bubblewrapMissing } from "../../src/sandbox/testing.ts";
import { kelpie, type Outcome } from "./kelpie-command.ts";
import { answers, waysOf } from "./telling-server.ts";

/** As keys of services are, each known to one part only. */
const secrets = {
  agent: "sk-live-9fQ2xL7vB4mT1zR8kW3c5nJ6",
  environment: "env_7Hd2kP9sYw4LqZ8xV1bN3tG5aC0e",
  header: "hdr3Jf8mC1rXu6TzB9wE2vK7pD4yL5oS",
  address: "adr6Wq1sN8dXk3ZfG7hP2jV9bM4tR0uY",
  provider: "sk-prov-5Gs7nA2yQi8RvH4jM6cU1oF9",
  stored: "sk-byok-8Ke3wB6zTn1LxS9qD5fV2gJ7",
  words: "correct horse battery staple",
};
/** No secret: sent and kept where the secrets must not be. */
const canary = "canary-4Vt9uE2xOh7YcI5bK1mZ8rW3";

/** Everything of one kind that was written, sent or shown. */
class Seen {
  readonly bytes = new Map<string, Buffer[]>();

  add(kind: string, data: Buffer | string): void {
    const parts = this.bytes.get(kind) ?? [];
    this.bytes.set(kind, [...parts, Buffer.from(data)]);
  }

  size(kind: string): number {
    return (this.bytes.get(kind) ?? []).reduce((sum, { length }) => sum + length, 0);
  }

  /** Where a value is, in one of the ways that a mask has to find. */
  search(value: string): string[] {
    const needles = new Map<string, Buffer>();
    for (const [way, texts] of Object.entries(waysOf(value)))
      // Of what is around a value in base64 the mask leaves some.
      for (const [number, text] of texts.entries())
        needles.set(`${way} ${number}`, Buffer.from(way.startsWith("base64") ? text.slice(4, 36) : text));
    for (const at of [0, value.length / 4, value.length / 2]) needles.set(`piece at ${at}`, Buffer.from(value.slice(at, at + 12)));
    return [...this.bytes].flatMap(([kind, parts]) =>
      [...needles].filter(([, needle]) => parts.some((part) => part.includes(needle))).map(([way]) => `${kind}: ${way}`),
    );
  }
}

interface Running {
  readonly url: string;
  stop(): Promise<Outcome>;
}

async function startServer(t: TestContext, folder: string, variables: Readonly<Record<string, string>>): Promise<Running> {
  const ready = Promise.withResolvers<{ readonly url: string; readonly pid: number }>();
  const ended = kelpie(["serve", "--json", "--port", "0", "--data", folder], {
    variables: { HOME: folder, KELPIE_DISCOVER_LOCAL: "no", KELPIE_LOG_LEVEL: "debug", KELPIE_LOG_FORMAT: "json", ...variables },
    watch: (output) => {
      if (output.includes("\n")) ready.resolve(JSON.parse(output.split("\n")[0]!) as { readonly url: string; readonly pid: number });
    },
  });
  void ended.then(({ notes }) => ready.reject(new Error(`The server ended: ${notes}`)));
  const { url, pid } = await ready.promise;
  let isStopped = false;
  const stop = async (): Promise<Outcome> => {
    if (!isStopped) process.kill(pid, "SIGTERM");
    isStopped = true;
    return await ended;
  };
  t.after(stop);
  return { url, stop };
}

/** A model that calls what it is told to, repeats what it sees, and a provider that repeats the key when it refuses. */
async function startProvider(t: TestContext): Promise<ScriptedProvider> {
  const provider = await ScriptedProvider.start(({ lastMessage, headers }) => {
    if (lastMessage.text.includes("refuse this")) {
      const message = `Incorrect API key provided: ${headers.authorization}`;
      return { status: 401, headers: { "content-type": "application/json" }, steps: [JSON.stringify({ error: { message } })] };
    }
    if (lastMessage.text.includes("break this"))
      return { steps: [`data: ${JSON.stringify({ error: { message: headers.authorization } })}\n\n`, cut] };
    const [, tool, input] = /^call (\w+) (.*)$/s.exec(lastMessage.text) ?? [];
    if (tool === undefined || lastMessage.role === "tool") return { text: `I see: ${lastMessage.text}`, reasoning: lastMessage.text };
    return { toolCalls: [{ name: tool, arguments: input! }] };
  });
  t.after(() => provider[Symbol.asyncDispose]());
  return provider;
}

/** The server over HTTP, which tells the token that it is sent; one at `/refuse` tells the address that it was asked at. */
async function startTelling(t: TestContext): Promise<string> {
  const http = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      if (request.url!.startsWith("/refuse")) return void response.writeHead(403).end(`Not at ${request.url}`);
      if (request.method !== "POST") return void response.writeHead(405).end();
      const message = JSON.parse(Buffer.concat(parts).toString("utf8")) as Parameters<typeof answers>[0];
      const all = answers(message, String(request.headers.authorization).replace("Bearer ", ""));
      if (all.length === 0) return void response.writeHead(202).end();
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(all.map((each) => `data: ${JSON.stringify(each)}\n\n`).join(""));
    });
  });
  await once(http.listen(0, "127.0.0.1"), "listening");
  t.after(() => {
    http.closeAllConnections();
    http.close();
  });
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

/** The ways of `waysOf`, in Python, beside those that only code has. */
const python = `
import base64, json, os, sys, urllib.parse

def tell_by_code(how: str, name: str, agent_state: "AgentState"):
    """Tells a secret.

    Args:
        how (str): In which way.
        name (str): Which.
    """
    secret = os.environ[name]
    half = (len(secret) + 1) // 2
    data = secret.encode()
    ways = {
        "plain": "It is " + secret,
        "json": json.dumps({"deep": json.dumps([secret])}),
        "hex": data.hex() + " " + data.hex(":"),
        "base64": [base64.b64encode(before + data + b"x").decode() for before in (b"", b"a", b"ab")],
        "base64url": base64.urlsafe_b64encode(b"?>" + data).decode(),
        "percent": urllib.parse.quote(secret, safe=""),
        "reversed": secret[::-1],
        "spaced": " ".join(secret),
        "list": list(secret),
        "repr": repr(data),
        "first": secret[:half],
        "second": secret[half:],
    }
    if how == "print":
        print(secret)
        print(secret[::-1], file=sys.stderr)
        print(data.hex(), file=sys.stderr)
        return "done"
    if how == "traceback":
        raise RuntimeError("with " + secret)
    if how == "exit":
        print(secret, file=sys.stderr)
        os._exit(3)
    if how == "memory":
        agent_state.memory.update_block_value("human", "knows " + secret + " and " + data.hex())
        return "kept"
    return ways[how]
`;

test("Secrets that tools tell in every way are in no row, log, event, answer or request to a model", { timeout: 120_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "kelpie-secrets-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [provider, telling] = [await startProvider(t), await startTelling(t)];
  const server = await startServer(t, folder, { OPENAI_API_KEY: secrets.provider, OPENAI_API_BASE: `${provider.url}/v1` });
  const seen = new Seen();
  const letta = new Letta({
    baseURL: server.url,
    apiKey: "none",
    maxRetries: 0,
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      const text = await response.text();
      // The whole of what its owner has just made, as Letta answers: its secrets are in it.
      const isOwners = init?.method === "POST" && /\/v1\/agents\/?$/.test(new URL(response.url).pathname);
      if (!isOwners) seen.add(response.headers.get("content-type")?.includes("event-stream") === true ? "events" : "answers", text);
      return new Response(response.status === 204 ? null : text, response);
    },
  });

  const program = [join(import.meta.dirname, "telling-server.ts")];
  const [withProgram, withAddress] = [
    await letta.mcpServers.create({
      server_name: "program",
      config: { mcp_server_type: "stdio", command: process.execPath, args: program, env: { TOKEN: secrets.environment } },
    }),
    await letta.mcpServers.create({
      server_name: "address",
      config: { mcp_server_type: "streamable_http", server_url: `${telling}/mcp`, auth_token: secrets.header },
    }),
  ];
  // These cannot be reached, and say so: the log has their names.
  const broken = { mcp_server_type: "stdio" as const, env: { TOKEN: secrets.environment } };
  const unreachable: readonly Letta.McpServerCreateParams[] = [
    { server_name: "exits", config: { ...broken, command: process.execPath, args: ["-e", "console.error(process.env); process.exit(1)"] } },
    { server_name: "missing", config: { ...broken, command: "/no/such/program", args: [] } },
    { server_name: canary, config: { mcp_server_type: "streamable_http", server_url: `${telling}/refuse?api_key=${secrets.address}` } },
  ];
  for (const each of unreachable) {
    const { id } = await letta.mcpServers.create(each);
    await assert.rejects(letta.mcpServers.refresh(id!), /cannot be reached/);
  }
  await letta.post("/v1/providers", {
    body: { name: "byok", provider_type: "openai", api_key: secrets.stored, base_url: `${provider.url}/v1` },
  });
  const tools = (await Promise.all([withProgram, withAddress].map(({ id }) => letta.mcpServers.tools.list(id!)))).flat();
  assert.deepEqual(
    tools.map(({ name }) => name),
    ["program__tell", "address__tell"],
  );
  const toolIds = tools.map(({ id }) => id);

  const runs: string[] = [];
  /** Lets the agent call a tool, and gives what the model made of the result. */
  const say = async (agentId: string, input: string): Promise<string> => {
    // Tokens cut what they tell, so what belongs together is searched together.
    const texts = { content: "", reasoning: "", arguments: "" };
    for await (const event of await letta.agents.messages.stream(agentId, { input, stream_tokens: true })) {
      if (event.message_type === "assistant_message" && typeof event.content === "string") texts.content += event.content;
      if (event.message_type === "reasoning_message") texts.reasoning += event.reasoning;
      if (event.message_type === "tool_call_message") texts.arguments += event.tool_call.arguments ?? "";
      if ("run_id" in event && typeof event.run_id === "string") runs.push(event.run_id);
    }
    for (const text of Object.values(texts)) seen.add("events", text);
    return texts.content;
  };
  const call = (agentId: string, tool: string, input: object): Promise<string> => say(agentId, `call ${tool} ${JSON.stringify(input)}`);
  const newAgent = async (model: string, tool_ids: readonly string[]): Promise<string> =>
    (
      await letta.agents.create({
        model,
        tool_ids: [...tool_ids],
        description: canary,
        include_base_tools: true,
        memory_blocks: [{ label: "human", value: "nothing" }],
        secrets: { KEY: secrets.agent, WORDS: secrets.words },
      })
    ).id;

  let told = 0;
  const agent = await newAgent("openai/scripted", toolIds);
  for (const tool of ["program__tell", "address__tell"])
    for (const how of [...Object.keys(waysOf("x")), "structured", "error", "notifications"]) {
      const said = await call(agent, tool, { how });
      if (how !== "notifications") assert.match(said, /\*{8}/, `${tool} has told ${how}: ${said}`);
      told++;
    }
  assert.match(await call(agent, "program__tell", { how: "exit" }), /may or may not have taken effect/);
  const ofStored = await newAgent("byok/scripted", toolIds);
  for (const id of [agent, ofStored]) for (const input of ["refuse this", "break this"]) await say(id, input).catch(() => "");

  await t.test("code in the sandbox", { skip: bubblewrapMissing ?? false }, async () => {
    const code = await letta.tools.create({ source_code: python });
    const runCode = (await letta.tools.list({ name: "run_code" })).items[0]!;
    for (const id of [code.id!, runCode.id!]) await letta.agents.tools.attach(id, { agent_id: agent });
    for (const name of ["KEY", "WORDS"]) {
      const ways = ["plain", "hex", "base64", "spaced", "traceback", "exit"];
      // Pieces of what is made of words are words.
      const waysOfKey = ["json", "base64url", "percent", "reversed", "list", "repr", "first", "second"];
      for (const how of [...ways, ...(name === "KEY" ? waysOfKey : [])]) {
        assert.match(await call(agent, "tell_by_code", { how, name }), /\*{8}/, `${how} of ${name}`);
        told++;
      }
      for (const how of ["print", "memory"]) await call(agent, "tell_by_code", { how, name });
      assert.match((await letta.agents.blocks.retrieve("human", { agent_id: agent })).value, /^knows \*{8} and \*{8}$/);
      await letta.agents.tools.run("tell_by_code", { agent_id: agent, args: { how: "print", name } });
    }
    // Code of the model's own has none.
    const variables = await call(agent, "run_code", { language: "js", code: "console.log(process.env)" });
    assert.match(variables, /KELPIE_AGENT_ID/);
    assert.doesNotMatch(variables, /WORDS/);
  });

  // What the model has seen it keeps wherever it can.
  const messages = (await letta.agents.messages.list(agent, { limit: 100 })).items.map((message) => JSON.stringify(message));
  for (const text of [messages.join("\n").slice(0, 10_000), canary]) await call(agent, "archival_memory_insert", { content: text });
  await call(agent, "core_memory_append", { label: "human", content: messages.at(-1) });
  await call(ofStored, "program__tell", { how: "plain" });
  for (const path of [
    "/v1/audit",
    "/v1/providers",
    "/v1/mcp-servers",
    "/v1/tools",
    "/v1/runs",
    `/v1/agents/${agent}`,
    `/v1/agents/${agent}/context`,
  ])
    await letta.get(path);
  for (const run of new Set(runs)) for (const part of ["", "/messages", "/steps"]) await letta.get(`/v1/runs/${run}${part}`);
  for (const args of [["mcp", "list"], ["agents"], ["runs"], ["audit"], ["mcp", "tools", "program"], ["mcp", "test", "program"]]) {
    const { code, output, notes } = await kelpie(args, { variables: { KELPIE_SERVER: server.url, HOME: folder } });
    assert.equal(code, 0, `${args.join(" ")}: ${notes}`);
    seen.add("commands", output + notes);
  }

  const addStore = (): void => {
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }))
      if (entry.isFile() && entry.name !== "sealing-key") seen.add("store", readFileSync(join(entry.parentPath, entry.name)));
  };
  addStore();
  const { code, output, notes } = await server.stop();
  assert.equal(code, 0, notes);
  addStore();
  seen.add("logs", output + notes);
  for (const { body } of provider.requests) seen.add("model requests", JSON.stringify(body));

  const kinds = ["store", "logs", "events", "answers", "commands", "model requests"];
  assert.deepEqual([...seen.bytes.keys()].toSorted(), kinds.toSorted());
  const canaryHits = seen.search(canary);
  for (const kind of kinds) assert.ok(canaryHits.includes(`${kind}: piece at 0`), `what is no secret is found in ${kind}`);
  for (const [name, secret] of Object.entries(secrets)) assert.deepEqual(seen.search(secret), [], `the secret of ${name}`);
  const sizes = kinds.map((kind) => `${(seen.size(kind) / 1024).toFixed(0)} KB of ${kind}`);
  t.diagnostic(`${Object.keys(secrets).length} secrets, told in ${told} ways: 0 found in ${sizes.join(", ")}`);
});
