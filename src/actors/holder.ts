import type { Header } from "./actor-rows.ts";
import type { Placement } from "./placement.ts";

/**
 * The living node that an actor is for, as its header says: the one that it is being given to, or its owner.
 * `undefined`: nobody is left, so whoever is asked may claim it.
 */
export async function holderOf(header: Header, placement: Placement): Promise<string | undefined> {
  for (const node of [header.migrating?.to, header.owner])
    if (node !== undefined && (node === placement.node || (await placement.isAlive(node)))) return node;
  return undefined;
}
