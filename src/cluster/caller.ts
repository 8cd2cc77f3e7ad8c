/** The dialling side of a connection: sends calls and gives their answers to who waits for them. */
import type { Environment } from "../environment/environment.ts";
import { BodyAssembly } from "./body-assembly.ts";
import { failureError, overloadedRetryMilliseconds } from "./failure.ts";
import { encodeFrame, FrameType, PayloadReader, ProtocolError } from "./frame.ts";
import { Lane, type SendQueue, type Outgoing } from "./send-queue.ts";
import { type CallOptions, NodeUnreachableError, OverloadedError, ReplyLostError } from "./transport.ts";
import { type TransportLimits, waitingCostMin } from "./transport-limits.ts";
import { decodeWire } from "./wire.ts";

export type CallKind = "request" | "stream";

/** Who waits for the answer. */
export interface Answer {
  /** The answer of a request; an item of a stream, and how much of its credit it took. */
  value(value: unknown, bytes: number): void;
  /** A stream has no more items. */
  end(): void;
  /** There will be nothing more. */
  fail(error: Error): void;
}

export interface CallRequest {
  readonly kind: CallKind;
  readonly method: Buffer;
  readonly body: Buffer;
  readonly options: CallOptions;
  /** Names the call in errors. */
  readonly what: string;
}

/** A call that is in progress. */
export interface OpenCall {
  /** Nobody waits any more: neither `value` nor `fail` is called again. */
  cancel(): void;
  /** The reader of a stream has taken items of so many bytes. */
  take(bytes: number): void;
}

/** Numbers of calls end here, and a new connection begins with 1 again. */
const callMax = 0xffff_0000;

export class Caller {
  readonly #sendQueue: SendQueue;
  readonly #environment: Environment;
  readonly #limits: TransportLimits;
  readonly #calls = new Map<number, PendingCall>();
  readonly #bodies: BodyAssembly;
  #lastCall = 0;
  #isRetiring = false;
  #closed: string | undefined;
  /** Called when no call is in progress any more. */
  onIdle: () => void = () => {};

  constructor(sendQueue: SendQueue, environment: Environment, limits: TransportLimits) {
    this.#sendQueue = sendQueue;
    this.#environment = environment;
    this.#limits = limits;
    this.#bodies = new BodyAssembly({ bodyBytesMax: limits.bodyBytesMax, bytesMax: limits.incomingBytesMax });
  }

  get inFlight(): number {
    return this.#calls.size;
  }

  /** Takes no more calls; those in progress go on. */
  get isRetiring(): boolean {
    return this.#isRetiring;
  }

  /** @throws {OverloadedError} */
  open(request: CallRequest, millisecondsLeft: number, answer: Answer): OpenCall {
    if (this.#closed !== undefined) throw unreachable(request.what, this.#closed);
    request.options.signal?.throwIfAborted();
    if (this.#calls.size >= this.#limits.inFlightMax)
      throw new OverloadedError(
        `${request.what} was not sent: ${this.#calls.size} calls are in progress already`,
        overloadedRetryMilliseconds,
      );
    if (this.#sendQueue.bytes > 0 && this.#sendQueue.bytes + request.body.length > this.#limits.outgoingBytesMax)
      throw new OverloadedError(
        `${request.what} was not sent: ${this.#sendQueue.bytes} bytes wait to be sent already`,
        overloadedRetryMilliseconds,
      );
    const call = new PendingCall(
      ++this.#lastCall,
      request,
      answer,
      this.#environment.clock.elapsed() + millisecondsLeft,
      this.#environment,
    );
    if (this.#lastCall >= callMax) this.retire();
    this.#calls.set(call.lane.call, call);
    const { signal } = request.options;
    const onAbort = (): void => this.#abandon(call, asError(signal!.reason));
    signal?.addEventListener("abort", onAbort);
    const cancelTimer = this.#environment.clock.schedule(millisecondsLeft, () => this.#abandon(call, timeOver(call)));
    call.release = () => {
      cancelTimer();
      signal?.removeEventListener("abort", onAbort);
    };
    this.#sendQueue.send(call.lane, call);
    return {
      cancel: () => this.#abandon(call, undefined),
      take: (bytes) => this.#take(call, bytes),
    };
  }

  /** A frame from the answering side. @throws {ProtocolError} */
  receive(type: number, call: number, payload: Buffer): void {
    switch (type) {
      case FrameType.reply:
      case FrameType.item:
      case FrameType.failure:
        return this.#begin(type, call, payload);
      case FrameType.chunk:
        return this.#more(call, payload);
      case FrameType.end: {
        const pending = this.#find(call);
        if (pending === undefined) return;
        if (pending.request.kind !== "stream") throw new ProtocolError("A request ends as a stream");
        this.#finish(pending);
        pending.answer.end();
        return;
      }
      case FrameType.goodbye:
        return this.#goodbye(call);
      default:
        throw new ProtocolError(`A frame of type ${type} for a side that calls`);
    }
  }

  /** Takes no more calls. */
  retire(): void {
    this.#isRetiring = true;
  }

  /** The connection is gone. */
  close(reason: string): void {
    this.#isRetiring = true;
    this.#closed = reason;
    for (const call of this.#calls.values()) {
      this.#finish(call);
      call.answer.fail(
        call.isSent ? new ReplyLostError(`${call.request.what} may have been handled: ${reason}`) : unreachable(call.request.what, reason),
      );
    }
  }

  #begin(type: number, call: number, payload: Buffer): void {
    const pending = this.#find(call);
    if (pending === undefined) return;
    const reader = new PayloadReader(payload);
    pending.failure = type === FrameType.failure ? reader.uint8() : undefined;
    if (type !== FrameType.failure && (type === FrameType.item) !== (pending.request.kind === "stream"))
      throw new ProtocolError("An answer of the wrong kind");
    const bytes = reader.uint32();
    if (!this.#bodies.hasRoom(bytes)) {
      this.#abandon(
        pending,
        new ReplyLostError(`${pending.request.what} was handled, but there is no room for its answer of ${bytes} bytes now`),
      );
      return;
    }
    const body = this.#bodies.begin(call, bytes, reader.rest());
    if (body !== undefined) this.#deliver(pending, body);
  }

  #more(call: number, part: Buffer): void {
    const pending = this.#find(call);
    const body = this.#bodies.more(call, part);
    if (pending !== undefined && body !== undefined) this.#deliver(pending, body);
  }

  #deliver(call: PendingCall, body: Buffer): void {
    const value = decodeWire(body);
    if (call.failure !== undefined) {
      const error = failureError(call.failure, value, call.request.what);
      this.#finish(call);
      call.answer.fail(error);
      return;
    }
    if (call.request.kind === "request") this.#finish(call);
    call.answer.value(value, Math.max(body.length, waitingCostMin));
  }

  /** Undefined: it was given up, and its answer was on its way. @throws {ProtocolError} There never was such a call. */
  #find(call: number): PendingCall | undefined {
    if (call === 0 || call > this.#lastCall) throw new ProtocolError(`A frame for call ${call}, where ${this.#lastCall} is the last`);
    return this.#calls.get(call);
  }

  #goodbye(last: number): void {
    this.#isRetiring = true;
    for (const call of this.#calls.values()) {
      if (call.lane.call <= last) continue;
      this.#finish(call);
      this.#sendQueue.drop(call.lane);
      call.answer.fail(unreachable(call.request.what, "the node is closing"));
    }
    if (this.#calls.size === 0) this.onIdle();
  }

  #take(call: PendingCall, bytes: number): void {
    if (!this.#calls.has(call.lane.call)) return;
    call.taken += bytes;
    // A credit for each item would cost as much as the item.
    if (call.taken * 4 < this.#limits.streamBytesMax) return;
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32BE(call.taken);
    call.taken = 0;
    this.#sendQueue.sendUrgent(encodeFrame(FrameType.credit, call.lane.call, payload));
  }

  /** Gives a call up. Its answer fails with `error`, if somebody wants to know. */
  #abandon(call: PendingCall, error: Error | undefined): void {
    if (!this.#calls.has(call.lane.call)) return;
    this.#sendQueue.drop(call.lane);
    // A call of which nothing has left was never made.
    if (call.lane.hasBegun) this.#sendQueue.sendUrgent(encodeFrame(FrameType.cancel, call.lane.call, Buffer.alloc(0)));
    this.#finish(call);
    if (error !== undefined) call.answer.fail(error);
  }

  #finish(call: PendingCall): void {
    call.release();
    this.#bodies.drop(call.lane.call);
    this.#calls.delete(call.lane.call);
    if (this.#calls.size === 0) this.onIdle();
  }
}

class PendingCall implements Outgoing {
  readonly type: FrameType = FrameType.request;
  readonly lane: Lane;
  readonly request: CallRequest;
  readonly answer: Answer;
  readonly #deadline: number;
  readonly #environment: Environment;
  /** The whole of it was handed to the link: from then on it may be handled. */
  isSent = false;
  /** The kind of the failure whose body is arriving. */
  failure: number | undefined;
  /** Bytes of items that the reader took and the producer has not been told of. */
  taken = 0;
  release: () => void = () => {};

  constructor(id: number, request: CallRequest, answer: Answer, deadline: number, environment: Environment) {
    this.lane = new Lane(id);
    this.request = request;
    this.answer = answer;
    this.#deadline = deadline;
    this.#environment = environment;
  }

  get body(): Buffer {
    return this.request.body;
  }

  get headBytes(): number {
    return 11 + this.request.method.length;
  }

  writeHead(target: Buffer, begin: number): void {
    const { kind, method, body, options } = this.request;
    let at = target.writeUInt8(kind === "stream" ? 1 : 0, begin);
    at = target.writeUInt8(options.hops ?? 0, at);
    const left = Math.ceil(this.#deadline - this.#environment.clock.elapsed());
    at = target.writeUInt32BE(Math.min(Math.max(left, 1), 0xffff_ffff), at);
    at = target.writeUInt32BE(body.length, at);
    at = target.writeUInt8(method.length, at);
    method.copy(target, at);
  }

  sent(): void {
    this.isSent = true;
  }
}

function timeOver(call: PendingCall): Error {
  const { what, options } = call.request;
  const over = `the ${options.timeoutMilliseconds} ms for it are over`;
  return call.isSent ? new ReplyLostError(`${what} may have been handled: ${over}`) : unreachable(what, over);
}

function unreachable(what: string, reason: string): Error {
  return new NodeUnreachableError(`${what} was not handled: ${reason}`);
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
