import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeFrame, FrameDecoder, frameBytesMax, FrameType, PayloadReader, ProtocolError } from "./frame.ts";

interface Seen {
  readonly type: number;
  readonly call: number;
  readonly payload: string;
}

function decoder(bytesMax: number = frameBytesMax): { readonly decoder: FrameDecoder; readonly seen: Seen[] } {
  const seen: Seen[] = [];
  const handle = (type: number, call: number, payload: Buffer): void => void seen.push({ type, call, payload: payload.toString("hex") });
  return { decoder: new FrameDecoder(bytesMax, handle), seen };
}

test("F2: frames are the same however their bytes are split", () => {
  const frame = fc.record({ call: fc.nat(0xffff_ffff), payload: fc.uint8Array({ maxLength: 40 }) });
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 10 }), fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (frames, sizes) => {
      const bytes = Buffer.concat(frames.map(({ call, payload }) => encodeFrame(FrameType.reply, call, payload)));
      const { decoder: split, seen } = decoder();
      for (let at = 0, piece = 0; at < bytes.length; piece++) {
        const size = sizes[piece % sizes.length]!;
        split.push(Buffer.from(bytes.subarray(at, at + size)));
        at += size;
      }
      assert.deepEqual(
        seen,
        frames.map(({ call, payload }) => ({ type: FrameType.reply, call, payload: Buffer.from(payload).toString("hex") })),
      );
    }),
  );
});

test("F1: a length that no frame has is refused before anything is kept, and says how the bytes begin", () => {
  for (const [bytes, bytesMax, message] of [
    ["0000000401", 100, /A frame of 4 bytes, where 5 to 100/],
    ["0000006501", 100, /A frame of 101 bytes/],
    ["ffffffff01", frameBytesMax, /4294967295 bytes/],
    [Buffer.from("HTTP/1.1 400").toString("hex"), 100, /begins with "HTTP"/],
  ] as const) {
    assert.throws(() => decoder(bytesMax).decoder.push(Buffer.from(bytes, "hex")), { name: "ProtocolError", message });
    const slow = decoder(bytesMax).decoder;
    assert.throws(() => {
      for (const byte of Buffer.from(bytes, "hex")) slow.push(Buffer.from([byte]));
    }, ProtocolError);
  }
});

test("F1: the largest frame passes, one byte at a time too", () => {
  const bytes = encodeFrame(FrameType.chunk, 7, new Uint8Array(frameBytesMax - 5));
  const whole = decoder();
  whole.decoder.push(bytes);
  const slow = decoder();
  for (let at = 0; at < bytes.length; at++) slow.decoder.push(bytes.subarray(at, at + 1));
  assert.equal(slow.seen.length, 1);
  assert.deepEqual(slow.seen, whole.seen);
});

test("A payload that ends in the middle of its head is refused", () => {
  const reader = new PayloadReader(Buffer.from([1, 0, 0]));
  assert.equal(reader.uint8(), 1);
  assert.throws(() => reader.uint32(), ProtocolError);
  assert.throws(() => reader.text(3), ProtocolError);
  assert.equal(reader.rest().length, 2);
});
