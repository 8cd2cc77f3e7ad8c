/**
 * The port between nodes: requests with one answer, and streams with many, under deadlines.
 *
 * T1. A request whose caller hears `NodeUnreachableError` was certainly not handled and never will be.
 * T2. A request is handled at most once per call: the transport itself repeats nothing once a byte of it may have left.
 * T3. Deadlines travel as time left, never as a time of day: clocks of nodes may differ by anything.
 * T4. Everything that waits is bounded: frames, requests in flight, bytes that a slow reader has not taken.
 */

/** Where a node listens: `host:port`. */
export type NodeAddress = string;

/** What travels: values that msgpack can carry, with `Uint8Array` for bytes. */
export type Wire = unknown;

/** Control traffic (membership, redirects, drain) never waits behind data: it has a connection of its own. */
export type TrafficClass = "control" | "data";

export interface CallOptions {
  /** 1 or more. When it has passed the caller gets a `ReplyLostError` (`NodeUnreachableError` if the request has not left), and the handler's signal aborts. */
  readonly timeoutMilliseconds: number;
  /** The call ends with its reason. */
  readonly signal?: AbortSignal;
  /** `data` by default. */
  readonly class?: TrafficClass;
  /** How often this call was forwarded already; the handler sees one more. */
  readonly hops?: number;
}

/** What a handler knows of a call. */
export interface CallContext {
  /** The node that called, as it proved in its hello. */
  readonly peer: string;
  readonly hops: number;
  readonly remainingMilliseconds: number;
  /** Aborts at the deadline, when the caller cancels, and when the connection is lost. */
  readonly signal: AbortSignal;
}

/** What a node does with calls. An error that it throws reaches the caller as a `RemoteError`. */
export interface CallHandler {
  request(method: string, body: Wire, context: CallContext): Promise<Wire>;
  stream(method: string, body: Wire, context: CallContext): AsyncIterable<Wire>;
}

export interface Transport extends AsyncDisposable {
  /** Begins to take calls. Once. */
  listen(handler: CallHandler): Promise<NodeAddress>;
  /** @throws {NodeUnreachableError} @throws {ReplyLostError} @throws {RemoteError} @throws {HandshakeError} @throws {OverloadedError} */
  request(address: NodeAddress, method: string, body: Wire, options: CallOptions): Promise<Wire>;
  /** Items come as fast as they are taken, within a credit; leaving the loop cancels the stream. Errors as for `request`. */
  stream(address: NodeAddress, method: string, body: Wire, options: CallOptions): AsyncIterable<Wire>;
}

/** Nobody answers at the address, or the connection could not be made. Certainly not handled: safe to try elsewhere. */
export class NodeUnreachableError extends Error {
  override readonly name = "NodeUnreachableError";
}

/** The connection broke, or the time was over, after the request may have left. It may have been handled. */
export class ReplyLostError extends Error {
  override readonly name = "ReplyLostError";
}

/** Too much is on its way to the node already. Not sent; try again after `retryAfterMilliseconds`. */
export class OverloadedError extends Error {
  override readonly name = "OverloadedError";
  readonly retryAfterMilliseconds: number;

  constructor(message: string, retryAfterMilliseconds: number) {
    super(message);
    this.retryAfterMilliseconds = retryAfterMilliseconds;
  }
}

/** The other side is not a node of this cluster, or speaks no version that this one does. Says which of the two sides must change. */
export class HandshakeError extends Error {
  override readonly name = "HandshakeError";
}

/** The handler threw. `remoteName` is the name of its error; `fields` are those of its own properties that are plain values. */
export class RemoteError extends Error {
  override readonly name = "RemoteError";
  readonly remoteName: string;
  readonly fields: { readonly [field: string]: unknown };

  constructor(remoteName: string, message: string, fields: { readonly [field: string]: unknown }) {
    super(message);
    this.remoteName = remoteName;
    this.fields = fields;
  }
}
