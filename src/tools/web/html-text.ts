/**
 * The text of a page for a model: what is said, with headings, lists, links and preformatted text marked as in Markdown.
 * In one pass over the page, however it is broken.
 */

/** What is no text of the page goes with all that is in it. */
const skipped: ReadonlySet<string> = new Set(["script", "style", "noscript", "template", "svg", "iframe", "head", "textarea", "select"]);
/** Within these a `<` begins no tag. */
const raw: ReadonlySet<string> = new Set(["script", "style", "textarea", "title", "iframe", "noscript"]);
const breaks: ReadonlySet<string> = new Set(
  "address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section table tr ul".split(
    " ",
  ),
);
const paragraphs: ReadonlySet<string> = new Set("p h1 h2 h3 h4 h5 h6 ul ol dl table pre blockquote section article".split(" "));
const linkCharactersMax = 500;

export interface PageText {
  readonly title: string;
  readonly text: string;
}

/** `url` is where the page is: links are shown whole. */
export function htmlText(html: string, url: string): PageText {
  const out = new TextWriter();
  let title = "";
  let skip: { readonly name: string; depth: number } | undefined;
  let link: string | undefined;
  let at = 0;
  while (at < html.length) {
    const open = nextTag(html, at);
    const text = html.slice(at, open === -1 ? html.length : open);
    if (skip === undefined) out.text(decodeEntities(text));
    if (open === -1) break;
    if (html.startsWith("<!--", open)) {
      at = after(html, "-->", open + 4);
      continue;
    }
    const tag = readTag(html, open);
    at = tag.end;
    const { name, isEnd, attributes } = tag;
    if (name === "title" && !isEnd) {
      const end = closing(html, name, at);
      title ||= decodeEntities(html.slice(at, end)).replace(/\s+/g, " ").trim();
      at = end;
    } else if (skip !== undefined) {
      if (name === skip.name) skip.depth += isEnd ? -1 : 1;
      if (skip.depth === 0 || (skip.name === "head" && name === "body")) skip = undefined;
      else if (!isEnd && raw.has(name)) at = closing(html, name, at);
    } else if (!isEnd && skipped.has(name)) {
      if (raw.has(name)) at = after(html, ">", closing(html, name, at));
      else if (!tag.isWhole) skip = { name, depth: 1 };
    } else if (name === "a") {
      if (link !== undefined) out.text(`](${link})`);
      link = isEnd ? undefined : linkOf(attributes, url);
      if (link !== undefined) out.text("[");
    } else if (name === "pre") out.pre(!isEnd);
    else if (name === "td" || name === "th") out.text(isEnd ? " | " : "");
    if (!breaks.has(name) || skip !== undefined) continue;
    out.break(paragraphs.has(name) ? 2 : 1);
    if (!isEnd && name === "li") out.text("- ");
    if (!isEnd && /^h[1-6]$/.test(name)) out.text(`${"#".repeat(Number(name[1]))} `);
  }
  return { title, text: out.toString() };
}

class TextWriter {
  readonly #parts: string[] = [];
  #breaks = 0;
  #space = false;
  #isPre = false;
  #isEmpty = true;

  text(text: string): void {
    if (this.#isPre) {
      if (text !== "") this.#put(text);
      return;
    }
    const words = text.replace(/[\s\u00a0]+/g, " ");
    if (words.startsWith(" ")) this.#space = true;
    const inner = words.trim();
    if (inner !== "") this.#put(inner);
    if (inner !== "" && words.endsWith(" ")) this.#space = true;
  }

  break(lines: number): void {
    this.#breaks = Math.max(this.#breaks, lines);
  }

  pre(isPre: boolean): void {
    this.break(2);
    this.#isPre = isPre;
  }

  toString(): string {
    return this.#parts.join("").trim();
  }

  #put(text: string): void {
    if (!this.#isEmpty) this.#parts.push(this.#breaks > 0 ? "\n".repeat(this.#breaks) : this.#space ? " " : "");
    this.#parts.push(text);
    this.#breaks = 0;
    this.#space = false;
    this.#isEmpty = false;
  }
}

interface Tag {
  readonly name: string;
  readonly isEnd: boolean;
  /** Ends by itself, as `<svg/>`. */
  readonly isWhole: boolean;
  readonly attributes: string;
  readonly end: number;
}

/** Where a `<` stands that is no text. */
function nextTag(html: string, from: number): number {
  const pattern = /<\/?[a-zA-Z!?]/g;
  pattern.lastIndex = from;
  return pattern.exec(html)?.index ?? -1;
}

function readTag(html: string, open: number): Tag {
  const isEnd = html[open + 1] === "/";
  const from = open + (isEnd ? 2 : 1);
  let end = from;
  let quote: string | undefined;
  let hasValue = false;
  for (; end < html.length; end++) {
    const sign = html[end]!;
    if (quote !== undefined) {
      if (sign === quote) quote = undefined;
    } else if (sign === ">") break;
    else if ((sign === '"' || sign === "'") && hasValue) quote = sign;
    if (sign === "=") hasValue = true;
    else if (sign.trim() !== "" && quote === undefined) hasValue = false;
  }
  // A quote that never ends would take the rest of the page with it.
  if (quote !== undefined) end = html.indexOf(">", from) === -1 ? html.length : html.indexOf(">", from);
  const inside = html.slice(from, end);
  const name = /^[^\s/>]{1,40}/.exec(inside)?.[0].toLowerCase() ?? "";
  return { name, isEnd, isWhole: inside.endsWith("/"), attributes: inside.slice(name.length), end: Math.min(end + 1, html.length) };
}

function linkOf(attributes: string, url: string): string | undefined {
  const [, double, single, bare] = /\shref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))/i.exec(attributes.slice(0, 4_000)) ?? [];
  const href = decodeEntities(double ?? single ?? bare ?? "").trim();
  if (href === "" || href.startsWith("#") || href.length > linkCharactersMax || !URL.canParse(href, url)) return undefined;
  const target = new URL(href, url);
  return target.protocol === "http:" || target.protocol === "https:" ? target.href : undefined;
}

/** Where the end tag of a raw element begins. */
function closing(html: string, name: string, from: number): number {
  const pattern = new RegExp(`</${name}`, "gi");
  pattern.lastIndex = from;
  return pattern.exec(html)?.index ?? html.length;
}

function after(html: string, text: string, from: number): number {
  const at = html.indexOf(text, from);
  return at === -1 ? html.length : at + text.length;
}

const named: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  copy: "©",
  reg: "®",
  hellip: "…",
  mdash: "—",
  ndash: "–",
  lsquo: "‘",
  rsquo: "’",
  ldquo: "“",
  rdquo: "”",
  laquo: "«",
  raquo: "»",
  bull: "•",
  middot: "·",
  times: "×",
  euro: "€",
  auml: "ä",
  ouml: "ö",
  uuml: "ü",
  Auml: "Ä",
  Ouml: "Ö",
  Uuml: "Ü",
  szlig: "ß",
  eacute: "é",
  egrave: "è",
};

/** Those by number, and the named ones that are common; others stay as they are written. */
export function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{2,8}));/g, (whole, decimal, hexadecimal, name) => {
    if (typeof name === "string") return Object.hasOwn(named, name) ? named[name]! : whole;
    const code = typeof decimal === "string" ? Number(decimal) : Number.parseInt(String(hexadecimal), 16);
    return code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? "\ufffd" : String.fromCodePoint(code);
  });
}
