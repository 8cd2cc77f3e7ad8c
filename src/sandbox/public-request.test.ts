import assert from "node:assert/strict";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { type PublicAnswer, PublicRequestError, requestPublic } from "./public-request.ts";

const signal = new AbortController().signal;

/** A server of this host that may be reached under the name `site.test`. */
class Site implements Disposable {
  readonly asked: string[] = [];
  readonly #server: Server;

  static async start(answer: RequestListener): Promise<Site> {
    const site = new Site(answer);
    await new Promise<void>((resolve) => void site.#server.listen(0, "127.0.0.1", resolve));
    return site;
  }

  private constructor(answer: RequestListener) {
    this.#server = createServer((request, response) => {
      this.asked.push(`${request.method} http://${request.headers.host}${request.url}`);
      answer(request, response);
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async get(path: string, options: { readonly bytesMax?: number; readonly method?: "GET" | "HEAD" } = {}): Promise<PublicAnswer> {
    const request = {
      url: `http://site.test:${this.port}${path}`,
      method: options.method ?? "GET",
      bytesMax: options.bytesMax ?? 1e6,
      headers: {},
    };
    const lookup = async (host: string): Promise<readonly string[]> => (host === "site.test" ? ["127.0.0.1"] : ["10.0.0.1"]);
    return await requestPublic(request, { lookup, privateHosts: [`site.test:${this.port}`] }, signal);
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

function refused(says: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof PublicRequestError && says.test(error.message);
}

for (const [url, addresses, says] of [
  ["http://127.0.0.1/", [], /127\.0\.0\.1, which is no public address/],
  ["http://[::1]/", [], /::1, which is no public/],
  ["http://[::ffff:127.0.0.1]/", [], /no public address/],
  ["http://2130706433/", [], /127\.0\.0\.1, which/],
  ["http://0x7f.1/", [], /127\.0\.0\.1, which/],
  ["http://169.254.169.254/latest/meta-data/", [], /169\.254\.169\.254, which/],
  ["http://localhost/", ["127.0.0.1"], /leads to 127\.0\.0\.1/],
  ["http://mixed.test/", ["93.184.215.14", "192.168.1.1"], /leads to 192\.168\.1\.1/],
  ["http://none.test/", [], /has no address/],
  ["ftp://example.com/", [], /begins with http/],
  ["file:///etc/passwd", [], /begins with http/],
  ["nonsense", [], /begins with http/],
  ["http://user:pass@example.com/", [], /Names and passwords/],
] as const)
  test(`${url} is not asked`, async () => {
    const request = { url, method: "GET", bytesMax: 1, headers: {} } as const;
    await assert.rejects(requestPublic(request, { lookup: async () => addresses }, signal), refused(says));
  });

test("The connection goes to the address that was looked up, which is asked for once", async () => {
  using site = await Site.start((_request, response) => response.end("here"));
  let asked = 0;
  const lookup = async (): Promise<readonly string[]> => (asked++ === 0 ? ["127.0.0.1"] : ["10.0.0.1"]);
  const request = { url: `http://rebound.test:${site.port}/x?y`, method: "GET", bytesMax: 10, headers: {} } as const;
  const { body } = await requestPublic(request, { lookup, privateHosts: [`rebound.test:${site.port}`] }, signal);
  assert.equal(body.toString(), "here");
  assert.deepEqual([asked, site.asked], [1, [`GET http://rebound.test:${site.port}/x?y`]]);
});

for (const [location, says] of [
  ["http://127.0.0.1/", /127\.0\.0\.1, which is no public/],
  ["http://inner.test/", /10\.0\.0\.1, which is no public/],
  ["file:///etc/passwd", /begins with http/],
  ["http://[", /leads to what is no address/],
  ["/again", /more than 5 times/],
] as const)
  test(`A redirect to ${location} is not followed for ever, nor inside`, async () => {
    using site = await Site.start((_request, response) => response.writeHead(302, { location }).end());
    await assert.rejects(site.get("/"), refused(says));
  });

test("A redirect is followed, and packed answers are unpacked", async () => {
  using site = await Site.start(({ url }, response) => {
    if (url === "/from") response.writeHead(301, { location: "to?a=b#c" }).end();
    else if (url === "/br") response.writeHead(200, { "content-encoding": "br" }).end(brotliCompressSync("packed"));
    else response.writeHead(200, { "content-encoding": "gzip", "content-type": "text/plain" }).end(gzipSync("packed"));
  });
  const { url, body, contentType } = await site.get("/from");
  assert.deepEqual([url, body.toString(), contentType], [`http://site.test:${site.port}/to?a=b#c`, "packed", "text/plain"]);
  assert.equal((await site.get("/br")).body.toString(), "packed");
  assert.equal((await site.get("/", { method: "HEAD" })).body.length, 0);
});

for (const [what, answer, says] of [
  ["is too long", ((_request, response) => response.end("x".repeat(2_000))) as RequestListener, /more than 1000 bytes/],
  [
    "is too long once it is unpacked",
    ((_request, response) =>
      response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(Buffer.alloc(50_000_000)))) as RequestListener,
    /more than 1000 bytes/,
  ],
  [
    "is not packed as it says",
    ((_request, response) => response.writeHead(200, { "content-encoding": "gzip" }).end("plain")) as RequestListener,
    /broke off/,
  ],
  [
    "breaks off",
    ((_request, response) => (
      response.writeHead(200, { "content-length": 9 }).write("x"),
      setImmediate(() => response.destroy())
    )) as RequestListener,
    /broke off/,
  ],
  ["never comes", (({ socket }) => socket.destroy()) as RequestListener, /cannot be reached/],
  [
    "has a huge head",
    ((_request, response) => response.writeHead(200, { x: "x".repeat(60_000) }).end()) as RequestListener,
    /cannot be reached/,
  ],
] as const)
  test(`An answer that ${what} is an error in words`, async () => {
    using site = await Site.start(answer);
    await assert.rejects(site.get("/", { bytesMax: 1_000 }), refused(says));
  });

test("A request ends when its signal says so", async () => {
  const stop = new AbortController();
  using site = await Site.start(() => stop.abort());
  const request = { url: `http://site.test:${site.port}/`, method: "GET", bytesMax: 10, headers: {} } as const;
  const options = { lookup: async () => ["127.0.0.1"], privateHosts: [`site.test:${site.port}`] };
  await assert.rejects(requestPublic(request, options, stop.signal));
});
