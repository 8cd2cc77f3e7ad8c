/** `kelpie mcp serve` between a host that writes anything and a server that comes and goes. */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { on, once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test, type TestContext } from "node:test";
import { RealEnvironment } from "../../src/environment/real-environment.ts";
import { createKelpie } from "../../src/kelpie.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { freePort, node } from "./testing.ts";

const main = join(import.meta.dirname, "..", "..", "src", "main.ts");

interface Answer {
  readonly id?: number | string;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
}

class Bridge {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<[string]>;
  notes = "";

  constructor(t: TestContext, url: string) {
    this.child = spawn(node, [main, "mcp", "serve"], { env: { KELPIE_SERVER: url } });
    this.#lines = on(createInterface(this.child.stdout), "line") as AsyncIterator<[string]>;
    this.child.stderr.setEncoding("utf8").on("data", (text: string) => (this.notes += text));
    t.after(() => this.child.kill("SIGKILL"));
  }

  write(line: string): void {
    this.child.stdin.write(`${line}\n`);
  }

  send(message: object): void {
    this.write(JSON.stringify({ jsonrpc: "2.0", ...message }));
  }

  /** The next line that it writes, which has to be a message of the protocol. */
  async next(): Promise<Answer> {
    const { value } = await this.#lines.next();
    return JSON.parse(value[0]) as Answer;
  }

  /** Resolves with the exit code. */
  async end(): Promise<number | null> {
    const exit = once(this.child, "exit");
    this.child.stdin.end();
    const [code] = (await exit) as [number | null];
    return code;
  }
}

const list = { method: "tools/list", params: {} };

async function serveKelpie(t: TestContext, port: number): Promise<string> {
  const kelpie = await createKelpie({ environment: new RealEnvironment({ level: "error" }), store: new MemoryStore() });
  t.after(() => kelpie.close());
  return (await kelpie.serve({ port })).url;
}

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const http = createServer(listener);
  await once(http.listen(0, "127.0.0.1"), "listening");
  t.after(() => http.close().closeAllConnections());
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

test("A server that is away is an answer, and is found again when it is back", async (t) => {
  const port = await freePort();
  const bridge = new Bridge(t, `http://127.0.0.1:${port}`);
  // To a notification there is no answer, so the first line is the request's.
  bridge.send({ method: "notifications/initialized" });
  bridge.send({ id: 1, ...list });
  const away = await bridge.next();
  assert.equal(away.id, 1);
  assert.equal(away.error?.code, -32_000);
  assert.match(away.error!.message, new RegExp(`No Kelpie answers at http://127.0.0.1:${port}: .* Start it with npm start`));
  await serveKelpie(t, port);
  bridge.send({ id: 1, ...list });
  assert.ok((await bridge.next()).result !== undefined);
  assert.equal(await bridge.end(), 0);
  assert.match(bridge.notes, /No Kelpie answers/);
});

test("What is no message is noted beside the protocol, and the next message is answered", async (t) => {
  const bridge = new Bridge(t, await serveKelpie(t, 0));
  for (const line of ["", "hello", "{", "5", '{"jsonrpc":"2.0","id":{},"method":"tools/list"}', '"\u0000"']) bridge.write(line);
  bridge.send({ id: "a", ...list });
  assert.equal((await bridge.next()).id, "a");
  bridge.send({ id: 2, method: "no/such" });
  const refused = await bridge.next();
  assert.deepEqual([refused.id, refused.error?.code], [2, -32_601]);
  assert.equal(await bridge.end(), 0);
  assert.match(bridge.notes, /What the MCP host wrote is no message/);
});

test("A connection that breaks before its answer is an answer, once", async (t) => {
  const url = await serve(t, (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).write(": the answer takes its time\n\n");
    setImmediate(() => response.destroy());
  });
  const bridge = new Bridge(t, url);
  for (const id of [1, 2]) {
    bridge.send({ id, ...list });
    const broken = await bridge.next();
    assert.equal(broken.id, id);
    assert.match(broken.error!.message, /broke before the answer was there/);
  }
  assert.equal(await bridge.end(), 0);
});

test("A server that is none is an answer that says so", async (t) => {
  for (const [status, type, body, expected] of [
    [401, "application/json", '{"detail":"Unauthorized"}', /Unauthorized: set KELPIE_API_KEY to the key of this server/],
    [404, "text/html", "<h1>Not here</h1>", /Not here/],
    [200, "text/plain", "hello", /No Kelpie answers at .*: Unexpected content type: text\/plain/],
    [200, "application/json", "{", /No Kelpie answers at /],
  ] as const) {
    const bridge = new Bridge(t, await serve(t, (_, response) => void response.writeHead(status, { "content-type": type }).end(body)));
    bridge.send({ id: 1, ...list });
    const answer = await bridge.next();
    assert.equal(answer.id, 1);
    assert.match(answer.error!.message, expected);
    assert.equal(await bridge.end(), 0);
  }
});

test("A host that leaves while its request has no answer ends the bridge, as does one that sends without end", async (t) => {
  const asked = Promise.withResolvers<void>();
  const url = await serve(t, () => asked.resolve());
  const left = new Bridge(t, url);
  left.send({ id: 1, ...list });
  left.send({ id: 1, ...list });
  assert.match((await left.next()).error!.message, /Another request with this id has no answer yet/);
  await asked.promise;
  assert.equal(await left.end(), 0);

  const flooded = new Bridge(t, url);
  const exit = once(flooded.child, "exit");
  flooded.child.stdin.on("error", () => {});
  flooded.write("x".repeat(12 * 1024 * 1024));
  await exit;
  assert.match(flooded.notes, /no message: .*size/);
});
