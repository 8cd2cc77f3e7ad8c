import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualEnvironment } from "../../test/support/manual-environment.ts";
import { ProtocolError } from "./frame.ts";
import { AnsweringHandshake, DiallingHandshake, type Handshake, type Identity, refusal } from "./hello.ts";
import { HandshakeError } from "./transport.ts";
import { decodeWire, encodeWire } from "./wire.ts";

const secret = Buffer.from("the secret of the cluster");
const identity: Identity = { node: "node2", cluster: "one", protocol: { min: 1, max: 1 }, secret };
const { random } = new ManualEnvironment();
const none = new Uint8Array();

function dialling(self: Partial<Identity> = {}, binding: Uint8Array = none): DiallingHandshake {
  return new DiallingHandshake({ ...identity, ...self }, { class: "data", random, binding });
}

function answering(self: Partial<Identity> = {}, binding: Uint8Array = none): AnsweringHandshake {
  return new AnsweringHandshake({ ...identity, node: "node1", ...self }, { random, binding });
}

/** Lets the two talk to the end; each message passes through `change`. */
function talk(
  from: DiallingHandshake,
  to: Handshake,
  change: (message: Buffer, number: number) => Buffer = (message) => message,
): { from: string; to: string } {
  const hello = to.receive(change(from.first(), 1));
  const proof = from.receive(change(hello.send!, 2));
  const ready = to.receive(change(proof.send!, 3));
  const end = from.receive(change(ready.send!, 4));
  return { from: end.agreement!.peer, to: ready.agreement!.peer };
}

function edit(message: Buffer, fields: object): Buffer {
  return encodeWire({ ...(decodeWire(message) as object), ...fields }, 10_000);
}

test("Two nodes of a cluster learn who the other is, with a secret and without", () => {
  assert.deepEqual(talk(dialling(), answering()), { from: "node1", to: "node2" });
  assert.deepEqual(talk(dialling({ secret: undefined }), answering({ secret: undefined })), { from: "node1", to: "node2" });
});

test("The highest version that both speak is chosen", () => {
  const from = dialling({ protocol: { min: 2, max: 7 } });
  const to = answering({ protocol: { min: 5, max: 9 } });
  const proof = from.receive(to.receive(from.first()).send!);
  assert.equal(to.receive(proof.send!).agreement!.protocol, 7);
});

const refusals: readonly (readonly [string, Partial<Identity>, RegExp])[] = [
  ["of another cluster", { cluster: "two" }, /node2 is of the cluster "two" and node node1, which it called, of "one": start node2/],
  ["of an older protocol", { protocol: { min: 0, max: 0 } }, /upgrade node2$/],
  ["of a newer protocol", { protocol: { min: 2, max: 3 } }, /upgrade node1$/],
  ["with another secret", { secret: Buffer.from("quite another secret") }, /different cluster secrets: give node2 the secret of node1/],
  ["without a secret", { secret: undefined }, /Node node1 has a cluster secret and node node2 has none: give node2/],
];
for (const [who, self, message] of refusals)
  test(`H3: a node ${who} is refused, and both hear which side must change`, () => {
    let refused: unknown;
    try {
      talk(dialling(self), answering());
    } catch (error) {
      refused = error;
    }
    assert.ok(refused instanceof HandshakeError);
    assert.match(refused.message, message);
    assert.throws(() => dialling().receive(refusal(refused as HandshakeError)), { name: "HandshakeError", message });
  });

test("H1: a change of any message is found", () => {
  const bytes = Buffer.alloc(32, 7);
  const changes: readonly (readonly [number, object])[] = [
    [1, { nonce: bytes }],
    [1, { node: "mallory" }],
    [1, { class: "control" }],
    [1, { protocol: { min: 0, max: 1 } }],
    [2, { nonce: bytes }],
    [2, { node: "mallory" }],
    [2, { proof: bytes }],
    [2, { proof: undefined }],
    [3, { proof: bytes }],
    [3, { proof: "" }],
    [3, { proof: Buffer.alloc(31) }],
  ];
  for (const [at, fields] of changes)
    assert.throws(
      () => talk(dialling(), answering(), (message, number) => (number === at ? edit(message, fields) : message)),
      HandshakeError,
      `${at} ${Object.keys(fields)[0]}`,
    );
});

test("H1: a proof cannot be reflected, replayed, or passed on to another TLS session", () => {
  // Reflected: the answering side's own proof, sent back to it.
  const from = dialling();
  const to = answering();
  const { proof } = decodeWire(to.receive(from.first()).send!) as { proof: Uint8Array };
  assert.throws(() => to.receive(encodeWire({ proof }, 1_000)), HandshakeError);
  // Replayed: everything that a node said once, to a new handshake.
  const said: Buffer[] = [];
  talk(dialling(), answering(), (message, number) => {
    if (number % 2 === 1) said.push(message);
    return message;
  });
  const second = answering();
  second.receive(said[0]!);
  assert.throws(() => second.receive(said[1]!), HandshakeError);
  // Passed on: the two ends see different sessions.
  assert.throws(() => talk(dialling({}, Buffer.from("session a")), answering({}, Buffer.from("session b"))), HandshakeError);
});

test("H1: neither the secret nor anything of it alone is in a message", () => {
  const messages: Buffer[] = [];
  talk(dialling(), answering(), (message) => {
    messages.push(message);
    return message;
  });
  assert.ok(messages.every((message) => !message.includes(secret)));
});

test("What is no hello is refused", () => {
  const first = dialling().first();
  const messages = [encodeWire([], 10), encodeWire(null, 10), encodeWire({}, 10), Buffer.from("GET / HTTP/1.1")];
  const edits = [
    { magic: 1 },
    { node: "" },
    { node: "a\nb" },
    { node: "x".repeat(201) },
    { nonce: "x" },
    { nonce: Buffer.alloc(31) },
    { protocol: 1 },
    { protocol: { min: 1 } },
    { class: "other" },
    { cluster: null },
  ];
  for (const message of [...messages, ...edits.map((fields) => edit(first, fields))])
    assert.throws(
      () => answering().receive(message),
      (error) => error instanceof ProtocolError || (error as Error).name === "WireDecodeError",
    );
});

test("A refusal's text is cut and cleaned before anybody reads it", () => {
  const refused = encodeWire({ refused: `\x1b[31m${"x".repeat(5_000)}` }, 10_000);
  assert.throws(
    () => dialling().receive(refused),
    (error) => error instanceof HandshakeError && error.message.length <= 600 && !error.message.includes("\x1b"),
  );
});
