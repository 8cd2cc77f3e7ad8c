/**
 * One end of a connection, without its socket: hello, then calls, with pings all the time.
 *
 * C1. Until the hello is over only its messages are taken, each small, within its deadline.
 * C2. A peer that is silent, or that takes nothing of what waits for it, for so many pings in a row is gone. Pings that
 *     this side had no time to look at do not count: after a pause of this process, however long, one is missed.
 * C3. What no node sends ends the connection, and its calls, and nothing else.
 */
import type { Cancel, Environment } from "../environment/environment.ts";
import { encodeFrame, FrameDecoder, frameBytesMax, FrameType, helloBytesMax, ProtocolError } from "./frame.ts";
import { type Agreement, DiallingHandshake, type Handshake, refusal, RefusedError } from "./hello.ts";
import { type Link, SendQueue } from "./send-queue.ts";
import { HandshakeError } from "./transport.ts";
import type { TransportTimings } from "./transport-limits.ts";
import { WireDecodeError } from "./wire.ts";

/** What the frames after the hello go to: a `Caller` or an `Answerer`. */
export interface Calls {
  receive(type: number, call: number, payload: Buffer): void;
  close(reason: string): void;
}

export interface ConnectionOptions {
  readonly environment: Environment;
  readonly timings: TransportTimings;
  readonly link: Link;
  readonly handshake: Handshake;
  /** The hello is over: makes the calls of this connection. */
  ready(agreement: Agreement, sendQueue: SendQueue): Calls;
  /** The connection is of no use any more, and the socket is to be closed; once. `error` is undefined after `close`. */
  ended(error: Error | undefined): void;
}

const none: Buffer = Buffer.alloc(0);

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #decoder: FrameDecoder;
  readonly #sendQueue: SendQueue;
  readonly #cancelHello: Cancel;
  #cancelPing: Cancel = () => {};
  #calls: Calls | undefined;
  #isEnded = false;
  #wasHeard = true;
  #hadRoom = true;
  #missed = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#sendQueue = new SendQueue(options.link);
    this.#decoder = new FrameDecoder(helloBytesMax, (type, call, payload) => this.#frame(type, call, payload));
    const { hello } = options.timings;
    this.#cancelHello = options.environment.clock.schedule(hello, () =>
      this.end(new HandshakeError(`The peer has not finished its hello within ${hello} ms: it is no Kelpie node, or hangs`)),
    );
    if (options.handshake instanceof DiallingHandshake) this.#sendHello(options.handshake.first());
  }

  get isReady(): boolean {
    return this.#calls !== undefined;
  }

  /** Bytes have come from the peer. */
  receive(bytes: Buffer): void {
    if (this.#isEnded) return;
    this.#wasHeard = true;
    try {
      this.#decoder.push(bytes);
    } catch (error) {
      if (!(error instanceof ProtocolError || error instanceof WireDecodeError || error instanceof HandshakeError)) throw error;
      if (this.isReady) return this.end(error);
      const refused = error instanceof HandshakeError ? error : noHello(error);
      if (!(refused instanceof RefusedError)) this.#sendHello(refusal(refused));
      this.end(refused);
    }
  }

  /** The link has room again. */
  resume(): void {
    this.#hadRoom = true;
    if (!this.#isEnded) this.#sendQueue.resume();
  }

  /** Sends what can be sent at once, for a link that is about to be closed. */
  flush(): void {
    this.#sendQueue.flush();
  }

  /** The connection is over, for `error` or because it is not needed. */
  end(error: Error | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#cancelHello();
    this.#cancelPing();
    this.#sendQueue.flush();
    this.#sendQueue.close();
    this.#calls?.close(error?.message ?? "The connection was closed");
    this.#options.ended(error);
  }

  #frame(type: number, call: number, payload: Buffer): void {
    if (this.#isEnded) return;
    if (this.#calls === undefined) {
      if (type !== FrameType.hello) throw new ProtocolError(`A frame of type ${type} before the end of the hello`);
      return this.#hello(payload);
    }
    if (type === FrameType.ping) this.#sendQueue.sendUrgent(encodeFrame(FrameType.pong, call, none));
    else if (type !== FrameType.pong) this.#calls.receive(type, call, payload);
  }

  #hello(message: Buffer): void {
    const { send, agreement } = this.#options.handshake.receive(message);
    if (send !== undefined) this.#sendHello(send);
    if (agreement === undefined) return;
    this.#cancelHello();
    this.#decoder.bytesMax = frameBytesMax;
    this.#calls = this.#options.ready(agreement, this.#sendQueue);
    this.#schedulePing();
  }

  #sendHello(message: Buffer): void {
    this.#sendQueue.sendUrgent(encodeFrame(FrameType.hello, 0, message));
  }

  #schedulePing(): void {
    const { environment, timings } = this.#options;
    this.#cancelPing = environment.clock.schedule(timings.ping, () => {
      const isAlive = this.#wasHeard && (this.#hadRoom || this.#sendQueue.hasRoom);
      this.#missed = isAlive ? 0 : this.#missed + 1;
      if (this.#missed >= timings.pingsMissedMax) {
        environment.probe("cluster.silentPeer");
        this.end(new Error(`The peer has not answered for ${this.#missed} pings, ${timings.ping} ms apart`));
        return;
      }
      this.#wasHeard = false;
      this.#hadRoom = this.#sendQueue.hasRoom;
      // One that does not leave, because the peer takes nothing, needs no second one behind it.
      if (this.#sendQueue.hasRoom) this.#sendQueue.sendUrgent(encodeFrame(FrameType.ping, 0, none));
      this.#schedulePing();
    });
  }
}

/** Also answered: a peer that speaks TLS, or HTTP, makes a better error of this than of silence. */
function noHello(error: Error): HandshakeError {
  return new HandshakeError(
    `What came is no hello of a Kelpie node (${error.message}): call the cluster port of a node, with TLS on both sides or on neither`,
    { cause: error },
  );
}
