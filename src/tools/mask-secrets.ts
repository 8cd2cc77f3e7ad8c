/** Shorter ones would take words out of every text. */
const charactersMin = 6;
const mask = "********";

/**
 * Takes secrets out of what a tool gave: as they are, and as JSON, percent-encoding, hex and base64 (from each of its three
 * alignments) write them. What code does to a secret beyond that, nobody can find: who runs a tool trusts it with them.
 */
export function maskSecrets(text: string, secrets: { readonly [name: string]: string }): string {
  const values = Object.values(secrets).filter((value) => value.length >= charactersMin);
  if (values.length === 0) return text;
  // The longest first, so that none is hidden by a part of itself.
  const forms = [...new Set(values.flatMap(formsOf))].toSorted((left, right) => right.length - left.length);
  return forms.reduce((masked, form) => masked.replaceAll(form, mask), text);
}

function formsOf(value: string): string[] {
  const bytes = Buffer.from(value, "utf8");
  const hex = bytes.toString("hex");
  const base64 = [0, 1, 2].map((before) => innerBase64(bytes, before));
  const url = base64.map((form) => form.replaceAll("+", "-").replaceAll("/", "_"));
  const forms = [
    value,
    JSON.stringify(value).slice(1, -1),
    encodeURIComponent(value.toWellFormed()),
    hex,
    hex.toUpperCase(),
    ...base64,
    ...url,
  ];
  return forms.filter((form) => form.length >= charactersMin);
}

/** The characters that base64 has for `bytes` after `before` others, whatever is before and behind them. */
function innerBase64(bytes: Uint8Array, before: number): string {
  const padded = Buffer.concat([Buffer.alloc(before), bytes]);
  return padded.toString("base64").slice(Math.ceil((before * 8) / 6), Math.floor((padded.length * 8) / 6));
}
