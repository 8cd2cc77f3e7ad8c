import { chunkBytes, ProtocolError } from "./frame.ts";

interface Body {
  readonly bytes: Buffer;
  filled: number;
}

/** Puts bodies together that arrive in more than one frame, within the room that there is for all of them. */
export class BodyAssembly {
  readonly #bodies = new Map<number, Body>();
  readonly #bodyBytesMax: number;
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(options: { readonly bodyBytesMax: number; readonly bytesMax: number }) {
    this.#bodyBytesMax = options.bodyBytesMax;
    this.#bytesMax = options.bytesMax;
  }

  /** Whether a body of this length could begin now: one that comes in one frame always can. @throws {ProtocolError} It never can. */
  hasRoom(bytes: number): boolean {
    if (bytes > this.#bodyBytesMax) throw new ProtocolError(`A body of ${bytes} bytes, where ${this.#bodyBytesMax} are allowed`);
    return bytes <= chunkBytes || this.#bytes + bytes <= this.#bytesMax;
  }

  /** Takes the first part of a body that there is room for; gives the whole if that is all of it. @throws {ProtocolError} */
  begin(call: number, bytes: number, part: Buffer): Buffer | undefined {
    if (this.#bodies.has(call)) throw new ProtocolError("A body begins before the one before it is complete");
    if (part.length !== Math.min(bytes, chunkBytes)) throw new ProtocolError("A body's first part is not as long as it must be");
    if (bytes === part.length) return part;
    // Memory that nobody has written to is not taken yet, so announcing a body costs its sender more than us.
    const body: Body = { bytes: Buffer.allocUnsafeSlow(bytes), filled: 0 };
    body.filled = part.copy(body.bytes);
    this.#bodies.set(call, body);
    this.#bytes += bytes;
    return undefined;
  }

  /** Takes the next part; gives the body with the last one. `undefined` too for a call whose body nobody waits for. @throws {ProtocolError} */
  more(call: number, part: Buffer): Buffer | undefined {
    const body = this.#bodies.get(call);
    if (body === undefined) return undefined;
    const left = body.bytes.length - body.filled;
    if (part.length !== Math.min(left, chunkBytes)) throw new ProtocolError("A body's part is not as long as it must be");
    body.filled += part.copy(body.bytes, body.filled);
    if (body.filled < body.bytes.length) return undefined;
    this.drop(call);
    return body.bytes;
  }

  drop(call: number): void {
    const body = this.#bodies.get(call);
    if (body === undefined) return;
    this.#bodies.delete(call);
    this.#bytes -= body.bytes.length;
  }
}
