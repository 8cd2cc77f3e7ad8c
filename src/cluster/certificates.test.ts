/** Nodes that prove themselves by certificates. */
import assert from "node:assert/strict";
import { copyFileSync, writeFileSync } from "node:fs";
import { after, test } from "node:test";
import type { CertificatePaths } from "./certificate-files.ts";
import { TcpTransport, type TcpTransportOptions } from "./tcp-transport.ts";
import { CertificateMaker, opensslMissing } from "./testing/certificate-maker.ts";
import { RawPeer, testEnvironment } from "./testing.ts";
import { HandshakeError } from "./transport.ts";
import { patient, TestHandler, until } from "./transport.contract.ts";

const certificates = new CertificateMaker();
after(() => certificates[Symbol.dispose]());

function node(name: string, paths: CertificatePaths | undefined, options: Partial<TcpTransportOptions> = {}): TcpTransport {
  const identity = { environment: testEnvironment, cluster: "test", node: name, host: "127.0.0.1", port: 0 };
  return new TcpTransport({
    ...identity,
    ...(paths && { certificates: paths }),
    ...options,
    timings: { close: 100, backoffMin: 1, backoffMax: 1, ...options.timings },
  });
}

const secret = Buffer.from("a secret of the cluster");

test("Nodes with certificates of one authority", { skip: opensslMissing ?? false, timeout: 120_000 }, async (context) => {
  certificates.authority("authority");
  certificates.authority("stranger");
  const one = certificates.node("one", "authority");
  const two = certificates.node("two", "authority");

  await context.test("call each other, with a secret as well and without", async () => {
    for (const options of [{}, { secret }]) {
      await using server = node("server", one, options);
      const address = await server.listen(new TestHandler());
      await using client = node("client", two, options);
      const body = new Uint8Array(5_000_000).fill(7);
      assert.deepEqual(await client.request(address, "echo", body, patient), body);
    }
  });

  await context.test("refuse a certificate that the authority has not signed, or that is expired, on either side", async () => {
    const foreign = certificates.node("foreign", "stranger");
    const expired = certificates.node("expired", "authority", { days: -1 });
    const handler = new TestHandler();
    await using server = node("server", one);
    const address = await server.listen(handler);
    // Their own authority file is right, so that they accept the server, and it is the server that refuses.
    for (const [what, paths, why] of [
      ["foreign", foreign, /give that node one that the cluster's authority has signed/],
      ["expired", expired, /CERT_HAS_EXPIRED/],
    ] as const) {
      await using client = node(what, { ...paths, authority: one.authority });
      await assert.rejects(
        client.request(address, "echo", 1, patient),
        (error) => error instanceof HandshakeError && why.test(error.message),
        what,
      );
    }
    await using suspicious = node("suspicious", foreign);
    await assert.rejects(
      suspicious.request(address, "echo", 1, patient),
      (error) => error instanceof HandshakeError && /Give that node a certificate/.test(error.message),
    );
    assert.equal(handler.calls.length, 0);
  });

  await context.test("do not talk to nodes without TLS, in either direction", async () => {
    const handler = new TestHandler();
    await using secure = node("secure", one, { secret });
    const secureAddress = await secure.listen(handler);
    await using plain = node("plain", undefined, { secret });
    const plainAddress = await plain.listen(handler);
    for (const [from, to] of [
      [secure, plainAddress],
      [plain, secureAddress],
    ] as const)
      await assert.rejects(from.request(to, "echo", 1, patient), /TLS/);
    assert.equal(handler.calls.length, 0);
  });

  await context.test("get in however many strangers hold connections without a word", async () => {
    await using server = node("server", one, { limits: { unprovenMax: 8 } });
    const address = await server.listen(new TestHandler());
    const strangers = await Promise.all(Array.from({ length: 50 }, () => RawPeer.connect(address)));
    await using client = node("client", two);
    assert.equal(await client.request(address, "echo", 1, patient), 1);
    await Promise.all(strangers.slice(0, 40).map(({ closed }) => closed));
    for (const stranger of strangers) stranger.socket.destroy();
  });

  await context.test("load their certificates again when the files change, and keep the old ones while the new are not whole", async () => {
    // A node whose files first are a stranger's, then half written, then the cluster's.
    const foreign = certificates.node("changing", "stranger");
    await using server = node("server", one);
    const address = await server.listen(new TestHandler());
    await using client = node("changing", { ...foreign, authority: one.authority }, { timings: { certificates: 5 } });
    await assert.rejects(client.request(address, "echo", 1, patient), HandshakeError);
    writeFileSync(foreign.certificate, "-----BEGIN CERTIFICATE-----\nhalf");
    await assert.rejects(client.request(address, "echo", 1, patient));
    copyFileSync(two.key, foreign.key);
    copyFileSync(two.certificate, foreign.certificate);
    let answer: unknown;
    while (answer === undefined) answer = await client.request(address, "echo", "in", patient).catch(() => undefined);
    assert.equal(answer, "in");
  });

  await context.test("answer with new certificates too, while connections that are open go on", async () => {
    const changing = certificates.node("listening", "authority");
    const handler = new TestHandler();
    await using server = node("server", changing, { timings: { certificates: 5 } });
    const address = await server.listen(handler);
    await using old = node("old", two);
    const answer = old.request(address, "wait", "kept", patient);
    await until(() => handler.waiting.length === 1);
    const other = certificates.node("other", "stranger");
    copyFileSync(other.key, changing.key);
    copyFileSync(other.certificate, changing.certificate);
    let refused = false;
    while (!refused) {
      await using late = node("late", two);
      refused = await late.request(address, "echo", 1, patient).then(
        () => false,
        (error: unknown) => error instanceof HandshakeError,
      );
    }
    handler.waiting[0]!();
    assert.equal(await answer, "kept");
  });

  await context.test("say what is wrong with their own files", async () => {
    await using lost = node("lost", { ...one, key: certificates.path("missing.key") });
    await assert.rejects(lost.listen(new TestHandler()), /missing\.key/);
    await assert.rejects(lost.request("127.0.0.1:1", "echo", 1, patient), {
      name: "NodeUnreachableError",
      message: /own certificates.*missing\.key/,
    });
    await using mixed = node("mixed", { ...one, key: two.key });
    await assert.rejects(mixed.listen(new TestHandler()), /key values mismatch/);
  });
});
