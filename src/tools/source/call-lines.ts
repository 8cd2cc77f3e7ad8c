/** Parts calls from what code prints, on one stream: a call is `\n`, the mark, and the rest of the line. */

/** Two control characters that no program prints by chance. */
export const callMark = "\u001e\u0002";

const opening = Buffer.from(`\n${callMark}`);
const lineBreak = 10;

/** Of one call: its name and its arguments. */
export const callBytesMax: number = 1024 * 1024;

export class CallTooLongError extends Error {
  override readonly name = "CallTooLongError";
}

export class CallLines {
  readonly #printed: Buffer[] = [];
  /** What may be the beginning of a call. */
  #held: Buffer = Buffer.alloc(0);

  /** The calls that are whole now, without their marks. @throws {CallTooLongError} */
  accept(bytes: Uint8Array): readonly string[] {
    const calls: string[] = [];
    const all = Buffer.concat([this.#held, bytes]);
    let from = 0;
    for (;;) {
      const begin = all.indexOf(opening, from);
      if (begin < 0) break;
      const end = all.indexOf(lineBreak, begin + opening.length);
      if (end < 0) {
        this.#print(all.subarray(from, begin));
        this.#held = all.subarray(begin);
        if (this.#held.length > callBytesMax) throw new CallTooLongError(`a call of it has more than ${callBytesMax} bytes`);
        return calls;
      }
      this.#print(all.subarray(from, begin));
      calls.push(all.toString("utf8", begin + opening.length, end));
      from = end + 1;
    }
    const held = beginningAtEnd(all.subarray(from));
    this.#print(all.subarray(from, all.length - held));
    this.#held = all.subarray(all.length - held);
    return calls;
  }

  /** What was printed; once the stream has ended, all of it. */
  rest(): Buffer {
    return Buffer.concat([...this.#printed, this.#held]);
  }

  #print(bytes: Buffer): void {
    if (bytes.length > 0) this.#printed.push(bytes);
  }
}

/** How many bytes at the end may be those with which a call begins. */
function beginningAtEnd(bytes: Buffer): number {
  for (let length = Math.min(opening.length - 1, bytes.length); length > 0; length--)
    if (bytes.subarray(bytes.length - length).equals(opening.subarray(0, length))) return length;
  return 0;
}
