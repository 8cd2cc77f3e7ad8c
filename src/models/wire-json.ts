/** Reads JSON that came over a wire and may be anything: each answers `undefined` where the type is another. */

export type WireObject = { readonly [name: string]: unknown };

export function asObject(value: unknown): WireObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as WireObject) : undefined;
}

export function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A text that is not empty. */
export function asText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** A whole number from 0. */
export function asCount(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // No JSON text parses to undefined, so the caller can tell.
  }
}

/**
 * The arguments of a tool call as an object, for wires and servers that insist on one: what the model wrote when
 * that is an object, and otherwise its text under a name that says what is wrong, so that the model can see it.
 */
export function argumentsObject(argumentsText: string): WireObject {
  if (argumentsText.trim() === "") return {};
  return asObject(parseJson(argumentsText)) ?? { invalid_json: argumentsText };
}

export function shorten(text: string, charactersMax: number): string {
  return text.length <= charactersMax ? text : `${text.slice(0, charactersMax - 1)}…`;
}
