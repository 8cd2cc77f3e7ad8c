/**
 * Keyed randomness: a draw is a hash of the seed, the stream's name and the number of the draw in its stream.
 *
 * R1. Streams are independent: draws from one never shift those of another, so a run from which one operation
 *     was taken away keeps the rest of its draws. That is what makes shrinking a failure possible.
 */
import { formatUuid } from "../src/base/ids.ts";
import type { Random } from "../src/environment/environment.ts";

export class KeyedRandom {
  readonly seed: number;
  readonly #streams = new Map<string, RandomStream>();

  constructor(seed: number) {
    this.seed = seed;
  }

  /** The stream of that name: the same object, with its count of draws, for as long as this source lives. */
  stream(name: string): RandomStream {
    let stream = this.#streams.get(name);
    if (stream === undefined) this.#streams.set(name, (stream = new RandomStream(this.seed, name)));
    return stream;
  }
}

export class RandomStream implements Random {
  readonly #low: number;
  readonly #high: number;
  #draws = 0;

  constructor(seed: number, name: string) {
    this.#low = mix(hashText(name, 0x9e3779b9) ^ mix(seed));
    this.#high = mix(hashText(name, 0x85ebca6b) ^ mix(Math.floor(seed / 2 ** 32) + 1) ^ mix(seed + 0x6d2b79f5));
  }

  fraction(): number {
    // 21 + 32 bits: all that a double holds.
    const top = this.#word() >>> 11;
    return (top * 2 ** 32 + this.#word()) / 2 ** 53;
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    let word = 0;
    for (let at = 0; at < count; at++) {
      if (at % 4 === 0) word = this.#word();
      bytes[at] = word;
      word >>>= 8;
    }
    return bytes;
  }

  uuid(): string {
    return formatUuid(this.bytes(16));
  }

  /** A whole number from 0 up to, but not, `end`. */
  below(end: number): number {
    return Math.floor(this.fraction() * end);
  }

  /** A whole number, both ends included. */
  between(lowest: number, highest: number): number {
    return lowest + this.below(highest - lowest + 1);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  #word(): number {
    const draw = ++this.#draws;
    return mix(mix(this.#low + Math.imul(draw, 0x9e3779b9)) ^ (this.#high + draw)) >>> 0;
  }
}

/** A 32-bit hash of a text (FNV-1a with a basis of choice). */
export function hashText(text: string, basis: number): number {
  let hash = basis;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

export function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** The finalizer of MurmurHash3: every bit of the input changes each bit of the output with probability one half. */
function mix(value: number): number {
  let bits = value | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
