/**
 * Takes secrets out of texts: as they are, and as code that means no harm writes them.
 *
 * Texts and secrets are compared by their letters and digits alone, in one case, so that separators, quotes, line breaks
 * and the two alphabets of base64 make no difference; what percent-encoding and backslashes write is read as what it means.
 *
 * N1. Found is a secret whole, in hex, in base64 (from each of its three alignments), and from behind; also in small or
 *     capital letters, and with anything but letters and digits in between.
 * N2. Found is each piece of these with eight letters and digits or more (in hex with sixteen) that looks like no word: has
 *     both letters and digits, or a capital letter behind a small one. So a secret that was split is, as long as its pieces are.
 * N3. A text costs time in proportion to its length, whatever the number of secrets.
 *
 * What code does to a secret beyond that (shorter pieces, other encodings, two at once, compression) nobody can find.
 */

/** Stands where a secret was. */
export const secretMask = "********";

/** Shorter secrets are not looked for: they would take words out of every text. */
const secretCharactersMin = 6;

/** Of a longer secret no pieces of eight are looked for. */
const piecesOfCharactersMax = 8_192;
/** Letters and digits of a piece, and of what is looked for with separators. */
const window = 8;
/** A longer secret is looked for in parts of this length, so that N3 holds for one that repeats itself. */
const partSymbols = 64;

export class SecretMask {
  readonly #patterns = new Patterns();
  /** What has few letters and digits, or others at an end, is found as it is. The longest first, so that none is hidden by a part of itself. */
  readonly #plain: readonly string[];
  readonly #isEmpty: boolean;

  constructor(secrets: Iterable<string>) {
    const values = [...new Set(secrets)].filter((secret) => secret.length >= secretCharactersMin);
    const plain = values.flatMap((secret) => {
      const hasPieces = secret.length <= piecesOfCharactersMax && piecesOf(secret, window).length > 0;
      // Eight of hex come about by chance in every long text of it.
      this.#patterns.add(Buffer.from(secret).toString("hex"), hasPieces ? 2 * window : undefined);
      return formsOf(secret).filter((form) => !this.#patterns.add(form, hasPieces ? window : undefined) || hasOtherEnd(form));
    });
    this.#plain = plain.filter((form) => form.length >= secretCharactersMin).toSorted((left, right) => right.length - left.length);
    this.#isEmpty = values.length === 0;
  }

  /** The text with `secretMask` in place of what was found. */
  apply(text: string): string {
    if (this.#isEmpty || text.length < secretCharactersMin) return text;
    return this.#patterns.mask(this.#plain.reduce((rest, form) => rest.replaceAll(form, secretMask), text));
  }

  /** Masks the texts of a value of JSON, each by itself, and the names of its fields. */
  applyToTexts<T>(value: T): T {
    if (this.#isEmpty) return value;
    if (typeof value === "string") return this.apply(value) as T;
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((each: unknown) => this.applyToTexts(each)) as T;
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [this.apply(name), this.applyToTexts(each)])) as T;
  }

  /** Masks the message and the trace of an error, and of its causes. Gives the error. */
  applyToError(error: unknown): unknown {
    const seen = new Set<unknown>();
    for (let at = error; at instanceof Error && !seen.has(at); at = at.cause) {
      seen.add(at);
      for (const field of ["message", "stack"] as const) {
        const [text, masked] = [at[field] ?? "", this.apply(at[field] ?? "")];
        // Those of the platform have it from their prototype, where it cannot be set.
        if (masked !== text) Object.defineProperty(at, field, { value: masked, writable: true, configurable: true });
      }
    }
    return error;
  }
}

/** What is looked for, in a hash table by its first symbols. */
class Patterns {
  /** The symbols of all patterns, one behind the other. */
  readonly #symbols: number[] = [];
  /** Where each pattern begins there, and its length. */
  readonly #starts: number[] = [];
  readonly #lengths: number[] = [];
  /** A pattern's number plus one; 0 is a free place. Filled at most by half. */
  #table: Int32Array<ArrayBuffer> = new Int32Array(1_024);

  /** `pieceLength`: pieces that long are looked for too. False: the form has too few letters and digits to be found here. */
  add(form: string, pieceLength: number | undefined): boolean {
    const { codes, count } = symbolsOf(form);
    if (count < window) return false;
    const first = this.#symbols.length;
    for (let at = 0; at < count; at++) this.#symbols.push(codes[at]!);
    const length = Math.min(count, partSymbols);
    for (let at = 0; at + length < count; at += length) this.#add(first + at, length);
    this.#add(first + count - length, length);
    if (pieceLength !== undefined) for (const at of piecesOf(form, pieceLength)) this.#add(first + at, pieceLength);
    return true;
  }

  mask(text: string): string {
    const { codes, starts, count } = symbolsOf(text);
    let masked = "";
    let copied = 0;
    // The run of symbols that is masked now; more may be found in it that ends later.
    let [runStart, runEnd] = [0, 0];
    const endRun = (): void => {
      if (runEnd === 0) return;
      masked += text.slice(copied, starts[runStart]) + secretMask;
      copied = starts[runEnd - 1]! + widthAt(text, starts[runEnd - 1]!);
      runEnd = 0;
    };
    let hash = hashOf(codes, 0);
    for (let at = 0; at + window <= count; at++) {
      const length = this.#longestAt(codes, at, count, hash);
      if (length > 0) {
        if (at >= runEnd) endRun();
        if (runEnd === 0) runStart = at;
        runEnd = Math.max(runEnd, at + length);
      }
      hash = rolled(hash, codes[at]!, codes[at + window]!);
    }
    endRun();
    return copied === 0 ? text : masked + text.slice(copied);
  }

  #add(start: number, length: number): void {
    if (this.#starts.length * 2 >= this.#table.length) this.#grow();
    let place = this.#placeOf(hashOf(this.#symbols, start));
    for (; this.#table[place] !== 0; place = this.#next(place)) {
      const other = this.#table[place]! - 1;
      if (this.#lengths[other] === length && this.#isAt(other, this.#symbols, start)) return;
    }
    this.#starts.push(start);
    this.#table[place] = this.#lengths.push(length);
  }

  #grow(): void {
    this.#table = new Int32Array(this.#table.length * 4);
    for (const [pattern, start] of this.#starts.entries()) {
      let place = this.#placeOf(hashOf(this.#symbols, start));
      while (this.#table[place] !== 0) place = this.#next(place);
      this.#table[place] = pattern + 1;
    }
  }

  /** The length of the longest pattern that the symbols have at a place; 0 for none. */
  #longestAt(codes: ArrayLike<number>, at: number, count: number, hash: number): number {
    let longest = 0;
    for (let place = this.#placeOf(hash); this.#table[place] !== 0; place = this.#next(place)) {
      const pattern = this.#table[place]! - 1;
      const length = this.#lengths[pattern]!;
      if (length > longest && at + length <= count && this.#isAt(pattern, codes, at)) longest = length;
    }
    return longest;
  }

  #isAt(pattern: number, codes: ArrayLike<number>, at: number): boolean {
    const start = this.#starts[pattern]!;
    const length = this.#lengths[pattern]!;
    for (let offset = 0; offset < length; offset++) if (this.#symbols[start + offset] !== codes[at + offset]) return false;
    return true;
  }

  #placeOf(hash: number): number {
    return (hash ^ (hash >>> 15)) & (this.#table.length - 1);
  }

  #next(place: number): number {
    return (place + 1) & (this.#table.length - 1);
  }
}

/** How code writes a secret, beside hex. Some have the same letters and digits, and count once. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret, "utf8");
  const base64 = [0, 1, 2].map((before) => innerBase64(bytes, before));
  const reversed = Array.from(secret).toReversed().join("");
  const url = base64.map((form) => form.replaceAll("+", "-").replaceAll("/", "_"));
  const quoted = JSON.stringify(secret).slice(1, -1);
  return [...new Set([secret, quoted, encodeURIComponent(secret.toWellFormed()), reversed, ...base64, ...url])];
}

/** The characters that base64 has for `bytes` after `before` others, whatever is before and behind them. */
function innerBase64(bytes: Uint8Array, before: number): string {
  const padded = Buffer.concat([Buffer.alloc(before), bytes]);
  return padded.toString("base64").slice(Math.ceil((before * 8) / 6), Math.floor((padded.length * 8) / 6));
}

/** Whether more belongs to a form than letters and digits find. */
function hasOtherEnd(form: string): boolean {
  return /^[^a-z0-9]|[^a-z0-9]$/i.test(form);
}

/** Where pieces begin that are looked for, counted in letters and digits. */
function piecesOf(text: string, length: number): number[] {
  const { starts, count } = symbolsOf(text);
  const places: number[] = [];
  for (let at = 0; at + length <= count; at++) if (looksMixed(text.slice(starts[at], starts[at + length - 1]! + 1))) places.push(at);
  return places;
}

/** Whether a piece looks like no word. */
function looksMixed(piece: string): boolean {
  return (/\d/.test(piece) && /[a-z]/i.test(piece)) || /[a-z][^a-z]*[A-Z]/.test(piece);
}

interface Symbols {
  /** 1 to 36: digits, then letters. */
  readonly codes: Uint8Array;
  /** Where each is in the text. */
  readonly starts: Uint32Array;
  readonly count: number;
}

/** Letters and digits of ASCII by their character code; 0 for all others. */
const symbols: Uint8Array = Uint8Array.from({ length: 256 }, (_, code) => parseInt(String.fromCharCode(code), 36) + 1 || 0);
const [percent, backslash, letterU, letterX] = [0x25, 0x5c, 0x75, 0x78];
/** Of what JSON and most languages write behind a backslash for characters that are no letters: b, f, n, r, t, v. */
const controlLetters: ReadonlySet<number> = new Set(Buffer.from("bfnrtv"));

/** For texts that are no longer: making room for a short one would cost more than looking through it. */
const room = { codes: new Uint8Array(16_384), starts: new Uint32Array(16_384) };

/** Until the next call, which may use the same room. */
function symbolsOf(text: string): Symbols {
  const isShort = text.length <= room.codes.length;
  const { codes, starts } = isShort ? room : { codes: new Uint8Array(text.length), starts: new Uint32Array(text.length) };
  let count = 0;
  for (let at = 0; at < text.length;) {
    const character = text.charCodeAt(at);
    const width = character === percent || character === backslash ? widthAt(text, at) : 1;
    const code = width === 1 ? character : escaped(text, at, width);
    const symbol = code < 256 ? symbols[code]! : 0;
    if (symbol !== 0) {
      codes[count] = symbol;
      starts[count++] = at;
    }
    at += width;
  }
  return { codes, starts, count };
}

/** How many characters of a text write the one at a place: more than one where it is escaped. */
function widthAt(text: string, at: number): number {
  const character = text.charCodeAt(at);
  if (character === percent) return areHex(text, at + 1, 2) ? 3 : 1;
  if (character !== backslash) return 1;
  const next = text.charCodeAt(at + 1);
  if (next === letterX) return areHex(text, at + 2, 2) ? 4 : 1;
  if (next === letterU) return areHex(text, at + 2, 4) ? 6 : 1;
  return controlLetters.has(next) ? 2 : 1;
}

/** The code of a character that is escaped with `width` characters. */
function escaped(text: string, at: number, width: number): number {
  return width === 2 ? 0 : Number.parseInt(text.slice(at + (width === 3 ? 1 : 2), at + width), 16);
}

function areHex(text: string, from: number, count: number): boolean {
  for (let at = from; at < from + count; at++) {
    const symbol = symbols[text.charCodeAt(at)] ?? 0;
    if (symbol === 0 || symbol > 16) return false;
  }
  return true;
}

const base = 0x01000193;
const baseToWindow: number = Array.from({ length: window }).reduce<number>((power) => Math.imul(power, base), 1);

/** Of the `window` symbols from a place on. */
function hashOf(codes: ArrayLike<number>, at: number): number {
  let hash = 0;
  for (let offset = 0; offset < window; offset++) hash = (Math.imul(hash, base) + (codes[at + offset] ?? 0)) | 0;
  return hash;
}

/** The hash one symbol further on. */
function rolled(hash: number, leaving: number, coming: number): number {
  return (Math.imul(hash, base) + coming - Math.imul(leaving, baseToWindow)) | 0;
}
