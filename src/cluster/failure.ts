/** How a call that has no answer is told to its caller. */
import { OverloadedError, NodeUnreachableError, RemoteError, ReplyLostError } from "./transport.ts";
import { encodeWire } from "./wire.ts";
import { ProtocolError } from "./frame.ts";

export const FailureKind = {
  /** The handler threw. */
  threw: 0,
  /** Refused before it was handled: too much is in progress. */
  overloaded: 1,
  /** Refused before it was handled: the node is closing. */
  closing: 2,
  /** Handled, but the answer cannot be sent. */
  lost: 3,
} as const;
export type FailureKind = (typeof FailureKind)[keyof typeof FailureKind];

/** Of the text of an error, and of its fields. */
const messageLengthMax = 8_192;
const fieldsBytesMax = 16_384;
const nameLengthMax = 200;

export interface Failure {
  readonly name: string;
  readonly message: string;
  readonly fields: { readonly [field: string]: unknown };
}

/** What of an error that a handler threw travels: name, message, and own fields that are plain values. */
export function describeError(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: "Error", message: shorten(String(error)), fields: {} };
  const fields: { [field: string]: unknown } = {};
  let left = fieldsBytesMax;
  for (const [field, value] of Object.entries(error) as [string, unknown][]) {
    if (field === "name" || field === "message" || field === "stack" || field === "cause") continue;
    try {
      left -= encodeWire({ [field]: value }, left).length;
      fields[field] = value;
    } catch {
      // Not a plain value, or too large: the error arrives without this field.
    }
  }
  return { name: error.name.slice(0, nameLengthMax), message: shorten(error.message), fields };
}

export function encodeFailure(failure: Failure): Buffer {
  return encodeWire(failure, fieldsBytesMax + 4 * messageLengthMax + 4 * nameLengthMax);
}

/** The error that the caller gets. `what` names the call. @throws {ProtocolError} */
export function failureError(kind: number, body: unknown, what: string): Error {
  const { name, message, fields } = (body ?? {}) as { readonly [Field in keyof Failure]?: unknown };
  if (typeof name !== "string" || typeof message !== "string" || typeof fields !== "object" || fields === null)
    throw new ProtocolError("A failure does not say what failed");
  switch (kind) {
    case FailureKind.threw:
      return new RemoteError(name, message, fields as Failure["fields"]);
    case FailureKind.overloaded:
      return new OverloadedError(`${what} was refused: ${message}`, overloadedRetryMilliseconds);
    case FailureKind.closing:
      return new NodeUnreachableError(`${what} was refused: ${message}`);
    case FailureKind.lost:
      return new ReplyLostError(`${what} was handled, but its answer is lost: ${message}`);
    default:
      throw new ProtocolError(`Unknown kind of failure ${kind}`);
  }
}

/** Calls in progress take about so long to make room. */
export const overloadedRetryMilliseconds = 100;

function shorten(text: string): string {
  return text.length <= messageLengthMax ? text : `${text.slice(0, messageLengthMax)}… (${text.length} characters)`;
}
