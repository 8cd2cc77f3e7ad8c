/** Frames that no node sends: valid ones, changed. The same for the same seed. */
import { FrameType } from "../../src/cluster/frame.ts";
import { requestPayload } from "../../src/cluster/testing.ts";
import { encodeWire } from "../../src/cluster/wire.ts";
import type { Random } from "../../src/environment/environment.ts";

const types = Object.values(FrameType);

/** Makes the frames of one connection. */
export class FrameMutator {
  readonly #random: Random;
  readonly #sent: Buffer[] = [];
  #call = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  chance(share: number): boolean {
    return this.#random.fraction() < share;
  }

  /** A whole number from 0, less than `end`. */
  below(end: number): number {
    return Math.floor(this.#random.fraction() * end);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  /** The next frame, most often malformed, sometimes only in the wrong place. */
  next(): Buffer {
    let bytes = this.#valid();
    for (let changes = 1 + this.below(3); changes > 0; changes--) bytes = this.#change(bytes);
    this.#sent.push(bytes);
    if (this.#sent.length > 8) this.#sent.shift();
    return bytes;
  }

  #valid(): Buffer {
    switch (this.below(8)) {
      case 0:
      case 1:
        return frame(
          FrameType.request,
          ++this.#call,
          requestPayload(this.pick(["echo", "throw", "wait"]), this.#value(3), { milliseconds: 1 + this.below(2_000) }),
        );
      case 2:
        return frame(FrameType.request, ++this.#call, requestPayload("count", { count: this.below(50) }, { kind: 1 }));
      case 3:
        // The first part of a body, the rest of which may come or not.
        return frame(
          FrameType.request,
          ++this.#call,
          Buffer.concat([requestPayload("echo", null, { bytes: 65_536 + this.below(40_000_000) }).subarray(0, -1), Buffer.alloc(65_536)]),
        );
      case 4:
        return frame(FrameType.chunk, this.#someCall(), Buffer.alloc(this.pick([0, 1, 100, 65_536])));
      case 5:
        return frame(FrameType.credit, this.#someCall(), this.#bytes(4));
      case 6:
        return frame(
          this.pick([FrameType.cancel, FrameType.ping, FrameType.pong, FrameType.goodbye, FrameType.end]),
          this.#someCall(),
          Buffer.alloc(0),
        );
      default:
        return frame(
          FrameType.hello,
          0,
          encodeWire({ magic: "kelpie", node: "x", cluster: "test", nonce: this.#bytes(32), proof: this.#value(2) }, 100_000),
        );
    }
  }

  #change(bytes: Buffer): Buffer {
    const changed = Buffer.from(bytes);
    switch (this.below(9)) {
      case 0:
        for (let count = 1 + this.below(8); count > 0 && changed.length > 0; count--) changed[this.below(changed.length)] = this.below(256);
        return changed;
      case 1:
        return changed.subarray(0, this.below(changed.length + 1));
      case 2:
        return fixLength(changed.subarray(0, this.below(changed.length + 1)));
      case 3:
        return fixLength(Buffer.concat([changed, this.#bytes(this.below(200))]));
      case 4:
        if (changed.length >= 4)
          changed.writeUInt32BE(this.pick([0, 1, 4, 5, 65_536, 70_000, 0x7fff_ffff, 0xffff_ffff, this.below(0xffff_ffff)]));
        return changed;
      case 5:
        if (changed.length >= 5) changed[4] = this.chance(0.7) ? this.pick(types) : this.below(256);
        return changed;
      case 6:
        if (changed.length >= 9) changed.writeUInt32BE(this.chance(0.5) ? this.#someCall() : this.below(0xffff_ffff), 5);
        return changed;
      case 7:
        // What was sent before, once more, or out of order.
        return this.#sent.length > 0 ? Buffer.concat([this.pick(this.#sent), changed]) : changed;
      default:
        return this.#bytes(1 + this.below(300));
    }
  }

  #someCall(): number {
    return Math.max(0, this.#call + this.below(4) - 2);
  }

  #bytes(count: number): Buffer {
    return Buffer.from(this.#random.bytes(count));
  }

  #value(depth: number): unknown {
    switch (this.below(depth > 0 ? 7 : 5)) {
      case 0:
        return this.below(1_000_000) - 500_000;
      case 1:
        return "x".repeat(this.below(100));
      case 2:
        return this.#bytes(this.below(100));
      case 3:
        return null;
      case 4:
        return this.#random.fraction();
      case 5:
        return Array.from({ length: this.below(5) }, () => this.#value(depth - 1));
      default:
        return Object.fromEntries(Array.from({ length: this.below(5) }, (_, at) => [`key${at}`, this.#value(depth - 1)]));
    }
  }
}

/** A frame of any type and size. */
function frame(type: number, call: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head[4] = type;
  head.writeUInt32BE(call, 5);
  return fixLength(Buffer.concat([head, payload]));
}

function fixLength(bytes: Buffer): Buffer {
  const fixed = Buffer.from(bytes);
  if (fixed.length >= 4) fixed.writeUInt32BE(fixed.length - 4);
  return fixed;
}
