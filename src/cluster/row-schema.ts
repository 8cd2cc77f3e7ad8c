/**
 * The version of rows that a cluster writes, while nodes of an older Kelpie are replaced by newer ones.
 *
 * W1. It is one that every member reads, and it never goes back: rows of it may be there.
 * W2. It grows by a batch that fails if a member has come meanwhile, and a node joins by one that fails if it has grown
 *     meanwhile. So there is no member that cannot read it: an older node is refused from then on.
 * W3. A member that has died may be started again as it was: it counts for as long as its row is there, unless a living
 *     member has its name. Until then a node may be replaced by an older one.
 */
import { encodeJson } from "../base/json.ts";
import type { Batch, Check } from "../storage/store.ts";
import { IncompatibleNodeError } from "./cluster.ts";
import { announcement, changesKey, type ClusterRows, type MemberRow, type RowSchema, rowSchemaKey } from "./member-rows.ts";

export function rowSchemaCheck({ version }: RowSchema): Check {
  return { key: rowSchemaKey, version };
}

/** What lets the version grow, if no member has come since `rows` were read (W2). `undefined`: it stays. */
export function raiseRowSchema({ members, changes, schema }: ClusterRows): Omit<Batch, "id"> | undefined {
  const to = readByAll(members);
  if (to <= schema.written) return undefined;
  return {
    checks: [rowSchemaCheck(schema), { key: changesKey, version: changes }],
    writes: [{ kind: "set", key: rowSchemaKey, value: encodeJson(to) }, announcement()],
  };
}

/** @throws {IncompatibleNodeError} */
export function refuseNewerRows({ written }: RowSchema, max: number): void {
  if (written > max)
    throw new IncompatibleNodeError(
      `This cluster writes rows of version ${written}, as all of its nodes could read them, and this node has at most version ${max}: update it`,
    );
}

/** The newest version that all of them read (W3). */
function readByAll(rows: readonly MemberRow[]): number {
  const living = new Set(rows.flatMap(({ member }) => (member.state === "dead" ? [] : [member.name])));
  const counting = rows.filter(({ member }) => member.state !== "dead" || !living.has(member.name));
  return Math.min(...counting.map(({ member }) => member.schema.max));
}
