/**
 * Where a text stops being JSON. `JSON.parse` tells the position of some mistakes and hides that of others, so this
 * looks for it, after `JSON.parse` has refused the text.
 */

type Expectation = "value" | "valueOrClose" | "key" | "keyOrClose" | "colon" | "commaOrClose" | "end";

/** The index of the first character that no JSON text could have there: the length, if the text only ends too early. */
export function jsonErrorPosition(text: string): number {
  const closers: ("}" | "]")[] = [];
  let expects = "value" as Expectation;
  let at = 0;
  const afterValue = (): Expectation => (closers.length === 0 ? "end" : "commaOrClose");
  for (;;) {
    while (at < text.length && " \t\n\r".includes(text[at]!)) at++;
    const character = text[at];
    if (character === undefined || expects === "end") return at;
    const closes = character === closers.at(-1) && (expects === "valueOrClose" || expects === "keyOrClose" || expects === "commaOrClose");
    if (closes) {
      closers.pop();
      at++;
      expects = afterValue();
    } else if (expects === "colon") {
      if (character !== ":") return at;
      at++;
      expects = "value";
    } else if (expects === "commaOrClose") {
      if (character !== ",") return at;
      at++;
      expects = closers.at(-1) === "}" ? "key" : "value";
    } else if (expects === "key" || expects === "keyOrClose") {
      const key = stringEnd(text, at);
      if (!key.whole) return key.end;
      at = key.end;
      expects = "colon";
    } else if (character === "{" || character === "[") {
      closers.push(character === "{" ? "}" : "]");
      at++;
      expects = character === "{" ? "keyOrClose" : "valueOrClose";
    } else {
      const scalar = scalarEnd(text, at);
      if (!scalar.whole) return scalar.end;
      at = scalar.end;
      expects = afterValue();
    }
  }
}

const literal = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** Where the scalar at `at` ends, or how far it is right. */
function scalarEnd(text: string, at: number): { readonly end: number; readonly whole: boolean } {
  if (text[at] === '"') return stringEnd(text, at);
  literal.lastIndex = at;
  return literal.test(text) ? { end: literal.lastIndex, whole: true } : { end: at, whole: false };
}

function stringEnd(text: string, at: number): { readonly end: number; readonly whole: boolean } {
  if (text[at] !== '"') return { end: at, whole: false };
  for (let end = at + 1; end < text.length; end++) {
    const character = text[end]!;
    if (character === '"') return { end: end + 1, whole: true };
    if (character < " ") return { end, whole: false };
    if (character !== "\\") continue;
    if (!/^(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.test(text.slice(end + 1, end + 6))) return { end, whole: false };
    end++;
  }
  return { end: text.length, whole: false };
}
