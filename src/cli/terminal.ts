/** Where commands write, and how much of a terminal it is. */
import { Writable } from "node:stream";

export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

const codes: Readonly<Record<Style, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

export class Terminal {
  readonly #out: Writable;
  readonly #error: Writable;
  readonly #hasColors: boolean;

  constructor(options: { readonly out: Writable; readonly error: Writable; readonly hasColors: boolean }) {
    this.#out = options.out;
    this.#error = options.error;
    this.#hasColors = options.hasColors;
  }

  /** Standard output, for what writes a protocol there. */
  get output(): Writable {
    return this.#out;
  }

  static silent(): Terminal {
    const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
    return new Terminal({ out: nowhere, error: nowhere, hasColors: false });
  }

  /** Results, on standard output. */
  write(text: string): void {
    this.#out.write(text);
  }

  line(text = ""): void {
    this.#out.write(`${text}\n`);
  }

  /** Everything that is not a result, on standard error, so that a script can read the results alone. */
  note(text: string): void {
    this.#error.write(`${text}\n`);
  }

  style(style: Style, text: string): string {
    const [on, off] = codes[style];
    return this.#hasColors ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  }
}

/** Colours on a terminal, unless NO_COLOR (https://no-color.org) or a terminal that knows none says otherwise. */
export function hasColors(stream: { readonly isTTY?: boolean }, variables: Readonly<Record<string, string | undefined>>): boolean {
  return stream.isTTY === true && (variables.NO_COLOR ?? "") === "" && variables.TERM !== "dumb";
}

/**
 * Text of a model, a tool or another person, without what a terminal would obey: control characters other than line
 * breaks and tabs become visible.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (character) =>
    character === "\r" ? "" : character < " " ? String.fromCodePoint(0x2400 + character.charCodeAt(0)) : "\ufffd",
  );
}
