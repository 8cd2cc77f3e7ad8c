/** What a transport allows, per connection unless it says otherwise. There is one connection per peer and traffic class. */
export interface TransportLimits {
  /** Calls that wait for an answer, and streams that are open. */
  readonly inFlightMax: number;
  /** One request, answer or item. */
  readonly bodyBytesMax: number;
  /** Bytes that wait to be sent. More calls are refused, and streams wait, until the peer has taken some. */
  readonly outgoingBytesMax: number;
  /** Bytes announced by bodies that have begun to arrive and are not complete. */
  readonly incomingBytesMax: number;
  /** Bytes of items that a stream's reader has not taken, beyond which its producer waits. One item more may be on its way. */
  readonly streamBytesMax: number;
  /** Connections that peers have made, all together. */
  readonly connectionsMax: number;
  /** Those among them that have not proved who they are. One more, and the one that has had longest is closed. */
  readonly unprovenMax: number;
}

export const defaultTransportLimits: TransportLimits = {
  inFlightMax: 2_048,
  bodyBytesMax: 32 * 1_048_576,
  outgoingBytesMax: 64 * 1_048_576,
  incomingBytesMax: 64 * 1_048_576,
  streamBytesMax: 131_072,
  connectionsMax: 1_024,
  unprovenMax: 64,
};

/** In milliseconds. */
export interface TransportTimings {
  /** From dialling until the connection is ready, on both sides. */
  readonly hello: number;
  readonly ping: number;
  /** After so many pings in a row with no sign of life, or without room for a byte more, the peer is gone. */
  readonly pingsMissedMax: number;
  /** After a connection could not be made, the next is tried no sooner than this, twice this, and so on. */
  readonly backoffMin: number;
  readonly backoffMax: number;
  /** How long calls in progress have to finish when the transport closes. */
  readonly close: number;
  /** How often the files of certificates are looked at. */
  readonly certificates: number;
}

export const defaultTransportTimings: TransportTimings = {
  hello: 5_000,
  ping: 1_000,
  pingsMissedMax: 3,
  backoffMin: 50,
  backoffMax: 1_000,
  close: 5_000,
  certificates: 10_000,
};

/** What waits takes this much at least, however small it is. */
export const waitingCostMin = 64;
