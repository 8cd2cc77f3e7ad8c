import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { RealEnvironment } from "../environment/real-environment.ts";
import type { EgressGate } from "./egress-gate.ts";
import { EgressProxy } from "./egress-proxy.ts";
import type { NetworkPolicy } from "./network-policy.ts";

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

const secret = { placeholder: "PLACEHOLDER", value: "the secret itself", hosts: ["api.test"] };

describe("EgressProxy", () => {
  const logged: string[] = [];
  const environment = new RealEnvironment({ write: (line) => void logged.push(line) });
  const seen: Seen[] = [];
  const gates: EgressGate[] = [];
  const keep = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method, url, headers } = request;
      seen.push({ method: method!, url: url!, headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(201, { "x-answer": "yes", connection: "keep-alive, x-hop", "x-hop": "1" });
      response.end(url === "/large" ? Buffer.alloc(3_000_000, "x") : "answer");
    });
  };
  const upstream = http.createServer(keep);
  let port: number;
  before(async () => {
    await new Promise<void>((resolve) => void upstream.listen(0, "127.0.0.1", resolve));
    port = (upstream.address() as AddressInfo).port;
  });
  after(async () => {
    for (const gate of gates) await gate.close();
    upstream.close();
  });

  /** The port of a proxy that keeps `policy`; every name leads to this host. */
  async function attach(
    policy: NetworkPolicy,
    authorities?: readonly string[],
  ): Promise<{ readonly proxy: number; readonly gate: EgressGate }> {
    const egress = new EgressProxy({
      environment,
      lookup: () => Promise.resolve(["127.0.0.1"]),
      ...(authorities === undefined ? {} : { authorities }),
    });
    const listener = net.createServer();
    await new Promise<void>((resolve) => void listener.listen(0, "127.0.0.1", resolve));
    const gate = egress.attach(listener, { id: "test", policy });
    gates.push(gate);
    return { proxy: (listener.address() as AddressInfo).port, gate };
  }

  function ask(proxy: number, url: string, options: http.RequestOptions = {}, body: readonly string[] = []): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = http.request({ host: "127.0.0.1", port: proxy, path: url, agent: false, ...options }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() }),
        );
      });
      request.on("error", reject);
      for (const part of body) request.write(part);
      request.end();
    });
  }

  const local = (more: Partial<NetworkPolicy> = {}): NetworkPolicy => ({
    allow: [{ host: "api.test", ports: [port], privateAddresses: true }],
    ...more,
  });

  for (const [title, method, headers, body] of [
    ["without a body", "GET", {}, []],
    ["with a body of a known length", "POST", { "content-length": "10" }, ["hello", "world"]],
    ["with a body in chunks", "PUT", { "transfer-encoding": "chunked" }, ["hello", "world"]],
    ["that deletes", "DELETE", {}, []],
  ] as const)
    test(`A request ${title} arrives as it was sent, and its answer comes back`, async () => {
      const { proxy } = await attach(local());
      seen.length = 0;
      const answer = await ask(proxy, `http://api.test:${port}/a/b?c=d%20e`, { method, headers: { ...headers, "x-own": "1" } }, body);
      assert.deepEqual(
        [answer.status, answer.body, answer.headers["x-answer"], answer.headers["x-hop"]],
        [201, "answer", "yes", undefined],
      );
      assert.equal(seen.length, 1);
      const [{ headers: arrived, ...rest }] = seen as [Seen];
      assert.deepEqual(rest, { method, url: "/a/b?c=d%20e", body: body.join("") });
      assert.deepEqual([arrived.host, arrived["x-own"]], [`api.test:${port}`, "1"]);
    });

  test("A placeholder becomes the secret in values of headers, and nowhere else", async () => {
    const { proxy } = await attach(local({ secrets: [secret] }));
    seen.length = 0;
    await ask(
      proxy,
      `http://api.test:${port}/PLACEHOLDER`,
      { method: "POST", headers: { authorization: "Bearer PLACEHOLDER", "x-key": "PLACEHOLDER" } },
      ["PLACEHOLDER"],
    );
    const [request] = seen as [Seen];
    assert.deepEqual([request.url, request.body], ["/PLACEHOLDER", "PLACEHOLDER"]);
    assert.deepEqual([request.headers.authorization, request.headers["x-key"]], ["Bearer the secret itself", "the secret itself"]);
  });

  test("What was refused is kept and logged, shortened, without the secret; and the log does not hear of it for ever", async () => {
    const { proxy, gate } = await attach(local({ secrets: [secret] }));
    logged.length = 0;
    for (let count = 0; count < 120; count++) assert.equal((await ask(proxy, `http://evil.test/${"x".repeat(1_000)}`)).status, 403);
    assert.equal(gate.refusedCount, 120);
    assert.equal(gate.refusals.length, 100);
    assert.equal(logged.length, 100);
    assert.ok(gate.refusals.every(({ target, reason }) => target.length <= 200 && /does not allow evil.test:80/.test(reason)));
    assert.ok(!logged.join().includes(secret.value));
  });

  test("A sandbox that has used up its bytes reaches nothing more", async () => {
    const { proxy, gate } = await attach(local({ bytesMax: 1_000_000 }));
    await assert.rejects(ask(proxy, `http://api.test:${port}/large`));
    assert.ok(gate.bytes < 2_000_000);
    const answer = await ask(proxy, `http://api.test:${port}/`);
    assert.equal(answer.status, 403);
    assert.match(answer.body, /used up its 1000000 bytes/);
  });

  test("A host that does not answer is an answer of the proxy", async () => {
    const closed = net.createServer();
    await new Promise<void>((resolve) => void closed.listen(0, "127.0.0.1", resolve));
    const unused = (closed.address() as AddressInfo).port;
    await new Promise((resolve) => closed.close(resolve));
    const { proxy } = await attach({ allow: [{ host: "api.test", ports: [unused], privateAddresses: true }] });
    const answer = await ask(proxy, `http://api.test:${unused}/`);
    assert.equal(answer.status, 502);
    assert.match(answer.body, /cannot be reached: ECONNREFUSED/);
  });

  test("A gate that closes cuts what is open and frees its socket", async () => {
    const { proxy, gate } = await attach(local());
    const client = net.connect(proxy, "127.0.0.1");
    client.write(`CONNECT api.test:${port} HTTP/1.1\r\n\r\n`);
    await new Promise((resolve) => client.once("data", resolve));
    const cut = new Promise((resolve) => client.once("close", resolve));
    await gate.close();
    await cut;
  });

  const openssl = spawnSync("openssl", ["version"]).error === undefined;
  describe("over TLS", { skip: openssl ? false : "openssl is not installed" }, () => {
    const folder = mkdtempSync(join(tmpdir(), "kelpie-egress-"));
    let secure: https.Server;
    let authority: string;
    let securePort: number;
    before(async () => {
      const files = { key: join(folder, "key.pem"), certificate: join(folder, "certificate.pem") };
      const subject = ["-subj", "/CN=api.test", "-addext", "subjectAltName=DNS:api.test"];
      execFileSync(
        "openssl",
        [
          "req",
          "-x509",
          "-newkey",
          "ec",
          "-pkeyopt",
          "ec_paramgen_curve:P-256",
          "-nodes",
          "-days",
          "2",
          "-keyout",
          files.key,
          "-out",
          files.certificate,
          ...subject,
        ],
        { stdio: "ignore" },
      );
      authority = readFileSync(files.certificate, "utf8");
      secure = https.createServer({ key: readFileSync(files.key), cert: authority }, keep);
      await new Promise<void>((resolve) => void secure.listen(0, "127.0.0.1", resolve));
      securePort = (secure.address() as AddressInfo).port;
    });
    after(() => {
      secure.close();
      rmSync(folder, { recursive: true, force: true });
    });
    const upgraded = (host = "api.test"): NetworkPolicy => ({
      allow: [{ host, ports: [443, securePort], upgrade: true, privateAddresses: true }],
      secrets: [{ ...secret, hosts: [host] }],
    });

    test("A plain request to a host that is upgraded goes on over TLS, with its secret", async () => {
      const { proxy } = await attach(upgraded(), [authority]);
      seen.length = 0;
      const answer = await ask(proxy, `http://api.test:${securePort}/x`, { headers: { authorization: "Bearer PLACEHOLDER" } });
      assert.deepEqual([answer.status, answer.body], [201, "answer"]);
      assert.equal(seen[0]!.headers.authorization, "Bearer the secret itself");
    });

    for (const [what, host, authorities] of [
      ["whose certificate nobody vouches for", "api.test", undefined],
      ["that has another host's certificate", "other.test", true],
    ] as const)
      test(`A secret does not reach a host ${what}`, async () => {
        const { proxy } = await attach(upgraded(host), authorities === undefined ? undefined : [authority]);
        seen.length = 0;
        const answer = await ask(proxy, `http://${host}:${securePort}/`, { headers: { authorization: "PLACEHOLDER" } });
        assert.equal(answer.status, 502);
        assert.match(answer.body, /does not prove who it is/);
        assert.deepEqual(seen, []);
      });

    test("A tunnel to an upgraded host carries TLS of the sandbox's own, unread", async () => {
      const { proxy } = await attach(upgraded(), [authority]);
      seen.length = 0;
      const tunnel = net.connect(proxy, "127.0.0.1");
      tunnel.write(`CONNECT api.test:${securePort} HTTP/1.1\r\n\r\n`);
      await new Promise((resolve) => tunnel.once("data", resolve));
      const status = await new Promise((resolve, reject) => {
        const request = https.get(
          {
            socket: tunnel,
            host: "api.test",
            servername: "api.test",
            ca: authority,
            headers: { authorization: "PLACEHOLDER" },
            agent: false,
          } as https.RequestOptions,
          ({ statusCode }) => resolve(statusCode),
        );
        request.on("error", reject);
      });
      assert.equal(status, 201);
      assert.equal(seen[0]!.headers.authorization, "PLACEHOLDER");
      tunnel.destroy();
    });
  });

  test("A secret is not sent in the clear to a public host", async () => {
    const { proxy } = await attach({ allow: [{ host: "api.test", ports: [80] }], secrets: [secret] });
    const answer = await ask(proxy, "http://api.test/", { headers: { authorization: "PLACEHOLDER" } });
    assert.equal(answer.status, 403);
    assert.match(answer.body, /over TLS only/);
  });

  test("A tunnel to port 80 of an upgraded host ends at the proxy, and its requests are as any others", async () => {
    const { proxy } = await attach({ allow: [{ host: "api.test", upgrade: true }], secrets: [secret] });
    const text = await new Promise<string>((resolve) => {
      const client = net.connect(proxy, "127.0.0.1");
      let said = "";
      client.on("data", (bytes) => {
        said += bytes.toString();
        if (said.endsWith("established\r\n\r\n")) client.write("GET /x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
      });
      client.on("close", () => resolve(said));
      client.write("CONNECT api.test:80 HTTP/1.1\r\n\r\n");
    });
    // It went on to the checks that plain requests have, and so to this host's address, which no public host has.
    assert.match(text, /^HTTP\/1.1 200 [\s\S]*HTTP\/1.1 403[\s\S]*api.test leads to 127.0.0.1/);
  });
});
