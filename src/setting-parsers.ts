/** What settings are read with: kinds of values that a person writes into a flag or a variable. */

/** A kind of value. */
export interface Parser<T> {
  /** As a person reads it. */
  readonly type: string;
  /** The value, or a sentence about what would be right. */
  parse(text: string): { readonly value: T } | { readonly expected: string };
}

export function integer(min: number, max: number): Parser<number> {
  const expected = `a whole number from ${min} to ${max}`;
  return {
    type: `${min} to ${max}`,
    parse: (text) => {
      const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
      return value >= min && value <= max ? { value } : { expected };
    },
  };
}

export function pattern(type: string, expression: RegExp, expected: string): Parser<string> {
  return { type, parse: (text) => (expression.test(text) ? { value: text } : { expected }) };
}

export function parseStoreUrl(text: string): ReturnType<Parser<string>["parse"]> {
  const isValid = /^(postgres(ql)?:\/\/|foundationdb:\/\/\/)\S+$/.test(text) && URL.canParse(text);
  return isValid
    ? { value: text }
    : { expected: "a URL like postgres://user:password@host:5432/database or foundationdb:///etc/foundationdb/fdb.cluster" };
}

export function parsePublicUrl(text: string): ReturnType<Parser<string>["parse"]> {
  const url = URL.parse(text);
  return url === null || !/^https?:$/.test(url.protocol) || url.pathname !== "/" || url.search !== "" || url.username !== ""
    ? { expected: "a URL without a path, such as https://kelpie.example.com" }
    : { value: url.origin };
}

/** As an address without a scheme, as people write it, or as the URL that a node shows when it is ready. */
export function parseServerAddress(text: string): ReturnType<Parser<string>["parse"]> {
  const url = URL.parse(/^https?:\/\//.test(text) ? text : `http://${text}`);
  return url === null || /\s/.test(text) || url.pathname !== "/" || url.search !== "" || url.username !== ""
    ? { expected: "the address of a node's API, such as localhost:8283" }
    : { value: url.origin };
}

export function oneOf<T extends string>(...values: readonly T[]): Parser<T> {
  const expected = `one of ${values.join(", ")}`;
  return {
    type: values.join(", "),
    parse: (text) => {
      const value = values.find((candidate) => candidate === text);
      return value === undefined ? { expected } : { value };
    },
  };
}

export function yesOrNo(): Parser<boolean> {
  return { type: "yes, no", parse: (text) => (text === "yes" || text === "no" ? { value: text === "yes" } : { expected: "yes or no" }) };
}

export function optional<T>(parser: Parser<T>): Parser<T | undefined> {
  return parser;
}
