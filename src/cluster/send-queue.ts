/**
 * What one connection has to send.
 *
 * O1. Messages of one call leave in order. Those of different calls take turns, one frame each, so a large body delays a
 *     small one by a frame for each call before it, not by its own length.
 * O2. Urgent frames (pings, cancellations, credits, refusals) pass all others.
 * O3. Nothing is handed to a link that has no room.
 */
import { chunkBytes, frameBytesMax, frameHeadBytes, FrameType, ProtocolError, writeFrameHead } from "./frame.ts";
import { waitingCostMin } from "./transport-limits.ts";

/** The way to the peer's end of a connection. */
export interface Link {
  /** Takes all of `bytes`. False: has no more room until the owner of the link calls `SendQueue.resume`. */
  write(bytes: Buffer): boolean;
  /** Calls `callback` soon, when what happens now has happened, so that frames of one moment leave together. */
  soon(callback: () => void): void;
}

/** A message that is sent as one frame, or as one and chunks. */
export interface Outgoing {
  readonly type: FrameType;
  readonly body: Buffer;
  /** Bytes before the body, and how to write them: at the moment they leave, because they may tell the time left. */
  readonly headBytes: number;
  writeHead(target: Buffer, at: number): void;
  /** Its last byte was handed to the link. */
  sent?(): void;
}

/** The messages of one call. */
export class Lane {
  readonly call: number;
  readonly messages: Outgoing[] = [];
  /** Bytes of the first message's body that have left. */
  bodySent = 0;
  hasBegun = false;
  isQueued = false;

  constructor(call: number) {
    this.call = call;
  }
}

/** A peer that reads nothing gets no more answers than this to what it goes on sending. */
const urgentBytesMax = 1_048_576;

/** One write to the link: large enough that its cost does not count, small enough to be copied out of the cache. */
const batchBytes = 131_072;
const batch: Buffer = Buffer.allocUnsafeSlow(batchBytes + frameBytesMax + frameHeadBytes);

export class SendQueue {
  readonly #link: Link;
  #urgent: Buffer[] = [];
  #urgentBytes = 0;
  readonly #lanes = new LaneQueue();
  #bytes = 0;
  #isScheduled = false;
  #hasRoom = true;
  #isClosed = false;
  /** Called when the link took what was waiting for it. */
  onRoom: () => void = () => {};

  constructor(link: Link) {
    this.#link = link;
  }

  /** Of all that waits. */
  get bytes(): number {
    return this.#bytes + this.#urgentBytes;
  }

  get hasRoom(): boolean {
    return this.#hasRoom;
  }

  /** @throws {ProtocolError} The peer takes nothing, and makes work all the time. */
  sendUrgent(frame: Buffer): void {
    if (this.#isClosed) return;
    this.#urgentBytes += frame.length;
    if (this.#urgentBytes > urgentBytesMax)
      throw new ProtocolError(`The peer reads nothing: ${this.#urgentBytes} bytes of short answers wait for it`);
    this.#urgent.push(frame);
    this.#schedule();
  }

  send(lane: Lane, message: Outgoing): void {
    if (this.#isClosed) return;
    this.#bytes += cost(message);
    lane.messages.push(message);
    if (lane.isQueued) return;
    lane.isQueued = true;
    this.#lanes.push(lane);
    this.#schedule();
  }

  /** Forgets what a call has not sent yet. */
  drop(lane: Lane): void {
    for (const message of lane.messages) this.#bytes -= cost(message);
    lane.messages.length = 0;
  }

  /** The link has room again. */
  resume(): void {
    this.#hasRoom = true;
    this.flush();
    if (this.#hasRoom) this.onRoom();
  }

  close(): void {
    this.#isClosed = true;
    this.#urgent = [];
    this.#lanes.clear();
  }

  #schedule(): void {
    if (this.#isScheduled || !this.#hasRoom) return;
    this.#isScheduled = true;
    this.#link.soon(() => {
      this.#isScheduled = false;
      this.flush();
    });
  }

  /** Hands the link what it takes. */
  flush(): void {
    while (this.#hasRoom && !this.#isClosed) {
      const sent: Outgoing[] = [];
      const length = this.#fill(sent);
      if (length === 0) return;
      const bytes = Buffer.allocUnsafe(length);
      batch.copy(bytes, 0, 0, length);
      this.#hasRoom = this.#link.write(bytes);
      for (const message of sent) message.sent?.();
    }
  }

  #fill(sent: Outgoing[]): number {
    let at = 0;
    while (at < batchBytes && this.#urgent.length > 0) {
      const frames = this.#urgent;
      this.#urgent = [];
      for (const frame of frames) {
        // More than a batch holds waits for the next one.
        if (at + frame.length > batch.length) {
          this.#urgent.push(frame);
          continue;
        }
        at += frame.copy(batch, at);
        this.#urgentBytes -= frame.length;
      }
    }
    while (at < batchBytes) {
      const lane = this.#lanes.shift();
      if (lane === undefined) break;
      const message = lane.messages[0];
      if (message === undefined) {
        lane.isQueued = false;
        continue;
      }
      at = this.#writeFrame(lane, message, at);
      if (lane.bodySent === message.body.length) {
        lane.messages.shift();
        lane.bodySent = 0;
        this.#bytes -= cost(message);
        sent.push(message);
      }
      lane.isQueued = lane.messages.length > 0;
      if (lane.isQueued) this.#lanes.push(lane);
    }
    return at;
  }

  /** Writes the first or next frame of a message into the batch, and returns where it ends. */
  #writeFrame(lane: Lane, message: Outgoing, begin: number): number {
    const { body } = message;
    const isFirst = lane.bodySent === 0;
    const part = Math.min(body.length - lane.bodySent, chunkBytes);
    const headBytes = isFirst ? message.headBytes : 0;
    const type = isFirst ? message.type : FrameType.chunk;
    let at = writeFrameHead(batch, begin, { type, call: lane.call, payload: headBytes + part });
    if (isFirst) message.writeHead(batch, at);
    at += headBytes;
    body.copy(batch, at, lane.bodySent, lane.bodySent + part);
    lane.bodySent += part;
    lane.hasBegun = true;
    return at + part;
  }
}

function cost(message: Outgoing): number {
  return message.body.length + waitingCostMin;
}

/** First in, first out, in constant time. */
class LaneQueue {
  #lanes: Lane[] = [];
  #first = 0;

  push(lane: Lane): void {
    this.#lanes.push(lane);
  }

  shift(): Lane | undefined {
    const lane = this.#lanes[this.#first];
    if (lane === undefined) {
      this.clear();
      return undefined;
    }
    this.#first++;
    if (this.#first > 1_024 && this.#first * 2 > this.#lanes.length) {
      this.#lanes = this.#lanes.slice(this.#first);
      this.#first = 0;
    }
    return lane;
  }

  clear(): void {
    this.#lanes = [];
    this.#first = 0;
  }
}
