/** Peers that say what a test wants them to say, byte by byte. */
import { once } from "node:events";
import net from "node:net";
import { RealEnvironment } from "../environment/real-environment.ts";
import { parseAddress } from "./address.ts";
import { encodeFrame, FrameDecoder, frameBytesMax, FrameType } from "./frame.ts";
import { AnsweringHandshake, DiallingHandshake, type Identity, protocol } from "./hello.ts";
import type { NodeAddress } from "./transport.ts";
import { encodeWire } from "./wire.ts";

export const testEnvironment: RealEnvironment = new RealEnvironment({ level: "error" });
export const testIdentity: Identity = { node: "raw", cluster: "test", protocol, secret: Buffer.from("a secret of the cluster") };

const noBinding = new Uint8Array();
const { random } = testEnvironment;

export interface Frame {
  readonly type: number;
  readonly call: number;
  readonly payload: Buffer;
}

/** One end of a TCP connection that speaks frames, and nothing by itself once the hello is over. */
export class RawPeer {
  readonly socket: net.Socket;
  readonly frames: Frame[] = [];
  readonly closed: Promise<unknown>;
  #onFrame: (frame: Frame) => void = () => {};

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("error", () => {}); // A reset is how these connections are meant to end.
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    const decoder = new FrameDecoder(frameBytesMax, (type, call, payload) => {
      const frame = { type, call, payload: Buffer.from(payload) };
      this.frames.push(frame);
      this.#onFrame(frame);
    });
    socket.on("data", (bytes: Buffer) => decoder.push(bytes));
  }

  /** Connects, and says nothing. */
  static async connect(address: NodeAddress): Promise<RawPeer> {
    const socket = net.connect({ ...parseAddress(address), noDelay: true });
    await once(socket, "connect");
    return new RawPeer(socket);
  }

  /** Connects, and is known as `node` when it returns. */
  static async join(address: NodeAddress, identity: Identity = testIdentity): Promise<RawPeer> {
    const peer = await RawPeer.connect(address);
    const handshake = new DiallingHandshake(identity, { class: "data", random, binding: noBinding });
    peer.send(FrameType.hello, 0, handshake.first());
    for (;;) {
      const { send, agreement } = handshake.receive((await peer.next()).payload);
      if (send !== undefined) peer.send(FrameType.hello, 0, send);
      if (agreement !== undefined) return peer;
    }
  }

  /** Goes through the hello of a node that has called. */
  async welcome(identity: Identity = testIdentity): Promise<void> {
    const handshake = new AnsweringHandshake(identity, { random, binding: noBinding });
    for (;;) {
      const { send, agreement } = handshake.receive((await this.next()).payload);
      if (send !== undefined) this.send(FrameType.hello, 0, send);
      if (agreement !== undefined) return;
    }
  }

  /** The next frame that comes. @throws {Error} None comes, as the connection is closed. */
  async next(): Promise<Frame> {
    const frame = new Promise<Frame>((resolve) => {
      this.#onFrame = resolve;
    });
    return await Promise.race([
      frame,
      this.closed.then((): never => {
        throw new Error("The connection was closed");
      }),
    ]);
  }

  send(type: number, call: number, payload: Uint8Array = Buffer.alloc(0)): void {
    this.socket.write(encodeFrame(type as FrameType, call, payload));
  }

  request(call: number, method: string, body: unknown, kind: 0 | 1 = 0): void {
    this.send(FrameType.request, call, requestPayload(method, body, { kind }));
  }
}

/** The payload of a request that fits into one frame; `bytes` is what it says of its body's length. */
export function requestPayload(
  method: string,
  body: unknown,
  options: { readonly kind?: number; readonly milliseconds?: number; readonly bytes?: number } = {},
): Buffer {
  const encoded = encodeWire(body, 1e6);
  const name = Buffer.from(method);
  const head = Buffer.alloc(11);
  head[0] = options.kind ?? 0;
  head.writeUInt32BE(options.milliseconds ?? 60_000, 2);
  head.writeUInt32BE(options.bytes ?? encoded.length, 6);
  head[10] = name.length;
  return Buffer.concat([head, name, encoded]);
}

/** A TCP server whose connections a test answers by hand. */
export async function rawServer(accept: (peer: RawPeer) => void): Promise<AsyncDisposable & { readonly address: NodeAddress }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    accept(new RawPeer(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
