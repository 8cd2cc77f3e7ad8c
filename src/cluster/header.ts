/** The header of an actor that no activation of this node has: read, given away, taken back (C6). */
import type { ActorId } from "../actors/actor.ts";
import { type Header, headerKey } from "../actors/actor-rows.ts";
import { decodeJson, encodeJson } from "../base/json.ts";
import type { Environment } from "../environment/environment.ts";
import type { Store, Version } from "../storage/store.ts";
import { commitUntilKnown } from "../storage/transaction.ts";

export interface HeaderRow {
  readonly header: Header;
  readonly version: Version;
}

export async function readHeader(store: Store, id: ActorId): Promise<HeaderRow | undefined> {
  const [answer] = await store.read([{ key: headerKey(id) }]);
  const entry = answer![0];
  return entry && { header: decodeJson<Header>(entry.value), version: entry.version };
}

/**
 * Writes who is being given the actor (nobody with `undefined`), if the header is still as it was read. The batch
 * counts as one of the owner's: it takes the next `ver`, so that what was read before it can be told from what came after.
 */
export async function giveHeader(
  store: Store,
  environment: Environment,
  id: ActorId,
  row: HeaderRow,
  to: string | undefined,
): Promise<HeaderRow | undefined> {
  const { migrating: _, ...rest } = row.header;
  const batchId = environment.random.uuid();
  const at = environment.clock.now();
  const header: Header = { ...rest, ver: rest.ver + 1, lastBatch: batchId, at, ...(to === undefined ? {} : { migrating: { to } }) };
  const key = headerKey(id);
  const outcome = await commitUntilKnown(store, environment, {
    id: batchId,
    checks: [{ key, version: row.version }],
    writes: [{ kind: "set", key, value: encodeJson(header) }],
  });
  return outcome.ok ? { header, version: outcome.version } : undefined;
}
