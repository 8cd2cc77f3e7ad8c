/**
 * The rows of members.
 *
 * | key                          | holds                                                                  |
 * |------------------------------|------------------------------------------------------------------------|
 * | `("", "member", node)`       | `Member`                                                               |
 * | `("", "member-name", name)`  | the node that has the name, or had it last                             |
 * | `("", "member-changes")`     | a counter that grows when a member joins or changes its state          |
 * | `("", "row-schema")`         | the version of rows that the cluster writes (`row-schema.ts`); absent: 1 |
 */
import { memberKey, memberPrefix } from "../actors/actor-rows.ts";
import { keyAfter } from "../base/bytes.ts";
import { decodeJson, encodeJson } from "../base/json.ts";
import { encodeTuple, tupleRange } from "../base/tuple.ts";
import type { Check, Entry, Store, Version, Write } from "../storage/store.ts";
import type { Member } from "./cluster.ts";

/** Nodes that live, or died lately, are few: one page, unless something starts nodes in a loop. */
const pageRows = 1_000;

export const changesKey: Uint8Array = encodeTuple(["", "member-changes"]);

export const rowSchemaKey: Uint8Array = encodeTuple(["", "row-schema"]);

export interface MemberRow {
  readonly member: Member;
  readonly version: Version;
  /** It is of a node that knows nothing of clusters, and renews nothing. */
  readonly isSingle: boolean;
}

export interface RowSchema {
  readonly written: number;
  readonly version: Version | null;
}

/** What one look at a cluster sees: all of it as it was at the time of its first page of members. */
export interface ClusterRows {
  readonly members: readonly MemberRow[];
  readonly changes: Version | null;
  readonly schema: RowSchema;
}

export interface NameRow {
  readonly node: string | undefined;
  readonly version: Version | null;
}

export async function readCluster(store: Store): Promise<ClusterRows> {
  const { begin, end } = tupleRange(memberPrefix);
  const [first, changes, schema] = await store.read([{ begin, end, limit: pageRows }, { key: changesKey }, { key: rowSchemaKey }]);
  const members = first!.map(decodeMember);
  for (let page = first!; page.length === pageRows;) {
    page = (await store.read([{ begin: keyAfter(page.at(-1)!.key), end, limit: pageRows }]))[0]!;
    members.push(...page.map(decodeMember));
  }
  return { members, changes: changes![0]?.version ?? null, schema: decodeRowSchema(schema![0]) };
}

export async function readMember(store: Store, node: string): Promise<MemberRow | undefined> {
  const [answer] = await store.read([{ key: encodeTuple(memberKey(node)) }]);
  return answer![0] && decodeMember(answer![0]);
}

export async function readName(store: Store, name: string): Promise<NameRow> {
  const [answer] = await store.read([{ key: nameKey(name) }]);
  const entry = answer![0];
  return { node: entry && decodeJson<string>(entry.value), version: entry?.version ?? null };
}

export function memberCheck(node: string, version: Version | null): Check {
  return { key: encodeTuple(memberKey(node)), version };
}

export function memberWrite(member: Member): Write {
  return { kind: "set", key: encodeTuple(memberKey(member.node)), value: encodeJson(member) };
}

export function memberDelete(node: string): Write {
  return { kind: "delete", key: encodeTuple(memberKey(node)) };
}

export function nameKey(name: string): Uint8Array {
  return encodeTuple(["", "member-name", name]);
}

/** Tells whoever watches that a member has come, or has another state. */
export function announcement(): Write {
  return { kind: "add", key: changesKey, amount: 1n };
}

function decodeRowSchema(entry: Entry | undefined): RowSchema {
  return { written: entry === undefined ? 1 : decodeJson<number>(entry.value), version: entry?.version ?? null };
}

/** A node that does not know of clusters, over the same store, is a member that takes nothing from others. */
function decodeMember(entry: Entry): MemberRow {
  const row = decodeJson<Member & { readonly pid?: number }>(entry.value);
  if (row.pid === undefined) return { member: row, version: entry.version, isSingle: false };
  const anything = { min: 0, max: Number.MAX_SAFE_INTEGER };
  const { host, started } = row as unknown as { readonly host: string; readonly started: string };
  const member: Member = {
    node: row.node,
    name: row.node,
    state: "draining",
    address: null,
    capacity: 1,
    wire: anything,
    // It does not say what it reads.
    schema: { min: 1, max: 1 },
    beat: 0,
    process: { host, pid: row.pid, started },
    joinedAt: 0,
  };
  return { member, version: entry.version, isSingle: true };
}
