/** Whether a path fits a pattern: `*` any part of a name, `?` one character, `**` any folders. In time of pattern times path. */
export function matchesGlob(path: string, pattern: string): boolean {
  return matches(path.split("/"), pattern.split("/"), {
    isMany: (part) => part === "**",
    fits: (name, part) =>
      matches(Array.from(name), Array.from(part), { isMany: (sign) => sign === "*", fits: (one, sign) => sign === "?" || one === sign }),
  });
}

interface Rules {
  readonly isMany: (part: string) => boolean;
  readonly fits: (item: string, part: string) => boolean;
}

/** Only the last part that stands for many has to be taken back: what an earlier one could give, that one can too. */
function matches(items: readonly string[], pattern: readonly string[], { isMany, fits }: Rules): boolean {
  let at = 0;
  let part = 0;
  let many: { readonly part: number; readonly at: number } | undefined;
  while (at < items.length) {
    if (part < pattern.length && isMany(pattern[part]!)) {
      many = { part, at };
      part++;
    } else if (part < pattern.length && fits(items[at]!, pattern[part]!)) {
      at++;
      part++;
    } else if (many !== undefined) {
      many = { part: many.part, at: many.at + 1 };
      at = many.at;
      part = many.part + 1;
    } else return false;
  }
  while (part < pattern.length && isMany(pattern[part]!)) part++;
  return part === pattern.length;
}
