/**
 * Frames: what two nodes send each other over one connection.
 *
 *     length (4 bytes, big-endian, of what follows) · type (1) · call (4) · payload
 *
 * F1. A frame has at most `frameBytesMax` bytes, and fewer before the peer has proved who it is. A larger body travels as
 *     a first part and `chunk` frames, each full but the last, so that others get their turn in between.
 * F2. The decoder holds at most one incomplete frame, whatever the pieces are that bytes come in.
 * F3. A call's number is chosen by the side that dialled, and only grows.
 */

/** Body bytes in one frame. */
export const chunkBytes = 65_536;

/** Room for what stands before a body: numbers, and a method's name. */
const headBytesMax = 1_024;
export const frameBytesMax: number = chunkBytes + headBytesMax;

/** A hello is small; strangers get no more room than it needs. */
export const helloBytesMax = 4_096;

const lengthBytes = 4;
/** Type and call. */
const prefixBytes = 5;
/** Bytes before the payload. */
export const frameHeadBytes: number = lengthBytes + prefixBytes;

export const FrameType = {
  /** Both directions, until the connection is ready: one message of the handshake each. */
  hello: 1,
  /** From here to `credit` the dialling side sends: kind (1), hops (1), milliseconds left (4), body bytes (4), method bytes (1), method, body. */
  request: 16,
  /** Nobody waits for the answer any more. */
  cancel: 17,
  /** Bytes (4) of items that the reader of a stream has taken. */
  credit: 18,
  /** The answering side sends: body bytes (4), body. */
  reply: 32,
  /** One item of a stream: as `reply`. */
  item: 33,
  /** A stream has no more items. */
  end: 34,
  /** The call ends without an answer: kind (1), body bytes (4), body. */
  failure: 35,
  /** The answering side takes no calls after this number. */
  goodbye: 36,
  /** Both: more of the body that this side is sending for the call. */
  chunk: 48,
  /** Both: must be answered by a `pong` at once. */
  ping: 49,
  pong: 50,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** The peer sent what no node sends. The connection ends; nothing else does. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** Writes what stands before the payload of a frame, and returns where the payload goes. */
export function writeFrameHead(
  target: Buffer,
  at: number,
  frame: { readonly type: number; readonly call: number; readonly payload: number },
): number {
  target.writeUInt32BE(prefixBytes + frame.payload, at);
  target[at + lengthBytes] = frame.type;
  return target.writeUInt32BE(frame.call, at + lengthBytes + 1);
}

/** A frame of its own, for the few that do not go through a send queue. */
export function encodeFrame(type: FrameType, call: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(frameHeadBytes + payload.length);
  bytes.set(payload, writeFrameHead(bytes, 0, { type, call, payload: payload.length }));
  return bytes;
}

/** Is given each frame. `payload` is valid only until it returns. */
export type FrameHandler = (type: number, call: number, payload: Buffer) => void;

/** Finds the frames in a stream of bytes. */
export class FrameDecoder {
  /** May be raised between frames. */
  bytesMax: number;
  readonly #handle: FrameHandler;
  readonly #length = Buffer.alloc(lengthBytes);
  #lengthBytes = 0;
  /** The frame that is coming in, once its length is known, if it did not come in one piece. */
  #frame: Buffer | undefined;
  #frameBytes = 0;

  constructor(bytesMax: number, handle: FrameHandler) {
    this.bytesMax = bytesMax;
    this.#handle = handle;
  }

  /** @throws {ProtocolError} These are not frames; nothing more may be pushed. What `handle` throws passes through. */
  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#frame !== undefined || this.#lengthBytes > 0) {
        at += this.#continue(bytes, at);
        continue;
      }
      // Nearly every frame comes in one piece and is read where it lies.
      if (bytes.length - at >= lengthBytes) {
        const length = this.#check(bytes.readUInt32BE(at), bytes, at);
        const end = at + lengthBytes + length;
        if (end <= bytes.length) {
          this.#emit(bytes, at + lengthBytes, end);
          at = end;
          continue;
        }
      }
      at += this.#continue(bytes, at);
    }
  }

  /** Takes bytes of a frame that comes in pieces; returns how many. */
  #continue(bytes: Buffer, at: number): number {
    if (this.#frame === undefined) {
      const taken = bytes.copy(this.#length, this.#lengthBytes, at, at + lengthBytes - this.#lengthBytes);
      this.#lengthBytes += taken;
      if (this.#lengthBytes === lengthBytes) {
        this.#frame = Buffer.allocUnsafe(this.#check(this.#length.readUInt32BE(0), this.#length, 0));
        this.#frameBytes = 0;
      }
      return taken;
    }
    const frame = this.#frame;
    const taken = bytes.copy(frame, this.#frameBytes, at, at + frame.length - this.#frameBytes);
    this.#frameBytes += taken;
    if (this.#frameBytes === frame.length) {
      this.#frame = undefined;
      this.#lengthBytes = 0;
      this.#emit(frame, 0, frame.length);
    }
    return taken;
  }

  #check(length: number, bytes: Buffer, at: number): number {
    if (length >= prefixBytes && length <= this.bytesMax) return length;
    const begin = bytes.subarray(at, at + lengthBytes);
    throw new ProtocolError(
      `A frame of ${length} bytes, where ${prefixBytes} to ${this.bytesMax} are allowed (it begins with ${JSON.stringify(begin.toString("latin1"))})`,
    );
  }

  #emit(bytes: Buffer, begin: number, end: number): void {
    this.#handle(bytes[begin]!, bytes.readUInt32BE(begin + 1), bytes.subarray(begin + prefixBytes, end));
  }
}

/** Reads the numbers before a body. @throws {ProtocolError} The payload is too short for them. */
export class PayloadReader {
  readonly #payload: Buffer;
  #at = 0;

  constructor(payload: Buffer) {
    this.#payload = payload;
  }

  uint8(): number {
    return this.#payload[this.#take(1)]!;
  }

  uint32(): number {
    return this.#payload.readUInt32BE(this.#take(4));
  }

  text(bytes: number): string {
    const begin = this.#take(bytes);
    return this.#payload.toString("utf8", begin, begin + bytes);
  }

  rest(): Buffer {
    return this.#payload.subarray(this.#at);
  }

  #take(count: number): number {
    const begin = this.#at;
    if (begin + count > this.#payload.length) throw new ProtocolError("A frame ends in the middle of its head");
    this.#at = begin + count;
    return begin;
  }
}
