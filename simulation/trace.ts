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
    let [low, high] = [this.#low, this.#high];
    // Two hashes of 32 bits in one pass, the second mixed with the first: there is no cheap arithmetic of 64 bits.
    for (let at = 0; at < line.length; at++) {
      const character = line.charCodeAt(at);
      low = Math.imul(low ^ character, 0x01000193);
      high = Math.imul(high ^ character, 0x85ebca6b) + low;
    }
    this.#low = low >>> 0;
    this.#high = high >>> 0;
    if (this.#linesMax === 0) return;
    this.lines.push(line);
    if (this.lines.length > this.#linesMax) this.lines.shift();
  }

  /** 16 hexadecimal digits: equal for two runs only if they went through the same events in the same order. */
  get hash(): string {
    return this.#high.toString(16).padStart(8, "0") + this.#low.toString(16).padStart(8, "0");
  }
}
