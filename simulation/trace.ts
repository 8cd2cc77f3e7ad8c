import { hashText } from "./random.ts";

/** What happened in a run, as a hash that grows with every event; and as lines, when somebody wants to read them. */
export class Trace {
  /** The last lines, if they are kept. */
  readonly lines: string[] = [];
  readonly #linesMax: number;
  #low = 0x811c9dc5;
  #high = 0xcbf29ce4;

  constructor(options: { readonly linesMax?: number } = {}) {
    this.#linesMax = options.linesMax ?? 0;
  }

  add(time: number, kind: string, who: string, details: string): void {
    const line = `${time} ${kind} ${who} ${details}`;
    this.#low = hashText(line, this.#low);
    this.#high = hashText(line, this.#high ^ this.#low);
    if (this.#linesMax === 0) return;
    this.lines.push(line);
    if (this.lines.length > this.#linesMax) this.lines.shift();
  }

  /** 16 hexadecimal digits: equal for two runs only if they went through the same events in the same order. */
  get hash(): string {
    return this.#high.toString(16).padStart(8, "0") + this.#low.toString(16).padStart(8, "0");
  }
}
