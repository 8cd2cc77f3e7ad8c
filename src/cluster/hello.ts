/**
 * The first four messages of a connection: who the two sides are, and the proof of it.
 *
 *     dialling                                    answering
 *     who I am, what I speak, nonce          →
 *                                            ←    who I am, what we speak, nonce, proof
 *     proof                                  →
 *                                            ←    ready
 *
 * H1. The secret is never sent. A proof is an HMAC over the role of its maker, both identities, both nonces, the versions
 *     offered and chosen, and what is unique to the TLS session: none can be replayed, reflected, or passed on to another
 *     TLS connection.
 * H2. Nothing of a peer is acted upon before it has proved itself.
 * H3. A refusal reaches the other side, and says which of the two must change.
 *
 * The secret keeps out strangers and other clusters. Who can change packets between two nodes can take over a connection
 * after its hello: that needs TLS.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Random } from "../environment/environment.ts";
import { HandshakeError, type TrafficClass } from "./transport.ts";
import { decodeWire, encodeWire } from "./wire.ts";
import { helloBytesMax, ProtocolError } from "./frame.ts";

/** The versions of the frames that this code speaks. */
export const protocol: ProtocolRange = { min: 1, max: 1 };

/** A shorter secret could be found by trying. */
export const secretBytesMin = 16;

const nonceBytes = 32;
const nameLengthMax = 200;
const refusalLengthMax = 600;
const magic = "kelpie";

export interface ProtocolRange {
  readonly min: number;
  readonly max: number;
}

/** What a node says of itself, on every connection. */
export interface Identity {
  readonly node: string;
  readonly cluster: string;
  readonly protocol: ProtocolRange;
  /** Unless certificates prove it all. */
  readonly secret: Uint8Array | undefined;
}

/** What the two sides know of each other afterwards. */
export interface Agreement {
  readonly peer: string;
  readonly class: TrafficClass;
  readonly protocol: number;
}

/** What to do after a message: send the next one, or go on to calls, or both. */
export interface Step {
  readonly send?: Buffer;
  readonly agreement?: Agreement;
}

export interface Handshake {
  /** The next message has come. @throws {HandshakeError} The other side is to be told, with `refusal`. @throws {ProtocolError} */
  receive(message: Buffer): Step;
}

interface Introduction {
  readonly node: string;
  readonly cluster: string;
  readonly class: TrafficClass;
  readonly protocol: ProtocolRange;
  readonly hasSecret: boolean;
  readonly nonce: Uint8Array;
}

/** The message that tells the other side why not. */
export function refusal(error: HandshakeError): Buffer {
  return encode({ refused: error.message.slice(0, refusalLengthMax) });
}

export class DiallingHandshake implements Handshake {
  readonly #self: Identity;
  readonly #binding: Uint8Array;
  readonly #introduction: Introduction;
  #agreement: Agreement | undefined;

  /** `binding` is unique to the TLS session, and empty without one. */
  constructor(self: Identity, options: { readonly class: TrafficClass; readonly random: Random; readonly binding: Uint8Array }) {
    this.#self = self;
    this.#binding = options.binding;
    const { node, cluster } = self;
    const nonce = options.random.bytes(nonceBytes);
    this.#introduction = { node, cluster, class: options.class, protocol: self.protocol, hasSecret: self.secret !== undefined, nonce };
  }

  first(): Buffer {
    return encode({ magic, ...this.#introduction });
  }

  receive(message: Buffer): Step {
    const fields = decode(message);
    if (this.#agreement !== undefined) {
      if (fields["ready"] !== true) throw new ProtocolError("The hello ends without a word");
      return { agreement: this.#agreement };
    }
    const answer = { node: name(fields["node"]), nonce: nonce(fields["nonce"]), protocol: version(fields["protocol"]) };
    const introduction = this.#introduction;
    if (answer.protocol < introduction.protocol.min || answer.protocol > introduction.protocol.max)
      throw new ProtocolError(`The peer chose protocol ${answer.protocol}, which was not offered`);
    this.#agreement = { peer: answer.node, class: introduction.class, protocol: answer.protocol };
    const { secret } = this.#self;
    if (secret === undefined) return { send: encode({}) };
    const proofOf = (role: Role): Buffer => proof(secret, { role, introduction, ...answer, binding: this.#binding });
    checkProof(fields["proof"], proofOf("answering"), secretsDiffer(introduction.node, answer.node));
    return { send: encode({ proof: proofOf("dialling") }) };
  }
}

export class AnsweringHandshake implements Handshake {
  readonly #self: Identity;
  readonly #random: Random;
  readonly #binding: Uint8Array;
  #expected: { readonly agreement: Agreement; readonly proof: Buffer | undefined } | undefined;

  constructor(self: Identity, options: { readonly random: Random; readonly binding: Uint8Array }) {
    this.#self = self;
    this.#random = options.random;
    this.#binding = options.binding;
  }

  receive(message: Buffer): Step {
    const fields = decode(message);
    if (this.#expected === undefined) return { send: this.#answer(readIntroduction(fields)) };
    const { agreement, proof: expected } = this.#expected;
    if (expected !== undefined) checkProof(fields["proof"], expected, secretsDiffer(agreement.peer, this.#self.node));
    return { send: encode({ ready: true }), agreement };
  }

  #answer(introduction: Introduction): Buffer {
    const { node, secret } = this.#self;
    const chosen = this.#check(introduction);
    const agreement = { peer: introduction.node, class: introduction.class, protocol: chosen };
    const answer = { node, nonce: this.#random.bytes(nonceBytes), protocol: chosen };
    if (secret === undefined) {
      this.#expected = { agreement, proof: undefined };
      return encode(answer);
    }
    const proofOf = (role: Role): Buffer => proof(secret, { role, introduction, ...answer, binding: this.#binding });
    this.#expected = { agreement, proof: proofOf("dialling") };
    return encode({ ...answer, proof: proofOf("answering") });
  }

  /** The version to speak. @throws {HandshakeError} */
  #check(peer: Introduction): number {
    const { node, cluster, protocol: range, secret } = this.#self;
    if (peer.cluster !== cluster)
      throw new HandshakeError(
        `Node ${peer.node} is of the cluster ${JSON.stringify(peer.cluster)} and node ${node}, which it called, of ${JSON.stringify(cluster)}: ` +
          `start ${peer.node} with that cluster's name, or let it join a node of its own cluster`,
      );
    const chosen = Math.min(peer.protocol.max, range.max);
    if (chosen < Math.max(peer.protocol.min, range.min)) {
      const older = peer.protocol.max < range.max ? peer.node : node;
      throw new HandshakeError(
        `Node ${peer.node} speaks the protocols ${peer.protocol.min} to ${peer.protocol.max} and node ${node} ${range.min} to ${range.max}: upgrade ${older}`,
      );
    }
    if (peer.hasSecret !== (secret !== undefined)) {
      const [has, lacks] = peer.hasSecret ? [peer.node, node] : [node, peer.node];
      throw new HandshakeError(`Node ${has} has a cluster secret and node ${lacks} has none: give ${lacks} the same secret`);
    }
    return chosen;
  }
}

type Role = "dialling" | "answering";

function proof(
  secret: Uint8Array,
  of: {
    readonly role: Role;
    readonly introduction: Introduction;
    readonly node: string;
    readonly nonce: Uint8Array;
    readonly protocol: number;
    readonly binding: Uint8Array;
  },
): Buffer {
  const { introduction } = of;
  const text = [
    `${magic} hello`,
    of.role,
    introduction.cluster,
    introduction.node,
    introduction.class,
    introduction.protocol.min,
    introduction.protocol.max,
    introduction.nonce,
    of.node,
    of.nonce,
    of.protocol,
    of.binding,
  ];
  return createHmac("sha256", secret).update(encode(text)).digest();
}

function checkProof(given: unknown, expected: Buffer, message: string): void {
  const isRight = given instanceof Uint8Array && given.length === expected.length && timingSafeEqual(given, expected);
  if (!isRight) throw new HandshakeError(message);
}

function secretsDiffer(dialling: string, answering: string): string {
  return `Node ${dialling} and node ${answering}, which it called, have different cluster secrets: give ${dialling} the secret of ${answering}`;
}

function encode(value: unknown): Buffer {
  return encodeWire(value, helloBytesMax);
}

function decode(message: Buffer): { readonly [field: string]: unknown } {
  const value = decodeWire(message);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new ProtocolError("A hello is not an object");
  const fields = value as { readonly [field: string]: unknown };
  // A stranger's text goes into logs.
  if (typeof fields["refused"] === "string")
    throw new RefusedError(fields["refused"].slice(0, refusalLengthMax).replaceAll(/[\x00-\x1f\x7f-\x9f]/g, " "));
  return fields;
}

/** The other side has refused, so there is nobody to tell. */
export class RefusedError extends HandshakeError {}

function readIntroduction(fields: { readonly [field: string]: unknown }): Introduction {
  if (fields["magic"] !== magic) throw new ProtocolError("The peer is not a Kelpie node");
  const range = fields["protocol"] as { readonly min?: unknown; readonly max?: unknown } | null | undefined;
  const trafficClass = fields["class"];
  // A class that a later version adds would come with a later protocol.
  if (trafficClass !== "control" && trafficClass !== "data") throw new ProtocolError("A hello names no traffic class");
  return {
    node: name(fields["node"]),
    cluster: name(fields["cluster"]),
    class: trafficClass,
    protocol: { min: version(range?.min), max: version(range?.max) },
    hasSecret: fields["hasSecret"] === true,
    nonce: nonce(fields["nonce"]),
  };
}

function name(value: unknown): string {
  if (typeof value !== "string" || value.length === 0 || value.length > nameLengthMax || /[^\x20-\x7e]/.test(value))
    throw new ProtocolError(`A hello's names are of 1 to ${nameLengthMax} printable ASCII characters`);
  return value;
}

function version(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw new ProtocolError("A hello's versions are whole numbers");
  return value as number;
}

function nonce(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array) || value.length !== nonceBytes) throw new ProtocolError(`A hello's nonce has ${nonceBytes} bytes`);
  return value;
}
