/** The answering side of a connection: has calls handled and sends what comes of them. */
import type { Environment } from "../environment/environment.ts";
import { BodyAssembly } from "./body-assembly.ts";
import { describeError, encodeFailure, FailureKind } from "./failure.ts";
import { encodeFrame, FrameType, PayloadReader, ProtocolError } from "./frame.ts";
import { Lane, type SendQueue } from "./send-queue.ts";
import type { CallContext, CallHandler, Wire } from "./transport.ts";
import { type TransportLimits, waitingCostMin } from "./transport-limits.ts";
import { decodeWire, encodeWire } from "./wire.ts";

const none: Buffer = Buffer.alloc(0);

export class Answerer {
  readonly #sendQueue: SendQueue;
  readonly #environment: Environment;
  readonly #limits: TransportLimits;
  readonly #handler: CallHandler;
  readonly #peer: string;
  readonly #calls = new Map<number, Call>();
  readonly #bodies: BodyAssembly;
  #lastCall = 0;
  #isClosing = false;
  /** Called when no call is in progress any more. */
  onIdle: () => void = () => {};

  constructor(sendQueue: SendQueue, environment: Environment, limits: TransportLimits, handler: CallHandler, peer: string) {
    this.#sendQueue = sendQueue;
    this.#environment = environment;
    this.#limits = limits;
    this.#handler = handler;
    this.#peer = peer;
    this.#bodies = new BodyAssembly({ bodyBytesMax: limits.bodyBytesMax, bytesMax: limits.incomingBytesMax });
    sendQueue.onRoom = () => {
      for (const call of this.#calls.values()) call.wake();
    };
  }

  get inFlight(): number {
    return this.#calls.size;
  }

  /** A frame from the dialling side. @throws {ProtocolError} */
  receive(type: number, id: number, payload: Buffer): void {
    if (type === FrameType.request) return this.#begin(id, payload);
    if (id === 0 || id > this.#lastCall) throw new ProtocolError(`A frame for call ${id}, where ${this.#lastCall} is the last`);
    const call = this.#calls.get(id);
    switch (type) {
      case FrameType.chunk: {
        const body = this.#bodies.more(id, payload);
        if (call !== undefined && body !== undefined) this.#handle(call, body);
        return;
      }
      case FrameType.cancel:
        // It may have ended at the same moment.
        if (call !== undefined) this.#abandon(call, "The caller has cancelled");
        return;
      case FrameType.credit:
        call?.credit(new PayloadReader(payload).uint32());
        return;
      default:
        throw new ProtocolError(`A frame of type ${type} for a side that answers`);
    }
  }

  /** Takes no more calls; those in progress go on. */
  sayGoodbye(): void {
    this.#isClosing = true;
    this.#sendQueue.sendUrgent(encodeFrame(FrameType.goodbye, this.#lastCall, none));
  }

  /** The connection is gone: nobody will hear an answer. */
  close(reason: string): void {
    this.#isClosing = true;
    for (const call of this.#calls.values()) this.#abandon(call, reason);
  }

  #begin(id: number, payload: Buffer): void {
    if (id <= this.#lastCall) throw new ProtocolError(`Call ${id} begins after call ${this.#lastCall}`);
    this.#lastCall = id;
    const reader = new PayloadReader(payload);
    const kind = reader.uint8();
    const hops = reader.uint8();
    const deadline = this.#environment.clock.elapsed() + reader.uint32();
    const bytes = reader.uint32();
    const method = reader.text(reader.uint8());
    if (kind > 1) throw new ProtocolError(`Unknown kind of call ${kind}`);
    if (this.#isClosing) return this.#refuse(id, FailureKind.closing, "the node is closing");
    if (this.#calls.size >= this.#limits.inFlightMax)
      return this.#refuse(id, FailureKind.overloaded, `${this.#calls.size} calls are in progress already`);
    if (!this.#bodies.hasRoom(bytes)) return this.#refuse(id, FailureKind.overloaded, "too many large bodies are arriving already");
    const call = new Call(id, { method, kind, hops, deadline, peer: this.#peer }, this.#environment);
    const body = this.#bodies.begin(id, bytes, reader.rest());
    this.#calls.set(id, call);
    call.cancelTimer = this.#environment.clock.schedule(deadline - this.#environment.clock.elapsed(), () =>
      this.#abandon(call, "The time for the call is over"),
    );
    if (body !== undefined) this.#handle(call, body);
  }

  #refuse(id: number, kind: FailureKind, message: string): void {
    const body = encodeFailure({ name: "Error", message, fields: {} });
    const head = Buffer.allocUnsafe(5);
    head.writeUInt8(kind, 0);
    head.writeUInt32BE(body.length, 1);
    this.#sendQueue.sendUrgent(encodeFrame(FrameType.failure, id, Buffer.concat([head, body])));
  }

  #handle(call: Call, bytes: Buffer): void {
    // Before anything runs: bytes that are no value are the peer's fault, not the handler's.
    const body = decodeWire(bytes);
    call.isHandled = true;
    const work = call.isStream ? this.#pump(call, body) : this.#answer(call, body);
    void work
      .catch((error: unknown) => {
        if (!call.isOver) this.#sendFailure(call, FailureKind.threw, error);
      })
      .finally(() => this.#finish(call));
  }

  async #answer(call: Call, body: Wire): Promise<void> {
    const value = await this.#handler.request(call.method, body, call);
    if (call.isOver) return;
    const reply = encodeWire(value, this.#limits.bodyBytesMax);
    if (this.#sendQueue.bytes > 0 && this.#sendQueue.bytes + reply.length > this.#limits.outgoingBytesMax)
      return this.#sendFailure(call, FailureKind.lost, new Error(`${this.#sendQueue.bytes} bytes of answers wait to be read already`));
    this.#send(call, FrameType.reply, reply);
  }

  async #pump(call: Call, body: Wire): Promise<void> {
    call.credit(this.#limits.streamBytesMax);
    for await (const item of this.#handler.stream(call.method, body, call)) {
      if (call.isOver) return;
      const bytes = encodeWire(item, this.#limits.bodyBytesMax);
      call.spend(Math.max(bytes.length, waitingCostMin));
      this.#send(call, FrameType.item, bytes);
      while (!call.isOver && (!call.hasCredit || this.#sendQueue.bytes > this.#limits.outgoingBytesMax / 2)) await call.sleep();
      if (call.isOver) return;
    }
    if (!call.isOver) this.#sendQueue.send(call.lane, { type: FrameType.end, body: none, headBytes: 0, writeHead: () => {} });
  }

  #send(call: Call, type: FrameType, body: Buffer): void {
    this.#sendQueue.send(call.lane, { type, body, headBytes: 4, writeHead: (target, at) => void target.writeUInt32BE(body.length, at) });
  }

  #sendFailure(call: Call, kind: FailureKind, error: unknown): void {
    const body = encodeFailure(describeError(error));
    this.#sendQueue.send(call.lane, {
      type: FrameType.failure,
      body,
      headBytes: 5,
      writeHead: (target, at) => void target.writeUInt32BE(body.length, target.writeUInt8(kind, at)),
    });
  }

  /** Nobody waits for the answer. The call counts until its handler has ended. */
  #abandon(call: Call, reason: string): void {
    this.#sendQueue.drop(call.lane);
    this.#bodies.drop(call.lane.call);
    call.abort(reason);
    if (!call.isHandled) this.#finish(call);
  }

  #finish(call: Call): void {
    call.cancelTimer();
    this.#calls.delete(call.lane.call);
    if (this.#calls.size === 0) this.onIdle();
  }
}

interface CallHead {
  readonly method: string;
  readonly kind: number;
  readonly hops: number;
  readonly deadline: number;
  readonly peer: string;
}

class Call implements CallContext {
  readonly lane: Lane;
  readonly peer: string;
  readonly hops: number;
  readonly method: string;
  readonly isStream: boolean;
  readonly #deadline: number;
  readonly #environment: Environment;
  isHandled = false;
  cancelTimer: () => void = () => {};
  #aborted: Error | undefined;
  #controller: AbortController | undefined;
  #credit = 0;
  #wake: (() => void) | undefined;

  constructor(id: number, head: CallHead, environment: Environment) {
    this.lane = new Lane(id);
    this.peer = head.peer;
    this.hops = head.hops + 1;
    this.method = head.method;
    this.isStream = head.kind === 1;
    this.#deadline = head.deadline;
    this.#environment = environment;
  }

  get remainingMilliseconds(): number {
    return Math.max(0, this.#deadline - this.#environment.clock.elapsed());
  }

  /** Made for those who ask: most handlers end before it could matter, and an AbortController costs more than a frame. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted);
    }
    return this.#controller.signal;
  }

  get isOver(): boolean {
    return this.#aborted !== undefined;
  }

  abort(reason: string): void {
    if (this.#aborted !== undefined) return;
    this.#aborted = new Error(reason);
    this.#controller?.abort(this.#aborted);
    this.wake();
  }

  get hasCredit(): boolean {
    return this.#credit > 0;
  }

  credit(bytes: number): void {
    this.#credit = Math.min(this.#credit + bytes, 0x7fff_ffff);
    this.wake();
  }

  spend(bytes: number): void {
    this.#credit -= bytes;
  }

  /** Until something has changed. */
  sleep(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
