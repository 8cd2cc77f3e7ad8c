import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { FrameType } from "./frame.ts";
import { DiallingHandshake } from "./hello.ts";
import { TcpTransport, type TcpTransportOptions } from "./tcp-transport.ts";
import { type Frame, RawPeer, rawServer, requestPayload, testEnvironment, testIdentity } from "./testing.ts";
import { HandshakeError, NodeUnreachableError, ReplyLostError } from "./transport.ts";
import { patient, TestHandler, until } from "./transport.contract.ts";

function node(name: string, options: Partial<TcpTransportOptions> = {}): TcpTransport {
  const identity = { environment: testEnvironment, cluster: testIdentity.cluster, secret: testIdentity.secret! };
  return new TcpTransport({ ...identity, node: name, host: "127.0.0.1", port: 0, ...options, timings: { close: 100, ...options.timings } });
}

const limited = { timeout: 30_000 };

test(
  "C2: a peer that falls silent, or stops reading, is given up; the call is lost and the next one makes a new connection",
  limited,
  async () => {
    let connections = 0;
    await using server = await rawServer((peer) => {
      connections++;
      void peer.welcome().then(() => {
        // It neither answers nor reads any more, as a host that is gone; only the kernel goes on.
        peer.socket.pause();
      });
    });
    await using client = node("client", { timings: { ping: 10 } });
    for (let round = 1; round <= 2; round++) {
      await assert.rejects(
        client.request(server.address, "echo", 1, patient),
        (error) => error instanceof ReplyLostError && /not answered for 3 pings/.test(error.message),
      );
      assert.equal(connections, round);
    }
  },
);

test("C2: a peer that sends and takes nothing is given up", limited, async () => {
  const handler = new TestHandler();
  await using server = node("server", { timings: { ping: 20 } });
  const peer = await RawPeer.join(await server.listen(handler));
  const body = new Uint8Array(60_000);
  for (let call = 1; call <= 500; call++) peer.request(call, "echo", body);
  peer.socket.pause();
  const alive = setInterval(() => peer.send(FrameType.ping, 0), 5);
  await peer.closed;
  clearInterval(alive);
});

test("A node that is killed while it handles a request: the reply is lost; a new one at the same port answers", limited, async () => {
  await using client = node("client", { timings: { backoffMin: 1, backoffMax: 1 } });
  const start = async (port: string): Promise<{ address: string; next(): Promise<string>; kill(): Promise<void> }> => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "tcp-transport.child.ts"), port], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<string> => (await lines.next()).value as string;
    const kill = async (): Promise<void> => {
      child.kill("SIGKILL");
      await once(child, "exit");
    };
    return { address: await next(), next, kill };
  };
  const first = await start("0");
  const answer = client.request(first.address, "work", 1, patient);
  const lost = assert.rejects(answer, ReplyLostError);
  assert.equal(await first.next(), "handling");
  await first.kill();
  await lost;
  await assert.rejects(client.request(first.address, "ping", 1, patient), NodeUnreachableError);
  const second = await start(first.address.split(":")[1]!);
  let answered: unknown;
  while (answered === undefined) answered = await client.request(second.address, "ping", 1, patient).catch(() => undefined);
  assert.equal(answered, "pong");
  await second.kill();
});

const strangers: readonly (readonly [string, Partial<TcpTransportOptions>, RegExp])[] = [
  ["another cluster's name", { cluster: "other" }, /start client with that cluster's name/],
  ["another secret", { secret: Buffer.from("another secret, quite") }, /give client the secret of server/],
];
for (const [what, options, message] of strangers)
  test(`A node with ${what} is refused, hears why at once and again, and calls nothing`, limited, async () => {
    const handler = new TestHandler();
    await using server = node("server");
    const address = await server.listen(handler);
    await using client = node("client", options);
    for (let round = 0; round < 2; round++)
      await assert.rejects(
        client.request(address, "echo", 1, patient),
        (error) => error instanceof HandshakeError && message.test(error.message),
      );
    assert.equal(handler.calls.length, 0);
  });

test("A node of another protocol version is refused, in both directions", limited, async () => {
  await using server = node("server");
  const address = await server.listen(new TestHandler());
  await assert.rejects(RawPeer.join(address, { ...testIdentity, protocol: { min: 2, max: 2 } }), /upgrade server/);
  await using newer = await rawServer((peer) => {
    void peer.welcome({ ...testIdentity, node: "newer", protocol: { min: 2, max: 2 } }).catch((error: Error) => {
      assert.match(error.message, /upgrade client/);
      peer.socket.destroy();
    });
  });
  await using client = node("client");
  await assert.rejects(client.request(newer.address, "echo", 1, patient), NodeUnreachableError);
});

test("An address of an HTTP server is refused as no node", limited, async () => {
  const http = createServer((_, response) => response.end());
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  await using client = node("client");
  const address = `127.0.0.1:${(http.address() as AddressInfo).port}`;
  await assert.rejects(
    client.request(address, "echo", 1, patient),
    (error) => error instanceof HandshakeError && /"HTTP"/.test(error.message),
  );
  http.close();
});

test("C1: a hello that never ends is over after its time, on both sides", limited, async () => {
  await using server = node("server", { timings: { hello: 30 } });
  const address = await server.listen(new TestHandler());
  const silent = await RawPeer.connect(address);
  const slow = await RawPeer.connect(address);
  const drip = setInterval(() => slow.socket.write(Buffer.from([0])), 10);
  await Promise.all([silent.closed, slow.closed]);
  clearInterval(drip);
  await using mute = await rawServer(() => {});
  await using client = node("client", { timings: { hello: 30 } });
  await assert.rejects(
    client.request(mute.address, "echo", 1, patient),
    (error) => error instanceof HandshakeError && /within 30 ms/.test(error.message),
  );
});

test("C1: before the end of the hello nothing but its messages is taken, and none larger than a hello", limited, async () => {
  await using server = node("server", { timings: { hello: 600_000 } });
  const address = await server.listen(new TestHandler());
  const misnamed = await RawPeer.connect(address);
  const { random } = testEnvironment;
  misnamed.send(FrameType.ping, 0, new DiallingHandshake(testIdentity, { class: "data", random, binding: new Uint8Array() }).first());
  const large = await RawPeer.connect(address);
  large.socket.write(uint32(10_000));
  await Promise.all([misnamed.closed, large.closed]);
});

test("However many strangers hold connections, a node still gets in", limited, async () => {
  await using server = node("server", { limits: { unprovenMax: 8 }, timings: { hello: 600_000 } });
  const address = await server.listen(new TestHandler());
  const strangersConnected = await Promise.all(Array.from({ length: 50 }, () => RawPeer.connect(address)));
  await using client = node("client");
  assert.equal(await client.request(address, "echo", 1, patient), 1);
  await Promise.all(strangersConnected.slice(0, 40).map(({ closed }) => closed));
  for (const stranger of strangersConnected) stranger.socket.destroy();
});

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const badFrames: readonly (readonly [string, (peer: RawPeer) => void])[] = [
  ["an unknown type", (peer) => peer.send(99, 1)],
  ["a second hello", (peer) => peer.send(FrameType.hello, 0)],
  ["a frame of the answering side", (peer) => peer.send(FrameType.reply, 1, uint32(0))],
  ["a call that is not there yet", (peer) => peer.send(FrameType.cancel, 5)],
  ["call 0", (peer) => peer.request(0, "echo", 1)],
  ["a call twice", (peer) => (peer.request(1, "wait", 1), peer.request(1, "wait", 1))],
  ["calls in the wrong order", (peer) => (peer.request(2, "wait", 1), peer.request(1, "wait", 1))],
  ["a request that is cut off", (peer) => peer.send(FrameType.request, 1, Buffer.alloc(5))],
  [
    "a method that is longer than its frame",
    (peer) => peer.send(FrameType.request, 1, Buffer.concat([Buffer.alloc(10), Buffer.from([200])])),
  ],
  ["an unknown kind of call", (peer) => peer.send(FrameType.request, 1, requestPayload("echo", 1, { kind: 7 }))],
  ["a body shorter than it says", (peer) => peer.send(FrameType.request, 1, requestPayload("echo", 1, { bytes: 500 }))],
  ["a body longer than it says", (peer) => peer.send(FrameType.request, 1, requestPayload("echo", "long", { bytes: 1 }))],
  ["a body of four gigabytes", (peer) => peer.send(FrameType.request, 1, requestPayload("echo", 1, { bytes: 0xffff_ffff }))],
  [
    "a body that is no value",
    (peer) => peer.send(FrameType.request, 1, Buffer.concat([requestPayload("echo", null).subarray(0, -1), Buffer.from([0xc1])])),
  ],
  ["a body with __proto__", (peer) => peer.send(FrameType.request, 1, protoPayload())],
  ["a credit that is cut off", (peer) => (peer.request(1, "wait", 1), peer.send(FrameType.credit, 1, Buffer.alloc(3)))],
  ["the announcement of a frame of a megabyte", (peer) => void peer.socket.write(uint32(1_000_000))],
  ["a frame of no bytes", (peer) => void peer.socket.write(Buffer.alloc(64))],
  ["noise", (peer) => void peer.socket.write(Buffer.from(testEnvironment.random.bytes(1_000)))],
];
for (const [what, misbehave] of badFrames)
  test(`C3: ${what} ends that connection, and nothing else`, limited, async () => {
    const handler = new TestHandler();
    // Nothing else ends it: no ping, no deadline.
    await using server = node("server", { timings: { ping: 600_000 } });
    const address = await server.listen(handler);
    await using client = node("client");
    const answer = client.request(address, "wait", "good", patient);
    await until(() => handler.waiting.length === 1);
    const peer = await RawPeer.join(address);
    misbehave(peer);
    await peer.closed;
    assert.ok(handler.calls.every(({ method }) => method === "wait"));
    assert.ok(handler.calls.every(({ context }) => context.peer === "client" || context.signal.aborted));
    handler.waiting[0]!();
    assert.equal(await answer, "good");
  });

const badAnswers: readonly (readonly [string, (peer: RawPeer, request: Frame) => void])[] = [
  ["an answer to a call that was never made", (peer) => peer.send(FrameType.reply, 77, uint32(0))],
  ["an item for a request", (peer, { call }) => peer.send(FrameType.item, call, Buffer.concat([uint32(1), Buffer.from([1])]))],
  ["an end for a request", (peer, { call }) => peer.send(FrameType.end, call)],
  [
    "a failure of an unknown kind",
    (peer, { call }) => peer.send(FrameType.failure, call, Buffer.concat([Buffer.from([9]), uint32(1), Buffer.from([0xc0])])),
  ],
  ["a request", (peer) => peer.request(1, "echo", 1)],
];
for (const [what, answer] of badAnswers)
  test(`C3: ${what} from the answering side: the reply is lost`, limited, async () => {
    await using server = await rawServer((peer) => {
      void peer
        .welcome()
        .then(() => peer.next())
        .then((request) => answer(peer, request));
    });
    await using client = node("client");
    await assert.rejects(client.request(server.address, "echo", 1, patient), ReplyLostError);
  });

test("A body that is begun and never finished is given up with its call, and its room is free again", limited, async () => {
  await using server = node("server", { limits: { incomingBytesMax: 2_000_000, bodyBytesMax: 1_500_000 } });
  const handler = new TestHandler();
  const peer = await RawPeer.join(await server.listen(handler));
  const begin = (call: number, milliseconds: number): void => {
    const head = requestPayload("echo", null, { bytes: 1_400_000, milliseconds }).subarray(0, -1);
    peer.send(FrameType.request, call, Buffer.concat([head, Buffer.alloc(65_536)]));
  };
  begin(1, 60_000);
  begin(2, 60_000);
  const refused = await peer.next();
  assert.deepEqual([refused.type, refused.call, refused.payload[0]], [FrameType.failure, 2, 1]);
  peer.send(FrameType.cancel, 1);
  // What still comes of both is nobody's any more.
  peer.send(FrameType.chunk, 1, Buffer.alloc(65_536));
  peer.send(FrameType.chunk, 2, Buffer.alloc(65_536));
  begin(3, 60_000);
  peer.request(4, "echo", "still here");
  assert.deepEqual([(await peer.next()).call], [4]);
  assert.equal(handler.calls.length, 1);
  peer.socket.destroy();
});

test("T4: answers that nobody reads are kept up to a limit; the others are lost, which their callers hear", limited, async () => {
  const handler = new TestHandler();
  await using server = node("server", { limits: { outgoingBytesMax: 1_000_000 }, timings: { ping: 10_000 } });
  const peer = await RawPeer.join(await server.listen(handler));
  const calls = 600;
  const body = new Uint8Array(60_000);
  peer.socket.pause();
  for (let call = 1; call <= calls; call++) peer.request(call, "echo", body);
  // More than the kernel's buffers and the limit hold together.
  await until(() => handler.calls.length === calls);
  peer.socket.resume();
  await until(() => peer.frames.filter(({ type }) => type === FrameType.reply || type === FrameType.failure).length === calls);
  const lost = peer.frames.filter(({ type, payload }) => type === FrameType.failure && payload[0] === 3);
  const replies = peer.frames.filter(({ type }) => type === FrameType.reply);
  assert.equal(lost.length + replies.length, calls);
  assert.ok(lost.length > 0 && replies.length > 0, `${lost.length} lost`);
  peer.socket.destroy();
});

test("T4: an answer for which the caller has no room is lost, and the connection goes on", limited, async () => {
  const handler = new TestHandler();
  await using server = node("server");
  const address = await server.listen(handler);
  await using client = node("client", { limits: { incomingBytesMax: 2_000_000 } });
  const body = new Uint8Array(1_500_000);
  const answers = [1, 2].map(() => client.request(address, "wait", body, patient));
  await until(() => handler.waiting.length === 2);
  for (const go of handler.waiting) go();
  const outcomes = await Promise.allSettled(answers);
  assert.deepEqual(outcomes.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  assert.ok(outcomes.some((outcome) => outcome.status === "rejected" && outcome.reason instanceof ReplyLostError));
  assert.equal(await client.request(address, "echo", "goes on", patient), "goes on");
});

test("A pong answers each ping, and a peer that only pings does not pile them up", limited, async () => {
  await using server = node("server");
  const peer = await RawPeer.join(await server.listen(new TestHandler()));
  peer.send(FrameType.ping, 9);
  assert.deepEqual([(await peer.next()).type], [FrameType.pong]);
  peer.socket.pause();
  const pings = Buffer.alloc(9 * 100_000);
  for (let at = 0; at < pings.length; at += 9) {
    pings.writeUInt32BE(5, at);
    pings[at + 4] = FrameType.ping;
  }
  const flood = setInterval(() => peer.socket.write(pings), 1);
  await peer.closed;
  clearInterval(flood);
});

test("After an attempt that failed, calls fail at once and say when the next attempt is", limited, async () => {
  await using client = node("client", { timings: { backoffMin: 60_000, backoffMax: 60_000 } });
  await assert.rejects(client.request("127.0.0.1:1", "echo", 1, patient), /ECONNREFUSED/);
  await assert.rejects(client.request("127.0.0.1:1", "echo", 1, patient), /ECONNREFUSED.*the next attempt is in \d+ ms/);
});

test("Calls that begin together share one attempt to connect", limited, async () => {
  let connections = 0;
  await using server = await rawServer((peer) => {
    connections++;
    void peer.welcome();
  });
  await using client = node("client");
  const calls = Array.from({ length: 20 }, () => client.request(server.address, "echo", 1, { timeoutMilliseconds: 200 }));
  await Promise.all(calls.map((call) => assert.rejects(call, ReplyLostError)));
  assert.equal(connections, 1);
});

test("A transport without a secret or a certificate, or with a short secret, or without a place to be found, is refused", () => {
  const options = { environment: testEnvironment, node: "n", cluster: "c", host: "127.0.0.1", port: 0 };
  assert.throws(() => new TcpTransport(options), /needs the cluster's secret, or certificates/);
  assert.throws(() => new TcpTransport({ ...options, secret: Buffer.from("short") }), /at least 16/);
  assert.throws(() => node("bad\nname"), /printable ASCII/);
});

test("Listening at all addresses needs a name for the others", async () => {
  await using nameless = node("n", { host: "0.0.0.0" });
  await assert.rejects(nameless.listen(new TestHandler()), /advertised host/);
  await using named = node("n", { host: "0.0.0.0", advertisedHost: "localhost" });
  const address = await named.listen(new TestHandler());
  await using client = node("client");
  assert.match(address, /^localhost:\d+$/);
  assert.equal(await client.request(address, "echo", 1, patient), 1);
});

function protoPayload(): Buffer {
  const key = Buffer.from("__proto__");
  const bytes = Buffer.concat([Buffer.from([0x81, 0xa0 + key.length]), key, Buffer.from([0x80])]);
  return Buffer.concat([requestPayload("echo", null, { bytes: bytes.length }).subarray(0, -1), bytes]);
}
