import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer, type Server as HttpServer } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { test, type TestContext } from "node:test";
import { ManualEnvironment, settle } from "../test/support/manual-environment.ts";
import { enterByInvitation } from "./join-cluster.ts";

/** What becomes of a join there, and how long it took on a clock that stands still while the network works. */
async function joinAt(join: string): Promise<{ readonly error: Error; readonly waited: number; readonly logs: number }> {
  const environment = new ManualEnvironment();
  let error: Error | undefined;
  const settings = { name: "node2", join, secret: "a-secret-of-this-test", onFenced: () => {} };
  void enterByInvitation(settings, { path: undefined, storeAddress: undefined }, { environment, machine: "m" }).then(
    () => (error = new Error("It has joined")),
    (reason: Error) => (error = reason),
  );
  while (error === undefined) await (environment.clock.timers > 0 ? environment.clock.advance(250) : settle());
  return { error, waited: environment.clock.elapsed(), logs: environment.logs.length };
}

async function listening(t: TestContext, server: Server | HttpServer): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Where nothing listens any more. */
async function closed(t: TestContext): Promise<string> {
  const server = createServer();
  const address = await listening(t, server);
  server.close();
  await once(server, "close");
  return address;
}

function answering(status: number, body: unknown): HttpServer {
  return createHttpServer((_request, response) =>
    response.writeHead(status, { "content-type": "application/json", connection: "close" }).end(JSON.stringify(body)),
  );
}

const store = { kind: "sqlite", machine: "m", host: "h", path: "/kelpie.db" };
const leaving = { node: "node1#1", actors: 0, store, members: [] };

for (const [what, server, message] of [
  [
    "does not speak HTTP",
    () => createServer((socket) => socket.end("220 smtp.example.com ESMTP\r\n")),
    /No Kelpie can be asked at .*: Response does not match the HTTP/,
  ],
  ["is another program", () => answering(404, { detail: "Not Found" }), /is no Kelpie that can be joined.*404/],
  ["asks for a key", () => answering(401, {}), /asks for its key: set KELPIE_API_KEY/],
  [
    "is no node of a cluster",
    () => answering(200, { node: null, actors: 0, store: null, members: [] }),
    /runs alone: start it with KELPIE_NODE/,
  ],
] as const)
  test(`A join at something that ${what} is refused at once`, async (t) => {
    const { error, waited } = await joinAt(await listening(t, server()));
    assert.match(error.message, message);
    assert.equal(error.name, "JoinError");
    assert.equal(waited, 0);
  });

for (const [what, address, message] of [
  ["refuses connections", closed, /^No Kelpie answers at .*: ECONNREFUSED\. This node has waited for 30 s$/],
  [
    "closes the connection",
    async (t) =>
      await listening(
        t,
        createServer((socket) => socket.end()),
      ),
    /^No Kelpie answers at .*30 s$/,
  ],
  ["is leaving", async (t) => await listening(t, answering(200, leaving)), /is about to leave its cluster: join at another one\. .*30 s$/],
] as readonly (readonly [string, (t: TestContext) => Promise<string>, RegExp])[])
  test(`A join at something that ${what} is tried for half a minute, and it says so once`, async (t) => {
    const { error, waited, logs } = await joinAt(await address(t));
    assert.match(error.message, message);
    assert.equal(error.name, "JoinError");
    assert.ok(waited >= 30_000 && waited < 31_000, String(waited));
    assert.equal(logs, 1);
  });
