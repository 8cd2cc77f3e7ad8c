import { ActorElsewhereError, type ActorId } from "./actor.ts";
import { describeActor } from "./actor-id.ts";
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

/** @throws {ActorElsewhereError} This node may not claim the actor: a newer Kelpie wrote it, or a living node holds it. */
export async function assertClaimable(id: ActorId, header: Header, placement: Placement): Promise<void> {
  if (header.schema > placement.schema.readable)
    throw new ActorElsewhereError(`${describeActor(id)} was written by a newer Kelpie (schema ${header.schema}): update this node`);
  const holder = await holderOf(header, placement);
  if (holder !== undefined && holder !== placement.node)
    throw new ActorElsewhereError(`${describeActor(id)} is held by node ${holder}, which is alive: ask that node, or stop it`, holder);
}
