import { formatUuid } from "../base/ids.ts";
import type { TupleElement } from "../base/tuple.ts";

const pattern = /^([a-z_]{1,20})-([0-9a-f]{8})-([0-9a-f]{4})-(4[0-9a-f]{3})-([89ab][0-9a-f]{3})-([0-9a-f]{12})$/;

/**
 * An id in half its bytes, for the rows of which there is one for every word: its prefix and the 16 bytes of its UUID.
 * An id of another shape stays as it is.
 */
export function compactId(id: string): TupleElement {
  const match = pattern.exec(id);
  if (match === null) return id;
  return Buffer.concat([Buffer.from(match[1]!, "latin1"), Buffer.from(match.slice(2).join(""), "hex")]);
}

/** The id that `compactId` made this of. */
export function expandId(element: TupleElement): string {
  if (!(element instanceof Uint8Array)) return String(element);
  const bytes = Buffer.from(element);
  return `${bytes.subarray(0, -16).toString("latin1")}-${formatUuid(bytes.subarray(-16))}`;
}
