import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { RealEnvironment } from "../../environment/real-environment.ts";
import { MemoryStore } from "../../storage/memory-store.ts";
import { SealingKey } from "../../storage/sealing-key.ts";
import { transact } from "../../storage/transaction.ts";
import { OutcomeUnknownError, type ToolResult } from "../tool.ts";
import { McpConnectionError, mcpLimits } from "./mcp.ts";
import { mcpFetch } from "./mcp-fetch.ts";
import { McpTools } from "./mcp-tools.ts";
import { createMcpServer } from "./server-record.ts";

const project = "p";
const environment = new RealEnvironment({ level: "error", write: () => undefined });
const key = new SealingKey("the sealing key of these tests", environment.random);
const sealingKey = (): SealingKey => key;

interface Asked {
  readonly id?: number;
  readonly method: string;
}

/** A server of the older protocol with one tool, whose calls are answered as a test says. */
async function setUp(
  t: TestContext,
  answerCall: (answer: ServerResponse, asked: Asked, call: number) => void,
): Promise<{
  readonly calls: () => number;
  call(signal?: AbortSignal, effectId?: string): Promise<ToolResult>;
  readonly heads: IncomingMessage[];
  stop(): Promise<void>;
}> {
  let calls = 0;
  const heads: IncomingMessage[] = [];
  const http = createServer((request, answer) => {
    heads.push(request);
    if (request.method !== "POST") return void answer.writeHead(405).end();
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const asked = JSON.parse(Buffer.concat(parts).toString("utf8")) as Asked;
      if (asked.method === "tools/call") return answerCall(answer, asked, calls++);
      if (asked.id === undefined) return void answer.writeHead(202).end();
      json(answer, asked.id, results[asked.method]);
    });
  });
  await once(http.listen(0, "127.0.0.1"), "listening");
  const stop = async (): Promise<void> => {
    http.closeAllConnections();
    if (http.listening) await once(http.close(), "close");
  };
  const store = new MemoryStore();
  const mcp = new McpTools({ store, environment, sealingKey });
  t.after(async () => {
    await mcp[Symbol.asyncDispose]();
    await stop();
  });
  const config = {
    mcp_server_type: "streamable_http" as const,
    server_url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
  };
  const { id } = await transact(store, environment, (transaction) =>
    createMcpServer(transaction, { environment, sealingKey }, project, { server_name: "web", config }),
  );
  await mcp.refresh(project, id);
  const [record] = await mcp.list(project, id);
  const context = { effectId: "e", project, agentId: "a", conversationId: "default" };
  return {
    heads,
    stop,
    calls: () => calls,
    call: async (signal = new AbortController().signal, effectId = "e") =>
      await mcp.tool(record!)!.execute({}, { ...context, effectId, signal }),
  };
}

const results: { readonly [method: string]: object | undefined } = {
  initialize: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "web", version: "1" } },
  "tools/list": { tools: [{ name: "act", inputSchema: { type: "object" } }] },
};

function json(answer: ServerResponse, id: number, result: object | undefined): void {
  const body = result === undefined ? { error: { code: -32601, message: "No such method" } } : { result };
  answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ jsonrpc: "2.0", id, ...body }));
}

const done = { content: [{ type: "text", text: "done" }] };

for (const [manner, answerCall] of [
  ["cuts the connection", (answer) => answer.destroy()],
  [
    "cuts its stream",
    (answer) => void answer.writeHead(200, { "content-type": "text/event-stream" }).write(": begun\n\n", () => answer.destroy()),
  ],
  [
    "ends its stream without an answer",
    (answer) => void answer.writeHead(200, { "content-type": "text/event-stream" }).end(": nothing\n\n"),
  ],
  ["breaks", (answer) => void answer.writeHead(500).end("It broke")],
  ["is behind a gateway that gives up", (answer) => void answer.writeHead(504).end()],
  ["answers with 100 MB", (answer) => flood(answer.writeHead(200, { "content-type": "application/json" }), '{"jsonrpc":"2.0","id":')],
  ["sends an event of 100 MB", (answer) => flood(answer.writeHead(200, { "content-type": "text/event-stream" }), "data: ")],
] as const satisfies readonly (readonly [string, (answer: ServerResponse) => void])[])
  test(`The outcome of a call to a server that ${manner} is unknown, and it is sent once`, { timeout: 20_000 }, async (t) => {
    const { call, calls } = await setUp(t, answerCall);
    await assert.rejects(
      call(),
      (error: Error) => error instanceof OutcomeUnknownError && /The MCP server web gave no answer to act/.test(error.message),
    );
    assert.equal(calls(), 1);
  });

test("A call that the server has no session for is sent again in a new one, and once", async (t) => {
  const { call, calls } = await setUp(t, (answer, { id }, at) => (at === 0 ? void answer.writeHead(404).end() : json(answer, id!, done)));
  assert.deepEqual(await call(), { status: "success", text: "done" });
  assert.equal(calls(), 2);
  const never = await setUp(t, (answer) => void answer.writeHead(404).end());
  await assert.rejects(never.call(), /404/);
  assert.equal(never.calls(), 2);
});

test("A call has the id of its effect in a header, where that takes it, and nothing else does", async (t) => {
  const { call, heads } = await setUp(t, (answer, { id }) => json(answer, id!, done));
  const ids = (): unknown[] => heads.map(({ headers }) => headers["idempotency-key"]);
  assert.ok(ids().every((id) => id === undefined));
  await call(undefined, "run-1:step-2:call_3");
  assert.equal(ids().at(-1), "run-1:step-2:call_3");
  await call(undefined, "run-1:step-2:Anruf 3 für Ö");
  assert.equal(ids().at(-1), undefined);
});

test("A server that is away certainly did nothing", async (t) => {
  const { call, stop } = await setUp(t, (answer, { id }) => json(answer, id!, done));
  await stop();
  // The first calls find out that the connections have ended that were kept.
  for (let at = 0; at < 5; at++) await assert.rejects(call());
  await assert.rejects(
    call(),
    (error: Error) => error instanceof McpConnectionError && /web cannot be reached: .*ECONNREFUSED/.test(error.message),
  );
});

test("A redirect elsewhere is not followed", async (t) => {
  const elsewhere = await setUp(t, (answer, { id }) => json(answer, id!, done));
  const { port } = elsewhere.heads[0]!.socket.address() as AddressInfo;
  const asked = elsewhere.heads.length;
  const { call } = await setUp(t, (answer) => void answer.writeHead(307, { location: `http://127.0.0.1:${port}/mcp` }).end());
  await assert.rejects(call(), /redirect/i);
  assert.equal(elsewhere.heads.length, asked);
});

test("A call that is given up ends at once, and the server is told", async (t) => {
  const told = Promise.withResolvers<void>();
  const { call, heads } = await setUp(t, (answer) => answer.on("close", () => told.resolve()));
  const giveUp = new AbortController();
  const called = call(giveUp.signal);
  const asked = heads.length;
  while (heads.length === asked) await new Promise((resolve) => setImmediate(resolve));
  giveUp.abort(new Error("given up"));
  await assert.rejects(called, /given up/);
});

test("A server of the public internet cannot have this host's own network asked", async () => {
  const fetch = mcpFetch("https://8.8.8.8/mcp");
  for (const url of ["http://127.0.0.1:1/token", "http://169.254.169.254/latest/meta-data", "http://[::1]:1/", "http://10.0.0.1/"])
    await assert.rejects(fetch(url), /is of this host's own network: it is not asked/, url);
});

/** Writes `begin` and then more than a message may have, as fast as it is read. */
function flood(answer: ServerResponse, begin: string): void {
  answer.write(begin);
  const piece = "x".repeat(1_000_000);
  let left = 100;
  const more = (): void => {
    while (left-- > 0) if (!answer.write(piece)) return void answer.once("drain", more);
    answer.end();
  };
  more();
  assert.ok(mcpLimits.messageBytes < 100_000_000);
}
